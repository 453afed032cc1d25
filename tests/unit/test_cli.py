"""What goes wrong with a command line: help that takes seconds, JSON with words around it, exit codes that lie."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
from click.testing import CliRunner, Result

from resources.gpu.errors import OverBudget
from resources.storage import StorageFull
from ryla_assets.build import build_defs
from ryla_assets.cli import main, show
from ryla_assets.studio.studio import REQUIRED_CLAIMS, another
from workflows.errors import WorkflowError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "characters"
WHO = "mara-lind"
HEAVY = ("dagster", "numpy", "PIL", "dlib", "sqlalchemy", "rich", "starlette", "uvicorn", "alembic", "httpx")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(main))


@pytest.fixture
def cli_home(home: Path, migrated_database: Path) -> Path:
    """A home whose database needs no migration."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    return home


def ryla(*words: str) -> Result:
    """Run a command as a person types it; stdout and stderr apart."""
    return CliRunner().invoke(main, list(words))


def told(*words: str, code: int = 0) -> Any:
    """What a command prints with --json: exactly one JSON document on stdout."""
    result = ryla(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def added(cli_home: Path) -> str:
    """An active example character."""
    told("characters", "add", str(EXAMPLES / f"{WHO}.yaml"), "--activate")
    return WHO


# ---- help


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_command_explains_itself(words: tuple[str, ...]) -> None:
    """--help exits 0, says what the command does, and explains every option."""
    result = ryla(*words, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    command = ALL[words]
    assert command.help
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and p.name != "stage"]
    assert undocumented == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_command_speaks_json(words: tuple[str, ...]) -> None:
    """Programs call all of them."""
    assert "--json" in {option for parameter in ALL[words].params for option in parameter.opts}


@pytest.mark.parametrize("words", [(), ("characters",)], ids=str)
def test_group_lists_its_commands(words: tuple[str, ...]) -> None:
    """With --help and with nothing at all; each with a line of its own."""
    listing = ryla(*words, "--help").stdout
    group: Any = main
    for word in words:
        group = group.commands[word]
    for name in group.commands:
        assert re.search(rf"^  {name} +\S", listing, re.MULTILINE), name
    assert ryla(*words).exit_code == 2


def test_short_help_and_version() -> None:
    """What people try first."""
    assert ryla("-h").exit_code == 0
    assert re.search(r"\d+\.\d+", ryla("--version").stdout)


@pytest.mark.parametrize("asset", sorted(REQUIRED_CLAIMS))
def test_way_to_another_set_can_be_gone(asset: str) -> None:
    """Where a refused set says how to get another one, the command is there, or the asset has that config."""
    for way in another(asset, WHO).split(", or "):
        match way.replace("OPTION", "1").split():
            case ["ryla", *words]:
                name = next(path for path in ALL if words[: len(path)] == list(path))
                ALL[name].make_context("ryla", words[len(name) :])
            case ["materialize", stage, "with", field]:
                config = build_defs().resolve_asset_graph().assets_def_for_key(dg.AssetKey(stage)).op.config_field
                assert field in config.config_type.fields
            case _:
                pytest.fail(f"nobody can do that: {way}")


@pytest.mark.parametrize("words", [("--help",), ("demo", "--help"), ("characters", "add", "--help")], ids=" ".join)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    """Help is instant: Dagster alone takes more than a second to import."""
    code = f"import sys; from ryla_assets.cli import main; main({list(words)!r}, standalone_mode=False)"
    code += "; print('LOADED', [name for name in " + repr(HEAVY) + " if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("LOADED []")


# ---- usage


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("characters", "add"),
        ("characters", "select", WHO),
        ("characters", "select", WHO, "two"),
        ("characters", "regenerate", WHO, "--stage", "everything"),
        ("generate", WHO, "--count", "many"),
        ("doctor", "--no-such-option"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(cli_home: Path, words: tuple[str, ...]) -> None:
    """And is told on stderr, with nothing on stdout that a program could take for an answer."""
    result = ryla(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


@pytest.mark.parametrize(
    ("error", "shape", "code"),
    [
        (OverBudget("it can cost $9.", way_out="Wait."), {"code": "over_budget", "way_out": "Wait."}, 1),
        (StorageFull("The store is full."), {"code": "storage", "message": "The store is full."}, 1),
        (WorkflowError("the graph has no output"), {"code": "workflow", "message": "the graph has no output"}, 2),
    ],
    ids=["gpu", "storage", "workflow"],
)
def test_every_kind_of_error_has_one_shape(
    cli_home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, shape: dict[str, str], code: int
) -> None:
    """code, field, value, message, way_out: whichever room it came from. And the sentence on stderr."""
    from ryla_assets.registry.registry import Registry

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Registry, "characters", fails)
    result = ryla("characters", "list", "--json")
    assert result.exit_code == code
    found = json.loads(result.stdout)["error"]
    assert set(found) == {"code", "field", "value", "message", "way_out"}
    assert shape.items() <= found.items()
    assert str(error) in result.stderr
    assert ryla("characters", "list").stdout == ""


# ---- characters


LINE = {"id", "name", "age", "active", "lora_status", "base_image"}


def test_added_characters_come_back_as_rows(cli_home: Path) -> None:
    """One row each, inactive unless asked otherwise."""
    files = [str(EXAMPLES / f"{name}.yaml") for name in ("mara-lind", "kofi-mensah")]
    rows = told("characters", "add", *files)
    assert [row["id"] for row in rows] == ["mara-lind", "kofi-mensah"]
    assert all(set(row) == LINE for row in rows)
    assert [row["active"] for row in rows] == [False, False]
    assert told("characters", "list") == rows


def test_activating_and_retiring(added: str) -> None:
    """What may spend, and what left the list; activating again is no error."""
    assert told("characters", "activate", added)[0]["active"] is True
    assert told("characters", "retire", added) == [{"character": added, "retired": True}]
    assert told("characters", "list") == []
    assert told("characters", "activate", added)[0]["active"] is True


def test_empty_list_says_how_to_fill_it(cli_home: Path) -> None:
    """For people a next step, for programs an empty list."""
    assert "ryla characters add FILE --activate" in ryla("characters", "list").stdout
    assert told("characters", "list") == []


def test_shown_character_has_everything_about_it(added: str) -> None:
    """Config, stages, templates and requests, in one document."""
    told("generate", added, "--count", "2")
    shown = told("characters", "show", added)
    assert set(shown) == LINE | {"config", "stages", "templates", "requests"}
    assert shown["config"]["hair_color"] == "auburn"
    assert shown["stages"] == shown["templates"] == []
    [request] = shown["requests"]
    assert (request["state"], request["body"]["count"]) == ("pending", 2)


def test_shown_to_people_says_what_is_missing(added: str) -> None:
    """A character of whom nothing was made yet."""
    out = ryla("characters", "show", added).stdout
    assert added in out
    assert "Nothing was made yet." in out


def test_regenerating_what_was_never_made_is_exit_1(added: str) -> None:
    """Not a typo, but too early: the sentence says what comes first."""
    found = told("characters", "regenerate", added, code=1)["error"]
    assert (found["code"], found["field"]) == ("too_early", "base_images")
    assert "no base_images to make anew" in found["message"]


def test_unknown_character_is_exit_2_everywhere(cli_home: Path) -> None:
    """Whatever is asked about it."""
    for words in (
        ("characters", "show"), ("characters", "activate"), ("characters", "retire"), ("characters", "regenerate"),
        ("generate",),
    ):  # fmt: skip
        found = told(*words, "nobody", code=2)["error"]
        assert (found["code"], found["value"]) == ("unknown_character", "nobody"), words
    assert told("characters", "select", "nobody", "1", code=2)["error"]["code"] == "unknown_character"


def test_one_unknown_id_activates_nobody(added: str, cli_home: Path) -> None:
    """All ids are looked up before the first is activated."""
    told("characters", "add", str(EXAMPLES / "kofi-mensah.yaml"))
    told("characters", "activate", "kofi-mensah", "nobody", code=2)
    assert [row["active"] for row in told("characters", "list")] == [True, False]


# ---- content


def test_asking_for_images_is_a_request(added: str) -> None:
    """Its id and state; who asked is kept with it."""
    [row] = told("generate", added, "--scene", "cozy-home", "--environment", "cafe", "--count", "3", "--seed", "7")
    assert row == {"request": f"{added}/generated_images/1", "state": "pending"}
    [request] = told("characters", "show", added)["requests"]
    body = request["body"]
    assert (body["scene"], body["environment"], body["count"], body["seed"]) == ("cozy-home", "cafe", 3, 7)
    assert body["asked_by"].startswith("cli:")


def test_asking_says_who_will_generate_it(added: str) -> None:
    """A request alone makes no pictures: people are told what does."""
    assert "The sensors generate it while `ryla dev` runs" in ryla("generate", added).stdout


# ---- showing


def test_table_is_readable(added: str) -> None:
    """Ids whole, yes and no instead of True and False, no escape codes in a pipe, hashes cut short."""
    out = ryla("characters", "list").stdout
    assert added in out
    assert "yes" in out
    assert "True" not in out
    assert "\x1b[" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_table_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a reason are no markup; numbers are short; nothing is an empty cell."""
    show([{"why": "[red]not bold[/red]", "share": 0.66666, "sha": "a" * 64, "none": None}], as_json=False, title="t")
    out = capsys.readouterr().out
    assert "[red]not bold[/red]" in out
    assert "0.67" in out
    assert "a" * 12 in out
    assert "a" * 13 not in out
    assert "None" not in out


def test_rows_as_json_are_not_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the whole hash and the whole number."""
    row = {"share": 0.66666, "sha": "a" * 64, "none": None}
    show([row], as_json=True, title="t")
    assert json.loads(capsys.readouterr().out) == [row]
