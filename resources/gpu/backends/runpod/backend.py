"""The runpod backend: jobs on RunPod's serverless endpoints, by either of two worker contracts.

What is asked, and how often, is the process's `service`; what a worker is told and answers is its `contract`. Here they
meet the protocol: which endpoint a job goes to, what it is called afterwards, what it cost, and what is known of a
submission whose answer was lost.

What `find` can know. The jobs API has no idempotency key and cannot be asked for a job by anything but the id that got
lost (RunPod docs, operation reference). Two things may still tell it: the result that our worker leaves in the store
under the fingerprint, with its attempt in it; and a webhook, which anybody may send: the job that it names is taken for
this attempt's only if GET /status shows this attempt's result. Without either nobody knows, and OutcomeUnknown says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from resources.gpu.backend import NO_AGES, Diagnosis, RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod import ids
from resources.gpu.backends.runpod.client import Accepted, JobsClient
from resources.gpu.backends.runpod.envelope import execution_policy
from resources.gpu.backends.runpod.health import HEALTH_S, Health
from resources.gpu.backends.runpod.ids import NEVER_LEARNED, RemoteId
from resources.gpu.backends.runpod.memory import Memory
from resources.gpu.backends.runpod.money import priced
from resources.gpu.backends.runpod.planning import COLD_LIMIT_S, TRAINING_S, Endpoints, Planning
from resources.gpu.backends.runpod.watch import Key, Look, Reader
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, NotSent, OutcomeUnknown, Retry
from resources.storage import ObjectCorrupt, ObjectMissing, StorageError

__all__ = ["COLD_LIMIT_S", "TRAINING_S", "Endpoints", "RunPodBackend"]

VERDICT_S = 0.25  # thousands of jobs that wait for one endpoint wait for one reason
CANCEL_TRIES = 3


class Diagnoser(Protocol):
    """Who knows an endpoint's settings and workers (control API)."""

    async def preflight(self, endpoint_id: str) -> None:
        """Raise BackendUnavailable where nothing sent there can run."""

    async def diagnose(
        self, endpoint_id: str, job_id: str, waited_s: float, *, may_fall_back: bool = False
    ) -> Diagnosis:
        """Why a job does not move; `may_fall_back`: a fallback endpoint would take such jobs, and none is set."""


@dataclass
class RunPodBackend(Planning):
    """Runs jobs on `endpoints` through `service`, in the language of `contract`.

    `diagnoser` says why an endpoint does not work, asked in the service's loop; without it the bare counts of /health
    hold.
    """

    diagnoser: Diagnoser | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._memory = self.service.keep("jobs", Memory)
        self._health = self.service.keep("health", lambda: Health(self.service))

    # ---- before anything is sent

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Learn what each costs, and ask whether it can work at all; without a diagnoser, whether it exists.

        Where its jobs may fall back to counts for what they may cost: that endpoint's price is learned, too.
        """
        for endpoint_id in dict.fromkeys(self._id_of(endpoint) for endpoint in endpoints):
            for priced_one in filter(None, (endpoint_id, self._spare(endpoint_id))):
                await self._terms_of(priced_one)
            if (diagnoser := self.diagnoser) is not None:
                await self.service.ask(lambda _, e=endpoint_id: diagnoser.preflight(e))  # type: ignore[misc]
            else:
                await self._health.counts(endpoint_id)

    # ---- one job

    async def submit(self, submission: Submission) -> str:
        """Write the payload, queue it, and follow it from then on."""
        job = submission.job
        endpoint_id = self._id_of(submission.endpoint or self.endpoint_for(job))
        try:
            payload = await asyncio.to_thread(self.contract.payload, submission)
        except (ObjectMissing, ObjectCorrupt, InvalidJob):
            raise
        except StorageError as error:
            raise NotSent(f"{job.label}: the store does not answer: {error}") from error
        policy = execution_policy(submission.queue_limit_s, submission.run_limit_s)

        async def sent(client: JobsClient) -> Accepted:
            return await client.run(endpoint_id, payload, policy=policy, webhook=submission.webhook)

        accepted = await self.service.ask(sent)
        remote = RemoteId(endpoint_id, accepted.id, submission.fingerprint)
        self._memory.expected[str(remote)] = tuple(spec.name for spec in job.outputs)
        await self.service.submitted(remote.key, self._reader(remote))
        return str(remote)

    async def find(
        self,
        attempt_id: str,
        *,
        fingerprint: str = "",
        endpoint: str = "",
        claim: str = "",
        waited_s: float = 0.0,  # noqa: ARG002
    ) -> str | None:
        """See the module docstring: its id, or OutcomeUnknown."""
        endpoint_id = self._id_of(endpoint)
        nameless = RemoteId(endpoint_id, NEVER_LEARNED, fingerprint)
        claimed = replace(nameless, job=claim) if ids.is_id(claim) and claim != NEVER_LEARNED else None
        if claimed is not None and await self._is_of(claimed, attempt_id):
            return str(claimed)
        if await asyncio.to_thread(self.contract.stored, nameless, attempt_id) is not None:
            return str(nameless)
        told = f"nothing tells of it yet{'' if claimed is None else f', and nothing shows that job {claim} is its'}"
        raise OutcomeUnknown(f"RunPod cannot be asked whether attempt {attempt_id} arrived at {endpoint}: {told}.")

    async def left(self, fingerprint: str, endpoint: str) -> str | None:
        """A result in our store, under the fingerprint; worker-comfyui leaves none."""
        remote = RemoteId(self._id_of(endpoint), NEVER_LEARNED, fingerprint)
        stored = await asyncio.to_thread(self.contract.stored, remote)
        return str(remote) if stored is not None and stored.state == "succeeded" else None

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:
        """What the process's poller knows; for ends in doubt also what lies in the store."""
        found: dict[str, RemoteStatus] = {}
        asked: dict[Key, RemoteId] = {}
        for remote_id in remote_ids:
            remote = ids.parse(remote_id)
            if remote is None:
                error = f"{remote_id[:80]!r} names no RunPod job"
                found[remote_id] = RemoteStatus("lost", cost_usd=None, error_code="unknown_job", error=error)
            elif remote.job == NEVER_LEARNED:
                found[remote_id] = await self._from_store(remote, _NOT_THERE)
            else:
                asked[remote.key] = remote
        if asked:
            ages = {key: ages_s[str(remote)] for key, remote in asked.items() if str(remote) in ages_s}
            looks = await self.service.look(list(asked), lambda key: self._reader(asked[key]), ages)
            for key, look in looks.items():
                found[str(asked[key])] = await self._judged(asked[key], look) if look.ended else look.status
        return found

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """Their next poll waits for a fresh answer."""
        known = [remote for remote in map(ids.parse, remote_ids) if remote is not None]
        if known:
            self.service.hurry([remote.key for remote in known])

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The files, from RunPod's answer, from where it says, or from our store."""
        remote = _parsed(remote_id)
        body = self._memory.results.get(remote_id)
        if body is None and remote.job != NEVER_LEARNED:
            asked = await self.service.ask(lambda client: client.status(*remote.key))
            body = asked if asked and asked.get("status") == "COMPLETED" else None  # else its output is no result
        outputs = await self.contract.outputs(body, remote)
        self._memory.results.drop(remote_id)
        return outputs

    async def discard(self, remote_id: str) -> None:
        """From the store, where our worker would find it and return it again."""
        remote = ids.parse(remote_id)
        if remote is not None:
            await asyncio.to_thread(self.contract.forget, remote)

    async def cancel(self, remote_id: str) -> None:
        """Cancel it; what RunPod no longer knows has ended. Asked again where the answer did not come.

        Whether a worker was coming for it is asked before, for after it nobody can tell; if the cancel had to wait, the
        answer is too old, and if the job is cancelled once more, worth nothing.
        """
        remote = ids.parse(remote_id)
        if remote is None or remote.job == NEVER_LEARNED:
            return
        again = remote_id in self._memory.cancelled
        self._memory.cancelled[remote_id] = True
        warming, begun = None if again else await self._health.warming(remote.endpoint), time.monotonic()
        for left in reversed(range(CANCEL_TRIES)):
            try:
                await self.service.ask(lambda client: client.cancel(*remote.key))
                break
            except BackendUnavailable as error:
                if not left or error.retry is not Retry.TRANSIENT:
                    raise
                await asyncio.sleep(0.5)
        if again:
            self._memory.warming.pop(remote_id, None)
        elif warming is not None and time.monotonic() - begun <= HEALTH_S:
            self._memory.warming[remote_id] = warming
        self.service.hurry([remote.key])

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:
        """By the diagnoser, or by what /health counts."""
        remote = ids.parse(remote_id)
        if remote is None:
            return Diagnosis("unknown_job", f"{remote_id[:80]!r} names no RunPod job.")
        if (diagnoser := self.diagnoser) is not None:
            at, verdict = self._memory.verdicts.get(remote.endpoint, (float("-inf"), None))
            if verdict is not None and time.monotonic() - at < VERDICT_S:
                return replace(verdict, evidence={**verdict.evidence, "job": remote.job})
            spare = self._lacks_a_spare(remote.endpoint)
            verdict = await self.service.ask(
                lambda _: diagnoser.diagnose(remote.endpoint, remote.job, waited_s, may_fall_back=spare)
            )
            self._memory.verdicts[remote.endpoint] = (time.monotonic(), verdict)
            return verdict
        workers, jobs = await self._health.counts(remote.endpoint)
        if not workers:
            return Diagnosis("unknown", f"RunPod says nothing of the workers of endpoint {remote.endpoint}.")
        words = ", ".join(f"{number} {word}" for word, number in workers.items())
        none = not any(workers.values())
        return Diagnosis(
            "no_workers" if none else "waiting",
            f"Endpoint {remote.endpoint}: {words}; jobs waiting: {jobs.get('inQueue', 'unknown')}.",
            next_command="ryla doctor",
            evidence={"workers": workers, "jobs": jobs},
        )

    # ---- parts

    def _reader(self, remote: RemoteId) -> Reader:
        expected = self._memory.expected.get(str(remote), ())

        def read(body: Mapping[str, Any]) -> RemoteStatus:
            status = self.contract.read(body, remote, expected)
            if status.state == "succeeded":
                self._memory.results.put(str(remote), body)
            return status

        return read

    async def _is_of(self, claimed: RemoteId, attempt_id: str) -> bool:
        """True if the claimed job exists, and shows that it is this attempt's."""
        body = await self.service.ask(lambda client: client.status(*claimed.key))
        return body is not None and self.contract.is_of(body, claimed, attempt_id)

    async def _judged(self, remote: RemoteId, look: Look) -> RemoteStatus:
        """An end, with its costs; a bad one only after a look into the store: what lies there is paid for."""
        terms, warming = await self._terms_of(remote.endpoint), self._memory.warming.get(str(remote))
        status = priced(look, terms, cold_limit_s=COLD_LIMIT_S, warming=warming)
        return status if status.state == "succeeded" else await self._from_store(remote, status)

    async def _from_store(self, remote: RemoteId, status: RemoteStatus) -> RemoteStatus:
        """Succeeded, if its result lies there after all; its bill is that of `status`."""
        stored = await asyncio.to_thread(self.contract.stored, remote)
        if stored is None or stored.state != "succeeded":
            return status
        cost = {key: getattr(status, key) for key in ("cost_usd", "cold_usd", "idle_usd", "worker")}
        return replace(stored, **cost, queue_s=status.queue_s, detail={**stored.detail, "after": status.error_code})


_NOT_THERE = RemoteStatus(
    "lost", cost_usd=None, error_code="result_lost", error="its result was found in the store once, and is gone"
)


def _parsed(remote_id: str) -> RemoteId:
    remote = ids.parse(remote_id)
    if remote is None:
        raise JobLost(f"{remote_id[:80]!r} names no RunPod job.", code="unknown_job")
    return remote
