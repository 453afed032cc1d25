"""Alembic's entry: runs on the connection that `ryla_assets.registry.migrate` hands in."""

from alembic import context

from resources.database import metadata
from resources.gpu import ledger  # noqa: F401  declares its tables
from ryla_assets.registry import tables  # noqa: F401  declares its tables

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
