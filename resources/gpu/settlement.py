"""What an attempt's end means in words and in money: which error it is, and what is booked.

Nothing here asks or writes anything. The rule on money: what the far side reports is booked as reported; where it
reports nothing, or may still be working, the most that the attempt can cost is booked, as presumed.
"""

from __future__ import annotations

from typing import Any

from resources.gpu import errors
from resources.gpu.backend import RemoteStatus
from resources.gpu.job import Job
from resources.gpu.records import Attempt, JobRow
from resources.gpu.refused import refusal

NEVER_SUBMITTED = "never_submitted"  # error code of an attempt that certainly never arrived
OUTCOME_UNKNOWN = "outcome_unknown"  # of one that may have arrived, and never showed up
_FAILURES: dict[str, type[errors.JobFailed]] = {
    "failed": errors.JobFailed,
    "cancelled": errors.JobCancelled,
    "lost": errors.JobLost,
    "timed_out": errors.JobTimedOut,
}


def named(job: Job, message: str) -> str:
    """The message, led by the job's label once: backends know jobs by ids of their own."""
    return message if message.startswith(f"{job.label}: ") else f"{job.label}: {message}"


def failure_of(row: JobRow, status: RemoteStatus) -> errors.JobFailed:
    """The error of a job that the backend reports as ended badly."""
    message = named(row.job, status.error or f"the backend reports {status.state}")
    retry = errors.Retry(status.detail["retry"]) if "retry" in status.detail else None
    return _FAILURES[status.state](message, code=status.error_code, retry=retry)


def ended_elsewhere(row: JobRow, attempt: Attempt) -> errors.JobFailed:
    """The error of an attempt that another process ended."""
    if attempt.refused:
        return refusal(row.job, attempt.refused)
    retry = errors.Retry.TRANSIENT if attempt.error_code == NEVER_SUBMITTED else None
    message = named(row.job, attempt.error or attempt.state)
    return _FAILURES[attempt.state](message, code=attempt.error_code or "", retry=retry)


def settlement(attempt: Attempt, status: RemoteStatus, now: float) -> dict[str, Any]:
    """The columns that are booked for an attempt whose last known state is `status`."""
    stopped = status.state not in ("queued", "running")
    cost = status.cost_usd if stopped else None
    if cost is not None and cost > attempt.exposure_usd:
        cost = None  # guessed from the time since its submission, most of which nobody watched
    remote = status.queue_s + status.cold_s + status.exec_s
    return {
        **(presumed(attempt) if cost is None else {"cost_usd": cost, "cost_basis": "reported"}),
        "cold_usd": status.cold_usd,
        "idle_usd": status.idle_usd,
        "worker": status.worker or None,
        "queue_s": status.queue_s,
        "cold_s": status.cold_s,
        "exec_s": status.exec_s,
        "overhead_s": max(0.0, now - attempt.intended_at - remote),
    }


def presumed(attempt: Attempt) -> dict[str, Any]:
    """The bill that nobody can tell: the most that it can be."""
    return {"cost_usd": attempt.exposure_usd, "cost_basis": "presumed"}
