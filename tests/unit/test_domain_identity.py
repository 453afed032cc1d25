"""What makes a consistency number a lie: shrunken denominators, mixed domains, lucky small samples."""

import math
from typing import Any

import pytest

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.identity import ImageScore, consistency, distance, lower_bound, template, verify
from ryla_assets.domain.targets import FACE_SWAP_GATE, IDENTITY_THRESHOLDS, LORA_GATE, SHEET_GATE


def score(name: str = "shot", **changes: Any) -> ImageScore:
    seen: dict[str, Any] = {
        "domain": "model",
        "template_domain": "model",
        "faces": 1,
        "face_px": 120.0,
        "distance": 0.3,
    }
    return verify(name, **seen | changes)


def judged(scores: list[ImageScore], gate: float = LORA_GATE, **changes: Any) -> Any:
    return consistency(scores, gate=gate, scorer_id="test-scorer", **changes)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({}, "verified"),
        ({"distance": 0.6}, "verified"),
        ({"distance": 0.61}, "distance"),
        ({"distance": None}, "distance"),
        ({"distance": math.nan}, "distance"),
        ({"faces": 0}, "no_face"),
        ({"faces": 2}, "two_faces"),
        ({"face_px": 63.9}, "face_too_small"),
        ({"unreadable": True}, "unreadable"),
        ({"missing": True, "faces": 0}, "missing"),
        ({"threshold": 0.2}, "distance"),
    ],
)
def test_every_failure_has_its_reason(seen: dict[str, Any], reason: str) -> None:
    """An image is verified for one reason only; each other case has a code."""
    found = score(**seen)
    assert (found.reason, found.verified) == (reason, reason == "verified")


def test_preview_is_judged_by_its_own_threshold() -> None:
    """0.5 verifies a model render, and not a drawn one."""
    preview = score(domain="preview", template_domain="preview", distance=0.5)
    assert not preview.verified
    assert score(distance=0.5).verified
    assert judged([preview]).threshold == IDENTITY_THRESHOLDS["preview"]


def test_image_is_not_compared_with_a_template_of_another_domain() -> None:
    """A preview template says nothing of a model's picture."""
    with pytest.raises(InputError, match="cannot be compared"):
        score(template_domain="preview")


def test_domains_are_not_mixed_in_one_set() -> None:
    """Half previews and half renders are two sets."""
    with pytest.raises(InputError, match="two render domains"):
        judged([score(), score(domain="preview", template_domain="preview")])


def test_missing_image_stays_in_the_denominator() -> None:
    """Seven good images of eight requested are 87.5 %, not 100 %."""
    found = judged([score(str(n)) for n in range(7)] + [score("lost", missing=True, faces=0, distance=None)])
    assert (found.verified, found.requested, found.share, found.passed) == (7, 8, 0.875, False)


def test_unscorable_shot_is_out_by_declaration_only() -> None:
    """A back view is excluded; a front view without a face is not."""
    back = score("back", expected=False, faces=0, distance=None)
    front = score("front", faces=0, distance=None)
    found = judged([score(), back, front], gate=FACE_SWAP_GATE)
    assert (found.verified, found.requested, found.passed) == (1, 2, False)


def test_nothing_declared_does_not_pass() -> None:
    """An empty set, or one of back views only, has proven nothing."""
    assert not judged([], gate=0.0).passed
    found = judged([score(expected=False)], gate=0.0)
    assert (found.requested, found.share, found.lower_bound, found.passed) == (0, 0.0, 0.0, False)


@pytest.mark.parametrize(("good", "gate", "passed"), [(9, SHEET_GATE, True), (8, SHEET_GATE, False), (8, 0.8, True)])
def test_gate_is_on_the_share(good: int, gate: float, passed: bool) -> None:
    """Nine of ten pass a sheet, eight of ten pass a face swap."""
    scores = [score(str(n), distance=0.3 if n < good else 0.9) for n in range(10)]
    assert judged(scores, gate=gate).passed is passed


def test_distances_are_summed_up_with_the_failures_in() -> None:
    """Mean, p90 and worst include images beyond the threshold; unmeasured ones have no distance."""
    scores = [score(str(n), distance=n / 10) for n in range(1, 11)] + [score("none", faces=0, distance=None)]
    found = judged(scores, nearest_other=0.9)
    assert found.mean == pytest.approx(0.55)
    assert (found.p90, found.worst) == (0.9, 1.0)
    assert found.margin == pytest.approx(0.35)
    assert (found.threshold, found.scorer_id, found.gate) == (0.60, "test-scorer", LORA_GATE)


def test_unmeasured_set_has_no_distances() -> None:
    """Without one distance nothing is invented."""
    found = judged([score(missing=True, distance=None)], nearest_other=0.9)
    assert (found.mean, found.p90, found.worst, found.margin) == (None, None, None, None)


@pytest.mark.parametrize(
    ("verified", "requested", "bound"),
    [(8, 8, 0.75), (20, 20, 0.88), (30, 30, 0.92), (52, 52, 0.95), (99, 100, 0.956), (0, 8, 0.0), (0, 0, 0.0)],
)
def test_small_sample_is_shown_as_weak_evidence(verified: int, requested: int, bound: float) -> None:
    """Eight of eight prove 75 %; it takes 52 of 52 to prove 95 %."""
    assert lower_bound(verified, requested) == pytest.approx(bound, abs=0.006)


def test_another_person_is_not_verified() -> None:
    """Negative control: embeddings of somebody else do not verify against the template."""
    own = template([[0.0, 1.0, 0.0], [0.1, 0.9, 0.0]])
    other = [1.0, 0.0, 0.4]
    assert not score(distance=distance(own, other)).verified
    assert score(distance=distance(own, [0.0, 0.9, 0.1])).verified


def test_template_is_the_mean() -> None:
    """The template lies in the middle of its embeddings."""
    assert template([[0.0, 2.0], [1.0, 4.0]]) == [0.5, 3.0]


@pytest.mark.parametrize("embeddings", [[], [[1.0], [1.0, 2.0]]])
def test_template_of_nothing_or_of_two_scorers_is_refused(embeddings: list[list[float]]) -> None:
    """No embedding, or embeddings of different lengths, make no template."""
    with pytest.raises(InputError):
        template(embeddings)


def test_embeddings_of_two_scorers_do_not_compare() -> None:
    """A distance across lengths is an error, not a number."""
    with pytest.raises(InputError, match="length 1 and 2"):
        distance([1.0], [1.0, 2.0])
