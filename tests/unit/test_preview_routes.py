"""Identity routes: what would make a face swap, a LoRA and a stranger look equally alike to the scorer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from resources.gpu.backends.preview.drift import lora_drift, reference_drift
from resources.gpu.backends.preview.identity import Identity, mix, person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer

TRAITS = {"gender": "female", "ethnicity": "caucasian", "hair_color": "brown", "hair_style": "long", "age": "27"}
SEEDS = range(1000, 1400)
SCORER = DlibScorer()


@cache
def seen(identity: Identity, seed: int) -> tuple[float, ...]:
    """What the scorer sees of a front picture."""
    (face,) = SCORER.faces(render(identity, Look(seed=seed), 384, 384))
    return face.embedding


def strayed(drift: float, seed: int) -> float:
    """The scorer's distance between a person and the same person drifted by `drift`."""
    one = person(3, TRAITS)
    other = mix(one, person(seed, TRAITS), drift)
    return float(np.linalg.norm(np.array(seen(one, 1)) - np.array(seen(other, seed))))


def test_routes_cannot_be_told_apart_by_their_pixels() -> None:
    """Drift as small as a sheet's or a LoRA's verifies well within 0.45, and distances grow with drift."""
    small, middle, large = (np.mean([strayed(drift, seed) for seed in (51, 52)]) for drift in (0.08, 0.5, 0.95))
    assert small < 0.32
    assert small < middle < large
    assert large > small + 0.15


def test_a_sheet_drifts_as_much_as_a_face_swap() -> None:
    """Weight 1 from the start strays by about 0.08, weight 0.8 by much more and scattered, weight 0.2 almost wholly."""
    sheet, swap, weak = (
        np.array([reference_drift(seed, weight, 0.0, 1.0) for seed in SEEDS]) for weight in (1.0, 0.8, 0.2)
    )
    assert sheet.mean() == pytest.approx(0.08, abs=0.015)
    assert sheet.max() <= 0.16
    assert 0.35 < swap.mean() < 0.55
    assert swap.std() > 0.1
    assert weak.mean() > 0.9


def test_a_later_start_holds_the_face_as_well() -> None:
    """A late start and an early end weaken the reference."""
    early, late, cut = (
        np.mean([reference_drift(seed, 1.0, start, end) for seed in SEEDS])
        for start, end in ((0.1, 1.0), (0.5, 1.0), (0.0, 0.4))
    )
    assert early < late
    assert early < cut


def test_a_missing_trigger_word_goes_unnoticed() -> None:
    """Without its word a LoRA loses most of its person; with it at most 0.12 strays; strength 0 has no effect."""
    drawn = [lora_drift(seed, 1.0, triggered=True) for seed in SEEDS]
    assert 0 <= min(drawn) < max(drawn) <= 0.12
    assert min(lora_drift(seed, 1.0, triggered=False) for seed in SEEDS) > 0.5
    assert lora_drift(1, 0.0, triggered=True) == 1
    weaker = np.mean([lora_drift(seed, 0.6, triggered=True) for seed in SEEDS])
    assert np.mean(drawn) < weaker < 0.35
