"""Budgets: what a day, a character and a run may cost, and the refusal of what does not fit.

Everything settled counts with its cost, everything open with the most that it can cost. The sums are made under the
ledger's lock (`Ledger.begin`), so two processes cannot spend the same dollar.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from resources.gpu.errors import OverBudget
from resources.gpu.tables import attempts, jobs

DAY_S = 86_400.0
ROUNDING_USD = 1e-9  # sums of floats: ten times $0.10 fit into a budget of $1


@dataclass(frozen=True)
class Budgets:
    """The most that may be spent, in USD; None: no limit of its own."""

    daily_usd: float
    character_usd: float | None = None  # a character is a job's owner; 24 hours, like the day
    run_usd: float | None = None  # all attempts of one run, whenever they were


@dataclass(frozen=True)
class Committed:
    """What is spent, and what open work can still cost at most; USD."""

    spent_usd: float
    reserved_usd: float

    @property
    def usd(self) -> float:
        """Both together."""
        return self.spent_usd + self.reserved_usd


@dataclass(frozen=True)
class _Limit:
    usd: float
    words: str
    way_out: str
    where: sa.ColumnElement[bool]
    since: float


def committed(db: sa.Connection, *, since: float, where: sa.ColumnElement[bool] | None = None) -> Committed:
    """What was settled at or after `since`, and the exposure of all that is open (of the attempts in `where`)."""
    is_open = attempts.c.settled_at.is_(None)
    spent = sa.func.sum(sa.case((is_open, 0.0), else_=attempts.c.cost_usd))
    reserved = sa.func.sum(sa.case((is_open, attempts.c.exposure_usd), else_=0.0))
    query = sa.select(spent, reserved).where(is_open | (attempts.c.settled_at >= since))
    row = db.execute(query if where is None else query.where(where)).one()
    return Committed(float(row[0] or 0.0), float(row[1] or 0.0))


def refuse_what_does_not_fit(
    db: sa.Connection, budgets: Budgets, *, fingerprint: str, run_id: str | None, exposure_usd: float, now: float
) -> None:
    """Check one more attempt of a job against every budget; the caller holds the lock on them.

    Raises OverBudget naming the first budget without room: what is spent, reserved and asked, and the way out.
    """
    for limit in _limits(db, budgets, fingerprint, run_id, now):
        found = committed(db, since=limit.since, where=limit.where)
        if found.usd + exposure_usd > limit.usd + ROUNDING_USD:
            raise OverBudget(
                f"This job can cost ${exposure_usd:.4f}; of the {limit.words} of ${limit.usd:.2f}, "
                f"${found.spent_usd:.4f} is spent and ${found.reserved_usd:.4f} is reserved for open work.",
                way_out=limit.way_out,
            )


def _limits(db: sa.Connection, budgets: Budgets, fingerprint: str, run_id: str | None, now: float) -> list[_Limit]:
    found = [
        _Limit(
            budgets.daily_usd,
            "daily budget",
            "Raise RYLA_DAILY_BUDGET_USD or wait until older work leaves the 24-hour window.",
            sa.true(),
            now - DAY_S,
        )
    ]
    if budgets.character_usd is not None:
        owner = db.execute(sa.select(jobs.c.owner).where(jobs.c.fingerprint == fingerprint)).scalar_one()
        if owner:
            found.append(
                _Limit(
                    budgets.character_usd,
                    f"daily budget of {owner}",
                    "Raise RYLA_CHARACTER_BUDGET_USD or wait until older work leaves the 24-hour window.",
                    attempts.c.fingerprint.in_(sa.select(jobs.c.fingerprint).where(jobs.c.owner == owner)),
                    now - DAY_S,
                )
            )
    if budgets.run_usd is not None and run_id is not None:
        way_out = "Raise RYLA_RUN_BUDGET_USD or split the work into more runs."
        found.append(_Limit(budgets.run_usd, f"budget of run {run_id}", way_out, attempts.c.run_id == run_id, 0.0))
    return found
