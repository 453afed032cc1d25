"""The database: one engine, one MetaData, and the two ways to use a connection.

SQLite by default, Postgres by URL (`postgresql+psycopg2://...`). Tables are declared beside the code that owns them
(`resources.gpu.ledger`, `ryla_assets.registry.tables`) on the `metadata` of this module; migrations for all of them
live in `ryla_assets/registry/migrations`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

BUSY_TIMEOUT_MS = 30_000  # two workers and a webserver share one SQLite file; WAL writers queue, never fail
CLOCK_S = 60.0  # how long a reading of the server's clock is believed; machines drift by milliseconds in a minute
# The database does not answer now, and nothing is wrong with what it was asked: the same statement may work later.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)

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


def clock_of(engine: sa.Engine) -> Callable[[], float]:
    """The clock that all processes on this database share, in seconds since the epoch.

    SQLite's are on one machine and have its clock; Postgres's have the server's, for theirs may differ by minutes.
    """
    return time.time if engine.dialect.name == "sqlite" else _ServerClock(engine)


class _ServerClock:
    """The server's clock as last read, carried on by our monotonic one: a jump of ours is none of it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._zero: float | None = None  # what the server's clock said when our monotonic one was at 0
        self._read_at = float("-inf")

    def __call__(self) -> float:
        if time.monotonic() - self._read_at > CLOCK_S:
            with suppress(*AWAY):  # then the last reading goes on
                self._read()
        return time.time() if self._zero is None else self._zero + time.monotonic()

    def _read(self) -> None:
        with reading(self._engine) as db:
            asked = time.monotonic()
            says = float(db.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            self._read_at = time.monotonic()
        self._zero = says - (asked + self._read_at) / 2


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
