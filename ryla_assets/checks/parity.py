"""`workflow_templates__parity`: every template says what the code builds, so that people see what really runs."""

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.templates import template_report


@dg.asset_check(
    asset=dg.AssetKey("workflow_templates"),
    name="workflow_templates__parity",
    blocking=False,
    description="Converted to a prompt, each template equals its builder's graph, up to ids and what a job sets.",
)
@fails_clearly
def workflow_templates__parity() -> dg.AssetCheckResult:
    """Compare the template files as they are now; the sentence names the first differences, node by node."""
    report = template_report()
    return dg.AssetCheckResult(
        passed=not report.differences,
        severity=dg.AssetCheckSeverity.ERROR,
        description=report.reason,
        metadata=entries(
            {"reason": report.reason, "templates": table(report.rows), "differences": len(report.differences)}
        ),
    )


checks = [workflow_templates__parity]
