"""`image_index__standing`: what is wrong right now, over all characters, each with the next command."""

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.standing import standing_report
from ryla_assets.studio.studio import Studio


@dg.asset_check(
    asset=dg.AssetKey("image_index"),
    name="image_index__standing",
    blocking=False,
    description="Now: refused or unjudged sets, told claims that do not hold, stale sheets, broken or unmarked pictures"
    " (sampled), unknown costs.",
)
@fails_clearly
def image_index__standing(studio: dg.ResourceParam[Studio]) -> dg.AssetCheckResult:
    """An error where something is refused, broken or of unknown cost; a warning for the rest."""
    told = standing_report(studio)
    return dg.AssetCheckResult(
        passed=not told.rows,
        severity=dg.AssetCheckSeverity.ERROR if told.errors else dg.AssetCheckSeverity.WARN,
        description=told.reason,
        metadata=entries(
            {"reason": told.reason, "standing": table(told.rows), "blocks": table(told.blocks), **told.numbers}
        ),
    )


checks = [image_index__standing]
