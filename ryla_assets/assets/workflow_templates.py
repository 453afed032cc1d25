"""`workflow_templates`: the graphs as people open them in ComfyUI, compared with the graphs that code builds."""

import dagster as dg

from ryla_assets.assets.style import OWNERS
from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.templates import template_report


@dg.asset(group_name="setup", kinds={"comfyui"}, owners=OWNERS, code_version="1")
@fails_clearly
def workflow_templates() -> dg.MaterializeResult[None]:
    """The workflow templates in `workflows/*.json` and how many nodes or values of each differ from the code."""
    report = template_report()
    return dg.MaterializeResult(
        metadata=entries({"templates": table(report.rows), "differences": len(report.differences)}),
        data_version=dg.DataVersion(report.version),
    )
