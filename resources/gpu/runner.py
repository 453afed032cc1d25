"""The runner: keeps the promise on paid work, for every backend, and is the only caller of `submit`.

    intent row committed -> budget reserved -> submit -> remote id recorded -> poll -> fetch -> accept -> settle

What was accepted before is adopted, what is open is awaited, what is unknown is settled before anything is sent
again. Killing the process at any point loses no paid result: the next run reads the ledger and goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.gpu import errors
from resources.gpu.accept import accept
from resources.gpu.backend import Backend, RemoteStatus, Submission
from resources.gpu.job import InputFile, Job
from resources.gpu.ledger import Attempt, Intent, JobRow, Ledger, LedgerConflict
from resources.storage import ObjectCorrupt, ObjectMissing, Store

TOOL = "RYLA Assets"
_FAILURES: dict[str, type[errors.JobFailed]] = {
    "failed": errors.JobFailed,
    "cancelled": errors.JobCancelled,
    "lost": errors.JobLost,
    "timed_out": errors.JobTimedOut,
}


@dataclass(frozen=True)
class Policy:
    """How long and how often; seconds."""

    queue_limit_s: float = 900.0  # a cold RunPod worker was measured at 498 s (facts/ryla.md 8.2)
    run_limit_s: float = 1800.0
    training_run_limit_s: float = 3 * 3600.0  # four times the 45-minute target
    lease_s: float = 60.0
    max_attempts: int = 2  # attempts that one call starts for one job
    poll_min_s: float = 0.05
    poll_max_s: float = 2.0


@dataclass(frozen=True)
class JobResult:
    """An accepted result: `outputs` as `accept` recorded them, and the attempt that made it."""

    job: Job
    fingerprint: str
    outputs: list[dict[str, Any]]
    attempt: Attempt
    adopted: bool  # True: it was paid for earlier, nothing was sent now


@dataclass(frozen=True)
class Progress:
    """What `on_progress` hears: how many jobs of this call are done, and the fraction of all their work."""

    done: int
    total: int
    fraction: float


@dataclass
class _Tracked:
    """One job of this call on its way."""

    row: JobRow
    attempt: Attempt | None = None
    tries: int = 0
    since: float = 0.0  # monotonic, of the current remote state
    fraction: float = 0.0
    result: JobResult | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        return self.result is not None or self.error is not None


@dataclass
class Runner:
    """Runs jobs on one backend; safe to use from any number of processes on one ledger."""

    ledger: Ledger
    backend: Backend
    store: Store
    daily_budget_usd: float
    policy: Policy = field(default_factory=Policy)
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def run(
        self, jobs: Sequence[Job], *, run_id: str | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> list[JobResult]:
        """Return the accepted result of every job, in order; paid work is adopted, never repeated.

        Raises the first job's error after all others have ended (what is paid is finished and kept).
        """
        if not jobs:
            return []
        return asyncio.run(self._run(jobs, run_id, on_progress))

    def submit(self, job: Job, *, run_id: str | None = None) -> Attempt | JobResult:
        """First half of a long job: start it (or find it open or done) and return without waiting."""
        return asyncio.run(self._submit_only(job, run_id))

    def collect(self, kind: str) -> list[Attempt]:
        """Second half: look once at every open job of that kind; returns the attempts that ended just now."""
        return asyncio.run(self._collect(kind))

    # ---- one call of run()

    async def _run(
        self, jobs: Sequence[Job], run_id: str | None, on_progress: Callable[[Progress], None] | None
    ) -> list[JobResult]:
        tracked = [_Tracked(self._open(job)) for job in jobs]
        try:
            await self._prepare(tracked, run_id)
            await self._follow(tracked, run_id, on_progress or (lambda _: None))
        except asyncio.CancelledError:
            await self._cancel(tracked)
            raise
        for item in tracked:
            if item.error is not None:
                raise item.error
        return [item.result for item in tracked if item.result is not None]

    async def _prepare(self, tracked: list[_Tracked], run_id: str | None) -> None:
        """Adopt and attach; then validate everything that would be sent, before anything is."""
        fresh = []
        for item in tracked:
            if not await self._adopt(item):
                item.attempt = self.ledger.open_attempt(item.row.fingerprint)
                if item.attempt is None:
                    fresh.append(item)
        self._validate([item.row.job for item in fresh])
        for item in fresh:
            await self._start(item, run_id)

    async def _follow(self, tracked: list[_Tracked], run_id: str | None, tell: Callable[[Progress], None]) -> None:
        """Poll all open attempts together, adaptively, until every job ended."""
        pause = self.policy.poll_min_s
        while open_items := [item for item in tracked if not item.ended]:
            statuses = await self._poll([item.attempt for item in open_items if item.attempt])
            moved = False
            for item in open_items:
                before = item.attempt and (item.attempt.id, item.attempt.state)
                await self._guarded_step(item, statuses, run_id)
                moved |= item.ended or before != (item.attempt and (item.attempt.id, item.attempt.state))
            done = sum(item.ended for item in tracked)
            tell(Progress(done, len(tracked), sum(1.0 if i.ended else i.fraction for i in tracked) / len(tracked)))
            pause = self.policy.poll_min_s if moved else min(pause * 1.5, self.policy.poll_max_s)
            if done < len(tracked):
                await self.sleep(pause)

    async def _guarded_step(self, item: _Tracked, statuses: dict[str, RemoteStatus], run_id: str | None) -> None:
        try:
            await self._step(item, statuses, run_id)
        except LedgerConflict:  # somebody else moved the row: read it again and go on from there
            item.attempt = self.ledger.open_attempt(item.row.fingerprint)
        except errors.GpuError as error:
            again = error.retry in (errors.Retry.TRANSIENT, errors.Retry.ELSEWHERE)
            if not again or item.tries >= self.policy.max_attempts:
                item.error = error
            item.attempt = None

    async def _step(self, item: _Tracked, statuses: dict[str, RemoteStatus], run_id: str | None) -> None:
        attempt = item.attempt
        if attempt is None:
            if not await self._adopt(item):
                item.attempt = self.ledger.open_attempt(item.row.fingerprint)
                if item.attempt is None:
                    await self._start(item, run_id)
            return
        if attempt.state in ("intended", "unknown"):
            item.attempt = await self._settle_unknown(self.ledger.attempt(attempt.id))
            return
        if self.ledger.clock() > attempt.lease_until - self.policy.lease_s / 2:
            item.attempt = attempt = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s) or attempt
        status = statuses.get(attempt.remote_id or "")
        if status is None:
            return
        item.fraction = max(item.fraction, status.progress)
        if attempt.state != status.state:
            item.since = 0.0
        item.attempt = await self._advance(item.row, attempt, status)
        if not item.attempt.is_open:
            await self._adopt(item)
            return
        self._note_deadline(item)
        if self._overdue(item):
            await self._time_out(item, item.attempt)

    # ---- the life of one attempt

    async def _start(self, item: _Tracked, run_id: str | None) -> None:
        """Intent, reservation, submission: in this order, each committed before the next."""
        job, fingerprint = item.row.job, item.row.fingerprint
        estimate = self.backend.estimate(job)
        limit = self.policy.training_run_limit_s if job.kind == "training" else self.policy.run_limit_s
        intent = Intent(
            backend=self.backend.name,
            endpoint=self.backend.endpoint,
            owner=self.owner,
            lease_s=self.policy.lease_s,
            run_id=run_id,
            reserve_usd=estimate.usd,
            exposure_usd=estimate.most_usd,
            queue_limit_s=self.policy.queue_limit_s,
            run_limit_s=limit,
        )
        attempt = self.ledger.begin(fingerprint, intent, daily_budget_usd=self.daily_budget_usd)
        item.tries += 1
        item.since = 0.0
        item.attempt = attempt or self.ledger.open_attempt(fingerprint)
        if attempt is not None:
            item.attempt = await self._submit(item.row, attempt)

    async def _submit(self, row: JobRow, attempt: Attempt) -> Attempt:
        submission = Submission(attempt.id, row.fingerprint, row.job, self._load)
        try:
            remote_id = await self.backend.submit(submission)
        except errors.InvalidJob as error:
            failed = self.ledger.move(attempt, "failed", note=str(error), error_code=error.code, error=str(error))
            self.ledger.settle(failed, cost_usd=0.0)
            raise
        except (ObjectMissing, ObjectCorrupt) as error:
            failed = self.ledger.move(attempt, "failed", note=str(error), error_code="input_missing", error=str(error))
            self.ledger.settle(failed, cost_usd=0.0)
            raise errors.InvalidJob(f"{row.job.label}: {error}") from error
        except Exception as error:  # noqa: BLE001  whatever happened, the submission may have arrived
            return self.ledger.move(attempt, "unknown", note=f"{type(error).__name__}: {error}")
        now = self.ledger.clock()
        return self.ledger.move(attempt, "submitted", note=remote_id, remote_id=remote_id, submitted_at=now)

    async def _settle_unknown(self, attempt: Attempt) -> Attempt | None:
        """Find out whether a submission arrived, before anything is sent again; None: it did not, start anew."""
        if attempt.state not in ("intended", "unknown"):
            return attempt if attempt.is_open else None
        if attempt.lease_owner == self.owner and attempt.state == "intended":
            return attempt  # our own submission is under way in another task
        leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
        if leased is None:
            return attempt  # its owner lives: wait
        remote_id = await self.backend.find(leased.id)
        if remote_id is None:
            failed = self.ledger.move(leased, "failed", note="never arrived", error_code="never_submitted")
            self.ledger.settle(failed, cost_usd=0.0)
            return None
        now = self.ledger.clock()
        return self.ledger.move(leased, "submitted", note=f"found {remote_id}", remote_id=remote_id, submitted_at=now)

    async def _advance(self, row: JobRow, attempt: Attempt, status: RemoteStatus) -> Attempt:
        """Follow the remote state; returns the attempt as it is now. Raises JobFailed if it ended badly."""
        if status.state in ("queued", "running"):
            values = {"started_at": self.ledger.clock()} if status.state == "running" else {}
            return self.ledger.move(attempt, status.state, **values)
        if status.state == "succeeded":
            await self._take_result(row, attempt, status)
            return self.ledger.attempt(attempt.id)
        kind = _FAILURES[status.state]
        message = status.error or f"{row.job.label}: the backend reports {status.state}"
        ended = self.ledger.move(
            attempt, status.state, note=message, error_code=status.error_code or kind.code, error=message
        )
        self.ledger.settle(ended, **_settlement(attempt, status, self.ledger.clock()))
        retry = errors.Retry(status.detail["retry"]) if "retry" in status.detail else None
        raise kind(message, code=status.error_code, retry=retry, cost_usd=status.cost_usd)

    async def _take_result(self, row: JobRow, attempt: Attempt, status: RemoteStatus) -> None:
        settlement = _settlement(attempt, status, self.ledger.clock())
        try:
            result = await self._fetch(row, attempt)
        except errors.OutputRejected as error:
            ended = self.ledger.move(attempt, "failed", note=str(error), error_code=error.code, error=str(error))
            self.ledger.settle(ended, **settlement)
            error.cost_usd = status.cost_usd
            raise
        self.ledger.accept(attempt, result, **settlement)

    async def _fetch(self, row: JobRow, attempt: Attempt) -> list[dict[str, Any]]:
        outputs = await self.backend.fetch(attempt.remote_id or "")
        source = "algorithmicMedia" if self.backend.render_domain == "preview" else "trainedAlgorithmicMedia"
        tool = f"{TOOL} (procedural preview)" if self.backend.render_domain == "preview" else TOOL
        return accept(row.job, outputs, self.store, source=source, tool=tool)

    async def _adopt(self, item: _Tracked) -> bool:
        """Take a result that was accepted earlier, fetching it anew if its stored bytes were lost."""
        row = self.ledger.job(item.row.fingerprint) or item.row
        if row.result is None or row.accepted_attempt is None:
            return False
        attempt = self.ledger.attempt(row.accepted_attempt)
        result = row.result if self._stored(row.result) else await self._refetch(row, attempt)
        if result is None:
            return False
        item.result = JobResult(row.job, row.fingerprint, result, attempt, adopted=item.tries == 0)
        return True

    async def _refetch(self, row: JobRow, attempt: Attempt) -> list[dict[str, Any]] | None:
        status = (await self.backend.poll([attempt.remote_id or ""])).get(attempt.remote_id or "")
        result = None
        if status is not None and status.state == "succeeded":
            result = await self._fetch(row, attempt)
        self.ledger.replace_result(row.fingerprint, result)
        return result

    # ---- deadlines and cancellation

    def _note_deadline(self, item: _Tracked) -> None:
        if item.since == 0.0 and item.attempt is not None:
            begun = item.attempt.started_at if item.attempt.state == "running" else item.attempt.submitted_at
            elapsed = max(0.0, self.ledger.clock() - (begun or self.ledger.clock()))
            item.since = time.monotonic() - elapsed

    def _overdue(self, item: _Tracked) -> bool:
        if item.attempt is None:
            return False
        limit = item.attempt.run_limit_s if item.attempt.state == "running" else item.attempt.queue_limit_s
        return time.monotonic() - item.since > limit

    async def _time_out(self, item: _Tracked, attempt: Attempt) -> None:
        leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
        if leased is None or leased.remote_id is None:
            return
        why = await self.backend.diagnose(leased.remote_id)
        phase = "ran" if leased.state == "running" else "waited in the queue"
        limit = leased.run_limit_s if leased.state == "running" else leased.queue_limit_s
        await self.backend.cancel(leased.remote_id)
        message = f"{item.row.job.label}: {phase} for more than {limit:.0f} s. {why}"
        ended = self.ledger.move(
            leased, "timed_out", note=message, error_code="timed_out", error=message, diagnosis=why
        )
        self.ledger.settle(ended, cost_usd=ended.exposure_usd if leased.state == "running" else 0.0)
        raise errors.JobTimedOut(message, way_out=f"ryla jobs show {leased.id}")

    async def _cancel(self, tracked: list[_Tracked]) -> None:
        """The caller was terminated: stop what we hold the lease of, so that nothing burns unseen."""
        for item in tracked:
            attempt = item.attempt and self.ledger.attempt(item.attempt.id)
            if not attempt or not attempt.is_open or attempt.lease_owner != self.owner:
                continue
            if attempt.remote_id is None:
                self.ledger.move(attempt, "unknown", note="terminated during submission")
                continue
            await self.backend.cancel(attempt.remote_id)
            status = (await self.backend.poll([attempt.remote_id])).get(attempt.remote_id, RemoteStatus("cancelled"))
            ended = self.ledger.move(attempt, "cancelled", note="the run was terminated", error_code="cancelled")
            self.ledger.settle(ended, **_settlement(attempt, status, self.ledger.clock()))

    # ---- long jobs in two halves

    async def _submit_only(self, job: Job, run_id: str | None) -> Attempt | JobResult:
        item = _Tracked(self._open(job))
        await self._prepare([item], run_id)
        if item.result is not None:
            return item.result
        if item.attempt is not None and item.attempt.state in ("intended", "unknown"):
            item.attempt = await self._settle_unknown(item.attempt)
            if item.attempt is None:
                await self._start(item, run_id)
        if item.attempt is None:
            raise errors.OutcomeUnknown(f"{job.label}: the submission's outcome is not known yet; run it again.")
        return item.attempt

    async def _collect(self, kind: str) -> list[Attempt]:
        ended = []
        waiting = self.ledger.open_attempts(kind)
        statuses = await self._poll(waiting)
        for attempt in waiting:
            row = self.ledger.job(attempt.fingerprint)
            if row is None:
                continue
            item = _Tracked(row, attempt=attempt, tries=self.policy.max_attempts)
            await self._guarded_step(item, statuses, None)
            now = self.ledger.attempt(attempt.id)
            if not now.is_open:
                ended.append(now)
        return ended

    # ---- small parts

    def _open(self, job: Job) -> JobRow:
        return self.ledger.open(job, backend=self.backend.name, profile=self.backend.profile(job))

    def _validate(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            problems = self.backend.problems(job)
            if problems:
                lines = "; ".join(
                    f"node {p.get('node_id') or '-'}: {p['message']}: {p['details']}" for p in problems[:3]
                )
                raise errors.InvalidJob(
                    f"{job.label}: {self.backend.name} would refuse this job: {lines}.",
                    problems=tuple(problems),
                    way_out="Nothing was sent.",
                )

    async def _poll(self, attempts: Sequence[Attempt]) -> dict[str, RemoteStatus]:
        ids = [attempt.remote_id for attempt in attempts if attempt.remote_id]
        return await self.backend.poll(ids) if ids else {}

    def _load(self, file: InputFile) -> bytes:
        return self.store.get(file.kind, file.sha256)

    def _stored(self, result: list[dict[str, Any]]) -> bool:
        try:
            for output in result:
                self.store.get("images" if output["media"] == "image" else "loras", output["sha256"])
        except (ObjectMissing, ObjectCorrupt):
            return False
        return True


def _settlement(attempt: Attempt, status: RemoteStatus, now: float) -> dict[str, float]:
    remote = status.queue_s + status.cold_s + status.exec_s
    return {
        "cost_usd": status.cost_usd,
        "queue_s": status.queue_s,
        "cold_s": status.cold_s,
        "exec_s": status.exec_s,
        "overhead_s": max(0.0, now - attempt.intended_at - remote),
    }
