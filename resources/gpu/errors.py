"""What can go wrong with GPU work, as one tree; classified once, here, and never by reading texts elsewhere.

GpuError                     code, message, cost so far, what to do next
├── InvalidJob               the backend would refuse it; found before anything is paid
├── OverBudget               no reservation was possible; nothing was sent
├── BackendUnavailable       the backend cannot be reached or started
│   └── NotSent              and what was to be submitted certainly did not arrive
├── OutcomeUnknown           a submission may or may not have happened; settled before anything is sent again
└── JobFailed                the backend worked on it, and there is no accepted result
    ├── JobTimedOut          it waited or ran past its deadline
    ├── JobLost              the worker or the record of the job is gone
    ├── JobCancelled         somebody cancelled it
    └── OutputRejected       it returned something that is not what was asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Retry(StrEnum):
    """What another attempt is worth."""

    TRANSIENT = "transient"  # the same job may well succeed at once
    ELSEWHERE = "elsewhere"  # it may succeed on another worker or endpoint
    PERMANENT = "permanent"  # the same job fails the same way
    FATAL = "fatal"  # nothing will work until a person acts


class GpuError(Exception):
    """Base: everything a person needs to act, in one line."""

    code = "gpu_error"
    retry = Retry.PERMANENT

    def __init__(
        self, message: str, *, code: str = "", retry: Retry | None = None, cost_usd: float = 0.0, way_out: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.retry = retry or type(self).retry
        self.cost_usd = cost_usd
        self.way_out = way_out
        self.evidence: dict[str, object] = {}  # what a diagnosis rests on, where there was one

    def __str__(self) -> str:
        cost = f" Cost so far: ${self.cost_usd:.4f}." if self.cost_usd else ""
        return f"{self.message} [{self.code}]{cost}{' ' + self.way_out if self.way_out else ''}"


class InvalidJob(GpuError):
    """The backend would refuse this job; `problems` are in ComfyUI's own error shape."""

    code = "invalid_job"

    def __init__(self, message: str, *, problems: tuple[dict[str, object], ...] = (), way_out: str = "") -> None:
        super().__init__(message, way_out=way_out)
        self.problems = problems


class OverBudget(GpuError):
    """The reservation does not fit the budget."""

    code = "over_budget"
    retry = Retry.FATAL


class BackendUnavailable(GpuError):
    """The backend cannot be reached or started."""

    code = "backend_unavailable"
    retry = Retry.TRANSIENT


class NotSent(BackendUnavailable):
    """The submission certainly did not arrive: refused at the door, or nothing listened there."""

    code = "not_sent"


class NotCancelled(BackendUnavailable):
    """It was cancelled, and a look shows it waiting all the same; others there may be stopped."""

    code = "not_cancelled"


class OutcomeUnknown(GpuError):
    """Whether the submission happened is not known yet."""

    code = "outcome_unknown"


class JobFailed(GpuError):
    """The job ended without a result; `refused`: records of the pictures that it returned, where that is why."""

    code = "job_failed"
    refused: Sequence[dict[str, Any]] = ()


class JobTimedOut(JobFailed):
    """The job waited or ran past its deadline."""

    code = "timed_out"
    retry = Retry.ELSEWHERE


class JobLost(JobFailed):
    """The worker died, or the backend no longer knows the job."""

    code = "lost"
    retry = Retry.TRANSIENT


class JobCancelled(JobFailed):
    """The job was cancelled."""

    code = "cancelled"


class OutputRejected(JobFailed):
    """The worker's output did not pass `accept`.

    With `refused` records it is an answer, if a bad one: no later call sends the same job again.
    """

    code = "output_rejected"
    retry = Retry.TRANSIENT

    def __init__(self, message: str, *, refused: Sequence[dict[str, Any]] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.refused = list(refused)
