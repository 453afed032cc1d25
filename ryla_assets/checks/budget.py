"""`job_ledger__budget`: the last 24 hours' spending and open work against the budgets; told before they refuse."""

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries
from ryla_assets.studio.ledger_report import budget_report
from ryla_assets.studio.studio import Studio


@dg.asset_check(
    asset=dg.AssetKey("job_ledger"),
    name="job_ledger__budget",
    blocking=False,
    description="Spent and reserved in 24 hours: a warning from 80 % of RYLA_DAILY_BUDGET_USD, an error beyond it; "
    "a warning where a character or a run comes as near to its own.",
)
@fails_clearly
def job_ledger__budget(studio: dg.ResourceParam[Studio]) -> dg.AssetCheckResult:
    """Ask the ledger as it is now."""
    told = budget_report(studio)
    return dg.AssetCheckResult(
        passed=told.level == "ok",
        severity=dg.AssetCheckSeverity.ERROR if told.level == "over" else dg.AssetCheckSeverity.WARN,
        description=told.reason,
        metadata=entries({"reason": told.reason, **told.numbers}),
    )


checks = [job_ledger__budget]
