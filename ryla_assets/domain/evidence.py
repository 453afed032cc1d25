"""What many judged pictures prove together: the bound that a share keeps, and whether it moves over time.

Belongs here: plain statistics over verdicts. Does not belong here: how one picture is judged (`identity`), where the
verdicts are kept (`ryla_assets/registry/`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ryla_assets.domain.identity import lower_bound

WINDOW: Final = 200  # newest verdicts that count: enough to prove 95 % with 4 misses (bound 0.956), young enough to act
MOST_NEEDED: Final = 1000  # beyond it, "how many more" is no answer
# Pictures of one person scatter by 0.07 to 0.08 around their mean (docs/identity.md), so the mean of four is uncertain
# by 0.04: a move of 0.10 is two and a half times that, and half of what lies between a good set and the threshold.
DRIFT: Final = 0.10
LEAST_LATEST, LEAST_EARLIER = 4, 8  # fewer distances say nothing about a move


@dataclass(frozen=True)
class Evidence:
    """`lower_bound` is the one-sided 95 % Wilson bound; `needed` verified pictures more, in a row, would reach `gate`.

    `needed` is None where more than MOST_NEEDED are.
    """

    verified: int
    requested: int
    share: float
    lower_bound: float
    gate: float
    needed: int | None

    @property
    def proven(self) -> bool:
        """Whether the bound reaches the gate."""
        return self.lower_bound >= self.gate


@dataclass(frozen=True)
class Drift:
    """Mean L2 distances to the template; `moved` is positive when the latest pictures are farther from it."""

    latest: float
    earlier: float
    moved: float
    judged: bool  # there were enough of both to say anything

    @property
    def steady(self) -> bool:
        """Whether the mean stayed where it was, as far as can be said."""
        return not self.judged or abs(self.moved) <= DRIFT


def evidence(verified: int, requested: int, *, gate: float) -> Evidence:
    """What `verified` of `requested` declared pictures prove about a route's gate: 52 of 52 prove 95 %."""
    more = range(MOST_NEEDED + 1)
    needed = next((n for n in more if lower_bound(verified + n, requested + n) >= gate), None)
    share = verified / requested if requested else 0.0
    return Evidence(verified, requested, share, lower_bound(verified, requested), gate, needed)


def drift(latest: Sequence[float], earlier: Sequence[float]) -> Drift | None:
    """How far the mean distance of the latest pictures moved from that of the earlier ones; None if one has none."""
    if not latest or not earlier:
        return None
    now, before = (math.fsum(distances) / len(distances) for distances in (latest, earlier))
    return Drift(now, before, now - before, len(latest) >= LEAST_LATEST and len(earlier) >= LEAST_EARLIER)
