"""`job_ledger`: the ledger of paid work in numbers, so that money and waiting are plotted beside what they bought."""

import dagster as dg

from ryla_assets.assets.style import OWNERS
from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.studio.ledger_report import report
from ryla_assets.studio.studio import Studio


@dg.asset(group_name="money", kinds={"python"}, owners=OWNERS, code_version="1")
@fails_clearly
def job_ledger(studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """What is open, what the last 24 hours cost and brought, what may have been spent unseen."""
    told = report(studio)
    tables = {
        "states": table(told.states),
        "dearest_characters": table(told.characters),
        "dearest_runs": table(told.runs),
    }
    return dg.MaterializeResult(metadata=entries({**told.numbers, **tables, "bill": told.bill, "prices": told.prices}))
