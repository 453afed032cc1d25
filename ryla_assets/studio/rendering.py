"""Run a plan and turn what its jobs returned into image records: one a picture that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resources.gpu.errors import OutputRejected
from ryla_assets.domain.images import ImageRecord, Timing
from ryla_assets.studio import paid
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.gpu.ledger import Ledger


def render(studio: Studio, plan: Sequence[PlannedJob]) -> tuple[list[ImageRecord], Timing]:
    """Run the plan's jobs (adopting what was paid for) and return their pictures, in plan order.

    A picture that was refused when it arrived is among them, with its reason (`refused`): it is an answer too, and its
    job is not paid again.
    """
    answers = paid.answers(studio, plan)
    results = [answer for answer in answers if not isinstance(answer, OutputRejected)]
    adopted = sum(result.adopted for result in results)
    if adopted:
        studio.caller.tell(
            f"{adopted} of {len(answers)} jobs were paid for earlier and adopted: nothing was sent for them."
        )
    names = fingerprints(studio, plan)
    pictures: list[ImageRecord] = []
    for planned, fingerprint, answer in zip(plan, names, answers, strict=True):
        came = [*answer.refused, *([] if isinstance(answer, OutputRejected) else answer.outputs)]
        pictures += _records(planned, fingerprint, {output["name"]: output for output in came})
    return pictures, timing(studio.runner.ledger, names)


def answered(studio: Studio, plan: Sequence[PlannedJob]) -> list[PlannedJob]:
    """Those of the plan's jobs that have a result: `render` adopts them."""
    rows = map(studio.runner.ledger.job, fingerprints(studio, plan))
    return [planned for planned, row in zip(plan, rows, strict=True) if row is not None and row.result is not None]


def fingerprints(studio: Studio, plan: Iterable[PlannedJob]) -> list[str]:
    """The names of the plan's jobs in the ledger."""
    backend = studio.runner.backend
    return [planned.job.fingerprint(backend.profile(planned.job)) for planned in plan]


def timing(ledger: Ledger, jobs: Iterable[str]) -> Timing:
    """All attempts at these jobs (fingerprints), summed up as the ledger booked them; what brought nothing counts."""
    names = list(dict.fromkeys(jobs))
    attempts = [attempt for name in names for attempt in ledger.attempts(name)]
    taken = [attempt for attempt in attempts if attempt.state == "succeeded"]
    return Timing(
        exec_s=sum(a.exec_s for a in attempts),
        queue_s=sum(a.queue_s for a in attempts),
        cold_s=sum(a.cold_s for a in attempts),
        overhead_s=max((a.overhead_s for a in taken), default=0.0),
        longest_exec_s=max((a.exec_s for a in taken), default=0.0),
        cost_usd=sum(a.cost_usd for a in attempts),
        cold_usd=sum(a.cold_usd for a in attempts),
        idle_usd=sum(a.idle_usd for a in attempts),
        jobs=len(names),
    )


def together(first: Timing, second: Timing) -> Timing:
    """Two rounds of one stage, one after the other."""
    sums = {name: getattr(first, name) + getattr(second, name) for name in Timing.model_fields}
    return Timing(**sums)


def _records(planned: PlannedJob, job: str, came: Mapping[str, Mapping[str, Any]]) -> Iterator[ImageRecord]:
    for spec in planned.job.outputs:
        output = came[spec.name]
        yield ImageRecord(
            **planned.records[spec.name],
            sha256=output.get("sha256") or output["raw_sha256"],
            pixels_sha256=output.get("pixels_sha256", ""),
            job=job,
            faults=(output["code"],) if "code" in output else (),
            refused=_reason(output),
        )


def _reason(output: Mapping[str, Any]) -> str:
    """Why it was refused; of bytes that are not kept, what is known of them."""
    lost = f" ({output['bytes']} bytes, not kept)" if "raw_sha256" in output else ""
    return f"{output['reason']}{lost}" if "code" in output else ""
