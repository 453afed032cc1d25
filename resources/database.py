"""The database: one engine, one MetaData, and the two ways to use a connection.

SQLite by default, Postgres by URL (`postgresql+psycopg2://...`). Tables are declared beside the code that owns them
(`resources.gpu.ledger`, `ryla_assets.registry.tables`) on the `metadata` of this module; migrations for all of them
live in `ryla_assets/registry/migrations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

BUSY_TIMEOUT_MS = 30_000  # two workers and a webserver share one SQLite file; WAL writers queue, never fail

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class DatabaseUnusable(Exception):
    """A database URL that leads nowhere: not one, of an unknown kind, or its driver is not installed."""


def open_engine(url: str) -> sa.Engine:
    """An engine for `url`; the folder of a SQLite file is made where it is missing.

    Raises DatabaseUnusable for a URL that leads nowhere, OSError where the folder cannot be made; connects to nothing.
    """
    try:
        return _engine(sa.make_url(url))
    except ModuleNotFoundError as error:
        raise DatabaseUnusable(
            f"its URL needs {error.name}, which is not installed; postgresql+psycopg2:// does not"
        ) from None
    except (sa.exc.ArgumentError, ValueError):  # their words may hold the URL, which holds a password
        raise DatabaseUnusable("its URL is none, such as postgresql+psycopg2://user@host/name") from None


def _engine(address: sa.URL) -> sa.Engine:
    if address.get_backend_name() != "sqlite":
        return sa.create_engine(address, pool_pre_ping=True)
    if address.database not in (None, "", ":memory:"):
        Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(address, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reads: never blocks a writer."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One write transaction, committed at the end; on SQLite it takes the write lock at once, so it cannot deadlock."""
    with engine.connect().execution_options(ryla_write=True) as connection, connection.begin():
        yield connection


def lock(connection: sa.Connection, name: str) -> None:
    """Hold the named lock until the transaction ends (SQLite: the write lock that `writing` took is already it)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an intent outlives a power cut too; 0.3 ms a commit more than NORMAL
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("ryla_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
