"""What goes wrong with the standing check: what is broken now is missing, what was mended stays, it grows slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from resources import images
from resources.database import writing
from resources.gpu.job import Job, OutputSpec
from resources.gpu.records import Intent
from ryla_assets.checks.standing import image_index__standing
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import materialize
from ryla_assets.registry import tables as t
from ryla_assets.registry.records import Gate
from ryla_assets.studio.base import make_base_images, pick, selected_base_image
from ryla_assets.studio.review import ADULT_APPEARANCE, UNREVIEWED
from ryla_assets.studio.standing import SHOWN, index_report, standing_report
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, another, name_of
from tests.fakes.scripted_backend import picture
from tests.fakes.scripted_studio import IMAGE_PX, decree, judged, scripted_parts, to_base, to_sheet

MARA, KOFI = "mara-lind", "kofi-mensah"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio on scripted pictures, with one active character."""
    made = open_studio(parts=scripted_parts())
    make_character(made, MARA)
    return made


def told(studio: Studio) -> list[tuple[str, str, str, str]]:
    """(level, what, character, asset) of every row."""
    rows = standing_report(studio).rows
    assert all(row["next"] and row["why"] for row in rows), "each row says why, and what to do"
    return [(row["level"], row["what"], row["character"], row["asset"]) for row in rows]


def file_of(studio: Studio, sha256: str) -> Path:
    """Where a picture lies."""
    return Path(studio.store.uri("images", sha256).removeprefix("file://"))


def test_nothing_is_wrong_in_an_empty_house(studio: Studio) -> None:
    """A character that nothing was made of is on its way, not broken."""
    found = standing_report(studio)
    assert (found.rows, found.errors) == ([], 0)
    assert found.reason.startswith("Nothing is wrong")


def test_accepted_sets_stand_well(studio: Studio) -> None:
    """And their pictures were read."""
    to_base(studio, MARA)
    assert told(studio) == []
    assert standing_report(studio).numbers["sampled"] == 4


def test_refused_and_unjudged_sets_are_told_apart(studio: Studio, make_character: Makes) -> None:
    """A refusal is an error with its claim, an unjudged set a warning; each with its own next command."""
    make_character(studio, KOFI)
    studio.publish(make_base_images(studio, KOFI))
    decree(studio, make_base_images(studio, MARA), refused="quality")
    found = standing_report(studio)
    assert told(studio) == [
        ("error", "refused", MARA, "base_images"),
        ("warn", "not judged", KOFI, "base_images"),
    ]
    assert found.rows[0]["why"] == "quality: by decree"
    assert found.rows[0]["next"] == another("base_images", MARA)
    assert found.rows[1]["next"] == f"execute the checks of base_images for {KOFI}"
    assert (found.numbers["unaccepted_sets"], found.errors) == (2, 1)
    assert found.reason == "1 errors, 1 warnings: 1 refused, 1 not judged."


def test_what_was_mended_stands_no_more(studio: Studio) -> None:
    """Not what broke at some time, but what is broken now; retired characters are nobody's worry."""
    decree(studio, make_base_images(studio, MARA), refused="quality")
    assert len(told(studio)) == 1
    judged(studio, make_base_images(studio, MARA))
    assert told(studio) == []
    decree(studio, make_base_images(studio, MARA), refused="quality")
    studio.registry.retire(MARA)
    assert told(studio) == []


def test_set_made_from_what_is_refused_is_tainted(studio: Studio) -> None:
    """All its own claims hold; its parent's do not any more, and the head was never accepted."""
    base = make_base_images(studio, MARA)
    decree(studio, base, refused="quality")
    child = base.model_copy(update={"asset": "selected_base_image", "images": base.images[:1]})
    decree(studio, child)
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(t.heads).where(t.heads.c.asset == "selected_base_image").values(accepted_sha256=None))
    assert ("error", "tainted", MARA, "selected_base_image") in told(studio)


def test_sheet_of_an_earlier_pick_is_stale(open_studio: Opens, make_character: Makes) -> None:
    """Somebody picked again, and the sheet still shows the other person."""
    studio = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7)
    make_character(studio, MARA)
    to_sheet(studio, MARA)
    assert told(studio) == []
    pick(studio, MARA, option=2, who="the test", why="after all")
    assert told(studio) == [("warn", "stale sheet", MARA, "character_sheet")]
    assert standing_report(studio).numbers["stale_sheets"] == 1


@pytest.mark.parametrize("damage", ["lost", "cut off", "other pixels", "no mark"])
def test_broken_pictures_are_found_in_the_sample(studio: Studio, damage: str) -> None:
    """Bytes are read, hashed and looked at for their mark."""
    base = judged(studio, make_base_images(studio, MARA))
    record = base.images[0]
    path = file_of(studio, record.sha256)
    if damage == "lost":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        data = picture(record.width, record.height, seed=5)
        if damage == "other pixels":
            data = images.mark(images.decode(data), source="algorithmicMedia", tool="x")
        bare = studio.store.put("images", data)
        pixels = images.pixels_sha256(images.decode(data)) if damage == "no mark" else record.pixels_sha256
        with writing(studio.registry.engine) as db:
            where = t.images.c.sha256 == record.sha256
            db.execute(sa.update(t.images).where(where).values(sha256=bare, pixels_sha256=pixels))
    what = "unmarked picture" if damage == "no mark" else "broken picture"
    assert told(studio) == [("error", what, MARA, "base_images")]
    assert standing_report(studio).numbers["broken_images"] == 1


def test_cost_that_nobody_knows_is_an_error(studio: Studio) -> None:
    """An attempt of unknown outcome may be burning money: reconcile."""
    runner = studio.runner
    row = runner.ledger.open(
        Job("image", {}, (OutputSpec("x", "image", 64, 64),), owner=MARA), backend="scripted", profile="p"
    )
    intent = Intent(
        backend="scripted", endpoint="memory", owner="gone", lease_s=60.0, run_id=None, reserve_usd=0.01,
        exposure_usd=0.05, queue_limit_s=1.0, run_limit_s=1.0,
    )  # fmt: skip
    attempt = runner.ledger.begin(row.fingerprint, intent, runner.budgets)
    assert attempt is not None
    runner.ledger.move(attempt, "unknown")
    [row_] = standing_report(studio).rows
    assert (row_["level"], row_["what"], row_["next"]) == ("error", "unknown cost", "ryla jobs reconcile")
    assert "$0.0500" in row_["why"]


# ---- the review


def test_pick_is_the_recorded_review(studio: Studio) -> None:
    """In the row, in the event, in what the asset says of itself."""
    chosen = to_base(studio, MARA)
    selection = studio.registry.selection(MARA)
    assert selection is not None
    assert (selection.review, selection.who) == (ADULT_APPEARANCE, "the test")
    [event] = studio.registry.events(0, ("base_selected",), limit=9)
    assert event.detail == {"option": 1, "who": "the test", "reviewed": ADULT_APPEARANCE}
    assert chosen.route_reason.endswith("; reviewed: adult appearance")


@pytest.mark.parametrize("domain", ["preview", "model"])
def test_policy_s_pick_was_reviewed_by_nobody(open_studio: Opens, make_character: Makes, domain: str) -> None:
    """Allowed where the character's owner asked for it, and said everywhere; of a model's pictures it is a warning."""
    studio = open_studio(parts=scripted_parts(domain=domain))
    make_character(studio, MARA, auto_select=True)
    judged(studio, make_base_images(studio, MARA))
    chosen = selected_base_image(studio, MARA, policy="best_score", who="demo")
    assert isinstance(chosen, ImageSet)
    assert chosen.route_reason.endswith(UNREVIEWED)
    judged(studio, chosen)
    selection = studio.registry.selection(MARA)
    assert selection is not None
    assert selection.review is None
    found = standing_report(studio)
    assert found.numbers["unreviewed"] == 1
    expected = [("warn", "not reviewed", MARA, "selected_base_image")] if domain == "model" else []
    assert told(studio) == expected


# ---- Dagster


def test_check_and_index_run_in_dagster(studio: Studio) -> None:
    """One asset without partitions, one check; keys are those of the dictionary, the numbers plot."""
    base = judged(studio, make_base_images(studio, MARA))
    file_of(studio, base.images[0].sha256).unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(studio, instance, ["image_index"])
        assert run.success
        [event] = run.asset_materializations_for_node("image_index")
        assert event.metadata["stored_images"].value == 3
        assert event.metadata["accepted_images_now"].value == 3
        [check] = run.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (
        "image_index__standing", False, dg.AssetCheckSeverity.ERROR,
    )  # fmt: skip
    assert check.metadata["broken_images"].value == 1
    assert image_index__standing is not None


def test_index_counts_by_asset_and_rejection(studio: Studio) -> None:
    """A picked picture is a base image again: it is counted once in the sum."""
    chosen = to_base(studio, MARA)
    found = index_report(studio)
    assert found.numbers == {"stored_images": 3, "accepted_images_now": 3, "rejected_images": 0}
    assert [row["asset"] for row in found.assets] == ["base_images", "selected_base_image"]
    assert chosen.images[0].sha256


def test_refused_set_is_found_behind_any_number_of_unjudged_ones(studio: Studio) -> None:
    """An error is an error wherever the alphabet puts it, and what is not shown is counted all the same."""
    crowd(studio, 2 * SHOWN, refused=0)
    crowd(studio, SHOWN + 9, refused=SHOWN + 9, prefix="z")
    found = standing_report(studio)
    assert {(row["what"], row["character"][0]) for row in found.rows} == {("refused", "z")}
    assert found.errors == found.numbers["refused_sets"] == SHOWN + 9
    assert found.numbers["unaccepted_sets"] == 2 * (3 * SHOWN + 9)
    assert found.reason == "59 errors, 259 warnings: 59 refused, 259 not judged."


def test_stale_sheets_are_counted_not_listed(open_studio: Opens, make_character: Makes) -> None:
    """However many there are more than are shown."""
    studio = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7)
    make_character(studio, MARA)
    sheet = to_sheet(studio, MARA)
    pick(studio, MARA, option=2, who="the test", why="after all")
    crowd(studio, SHOWN + 30, refused=0)
    with writing(studio.registry.engine) as db:
        current = t.heads.c.asset == "character_sheet"
        db.execute(
            sa.update(t.heads).where(current).values(current_sha256=name_of(sheet), accepted_sha256=name_of(sheet))
        )
        db.execute(sa.update(t.characters).values(base_image_id="another"))
    found = standing_report(studio)
    assert found.numbers["stale_sheets"] == SHOWN + 31
    assert f"{SHOWN + 31} stale sheet" in found.reason


@pytest.mark.parametrize("domain", ["model", "preview"])
def test_told_claims_that_do_not_hold_are_warnings(open_studio: Opens, make_character: Makes, domain: str) -> None:
    """They refuse nothing and are wrong now; judged again, they stand no more. Drawn faces prove nothing."""
    studio = open_studio(parts=scripted_parts(domain=domain))
    make_character(studio, MARA)
    base = to_base(studio, MARA)
    made = base.model_copy(update={"asset": "generated_images", "route": "face_swap", "take": 1})
    decree(studio, made)
    claims = [(base, "distinct"), (made, "evidence"), (made, "drift"), (made, "timing")]
    judge_told(studio, claims, passed=False)
    expected = {("warn", "distinct"), ("warn", "drift")} | ({("warn", "evidence")} if domain == "model" else set())
    assert {(level, what) for level, what, *_ in told(studio)} == expected
    found = standing_report(studio)
    assert (found.numbers["failing_told"], found.errors) == (len(expected), 0)
    judge_told(studio, claims, passed=False, scorer_id="another/1")
    assert len(told(studio)) == len(expected), "another scorer's words are not today's"
    judge_told(studio, claims, passed=True)
    assert told(studio) == []


def judge_told(studio: Studio, claims: list[tuple[ImageSet, str]], *, passed: bool, scorer_id: str = "") -> None:
    """Write how told claims were judged."""
    for manifest, claim in claims:
        gate = Gate(claim, passed, "by decree", {}, scorer_id or studio.scorer.scorer_id)
        required = REQUIRED_CLAIMS[manifest.asset]
        studio.registry.judge(manifest.asset, MARA, name_of(manifest), gate, required=required)


def test_ten_thousand_characters_take_a_fixed_number_of_queries(studio: Studio) -> None:
    """As many statements as with one character; what is shown is bounded, what is counted is not."""
    few = statements(studio)
    crowd(studio, 2_000, refused=2_000)
    many = statements(studio)
    assert many <= few + 20, "the sample reads pictures, nothing else grows"
    found = standing_report(studio)
    assert (found.numbers["unaccepted_sets"], found.errors) == (4_000, 2_000)
    assert len(found.rows) == SHOWN


def statements(studio: Studio) -> int:
    """How many statements one report sends."""
    sent: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(studio.registry.engine, "before_cursor_execute", note)
    try:
        standing_report(studio)
    finally:
        sa.event.remove(studio.registry.engine, "before_cursor_execute", note)
    return len([one for one in sent if not one.startswith(("BEGIN", "PRAGMA"))])


def crowd(studio: Studio, count: int, *, refused: int, prefix: str = "c") -> None:
    """Characters with two sets each: the first of the `refused` ones is refused, all others are unjudged."""
    with writing(studio.registry.engine) as db:
        config = db.execute(sa.select(t.characters.c.config)).scalars().first()
        names = [f"{prefix}-{number:05d}" for number in range(count)]
        character = {
            "config": config, "active": True, "retired": False, "auto_select": False, "lora_status": "pending",
            "created_at": 0.0,
        }  # fmt: skip
        db.execute(sa.insert(t.characters), [{"id": n, **character} for n in names])
        heads = [
            {"asset": asset, "character": n, "take": 1, "current_sha256": f"{n}-{asset}", "version": 1}
            for n in names
            for asset in ("base_images", "character_sheet")
        ]
        db.execute(sa.insert(t.heads), heads)
        gates = [
            {"asset": "base_images", "character": n, "manifest_sha256": f"{n}-base_images", "claim": claim,
             "scorer_id": "bytes", "passed": claim != "quality", "reason": "r", "numbers": {}, "at": 0.0}
            for n in names[:refused]
            for claim in REQUIRED_CLAIMS["base_images"]
        ]  # fmt: skip
        if gates:
            db.execute(sa.insert(t.gates), gates)
