"""What a RunPod job cost at most, from what its status and its history tell: recorded is never less than billed.

Belongs here: which shares an attempt is charged with. The arithmetic of a share is `resources.gpu.prices`'; what an
endpoint costs a second is asked of the control API by whoever builds the backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from resources.gpu.backend import RemoteStatus
from resources.gpu.backends.runpod.failures import TIMED_OUT
from resources.gpu.backends.runpod.watch import POISONED_AFTER, Look
from resources.gpu.prices import attempt_cost, listed

DEAREST_USD_PER_S = listed().rate([]).usd_per_s  # of an endpoint that cannot be asked for its GPUs
IDLE_TIMEOUT_S = 10.0  # of an endpoint made by the control API v2 without a wish of its own


@dataclass(frozen=True)
class Terms:
    """What a worker of one endpoint costs, in USD a second, and how long it stays after its last job."""

    usd_per_s: float = DEAREST_USD_PER_S
    idle_timeout_s: float = IDLE_TIMEOUT_S


def priced(look: Look, terms: Terms, *, cold_limit_s: float, warming: bool | None) -> RemoteStatus:
    """The status with its costs, and its delay split into queue and start; cost_usd None: book the most.

    `delayTime` holds both; a worker that was not just here is taken to have started for this job. `warming` is whether
    a worker was starting or free when a queued job was cancelled; None: not known.
    """
    status = _with_note(look)
    if status.state in ("queued", "running", "lost") or _may_run_on(look):
        return status
    if status.state != "cancelled" and status.exec_s > 0 and not look.requeues:
        return _billed(status, look, terms, cold_limit_s)
    if look.elapsed_s is None:
        return status
    if status.state == "cancelled":
        return _never_ran(status, look.elapsed_s, terms, cold_limit_s, warming)
    # Whatever ran, ran since the submission: requeued, or ended without a time.
    idle = math.ceil(terms.idle_timeout_s) * (look.requeues + 1) * terms.usd_per_s
    return replace(status, cost_usd=math.ceil(look.elapsed_s + 1) * terms.usd_per_s + idle, idle_usd=idle)


def _may_run_on(look: Look) -> bool:
    """True if a handler may be at work although the job has ended, so that nobody knows when its worker stops.

    RunPod says CANCELLED and TIMED_OUT at once, and cannot interrupt a handler that is not async (RunPod's SDK, worker
    side). Of TIMED_OUT not even that is known whether a worker took the job. Only a job that was cancelled in the
    queue, and showed no worker and no time, certainly never ran.
    """
    status = look.status
    began = bool(status.worker or status.exec_s or look.ran or look.requeues)
    return status.error_code == TIMED_OUT or (status.state == "cancelled" and began)


def _billed(status: RemoteStatus, look: Look, terms: Terms, cold_limit_s: float) -> RemoteStatus:
    new = look.gap_s is None or look.gap_s > terms.idle_timeout_s
    cold_s = min(status.queue_s, cold_limit_s) if new else 0.0
    cost = attempt_cost(
        execution_ms=status.exec_s * 1000,
        delay_ms=status.queue_s * 1000,
        worker_is_new=new,
        usd_per_s=terms.usd_per_s,
        idle_timeout_s=terms.idle_timeout_s,
        cold_limit_s=cold_limit_s,
    )
    return replace(
        status,
        queue_s=status.queue_s - cold_s,
        cold_s=cold_s,
        cost_usd=cost.total,
        cold_usd=cost.cold,
        idle_usd=cost.idle,
    )


def _never_ran(
    status: RemoteStatus, waited_s: float, terms: Terms, cold_limit_s: float, warming: bool | None
) -> RemoteStatus:
    """A job that was cancelled in the queue: nothing, unless a worker may have been starting for it."""
    if warming is False:
        return replace(status, cost_usd=0.0)
    cold = math.ceil(min(waited_s, cold_limit_s)) * terms.usd_per_s
    idle = math.ceil(terms.idle_timeout_s) * terms.usd_per_s
    return replace(status, cost_usd=cold + idle, cold_usd=cold, idle_usd=idle)


def _with_note(look: Look) -> RemoteStatus:
    """The status, naming a worker that fails one job after the other."""
    status = look.status
    if look.worker_failures < POISONED_AFTER:
        return status
    note = (
        f"Worker {status.worker} could not do {look.worker_failures} jobs in a row: end it in RunPod's console, and "
        "another one takes its place"
    )
    detail = {**status.detail, "poisoned_worker": status.worker, "retry": "elsewhere"}
    return replace(status, error=f"{status.error}. {note}", detail=detail)
