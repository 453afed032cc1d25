"""`model_files`: what the backend has of the files that our workflows name."""

import dagster as dg

from ryla_assets.assets.style import OWNERS
from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.models import model_report
from ryla_assets.studio.studio import Studio


@dg.asset(group_name="setup", kinds={"comfyui"}, owners=OWNERS, code_version="1")
@fails_clearly
def model_files(studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """The model files of models.yaml and whether this backend has them; every GPU asset depends on it."""
    report = model_report(studio)
    return dg.MaterializeResult(
        metadata=entries(
            {
                "backend": report.backend,
                "render_domain": studio.render_domain,
                "files": table(report.rows),
                "present": report.present,
                "missing": report.missing,
            }
        ),
        data_version=dg.DataVersion(report.version),
    )
