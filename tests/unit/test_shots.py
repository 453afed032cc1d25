"""What goes wrong with shots: unreproducible lists, useless faces, sizes that models reject."""

from collections import Counter
from typing import Any

import pytest

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.seeds import MAX_SEED, seed
from ryla_assets.domain.shots import (
    ASPECT_SIZES,
    BASE_SHOTS,
    SHEET_SHOTS,
    Shot,
    aspect_size,
    content_shots,
    sheet_shots,
)

ORIGINAL_VARIATIONS = [  # view, posture, expression, light of the original product's ten
    ("front", "standing", "neutral", "studio-softbox"),
    ("front", "standing", "smile", "natural-daylight"),
    ("three-quarter-left", "standing", "neutral", "studio-softbox"),
    ("three-quarter-right", "standing", "confident", "natural-daylight"),
    ("side-left", "standing", "neutral", "studio-softbox"),
    ("side-right", "standing", "neutral", "natural-daylight"),
    ("back", "standing", None, "studio-softbox"),
    ("front", "sitting", "relaxed", "natural-daylight"),
    ("three-quarter-left", "sitting", "neutral", "studio-softbox"),
    ("front", "dynamic", "energetic", "dramatic-shadows"),
]


def test_sheet_is_the_ten_variations() -> None:
    """No variation of the original sheet was lost or invented."""
    sheet = [(shot.view, shot.posture, shot.expression, shot.lighting) for shot in SHEET_SHOTS]
    assert Counter(sheet) == Counter(ORIGINAL_VARIATIONS)


def test_sheet_keeps_the_framing_plan() -> None:
    """70 % medium, 20 % close-up, 10 % full-body; the original's sheet was mostly full-body."""
    assert Counter(shot.framing for shot in SHEET_SHOTS) == {"medium": 7, "close-up": 2, "full-body": 1}


@pytest.mark.parametrize("count", [7, 8, 9, 10])
def test_sheet_is_the_same_every_time(count: int) -> None:
    """A shorter sheet is the start of the longer one, with unique ids."""
    sheet = sheet_shots(count)
    assert sheet == SHEET_SHOTS[:count]
    assert len({shot.id for shot in sheet}) == count


@pytest.mark.parametrize("count", [0, 6, 11, -1])
def test_sheet_of_another_size_is_refused(count: int) -> None:
    """Fewer than seven shots do not train a LoRA; more than ten are not planned."""
    with pytest.raises(InputError, match="7 to 10"):
        sheet_shots(count)


@pytest.mark.parametrize(("px", "scorable"), [(512, 6), (768, 6), (1024, 7)])
def test_default_sheet_declares_enough_faces(px: int, scorable: int) -> None:
    """Of the eight default shots six or seven are scorable: a side view never, the full body only when large."""
    sheet = sheet_shots()
    assert sum(shot.expects_face(px) for shot in sheet) == scorable
    assert [shot.id for shot in sheet if shot.view.startswith("side")] == ["side-left"]
    assert not next(shot for shot in sheet if shot.id == "side-left").expects_face(px)
    full_body = next(shot for shot in sheet if shot.framing == "full-body")
    assert full_body.expects_face(px) == (px == 1024)


@pytest.mark.parametrize("px", [512, 1024, 2048])
def test_back_view_never_counts_as_a_face(px: int) -> None:
    """A back view is declared unscorable at any size, and asks for no expression."""
    back = next(shot for shot in SHEET_SHOTS if shot.view == "back")
    assert not back.expects_face(px)
    assert back.expression is None


def test_base_options_differ_only_by_seed() -> None:
    """Three options of one plain frontal picture; their ids, so their seeds, differ."""
    assert [shot.id for shot in BASE_SHOTS] == ["option-1", "option-2", "option-3"]
    looks = {(s.framing, s.view, s.posture, s.expression, s.lighting, s.environment) for s in BASE_SHOTS}
    assert looks == {("medium", "front", "standing", "neutral", "studio-softbox", "studio")}
    assert all(shot.expects_face(512) for shot in BASE_SHOTS)


@pytest.mark.parametrize("aspect", ASPECT_SIZES)
@pytest.mark.parametrize("px", [256, 500, 512, 768, 1024, 1280, 2048])
def test_no_size_is_off_the_models_grid(aspect: str, px: int) -> None:
    """Every side is a multiple of 16, the ratio holds, and base 1024 gives the documented sizes."""
    width, height = aspect_size(aspect, px)
    assert width % 16 == height % 16 == 0
    full_width, full_height = aspect_size(aspect, 1024)
    assert abs(width / height - full_width / full_height) < 0.02


def test_half_base_is_half_the_size() -> None:
    """Base 512 halves each documented size."""
    assert [aspect_size(aspect, 512) for aspect in ("1:1", "2:3", "9:16")] == [(512, 512), (448, 672), (416, 736)]


@pytest.mark.parametrize("px", [0, 255, 4096])
def test_absurd_base_is_refused(px: int) -> None:
    """A base outside 256..2048 is a mistake, not a picture."""
    with pytest.raises(InputError, match=r"256\.\.2048"):
        BASE_SHOTS[0].size(px)


@pytest.mark.parametrize("aspect", ["16:9", "4:5", "square"])
def test_unknown_aspect_lists_the_known(aspect: str) -> None:
    """The original's UI offered ratios that its server rejected; here the error lists what exists."""
    with pytest.raises(InputError, match="1:1, 2:3, 9:16"):
        content_shots(aspect=aspect)


def test_content_never_asks_for_an_unscorable_face() -> None:
    """Generated images are close or medium, front or three-quarter, and differ from their neighbours."""
    shots = content_shots(scene="gym", count=10, aspect="9:16")
    assert all(shot.expects_face(512) and shot.framing != "full-body" for shot in shots)
    assert len({shot.id for shot in shots}) == 10
    assert shots == content_shots(scene="gym", count=10, aspect="9:16")


@pytest.mark.parametrize("count", [0, 11])
def test_content_count_outside_the_api_is_refused(count: int) -> None:
    """One to ten images a request."""
    with pytest.raises(InputError, match="1 to 10"):
        content_shots(count=count)


def test_different_requests_never_share_a_shot_id() -> None:
    """Scene, environment, pose, lighting and aspect are all in the id, so two requests get two seeds."""
    requests: list[dict[str, Any]] = [
        {"scene": "gym"},
        {"scene": "gym", "environment": "office"},
        {"scene": "gym", "pose": "action-running"},
        {"scene": "gym", "aspect": "2:3"},
        {"scene": "gym", "lighting": "moonlight"},
        {"environment": "office"},
    ]
    assert len({content_shots(**request)[0].id for request in requests}) == len(requests)


def test_seed_changes_with_each_part() -> None:
    """Character, stage, shot and take each change the seed; nothing else does."""
    base = ("mara-lind", "character_sheet", "front-smile", 0)
    others = [
        ("kofi-mensah", *base[1:]),
        (base[0], "base_images", *base[2:]),
        (*base[:2], "back", 0),
        (*base[:3], 1),
        ("mara-lindc", "haracter_sheet", "front-smile", 0),
    ]
    assert len({seed(*parts) for parts in [base, *others]}) == 6
    assert seed(*base) == seed(*base)


def test_seed_stays_what_ledgers_have_stored() -> None:
    """The function is frozen: paid fingerprints depend on it."""
    assert seed("mara-lind", "base_images", "option-1", 0) == 4765523843641589


def test_seed_is_one_that_comfyui_accepts() -> None:
    """All seeds lie in 0..2**53-1, spread over the range; a negative take is a bug."""
    seeds = [seed("mara-lind", "stage", str(n), n) for n in range(500)]
    assert all(0 <= value <= MAX_SEED for value in seeds)
    assert max(seeds) > MAX_SEED * 0.9
    assert min(seeds) < MAX_SEED * 0.1
    with pytest.raises(ValueError, match="take"):
        seed("mara-lind", "stage", "shot", -1)


def test_shot_is_a_value() -> None:
    """Shots compare by content and cannot be changed after planning."""
    shot = Shot("x", "medium", "front", "standing", "smile")
    with pytest.raises(AttributeError):
        shot.framing = "close-up"  # type: ignore[misc]
