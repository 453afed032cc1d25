"""What goes wrong between ledger and bill: a false alarm at a full hour, a real loss that another hour hides."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from resources.gpu.records import HOUR_S, Span
from resources.runpod.answers import BillLine
from resources.runpod_control import BILLING_LAG_S
from ryla_assets.studio.bills import summed
from ryla_assets.studio.blocks import (
    AFTER_S,
    BEFORE_S,
    IN_WORK,
    LONGEST_S,
    ROUNDING_USD,
    SILENT,
    TOO_EARLY,
    Block,
    compared,
)

NINE = 1_799_996_400.0  # a whole hour; it is called nine o'clock here
DAY_S = 24 * HOUR_S
LATER = NINE + 12 * HOUR_S
FOREVER = 0.0
SEEDS = range(300)


def clock(hours: int, minutes: int = 0) -> float:
    """That time of the day, in seconds since the epoch."""
    return NINE + (hours - 9) * HOUR_S + minutes * 60.0


def span(begun: float, settled: float | None, usd: float, *, presumed: float = 0.0, at: str = "ep") -> Span:
    """One attempt, as the books bucket it; open where it is not settled."""
    last = None if settled is None else (settled + AFTER_S) // HOUR_S * HOUR_S
    first = (begun - BEFORE_S) // HOUR_S * HOUR_S
    return Span(f"https://jobs.test/v2/{at}", first, last, 1, 0.0 if settled is None else usd, presumed)


def bill(*hours: tuple[float, float], at: str = "ep") -> list[BillLine]:
    """Lines of (moment, USD)."""
    return [BillLine(datetime.fromtimestamp(when, UTC), at, usd) for when, usd in hours]


def blocks(spans: Sequence[Span], lines: Sequence[BillLine], *, now: float = LATER) -> list[Block]:
    """All that there ever was."""
    return compared(spans, lines, since=FOREVER, now=now)


# ---- hours that belong together


def test_attempt_across_a_full_hour_is_no_alarm() -> None:
    """From 9:30 to 10:15: it is booked in one hour and billed in two, and neither is compared without the other."""
    attempt, lines = span(clock(9, 30), clock(10, 15), 0.95), bill((clock(9, 30), 0.63), (clock(10), 0.32))
    for now in range(int(clock(10, 16)), int(LATER), 600):
        seen = [line for line in lines if line.hour.timestamp() + HOUR_S + BILLING_LAG_S <= now]
        found = summed(blocks([attempt], seen, now=now))
        assert not found.underbooked
    assert (found.booked_usd, found.billed_usd) == pytest.approx((0.95, 0.95))


def test_attempt_that_was_settled_hours_later_is_no_alarm() -> None:
    """It ran in hour 9 and was settled in hour 11, in which the bill says nothing: that counts as nothing billed."""
    [block] = blocks([span(clock(9, 5), clock(11, 5), 0.5)], bill((clock(9), 0.5)))
    assert (block.booked_usd, block.billed_usd, block.unreconciled) == (0.5, 0.5, "")
    assert (block.start, block.end) == (clock(9), clock(13))


def test_idle_worker_after_the_last_job_is_covered() -> None:
    """Its idle timeout is booked with the job and billed in the hour after it."""
    [block] = blocks([span(clock(9, 5), clock(9, 58), 1.0)], bill((clock(9), 0.6), (clock(10), 0.4)))
    assert block.missing_usd == 0.0
    assert not block.unreconciled


def test_attempt_that_the_other_clock_puts_an_hour_earlier_is_covered() -> None:
    """Our clock says 10:00:20, RunPod's 9:59:50."""
    assert not summed(blocks([span(clock(10) + 20, clock(10, 5), 0.1)], bill((clock(9), 0.1)))).underbooked


def test_hours_of_different_work_are_compared_apart() -> None:
    """Too much booked at night hides nothing that was lost in the morning, here or at another endpoint."""
    spans = [
        span(clock(1, 2), clock(1, 5), 9.0),
        span(clock(9, 2), clock(9, 5), 0.1),
        span(clock(9, 2), clock(9, 5), 9.0, at="b"),
    ]
    lines = bill((clock(1), 0.1), (clock(9), 0.6)) + bill((clock(9), 0.1), at="b")
    found = summed(blocks(spans, lines))
    assert [(b.endpoint, b.start, b.missing_usd) for b in found.underbooked] == [("ep", clock(9), pytest.approx(0.5))]
    assert found.usd == pytest.approx(18.1 - 0.8), "over all, much more is booked than billed"
    assert found.explained == pytest.approx(0.3 / 0.8)
    assert "$0.5000 at ep from 01-15 07:00 to 01-15 09:00 (UTC)" in found.note
    assert "37.5% of the bill is explained" in found.note


def test_billed_without_any_attempt_is_told() -> None:
    """Somebody else used the endpoint, or a worker never slept."""
    [block] = blocks([], bill((clock(9, 30), 0.3), (clock(9), 0.2)))
    assert (block.booked_usd, block.billed_usd, block.missing_usd, block.attempts) == (0.0, 0.5, 0.5, 0)


def test_cents_are_no_alarm() -> None:
    """Each hour's amount is rounded."""
    assert (
        summed(blocks([span(clock(9), clock(10), 0.101)], bill((clock(9), 0.06), (clock(10), 0.06)))).underbooked == []
    )


def test_presumed_costs_are_told_apart() -> None:
    """They are booked as the most that they can be: they explain a bill, and are no knowledge."""
    found = summed(blocks([span(clock(9), clock(9, 5), 0.5, presumed=0.4)], bill((clock(9), 0.1))))
    assert (found.booked_usd, found.presumed_usd) == (0.5, 0.4)
    assert "Booked $0.5000 ($0.4000 of it presumed), billed $0.1000. All that was billed is booked." in found.note


# ---- what cannot be compared


@pytest.mark.parametrize(
    ("spans", "lines", "now", "why"),
    [
        ([span(clock(9), clock(9, 5), 0.1)], bill((clock(9), 0.1)), clock(11) + BILLING_LAG_S - 1, TOO_EARLY),
        ([span(clock(9), clock(9, 5), 0.1)], bill((clock(9), 0.1)), clock(11) + BILLING_LAG_S, ""),
        ([span(clock(9), clock(9, 5), 0.1)], [], LATER, SILENT),
        ([span(clock(9), clock(9, 5), 0.1), span(clock(10), None, 1.0)], bill((clock(9), 9.0)), LATER, IN_WORK),
        ([span(clock(9), clock(9, 5), 0.1), span(clock(10), None, 1.0, at="b")], bill((clock(9), 0.1)), LATER, ""),
        ([span(clock(12), None, 1.0), span(clock(9), clock(9, 5), 0.1)], bill((clock(9), 0.1)), LATER, ""),
    ],
    ids=["too early", "just in time", "no bill", "open attempt", "open elsewhere", "open later"],
)
def test_block_that_cannot_be_compared_says_why(spans: list[Span], lines: list[BillLine], now: float, why: str) -> None:
    """A bill that lags, that says nothing, or that runs ahead of what is booked proves nothing."""
    first = next(block for block in blocks(spans, lines, now=now) if block.endpoint == "ep")
    assert first.unreconciled == why
    assert first.missing_usd == 0.0


def test_attempts_that_cost_nothing_are_no_row() -> None:
    """What never arrived was neither paid nor billed."""
    assert blocks([span(clock(9), clock(9, 5), 0.0)], []) == []


def test_work_without_a_pause_is_compared_all_the_same() -> None:
    """A job every ten minutes for two days, and one that is open now: what is ripe is compared, and a loss is told."""
    ends = [NINE + 600.0 * n for n in range(288)]
    spans = [*(span(end - 500, end, 0.1) for end in ends), span(ends[-1], None, 0.1)]
    lines = bill(*((end - 250, 0.1) for end in ends))
    ripe, rest = blocks(spans, lines, now=ends[-1] + 60)
    assert (ripe.unreconciled, rest.unreconciled) == ("", TOO_EARLY)
    assert ripe.end == rest.start
    assert ripe.end - ripe.start > LONGEST_S
    assert ripe.attempts + rest.attempts == 289, "each attempt counts once"
    assert ripe.missing_usd == 0.0
    lost, _ = blocks(spans, [*lines, *bill((ends[100], 3.0))], now=ends[-1] + 60)
    assert lost.missing_usd > 0.0


# ---- properties


@dataclass
class World:
    """Random attempts and their true bill, with at least as much booked for each as it is billed."""

    attempts: list[tuple[float, float, Span]]  # begun, settled, and as it is booked then
    billed: dict[tuple[str, float], float]
    end: float  # everything is settled by then
    slack: float  # booked above the bill, over all

    def spans(self, now: float) -> list[Span]:
        """What the books hold at that time: what is not settled yet is open, what is not begun is not there."""
        begun = [(settled <= now, one) for at, settled, one in self.attempts if at <= now]
        return [one if over else Span(one.endpoint, one.first, None, 1, 0.0, 0.0) for over, one in begun]

    def lines(self, until: float) -> list[BillLine]:
        """What the bill shows at that time, in cents: an hour after its lag; hours that cost nothing are not in it."""
        shown = {k: round(v, 2) for k, v in self.billed.items() if k[1] + HOUR_S + BILLING_LAG_S <= until}
        return [BillLine(datetime.fromtimestamp(at, UTC), who, usd) for (who, at), usd in shown.items() if usd]


def world(seed: int) -> World:
    """Three days at two endpoints: bursts and pauses, cancelled and late-settled work, some presumed."""
    chance = random.Random(seed)
    attempts, billed, end, slack = [], defaultdict[tuple[str, float], float](float), NINE, 0.0
    for _ in range(chance.choice([1, 5, 40, 150])):
        who, begun = chance.choice("ab"), NINE + chance.uniform(0, 3 * DAY_S)
        settled = begun + chance.choice([chance.uniform(1, 100), chance.uniform(1, 4000), chance.uniform(1, 40_000)])
        start, stop = sorted(chance.uniform(begun - BEFORE_S, settled + AFTER_S) for _ in range(2))
        rate = chance.choice([0.0, 0.00016, 0.0024])
        at = start
        while at < stop:
            hour = at // HOUR_S * HOUR_S
            billed[who, hour] += (min(stop, hour + HOUR_S) - at) * rate
            at = hour + HOUR_S
        extra = chance.choice([0.0, 0.0, chance.uniform(0, 0.5)])
        usd = (stop - start) * rate + extra
        presumed = usd * chance.choice([0, 0, 1])
        attempts.append((begun, settled, span(begun, settled, usd, presumed=presumed, at=who)))
        end, slack = max(end, settled), slack + extra
    return World(attempts, billed, end, slack)


@pytest.mark.parametrize("part", range(3))
def test_no_false_alarm_ever(part: int) -> None:
    """Whenever it is asked, from whatever hour on: where each attempt is booked with its bill, nothing is missing."""
    for seed in SEEDS[part::3]:
        made, chance = world(seed), random.Random(seed)
        for _ in range(8):
            now = NINE + chance.uniform(0, made.end - NINE + 12 * HOUR_S)
            since = chance.choice([FOREVER, (now - DAY_S) // HOUR_S * HOUR_S])
            spans = [one for one in made.spans(now) if one.last is None or one.last >= since]
            found = compared(spans, made.lines(now), since=since, now=now)
            assert [block for block in found if block.missing_usd] == [], f"seed {seed}, now {now}, since {since}"


@pytest.mark.parametrize("part", range(3))
def test_real_loss_is_always_told_once_all_is_settled(part: int) -> None:
    """A stranger at our endpoint, a job that the ledger forgot: beyond rounding, and what is booked too much."""
    for seed in SEEDS[part::3]:
        made, chance = world(seed), random.Random(seed + 1)
        where = (chance.choice("ab"), (NINE + chance.uniform(0, 3 * DAY_S)) // HOUR_S * HOUR_S)
        hours = len({at for who, at in made.billed if who == where[0]}) + 1
        made.billed[where] += made.slack + 2 * ROUNDING_USD * hours
        now = max(made.end, where[1]) + AFTER_S + 2 * HOUR_S + BILLING_LAG_S
        lost = summed(blocks(made.spans(now), made.lines(now), now=now)).underbooked
        assert [block.endpoint for block in lost if block.start <= where[1] < block.end] == [where[0]], f"seed {seed}"
        assert len(lost) == 1, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS[:60])
def test_nothing_is_counted_twice_or_not_at_all(seed: int) -> None:
    """Blocks of an endpoint do not overlap; all that is booked and billed is in one of them."""
    made = world(seed)
    now = NINE + random.Random(seed).uniform(0, made.end - NINE + 12 * HOUR_S)
    spans, lines = made.spans(now), made.lines(now)
    found = blocks(spans, lines, now=now)
    for who in "ab":
        mine = [block for block in found if block.endpoint == who]
        assert all(one.end <= other.start for one, other in pairwise(mine))
    assert sum(block.booked_usd for block in found) == pytest.approx(sum(one.cost_usd for one in spans))
    assert sum(block.billed_usd or 0.0 for block in found) == pytest.approx(sum(line.usd for line in lines))
