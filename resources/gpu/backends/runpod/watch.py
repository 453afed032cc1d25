"""One job as the poller knows it: what was last said of it, what that means after all before, when to ask again.

Belongs here: the rules over time, which a single status body cannot tell. An end is an end, whatever is said later; a
job that goes back to its queue was requeued; a 404 right after submission is no verdict. No clock is read here, and
nothing is asked.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resources.gpu.backend import RemoteStatus
from resources.gpu.errors import BackendUnavailable

Key = tuple[str, str]  # endpoint id, job id
Reader = Callable[[Mapping[str, Any]], RemoteStatus]  # a status body, in a contract's eyes

LOST = (
    "RunPod no longer knows the job (404): its ttl ended it, waiting or running; or its result waited longer than the "
    "30 minutes that RunPod keeps one; or its endpoint was deleted"
)
POISONED_AFTER = 3  # jobs in a row that one worker could not do
_WORKERS = 1000  # remembered


@dataclass(frozen=True)
class Cadence:
    """How often is asked; seconds. Sources: RunPod docs (limits), measured costs (docs/benchmarks.md)."""

    queued_s: float = 1.0  # the first pause; then 1.5 times the last one
    queued_max_s: float = 10.0
    head_s: float = 1.0  # for the jobs that will start next
    head_jobs: int = 4  # at least so many are taken for those
    head_most: int = 16  # and at most so many: of 60 workers with jobs of 15 s, four take the next one each second
    running_min_s: float = 0.2
    running_max_s: float = 5.0
    trouble_max_s: float = 15.0
    grace_s: float = 60.0  # after submission a 404 says nothing (seen with other clients right after /run)
    missing_s: float = 15.0  # a 404 is believed once it was the answer for so long: a router's fault is shorter
    missing_looks: int = 3  # and so often
    answer_s: float = 2.0  # how long a question waits for a fresh answer
    stale_s: float = 30.0  # what was asked for so long in vain is not known any more
    unasked_s: float = 300.0  # nobody asked for so long: it is no longer followed
    at_once: int = 64  # questions of one endpoint
    per_s: float = 25.0  # looks that all waiting jobs together are worth; the quota allows 200
    running_share: float = 0.02  # of the expected run time: to see an end so late is soon enough
    running_per_s: float = 120.0  # looks that all running jobs together are worth: 60 ends are seen 0.25 s late


@dataclass(frozen=True)
class Look:
    """A job's state with what only its history tells."""

    status: RemoteStatus
    requeues: int = 0
    elapsed_s: float | None = None  # since it was submitted; None: nobody said when
    gap_s: float | None = None  # its worker had been idle for so long (inf: not known before); None: it has not ended
    worker_failures: int = 0  # of that worker, in a row, this job included
    ran: bool = False  # it was seen running

    @property
    def ended(self) -> bool:
        """True once nothing more happens to it."""
        return self.status.state not in ("queued", "running")


@dataclass(eq=False)
class Watch:
    """The history of one job. Times are monotonic seconds."""

    key: Key
    read: Reader
    since: float  # it was submitted, or, where it is not `dated`, first seen
    submitted_here: bool  # by this process
    dated: bool = False
    status: RemoteStatus | None = None
    seen_at: float = float("-inf")  # when the question was sent that brought `status`
    wanted_at: float = float("-inf")  # an older answer than that is not enough
    asked_at: float = 0.0  # when somebody last wanted to know
    due: float = 0.0
    in_flight: bool = False
    failures: int = 0
    trouble: BackendUnavailable | None = None
    missing: int = 0  # 404s in a row
    missing_since: float = 0.0
    requeues: int = 0
    running_since: float | None = None
    ran: bool = False
    pause: float = 0.0
    ended: bool = False
    gap_s: float | None = None
    worker_failures: int = 0
    ended_at: float = 0.0
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def observe(self, body: Mapping[str, Any] | None, sent_at: float, now: float, cadence: Cadence) -> None:
        """Take an answer in; None is a 404."""
        if self.ended:
            return
        self.failures, self.trouble, self.seen_at = 0, None, sent_at
        if body is None:
            self._observe_missing(now, cadence)
            return
        status, before = self.read(body), self.status
        self.missing = 0
        if before is not None and before.state == "running" and status.state == "queued":
            self.requeues += 1
            self.running_since, self.pause = None, 0.0
        if status.state == "running" and self.running_since is None:
            self.running_since, self.ran = now, True
        if self.requeues:
            status = replace(status, detail={**status.detail, "requeues": self.requeues})
        self._take(status, now)

    def stumble(self, trouble: BackendUnavailable) -> None:
        """Take note of a question without an answer."""
        self.failures += 1
        self.trouble = trouble

    def look(self, now: float) -> Look | None:
        """What is known; None where nothing was said yet."""
        if self.status is None:
            return None
        elapsed = ((self.ended_at if self.ended else now) - self.since) if self.dated else None
        return Look(self.status, self.requeues, elapsed, self.gap_s, self.worker_failures, self.ran)

    def pause_s(self, now: float, cadence: Cadence, *, expected_s: float, head: bool, crowd: int) -> float:
        """Seconds until it is asked about again; `crowd` jobs are in the same state as this one."""
        if self.failures:
            return random.uniform(0.2, min(cadence.trouble_max_s, 2.0**self.failures))  # noqa: S311  spread, no secret
        if self.missing:
            apart_s = cadence.missing_s / max(1, cadence.missing_looks - 1)
            return apart_s if now - self.since >= cadence.grace_s else cadence.head_s
        if self.running_since is not None:
            ran = now - self.running_since
            overrun = (ran - 2 * expected_s) / 4  # of one that is much too late, or where nothing is expected
            rest = max(expected_s * cadence.running_share, overrun)
            return max(cadence.running_min_s, crowd / cadence.running_per_s, min(rest, cadence.running_max_s))
        if head:
            return min(cadence.head_s, max(cadence.running_min_s, expected_s / 2 or cadence.head_s))
        self.pause = min(cadence.queued_max_s, self.pause * 1.5) if self.pause else cadence.queued_s
        share = crowd / cadence.per_s
        if share > self.pause:  # a crowd that was asked about at once is spread out
            return share * random.uniform(0.5, 1.5)  # noqa: S311
        return self.pause * random.uniform(0.85, 1.15)  # noqa: S311

    def _observe_missing(self, now: float, cadence: Cadence) -> None:
        if not self.missing:
            self.missing_since = now
        self.missing += 1
        too_early = now - self.since < cadence.grace_s or now - self.missing_since < cadence.missing_s
        if too_early or self.missing < cadence.missing_looks:
            if self.status is None and self.submitted_here:
                self._take(RemoteStatus("queued", cost_usd=None), now)
            return
        known = self.status or RemoteStatus("lost")
        retry = {**known.detail, "retry": "transient"}
        self._take(replace(known, state="lost", cost_usd=None, error_code="unknown_job", error=LOST, detail=retry), now)

    def _take(self, status: RemoteStatus, now: float) -> None:
        self.status = status
        if status.state not in ("queued", "running"):
            self.ended, self.ended_at = True, now


ORDER_S = 3.0  # by so much may one end be seen later than another, in a poller that keeps up


class WorkerBook:
    """Which workers this process knows: when each was last busy, and how many jobs in a row it could not do."""

    def __init__(self) -> None:
        self._busy_until: OrderedDict[str, float] = OrderedDict()
        self._failures: dict[str, int] = {}

    def met(self, status: RemoteStatus, now: float) -> tuple[float, int]:
        """Note an ended job; returns how long its worker was idle before, and its failures in a row."""
        worker = status.worker
        if not worker:
            return float("inf"), 0
        before, began = self._busy_until.pop(worker, None), now - status.exec_s
        # A worker does one job at a time: one that seems to have begun before the other ended was seen out of order,
        # and may be the one that waited for the start.
        known = before is not None and before - began <= ORDER_S
        gap = max(0.0, began - before) if before is not None and known else float("inf")
        self._busy_until[worker] = max(now, before or now)
        bad = status.state == "failed" and status.error_code in ("out_of_memory", "worker_crashed", "gpu_fault")
        self._failures[worker] = self._failures.get(worker, 0) + 1 if bad else 0
        while len(self._busy_until) > _WORKERS:
            self._failures.pop(self._busy_until.popitem(last=False)[0], None)
        return gap, self._failures[worker]
