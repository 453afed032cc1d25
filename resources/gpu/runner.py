"""The runner: the conversation of one call. It keeps the promise on paid work, for every backend.

What was accepted before is adopted, what is open is awaited, what is unknown is settled before anything is sent
again. Killing the process at any point loses no paid result: the next run reads the ledger and goes on from there.
What is done with one attempt is in `life` and `stuck`; here is who is asked when, and how much happens at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, TypeGuard, TypeVar

from resources.content_credentials import Signer
from resources.gpu import errors
from resources.gpu.backend import Backend, Renter
from resources.gpu.budget import Budgets
from resources.gpu.conversation import Conversation, Progress
from resources.gpu.gate import Gate
from resources.gpu.job import Job
from resources.gpu.ledger import Ledger, LedgerConflict
from resources.gpu.life import Life
from resources.gpu.policy import Policy
from resources.gpu.records import Attempt, JobRow
from resources.gpu.refused import refusal
from resources.gpu.stuck import Patience
from resources.gpu.tracked import JobResult, Tracked
from resources.storage import Store

__all__ = ["JobResult", "Policy", "Progress", "Runner"]
T = TypeVar("T")
RENTED_S = 30 * 86_400.0  # whoever swept nothing for so long looks into the account's console himself


@dataclass
class Runner:
    """Runs jobs on one backend; safe to use from any number of processes and threads on one ledger."""

    ledger: Ledger
    backend: Backend
    store: Store
    budgets: Budgets
    policy: Policy = field(default_factory=Policy)
    owner: str = field(default_factory=lambda: f"{socket.gethostname()[:50]}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    webhook_url: str = ""  # where the HTTP app is reached from outside; empty: polling alone
    signer: Signer | None = None  # signs what is stored; asked before anything is sent

    def run(
        self, jobs: Sequence[Job], *, run_id: str | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> list[JobResult]:
        """Return the accepted result of every job, in order, each with all that was asked for.

        Raises as `answers` does, and OutputRejected for a job of whose outputs any was refused.
        """
        answers = self.answers(jobs, run_id=run_id, on_progress=on_progress)
        results = []
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, errors.OutputRejected):
                raise answer
            if answer.refused:
                raise refusal(job, answer.refused)
            results.append(answer)
        return results

    def answers(
        self, jobs: Sequence[Job], *, run_id: str | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> list[JobResult | errors.OutputRejected]:
        """What every job returned, in order: a result, which may lack refused pictures, or the refusal of all of them.

        Paid work is adopted, never repeated; so is a refusal. Raises the first job's other error after all have ended
        (what is paid is finished and kept). StorageError and BackendUnavailable end the wait only: their attempts stay
        open, and the next run takes what they made.
        """
        if not jobs:
            return []
        return _held(self._run(jobs, run_id, on_progress))

    def submit(self, job: Job, *, run_id: str | None = None) -> Attempt | JobResult:
        """First half of a long job: start it (or find it open or done) and return without waiting."""
        return _held(self._submit_only(job, run_id))

    def collect(self, kind: str) -> list[Attempt]:
        """Second half: look once at every open job of that kind; returns the attempts that ended just now."""
        return _held(self._look_after(self.ledger.open_attempts(kind)))

    def settle_open(self, *, within_s: float | None = None) -> list[Attempt]:
        """Look once at every open attempt that no living process follows; returns those that ended just now.

        What arrived is found, what succeeded is taken, what nobody can tell of is booked in time; nothing is sent.
        What cannot be done in `within_s` seconds is left to the next look, in no order: one that always takes too long
        is in nobody's way.
        """
        now = self.ledger.clock()
        alone = [attempt for attempt in self.ledger.open_attempts() if attempt.lease_until < now]
        return _held(self._look_after(random.sample(alone, len(alone)), within_s))

    def sweep(self) -> list[str]:
        """Remove machines that outlived the attempt they were rented for; returns their ids.

        Raises BackendUnavailable. What the ledger does not know is never touched, and where it knows of no such
        attempt nobody is asked.
        """
        if not isinstance(self.backend, Renter):
            return []
        if not self.ledger.sent_to(self.backend.rents, since=self.ledger.clock() - RENTED_S):
            return []
        waiting = {attempt.id: attempt.remote_id or "" for attempt in self.ledger.open_attempts()}
        return _held(self.backend.sweep(waiting, self._has_ended))

    def cancel(self, attempt_id: str, *, why: str) -> Attempt:
        """Stop an open attempt that no living process follows; a result that came just before is taken.

        Returns the attempt as it is then. Raises KeyError, LedgerConflict while its owner lives, BackendUnavailable,
        and OutcomeUnknown where nobody can tell yet whether there is anything to stop.
        """
        return _held(self._cancel(attempt_id, why))

    def _has_ended(self, attempt_id: str) -> bool:
        found = self.ledger.read([attempt_id]).get(attempt_id)
        return found is not None and not found.is_open

    async def _run(
        self, jobs: Sequence[Job], run_id: str | None, on_progress: Callable[[Progress], None] | None
    ) -> list[JobResult | errors.OutputRejected]:
        rows = [self._open(job) for job in jobs]
        items: dict[str, Tracked] = {}
        for row in rows:
            items.setdefault(row.fingerprint, Tracked(row))
        await self._conversation(items.values(), run_id, on_progress).to_the_end()
        for item in items.values():
            if item.error is not None and not _is_answer(item.error):
                raise item.error
        return list(_in_order(rows, items))

    async def _submit_only(self, job: Job, run_id: str | None) -> Attempt | JobResult:
        item = Tracked(self._open(job))
        await self._conversation([item], run_id).until_sent()
        if item.error is not None:
            raise item.error
        if item.result is not None:
            return item.result
        if item.attempt is None:
            raise item.trouble or errors.BackendUnavailable(f"{job.label}: nothing was sent; run it again.")
        return item.attempt

    async def _look_after(self, attempts: Sequence[Attempt], within_s: float | None = None) -> list[Attempt]:
        life = self._life(None)
        items = [
            Tracked(row, attempt=attempt, tries=self.policy.max_attempts)
            for attempt in attempts
            if life.here(attempt) and (row := self.ledger.job(attempt.fingerprint)) is not None
        ]
        if not items:
            return []
        known = [item.attempt.id for item in items if item.attempt]
        await Conversation(life, items).once(within_s)
        now = self.ledger.read(known)
        ended = [now[attempt_id] for attempt_id in known if not now[attempt_id].is_open]
        trouble = next((item.trouble for item in items if item.trouble), None)
        if trouble is not None and not ended:
            raise trouble
        return ended

    async def _cancel(self, attempt_id: str, why: str) -> Attempt:
        attempt = self.ledger.attempt(attempt_id)
        row = self.ledger.job(attempt.fingerprint)
        if row is None or not attempt.is_open:
            return attempt
        life = self._life(attempt.run_id)
        life.check_here(row, attempt)
        patience = Patience(life)
        item = Tracked(row, attempt=attempt, tries=self.policy.max_attempts)
        if not patience.ours(attempt):
            raise LedgerConflict(
                f"{row.job.label}: attempt {attempt.id} is followed by {attempt.lease_owner}, whose lease runs.",
                way_out="Stop the run that owns it (its job is cancelled with it), or wait until its lease ran out.",
            )
        try:
            with contextlib.suppress(errors.JobFailed):  # what ended otherwise is booked so
                await self._stop(life, patience, item, why)
        finally:
            self.ledger.release(life.owner)
        return self.ledger.attempt(attempt.id)

    async def _stop(self, life: Life, patience: Patience, item: Tracked, why: str) -> None:
        attempt = item.attempt
        if attempt is not None and attempt.remote_id is None:
            await life.settle_unknown(item, attempt, patience.elapsed(item, attempt))
            attempt = item.attempt
        leased = attempt and life.lease(attempt)
        if leased is None:
            return
        if leased.remote_id is None:
            most_s = self.policy.unknown_limit_s(item.row.job.kind)
            raise errors.OutcomeUnknown(
                f"{item.row.job.label}: whether attempt {leased.id} arrived is not known yet.",
                way_out=f"Wait: within {most_s:.0f} s it is found, or booked with the most it can cost "
                "(ryla jobs reconcile).",
            )
        await patience.cancel(item, leased, why)

    def _conversation(
        self, items: Iterable[Tracked], run_id: str | None, tell: Callable[[Progress], None] | None = None
    ) -> Conversation:
        return Conversation(self._life(run_id), list(items), tell or (lambda _: None))

    def _life(self, run_id: str | None) -> Life:
        """Each call owns its leases: what one gives up is not kept alive by another."""
        return Life(
            ledger=self.ledger,
            backend=self.backend,
            store=self.store,
            budgets=self.budgets,
            policy=self.policy,
            gate=Gate(self.backend, self.signer),
            owner=f"{self.owner}/{uuid.uuid4().hex[:6]}",
            run_id=run_id,
            webhook_url=self.webhook_url,
        )

    def _open(self, job: Job) -> JobRow:
        return self.ledger.open(job, backend=self.backend.name, profile=self.backend.profile(job))


def _is_answer(error: Exception) -> TypeGuard[errors.OutputRejected]:
    """Whether a job failed by its pictures alone."""
    return isinstance(error, errors.OutputRejected) and bool(error.refused)


def _in_order(rows: Sequence[JobRow], items: Mapping[str, Tracked]) -> Iterator[JobResult | errors.OutputRejected]:
    """The answer of each row; a job that was asked for twice was paid for once."""
    given = set()
    for row in rows:
        item = items[row.fingerprint]
        if item.result is not None:
            yield replace(item.result, adopted=True) if row.fingerprint in given else item.result
        elif item.error is not None and _is_answer(item.error):
            yield item.error
        given.add(row.fingerprint)


def _held(talk: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in a thread of its own, for callers that may be interrupted (Dagster's, by a signal).

    An exception that a signal raises inside an event loop may strike between two of its steps, and the task that was
    to go on there never does. So it strikes the waiting caller, and the talk is cancelled: it tidies up with everything
    that it had begun still alive, above all a submission that is just being answered.
    """
    outcome: Future[T] = Future()
    started: Future[Callable[[], object]] = Future()  # what cancels the talk, from any thread

    def converse() -> None:
        try:
            with asyncio.Runner() as runner:
                loop = runner.get_loop()
                task = loop.create_task(talk)
                started.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
                outcome.set_result(loop.run_until_complete(task))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the caller's
            outcome.set_exception(error)

    thread = Thread(target=copy_context().run, args=(converse,), name="paid work", daemon=True)
    try:
        thread.start()
        return outcome.result()
    except BaseException:
        if thread.ident is not None and not outcome.done():
            with contextlib.suppress(RuntimeError):  # its loop closed just now
                started.result()()
            wait([outcome])
        raise
    finally:
        if outcome.done():
            thread.join()
