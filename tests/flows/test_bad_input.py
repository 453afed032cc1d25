"""What a person sees when something is wrong: the exact words, the exit code, the JSON, and that nothing was spent.

One test each. What a command says is on stderr; with --json the same error is on stdout, in one shape.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner

from resources.database import reading
from resources.gpu import ledger
from resources.gpu.backends.preview.backend import PreviewBackend
from resources.gpu.errors import InvalidJob, OverBudget
from resources.storage import StorageFull
from ryla_assets.build import build_studio
from ryla_assets.cli import main
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.prompts.lexicon import lexicon
from ryla_assets.settings import Settings
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import ask, parse
from ryla_assets.studio.judge import judge
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio
from tests.conftest import MARA
from tests.fakes.scripted_backend import ScriptedBackend
from tests.fakes.scripted_studio import judged, scripted_parts, to_base

WHO = "mara-lind"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "characters"
UNSAFE = "she looks like a teenager"  # the screen blocks it; it must never be repeated
SHAPE = {"code", "field", "value", "message", "way_out"}


@pytest.fixture
def cli_home(home: Path, migrated_database: Path) -> Path:
    """A home whose database needs no migration."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    return home


@pytest.fixture
def character_file(tmp_path: Path) -> Callable[..., str]:
    """Write a character's file: `character_file(age=17)` changes its config; None takes a field out."""

    def write(file: str = "x.yaml", *, id: object = WHO, **changes: object) -> str:  # noqa: A002  the file's own word
        config = {key: value for key, value in (MARA | changes).items() if value is not None}
        path = tmp_path / file
        path.write_text(yaml.safe_dump({"id": id, "config": config}, sort_keys=False))
        return str(path)

    return write


def said(*words: str, code: int) -> tuple[str, dict[str, Any]]:
    """What a failing command says: its line on stderr, and its JSON error; both with the same exit code."""
    plain = CliRunner().invoke(main, list(words))
    assert (plain.exit_code, plain.stdout) == (code, ""), plain.output
    as_json = CliRunner().invoke(main, [*words, "--json"])
    assert as_json.exit_code == code
    error = json.loads(as_json.stdout)["error"]
    assert set(error) == SHAPE
    assert plain.stderr == as_json.stderr, "the line is the same, JSON or not"
    assert plain.stderr.startswith("Error: ")
    return plain.stderr.removeprefix("Error: ").rstrip("\n"), error


def listed() -> list[str]:
    """The characters that the registry knows now."""
    return [row["id"] for row in json.loads(CliRunner().invoke(main, ["characters", "list", "--json"]).stdout)]


# ---- a character's file


def test_unknown_field_names_the_one_that_was_meant(cli_home: Path, character_file: Callable[..., str]) -> None:
    """A typo is not passed over: the nearest name comes first, then all of them."""
    path = character_file(hair_colour="red")
    line, error = said("characters", "add", path, code=2)
    start = (
        f"config.hair_colour: unknown field in {path}. Did you mean 'hair_color'? Choose one of: name, gender, style,"
    )
    assert line.startswith(start)
    assert (error["code"], error["field"]) == ("input", "config.hair_colour")
    assert listed() == []


def test_unknown_value_names_the_allowed_ones(cli_home: Path, character_file: Callable[..., str]) -> None:
    """All of them: nobody should have to look for a list."""
    line, error = said("characters", "add", character_file(hair_color="purple"), code=2)
    assert line == (
        "config.hair_color: 'purple' is not a known value. "
        "Choose one of: black, brown, blonde, auburn, red, gray, white."
    )
    assert (error["field"], error["value"]) == ("config.hair_color", "purple")


def test_value_of_the_other_gender_is_told_apart(cli_home: Path, character_file: Callable[..., str]) -> None:
    """A known word, and still wrong here."""
    line, _ = said("characters", "add", character_file(hair_style="pompadour"), code=2)
    assert line == (
        "config.hair_style: 'pompadour' is not a known value for this gender. "
        "Choose one of: long, short, braids, ponytail, bangs, bun, wavy."
    )


def test_minor_is_refused(cli_home: Path, character_file: Callable[..., str]) -> None:
    """17 is refused with one sentence, and no option lets it through."""
    for words in ([], ["--activate"], ["--auto-select"]):
        line, error = said("characters", "add", character_file(age=17), *words, code=2)
        assert line == "config.age: RYLA draws adults only: age must be 18 or more."
        assert (error["field"], error["value"]) == ("config.age", "17")
    assert listed() == []


def test_missing_field_says_what_to_add(cli_home: Path, character_file: Callable[..., str]) -> None:
    """With its choices."""
    path = character_file(gender=None)
    line, _ = said("characters", "add", path, code=2)
    assert line == f"config.gender: is missing in {path}. Add it: one of female, male."


def test_bad_slug_suggests_one(cli_home: Path, character_file: Callable[..., str]) -> None:
    """What the person most likely meant."""
    path = character_file(id="Mara Lind!")
    line, _ = said("characters", "add", path, code=2)
    assert line == (
        f"id: 'Mara Lind!' in {path} is not a valid id. "
        "Use 2 to 39 characters of a-z, 0-9 and '-', starting with a letter or digit. Try 'mara-lind'."
    )


def test_suggested_slug_is_a_valid_one(cli_home: Path, character_file: Callable[..., str]) -> None:
    """Following the advice works."""
    line, _ = said("characters", "add", character_file(id="-- Mära_LIND --"), code=2)
    advice = line.rsplit("Try '", 1)[1].removesuffix("'.")
    assert CliRunner().invoke(main, ["characters", "add", character_file(id=advice)]).exit_code == 0
    assert listed() == [advice]


def test_duplicate_says_how_to_look_at_the_other(cli_home: Path, character_file: Callable[..., str]) -> None:
    """The first one stays as it is."""
    path = character_file()
    assert CliRunner().invoke(main, ["characters", "add", path]).exit_code == 0
    line, error = said("characters", "add", character_file(age=50), code=2)
    assert line == (
        f"id: a character '{WHO}' exists already. Choose another id, or look at it: ryla characters show {WHO}"
    )
    assert error["code"] == "duplicate_character"
    shown = json.loads(CliRunner().invoke(main, ["characters", "show", WHO, "--json"]).stdout)
    assert shown["age"] == 34


def test_two_files_with_one_id_add_nothing(cli_home: Path, character_file: Callable[..., str]) -> None:
    """Neither of the two, and not the third beside them."""
    files = [character_file("one.yaml"), character_file("two.yaml"), character_file("kofi.yaml", id="kofi-mensah")]
    line, _ = said("characters", "add", *files, code=2)
    assert line == f"id: '{WHO}' is in two files. Rename one."
    assert listed() == []


def test_one_bad_file_of_many_adds_nothing(cli_home: Path, character_file: Callable[..., str]) -> None:
    """Half an import would have to be told apart by hand: a wrong file, or an id that exists already."""
    assert CliRunner().invoke(main, ["characters", "add", character_file("mara.yaml")]).exit_code == 0
    good = character_file("kofi.yaml", id="kofi-mensah")
    said("characters", "add", good, character_file("young.yaml", id="young-one", age=17), code=2)
    said("characters", "add", good, character_file("again.yaml"), "--activate", code=2)
    assert listed() == [WHO]


def test_broken_yaml_names_the_line(cli_home: Path, tmp_path: Path) -> None:
    """The file and the line, not the parser's stack."""
    path = tmp_path / "broken.yaml"
    path.write_text("id: mara-lind\nconfig:\n  name: [Mara\n  age: 34\n")
    line, _ = said("characters", "add", str(path), code=2)
    assert line == f"file: {path} is not valid YAML (line 4)."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no mapping. Start it with id: and config:."),
        (b"just words", "holds no mapping. Start it with id: and config:."),
        (b"\xff\xfe\x00", "is not valid YAML."),
        (b"id: !!python/object/apply:os.system ['true']\n", "is not valid YAML (line 1)."),
        (b"a: " + b"x" * 70_000, "has 70003 bytes; at most 65536 are read."),
    ],
    ids=["empty", "no mapping", "binary", "python object", "huge"],
)
def test_file_that_is_no_character(cli_home: Path, tmp_path: Path, content: bytes, sentence: str) -> None:
    """Whatever lies in the file, one sentence and no code runs."""
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert said("characters", "add", str(path), code=2)[0] == f"file: {path} {sentence}"


def test_missing_file_is_named(cli_home: Path, tmp_path: Path) -> None:
    """And a folder is no file."""
    path = tmp_path / "nobody.yaml"
    line, error = said("characters", "add", str(path), code=2)
    assert line == f"file: {path} cannot be read (No such file or directory). Check the path."
    assert (error["field"], error["value"]) == ("file", str(path))
    assert said("characters", "add", str(tmp_path), code=2)[0] == (
        f"file: {tmp_path} cannot be read (Is a directory). Check the path."
    )


def test_unsafe_bio_is_never_repeated(cli_home: Path, character_file: Callable[..., str]) -> None:
    """The reason is told by its code, the text stays where it is."""
    for field in ("bio", "name", "handle"):
        words = ["characters", "add", character_file(file="x.yaml", **{field: UNSAFE})]
        line, error = said(*words, code=2)
        assert error["code"] == "unsafe_text"
        assert error["field"] == f"config.{field}"
        assert "teen" not in line + json.dumps(error)


# ---- picking


def test_selecting_for_nobody(cli_home: Path) -> None:
    """A character that does not exist, and where to look."""
    line, error = said("characters", "select", "nobody", "1", code=2)
    assert line == (
        "character: there is no character 'nobody'. ryla characters list shows them; ryla characters add FILE adds one."
    )
    assert (error["code"], error["value"]) == ("unknown_character", "nobody")


def test_selecting_before_activation(cli_home: Path, character_file: Callable[..., str]) -> None:
    """Nothing can have been made yet: the way out is the command that lets it be made."""
    CliRunner().invoke(main, ["characters", "add", character_file()])
    line, error = said("characters", "select", WHO, "1", code=1)
    assert line == (f"character: {WHO} is not active, so nothing is spent on it. ryla characters activate {WHO}")
    assert error["code"] == "too_early"


def test_selecting_before_base_images_exist(cli_home: Path, character_file: Callable[..., str]) -> None:
    """Active, but nothing to choose from yet."""
    CliRunner().invoke(main, ["characters", "add", character_file(), "--activate"])
    line, error = said("characters", "select", WHO, "1", code=1)
    assert line == f"base_images: {WHO} has no base_images yet. Materialize base_images first."
    assert (error["code"], error["field"]) == ("too_early", "base_images")


@pytest.mark.parametrize("option", ["9", "4", "0"])
def test_option_that_does_not_exist(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any], option: str
) -> None:
    """Three were made: 1 to 3 are the choices, and nothing is recorded."""
    studio = open_studio(parts=scripted_parts(), image_px=256)
    make_character(studio, WHO)
    judged(studio, make_base_images(studio, WHO))
    line, error = said("characters", "select", WHO, option, code=2)
    assert line == f"option: {WHO} has no option {option}. Choose 1 to 3; ryla characters show {WHO} lists them."
    assert (error["field"], error["value"]) == ("option", option)
    assert studio.registry.selection(WHO) is None


def test_selecting_from_unjudged_base_images(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any]
) -> None:
    """Pictures that nobody checked are no choice; how to check them is told."""
    studio = open_studio(parts=scripted_parts(), image_px=256)
    make_character(studio, WHO)
    studio.publish(make_base_images(studio, WHO))
    line, error = said("characters", "select", WHO, "1", code=1)
    assert "integrity: not yet judged; provenance: not yet judged; quality: not yet judged; rating: not yet" in line
    assert line.endswith("Execute the checks of base_images for this partition.")
    assert error["code"] == "not_accepted"


# ---- asking for content


@pytest.fixture
def active(cli_home: Path, character_file: Callable[..., str]) -> str:
    """An active character on the command line."""
    result = CliRunner().invoke(main, ["characters", "add", character_file(), "--activate"])
    assert result.exit_code == 0
    return WHO


def no_requests(character: str) -> bool:
    """Whether nothing is on the character's list."""
    shown = json.loads(CliRunner().invoke(main, ["characters", "show", character, "--json"]).stdout)
    return bool(shown["requests"] == [])


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--scene", "moon", "scene: 'moon' is not a known value. Choose one of: professional-portrait, candid-"),
        ("--environment", "mars", "environment: 'mars' is not a known value. Choose one of: beach, home-bedroom,"),
        ("--aspect", "4:3", "aspect: '4:3' is not a known value. Did you mean '2:3'? Choose one of: 1:1, 2:3, 9:16."),
        ("--rating", "adult", "rating: 'adult' is not a known value. Choose one of: sfw, nsfw."),
        ("--method", "magic", "method: 'magic' is not a known value. Choose one of: auto, lora, face_swap."),
        ("--count", "11", "count: Input should be less than or equal to 10 (got 11). Correct it and ask again."),
        ("--count", "0", "count: Input should be greater than or equal to 1 (got 0). Correct it and ask again."),
        ("--seed", "-1", "seed: Input should be greater than or equal to 0 (got -1). Correct it and ask again."),
    ],
    ids=lambda value: str(value)[:12],
)
def test_wrong_wish_names_what_is_allowed(active: str, option: str, value: str, sentence: str) -> None:
    """Before anything is on the list: the field, the value, and what it may be."""
    line, error = said("generate", active, option, value, code=2)
    assert line.startswith(sentence)
    assert (error["field"], error["value"]) == (option.removeprefix("--"), value)
    assert no_requests(active)


def test_near_miss_of_a_scene_is_suggested(active: str) -> None:
    """36 scenes: the one that was meant comes first."""
    line, _ = said("generate", active, "--scene", "beach_day", code=2)
    assert "Did you mean 'beach-day'?" in line


def test_nsfw_without_consents_is_a_refusal(active: str) -> None:
    """No usage error but a policy: exit 1, what is missing, and the way out."""
    line, error = said("generate", active, "--rating", "nsfw", code=1)
    assert line.startswith("rating: rating nsfw needs ")
    assert "nsfw_enabled" in line
    assert "Ask for" in line
    assert (error["code"], error["field"], error["value"]) == ("refused", "rating", "nsfw")
    assert no_requests(active)


def test_asking_for_an_inactive_character(cli_home: Path, character_file: Callable[..., str]) -> None:
    """It may not spend."""
    CliRunner().invoke(main, ["characters", "add", character_file()])
    line, _ = said("generate", WHO, code=1)
    assert line == f"character: {WHO} is not active, so nothing is spent on it. ryla characters activate {WHO}"


def test_unsafe_details_are_never_repeated(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any]
) -> None:
    """Not in the sentence, not in the JSON, not in the request's row; nor is a text that is only too long."""
    studio = open_studio(parts=scripted_parts())
    make_character(studio, WHO)
    with pytest.raises(UnsafeText) as caught:
        ask(studio, WHO, parse({"details": UNSAFE}))
    assert "teen" not in str(caught.value) + json.dumps(caught.value.as_dict())
    assert caught.value.field == "details"
    with pytest.raises(InputError) as too_long:
        parse({"details": UNSAFE * 40})
    assert "teen" not in str(too_long.value) + json.dumps(too_long.value.as_dict())
    assert studio.registry.requests(WHO, "generated_images") == []


def test_unknown_field_of_a_wish_is_told() -> None:
    """From a program: the field, and those that are known."""
    with pytest.raises(InputError, match=r"^secne: .*Known fields: scene, environment, count, aspect"):
        parse({"secne": "cozy-home"})


# ---- settings


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RYLA_BACKEND", "modal", "RYLA_BACKEND: Input should be 'preview'"),
        ("RYLA_IMAGE_PX", "500", "RYLA_IMAGE_PX: Input should be a multiple of 16."),
        ("RYLA_GATES", "off", "RYLA_GATES: Input should be 'enforce' or 'record'."),
    ],
)
def test_wrong_setting_names_its_variable(
    cli_home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """Whatever the command was: exit 2, the variable, what is allowed."""
    monkeypatch.setenv(name, value)
    for words in (["characters", "list"], ["doctor"], ["generate", WHO], ["demo"]):
        line, error = said(*words, code=2)
        assert line.startswith(sentence)
        assert line.endswith(f"Change or unset {name}; see ryla doctor.")
        assert (error["field"], error["value"]) == (name, value)


def test_backend_without_its_address_names_the_variable(cli_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RYLA_BACKEND=comfyui alone says which variable is missing, and how one looks."""
    monkeypatch.setenv("RYLA_BACKEND", "comfyui")
    line, error = said("characters", "list", code=2)
    assert line.startswith("COMFYUI_URL: ")
    assert "http://127.0.0.1:8188" in line
    assert error["field"] == "COMFYUI_URL"


# ---- work that cannot be done, through Dagster


@dataclass
class House:
    """A studio with its Dagster instance."""

    studio: Studio
    instance: dg.DagsterInstance

    def base_images(self, **config: Any) -> dg.ExecuteInProcessResult:
        """Materialize the character's base images with their checks."""
        return materialize(self.studio, self.instance, ["base_images"], character=WHO, config={"base_images": config})

    def pictures(self) -> ImageSet:
        """The current base images."""
        found = self.studio.current("base_images", WHO)
        assert isinstance(found, ImageSet)
        return found

    def file(self, number: int) -> Path:
        """Where a base image lies."""
        uri = self.studio.store.uri("images", self.pictures().images[number].sha256)
        return Path(uri.removeprefix("file://"))

    def attempts(self) -> int:
        """How many attempts the ledger has, of any job."""
        with reading(self.studio.registry.engine) as db:
            return int(db.execute(sa.select(sa.func.count()).select_from(ledger.attempts)).scalar_one())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory that knows the character."""
    with dg.DagsterInstance.ephemeral() as made:
        add_partition(made, WHO)
        yield made


@pytest.fixture
def scripted(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any], instance: dg.DagsterInstance
) -> House:
    """A house on the scripted backend: nothing is drawn, everything is counted."""
    studio = open_studio(parts=scripted_parts(), image_px=256)
    make_character(studio, WHO)
    return House(studio, instance)


def submitted(house: House) -> list[int]:
    """How often each job reached the backend."""
    backend = house.studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    return list(backend.submitted.values())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[House]:
    """A house on the preview backend with base images that are accepted."""
    home = tmp_path_factory.mktemp("drawn")
    shutil.copy(migrated_database, home / "ryla.db")
    backend = PreviewBackend(home / "preview", lexicon=lexicon(), workers=1)
    studio = build_studio(Settings(home=home, image_px=256), backend=backend)
    studio.registry.add_character(parse_character({"id": WHO, "config": MARA}, source="the test"))
    studio.registry.activate(WHO)
    with dg.DagsterInstance.ephemeral() as made:
        add_partition(made, WHO)
        house = House(studio, made)
        result = house.base_images()
        assert result.success, why(result)
        yield house
    studio.registry.engine.dispose()


@pytest.mark.parametrize("damage", ["truncated", "changed", "deleted"])
def test_damaged_picture_is_named_and_healed(drawn: House, damage: str) -> None:
    """The check fails and names the shot; materializing again fetches the paid picture, and draws nothing."""
    path, whole, before = drawn.file(1), drawn.file(1).read_bytes(), drawn.pictures()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[:-50] if damage == "truncated" else whole[:60] + b"?" + whole[61:])
    backend = drawn.studio.runner.backend
    assert isinstance(backend, PreviewBackend)
    executions, attempts = backend.executions(), drawn.attempts()
    found = judge(drawn.studio, "base_images", WHO, "integrity")
    assert not found.passed
    assert found.reason.startswith("option-2: ")
    assert ("is not in the store" if damage == "deleted" else "is damaged") in found.reason
    assert not drawn.studio.is_accepted("base_images", WHO)
    result = drawn.base_images()
    assert result.success, why(result)
    assert path.read_bytes() == whole
    assert drawn.pictures() == before
    assert drawn.studio.is_accepted("base_images", WHO)
    assert (backend.executions(), drawn.attempts()) == (executions, attempts)


def test_missing_model_file_is_found_before_anything_is_paid(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any], instance: dg.DagsterInstance, home: Path
) -> None:
    """The node and the file that it wants; no intent in the ledger, nothing sent."""
    whole = PreviewBackend(home / "whole", lexicon=lexicon()).model_files()
    lacking = {folder: names - {"ae.safetensors"} for folder, names in whole.items()}
    backend = PreviewBackend(home / "preview", lexicon=lexicon(), files=lacking, workers=1)
    studio = open_studio(parts={"backend": backend}, image_px=256)
    make_character(studio, WHO)
    house = House(studio, instance)
    result = house.base_images()
    assert not result.success
    said_there = why(result)
    assert f"{WHO}/base_images/1: preview would refuse this job: node " in said_there
    assert "ae.safetensors" in said_there
    assert "Nothing was sent." in said_there
    assert house.attempts() == 0
    assert backend.executions() == {}
    with pytest.raises(InvalidJob) as caught:
        make_base_images(studio, WHO)
    [problem, *_] = caught.value.problems
    assert problem["class_type"] == "VAELoader"
    assert problem["type"] == "value_not_in_list"


def test_small_budget_stops_before_sending(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any], instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """RYLA_DAILY_BUDGET_USD: what it could cost, what is left, and which variable to raise."""
    monkeypatch.setenv("RYLA_DAILY_BUDGET_USD", "0.01")
    limit = Settings().daily_budget_usd
    studio = open_studio(parts=scripted_parts(), image_px=256, daily_budget_usd=limit)
    make_character(studio, WHO)
    house = House(studio, instance)
    result = house.base_images()
    assert not result.success
    assert why(result) == (
        "This job can cost $0.0500; of the daily budget of $0.01, $0.0000 is spent and $0.0000 is reserved for open "
        "work. [over_budget] Raise RYLA_DAILY_BUDGET_USD or wait until older work leaves the 24-hour window."
    )
    assert (house.attempts(), submitted(house)) == (0, [])
    with pytest.raises(OverBudget):
        make_base_images(studio, WHO)


def test_activation_is_asked_before_money(scripted: House) -> None:
    """A retired character's run fails with the way back, and sends nothing."""
    scripted.studio.registry.retire(WHO)
    result = scripted.base_images()
    assert not result.success
    assert why(result) == (f"character: {WHO} is not active, so nothing is spent on it. ryla characters activate {WHO}")
    assert submitted(scripted) == []


# ---- a full disk


class FullDisk:
    """fsync that fails as a full disk does, after `room` more objects."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.real = os.fsync

    def __call__(self, handle: int) -> None:
        """Write, or fail."""
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        self.real(handle)


@pytest.mark.parametrize("room", [0, 1, 3], ids=["first picture", "second picture", "manifest"])
def test_full_disk_loses_and_repeats_nothing(scripted: House, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A clear sentence and no half file; with room again, the same run adopts what was paid for."""
    with monkeypatch.context() as patch:
        patch.setattr("resources.storage.os.fsync", FullDisk(room))
        result = scripted.base_images()
    assert not result.success
    assert "The store is full: " in why(result)
    assert "Nothing was half-written; free space and run the same command again." in why(result)
    root = scripted.studio.settings.home / "store"
    assert [path for path in root.rglob("*") if path.name.startswith(".part-")] == []
    assert scripted.studio.registry.head("base_images", WHO) is None
    again = scripted.base_images()
    assert again.success, why(again)
    assert submitted(scripted) == [1], "sent once, however often the disk was full"
    assert scripted.studio.is_accepted("base_images", WHO)


def test_full_disk_while_a_pose_is_stored_sends_nothing(scripted: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job needs is stored before the job exists: no room, no job."""
    studio = scripted.studio
    chosen = to_base(studio, WHO)
    before = len(submitted(scripted))
    monkeypatch.setattr("resources.storage.os.fsync", FullDisk(0))
    with pytest.raises(StorageFull):
        make_sheet(studio, chosen)
    assert len(submitted(scripted)) == before
