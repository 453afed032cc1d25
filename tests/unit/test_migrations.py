"""What goes wrong with the schema: code and migrations drift apart, or two processes migrate at once."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from resources.database import metadata, open_engine, reading, writing
from resources.gpu import tables as ledger  # declares its tables
from ryla_assets.registry import migrate, tables

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ryla.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """A freshly migrated database."""
    engine = migrate.ready(open_engine(url))
    yield engine
    engine.dispose()


def constraints(engine: sa.Engine) -> dict[str, set[str]]:
    """Table -> its constraints and indexes in words; alembic's comparison leaves checks out."""
    inspector = sa.inspect(engine)
    told: dict[str, set[str]] = {}
    for table in set(inspector.get_table_names()) - {"alembic_version"}:
        checks = {f"check {c['name']}: {c['sqltext']}" for c in inspector.get_check_constraints(table)}
        uniques = {f"unique {c['column_names']}" for c in inspector.get_unique_constraints(table)}
        keys = {f"key {c['constrained_columns']} {c['referred_table']}" for c in inspector.get_foreign_keys(table)}
        indexes = {f"index {i['name']} {i['column_names']} {i['unique']}" for i in inspector.get_indexes(table)}
        primary = {f"primary {inspector.get_pk_constraint(table)['constrained_columns']}"}
        told[table] = checks | uniques | keys | indexes | primary
    return told


def test_migrated_schema_is_the_declared_one(engine: sa.Engine) -> None:
    """Alembic finds nothing to do: neither columns nor types nor nullability differ."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with reading(engine) as db:
        context = MigrationContext.configure(db, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrated_constraints_are_the_declared_ones(engine: sa.Engine, tmp_path: Path) -> None:
    """Checks, keys and indexes too: tables made from the declarations have the same."""
    declared = open_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(declared)
    try:
        assert constraints(engine) == constraints(declared)
    finally:
        declared.dispose()


def test_a_drifted_declaration_is_found(engine: sa.Engine) -> None:
    """The comparison above can fail: a column that no migration made is reported."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    drifted = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(drifted)
    drifted.tables["characters"].append_column(sa.Column("nickname", sa.String(20)))
    with reading(engine) as db:
        [(kind, _, table, column)] = compare_metadata(MigrationContext.configure(db), drifted)
    assert (kind, table, column.name) == ("add_column", "characters", "nickname")


def test_head_is_the_newest_migration() -> None:
    """A migration that HEAD does not name would never run."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "ryla_assets" / "registry" / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_ready_twice_is_ready_once(engine: sa.Engine) -> None:
    """What is up to date is left alone: rows stay."""
    with writing(engine) as db:
        db.execute(sa.text("CREATE TABLE witness (id INTEGER)"))
    migrate.ready(engine)
    assert sa.inspect(engine).has_table("witness")


def test_processes_migrate_at_once(url: str) -> None:
    """Daemon, webserver and HTTP app start together on an empty database; every one of them finds it ready."""
    code = (
        "import sys; from resources.database import open_engine; from ryla_assets.registry.migrate import ready\n"
        "import alembic.command\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"engine = ready(open_engine({url!r})); ready(engine); engine.dispose()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in started] == ["ready\n", "ready\n"]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in started]
    assert ([process.returncode for process in started], told) == ([0, 0], ["", ""])


def test_interrupted_migration_leaves_nothing_half_made(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one transaction: a crash in the middle leaves an empty database, and the next start migrates it."""
    real = sa.Connection.execute
    calls = 0

    def dies(self: sa.Connection, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    engine = open_engine(url)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sa.Connection, "execute", dies)
            with pytest.raises(KeyboardInterrupt):
                migrate.ready(engine)
        assert sa.inspect(engine).get_table_names() == []
        assert set(metadata.tables) <= set(sa.inspect(migrate.ready(engine)).get_table_names())
    finally:
        engine.dispose()


def test_unknown_lora_status_is_refused_by_the_database(engine: sa.Engine) -> None:
    """The product reads this column: no code path may write a word that it does not know."""
    values = {"id": "mara-lind", "config": {}, "active": True, "retired": False, "auto_select": False}
    with pytest.raises(sa.exc.IntegrityError, match="lora_status_known"), writing(engine) as db:
        db.execute(sa.insert(tables.characters).values(**values, lora_status="almost", created_at=time.time()))


def test_second_open_attempt_is_refused_by_the_database(engine: sa.Engine) -> None:
    """At most one paid attempt is open for a job, whatever the code believes."""
    zeros = {
        column.name: 0
        for column in ledger.attempts.columns
        if not column.nullable and isinstance(column.type, sa.Float | sa.Integer)
    }
    texts = {"fingerprint": "f" * 64, "backend": "preview", "endpoint": "embedded", "open_fingerprint": "f" * 64}
    job = {"kind": "image", "label": "", "owner": "", "backend": "preview", "profile": "", "request": {}}
    with writing(engine) as db:
        db.execute(sa.insert(ledger.jobs).values(fingerprint="f" * 64, **job, created_at=0))
        db.execute(sa.insert(ledger.attempts).values({**zeros, **texts, "id": "a", "number": 1, "state": "running"}))
    with pytest.raises(sa.exc.IntegrityError, match="open_fingerprint"), writing(engine) as db:
        db.execute(sa.insert(ledger.attempts).values({**zeros, **texts, "id": "b", "number": 2, "state": "intended"}))
