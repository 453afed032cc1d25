"""The runpod backend with pods: whatever is a pod's goes to `pods`, all else to serverless.

A pod has a name, so whether it was created can be found out; it starts slower and has no time limit but ours. Which of
the two trains is a deployment's choice (RUNPOD_TRAINING_POD_IMAGE); a pod is followed also after it chose otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from resources.gpu.backend import NO_AGES, Diagnosis, Estimate, RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod.backend import TRAINING_S, RunPodBackend
from resources.gpu.backends.runpod.pods import KIND, SWEPT_S, Pods, lifetime_s
from resources.gpu.job import Job

T = TypeVar("T")


@dataclass
class RunPodWithPods(RunPodBackend):
    """Serverless endpoints for pictures; where it `trains_on_pods`, a pod of its own for each attempt of a training.

    `pod_usd_per_s` is the price of the dearest GPU that a pod may get.
    """

    pods: Pods | None = None
    trains_on_pods: bool = True
    pod_usd_per_s: float = 0.0

    def estimate(self, job: Job) -> Estimate:
        """A pod is paid from its creation until it is terminated: at the latest by the sweep, past its own deadline."""
        if not self._on_a_pod(job):
            return super().estimate(job)
        start_s, rate = self.pace().cold_s, self.pod_usd_per_s
        most_s = lifetime_s(self.policy.queue_limit_s, self.policy.training_run_limit_s) + SWEPT_S
        return Estimate(usd=(start_s + TRAINING_S) * rate, most_usd=math.ceil(most_s) * rate, exec_s=TRAINING_S)

    def reaches(self, endpoint: str) -> bool:
        """Pods too."""
        return endpoint == self._address(KIND) or super().reaches(endpoint)

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Of the serverless ones; what a pod lacks, its creation tells before anything is paid."""
        await super().preflight([endpoint for endpoint in endpoints if endpoint != self._address(KIND)])

    async def submit(self, submission: Submission) -> str:
        """Create a pod for a training, queue anything else."""
        if not self._on_a_pod(submission.job):
            return await super().submit(submission)
        return await self._asked(lambda pods: pods.submit(submission))

    async def find(
        self, attempt_id: str, *, fingerprint: str = "", endpoint: str = "", claim: str = "", waited_s: float = 0.0
    ) -> str | None:
        """A pod is found by its name, so that None is certain."""
        if endpoint != self._address(KIND):
            return await super().find(attempt_id, fingerprint=fingerprint, endpoint=endpoint, claim=claim)
        return await self._asked(lambda pods: pods.find(attempt_id, fingerprint, waited_s))

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:
        """Both kinds."""
        on_pods = [remote_id for remote_id in remote_ids if _is_pod(remote_id)]
        if not on_pods:
            return await super().poll(remote_ids, ages_s)
        found = await super().poll([remote_id for remote_id in remote_ids if not _is_pod(remote_id)], ages_s)
        return found | await self._asked(lambda pods: pods.poll(on_pods))

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """Look anew at both kinds."""
        super().hurry([remote_id for remote_id in remote_ids if not _is_pod(remote_id)])
        if self.pods is not None and (on_pods := [remote_id for remote_id in remote_ids if _is_pod(remote_id)]):
            self.pods.hurry(on_pods)

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """From the store, for a pod."""
        if not _is_pod(remote_id):
            return await super().fetch(remote_id)
        return await self._asked(lambda pods: pods.fetch(remote_id))

    async def cancel(self, remote_id: str) -> None:
        """Terminate its pod, or cancel it."""
        if not _is_pod(remote_id):
            return await super().cancel(remote_id)
        return await self._asked(lambda pods: pods.cancel(remote_id))

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:
        """Of its pod, or of its endpoint."""
        if not _is_pod(remote_id):
            return await super().diagnose(remote_id, waited_s)
        return await self._asked(lambda pods: pods.diagnose(remote_id, waited_s))

    @property
    def rents(self) -> str:
        """The address that attempts on pods are stored under."""
        return self._address(KIND)

    async def sweep(self, open_attempts: Mapping[str, str], ended: Callable[[str], bool]) -> list[str]:
        """Pods of attempts that are over, doubles, and pods past their deadline."""
        on_pods = {attempt: remote.split("/")[1] for attempt, remote in open_attempts.items() if _is_pod(remote)}
        unknown = {attempt: "" for attempt, remote in open_attempts.items() if not remote}
        return await self._asked(lambda pods: pods.sweep(on_pods | unknown, ended))

    def _endpoint_id(self, job: Job) -> str:
        return KIND if self._on_a_pod(job) else super()._endpoint_id(job)

    def _on_a_pod(self, job: Job) -> bool:
        return self.trains_on_pods and job.kind == "training" and job.rating == "sfw"

    async def _asked(self, question: Callable[[Pods], Awaitable[T]]) -> T:
        """Asked in the service's loop, which the control client lives in."""
        pods = self.pods
        if pods is None:
            raise ValueError("a backend with pods was put together without them")
        return await self.service.ask(lambda _: question(pods))


def _is_pod(remote_id: str) -> bool:
    return remote_id.startswith(f"{KIND}/")
