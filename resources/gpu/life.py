"""The life of one attempt: intent, submission, outcome, result, settlement. The only caller of `submit`.

    intent row committed -> budget reserved -> submit -> remote id recorded -> ...

Each arrow is a commit, so that killing the process between any two loses no paid work. What becomes of an attempt that
is on its way is in `outcome`; the order in which a call serves its jobs is in `runner`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

from resources.database import AWAY
from resources.gpu import errors
from resources.gpu import faultpoints as points
from resources.gpu.backend import RemoteStatus, Submission
from resources.gpu.budget import Budgets
from resources.gpu.faultpoints import reached
from resources.gpu.job import InputFile
from resources.gpu.ledger import LedgerConflict
from resources.gpu.outcome import Outcome
from resources.gpu.records import Attempt, Intent, JobRow
from resources.gpu.settlement import NEVER_SUBMITTED, OUTCOME_UNKNOWN, named, presumed
from resources.gpu.tracked import Tracked
from resources.storage import ObjectCorrupt, ObjectMissing

KEEP_PAUSES_S = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0)  # after each try to write down where a submission arrived
_log = logging.getLogger(__name__)


@dataclass
class Life(Outcome):
    """What a call does with each of its attempts, from the intent on."""

    budgets: Budgets
    run_id: str | None = None
    webhook_url: str = ""
    _sending: set[str] = field(default_factory=set)  # attempts whose submission was begun here

    # ---- before it is on its way

    async def start(self, item: Tracked) -> None:
        """Intent, reservation, submission: in this order, each committed before the next."""
        job = item.row.job
        endpoint, why = await self._open_endpoint(item)
        estimate = self.backend.estimate(job)
        limit = self.policy.training_run_limit_s if job.kind == "training" else self.policy.run_limit_s
        intent = Intent(
            backend=self.backend.name,
            endpoint=endpoint,
            owner=self.owner,
            lease_s=self.policy.lease_s,
            run_id=self.run_id,
            reserve_usd=estimate.usd,
            exposure_usd=estimate.most_usd,
            queue_limit_s=self.policy.queue_limit_s,
            run_limit_s=limit,
            note=why,
        )
        attempt = self.ledger.begin(item.row.fingerprint, intent, self.budgets)
        if attempt is None:  # somebody else was faster: theirs is awaited, or what they made adopted
            item.now_at(self.ledger.open_attempt(item.row.fingerprint))
            return
        reached(points.INTENT_COMMITTED)
        item.now_at(attempt)
        if attempt.number > 1 and await self._take_what_is_left(item, attempt):
            return
        item.tries += 1
        item.now_at(await self._send(item.row, attempt), just_now=True)
        item.refused = 0

    async def _open_endpoint(self, item: Tracked) -> tuple[str, str]:
        """Where it goes, and why not where it would have gone: what cannot work there may work at the next one."""
        job = item.row.job
        endpoint = self.backend.endpoint_for(job, item.tried)
        try:
            await self.gate.pass_through([endpoint])
        except errors.BackendUnavailable as refusal:
            other = self.backend.endpoint_for(job, [*item.tried, endpoint])
            may = refusal.retry is errors.Retry.ELSEWHERE and self.policy.when_stuck == "fallback"
            if not may or other in (endpoint, *item.tried):
                raise
            await self.gate.pass_through([other])
            item.tried.append(endpoint)
            return other, f"not to {endpoint}: {refusal.message}"
        return endpoint, ""

    async def _take_what_is_left(self, item: Tracked, attempt: Attempt) -> bool:
        """Take, instead of sending anything, what an attempt before this one left where it can be fetched."""
        left = await self.backend.left(item.row.fingerprint, attempt.endpoint)
        if left is None:
            return False
        item.tries += 1  # what is refused, and cannot be discarded, is not taken for ever
        item.now_at(self._arrived(attempt, left, "nothing was sent: an earlier attempt left its result"))
        await self.take_result(item, item.attempt or attempt, RemoteStatus("succeeded"))
        if item.result is not None:
            item.result = replace(item.result, adopted=True)
        return True

    async def _send(self, row: JobRow, attempt: Attempt) -> Attempt:
        """Submit; a termination meanwhile waits a moment, so that what was sent gets its id and can be cancelled."""
        sending = asyncio.ensure_future(self._submit(row, attempt))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending}, timeout=self.policy.shield_s)
            sending.cancel()
            raise

    async def _submit(self, row: JobRow, attempt: Attempt) -> Attempt:
        submission = Submission(
            attempt.id,
            row.fingerprint,
            row.job,
            self._load,
            endpoint=attempt.endpoint,
            queue_limit_s=attempt.queue_limit_s,
            run_limit_s=attempt.run_limit_s,
            webhook=f"{self.webhook_url.rstrip('/')}/webhooks/runpod/{attempt.id}/{attempt.webhook_token}"
            if self.webhook_url
            else "",
        )
        self._sending.add(attempt.id)
        reached(points.BEFORE_SUBMIT)
        try:
            remote_id = await self.backend.submit(submission)
        except (errors.NotSent, errors.InvalidJob) as error:
            error.message = named(row.job, error.message)
            self._never_arrived(attempt, NEVER_SUBMITTED if isinstance(error, errors.NotSent) else error.code, error)
            raise
        except (ObjectMissing, ObjectCorrupt) as error:
            self._never_arrived(attempt, "input_missing", error)
            raise errors.InvalidJob(f"{row.job.label}: {error}") from error
        except Exception as error:  # noqa: BLE001  whatever happened, the submission may have arrived
            return self._doubt(attempt, f"{type(error).__name__}: {error}")
        reached(points.AFTER_SUBMIT)
        return await self._keep(row, attempt, remote_id)

    async def _keep(self, row: JobRow, attempt: Attempt, remote_id: str) -> Attempt:
        """Write down the id of what was just sent; where that cannot be done, it is cancelled: nobody would own it."""
        trouble: Exception | None = None
        try:
            for pause in KEEP_PAUSES_S:
                try:
                    return self._arrived(attempt, remote_id, remote_id)
                except AWAY as error:
                    trouble = error
                    await asyncio.sleep(pause)
        except (LedgerConflict, asyncio.CancelledError):  # given up for dead meanwhile, or stopped while we waited
            await self.backend.cancel(remote_id)
            raise
        _log.error("%s: attempt %s is %s, and the ledger does not take it.", row.job.label, attempt.id, remote_id)
        await self.backend.cancel(remote_id)
        raise errors.BackendUnavailable(
            f"{row.job.label}: the ledger does not answer; {remote_id}, just sent, was cancelled.", code="ledger_away"
        ) from trouble

    def _never_arrived(self, attempt: Attempt, code: str, error: Exception) -> None:
        self.ledger.move(attempt, "failed", note=str(error), error_code=code, error=str(error))
        reached(points.ENDED)

    def _doubt(self, attempt: Attempt, why: str) -> Attempt:
        attempt = self.ledger.move(attempt, "unknown", note=why)
        reached(points.OUTCOME_UNKNOWN)
        return attempt

    def _arrived(self, attempt: Attempt, remote_id: str, note: str) -> Attempt:
        known = self.ledger.learned(attempt, remote_id, note)
        reached(points.REMOTE_ID_RECORDED)
        if known is None:
            raise LedgerConflict(f"Attempt {attempt.id} was ended while {remote_id} was on its way.")
        return known

    # ---- a submission whose outcome is unknown

    async def settle_unknown(self, item: Tracked, attempt: Attempt, waited_s: float) -> None:
        """Find out whether a submission arrived, before anything is sent again; `waited_s`: for how long it is unknown.

        Raises JobFailed (transient) if it never did, JobLost (presumed at its exposure) if nobody can tell in time.
        """
        leased = self.lease(attempt)
        if leased is None:
            item.now_at(self.ledger.attempt(attempt.id))
            return  # its owner lives: wait
        if leased.state == "intended" and attempt.lease_owner == self.owner and leased.id not in self._sending:
            item.tries += 1  # its intent was committed, and nothing else was
            item.now_at(await self._send(item.row, leased), just_now=True)
            return
        if leased.state == "intended":
            leased = self._doubt(leased, "its process died while it was sending")
            waited_s = 0.0
        item.now_at(leased)
        try:
            remote_id = await self.backend.find(
                leased.id,
                fingerprint=leased.fingerprint,
                endpoint=leased.endpoint,
                claim=leased.claimed_id or "",
                waited_s=waited_s,
            )
        except errors.OutcomeUnknown as error:
            limit_s = self.policy.unknown_limit_s(item.row.job.kind)
            if waited_s < limit_s:
                item.rest(min(self.policy.poll_max_s, limit_s / 4))
                return
            reached(points.PRESUMED_LOST)
            lost = errors.JobLost(
                f"{item.row.job.label}: whether its submission arrived could not be found out in {waited_s:.0f} s "
                f"({self.ledger.history(leased.id)[-1][2]}); ${leased.exposure_usd:.4f} are booked as if it had. "
                f"{error.message}",
                code=OUTCOME_UNKNOWN,
            )
            self.end(leased, "lost", lost, **presumed(leased))
            raise lost from error
        if remote_id is None:
            message = f"{item.row.job.label}: the submission never arrived ({self.ledger.history(leased.id)[-1][2]})."
            never = errors.JobFailed(message, code=NEVER_SUBMITTED, retry=errors.Retry.TRANSIENT)
            self.end(leased, "failed", never)
            raise never
        reached(points.FOUND)
        item.now_at(self._arrived(leased, remote_id, f"found {remote_id}"), just_now=True)

    def _load(self, file: InputFile) -> bytes:
        return self.store.get(file.kind, file.sha256)
