"""One attempt on one pod: created, followed, stopped, and paid for by the hour until it is gone.

Belongs here: pods that carry our name. The pod's image is our own worker: it gets the wire request in its environment,
leaves its result in the store, and is terminated as soon as that lies there. Nothing is concluded from a pod alone: the
store is asked first. A pod that we did not name is never touched. How one is created is `pod_launch`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from resources.gpu.backend import Diagnosis, RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod import ids
from resources.gpu.backends.runpod.ids import NEVER_LEARNED, RemoteId
from resources.gpu.backends.runpod.ours import OurContract
from resources.gpu.backends.runpod.pod_launch import Launcher, PodSettings
from resources.gpu.backends.runpod.pod_memory import PodMemory
from resources.gpu.backends.runpod.states import failed
from resources.gpu.errors import BackendUnavailable, JobLost, OutcomeUnknown
from resources.runpod.answers import Pod
from resources.runpod_control import ControlClient
from resources.storage import StorageError
from workflows.errors import WireError
from workflows.wire import WireFailure, parse_failure

KIND = ids.POD  # first part of a remote id: pod/<pod id>/<fingerprint>
PREFIX = "ryla-"
MARGIN_S = 60.0  # between the runner's deadlines and the pod's own
SWEPT_S = 120.0  # after its deadline: the sweep looks every minute, where the daemon runs
SURE_S = 60.0  # a name that is not listed for so long was never created
LOOK_S = 10.0  # how old a status may be: the control plane takes 60 requests a minute
_NAME = re.compile(rf"{PREFIX}([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})")
_ENDED = ("EXITED", "ERROR", "TERMINATED")
_OPEN = ("queued", "running")


class Pods:
    """Pods for jobs; the shape of a backend, for remote ids that begin with `pod/`.

    `memory` is what the process knows of pods; `list_usd_h` the list price of a GPU type, in USD an hour.
    """

    def __init__(
        self,
        control: ControlClient,
        contract: OurContract,
        settings: PodSettings,
        *,
        memory: PodMemory | None = None,
        list_usd_h: Callable[[str], float | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._control = control
        self._contract = contract
        self._launcher = Launcher(control, settings, sleep)
        self._clock = clock
        self._list_usd_h = list_usd_h
        self.memory = memory or PodMemory()

    # ---- the shape of a backend

    async def submit(self, submission: Submission) -> str:
        """Create the attempt's pod and return its remote id. Raises as `launch` does, ObjectMissing for an input."""
        payload = await asyncio.to_thread(self._contract.payload, submission)
        limit_s = lifetime_s(submission.queue_limit_s, submission.run_limit_s)
        before = self._clock()
        pod = await self._launcher.launch(PREFIX + submission.attempt_id, payload, limit_s)
        self._note(pod)
        self.memory.seen[pod.id].born = before
        return str(RemoteId(KIND, pod.id, submission.fingerprint))

    async def find(self, attempt_id: str, fingerprint: str, waited_s: float) -> str | None:
        """The remote id of an attempt whose create is in doubt; None once it is sure that there is none.

        Raises OutcomeUnknown until the create has been in doubt for SURE_S.
        """
        name = PREFIX + attempt_id
        if pods := await self._launcher.named(name):
            await self._launcher.leave_only(name, pods[0].id)
            return str(RemoteId(KIND, pods[0].id, fingerprint))
        gone = RemoteId(KIND, NEVER_LEARNED, fingerprint)
        if await asyncio.to_thread(self._contract.stored, gone, attempt_id) is not None:
            return str(gone)
        if waited_s < SURE_S:
            raise OutcomeUnknown(f"No pod is named {name} yet, after {waited_s:.0f} of {SURE_S:.0f} s.")
        return None

    async def poll(self, remote_ids: Sequence[str]) -> dict[str, RemoteStatus]:
        """The state of each, at most LOOK_S old: one request for all of them."""
        return {remote_id: await self.status(remote_id) for remote_id in remote_ids}

    async def status(self, remote_id: str) -> RemoteStatus:
        """The state of one; a pod that has done its work, or is past its deadline, is terminated."""
        at, known = self.memory.looks.get(remote_id, (0.0, None))
        if known is not None and (known.state not in _OPEN or self._clock() - at < LOOK_S):
            return known
        known = await self._look(_parsed(remote_id))
        self.memory.looks[remote_id] = (self._clock(), known)
        return known

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """Look anew at the next question."""
        self.memory.hurried = self._clock()
        for remote_id in remote_ids:
            if remote_id in self.memory.looks and self.memory.looks[remote_id][1].state in _OPEN:
                del self.memory.looks[remote_id]

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The files of a succeeded job. Raises JobLost if they are gone, OutputRejected if they are others."""
        return await self._contract.outputs(None, _parsed(remote_id))

    async def cancel(self, remote_id: str) -> None:
        """Terminate its pod; no error if it is gone already."""
        job = _parsed(remote_id)
        if job.job != NEVER_LEARNED:
            await self._control.delete_pod(job.job)
            self.memory.cancelled.add(job.job)
        self.hurry([remote_id])

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:
        """Why its pod does not work yet."""
        job = _parsed(remote_id)
        try:
            pod = await self._control.pod(job.job)
        except BackendUnavailable as error:
            text = f"Why pod {job.job} does not work after {waited_s:.0f} s is unknown: {error.message}"
            return Diagnosis("unknown", text, next_command="ryla doctor.", evidence={"pod": job.job})
        state = pod.status if pod else "gone"
        text = f"Pod {job.job} is {state} after {waited_s:.0f} s"
        evidence = {"pod": job.job, "status": state, "gpu_type": pod.gpu_type if pod else ""}
        if pod is None or state in _ENDED:
            return Diagnosis("pod_ended", f"{text}.", True, "Read its logs in the RunPod console (Pods).", evidence)
        return Diagnosis(
            "pod_starting", f"{text}: its image is pulled and started.", False, "ryla jobs list.", evidence
        )

    # ---- upkeep

    async def ours(self) -> list[tuple[str, Pod]]:
        """Attempt id and pod of every pod that carries our name; anybody may, so the ledger has the last word."""
        named = [(_NAME.fullmatch(pod.name), pod) for pod in await self._control.pods()]
        return [(match[1], pod) for match, pod in named if match and pod.status != "TERMINATED"]

    async def sweep(self, open_pods: Mapping[str, str], ended: Callable[[str], bool]) -> list[str]:
        """Terminate what nobody waits for, and return the ids of those pods.

        `open_pods`: attempt id -> pod id ("" where unknown) of the open attempts; `ended` says of an attempt that our
        ledger knows it, and that it is over. A pod whose attempt neither knows belongs to another deployment.
        """
        gone = []
        for attempt_id, pod in await self.ours():
            known = open_pods.get(attempt_id)
            doubled = bool(known) and known != pod.id
            unwanted = ended(attempt_id) if known is None else doubled or self._overdue(pod)
            if unwanted and await self._launcher.terminated(pod.id):
                gone.append(pod.id)
        return gone

    # ---- following

    async def _look(self, job: RemoteId) -> RemoteStatus:
        pod = None if job.job == NEVER_LEARNED else await self._pod(job.job)
        alive = pod is not None and pod.status not in _ENDED and not self._overdue(pod)
        if pod is not None and alive and pod.status != "RUNNING":
            return self._known(pod.id, "queued")
        stored = await asyncio.to_thread(self._contract.stored, job)
        if pod is not None and alive and stored is None:
            return self._known(pod.id, "running", exec_s=float(pod.uptime_s or 0))
        over = True
        if pod is not None and pod.status != "TERMINATED":  # ended, done or overdue: its disk bills even so
            over = await self._launcher.terminated(pod.id)  # before it is priced: it costs until then
        if stored is not None:
            status = self._priced(job.job, stored)
        else:
            status = self._failed(job.job, pod, await asyncio.to_thread(self._failure, job.fingerprint))
        return status if over else replace(status, cost_usd=None)  # until it is swept: by its deadline, at the most

    async def _pod(self, pod_id: str) -> Pod | None:
        """The pod as the shared list has it; one that is not listed is asked for, and may be too new for both."""
        max_age_s = min(LOOK_S, self._clock() - self.memory.hurried)
        listed = next((pod for pod in await self._control.pods(max_age_s=max_age_s) if pod.id == pod_id), None)
        pod = listed or await self._control.pod(pod_id)
        seen = self.memory.seen.get(pod_id)
        if pod is not None:
            self._note(pod)
        elif seen is not None and pod_id not in self.memory.cancelled and self._clock() - seen.since < SURE_S:
            return Pod(pod_id, "", "PROVISIONING", created_at=seen.created_at)
        return pod

    def _failure(self, fingerprint: str) -> WireFailure | None:
        """Why the pod's worker gave up, which it leaves where its result would lie."""
        try:
            raw = self._contract.store.result(fingerprint)
            return parse_failure(raw) if raw is not None else None
        except (StorageError, WireError):
            return None

    def _known(self, pod_id: str, state: Literal["queued", "running"], exec_s: float = 0.0) -> RemoteStatus:
        queue_s = max(0.0, (self._age_s(pod_id) or 0.0) - exec_s)
        return RemoteStatus(state, queue_s=queue_s, exec_s=exec_s, cost_usd=self._cost(pod_id), worker=pod_id)

    def _priced(self, pod_id: str, stored: RemoteStatus) -> RemoteStatus:
        """What the store tells, with what the pod cost; loading is a share of that."""
        cost, seen = self._cost(pod_id), self.memory.seen.get(pod_id)
        cold_usd = min(cost or 0.0, stored.cold_s * (seen.usd_h or seen.list_usd_h if seen else 0.0) / 3600)
        worker = "" if pod_id == NEVER_LEARNED else pod_id
        return replace(stored, cost_usd=cost, cold_usd=cold_usd, worker=worker)

    def _failed(self, pod_id: str, pod: Pod | None, failure: WireFailure | None) -> RemoteStatus:
        """What became of an attempt without a result, whose pod has ended, is to be ended, or is gone."""
        known = RemoteStatus("failed", cost_usd=self._cost(pod_id), worker="" if pod_id == NEVER_LEARNED else pod_id)
        if failure is not None:
            return failed(known, failure.code, failure.message, failure.retry)
        if pod_id in self.memory.cancelled:
            return replace(known, state="cancelled", error_code="cancelled", error=f"pod {pod_id} was terminated")
        if pod is None or pod.status == "TERMINATED":
            text = f"pod {pod_id} is gone, and no result lies in the store"
            return replace(known, state="lost", error_code="pod_gone", error=text)
        if pod.status not in _ENDED:
            text = f"pod {pod_id} was {pod.status} past its deadline of {pod.limit_s:.0f} s and is terminated"
            return failed(known, "pod_deadline", text, "elsewhere")
        text = f"pod {pod_id} is {pod.status}, and no result lies in the store: read its logs in the RunPod console"
        return failed(known, f"pod_{pod.status.lower()}", text, "transient" if pod.status == "EXITED" else "elsewhere")

    # ---- time and money

    def _note(self, pod: Pod) -> None:
        self.memory.note(pod, self._clock(), self._list_usd_h(pod.gpu_type))

    def _age_s(self, pod_id: str) -> float | None:
        return self.memory.age_s(pod_id, self._clock(), self._control.far_time())

    def _cost(self, pod_id: str) -> float | None:
        return self.memory.cost_usd(pod_id, self._age_s(pod_id))

    def _overdue(self, pod: Pod) -> bool:
        """True if it is older than it was meant to become."""
        self._note(pod)
        age_s = self._age_s(pod.id) or 0.0
        return pod.limit_s is not None and pod.status not in _ENDED and age_s > pod.limit_s


def lifetime_s(queue_limit_s: float, run_limit_s: float) -> float:
    """The age at which a pod must be gone, for an attempt with these deadlines."""
    return queue_limit_s + run_limit_s + MARGIN_S


def _parsed(remote_id: str) -> RemoteId:
    job = ids.parse(remote_id)
    if job is None or job.endpoint != KIND:
        raise JobLost(f"{remote_id!r} names no pod: pod/<id>/<fingerprint> does.")
    return job
