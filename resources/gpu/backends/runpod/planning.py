"""What is said of a job before anything is sent: where it would go, what it would cost, what would be refused.

Belongs here: answers that follow from the job and the settings, and an endpoint's price, asked once. What happens to a
job that is sent is `backend`'s.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resources.gpu.backend import Estimate, Pace
from resources.gpu.backends.runpod import ids
from resources.gpu.backends.runpod.contract import Contract
from resources.gpu.backends.runpod.envelope import execution_policy
from resources.gpu.backends.runpod.money import Terms
from resources.gpu.backends.runpod.service import Service
from resources.gpu.errors import BackendUnavailable, Retry
from resources.gpu.job import Job, canonical
from resources.gpu.policy import Policy
from workflows import models, schema
from workflows.object_info import FILE_FOLDERS

ENGINE_VERSION = "1"  # raise it when what is sent for the same job changes pixels
COLD_LIMIT_S = 600.0  # the longest start that is charged to a job; 498 s was measured (docs/adr/0006)
TRAINING_S = 45 * 60.0  # the target of a training
# Until a job whose id was lost shows its result, if it arrived: a cold start, and its work (ten pictures, or twice a
# training's target). To send another one earlier is to pay twice whenever workers are cold.
SHOWS_S = COLD_LIMIT_S + 300.0
TRAINING_SHOWS_S = COLD_LIMIT_S + 2 * TRAINING_S


@dataclass(frozen=True)
class Endpoints:
    """Ids of the account's endpoints by purpose; empty: there is none."""

    image: str
    nsfw: str = ""
    training: str = ""
    fallback: str = ""  # where an image job goes that `image` could not do


@dataclass
class Planning:
    """Plans jobs for `endpoints`, as far as `contract` and `policy` allow; `terms` says what an endpoint costs.

    `terms` is asked in the service's loop; without it the dearest price holds. Raises ValueError for ids that are none.
    """

    service: Service
    endpoints: Endpoints
    contract: Contract
    engine: Literal["comfyui", "preview"] = "comfyui"
    policy: Policy = field(default_factory=Policy)
    terms: Callable[[str], Awaitable[Terms]] | None = None
    workers: int = 3  # an endpoint's `workers.max` unless somebody changed it (control API v2)
    name: str = "runpod"

    def __post_init__(self) -> None:
        for purpose, value in vars(self.endpoints).items():
            if value and not ids.is_id(value):
                raise ValueError(f"the {purpose} endpoint's id is none of RunPod's (letters, digits, - and _)")
        self.endpoint = self.service.url
        self.render_domain: Literal["preview", "model"] = "preview" if self.engine == "preview" else "model"
        self.self_run = bool(self.endpoints.nsfw)
        self._terms: dict[str, Terms] = {}

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
        """By the dearest endpoint that it may go to.

        The most is all that RunPod lets a job live, its ttl, and the idle time after it: a job that is requeued, or
        whose end nobody knows, bills on until then. What outlives even that is a handler that RunPod cannot stop.
        """
        pace = self.pace()
        training = job.kind == "training"
        exec_s = TRAINING_S if training else pace.shared_s + pace.image_s * len(job.outputs)
        limit_s = self.policy.training_run_limit_s if training else self.policy.run_limit_s
        ttl_s = execution_policy(self.policy.queue_limit_s, limit_s)["ttl"] / 1000
        chosen = self._endpoint_id(job)
        spare = self._spare(chosen) if _may_fall_back(job) else ""
        terms = [self._terms.get(endpoint, Terms()) for endpoint in (chosen, spare) if endpoint] or [Terms()]
        rate, idle_s = max(t.usd_per_s for t in terms), max(t.idle_timeout_s for t in terms)
        return Estimate(
            usd=(exec_s + pace.cold_s + idle_s) * rate, most_usd=math.ceil(ttl_s + idle_s) * rate, exec_s=exec_s
        )

    def endpoint_for(self, job: Job, tried: Sequence[str] = ()) -> str:
        """By kind and rating; what is nsfw goes to its own endpoint or nowhere, and a sfw picture may fall back."""
        chosen = self._endpoint_id(job)
        if not chosen:
            raise BackendUnavailable(
                f"{job.label}: {_setting(job)} is not set.", retry=Retry.FATAL, way_out=f"Set {_setting(job)}."
            )
        spare = self._spare(chosen) if _may_fall_back(job) else ""
        if spare and self._address(chosen) in tried and self._address(spare) not in tried:
            chosen = spare
        return self._address(chosen)

    def reaches(self, endpoint: str) -> bool:
        """Any endpoint of the same API, also one that the settings no longer name."""
        base, _, endpoint_id = endpoint.rpartition("/")
        return base == self.service.url and ids.is_id(endpoint_id) and endpoint_id != ids.POD

    # ---- parts

    def _endpoint_id(self, job: Job) -> str:
        if job.rating == "nsfw":
            return self.endpoints.nsfw
        return self.endpoints.training if job.kind == "training" else self.endpoints.image

    def _spare(self, endpoint_id: str) -> str:
        """Where a job may go that this endpoint could not do; empty: nowhere."""
        return self.endpoints.fallback if endpoint_id == self.endpoints.image else ""

    def _lacks_a_spare(self, endpoint_id: str) -> bool:
        """True if whatever waits there may fall back, and has nowhere to go: only sfw pictures may."""
        known = self.endpoints
        return endpoint_id == known.image and endpoint_id not in (known.nsfw, known.training) and not known.fallback

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

    async def _terms_of(self, endpoint_id: str) -> Terms:
        if endpoint_id not in self._terms and (terms := self.terms) is not None:
            try:
                self._terms[endpoint_id] = await self.service.ask(lambda _: terms(endpoint_id))
            except BackendUnavailable:
                return Terms()
        return self._terms.get(endpoint_id, Terms())


def _may_fall_back(job: Job) -> bool:
    return job.kind == "image" and job.rating == "sfw"


def _setting(job: Job) -> str:
    purpose = "NSFW" if job.rating == "nsfw" else "TRAINING" if job.kind == "training" else "IMAGE"
    return f"RUNPOD_{purpose}_ENDPOINT_ID"


def _problem(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"node_id": None, "class_type": None, "type": kind, "message": message, "details": details}
