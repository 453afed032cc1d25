"""What goes wrong with the doctor: a broken part that hides others, a finding without a cure, exit 0."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ryla_assets import doctor
from ryla_assets.cli import main
from ryla_assets.doctor import LOW_DISK, Finding, examine
from ryla_assets.settings import Settings

NOBODY = "http://127.0.0.1:9"  # the discard port: nobody listens
PARTS = ("RYLA_HOME", "database", "store", "backend", "face scorer", "dagster", "HTTP app", "budget", "gates")


@pytest.fixture
def ready_home(home: Path, migrated_database: Path) -> Path:
    """A home whose database needs no migration: that is what takes time."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    return home


def found(home: Path, **changes: Any) -> dict[str, Finding]:
    """What the doctor finds, by part."""
    return {one.what: one for one in examine(Settings(**{"home": home, "public_url": NOBODY, **changes}))}


def test_fresh_home_works_without_any_setting(ready_home: Path) -> None:
    """Nothing is missing; what works but should be known is a note."""
    findings = found(ready_home)
    assert set(PARTS) <= set(findings)
    assert [one.what for one in findings.values() if one.state == "missing"] == []
    assert "procedural" in findings["backend"].detail
    assert findings["gates"].detail == "enforced"
    assert findings["budget"].detail.startswith("$0.0000 of $25.00")


def test_examining_leaves_nothing_behind(ready_home: Path) -> None:
    """The probe of the folder is removed; looking twice finds the same."""
    first = found(ready_home)
    assert not (ready_home / ".doctor").exists()
    assert {what: one.state for what, one in found(ready_home).items()} == {w: one.state for w, one in first.items()}


def test_new_home_is_made_and_migrated(home: Path) -> None:
    """The first command of a new deployment may be the doctor."""
    assert found(home)["database"].state == "ok"
    assert (home / "ryla.db").exists()


def test_home_that_is_a_file_hides_nothing_else(tmp_path: Path, migrated_database: Path) -> None:
    """What needs the home is missing, each with its own words; the scorer and the gates are still looked at."""
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    findings = found(blocked)
    assert set(PARTS) <= set(findings)
    for what in ("RYLA_HOME", "database", "store"):
        assert findings[what].state == "missing", what
        assert findings[what].cure, what
    assert findings["face scorer"].state == findings["gates"].state == "ok"


def test_broken_database_is_told_with_its_cure(ready_home: Path) -> None:
    """A file that is no database, not a stack trace."""
    (ready_home / "ryla.db").write_bytes(b"this is not a database" * 100)
    findings = found(ready_home)
    assert findings["database"].state == findings["budget"].state == "missing"
    assert "not a database" in findings["database"].detail
    assert findings["database"].cure
    assert findings["store"].state == "ok"


def test_store_that_is_not_supported_is_told(ready_home: Path) -> None:
    """The message names the setting and what it may be."""
    one = found(ready_home, storage_url="ftp://somewhere/ryla")["store"]
    assert one.state == "missing"
    assert "RYLA_STORAGE_URL" in one.detail


def test_full_disk_is_a_note_before_it_is_a_failure(ready_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still works, so it is a note, with a cure."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(LOW_DISK, 1, LOW_DISK - 1))
    one = found(ready_home)["RYLA_HOME"]
    assert (one.state, one.cure) == ("note", "Free space soon.")


def test_gates_that_only_record_are_noted(ready_home: Path) -> None:
    """Nobody should be surprised that nothing is refused."""
    one = found(ready_home, gates="record")["gates"]
    assert (one.state, one.cure) == ("note", "Unset RYLA_GATES.")


def test_app_that_does_not_answer_is_a_note(ready_home: Path) -> None:
    """The pipeline works without it; only thumbnails are missing."""
    one = found(ready_home)["HTTP app"]
    assert one.state == "note"
    assert "ryla dev" in one.cure


def test_part_that_breaks_is_reported_not_raised(ready_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A doctor reports what others raise."""
    from resources.identity import DlibScorer

    monkeypatch.setattr(DlibScorer, "_folder", Path("/nowhere"))
    findings = found(ready_home)
    assert findings["face scorer"].state == "missing"
    assert "FileNotFoundError" in findings["face scorer"].detail
    assert set(PARTS) <= set(findings)


def test_scorer_that_cannot_load_is_missing(ready_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are there, and are another network's: no picture can be judged."""
    from resources import identity

    monkeypatch.setattr(identity, "EMBEDDER", identity.ALIGNER)
    one = found(ready_home)["face scorer"]
    assert (one.state, "not the weights" in one.detail) == ("missing", True)


# ---- the command


def test_command_shows_everything_and_succeeds(ready_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0 while nothing is missing; notes are no failure."""
    monkeypatch.setenv("RYLA_PUBLIC_URL", NOBODY)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert set(PARTS) <= {row["what"] for row in rows}
    assert all(set(row) == {"what", "state", "detail", "cure"} for row in rows)
    assert {row["state"] for row in rows} <= {"ok", "note"}


def test_command_fails_when_something_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, and the table is shown all the same."""
    (tmp_path / "a-file").write_text("not a folder")
    monkeypatch.setenv("RYLA_HOME", str(tmp_path / "a-file"))
    monkeypatch.setenv("RYLA_PUBLIC_URL", NOBODY)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "missing" in result.stdout
    assert "face scorer" in result.stdout


def test_no_secret_is_shown(ready_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the database's URL stays out of the table, also when it cannot be reached."""
    monkeypatch.setenv("RYLA_DATABASE_URL", "postgresql+psycopg2://ryla:hunter2-secret@127.0.0.1:9/ryla")
    monkeypatch.setenv("RYLA_PUBLIC_URL", NOBODY)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 1
    assert "hunter2" not in result.output
