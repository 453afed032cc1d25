"""`content_batch`: a day's pictures for every active character, by the same studio functions as everything else."""

import dagster as dg

from resources.gpu.errors import OverBudget
from ryla_assets.assets.results import metadata_of
from ryla_assets.assets.style import OWNERS
from ryla_assets.checks.judged import check_metadata, severity, shown_passed
from ryla_assets.failures import OURS, fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.partitions import days
from ryla_assets.studio.batch import Served, serve_day
from ryla_assets.studio.judgement import Judgement
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio


@dg.asset(partitions_def=days, group_name="content", kinds={"python"}, owners=OWNERS, code_version="1")
@fails_clearly
def content_batch(context: dg.AssetExecutionContext, studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """One request a character and day; each is logged as a materialization of `generated_images` with its checks.

    A character whose gate refuses is a row of the table, not a failed day; running out of budget ends the day.
    """
    rows = []
    for served in serve_day(studio, context.partition_key, stop_on=(OverBudget,), skip_on=OURS):
        _log(context, studio, served)
        rows.append(served.row())
    refused = sum(not row["accepted"] for row in rows)
    numbers = {"characters": len(rows), "refused": refused, "results": table(rows)}
    return dg.MaterializeResult(metadata=entries({**numbers, "cost_usd": sum(row["cost_usd"] for row in rows)}))


def _log(context: dg.AssetExecutionContext, studio: Studio, served: Served) -> None:
    if served.images is None:
        context.log.warning("%s: %s", served.character, served.reason)
        return
    context.log_event(
        dg.AssetMaterialization(
            "generated_images",
            partition=served.character,
            metadata=metadata_of(studio, served.images),
            tags={"ryla/batch": context.partition_key},
        )
    )
    for judgement in served.judgements:
        context.log_event(_evaluation(judgement))


def _evaluation(judgement: Judgement) -> dg.AssetCheckEvaluation:
    required = judgement.claim in REQUIRED_CLAIMS[judgement.asset]
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(judgement.asset),
        check_name=f"{judgement.asset}__{judgement.claim}",
        passed=shown_passed(judgement),
        severity=severity(judgement, blocking=required),
        description=judgement.reason,
        metadata=check_metadata(judgement),
        partition=judgement.character,
    )
