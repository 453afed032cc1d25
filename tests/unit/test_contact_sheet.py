"""What goes wrong with the demo's picture: a story that does not fit, a picture that is gone, a lost mark."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resources import images
from resources.storage import FileStore
from ryla_assets.contact_sheet import BAD, COLUMNS, GAP, GOOD, LABEL, LEFT, MUTED, TILE, _caption, draw
from tests.fakes.scripted_backend import picture


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def image(
    store: FileStore, shot: str, *, distance: float | None = 0.2, seed: int = 1, **changes: Any
) -> dict[str, Any]:
    """One picture of a stage, as the demo reports it."""
    told = {
        "name": f"{shot}.png", "shot": shot, "sha256": store.put("images", picture(64, 48, seed=seed)),
        "expects_face": True, "identity_distance": distance, "verified": distance is not None and distance < 0.45,
        "refused": "",
    }  # fmt: skip
    return {**told, **changes}


def stage(asset: str, pictures: list[dict[str, Any]], *, route: str = "sheet", passed: bool = True) -> dict[str, Any]:
    """One stage with its identity check."""
    numbers = {"verified": 6, "requested": 6, "identity_gate": 0.9}
    check = {"name": f"{asset}__identity", "passed": passed, "reason": "told", "numbers": numbers}
    return {"asset": asset, "route": route, "images": pictures, "checks": [check], "accepted": passed}


def story(stages: list[dict[str, Any]], *, character: str = "mara-lind", refused: str = "") -> dict[str, Any]:
    """One character's story."""
    return {"character": character, "stages": stages, "refused": refused, "drifting": bool(refused)}


def drawn(store: FileStore, stories: list[dict[str, Any]], path: Path) -> Image.Image:
    """The sheet as it lies on disk."""
    assert draw(store, stories, path) == path
    return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


def test_it_is_written_where_it_was_asked_for_and_carries_the_mark(store: FileStore, tmp_path: Path) -> None:
    """Folders are made; whoever passes the picture on passes the mark on."""
    path = tmp_path / "a" / "new" / "folder" / "contact-sheet.png"
    drawn(store, [story([stage("base_images", [image(store, "option-1")], route="base")])], path)
    assert images.read_mark(path.read_bytes()) == "algorithmicMedia"


def test_stories_make_it_taller_not_wider(store: FileStore, tmp_path: Path) -> None:
    """A row a stage, whatever the number of characters."""
    rows = [stage("base_images", [image(store, "option-1")]), stage("character_sheet", [image(store, "front-smile")])]
    one = drawn(store, [story(rows)], tmp_path / "one.png")
    three = drawn(store, [story(rows, character=f"who-{n}") for n in range(3)], tmp_path / "three.png")
    assert one.width == three.width
    assert three.height - one.height >= 2 * len(rows) * (TILE + LABEL)


def test_every_picture_of_a_row_is_on_it(store: FileStore, tmp_path: Path) -> None:
    """Eight shots, eight tiles: each is found by its own colour."""
    colours = [(250 - 20 * n, 20 * n, 128) for n in range(COLUMNS)]
    pictures = []
    for n, colour in enumerate(colours):
        out = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(out, format="PNG")
        pictures.append(image(store, f"shot-{n}", sha256=store.put("images", out.getvalue())))
    sheet = drawn(store, [story([stage("character_sheet", pictures)])], tmp_path / "sheet.png")
    seen = set(sheet.get_flattened_data() if hasattr(sheet, "get_flattened_data") else sheet.getdata())
    assert set(colours) <= seen


def test_refused_character_is_said_to_be_refused(store: FileStore, tmp_path: Path) -> None:
    """The line of a refused story is written in another colour; stages that were never made are no rows."""
    rows = [stage("character_sheet", [image(store, "front-smile", distance=0.9)], passed=False)]
    refused = drawn(store, [story(rows, refused="not accepted")], tmp_path / "refused.png")
    accepted = drawn(store, [story(rows)], tmp_path / "accepted.png")
    assert refused.size == accepted.size
    assert has(refused, BAD, above=120)
    assert not has(refused, GOOD, above=120)
    assert has(accepted, GOOD, above=120)


def has(sheet: Image.Image, colour: str, *, above: int) -> bool:
    """Whether that ink is on the upper part."""
    wanted = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
    part = sheet.crop((0, 0, sheet.width, above))
    return any(pixel == wanted for _, pixel in part.getcolors(part.width * part.height) or [])


@pytest.mark.parametrize(
    ("changes", "asset", "picked", "text", "colour"),
    [
        ({}, "character_sheet", False, "front-smile: 0.20", GOOD),
        ({"identity_distance": 0.91, "verified": False}, "character_sheet", False, "front-smile: 0.91", BAD),
        ({"identity_distance": None, "verified": False}, "character_sheet", False, "front-smile: no face", BAD),
        ({"expects_face": False}, "character_sheet", False, "front-smile: not scored", MUTED),
        ({}, "base_images", True, "front-smile: picked", GOOD),
        ({}, "base_images", False, "front-smile", MUTED),
        ({"shot": "beach-day-beach-1x1-03"}, "generated_images", False, "03: 0.20", GOOD),
    ],
    ids=["verified", "stranger", "no face", "not declared", "picked", "not picked", "content by its number"],
)
def test_caption_says_what_was_measured(
    store: FileStore, changes: dict[str, Any], asset: str, picked: bool, text: str, colour: str
) -> None:
    """A distance, or why there is none; never a number where nothing was measured."""
    assert _caption(image(store, **{"shot": "front-smile", **changes}), asset, picked=picked) == (text, colour)


def test_character_that_made_nothing_has_its_line(store: FileStore, tmp_path: Path) -> None:
    """A story that ended at once is on the sheet all the same."""
    sheet = drawn(store, [story([], refused="base_images: something went wrong")], tmp_path / "empty.png")
    assert has(sheet, BAD, above=sheet.height)


def test_lost_picture_does_not_lose_the_sheet(store: FileStore, tmp_path: Path) -> None:
    """One file that is gone leaves its place empty; the rest of the demo's result is shown."""
    pictures = [image(store, "front-smile", seed=1), image(store, "left-neutral", seed=2)]
    Path(store.uri("images", pictures[0]["sha256"]).removeprefix("file://")).unlink()
    sheet = drawn(store, [story([stage("character_sheet", pictures)])], tmp_path / "sheet.png")
    assert sheet.height > TILE


def test_full_sheet_of_ten_shows_all_ten(store: FileStore, tmp_path: Path) -> None:
    """RYLA_SHEET_IMAGES=10 is allowed: a shot that is not drawn must not be dropped in silence."""
    colours = [(250 - 20 * n, 20 * n, 128) for n in range(10)]
    pictures = []
    for n, colour in enumerate(colours):
        out = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(out, format="PNG")
        pictures.append(image(store, f"shot-{n}", sha256=store.put("images", out.getvalue())))
    sheet = drawn(store, [story([stage("character_sheet", pictures)])], tmp_path / "sheet.png")
    assert all(has(sheet, f"#{r:02x}{g:02x}{b:02x}", above=sheet.height) for r, g, b in colours)


def test_rejected_takes_have_a_row_of_their_own_and_are_struck_out(store: FileStore, tmp_path: Path) -> None:
    """With their reason; nobody takes them for a result."""
    kept = [image(store, "front-smile")]
    lost = {"shot": "front-smile", "sha256": store.put("images", picture(64, 48, seed=9)), "take": 10}
    row = stage("character_sheet", kept)
    plain = drawn(store, [story([row])], tmp_path / "plain.png")
    told = drawn(store, [story([{**row, "rejected": [lost | {"refused": "blank"}] * 12}])], tmp_path / "told.png")
    assert (told.width, told.height) == (plain.width, plain.height + TILE + LABEL)
    assert has(told, BAD, above=told.height)
    assert not has(plain, BAD, above=plain.height)


def under(sheet: Image.Image, column: int, row: int) -> Image.Image:
    """The gap to the next tile, beside that picture's caption; rows begin below the title and the story's line."""
    left, top = LEFT + column * (TILE + GAP) + TILE, 74 + 48 + row * (TILE + LABEL) + TILE
    return sheet.crop((left, top, left + GAP, top + LABEL))


@pytest.mark.parametrize(
    "scene", ["professional-portrait-office-1x1", "morning-vibes-home-bedroom-neutral-natural-9x16"]
)
def test_captions_do_not_run_into_each_other(store: FileStore, tmp_path: Path, scene: str) -> None:
    """Whatever the scene is called, and however long the reason: two lines, no wider than the picture."""
    shots = [image(store, f"{scene}-0{n}", seed=n) for n in (1, 2)]
    lost = [{**one, "take": 10, "refused": "another person: distance 0.90; picture blurred, " * 9} for one in shots]
    sheet = drawn(
        store, [story([{**stage("generated_images", shots, route="lora"), "rejected": lost}])], tmp_path / "sheet.png"
    )
    for row in (0, 1):
        assert under(sheet, 0, row).getcolors() == [(GAP * LABEL, (255, 255, 255))]
    beside = sheet.crop((LEFT - GAP, 74 + 48, LEFT, 74 + 48 + TILE))
    assert beside.getcolors() == [(GAP * TILE, (255, 255, 255))], "nor what is written on the left into the pictures"


def test_refused_picture_that_was_kept_is_struck_out(store: FileStore, tmp_path: Path) -> None:
    """Its set may pass all the same: nobody takes it for a result."""
    plain, refused = image(store, "front-smile"), image(store, "front-smile", refused="another person: distance 0.90")
    clean = drawn(store, [story([stage("character_sheet", [plain])])], tmp_path / "clean.png")
    struck = drawn(store, [story([stage("character_sheet", [refused])])], tmp_path / "struck.png")
    assert has(struck, BAD, above=struck.height)
    assert not has(clean, BAD, above=clean.height)
    assert _caption(refused, "character_sheet", picked=False) == (
        "front-smile: refused: another person: distance 0.90",
        BAD,
    )
