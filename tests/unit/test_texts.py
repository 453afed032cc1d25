"""What goes wrong at the door for texts: a block that leaves no trace, a trace that repeats the text, a list unread."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from ryla_assets.build import build_studio
from ryla_assets.cli import main
from ryla_assets.doctor import examine
from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.wrong_values import shown
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.settings import Settings
from ryla_assets.studio import texts
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import ask, generate, parse
from ryla_assets.studio.standing import standing_report
from ryla_assets.studio.studio import Caller, Studio
from tests.conftest import MARA
from tests.fakes.scripted_studio import IMAGE_PX, scripted_parts, to_content

ROOT = Path(__file__).resolve().parents[2]
WHO = "mara-lind"
UNSAFE = "she looks like a teenager"  # the screen blocks it; it must be found nowhere
NAME = "Ada Quillfeather"  # nobody; on the tests' deny list
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio on scripted pictures, with one active character."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX)
    make_character(made, WHO)
    return made


@pytest.fixture
def denying(open_studio: Opens, make_character: Makes, tmp_path: Path) -> Studio:
    """The same with a deny list of one name."""
    path = tmp_path / "denied.txt"
    path.write_text(f"# people\n{NAME}\n")
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, denied_names=path)
    make_character(made, WHO)
    return made


def blocks(studio: Studio) -> list[tuple[str, str, str | None]]:
    """(field, place, character) of every block, oldest first."""
    return [(one.field, one.place, one.character) for one in reversed(studio.registry.blocks(since=0))]


def character_file(tmp_path: Path, **changes: object) -> Path:
    """A character's file."""
    path = tmp_path / "new.yaml"
    path.write_text(yaml.safe_dump({"id": "new-one", "config": MARA | changes}))
    return path


# ---- every way in leaves one row


@pytest.mark.parametrize("field", ["name", "bio", "handle"])
def test_blocked_field_of_a_new_character_is_recorded(studio: Studio, tmp_path: Path, field: str) -> None:
    """By hash: which field, why, when, who, at which door; a character that was refused has no row of its own."""
    before = studio.registry.clock()
    with pytest.raises(UnsafeText):
        texts.character_file(studio, character_file(tmp_path, **{field: UNSAFE}), who="cli:somebody")
    [block] = studio.registry.blocks(since=0)
    assert (block.field, block.place, block.who) == (f"config.{field}", "character add", "cli:somebody")
    assert (block.reason, block.character) == ("minor_term", None)
    assert block.text_sha256 == hashlib.sha256(UNSAFE.encode()).hexdigest()
    assert before <= block.at <= studio.registry.clock()
    assert [who.id for who in studio.registry.characters()] == [WHO]


def test_blocked_id_is_recorded_without_the_id(studio: Studio) -> None:
    """The id is the text here: it stands in no column."""
    with pytest.raises(UnsafeText):
        texts.character_from(studio, {"id": "schoolgirl-anna", "config": MARA}, source="HTTP request", who="http")
    [block] = studio.registry.blocks(since=0)
    assert (block.field, block.character) == ("id", None)
    assert "schoolgirl" not in json.dumps(vars(block))


def test_blocked_wish_is_recorded_once(studio: Studio) -> None:
    """Asking screens the details before each prompt is built: still one block is one row, on the character's name."""
    to_content(studio, WHO)
    with pytest.raises(UnsafeText):
        ask(studio, WHO, parse({"details": UNSAFE, "asked_by": "cli:somebody"}))
    assert blocks(studio) == [("details", "generated_images", WHO)]
    assert studio.registry.blocks(since=0)[0].who == "cli:somebody"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"scene": UNSAFE}, "scene"),
        ({"aspect": UNSAFE}, "aspect"),
        ({"rating": UNSAFE}, "rating"),
        ({"method": UNSAFE}, "method"),
        ({"count": UNSAFE}, "count"),
        ({"prompt": UNSAFE}, "prompt"),
        ({UNSAFE: "yes"}, "request"),
    ],
)
def test_blocked_text_in_any_field_of_a_wish_is_recorded_and_not_repeated(
    studio: Studio, asked: dict[str, str], field: str
) -> None:
    """An error about an id, a number or an unknown field repeats only what the screen has let pass."""
    to_content(studio, WHO)
    with pytest.raises(UnsafeText) as caught:
        ask(studio, WHO, parse({**asked, "asked_by": "cli:somebody"}, studio, character=WHO))
    assert "teenager" not in f"{caught.value} {caught.value.as_dict()}"
    assert blocks(studio) == [(field, "generated_images", WHO)]
    assert studio.registry.blocks(since=0)[0].who == "cli:somebody"


def test_harmless_wrong_value_of_a_wish_is_still_told(studio: Studio) -> None:
    """So that it can be corrected; a text in an unknown field is not."""
    with pytest.raises(InputError, match=r"'cosy-home' is not a known value\. Did you mean 'cozy-home'") as scene:
        ask(studio, WHO, parse({"scene": "cosy-home"}, studio, character=WHO))
    assert scene.value.value == "cosy-home"
    with pytest.raises(InputError, match=r"^count: .*\(got 99\)"):
        parse({"count": 99}, studio, character=WHO)
    with pytest.raises(InputError, match="Known fields") as unknown:
        parse({"prompt": "a red scarf"}, studio, character=WHO)
    assert "scarf" not in f"{unknown.value} {unknown.value.as_dict()}"
    assert blocks(studio) == []


def test_name_of_a_character_that_does_not_exist_is_screened() -> None:
    """Also what is typed in place of an id comes back in an error."""
    assert shown("mara-lynd") == "mara-lynd"
    assert shown(UNSAFE) == "(not shown)"


def test_blocked_option_of_the_command_line_is_recorded_and_not_repeated(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ryla generate ID --scene TEXT` is a door like the others."""
    monkeypatch.setenv("LOGNAME", "vera")
    result = CliRunner().invoke(main, ["generate", WHO, "--scene", UNSAFE])
    assert result.exit_code == 2
    assert "teenager" not in result.output
    assert blocks(studio) == [("scene", "generated_images", WHO)]
    unknown = CliRunner().invoke(main, ["generate", UNSAFE])
    assert "teenager" not in unknown.output


def test_blocked_request_of_an_earlier_screen_is_recorded(studio: Studio) -> None:
    """A wish that was let in by older rules is blocked when its prompts are made, before anything is sent."""
    to_content(studio, WHO)
    body = parse({}).model_dump(mode="json") | {"details": UNSAFE}
    request = studio.registry.open_take(WHO, "generated_images", body, reuse="never")
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    with pytest.raises(UnsafeText):
        generate(studio, request)
    assert blocks(studio) == [("details", "generated_images", WHO)]
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]


def test_block_in_a_run_names_the_run(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever launched it is in Dagster; the row says which run, the run's events say the code and not the text."""
    monkeypatch.setattr("ryla_assets.prompts.build._place", lambda scene, environment: [UNSAFE])
    with dg.DagsterInstance.ephemeral() as instance:
        add_partition(instance, WHO)
        result = materialize(studio, instance, ["base_images"], character=WHO)
        assert not result.success
        assert "minor_term" in why(result)
        logs = " ".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert UNSAFE not in logs
    assert blocks(studio) == [("prompt", "base_images", WHO)]
    assert studio.registry.blocks(since=0)[0].who == f"run {result.run_id}"


def test_command_line_records_its_user(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ryla characters add` is a door like the others."""
    monkeypatch.setenv("LOGNAME", "vera")
    result = CliRunner().invoke(main, ["characters", "add", str(character_file(tmp_path, bio=UNSAFE))])
    assert result.exit_code == 2
    assert blocks(studio) == [("config.bio", "character add", None)]
    assert studio.registry.blocks(since=0)[0].who == "cli:vera"


def test_text_is_nowhere_after_its_block(
    studio: Studio, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in any file of the house (database, its journal, store, spool), nor in logs, events or output."""
    to_content(studio, WHO)
    told: list[str] = []
    studio.caller = Caller(tell=told.append)
    with caplog.at_level(logging.DEBUG):
        for attempt in (
            lambda: ask(studio, WHO, parse({"details": UNSAFE})),
            lambda: texts.character_file(studio, character_file(tmp_path, bio=UNSAFE)),
            lambda: texts.check(studio, UNSAFE, field="details", place="here", character=WHO),
        ):
            with pytest.raises(UnsafeText) as caught:
                attempt()
            assert "teenager" not in str(caught.value)
    assert len(studio.registry.blocks(since=0)) == 3
    files = [path for path in studio.settings.home.rglob("*") if path.is_file()]
    assert any(path.name.startswith("ryla.db") for path in files)
    assert [path.name for path in files if UNSAFE.encode() in path.read_bytes()] == []
    out = capfd.readouterr()
    assert UNSAFE not in caplog.text + out.out + out.err + "".join(told)


def test_passing_texts_leave_no_row(studio: Studio) -> None:
    """The trail is of blocks."""
    make_base_images(studio, WHO)
    texts.check(studio, "a red scarf", field="details", place="here", character=WHO)
    assert blocks(studio) == []


def test_blocks_are_counted_where_people_look(studio: Studio) -> None:
    """By reason and door, in the standing check's numbers and in the doctor's words; older ones are not today's."""
    for text in (UNSAFE, UNSAFE, "she is 15 years old"):
        with pytest.raises(UnsafeText):
            texts.check(studio, text, field="details", place="generated_images", character=WHO)
    told = standing_report(studio)
    assert told.numbers["blocked_texts"] == 3
    assert told.blocks[0] == {"reason": "minor_term", "place": "generated_images", "texts": 2}
    [safety] = [finding for finding in examine(studio.settings) if finding.what == "safety"]
    assert "3 texts blocked in 24 hours (2 minor_term, 1 age_under_18)" in safety.detail
    assert studio.registry.block_counts(since=studio.registry.clock() + 1) == {}


# ---- nobody goes around the door


def test_nobody_goes_around_the_door() -> None:
    """A stage that built its own prompt would be screened without the deny list, and its blocks recorded nowhere."""
    doors = {
        "ryla_assets.prompts.build": {"build_prompt", "build_caption"},
        "ryla_assets.domain.safety": {"screen", "reason_against", "blocked"},
        "ryla_assets.domain.character": {"parse_character"},
        "ryla_assets.registry.files": {"load_character"},
    }
    inside = {"ryla_assets/studio/texts.py", "ryla_assets/registry/files.py"}
    around = []
    for folder in ("ryla_assets", "sensors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name in inside or name.startswith(("ryla_assets/domain/", "ryla_assets/prompts/")):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    used = doors.get(node.module or "", set()) & {alias.name for alias in node.names}
                    around += [f"{name}:{node.lineno} {one}" for one in used]
    assert around == []


# ---- the deny list


def test_denied_name_is_refused_at_every_door(denying: Studio, tmp_path: Path) -> None:
    """A name on the list passes nowhere: not as a character, not in a wish, not in a prompt, not in a caption."""
    shout = NAME.upper()
    for refused in (
        lambda: texts.character_file(denying, character_file(tmp_path, name=NAME)),
        lambda: texts.character_file(denying, character_file(tmp_path, bio=f"in the style of {shout}.")),
        lambda: texts.character_from(denying, {"id": "ada-quillfeather", "config": MARA}, source="HTTP request"),
        lambda: ask(denying, WHO, parse({"details": f"with {shout} hair"})),
    ):
        with pytest.raises(UnsafeText) as caught:
            refused()
        assert caught.value.value == "real_person"
        assert "uillfeather" not in str(caught.value)
    assert len(denying.registry.blocks(since=0)) == 4


def test_without_a_list_the_name_passes(studio: Studio, tmp_path: Path) -> None:
    """A name cannot be told from an invented one: that is what the list is for."""
    assert texts.character_file(studio, character_file(tmp_path, name=NAME)).config.name == NAME


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "is empty"), (b"# nobody\n\n", "holds no name"), (b"\xff\xfe\x00", "is no UTF-8")],
    ids=["missing", "empty", "only comments", "binary"],
)
def test_list_that_cannot_be_used_stops_the_start(home: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    """Fail closed: a house that was told to deny names does not open without them."""
    path = tmp_path / "denied.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        build_studio(Settings(home=home, denied_names=path))
    assert caught.value.field == "RYLA_DENIED_NAMES"
    assert not home.exists(), "nothing was opened"


def test_folder_is_no_list(home: Path, tmp_path: Path) -> None:
    """Whatever it is, if it cannot be read the way out is told."""
    with pytest.raises(InputError, match="unset it"):
        build_studio(Settings(home=home, denied_names=tmp_path))
