"""What makes evidence a lie: small samples, other routes, polished denominators, noise taken for drift."""

from __future__ import annotations

import pytest

from ryla_assets.domain.evidence import DRIFT, drift, evidence
from ryla_assets.domain.identity import COPY_BITS, is_copy, least_face_px


@pytest.mark.parametrize(
    ("verified", "requested", "proven", "needed"),
    [
        (52, 52, True, 0),
        (51, 51, False, 1),
        (8, 8, False, 44),
        (0, 0, False, 52),
        (99, 100, True, 0),
        (0, 200, False, None),
    ],
)
def test_gate_is_proven_by_the_bound(verified: int, requested: int, proven: bool, needed: int | None) -> None:
    """52 of 52 prove 95 %, 51 of 51 do not; how many more are needed is told, while it can be."""
    found = evidence(verified, requested, gate=0.95)
    assert (found.proven, found.needed) == (proven, needed)


def test_lower_gate_needs_less() -> None:
    """The face swap's 80 % are proven by 11 in a row."""
    assert [evidence(n, n, gate=0.80).proven for n in (10, 11)] == [False, True]


def test_move_beyond_the_amount_is_drift() -> None:
    """In both directions, and exactly at the amount it is none."""
    earlier = [0.30] * 8
    assert [drift([0.30 + by] * 4, earlier).steady for by in (0.0, 0.09, 0.11, -0.11)] == [True, True, False, False]  # type: ignore[union-attr]
    found = drift([0.5] * 4, earlier)
    assert found is not None
    assert (found.latest, found.earlier) == (0.5, pytest.approx(0.30))
    assert DRIFT < found.moved < 0.21


@pytest.mark.parametrize(("latest", "earlier"), [(3, 8), (4, 7)])
def test_few_pictures_are_no_drift(latest: int, earlier: int) -> None:
    """One bad picture of two moves a mean by more than any drift."""
    found = drift([0.9] * latest, [0.3] * earlier)
    assert found is not None
    assert (found.judged, found.steady) == (False, True)
    assert drift([], [0.3]) is None
    assert drift([0.3], []) is None


def test_same_picture_is_a_copy_and_the_same_person_is_not() -> None:
    """Both must say so: the face and the picture. Drawn takes of one shot are alike, so there it must say more."""
    for domain, bits in COPY_BITS.items():
        assert is_copy(0.02, bits, domain)
        assert not is_copy(0.10, 0, domain)
        assert not is_copy(0.02, bits + 1, domain)
    assert COPY_BITS["preview"] < 18, "the fewest bits between two takes with nearly one face (docs/adr/0005)"
    assert COPY_BITS["model"] > 40, "the most bits that a crop by 1.5 % a side changed of 86 photographs"


def test_portrait_without_a_face_to_speak_of_is_none() -> None:
    """12 % of the short side for a close-up, 64 px for every framing."""
    assert least_face_px("close-up", 1024) == pytest.approx(122.88)
    assert least_face_px("close-up", 368) == 64.0
    assert [least_face_px(framing, 4096) for framing in ("medium", "full-body", "")] == [64.0] * 3
