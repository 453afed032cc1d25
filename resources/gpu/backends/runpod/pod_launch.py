"""Creating a pod exactly once on an API without idempotency keys, and terminating it.

Belongs here: the pod's body, the GPU types that are tried in turn, doubts about what was created, doubles. Not here:
what becomes of a pod that exists (`pods.py`).

A create that fails may have made a pod that bills. So each attempt's pod has a name of its own, and whenever a create
is in doubt, that name is looked for before anything is created again. Our key never goes into a pod.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resources.gpu.errors import BackendUnavailable, InvalidJob, NotSent, Retry
from resources.runpod.answers import LIMIT_VARIABLE, Pod
from resources.runpod.problems import ControlProblem, ControlSilent
from resources.runpod_control import ControlClient

REQUEST_VARIABLE = "RYLA_REQUEST"  # the wire request, as JSON
MAX_REQUEST_BYTES = 96 * 1024  # Linux takes 128 KiB in one variable
SETTLE_S = 2.0  # until a pod whose create got no answer is listed; nothing is published of it
CREATES = 3  # of one GPU type, where an answer is missing and no pod of the name is listed
# 48 GB each, the cheapest hour first by list price (prices.json).
TRAINING_GPUS = ("NVIDIA A40", "NVIDIA RTX A6000", "NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation")
_IMAGE = re.compile(  # [host[:port]/]path[:tag][@digest], as container registries take it
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_MAX_IMAGE = 500  # characters
_log = logging.getLogger(__name__)


def checked_image(image: str) -> str:
    """The container image's name, if it is one. Raises ValueError."""
    if len(image) > _MAX_IMAGE or not _IMAGE.fullmatch(image):
        raise ValueError(f"{image[:80]!r} is no container image: registry.example/name:tag is")
    return image


@dataclass(frozen=True)
class PodSettings:
    """What a pod is made of: GPU type ids in order of preference, sizes in GB."""

    image: str
    gpu_types: tuple[str, ...] = TRAINING_GPUS
    gpu_count: int = 1
    min_cuda: str = ""
    cloud: str = "SECURE"
    disk_gb: int = 100
    data_centers: tuple[str, ...] = ()
    volume_id: str = ""
    volume_path: str = "/workspace"
    registry: str = ""


class Launcher:
    """Creates, finds by name and terminates pods."""

    def __init__(
        self, control: ControlClient, settings: PodSettings, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._control = control
        self._settings = settings
        self._sleep = sleep

    async def launch(self, name: str, payload: Mapping[str, Any], limit_s: float) -> Pod:
        """Create the pod of that name, which is to be gone after `limit_s` seconds.

        Raises InvalidJob (RunPod refuses the request, or has no room on any GPU type), NotSent (no pod was created);
        any other error leaves the outcome unknown.
        """
        body = self._body(name, payload, limit_s)
        doubts: list[BackendUnavailable] = []
        try:
            pod = await self._create_somewhere(body, doubts)
        except (InvalidJob, NotSent) as error:
            if doubts:
                raise BackendUnavailable(f"Whether {name} was created is not known: {doubts[-1].message}") from error
            raise
        if doubts:
            await self.leave_only(name, pod.id)
        return pod

    async def named(self, name: str) -> list[Pod]:
        """The pods of that name, oldest first."""
        found = [pod for pod in await self._control.pods() if pod.name == name and pod.status != "TERMINATED"]
        return sorted(found, key=lambda pod: (pod.created_at.timestamp() if pod.created_at else 0.0, pod.id))

    async def leave_only(self, name: str, pod_id: str) -> None:
        """Terminate the doubles of a pod; where that fails, the sweep knows them by their name."""
        try:
            doubles = [pod.id for pod in await self.named(name) if pod.id != pod_id]
        except BackendUnavailable as error:
            _log.warning("Whether %s has doubles is not known: %s", name, error.message)
            return
        for double in doubles:
            await self.terminated(double)

    async def terminated(self, pod_id: str) -> bool:
        """Terminate it, if that works now; else the sweep does it later."""
        try:
            await self._control.delete_pod(pod_id)
        except BackendUnavailable as error:
            _log.warning("Pod %s could not be terminated now, the sweep will: %s", pod_id, error.message)
            return False
        return True

    # ---- creating

    def _body(self, name: str, payload: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        wire = json.dumps(payload, separators=(",", ":"))
        if len(wire.encode()) > MAX_REQUEST_BYTES:
            raise InvalidJob(
                f"The request has {len(wire.encode())} bytes; a pod's environment takes {MAX_REQUEST_BYTES}.",
                way_out="Use a smaller data set, or a serverless endpoint (RUNPOD_TRAINING_ENDPOINT_ID).",
            )
        wanted = self._settings
        body: dict[str, Any] = {
            "name": name,
            "image": wanted.image,
            "cloud": wanted.cloud,
            "disk": wanted.disk_gb,
            "ports": [],  # nothing listens: a pod's proxy addresses are public
            "env": {REQUEST_VARIABLE: wire, LIMIT_VARIABLE: f"{limit_s:.0f}"},
        }
        if wanted.data_centers:
            body["dataCenterIds"] = list(wanted.data_centers)
        if wanted.registry:
            body["registry"] = wanted.registry
        if wanted.volume_id:
            body["mounts"] = {"network": [{"volumeId": wanted.volume_id, "path": wanted.volume_path}]}
        return body

    async def _create_somewhere(self, body: Mapping[str, Any], doubts: list[BackendUnavailable]) -> Pod:
        """Try one GPU type after the other, as the specification of `POST /v2/pods` has it."""
        refusals: list[ControlProblem] = []
        for gpu_type in self._settings.gpu_types:
            gpu: dict[str, Any] = {"id": gpu_type, "count": self._settings.gpu_count}
            if self._settings.min_cuda:
                gpu["minCudaVersion"] = self._settings.min_cuda
            try:
                return await self._create({**body, "gpu": gpu}, doubts)
            except ControlProblem as error:
                if not error.certain:
                    raise
                if error.status not in (400, 403):
                    raise _refused(error) from error
                refusals.append(error)
        types = ", ".join(self._settings.gpu_types) or "none (no GPU type is configured)"
        last = refusals[-1].message if refusals else "Nothing was asked."
        if refusals and all(error.status == 403 for error in refusals):
            raise NotSent(f"The key may use none of {types}: {last}", code="forbidden", retry=Retry.FATAL)
        raise InvalidJob(
            f"RunPod places the pod on none of {types}: either no machine is free or the request is wrong. {last}",
            way_out="Add GPU types, or try again later; the same refusal on every type means the request is wrong.",
        )

    async def _create(self, body: Mapping[str, Any], doubts: list[BackendUnavailable]) -> Pod:
        """Create one pod, and no second one: after an answer that is missing, its name is looked for first."""
        for _ in range(CREATES):
            try:
                return await self._control.create_pod(body)
            except (ControlProblem, ControlSilent) as error:
                if isinstance(error, ControlProblem) and error.certain:
                    raise
                doubts.append(error)
            await self._sleep(SETTLE_S)
            if found := await self.named(body["name"]):
                return found[0]
        raise doubts[-1]


def _refused(error: ControlProblem) -> InvalidJob | NotSent:
    """A refusal that holds for every GPU type."""
    if error.status == 422:
        return InvalidJob(error.message, way_out=error.way_out)
    retry = Retry.TRANSIENT if error.status == 429 else Retry.FATAL
    return NotSent(error.message, code=error.code, retry=retry, way_out=error.way_out)
