"""`image_index`: every picture that a manifest names, in numbers."""

import dagster as dg

from ryla_assets.assets.style import OWNERS
from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.standing import index_report
from ryla_assets.studio.studio import Studio


@dg.asset(group_name="content", kinds={"python"}, owners=OWNERS, code_version="1")
@fails_clearly
def image_index(studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """Stored, accepted and rejected pictures, by asset and by route."""
    told = index_report(studio)
    return dg.MaterializeResult(
        metadata=entries({**told.numbers, "by_asset": table(told.assets), "by_route": table(told.routes)})
    )
