"""One job of one call on its way: what the call remembers of it between two looks. Plain data."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from resources.gpu import errors
from resources.gpu.backend import Diagnosis, RemoteStatus
from resources.gpu.job import Job
from resources.gpu.records import Attempt, JobRow


@dataclass(frozen=True)
class JobResult:
    """An accepted result: `outputs` as `accept` recorded them, and the attempt that made it."""

    job: Job
    fingerprint: str
    outputs: list[dict[str, Any]]
    attempt: Attempt
    adopted: bool  # True: it was paid for earlier, nothing was sent now
    refused: list[dict[str, Any]] = field(default_factory=list)  # outputs that `accept` refused, beside those it took


@dataclass
class Tracked:
    """Times are monotonic seconds."""

    row: JobRow
    attempt: Attempt | None = None
    tries: int = 0  # attempts that this call started
    tried: list[str] = field(default_factory=list)  # endpoints that failed it in this call
    refused: int = 0  # submissions in a row that did not get through
    since: float | None = None  # of the attempt's current state
    verdict: Diagnosis | None = None  # why it does not move
    asked: float = float("-inf")  # when that was last asked
    rest_until: float = float("-inf")  # nothing is done for it before
    silent_since: float | None = None  # of the first question that was not answered
    trouble: Exception | None = None  # why the last step failed, where the attempt is still open
    work: asyncio.Task[None] | None = None  # what is being done for it just now
    fraction: float = 0.0
    result: JobResult | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        """True once there is a result or a final error."""
        return self.result is not None or self.error is not None

    def rest(self, seconds: float) -> None:
        """Do nothing for it for so long."""
        self.rest_until = time.monotonic() + seconds

    def calm(self) -> None:
        """What was asked was answered."""
        self.trouble = self.silent_since = None

    def now_at(self, attempt: Attempt | None, *, just_now: bool = False) -> None:
        """Go on from this row; a new state is waited for anew: since now if we saw it come, else since the row says."""
        before, self.attempt = self.attempt, attempt
        if _phase(before) != _phase(attempt):
            self.since, self.verdict, self.asked = None, None, float("-inf")
        if just_now:
            self.since = time.monotonic()


def _phase(attempt: Attempt | None) -> tuple[str, str] | None:
    """What is waited for: a job that was submitted waits in its queue, whether or not that was seen yet."""
    if attempt is None:
        return None
    return attempt.id, "queued" if attempt.state == "submitted" else attempt.state


@dataclass(frozen=True)
class Look:
    """The answer to one poll: the state of each remote job, or why there is none."""

    statuses: dict[str, RemoteStatus] = field(default_factory=dict)
    trouble: errors.BackendUnavailable | None = None

    def at(self, attempt: Attempt) -> RemoteStatus:
        """What it says of an attempt. Raises BackendUnavailable where it says nothing."""
        status = self.statuses.get(attempt.remote_id or "")
        if status is None:
            raise self.trouble or errors.BackendUnavailable(f"{attempt.backend} says nothing of {attempt.remote_id}.")
        return status
