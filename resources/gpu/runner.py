"""The runner: keeps the promise on paid work, for every backend, and is the only caller of `submit`.

    intent row committed -> budget reserved -> submit -> remote id recorded -> poll -> fetch -> accept -> settle

What was accepted before is adopted, what is open is awaited, what is unknown is settled before anything is sent
again. Killing the process at any point loses no paid result: the next run reads the ledger and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources import images
from resources.gpu import errors
from resources.gpu.accept import accept
from resources.gpu.backend import Backend, RemoteStatus, Submission
from resources.gpu.job import InputFile, Job
from resources.gpu.ledger import Attempt, Intent, JobRow, Ledger, LedgerConflict
from resources.storage import ObjectCorrupt, ObjectMissing, StorageError, Store

TOOL = "RYLA Assets"
NEVER_SUBMITTED = "never_submitted"  # error code of an attempt that certainly never arrived
STOP_LOOKS = 5  # polls after a cancel: a worker may need a moment to notice
_FAILURES: dict[str, type[errors.JobFailed]] = {
    "failed": errors.JobFailed,
    "cancelled": errors.JobCancelled,
    "lost": errors.JobLost,
    "timed_out": errors.JobTimedOut,
}


@dataclass(frozen=True)
class Policy:
    """How long and how often; seconds."""

    queue_limit_s: float = 900.0  # a cold RunPod worker was measured at 498 s (docs/adr/0006)
    run_limit_s: float = 1800.0
    training_run_limit_s: float = 3 * 3600.0  # four times the 45-minute target
    lease_s: float = 60.0
    silence_limit_s: float = 120.0  # a backend that answers nothing for longer ends the wait, never the attempt
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
    tries: int = 0  # attempts that this call started
    since: float | None = None  # monotonic, of the current remote state
    silent_since: float | None = None  # monotonic, of the first question that was not answered
    trouble: Exception | None = None  # why the last step failed, where the attempt is still open
    fraction: float = 0.0
    result: JobResult | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        return self.result is not None or self.error is not None


@dataclass(frozen=True)
class _Look:
    """The answer to one poll: the state of each remote job, or why there is none."""

    statuses: dict[str, RemoteStatus] = field(default_factory=dict)
    trouble: errors.BackendUnavailable | None = None

    def at(self, attempt: Attempt) -> RemoteStatus:
        """What it says of an attempt. Raises BackendUnavailable where it says nothing."""
        status = self.statuses.get(attempt.remote_id or "")
        if status is None:
            raise self.trouble or errors.BackendUnavailable(f"{attempt.backend} says nothing of {attempt.remote_id}.")
        return status


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

        Raises the first job's error after all others have ended (what is paid is finished and kept). StorageFull and
        BackendUnavailable end the wait only: their attempts stay open, and the next run takes what they made.
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
        except asyncio.CancelledError:  # what cannot be stopped now stays open in the ledger
            await asyncio.gather(*(self._abandon(item) for item in tracked), return_exceptions=True)
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
        fatal: Exception | None = None
        for item in fresh:
            if fatal is not None:
                item.error = fatal
                continue
            await self._guarded(item, self._start(item, run_id))
            if isinstance(item.error, errors.GpuError) and item.error.retry is errors.Retry.FATAL:
                fatal = item.error

    async def _follow(self, tracked: list[_Tracked], run_id: str | None, tell: Callable[[Progress], None]) -> None:
        """Poll all open attempts together, adaptively, until every job ended."""
        pause = self.policy.poll_min_s
        while open_items := [item for item in tracked if not item.ended]:
            look = await self._look([item.attempt for item in open_items if item.attempt])
            moved = False
            for item in open_items:
                before = item.attempt and (item.attempt.id, item.attempt.state)
                await self._guarded(item, self._step(item, look, run_id))
                moved |= item.ended or before != (item.attempt and (item.attempt.id, item.attempt.state))
            done = sum(item.ended for item in tracked)
            tell(Progress(done, len(tracked), sum(1.0 if i.ended else i.fraction for i in tracked) / len(tracked)))
            pause = self.policy.poll_min_s if moved else min(pause * 1.5, self.policy.poll_max_s)
            if done < len(tracked):
                await self.sleep(pause)

    async def _guarded(self, item: _Tracked, work: Awaitable[None]) -> None:
        """Do one piece of work for one job; its trouble never touches the other jobs of the call."""
        try:
            await work
        except LedgerConflict:  # somebody else moved the row: read it again and go on from there
            item.attempt = item.attempt and self.ledger.attempt(item.attempt.id)
        except (errors.BackendUnavailable, StorageError) as error:
            self._note_trouble(item, error)
        except errors.GpuError as error:
            error.cost_usd = self.ledger.cost_usd([item.row.fingerprint])
            again = error.retry in (errors.Retry.TRANSIENT, errors.Retry.ELSEWHERE)
            if not again or item.tries >= self.policy.max_attempts:
                item.error = error
            item.attempt = None
        else:
            item.trouble = item.silent_since = None

    def _note_trouble(self, item: _Tracked, error: Exception) -> None:
        """The attempt stays open and what it made stays fetchable: by a later step, or by the next run."""
        now = time.monotonic()
        item.trouble = error
        item.silent_since = now if item.silent_since is None else item.silent_since
        passing = isinstance(error, errors.BackendUnavailable) and error.retry is errors.Retry.TRANSIENT
        if not passing or now - item.silent_since >= self.policy.silence_limit_s:
            item.error = error

    async def _step(self, item: _Tracked, look: _Look, run_id: str | None) -> None:
        """Bring one job forward from whatever state its attempt is in."""
        attempt = item.attempt
        if attempt is None or attempt.state == "succeeded":
            await self._adopt_or_start(item, run_id)
        elif not attempt.is_open:
            raise _ended_elsewhere(item.row, attempt)
        elif attempt.endpoint != self.backend.endpoint:
            raise errors.BackendUnavailable(
                f"{item.row.job.label}: its open attempt {attempt.id} was sent to {attempt.backend} "
                f"{attempt.endpoint!r}, this runner talks to {self.backend.endpoint!r}.",
                retry=errors.Retry.FATAL,
                way_out="Point the settings back at it until the attempt has ended.",
            )
        elif attempt.state in ("intended", "unknown"):
            item.attempt = await self._settle_unknown(item.row, self.ledger.attempt(attempt.id))
        else:
            await self._observe(item, attempt, look.at(attempt))

    async def _adopt_or_start(self, item: _Tracked, run_id: str | None) -> None:
        if await self._adopt(item):
            return
        item.attempt = self.ledger.open_attempt(item.row.fingerprint)
        if item.attempt is None:
            self._validate([item.row.job])
            await self._start(item, run_id)

    async def _observe(self, item: _Tracked, attempt: Attempt, status: RemoteStatus) -> None:
        if self.ledger.clock() > attempt.lease_until - self.policy.lease_s / 2:
            leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
            attempt = leased or self.ledger.attempt(attempt.id)
        item.fraction = max(item.fraction, status.progress)
        item.attempt = await self._advance(item.row, attempt, status)
        if item.attempt.state != attempt.state:
            item.since = None
        if item.attempt.state == "succeeded":
            await self._adopt(item)
        elif item.attempt.is_open and self._overdue(item, item.attempt):
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
        item.since = None
        item.attempt = attempt or self.ledger.open_attempt(fingerprint)
        if attempt is not None:
            item.tries += 1
            item.attempt = await self._submit(item.row, attempt)

    async def _submit(self, row: JobRow, attempt: Attempt) -> Attempt:
        submission = Submission(attempt.id, row.fingerprint, row.job, self._load)
        try:
            remote_id = await self._leased(attempt, self.backend.submit(submission))
        except errors.InvalidJob as error:
            self.ledger.move(attempt, "failed", note=str(error), error_code=error.code, error=str(error))
            raise
        except (ObjectMissing, ObjectCorrupt) as error:
            self.ledger.move(attempt, "failed", note=str(error), error_code="input_missing", error=str(error))
            raise errors.InvalidJob(f"{row.job.label}: {error}") from error
        except Exception as error:  # noqa: BLE001  whatever happened, the submission may have arrived
            return self.ledger.move(attempt, "unknown", note=f"{type(error).__name__}: {error}")
        try:
            now = self.ledger.clock()
            return self.ledger.move(attempt, "submitted", note=remote_id, remote_id=remote_id, submitted_at=now)
        except LedgerConflict:
            if not self.ledger.attempt(attempt.id).is_open:  # we slept past our lease and were given up for dead
                await self.backend.cancel(remote_id)
            raise

    async def _leased(self, attempt: Attempt, work: Coroutine[Any, Any, str]) -> str:
        """Keep the attempt's lease while `work` runs, so that nobody takes a slow upload for a crash."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=self.policy.lease_s / 3))[0]:
                self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
            return task.result()
        finally:
            task.cancel()

    async def _settle_unknown(self, row: JobRow, attempt: Attempt) -> Attempt:
        """Find out whether a submission arrived, before anything is sent again.

        Raises JobFailed (transient) if it never did.
        """
        if attempt.state not in ("intended", "unknown"):
            return attempt
        leased_here = attempt.lease_owner == self.owner and attempt.lease_until > self.ledger.clock()
        if leased_here and attempt.state == "intended":
            return attempt  # our own submission is under way in another thread
        leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
        if leased is None:
            return attempt  # its owner lives: wait
        remote_id = await self.backend.find(leased.id)
        if remote_id is None:
            why = f" ({self.ledger.history(leased.id)[-1][2]})" if leased.state == "unknown" else ""
            message = f"{row.job.label}: the submission never arrived{why}."
            error = errors.JobFailed(message, code=NEVER_SUBMITTED, retry=errors.Retry.TRANSIENT)
            self._end(leased, "failed", error)
            raise error
        now = self.ledger.clock()
        return self.ledger.move(leased, "submitted", note=f"found {remote_id}", remote_id=remote_id, submitted_at=now)

    async def _advance(self, row: JobRow, attempt: Attempt, status: RemoteStatus) -> Attempt:
        """Follow the remote state; returns the attempt as it is now. Raises JobFailed if it ended badly."""
        if status.state in ("queued", "running"):
            begun: dict[str, Any] = {}
            if status.state == "running":
                begun = {"started_at": self.ledger.clock()}
            elif attempt.state == "running":  # put back into its queue, it waits anew: the queue deadline counts again
                begun = {"submitted_at": self.ledger.clock()}
            return self.ledger.move(attempt, status.state, **begun)
        if status.state == "succeeded":
            await self._take_result(row, attempt, status)
            return self.ledger.attempt(attempt.id)
        kind = _FAILURES[status.state]
        message = status.error or f"{row.job.label}: the backend reports {status.state}"
        retry = errors.Retry(status.detail["retry"]) if "retry" in status.detail else None
        error = kind(message, code=status.error_code, retry=retry)
        self._end(attempt, status.state, error, **_settlement(attempt, status, self.ledger.clock()))
        raise error

    async def _take_result(self, row: JobRow, attempt: Attempt, status: RemoteStatus) -> None:
        settlement = _settlement(attempt, status, self.ledger.clock())
        try:
            result = await self._fetch(row, attempt)
        except (errors.OutputRejected, errors.JobLost) as error:
            self._end(attempt, "lost" if isinstance(error, errors.JobLost) else "failed", error, **settlement)
            raise
        self.ledger.accept(attempt, result, **settlement)

    def _end(self, attempt: Attempt, state: str, error: errors.JobFailed, **settlement: Any) -> None:
        """Book an attempt that ended badly; what another process booked first stays."""
        try:
            self.ledger.move(
                attempt, state, note=error.message, error_code=error.code, error=error.message, **settlement
            )
        except LedgerConflict:
            if self.ledger.attempt(attempt.id).is_open:
                raise

    async def _fetch(self, row: JobRow, attempt: Attempt) -> list[dict[str, Any]]:
        outputs = await self.backend.fetch(attempt.remote_id or "")
        source: images.SourceType = (
            "algorithmicMedia" if self.backend.render_domain == "preview" else "trainedAlgorithmicMedia"
        )
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
        """The accepted result from the backend once more; None if it is gone there too: then it is made again."""
        result = None
        if attempt.endpoint == self.backend.endpoint:
            status = (await self._look([attempt])).at(attempt)
            if status.state == "succeeded":
                with contextlib.suppress(errors.OutputRejected, errors.JobLost):
                    result = await self._fetch(row, attempt)
        self.ledger.replace_result(attempt, result)
        return result

    # ---- deadlines and cancellation

    def _overdue(self, item: _Tracked, attempt: Attempt) -> bool:
        """True past the deadline of its state; once seen, a jump of the wall clock ends no job."""
        running = attempt.state == "running"
        if item.since is None:
            now = self.ledger.clock()
            begun = attempt.started_at if running else attempt.submitted_at
            item.since = time.monotonic() - max(0.0, now - (begun or now))
        return time.monotonic() - item.since > (attempt.run_limit_s if running else attempt.queue_limit_s)

    async def _time_out(self, item: _Tracked, attempt: Attempt) -> None:
        leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
        if leased is None or leased.remote_id is None:
            return
        why = await self.backend.diagnose(leased.remote_id)
        status = await self._stop(leased)
        if status.state == "succeeded":  # it ended just before it was stopped: paid for, so taken
            await self._take_result(item.row, leased, status)
            item.attempt = self.ledger.attempt(leased.id)
            return
        phase = "ran" if leased.state == "running" else "waited in the queue"
        limit = leased.run_limit_s if leased.state == "running" else leased.queue_limit_s
        error = errors.JobTimedOut(
            f"{item.row.job.label}: {phase} for more than {limit:.0f} s. {why}", way_out=f"ryla jobs show {leased.id}"
        )
        settlement = _settlement(leased, status, self.ledger.clock())
        self._end(leased, "timed_out", error, diagnosis=why, **settlement)
        raise error

    async def _abandon(self, item: _Tracked) -> None:
        """The caller was terminated: stop what we hold the lease of, so that nothing burns unseen."""
        attempt = item.attempt and self.ledger.attempt(item.attempt.id)
        if not attempt or not attempt.is_open or attempt.lease_owner != self.owner:
            return
        if attempt.remote_id is None:
            self.ledger.move(attempt, "unknown", note="terminated during submission")
            return
        status = await self._stop(attempt)
        if status.state == "succeeded":
            await self._take_result(item.row, attempt, status)
            return
        error = errors.JobCancelled(f"{item.row.job.label}: the run was terminated.")
        self._end(attempt, "cancelled", error, **_settlement(attempt, status, self.ledger.clock()))

    async def _stop(self, attempt: Attempt) -> RemoteStatus:
        """Cancel remotely and look how it ended, for its bill."""
        await self.backend.cancel(attempt.remote_id or "")
        status = RemoteStatus("running")
        for _ in range(STOP_LOOKS):
            status = (await self._look([attempt])).at(attempt)
            if status.state not in ("queued", "running"):
                break
            await self.sleep(self.policy.poll_min_s)
        return status

    # ---- long jobs in two halves

    async def _submit_only(self, job: Job, run_id: str | None) -> Attempt | JobResult:
        item = _Tracked(self._open(job))
        await self._prepare([item], run_id)
        for _ in range(2 * self.policy.max_attempts):  # settle what is unknown, start anew
            if item.ended or (item.attempt and item.attempt.remote_id):
                break
            await self._guarded(item, self._step(item, _Look(), run_id))
        if item.error is not None:
            raise item.error
        if item.result is not None:
            return item.result
        if item.attempt is None:
            raise errors.OutcomeUnknown(f"{job.label}: the submission's outcome is not known yet; run it again.")
        return item.attempt

    async def _collect(self, kind: str) -> list[Attempt]:
        here = (self.backend.name, self.backend.endpoint)
        waiting = [a for a in self.ledger.open_attempts(kind) if (a.backend, a.endpoint) == here]
        look = await self._look(waiting)
        ended: list[Attempt] = []
        trouble: Exception | None = None
        for attempt in waiting:
            row = self.ledger.job(attempt.fingerprint)
            if row is None:
                continue
            item = _Tracked(row, attempt=attempt, tries=self.policy.max_attempts)
            await self._guarded(item, self._step(item, look, None))
            now = self.ledger.attempt(attempt.id)
            if not now.is_open:
                ended.append(now)
            trouble = trouble or item.trouble
        if trouble is not None and not ended:
            raise trouble
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

    async def _look(self, attempts: Sequence[Attempt]) -> _Look:
        """Ask for all of them at once; a backend that does not answer is an answer too."""
        ids = [a.remote_id for a in attempts if a.remote_id and a.endpoint == self.backend.endpoint]
        try:
            return _Look(await self.backend.poll(ids) if ids else {})
        except errors.BackendUnavailable as error:
            return _Look(trouble=error)

    def _load(self, file: InputFile) -> bytes:
        return self.store.get(file.kind, file.sha256)

    def _stored(self, result: list[dict[str, Any]]) -> bool:
        try:
            for output in result:
                self.store.get("images" if output["media"] == "image" else "loras", output["sha256"])
        except (ObjectMissing, ObjectCorrupt):
            return False
        return True


def _ended_elsewhere(row: JobRow, attempt: Attempt) -> errors.JobFailed:
    """The error of an attempt that another process ended."""
    retry = errors.Retry.TRANSIENT if attempt.error_code == NEVER_SUBMITTED else None
    message = attempt.error or f"{row.job.label}: {attempt.state}"
    return _FAILURES[attempt.state](message, code=attempt.error_code or "", retry=retry)


def _settlement(attempt: Attempt, status: RemoteStatus, now: float) -> dict[str, float]:
    """What is booked; for a job that was stopped while it ran and is not billed yet, the most that it can cost."""
    cost = status.cost_usd
    if status.state in ("queued", "running"):
        cost = attempt.exposure_usd if "running" in (attempt.state, status.state) else 0.0
    if cost is None:
        cost = attempt.exposure_usd
    remote = status.queue_s + status.cold_s + status.exec_s
    return {
        "cost_usd": cost,
        "queue_s": status.queue_s,
        "cold_s": status.cold_s,
        "exec_s": status.exec_s,
        "overhead_s": max(0.0, now - attempt.intended_at - remote),
    }
