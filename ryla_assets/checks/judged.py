"""How a judgement becomes an asset check: partitioned, standalone, with numbers that plot."""

import warnings
from typing import Any

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.metadata import entries, table
from ryla_assets.partitions import characters
from ryla_assets.studio.judge import judge
from ryla_assets.studio.judgement import NO_SCORER, Judgement
from ryla_assets.studio.studio import Studio

_OF_THE_PRODUCT = ("timing", "evidence", "drift", "distinct")  # claims that a preview says nothing about


def judged_check(asset: str, claim: str, *, blocking: bool, description: str) -> dg.AssetChecksDefinition:
    """The check `<asset>__<claim>`: judges the current manifest of its partition and writes the gate row.

    Blocking claims fail as ERROR and stop the run's downstream; the others are told as WARN. Who builds on the asset
    asks the gate row itself, so a refusal holds for every other run too.
    """

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks are a preview feature of Dagster 1.13

        @dg.asset_check(
            asset=dg.AssetKey(asset),
            name=f"{asset}__{claim}",
            partitions_def=characters,
            blocking=blocking,
            description=description,
        )
        @fails_clearly
        def check(context: dg.AssetCheckExecutionContext, studio: dg.ResourceParam[Studio]) -> dg.AssetCheckResult:
            return result(judge(studio, asset, context.partition_key, claim), blocking=blocking, named=False)

    return check


def result(judgement: Judgement, *, blocking: bool, named: bool = True) -> dg.AssetCheckResult:
    """A judgement as Dagster shows it."""
    return dg.AssetCheckResult(
        passed=shown_passed(judgement),
        severity=severity(judgement, blocking=blocking),
        description=judgement.reason,
        asset_key=dg.AssetKey(judgement.asset) if named else None,
        check_name=f"{judgement.asset}__{judgement.claim}" if named else None,
        metadata=check_metadata(judgement),
    )


def shown_passed(judgement: Judgement) -> bool:
    """Whether it is shown as passed: what nothing could judge opens the gate and is shown as a warning."""
    return judgement.passed and not judgement.warned


def severity(judgement: Judgement, *, blocking: bool) -> dg.AssetCheckSeverity:
    """ERROR for a claim that blocks and could be judged, else WARN."""
    return dg.AssetCheckSeverity.ERROR if blocking and not judgement.warned else dg.AssetCheckSeverity.WARN


def check_metadata(judgement: Judgement) -> dict[str, Any]:
    """The numbers, the sentence and the per-image table."""
    scorer = None if judgement.scorer_id == NO_SCORER else judgement.scorer_id
    return entries(
        {
            "reason": judgement.reason,
            "manifest_sha256": judgement.manifest_sha256,
            "scorer": scorer,
            "per_image": table(judgement.per_image),
            **({"evidence": judgement.evidence} if judgement.claim in _OF_THE_PRODUCT else {}),
            **judgement.numbers,
        }
    )
