"""A fresh ledger for each seed: a SQLite file copied from an empty one, or a database of one Postgres for all seeds.

Belongs here: databases only. Migrating costs more than a seed; that the migrations make the very same tables is
tested elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from resources.database import metadata, open_engine
from tests.chaos.plan import Plan

_TEMPLATE = "chaos_template"


@dataclass
class Servers:
    """Where empty ledgers come from; `postgres` is a server's URL, empty where there is none.

    All SQLite ledgers of a process share one engine, pointed at one file after the other: what it has compiled serves
    every life, as it would in a process that lives long.
    """

    template: Path
    postgres: str = ""

    def __post_init__(self) -> None:
        self._file = str(self.template)
        self.sqlite = open_engine(f"sqlite:///{self.template}")
        sa.event.listen(self.sqlite, "do_connect", self._point)

    def can(self, plan: Plan) -> Plan:
        """The plan as it can be carried out here: on SQLite where there is no Postgres."""
        return plan if self.postgres else replace(plan, postgres=False)

    @contextmanager
    def database(self, plan: Plan, folder: Path) -> Iterator[sa.Engine]:
        """An empty ledger for one seed."""
        if not plan.postgres:
            self._file = str(shutil.copy(self.template, folder / "ledger.db"))
            self.sqlite.dispose()
            yield self.sqlite
            self.sqlite.dispose()
            return
        name = f"chaos_{plan.seed}"
        self._say(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        engine = open_engine(self.postgres.replace("@/postgres?", f"@/{name}?"))
        try:
            yield engine
        finally:
            engine.dispose()
            self._say(f"DROP DATABASE {name} WITH (FORCE)")

    def _point(self, _dialect: object, _record: object, arguments: list[object], _options: object) -> None:
        arguments[0] = self._file

    def _say(self, statement: str) -> None:
        engine = open_engine(self.postgres)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(sa.text(statement))
        engine.dispose()


@contextmanager
def started(folder: Path, *, postgres: bool) -> Iterator[Servers]:
    """The template files in `folder`, and a Postgres where its binaries are installed and `postgres` asks for it."""
    template = folder / "empty.db"
    _make_tables(f"sqlite:///{template}")
    if not postgres or not shutil.which("initdb") or not shutil.which("postgres"):
        yield Servers(template)
        return
    from tests.postgres import fresh_database, serve

    running = serve()
    url = next(running)
    try:
        _make_tables(fresh_database(url, _TEMPLATE))
        yield Servers(template, url)
    finally:
        running.close()  # type: ignore[attr-defined]


def _make_tables(url: str) -> None:
    engine = open_engine(url)
    metadata.create_all(engine)
    with engine.connect() as db:
        if engine.dialect.name == "sqlite":
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
