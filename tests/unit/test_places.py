"""What goes wrong with the database and the home: a stack trace instead of the setting, a password in the words."""

from __future__ import annotations

import getpass
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from resources.database import DatabaseUnusable, open_engine
from ryla_assets.cli import main
from ryla_assets.cli_output import command, json_flag, user
from ryla_assets.doctor import examine
from ryla_assets.places import ledger_place, unusable
from ryla_assets.settings import Settings, settings

NOBODY = "postgresql+psycopg2://ryla:SECRET1@127.0.0.1:9/ryla?password=SECRET2&connect_timeout=2"
COMMANDS = [
    ("jobs", "list"),
    ("jobs", "reconcile"),
    ("jobs", "spend"),
    ("characters", "list"),
    ("jobs", "show", "0" * 8),
]


def ryla(*words: str) -> Result:
    """Run `ryla ...` as a person types it, on the environment as it is now."""
    settings.cache_clear()
    return CliRunner().invoke(main, list(words))


def damaged(home: Path, _: Path) -> None:
    """A ledger that is none."""
    (home / "ryla.db").write_bytes(b"no database" * 1000)


def cut(home: Path, whole: Path) -> None:
    """Half of one."""
    (home / "ryla.db").write_bytes(whole.read_bytes()[:40_000])


def newer(home: Path, whole: Path) -> None:
    """One that a later version upgraded."""
    shutil.copy(whole, home / "ryla.db")
    with sqlite3.connect(home / "ryla.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()


def folder(home: Path, _: Path) -> None:
    """A folder of that name."""
    (home / "ryla.db").mkdir()


BROKEN: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "damaged": (damaged, "file is not a database"),
    "cut": (cut, "malformed"),
    "newer": (newer, "install that one"),
    "folder": (folder, "unable to open database file"),
}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("how", BROKEN)
def test_broken_ledger_is_one_line(home: Path, migrated_database: Path, how: str, words: tuple[str, ...]) -> None:
    """For every command: the setting, the file and the way out, exit 2; with --json as JSON, and no stack trace."""
    home.mkdir()
    breaks, says = BROKEN[how]
    breaks(home, migrated_database)
    result = ryla(*words, "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["field"]) == (2, "RYLA_HOME")
    assert error["value"] == str(home / "ryla.db")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (NOBODY, "Connection refused"),
        (NOBODY.replace(":9/", ":port/"), "its URL is none"),
        ("nonsense://u:SECRET1@host/db", "its URL is none"),
        ("SECRET1", "its URL is none"),
    ],
)
def test_database_that_cannot_be_reached_is_told_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    """An unreachable server, a wrong port, a kind that there is not, and no URL at all."""
    monkeypatch.setenv("RYLA_DATABASE_URL", url)
    result = ryla("jobs", "list", "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["field"]) == (2, "RYLA_DATABASE_URL")
    assert says in error["message"]
    assert "SECRET" not in result.output
    assert len(result.stderr.splitlines()) == 1


def test_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare postgresql:// means another driver than ours."""

    def without(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(sa, "create_engine", without)
    with pytest.raises(DatabaseUnusable, match=r"needs psycopg.*postgresql\+psycopg2"):
        open_engine("postgresql://u@h/db")


@pytest.mark.parametrize("place", ["file", "file/deep"])
def test_home_that_is_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Or one that cannot be written: the setting and the folder."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RYLA_HOME", str(tmp_path / place))
    result = ryla("jobs", "list", "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["field"], error["value"]) == (2, "RYLA_HOME", str(tmp_path / place))


def test_folder_of_a_database_elsewhere_is_told(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home is good, the database's own folder is not."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RYLA_DATABASE_URL", f"sqlite:///{tmp_path}/file/ryla.db")
    assert json.loads(ryla("jobs", "list", "--json").stdout)["error"]["field"] == "RYLA_DATABASE_URL"


def test_other_errors_keep_their_stack_trace(home: Path, tmp_path: Path) -> None:
    """A file that lies elsewhere, a wrong statement of ours: a mistake in the program is not a setting's."""
    config = Settings(home=home)
    assert unusable(OSError(13, "Permission denied", str(tmp_path / "other")), config) is None
    assert unusable(OSError("socket"), config) is None
    assert unusable(ValueError("x"), config) is None
    assert unusable(sa.exc.ProgrammingError("SELECT", {}, Exception("no such column")), config) is None
    assert unusable(sa.exc.IntegrityError("INSERT", {}, Exception("UNIQUE")), config) is None

    @click.command()
    @json_flag
    @command
    def broken(*, as_json: bool) -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(broken, []).exception, ZeroDivisionError)


def test_locked_database_is_worth_another_try(home: Path) -> None:
    """Nothing is to be repaired."""
    found = unusable(sa.exc.OperationalError("BEGIN", {}, Exception("database is locked")), Settings(home=home))
    assert found is not None
    assert "try again" in found.way_out


def test_place_is_told_without_a_password() -> None:
    """The file of SQLite, the address of a server."""
    assert ledger_place(Settings(database_url=NOBODY)) == "postgresql+psycopg2://ryla:***@127.0.0.1:9/ryla"
    assert ledger_place(Settings(database_url="sqlite:////a/b.db")) == "/a/b.db"


def test_doctor_names_the_broken_ledger_too(home: Path, migrated_database: Path) -> None:
    """In the same words."""
    home.mkdir()
    damaged(home, migrated_database)
    row = next(one for one in examine(Settings(home=home, public_url="http://127.0.0.1:9")) if one.what == "database")
    assert row.state == "missing"
    assert row.detail == f"the database {home}/ryla.db cannot be used: file is not a database."


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
def test_user_without_a_name_can_work(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A container's uid may be in no passwd file."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user() == "unnamed"
