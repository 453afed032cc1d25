"""`job_ledger__no_unknown_exposure`: no attempt may have cost money without our knowing how much."""

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.ledger_report import exposure_report
from ryla_assets.studio.studio import Studio


@dg.asset_check(
    asset=dg.AssetKey("job_ledger"),
    name="job_ledger__no_unknown_exposure",
    blocking=False,
    description="Attempts of unknown outcome, and those booked in 24 hours as the most that they can cost.",
)
@fails_clearly
def job_ledger__no_unknown_exposure(studio: dg.ResourceParam[Studio]) -> dg.AssetCheckResult:
    """An open unknown is an error, a presumed cost a warning; each is listed with its largest possible cost."""
    told = exposure_report(studio)
    return dg.AssetCheckResult(
        passed=not told.rows,
        severity=dg.AssetCheckSeverity.ERROR if told.unknown_usd else dg.AssetCheckSeverity.WARN,
        description=told.reason,
        metadata=entries(
            {
                "reason": told.reason,
                "exposed": table(told.rows),
                "unknown_usd": told.unknown_usd,
                "presumed_usd": told.presumed_usd,
            }
        ),
    )


checks = [job_ledger__no_unknown_exposure]
