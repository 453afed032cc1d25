"""What goes wrong with a page of measured numbers: tables by hand, a scorer that is no longer ours, a lost mark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resources.identity import DETECTORS, PROFILE_LEAST_PX, DlibScorer, Face, Seen
from ryla_assets.domain import evidence, identity, targets
from tests.bench.blocks import IDENTITY, replaced, table
from tests.bench.people import GROUPS, Errors, as_text
from tests.bench.photos import Pairs, all_pairs, auc, once

PAGE = IDENTITY.read_text()


def block(name: str) -> str:
    """What a command wrote."""
    found = re.search(f"<!-- {name}: begin -->\n(.*?)\n<!-- {name}: end -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("name", "rows"), [("photos", 4), ("people", 2 * len(GROUPS))])
def test_table_was_measured_by_the_scorer_of_today(name: str, rows: int) -> None:
    """As many rows as there are sets, a date, and the id: another chain of detectors has other errors."""
    lines = [line for line in block(name).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + rows
    assert len({line.count("|") for line in lines}) == 1
    assert re.search(r"Measured on 20\d\d-\d\d-\d\d by `dlib-resnet/", block(name))
    assert f"/{DETECTORS}/{DlibScorer().scorer_id.rpartition('/')[2]}`" in block(name)


def test_page_says_the_numbers_of_the_code() -> None:
    """Thresholds that are changed are changed here too."""
    for said in (
        f"within {targets.IDENTITY_THRESHOLDS['model']:.2f} (models)",
        f"{targets.IDENTITY_THRESHOLDS['preview']:.2f} (preview)",
        f"({targets.MIN_FACE_PX:.0f} px; a close-up's {identity.LEAST_FACE_SHARE['close-up']:.0%}".replace("%", " %"),
        f"within {identity.COPY_DISTANCE:.2f} of the base image's own",
        f"within {identity.COPY_BITS['model']} (models) or {identity.COPY_BITS['preview']} (preview) of 256 bits",
        f"whose copy is under {PROFILE_LEAST_PX} px",
        f"last {evidence.WINDOW} declared",
        f"at most {evidence.DRIFT:.2f}",
        f"at least {evidence.LEAST_LATEST} against {evidence.LEAST_EARLIER}",
        f"within {identity.DISTINCT_DISTANCE:.2f}.",
    ):
        assert said in re.sub(r"\s+", " ", PAGE), said


def test_block_is_replaced_and_nothing_else() -> None:
    """The prose around it is a person's."""
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    assert replaced(page, "x", "new \\1\n") == "a\n<!-- x: begin -->\nnew \\1\n<!-- x: end -->\nb\n"
    with pytest.raises(ValueError, match="must stand in the document, once"):
        replaced(page, "y", "new")
    with pytest.raises(ValueError, match="once"):
        replaced(page + page, "x", "new")


def test_errors_are_counted_on_the_right_side() -> None:
    """Own shots that are refused, others' that are accepted."""
    near, far = (
        identity.verify("", domain="preview", template_domain="preview", faces=1, face_px=90, distance=distance)
        for distance in (0.2, 0.9)
    )
    text = as_text([Errors("g", "t", [near, far], [far, near, near], [far])], scorer_id="s", day="2026-01-01")
    assert "| g | t | 1 of 2 | 2 of 3 | 0 of 1 | 0.550 / 0.900 | 0.433 / 0.200 |" in text


def test_photograph_counts_once() -> None:
    """The same pixels in two files, and one photograph in other sizes, are no pairs of a person."""
    face = Face(90.0, 1.0, (0.0,))
    pixels = {"a.jpg": "1", "train/a.jpg": "1", "b.jpg": "2", "obama-480p.jpg": "3", "two.jpg": "4"}
    seen = {Path(name): Seen(pixel, (face,)) for name, pixel in pixels.items() if name != "two.jpg"}
    assert once(map(Path, pixels), seen) == [Path("a.jpg"), Path("b.jpg")]
    assert len(all_pairs("set", dict.fromkeys(map(Path, pixels), "one"), seen).same) == 1


def test_pairs_are_summed_up() -> None:
    """Mean, extreme, ranks, and accepts at each threshold."""
    pairs = Pairs("set", same=[0.3, 0.52], different=[0.5, 0.9])
    spreads, accepts = (
        ("2, 0.410 +- 0.110, 0.520", "2, 0.700 +- 0.200, 0.500"),
        ("0.500 / 1.000 / 1.000", "1 / 1 / 1 of 2"),
    )
    assert pairs.row() == ("set", *spreads, "0.7500", *accepts)
    assert auc([0.1], [0.2]) == 1.0
    assert auc([0.2], [0.2]) == 0.5
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
