"""What becomes of an attempt that is on its way: followed, fetched, accepted, settled; and results paid for earlier.

    ... remote id recorded -> poll -> fetch -> accept -> settle

Each arrow is a commit, so that killing the process between any two loses no paid result. How an attempt gets on its way
is in `life`; of one that waits too long or must be stopped, in `stuck`.

Raw worker bytes are not kept: what was accepted is discarded where it came from, after its commit, and once. What a
process leaves there that dies in between, or an attempt that was given up for lost, nobody needs: it expires.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resources import images
from resources.gpu import errors
from resources.gpu import faultpoints as points
from resources.gpu.accept import Answer, accept
from resources.gpu.backend import Backend, RemoteStatus
from resources.gpu.faultpoints import reached
from resources.gpu.gate import Gate
from resources.gpu.ledger import Ledger, LedgerConflict
from resources.gpu.policy import Policy
from resources.gpu.records import Attempt, JobRow
from resources.gpu.refused import first_refusal
from resources.gpu.settlement import failure_of, named, settlement
from resources.gpu.tracked import JobResult, Look, Tracked
from resources.storage import ObjectCorrupt, ObjectMissing, StorageError, Store

TOOL = "RYLA Assets"


@dataclass
class Outcome:
    """What a call does with attempts that are on their way; `owner` is who holds their leases."""

    ledger: Ledger
    backend: Backend
    store: Store
    policy: Policy
    gate: Gate
    owner: str

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
        reached(points.BEFORE_REPLACE)
        self.ledger.replace_result(attempt, result)
        reached(points.REPLACED)
        return result

    async def look(self, attempts: Sequence[Attempt]) -> Look:
        """Ask for all of them at once; a backend that does not answer is an answer too."""
        now = self.ledger.clock()
        ages = {a.remote_id: max(0.0, now - a.intended_at) for a in attempts if a.remote_id and self.here(a)}
        try:
            return Look(await self.backend.poll(list(ages), ages) if ages else {})
        except errors.BackendUnavailable as error:
            return Look(trouble=error)

    def _stored(self, result: list[dict[str, Any]]) -> bool:
        try:
            for output in result:
                self.store.verify("images" if output["media"] == "image" else "loras", output["sha256"])
        except (ObjectMissing, ObjectCorrupt):
            return False
        return True


def _quarantine(refused: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The column that keeps refused pictures; none where there are none."""
    return {"refused": list(refused)} if refused else {}
