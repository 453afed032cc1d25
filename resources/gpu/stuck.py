"""Attempts that do not get on, and attempts that must stop: deadlines, diagnosis, giving up, cancellation.

Durations are measured on the monotonic clock from the first look on, so that a jump of the wall clock ends nothing.
Nothing is given up before it was cancelled, and what had succeeded by then is taken.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from resources.gpu import errors
from resources.gpu import faultpoints as points
from resources.gpu.backend import Diagnosis, RemoteStatus
from resources.gpu.faultpoints import reached
from resources.gpu.ledger import told
from resources.gpu.life import Life
from resources.gpu.records import Attempt
from resources.gpu.settlement import settlement
from resources.gpu.tracked import Tracked

STOP_LOOKS_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # pauses between a cancel and looks: a worker may need a moment
WAITING = ("submitted", "queued")


@dataclass
class Patience:
    """How long a call bears with its attempts."""

    life: Life

    def elapsed(self, item: Tracked, attempt: Attempt) -> float:
        """Seconds that it has been in its state: since the row says so at first sight, on our own clock after that."""
        if item.since is None:
            now = self.life.ledger.clock()
            item.since = time.monotonic() - max(0.0, now - (self._begun(attempt) or now))
        return time.monotonic() - item.since

    def overdue(self, item: Tracked, attempt: Attempt) -> bool:
        """True past the deadline of its state, if the attempt is ours to end."""
        return self.elapsed(item, attempt) > _limit_s(attempt) and self.ours(attempt)

    def curious(self, item: Tracked, attempt: Attempt) -> bool:
        """True if it waits so long that somebody should ask why (again)."""
        policy = self.life.policy
        return (
            attempt.state in WAITING
            and attempt.lease_owner == self.life.owner
            and self.elapsed(item, attempt) >= policy.diagnose_after_s
            and time.monotonic() - item.asked >= policy.diagnose_every_s
        )

    def ours(self, attempt: Attempt) -> bool:
        """True if nobody else may act on it now."""
        return attempt.lease_owner == self.life.owner or attempt.lease_until < self.life.ledger.clock()

    async def diagnose(self, item: Tracked, attempt: Attempt) -> None:
        """Ask why it waits, note the answer, and act on it if nothing will come of waiting and policy says so."""
        verdict = await self._ask(item, attempt)
        if not verdict.hopeless or self.life.policy.when_stuck == "wait":
            return
        tried = [*item.tried, attempt.endpoint]
        elsewhere = (
            self.life.policy.when_stuck == "fallback"
            and item.tries < self.life.policy.max_attempts
            and self.life.backend.endpoint_for(item.row.job, tried) not in tried
        )
        status = (await self.life.look([attempt])).at(attempt)
        if status.state != "queued":
            return  # it moved while we asked
        error = errors.JobTimedOut(
            f"{item.row.job.label}: no worker will come for it. {verdict.text}",
            code=verdict.code,
            retry=errors.Retry.ELSEWHERE if elsewhere else errors.Retry.PERMANENT,
            way_out=verdict.next_command or f"ryla jobs show {attempt.id}",
        )
        try:
            await self._give_up(item, attempt, error, verdict)
        except errors.BackendUnavailable:  # not cancelled, so not given up: try again at once
            item.asked = float("-inf")
            raise

    async def time_out(self, item: Tracked, attempt: Attempt) -> None:
        """End what is past its deadline. Raises JobTimedOut with the reason, or keeps a result that came meanwhile."""
        verdict = await self._ask(item, attempt)
        phase = "ran" if attempt.state == "running" else "waited in the queue"
        error = errors.JobTimedOut(
            f"{item.row.job.label}: {phase} for more than {_limit_s(attempt):.0f} s. {verdict.text}",
            way_out=(verdict.next_command if phase != "ran" else "") or f"ryla jobs show {attempt.id}",
        )
        await self._give_up(item, attempt, error, verdict)

    async def cancel(self, item: Tracked, attempt: Attempt, why: str) -> None:
        """Stop one that is ours; a result that came just before is kept."""
        status = await self._stop(attempt)
        if status.state == "succeeded":
            await self.life.take_result(item, attempt, status)
            return
        error = errors.JobCancelled(f"{item.row.job.label}: {why}.")
        self.life.end(attempt, "cancelled", error, **settlement(attempt, status, self.life.ledger.clock()))
        item.now_at(self.life.ledger.attempt(attempt.id))

    async def abandon(self, item: Tracked) -> None:
        """The caller was terminated: stop what we hold the lease of, so that nothing burns unseen."""
        attempt = item.attempt and self.life.ledger.attempt(item.attempt.id)
        if not attempt or not attempt.is_open or attempt.lease_owner != self.life.owner:
            return
        if attempt.remote_id is not None:
            await self.cancel(item, attempt, "the run was terminated")
        elif attempt.state == "intended":
            self.life.ledger.move(attempt, "unknown", note="terminated during submission")
            reached(points.OUTCOME_UNKNOWN)

    async def _give_up(self, item: Tracked, attempt: Attempt, error: errors.JobTimedOut, verdict: Diagnosis) -> None:
        leased = self.life.lease(attempt)
        if leased is None or leased.remote_id is None:
            return
        status = await self._stop(leased)
        if status.state == "succeeded":  # it ended just before it was stopped: paid for, so taken
            await self.life.take_result(item, leased, status)
            return
        now = self.life.ledger.clock()
        error.evidence = verdict.evidence
        values = told(verdict, now) | settlement(leased, status, now) | {"way_out": error.way_out}
        self.life.end(leased, "timed_out", error, **values)
        raise error

    async def _ask(self, item: Tracked, attempt: Attempt) -> Diagnosis:
        """The backend's verdict, in the ledger as soon as it is another one; silence is no reason to wait longer."""
        item.asked = time.monotonic()
        try:
            verdict = await self.life.backend.diagnose(attempt.remote_id or "", self.elapsed(item, attempt))
        except errors.BackendUnavailable as error:
            return item.verdict or Diagnosis("not_diagnosed", f"Nobody can say why: {error.message}")
        if item.verdict is None or item.verdict.code != verdict.code:
            self.life.ledger.diagnose(attempt, verdict)
        item.verdict = verdict
        return verdict

    async def _stop(self, attempt: Attempt) -> RemoteStatus:
        """Cancel remotely and look how it ended, for its bill. Raises NotCancelled where it waits all the same.

        What was sent just now may not be known there yet: a cancel finds nothing, and the job comes. So it is cancelled
        again until a look shows it ended; one that works on may need a moment, or has no bill yet.
        """
        remote_id = attempt.remote_id or ""
        status = RemoteStatus("queued")
        for pause in STOP_LOOKS_S:
            await asyncio.sleep(pause)
            await self.life.backend.cancel(remote_id)
            reached(points.CANCEL_SENT)
            self.life.backend.hurry([remote_id])
            status = (await self.life.look([attempt])).at(attempt)
            if status.state not in ("queued", "running"):
                return status
        if status.state == "queued":
            raise errors.NotCancelled(
                f"attempt {attempt.id} was cancelled at {attempt.endpoint}, which does not show it.",
                way_out=f"ryla jobs cancel {attempt.id[:8]} tries again; so does the sensor upkeep__jobs.",
            )
        return status

    def _begun(self, attempt: Attempt) -> float | None:
        """When its state began, seconds since the epoch."""
        if attempt.state == "running":
            return attempt.started_at
        if attempt.state == "unknown":
            return self.life.ledger.history(attempt.id)[-1][0]
        return attempt.submitted_at


def _limit_s(attempt: Attempt) -> float:
    return attempt.run_limit_s if attempt.state == "running" else attempt.queue_limit_s
