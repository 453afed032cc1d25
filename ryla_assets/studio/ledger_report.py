"""The ledger in numbers, for the `job_ledger` asset and its checks.

Belongs here: which numbers ops and analysts see under which metadata key, and when money is a warning or an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from resources.gpu.records import OPEN_STATES, By, Spend
from ryla_assets.studio.ledger import books_of
from ryla_assets.studio.studio import Studio

WARN_SHARE = 0.8  # of a budget: a person still has time to raise it before work is refused
DAY_S = 86_400.0
SHOWN = 50  # rows of a table: an event stays under 8 kB, which every UI poll carries
DEAREST = 5  # characters and runs that are told


Level = Literal["ok", "near", "over"]


@dataclass(frozen=True)
class LedgerReport:
    """Numbers by metadata key, rows of its tables, and sentences on the bill and the prices."""

    numbers: dict[str, float | int | None]
    states: list[dict[str, Any]]
    characters: list[dict[str, Any]]  # the dearest
    runs: list[dict[str, Any]]
    bill: str
    prices: str


@dataclass(frozen=True)
class BudgetReport:
    """How much of the budget that is nearest to its end is gone: `ok`, `near` (from WARN_SHARE) or `over`.

    Only the day's can be over: a character or a run that is, stops nobody else.
    """

    level: Level
    reason: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class ExposureReport:
    """What may have been spent unseen: open unknowns, and what was booked as presumed in 24 hours."""

    rows: list[dict[str, Any]]
    unknown_usd: float
    presumed_usd: float
    reason: str


def report(studio: Studio) -> LedgerReport:
    """The last 24 hours and everything open; prices of another day are read again first."""
    from ryla_assets.studio.bills import drift  # RunPod's client: an hourly asset's, not every run's
    from ryla_assets.studio.prices import keep_prices_fresh

    prices = keep_prices_fresh(studio)
    told = books_of(studio).summary()
    bill = drift(studio)
    seconds = {
        f"{name.removesuffix('_s')}_{rank}_s": value
        for rank, found in (("p50", told.p50), ("p95", told.p95))
        for name, value in found.items()
    }
    numbers = {
        "open": sum(count for state, count in told.by_state.items() if state in OPEN_STATES),
        "spent_usd": told.spent_usd,
        "reserved_usd": told.reserved_usd,
        "unknown_usd": told.unknown_usd,
        "presumed_usd": told.presumed_usd,
        "cold_usd": told.cold_usd,
        "idle_usd": told.idle_usd,
        "accepted_images": told.images,
        "per_image_usd": told.per_image_usd,
        "wasted": told.wasted_share,
        "drift_usd": bill.usd,
        "bill_explained": bill.explained,
        **seconds,
    }
    states = [{"state": state, "attempts": count} for state, count in sorted(told.by_state.items())]
    dearest = {by: [_row(by, one) for one in _spend(studio, by)[:DEAREST]] for by in ("character", "run")}
    return LedgerReport(numbers, states, dearest["character"], dearest["run"], bill.note, prices)


def budget_report(studio: Studio) -> BudgetReport:
    """Spent and open exposure of 24 hours against RYLA_DAILY_BUDGET_USD, and the nearest of the other budgets."""
    told, budget = books_of(studio).summary(), studio.settings.daily_budget_usd
    held = told.reserved_usd + told.unknown_usd
    share = (told.spent_usd + held) / budget
    level = _level(share)
    part = f"{share:.0%} of the daily budget of ${budget:.2f}"
    reason = f"${told.spent_usd:.4f} spent and ${held:.4f} held by open work: {part}."
    if level != "ok":
        reason += " Raise RYLA_DAILY_BUDGET_USD, or wait until older work leaves the 24-hour window."
    for note in (_nearest(studio, "character"), _nearest(studio, "run")):
        if note:
            level, reason = "near" if level == "ok" else level, f"{reason} {note}"
    numbers = {"spent_usd": told.spent_usd, "reserved_usd": held, "budget_usd": budget, "budget_share": share}
    return BudgetReport(level, reason, numbers)


def exposure_report(studio: Studio) -> ExposureReport:
    """Every attempt that may have cost money unseen, the dearest first, at most SHOWN of them."""
    books = books_of(studio)
    told, found = books.summary(), books.exposed(since=books.clock() - DAY_S)
    rows = [
        {
            "attempt": entry.attempt.id,
            "state": entry.attempt.state,
            "job": entry.label,
            "at_most_usd": entry.attempt.exposure_usd if entry.attempt.is_open else entry.attempt.cost_usd,
            "endpoint": entry.attempt.endpoint,
        }
        for entry in found[:SHOWN]
    ]
    if not rows:
        return ExposureReport(rows, told.unknown_usd, told.presumed_usd, "Every attempt's cost is known or reserved.")
    reason = (
        f"${told.unknown_usd:.4f} may be spent by attempts whose outcome is unknown, ${told.presumed_usd:.4f} were "
        "booked in 24 hours as the most that they can have cost. ryla jobs reconcile settles what can be settled."
    )
    if len(found) > SHOWN:
        reason += f" The {SHOWN} dearest of {len(found)} attempts are listed."
    return ExposureReport(rows, told.unknown_usd, told.presumed_usd, reason)


def _level(share: float) -> Level:
    return "over" if share > 1 else "near" if share >= WARN_SHARE else "ok"


def _spend(studio: Studio, by: By) -> list[Spend]:
    """The dearest characters or runs of 24 hours; work for nobody, or of no run, has no budget of its own."""
    books = books_of(studio)
    return [one for one in books.spend(by, since=books.clock() - DAY_S) if one.key]


def _row(by: By, one: Spend) -> dict[str, Any]:
    return {by: one.key, "attempts": one.attempts, "spent_usd": one.spent_usd, "held_usd": one.usd - one.spent_usd}


def _nearest(studio: Studio, by: Literal["character", "run"]) -> str:
    """The character or run that has least left of its budget, if that is little; "" where there is no such budget."""
    budget = studio.settings.character_budget_usd if by == "character" else studio.settings.run_budget_usd
    found = _spend(studio, by) if budget else []
    if not budget or not found or _level(found[0].usd / budget) == "ok":
        return ""
    near = sum(_level(one.usd / budget) != "ok" for one in found)
    others = f" ({near - 1} more are as near)" if near > 1 else ""
    return (
        f"{by.title()} {found[0].key} is at ${found[0].usd:.4f} of its ${budget:.2f}{others}: "
        f"beyond it its work is refused. RYLA_{by.upper()}_BUDGET_USD raises it."
    )
