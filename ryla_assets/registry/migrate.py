"""Bring the database to the schema that this code needs; alembic does the work.

Called by the command line, the HTTP app and the Dagster resources before first use; costs one query when nothing is
to be done.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

import sqlalchemy as sa

from resources.database import lock, reading

HEAD = "0007"
_HERE = Path(__file__).parent / "migrations"


def ready(engine: sa.Engine) -> sa.Engine:
    """Upgrade the schema if it is older than HEAD; safe when many processes start at once."""
    if _version(engine) == HEAD:
        return engine
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        with Path(f"{engine.url.database}.migrating").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            _upgrade(engine)
    else:
        _upgrade(engine)
    return engine


def _upgrade(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    with engine.connect().execution_options(ryla_write=True) as connection, connection.begin():
        lock(connection, "ryla_migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(engine: sa.Engine) -> str | None:
    with reading(engine) as db:
        if not sa.inspect(db).has_table("alembic_version"):
            return None
        return db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
