"""The runpod backend: jobs on RunPod's serverless endpoints, by either of two worker contracts.

What is asked, and how often, is the process's `service`; what a worker is told and answers is its `contract`. Here they
meet the protocol: which endpoint a job goes to, what it is called afterwards, what it cost, and what is known of a
submission whose answer was lost.

What `find` can know. The jobs API has no idempotency key and cannot be asked for a job by anything but the id that got
lost (RunPod docs, operation reference). Two things may still tell it: the result that our worker leaves in the store
under the fingerprint, with its attempt in it; and a webhook, whose claim is checked by GET /status. Without either
nobody knows, and OutcomeUnknown says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from resources.gpu.backend import Diagnosis, Estimate, Pace, RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod import ids
from resources.gpu.backends.runpod.client import Accepted, JobsClient
from resources.gpu.backends.runpod.contract import Contract
from resources.gpu.backends.runpod.ids import NEVER_LEARNED, RemoteId
from resources.gpu.backends.runpod.kept import Kept
from resources.gpu.backends.runpod.money import Terms, priced
from resources.gpu.backends.runpod.service import Service
from resources.gpu.backends.runpod.watch import Key, Look, Reader
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, NotSent, OutcomeUnknown, Retry
from resources.gpu.job import Job, canonical
from resources.gpu.policy import Policy
from resources.storage import ObjectCorrupt, ObjectMissing, StorageError
from workflows import models, schema
from workflows.object_info import FILE_FOLDERS

ENGINE_VERSION = "1"  # raise it when what is sent for the same job changes pixels
COLD_LIMIT_S = 600.0  # the longest start that is charged to a job; 498 s was measured (docs/adr/0006)
TRAINING_S = 45 * 60.0  # the target of a training
TTL_SLACK_S = 60.0  # beyond both deadlines: the runner ends a job before RunPod forgets it
VERDICT_S = 0.25  # thousands of jobs that wait for one endpoint wait for one reason
HEALTH_S = 5.0  # how long counts of workers are believed
CANCEL_TRIES = 3
_KEPT = 4096  # jobs whose expected outputs and last moments are remembered
_POLICY_MS = {"executionTimeout": (5_000, 7 * 86_400_000), "ttl": (10_000, 7 * 86_400_000)}  # RunPod docs: policies


class Diagnoser(Protocol):
    """Who knows an endpoint's settings and workers (control API)."""

    async def preflight(self, endpoint_id: str) -> None:
        """Raise BackendUnavailable where nothing sent there can run."""

    async def diagnose(self, endpoint_id: str, job_id: str, waited_s: float) -> Diagnosis:
        """Why a job does not move."""


@dataclass(frozen=True)
class Endpoints:
    """Ids of the account's endpoints by purpose; empty: there is none."""

    image: str
    nsfw: str = ""
    training: str = ""
    fallback: str = ""  # where an image job goes that `image` could not do


@dataclass
class RunPodBackend:
    """Runs jobs on `endpoints` through `service`, in the language of `contract`.

    `terms` says what an endpoint costs, `diagnoser` why it does not work; both are asked in the service's loop, and
    without them the dearest price and the bare counts of /health hold. Raises ValueError for ids that are none.
    """

    service: Service
    endpoints: Endpoints
    contract: Contract
    engine: Literal["comfyui", "preview"] = "comfyui"
    policy: Policy = field(default_factory=Policy)
    terms: Callable[[str], Awaitable[Terms]] | None = None
    diagnoser: Diagnoser | None = None
    workers: int = 3  # an endpoint's `workers.max` unless somebody changed it (control API v2)
    name: str = "runpod"

    def __post_init__(self) -> None:
        for purpose, value in vars(self.endpoints).items():
            if value and not ids.is_id(value):
                raise ValueError(f"the {purpose} endpoint's id is none of RunPod's (letters, digits, - and _)")
        self.endpoint = self.service.url
        self.render_domain: Literal["preview", "model"] = "preview" if self.engine == "preview" else "model"
        self.self_run = bool(self.endpoints.nsfw)
        self._expected: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # remote id -> outputs, if submitted here
        self._warming: OrderedDict[str, bool] = OrderedDict()  # remote id -> was a worker coming when it was cancelled
        self._results = Kept()
        self._terms: dict[str, Terms] = {}
        self._verdicts: dict[str, tuple[float, Diagnosis]] = {}
        self._health: dict[str, tuple[float, dict[str, Any]]] = {}

    # ---- before anything is sent

    def pace(self) -> Pace:
        """A 24 GB consumer GPU with Flux-dev: 24 s a picture (28 steps on an RTX 4090), about a minute to start."""
        most = self.contract.max_result_bytes
        if self.engine == "preview":
            return Pace(image_s=0.65, shared_s=0.01, cold_s=1.0, max_result_bytes=most)
        return Pace(image_s=24.0, shared_s=20.0, cold_s=60.0, max_result_bytes=most)

    def profile(self, job: Job) -> str:
        """Engine and the graph's model file names, as the comfyui backend's: which GPU works on it is not in it."""
        names = sorted(
            str(value)
            for node in (job.request.values() if job.kind == "image" else ())
            for key, value in node["inputs"].items()
            if FILE_FOLDERS.get(key) not in (None, "input")
        )
        return f"runpod/{self.engine}/{ENGINE_VERSION}/{hashlib.sha256(canonical(names).encode()).hexdigest()[:12]}"

    def model_files(self) -> dict[str, frozenset[str]]:
        """Folder -> file names that models.yaml says must lie on the endpoint's image or volume.

        What really lies there RunPod does not tell; a worker that lacks one fails its first job naming the file.
        """
        found: dict[str, set[str]] = {}
        for file in models.model_files(options=True):
            found.setdefault(file.folder, set()).add(file.file)
        return {folder: frozenset(names) for folder, names in found.items()}

    def problems(self, job: Job) -> list[dict[str, Any]]:
        """What such a worker would refuse, by the stored object_info; a job's own inputs are brought to it."""
        found = [_problem(*words) for words in self.contract.problems(job)]
        if not self._endpoint_id(job):
            name = _setting(job)
            found.append(
                _problem("no_endpoint", f"{name} is not set", f"give the id of the endpoint for such jobs in {name}")
            )
        if job.kind != "image":
            return found
        present = {folder: set(names) for folder, names in self.model_files().items()}
        for item in job.inputs:
            present.setdefault(item.folder, set()).add(item.name)
        keys = ("node_id", "class_type", "type", "message", "details")
        return found + [{key: getattr(p, key) for key in keys} for p in schema.validate(job.request, files=present)]

    def estimate(self, job: Job) -> Estimate:
        """By the dearest endpoint that it may go to, with a start, the idle time after it, and both deadlines."""
        pace = self.pace()
        training = job.kind == "training"
        exec_s = TRAINING_S if training else pace.shared_s + pace.image_s * len(job.outputs)
        limit_s = self.policy.training_run_limit_s if training else self.policy.run_limit_s
        reach = {
            self._endpoint_id(job),
            *([self.endpoints.fallback] if job.kind == "image" and job.rating == "sfw" else []),
        }
        terms = [self._terms.get(endpoint, Terms()) for endpoint in reach if endpoint] or [Terms()]
        rate, idle_s = max(t.usd_per_s for t in terms), max(t.idle_timeout_s for t in terms)
        return Estimate(
            usd=(exec_s + pace.cold_s + idle_s) * rate,
            most_usd=(limit_s + COLD_LIMIT_S + idle_s) * rate,
            exec_s=exec_s,
        )

    def endpoint_for(self, job: Job, tried: Sequence[str] = ()) -> str:
        """By kind and rating; what is nsfw goes to its own endpoint or nowhere, and a sfw picture may fall back."""
        chosen, fallback = self._endpoint_id(job), self.endpoints.fallback
        if not chosen:
            raise BackendUnavailable(
                f"{job.label}: {_setting(job)} is not set.", retry=Retry.FATAL, way_out=f"Set {_setting(job)}."
            )
        may_fall_back = fallback and job.kind == "image" and job.rating == "sfw"
        if may_fall_back and self._address(chosen) in tried and self._address(fallback) not in tried:
            chosen = fallback
        return self._address(chosen)

    def reaches(self, endpoint: str) -> bool:
        """Any endpoint of the same API, also one that the settings no longer name."""
        base, _, endpoint_id = endpoint.rpartition("/")
        return base == self.service.url and ids.is_id(endpoint_id)

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Learn what each costs, and ask whether it can work at all; without a diagnoser, whether it exists."""
        for endpoint_id in dict.fromkeys(self._id_of(endpoint) for endpoint in endpoints):
            await self._terms_of(endpoint_id)
            if (diagnoser := self.diagnoser) is not None:
                await self.service.ask(lambda _, e=endpoint_id: diagnoser.preflight(e))  # type: ignore[misc]
            else:
                await self._workers(endpoint_id)

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
        _remember(self._expected, str(remote), tuple(spec.name for spec in job.outputs))
        await self.service.submitted(remote.key, self._reader(remote))
        return str(remote)

    async def find(self, attempt_id: str, *, fingerprint: str = "", endpoint: str = "", claim: str = "") -> str | None:
        """See the module docstring: its id, or OutcomeUnknown."""
        endpoint_id = self._id_of(endpoint)
        nameless = RemoteId(endpoint_id, NEVER_LEARNED, fingerprint)
        claimed = replace(nameless, job=claim) if ids.is_id(claim) and claim != NEVER_LEARNED else None
        if claimed is not None and await self._is_of(claimed, attempt_id):
            return str(claimed)
        if await asyncio.to_thread(self.contract.stored, nameless, attempt_id) is not None:
            return str(nameless)
        raise OutcomeUnknown(
            f"RunPod cannot be asked whether attempt {attempt_id} arrived at {endpoint}, and nothing tells of it yet."
        )

    async def poll(self, remote_ids: Sequence[str]) -> dict[str, RemoteStatus]:
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
            looks = await self.service.look(list(asked), lambda key: self._reader(asked[key]))
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
        body = self._results.get(remote_id)
        if body is None and remote.job != NEVER_LEARNED:
            asked = await self.service.ask(lambda client: client.status(*remote.key))
            body = asked if asked and asked.get("status") == "COMPLETED" else None  # else its output is no result
        outputs = await self.contract.outputs(body, remote)
        self._results.drop(remote_id)
        return outputs

    async def discard(self, remote_id: str) -> None:
        """From the store, where our worker would find it and return it again."""
        remote = ids.parse(remote_id)
        if remote is not None:
            await asyncio.to_thread(self.contract.forget, remote)

    async def cancel(self, remote_id: str) -> None:
        """Cancel it; what RunPod no longer knows has ended. Asked again where the answer did not come."""
        remote = ids.parse(remote_id)
        if remote is None or remote.job == NEVER_LEARNED:
            return
        warming = await self._is_warming(remote.endpoint)
        if warming is not None:
            _remember(self._warming, remote_id, warming)
        for left in reversed(range(CANCEL_TRIES)):
            try:
                await self.service.ask(lambda client: client.cancel(*remote.key))
                break
            except BackendUnavailable as error:
                if not left or error.retry is Retry.FATAL:
                    raise
                await asyncio.sleep(0.5)
        self.service.hurry([remote.key])

    async def diagnose(self, remote_id: str) -> Diagnosis:
        """By the diagnoser, or by what /health counts."""
        remote = ids.parse(remote_id)
        if remote is None:
            return Diagnosis("unknown_job", f"{remote_id[:80]!r} names no RunPod job.")
        if (diagnoser := self.diagnoser) is not None:
            at, verdict = self._verdicts.get(remote.endpoint, (float("-inf"), None))
            if verdict is not None and time.monotonic() - at < VERDICT_S:
                return replace(verdict, evidence={**verdict.evidence, "job": remote.job})
            look = (
                {}
                if remote.job == NEVER_LEARNED
                else await self.service.look([remote.key], lambda _: self._reader(remote))
            )
            here = look.get(remote.key)
            waited_s = (here.elapsed_s or here.status.queue_s) if here else 0.0
            verdict = await self.service.ask(lambda _: diagnoser.diagnose(remote.endpoint, remote.job, waited_s))
            self._verdicts[remote.endpoint] = (time.monotonic(), verdict)
            return verdict
        body = await self._workers(remote.endpoint)
        workers, jobs = _counts(body.get("workers")), _counts(body.get("jobs"))
        if not workers:
            return Diagnosis("unknown", f"RunPod says nothing of the workers of endpoint {remote.endpoint}.")
        words = ", ".join(f"{number} {word}" for word, number in workers.items())
        none = not any(workers.values())
        return Diagnosis(
            "no_workers" if none else "waiting",
            f"Endpoint {remote.endpoint}: {words}; {jobs.get('inQueue', 0)} jobs wait.",
            next_command="ryla doctor",
            evidence={"workers": workers, "jobs": jobs},
        )

    async def sweep(self, open_attempts: Mapping[str, str], ended: Callable[[str], bool]) -> list[str]:  # noqa: ARG002
        """An endpoint's workers are RunPod's to stop."""
        return []

    # ---- parts

    def _endpoint_id(self, job: Job) -> str:
        if job.rating == "nsfw":
            return self.endpoints.nsfw
        return self.endpoints.training if job.kind == "training" else self.endpoints.image

    def _address(self, endpoint_id: str) -> str:
        return f"{self.service.url}/{endpoint_id}"

    def _id_of(self, endpoint: str) -> str:
        if not self.reaches(endpoint):
            raise BackendUnavailable(
                f"{endpoint!r} is no endpoint of {self.service.url}.",
                retry=Retry.FATAL,
                way_out="Point RUNPOD_JOBS_URL back at it until its attempts have ended.",
            )
        return endpoint.rpartition("/")[2]

    def _reader(self, remote: RemoteId) -> Reader:
        expected = self._expected.get(str(remote), ())

        def read(body: Mapping[str, Any]) -> RemoteStatus:
            status = self.contract.read(body, remote, expected)
            if status.state == "succeeded":
                self._results.put(str(remote), body)
            return status

        return read

    async def _is_of(self, claimed: RemoteId, attempt_id: str) -> bool:
        """True if the claimed job exists, and is this attempt's where it can be told already."""
        body = await self.service.ask(lambda client: client.status(*claimed.key))
        return body is not None and self.contract.is_of(body, claimed, attempt_id)

    async def _judged(self, remote: RemoteId, look: Look) -> RemoteStatus:
        """An end, with its costs; a bad one only after a look into the store: what lies there is paid for."""
        terms, warming = await self._terms_of(remote.endpoint), self._warming.get(str(remote))
        status = priced(look, terms, cold_limit_s=COLD_LIMIT_S, warming=warming)
        return status if status.state == "succeeded" else await self._from_store(remote, status)

    async def _from_store(self, remote: RemoteId, status: RemoteStatus) -> RemoteStatus:
        """Succeeded, if its result lies there after all; its bill is that of `status`."""
        stored = await asyncio.to_thread(self.contract.stored, remote)
        if stored is None or stored.state != "succeeded":
            return status
        cost = {key: getattr(status, key) for key in ("cost_usd", "cold_usd", "idle_usd", "worker")}
        return replace(stored, **cost, queue_s=status.queue_s, detail={**stored.detail, "after": status.error_code})

    async def _terms_of(self, endpoint_id: str) -> Terms:
        if endpoint_id not in self._terms and (terms := self.terms) is not None:
            try:
                self._terms[endpoint_id] = await self.service.ask(lambda _: terms(endpoint_id))
            except BackendUnavailable:
                return Terms()
        return self._terms.get(endpoint_id, Terms())

    async def _workers(self, endpoint_id: str) -> dict[str, Any]:
        """/health, at most HEALTH_S old."""
        at, body = self._health.get(endpoint_id, (float("-inf"), {}))
        if time.monotonic() - at > HEALTH_S:
            body = await self.service.ask(lambda client: client.health(endpoint_id))
            self._health[endpoint_id] = (time.monotonic(), body)
        return body

    async def queue(self, endpoint_id: str) -> dict[str, int]:
        """How many jobs of an endpoint wait, run, ended; as far as /health says."""
        return _counts((await self._workers(endpoint_id)).get("jobs"))

    async def _is_warming(self, endpoint_id: str) -> bool | None:
        """Whether some worker is starting or free, so that cancelling a waiting job may leave a bill; None: unknown."""
        try:
            workers = _counts((await self._workers(endpoint_id)).get("workers"))
        except BackendUnavailable:
            return None
        if "initializing" not in workers:
            return None
        return any(workers.get(word, 0) > 0 for word in ("initializing", "ready", "idle"))


def execution_policy(queue_limit_s: float, run_limit_s: float) -> dict[str, int]:
    """RunPod's execution policy in milliseconds, within its bounds; `ttl` counts from submission and ends all."""
    wanted = {"executionTimeout": run_limit_s, "ttl": queue_limit_s + run_limit_s + TTL_SLACK_S}
    return {key: int(min(max(1000 * wanted[key], low), high)) for key, (low, high) in _POLICY_MS.items()}


_NOT_THERE = RemoteStatus(
    "lost", cost_usd=None, error_code="result_lost", error="its result was found in the store once, and is gone"
)


def _parsed(remote_id: str) -> RemoteId:
    remote = ids.parse(remote_id)
    if remote is None:
        raise JobLost(f"{remote_id[:80]!r} names no RunPod job.", code="unknown_job")
    return remote


def _counts(found: object) -> dict[str, int]:
    """Counts of /health, as far as they are some."""
    if not isinstance(found, Mapping):
        return {}
    return {str(key)[:40]: value for key, value in found.items() if type(value) is int and value >= 0}


def _remember(place: OrderedDict[str, Any], key: str, value: Any) -> None:
    place[key] = value
    while len(place) > _KEPT:
        place.popitem(last=False)


def _setting(job: Job) -> str:
    purpose = "NSFW" if job.rating == "nsfw" else "TRAINING" if job.kind == "training" else "IMAGE"
    return f"RUNPOD_{purpose}_ENDPOINT_ID"


def _problem(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"node_id": None, "class_type": None, "type": kind, "message": message, "details": details}
