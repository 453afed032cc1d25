"""What a re-roll changes besides its seed: a small table, by what was wrong and by how the picture is drawn.

Belongs here: the table and its limits. Does not belong here: which shots are drawn again (`studio.reroll`), graphs
(`workflows`). A graph can change little: how strongly the face, or the LoRA, is held, and in which precision latents
are decoded. Blur, noise, a second person and no face at all are left to chance: no value in our graphs is known to cure
them. The steps are unmeasured on models; what they do to drawn faces is in tests/unit/test_preview_routes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

Fault = Literal["other_person", "blank", "other"]
Route = Literal["base", "sheet", "face_swap", "lora"]

MAX_WEIGHT: Final = 1.0  # above it the reference picture's light and angle come along
MAX_STRENGTH: Final = 1.2  # of a LoRA; 1 is what it was trained at, people use up to 1.2


@dataclass(frozen=True)
class Drawing:
    """How one picture is drawn: what of a graph may change between two takes of a shot, besides the seed."""

    weight: float = 0.0  # PuLID's hold on the face
    start: float = 0.0  # the share of the steps after which it acts
    strength: float = 1.0  # the LoRA's
    fp32_vae: bool = False  # decoded in 32 bits: half precision is one way to NaN, which comes back black


PLAIN: Final = Drawing()


@dataclass(frozen=True)
class Change:
    """One entry of the table; `fp32_vae` is tried in the first round alone, the others grow with the rounds."""

    weight: float = 0.0  # added each round, up to MAX_WEIGHT
    start: float = 1.0  # a factor each round
    strength: float = 0.0  # added each round, up to MAX_STRENGTH
    fp32_vae: bool = False


_BLANK: Final = Change(fp32_vae=True)
CHANGES: Final[Mapping[tuple[Fault, Route], Change]] = MappingProxyType(
    {
        ("other_person", "sheet"): Change(weight=0.05, start=0.5),  # it starts near the cap; 0 would lose the pose
        ("other_person", "face_swap"): Change(weight=0.05),  # 0.05 is the node's step; it acts from the first step on
        ("other_person", "lora"): Change(strength=0.1),
        ("blank", "base"): _BLANK,
        ("blank", "sheet"): _BLANK,
        ("blank", "face_swap"): _BLANK,
        ("blank", "lora"): _BLANK,
    }
)


def redrawn_as(first: Drawing, fault: Fault, route: Route, number: int) -> Drawing:
    """How a shot is drawn in round `number` (1 and up) that was drawn as `first` before any round, and failed so."""
    change = CHANGES.get((fault, route), Change())
    return replace(
        first,
        weight=_more(first.weight, change.weight * number, MAX_WEIGHT),
        start=round(first.start * change.start**number, 3),
        strength=_more(first.strength, change.strength * number, MAX_STRENGTH),
        fp32_vae=change.fp32_vae and number == 1,
    )


def _more(value: float, step: float, most: float) -> float:
    """Never less than it was: whoever asked for more than the limit keeps it."""
    return max(value, min(most, round(value + step, 2)))
