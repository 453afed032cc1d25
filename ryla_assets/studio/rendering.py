"""Run a plan and turn its accepted outputs into image records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ryla_assets.domain.images import ImageRecord, Timing
from ryla_assets.domain.quality import findings
from ryla_assets.studio import paid
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.gpu.runner import JobResult


def render(studio: Studio, plan: Sequence[PlannedJob]) -> tuple[list[ImageRecord], Timing]:
    """Run the plan's jobs (adopting what was paid for) and return their pictures, in plan order."""
    results = paid.run(studio, plan)
    adopted = sum(result.adopted for result in results)
    if adopted:
        studio.caller.tell(
            f"{adopted} of {len(results)} jobs were paid for earlier and adopted: nothing was sent for them."
        )
    pictures = [
        ImageRecord(
            **planned.records[output["name"]],
            sha256=output["sha256"],
            pixels_sha256=output["pixels_sha256"],
            job=result.fingerprint,
            faults=_faults(output.get("quality")),
        )
        for planned, result in zip(plan, results, strict=True)
        for output in result.outputs
    ]
    return pictures, timing(results)


def _faults(measured: dict[str, Any] | None) -> tuple[str, ...]:
    """What its pixels alone say against a picture; nothing of results that were accepted before they were measured."""
    if measured is None:
        return ()
    numbers = {name: value for name, value in measured.items() if name != "phash"}
    found = findings(**numbers, faces=None, expects_face=False)
    return tuple(finding.code for finding in found if finding.refuses)


def timing(results: Sequence[JobResult]) -> Timing:
    """Sum up the attempts that made the results, as the ledger booked them."""
    attempts = [result.attempt for result in results]
    return Timing(
        exec_s=sum(a.exec_s for a in attempts),
        queue_s=sum(a.queue_s for a in attempts),
        cold_s=sum(a.cold_s for a in attempts),
        overhead_s=max((a.overhead_s for a in attempts), default=0.0),
        longest_exec_s=max((a.exec_s for a in attempts), default=0.0),
        cost_usd=sum(a.cost_usd for a in attempts),
        cold_usd=sum(a.cold_usd for a in attempts),
        idle_usd=sum(a.idle_usd for a in attempts),
        jobs=len(attempts),
    )


def together(first: Timing, second: Timing) -> Timing:
    """Two rounds of one stage, one after the other."""
    return Timing(
        exec_s=first.exec_s + second.exec_s,
        queue_s=first.queue_s + second.queue_s,
        cold_s=first.cold_s + second.cold_s,
        overhead_s=first.overhead_s + second.overhead_s,
        longest_exec_s=first.longest_exec_s + second.longest_exec_s,
        cost_usd=first.cost_usd + second.cost_usd,
        cold_usd=first.cold_usd + second.cold_usd,
        idle_usd=first.idle_usd + second.idle_usd,
        jobs=first.jobs + second.jobs,
    )
