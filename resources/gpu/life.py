"""The life of one attempt: intent, submission, outcome, result, settlement. The only caller of `submit`.

    intent row committed -> budget reserved -> submit -> remote id recorded -> ... -> fetch -> accept -> settle

Each arrow is a commit, so that killing the process between any two loses no paid result. What becomes of an attempt
that waits too long or must be stopped is in `stuck`; the order in which a call serves its jobs is in `runner`.

Raw worker bytes are not kept: what was accepted is discarded where it came from, after its commit, and once. What a
process leaves there that dies in between, or an attempt that was given up for lost, nobody needs: it expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resources import images
from resources.database import AWAY
from resources.gpu import errors
from resources.gpu import faultpoints as points
from resources.gpu.accept import Answer, accept
from resources.gpu.backend import Backend, RemoteStatus, Submission
from resources.gpu.budget import Budgets
from resources.gpu.faultpoints import reached
from resources.gpu.gate import Gate
from resources.gpu.job import InputFile
from resources.gpu.ledger import Attempt, Intent, JobRow, Ledger, LedgerConflict
from resources.gpu.policy import Policy
from resources.gpu.refused import first_refusal
from resources.gpu.settlement import NEVER_SUBMITTED, OUTCOME_UNKNOWN, failure_of, named, presumed, settlement
from resources.gpu.tracked import JobResult, Look, Tracked
from resources.storage import ObjectCorrupt, ObjectMissing, StorageError, Store

TOOL = "RYLA Assets"
KEEP_PAUSES_S = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0)  # after each try to write down where a submission arrived
_log = logging.getLogger(__name__)


@dataclass
class Life:
    """What a call does with each of its attempts; `owner` is who holds their leases."""

    ledger: Ledger
    backend: Backend
    store: Store
    budgets: Budgets
    policy: Policy
    gate: Gate
    owner: str
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

    # ---- on its way, and its end

    def here(self, attempt: Attempt) -> bool:
        """True if it can be followed with this backend."""
        return attempt.backend == self.backend.name and self.backend.reaches(attempt.endpoint)

    def check_here(self, row: JobRow, attempt: Attempt) -> None:
        """Raises BackendUnavailable for an attempt that only another backend, or other settings, can follow."""
        if not self.here(attempt):
            raise errors.BackendUnavailable(
                f"{row.job.label}: its open attempt {attempt.id} was sent to {attempt.backend} "
                f"{attempt.endpoint!r}, this runner talks to {self.backend.endpoint!r}.",
                retry=errors.Retry.FATAL,
                way_out="Point the settings back at it until the attempt has ended.",
            )

    def lease(self, attempt: Attempt) -> Attempt | None:
        """Become (or stay) the one who may act on it; None while somebody else's lease runs."""
        if attempt.lease_owner != self.owner and attempt.lease_until >= self.ledger.clock():
            return None
        leased = self.ledger.take_lease(attempt, self.owner, self.policy.lease_s)
        if leased is not None and attempt.lease_owner != self.owner:
            reached(points.LEASE_TAKEN)
        return leased

    def observe(self, item: Tracked, attempt: Attempt, status: RemoteStatus) -> None:
        """Note that it waits or runs; writes only where that is new."""
        item.fraction = max(item.fraction, status.progress)
        if attempt.lease_owner != self.owner and attempt.lease_until < self.ledger.clock():
            attempt = self.lease(attempt) or self.ledger.attempt(attempt.id)
            item.now_at(attempt)
        if status.state == attempt.state or not attempt.is_open:
            return
        reached(f"observed_{status.state}")
        begun: dict[str, Any] = {}
        if status.state == "running":
            begun = {"started_at": self.ledger.clock()}
        elif attempt.state == "running":  # put back into its queue, it waits anew: the queue deadline counts again
            begun = {"submitted_at": self.ledger.clock()}
        item.now_at(self.ledger.move(attempt, status.state, **begun), just_now=bool(begun))

    async def finish(self, item: Tracked, attempt: Attempt, status: RemoteStatus) -> None:
        """Settle what ended remotely. Raises JobFailed if it ended badly."""
        reached(f"observed_{status.state}")
        if status.state == "succeeded":
            await self.take_result(item, attempt, status)
            return
        error = failure_of(item.row, status)
        if status.state == "failed" and attempt.remote_id:
            await self.backend.discard(attempt.remote_id)
        self.end(attempt, status.state, error, **settlement(attempt, status, self.ledger.clock()))
        raise error

    async def take_result(self, item: Tracked, attempt: Attempt, status: RemoteStatus) -> None:
        """Fetch, accept, settle. Raises OutputRejected or JobLost, booked, if there is nothing to accept."""
        reached(points.BEFORE_FETCH)
        try:
            answer = await self._fetch(item.row, attempt)
            if answer.refused and not answer.outputs:
                tried = [*item.tried, attempt.endpoint]
                raise first_refusal(self.ledger, self.backend, item.row.job, attempt, tried, answer.refused)
        except (errors.OutputRejected, errors.JobLost) as error:
            if (now := self.ledger.attempt(attempt.id)).state == "succeeded":  # another process took it meanwhile
                item.now_at(now)
                return
            error.message = named(item.row.job, error.message)
            state = "lost" if isinstance(error, errors.JobLost) else "failed"
            if state == "failed":  # before it is booked: no later attempt may be given what was refused
                await self.backend.discard(attempt.remote_id or "")
            booked = settlement(attempt, status, self.ledger.clock())
            self.end(attempt, state, error, **booked, **_quarantine(error.refused))
            raise
        reached(points.BEFORE_ACCEPT)
        booked = settlement(attempt, status, self.ledger.clock())
        first = self.ledger.accept(attempt, answer.outputs, **booked, **_quarantine(answer.refused))
        item.now_at(self.ledger.attempt(attempt.id))
        if first and item.attempt is not None:
            reached(points.ACCEPTED)
            with contextlib.suppress(errors.BackendUnavailable, StorageError):
                await self.backend.discard(attempt.remote_id or "")
            paid = (item.row.job, item.row.fingerprint, answer.outputs, item.attempt)
            item.result = JobResult(*paid, adopted=item.tries == 0, refused=answer.refused)

    def end(self, attempt: Attempt, state: str, error: errors.JobFailed, **values: Any) -> None:
        """Book an attempt that ended badly; what another process booked first stays."""
        why = {"error_code": error.code, "error": error.message, "way_out": error.way_out or None}
        try:
            self.ledger.move(attempt, state, note=error.message, **(why | values))
        except LedgerConflict:
            if self.ledger.attempt(attempt.id).is_open:
                raise
        reached(points.ENDED)

    async def _fetch(self, row: JobRow, attempt: Attempt) -> Answer:
        outputs = await self.backend.fetch(attempt.remote_id or "")
        reached(points.AFTER_FETCH)
        preview = self.backend.render_domain == "preview"
        source: images.SourceType = "algorithmicMedia" if preview else "trainedAlgorithmicMedia"
        tool = f"{TOOL} (procedural preview)" if preview else TOOL
        return await asyncio.to_thread(  # decoding, signing and storing let the other jobs' talk go on
            accept, row.job, outputs, self.store, source=source, tool=tool, signer=self.gate.signer
        )

    # ---- results that were paid for earlier

    async def adopt(self, item: Tracked) -> bool:
        """Take a result that was accepted earlier, fetching it anew if its stored bytes were lost."""
        row = self.ledger.job(item.row.fingerprint) or item.row
        if row.result is None or row.accepted_attempt is None:
            return False
        attempt = self.ledger.attempt(row.accepted_attempt)
        stored = await asyncio.to_thread(self._stored, row.result)
        result = row.result if stored else await self._refetch(row, attempt)
        if result is None:
            return False
        refused = attempt.refused or []
        item.result = JobResult(row.job, row.fingerprint, result, attempt, adopted=item.tries == 0, refused=refused)
        return True

    async def _refetch(self, row: JobRow, attempt: Attempt) -> list[dict[str, Any]] | None:
        """The accepted result from the backend once more; None if it is gone there too: then it is made again."""
        result = None
        if self.here(attempt):
            status = (await self.look([attempt])).at(attempt)
            if status.state == "succeeded":
                with contextlib.suppress(errors.OutputRejected, errors.JobLost):
                    answer = await self._fetch(row, attempt)
                    same = {one["name"] for one in answer.outputs} >= {one["name"] for one in row.result or []}
                    result = answer.outputs if same else None
        self.ledger.replace_result(attempt, result)
        return result

    async def look(self, attempts: Sequence[Attempt]) -> Look:
        """Ask for all of them at once; a backend that does not answer is an answer too."""
        now = self.ledger.clock()
        ages = {a.remote_id: max(0.0, now - a.intended_at) for a in attempts if a.remote_id and self.here(a)}
        try:
            return Look(await self.backend.poll(list(ages), ages) if ages else {})
        except errors.BackendUnavailable as error:
            return Look(trouble=error)

    def _load(self, file: InputFile) -> bytes:
        return self.store.get(file.kind, file.sha256)

    def _stored(self, result: list[dict[str, Any]]) -> bool:
        try:
            for output in result:
                self.store.get("images" if output["media"] == "image" else "loras", output["sha256"])
        except (ObjectMissing, ObjectCorrupt):
            return False
        return True


def _quarantine(refused: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The column that keeps refused pictures; none where there are none."""
    return {"refused": list(refused)} if refused else {}
