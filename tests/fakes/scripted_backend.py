"""A backend in memory whose every answer is scripted: what becomes of each submission, poll by poll.

Belongs here: the timeline of a remote service, and counts of what reached it. It keeps the whole protocol of
`resources.gpu.backend`, so the contract suite runs over it as over the real ones; what an assertion is about is the
test's business.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resources.gpu.backend import (
    NO_AGES,
    Diagnosis,
    Estimate,
    Pace,
    RemoteOutput,
    RemoteState,
    RemoteStatus,
    Submission,
)
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, NotSent, OutcomeUnknown, Retry
from resources.gpu.job import Job, OutputSpec

USD = 0.01  # what an attempt costs unless its script says otherwise
MOST_USD = 0.05  # the most that it can cost
Arrival = Literal["arrives", "lost on the way", "arrives unanswered", "arrives unseen", "refused", "not sent", "stuck"]
Damage = Literal["none", "blank", "wrong size", "truncated", "extra", "double", "missing", "gone"]


@dataclass(frozen=True)
class Script:
    """One attempt's fate: how its submission goes, a state for each poll (the last one stays), what it returns."""

    states: tuple[RemoteState, ...] = ("queued", "running", "succeeded")
    arrival: Arrival = "arrives"
    damage: Damage = "none"
    exec_s: float = 2.0
    cost_usd: float | None = USD  # None: the service cannot say
    error: str = ""
    error_code: str = ""
    retry: str = ""  # transient, elsewhere, permanent, fatal; empty: the error's own
    submit_s: float = 0.0  # how long the submission takes
    verdict: Diagnosis | None = None  # what the diagnosis says; None: that no worker has room


@dataclass
class Remote:
    """One job as the service sees it."""

    submission: Submission
    script: Script
    polls: int = 0
    cancelled: bool = False
    forgotten: bool = False

    def state(self) -> RemoteState:
        """The state that the next poll reports; an end is an end, whatever is cancelled later."""
        now = self.script.states[min(self.polls, len(self.script.states) - 1)]
        return "cancelled" if self.cancelled and now in ("queued", "running") else now


@dataclass
class ScriptedBackend:
    """Plays `scripts`, one a submission, the last one again and again. Safe for several threads."""

    scripts: list[Script] = field(default_factory=lambda: [Script()])
    name: str = "scripted"
    endpoint: str = "memory"
    others: tuple[str, ...] = ()  # more endpoints, each for when those before it were tried
    render_domain: Literal["preview", "model"] = "model"
    self_run: bool = True
    workers: int = 2
    invalid: frozenset[str] = frozenset()  # labels of jobs that `problems` refuses
    lacks: frozenset[str] = frozenset()  # node classes of graphs that it refuses
    most_usd: float = MOST_USD
    unreachable: bool = False  # every question but submit raises BackendUnavailable
    on_submit: Callable[[], None] = lambda: None  # what happens in between, before the answer

    def __post_init__(self) -> None:
        self.remotes: dict[str, Remote] = {}
        self.submitted: Counter[str] = Counter()  # fingerprint -> submissions that arrived
        self.sent: list[str] = []  # labels of the jobs that `submit` was called for, in order
        self.cancels: list[str] = []
        self.discarded: list[str] = []
        self.fetches: list[str] = []
        self.diagnoses: list[str] = []
        self.hurried: list[str] = []
        self.leftovers: dict[str, str] = {}  # fingerprint -> remote id of a result that can be fetched
        self.preflights: list[list[str]] = []
        self.closed: dict[str, BackendUnavailable] = {}  # endpoint -> what its preflight raises
        self._lock = threading.Lock()

    def pace(self) -> Pace:
        """A second a picture."""
        return Pace(image_s=1.0, shared_s=0.0, cold_s=0.0)

    def profile(self, job: Job) -> str:
        """Nothing but the job determines these pictures."""
        return f"{self.name}/1/{job.kind}"

    def model_files(self) -> dict[str, frozenset[str]]:
        """One of each that a workflow may name."""
        return {"loras": frozenset({"character.safetensors"})}

    def problems(self, job: Job) -> list[dict[str, Any]]:
        """One problem in ComfyUI's shape for a job that is named in `invalid`, or whose graph has what it `lacks`."""
        classes = {node.get("class_type") for node in job.request.values()} if job.kind == "image" else set()
        if job.label not in self.invalid and not classes & self.lacks:
            return []
        return [{"node_id": "7", "class_type": "X", "type": "value_not_in_list", "message": "no", "details": "such"}]

    def estimate(self, job: Job) -> Estimate:
        """The same for every job."""
        return Estimate(usd=min(USD, self.most_usd), most_usd=self.most_usd, exec_s=2.0)

    def endpoint_for(self, job: Job, tried: Sequence[str] = ()) -> str:
        """The first that was not tried; the first of all when every one was."""
        every = (self.endpoint, *self.others)
        return next((endpoint for endpoint in every if endpoint not in tried), every[0])

    def reaches(self, endpoint: str) -> bool:
        """Its own, and no other."""
        return endpoint in (self.endpoint, *self.others)

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Recorded; a closed endpoint refuses."""
        self.preflights.append(list(endpoints))
        for endpoint in endpoints:
            if endpoint in self.closed:
                raise self.closed[endpoint]

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """Recorded."""
        self.hurried += remote_ids

    async def submit(self, submission: Submission) -> str:
        """Play the next script's arrival."""
        with self._lock:
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            self.sent.append(submission.job.label)
        for item in submission.job.inputs:
            submission.load(item)
        await asyncio.sleep(script.submit_s)
        if script.arrival == "lost on the way":
            raise ConnectionError("connection refused")
        if script.arrival == "refused":
            raise InvalidJob("the server says no")
        if script.arrival == "not sent":
            raise NotSent("401: the key is wrong", retry=Retry(script.retry or "transient"))
        with self._lock:
            self.remotes[self._remote_id(submission.attempt_id)] = Remote(submission, script)
            self.submitted[submission.fingerprint] += 1
        self.on_submit()
        if script.arrival in ("arrives unanswered", "arrives unseen"):
            raise TimeoutError("no answer")
        if script.arrival == "stuck":
            await asyncio.sleep(3600)
        return self._remote_id(submission.attempt_id)

    async def find(self, attempt_id: str, *, claim: str = "", **_: object) -> str | None:
        """The remote id of an attempt that arrived; nobody sees one that arrived unseen, unless its id is claimed."""
        self._reach()
        remote_id = self._remote_id(attempt_id)
        remote = self.remotes.get(remote_id)
        if remote is not None and remote.script.arrival == "arrives unseen" and claim != remote_id:
            raise OutcomeUnknown(f"{attempt_id} cannot be looked up.")
        return remote_id if remote_id in self.remotes else None

    async def left(self, fingerprint: str, endpoint: str) -> str | None:
        """What an attempt that was given up for lost had made all the same, where a test says so."""
        self._reach()
        return self.leftovers.get(fingerprint)

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:
        """Each job's next state."""
        self._reach()
        with self._lock:
            return {remote_id: self._status(remote_id) for remote_id in remote_ids}

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """Pictures as the job's outputs ask for them, damaged as the script says."""
        self._reach()
        self.fetches.append(remote_id)
        remote = self.remotes.get(remote_id)
        if remote is None or remote.forgotten or remote.script.damage == "gone":
            raise JobLost(f"the output of {remote_id} is gone")
        job = remote.submission.job
        return damaged(remote.script.damage, [_output(job, spec) for spec in job.outputs])

    async def discard(self, remote_id: str) -> None:
        """Recorded."""
        self.discarded.append(remote_id)

    async def cancel(self, remote_id: str) -> None:
        """Recorded; a job that ended stays as it ended."""
        self._reach()
        self.cancels.append(remote_id)
        if remote_id in self.remotes:
            self.remotes[remote_id].cancelled = True

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:
        """One sentence."""
        self._reach()
        self.diagnoses.append(remote_id)
        remote = self.remotes.get(remote_id)
        told = remote.script.verdict if remote else None
        return told or Diagnosis("no_room", f"{remote_id}: no worker has room.")

    def _remote_id(self, attempt_id: str) -> str:
        return f"r-{attempt_id}"

    def _reach(self) -> None:
        if self.unreachable:
            raise BackendUnavailable("connection refused")

    def _status(self, remote_id: str) -> RemoteStatus:
        remote = self.remotes.get(remote_id)
        if remote is None or remote.forgotten:
            return RemoteStatus("lost", error_code="unknown_job", error="never heard of it")
        state, script = remote.state(), remote.script
        remote.polls += 1
        if state in ("queued", "running"):
            return RemoteStatus(state, progress=0.5 if state == "running" else 0.0)
        failed = state != "succeeded"
        return RemoteStatus(
            state,
            queue_s=0.25,
            cold_s=0.5,
            exec_s=script.exec_s,
            cost_usd=script.cost_usd,
            progress=1.0,
            error=(script.error or f"it {state}") if failed else "",
            error_code=script.error_code if failed else "",
            detail={"retry": script.retry} if script.retry else {},
        )


def picture(width: int, height: int, *, seed: int = 0) -> bytes:
    """A PNG of noise: readable, of that size, not blank."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return png(Image.fromarray(pixels))


def png(image: Any) -> bytes:
    """A picture's bytes as a plain PNG."""
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def lora(base_model: str, steps: int) -> bytes:
    """A small LoRA file as a trainer leaves it after `steps` steps."""
    import json

    import numpy as np
    from safetensors.numpy import save

    layer = {"flux-dev": "transformer.transformer_blocks", "zimage-turbo": "diffusion_model.layers"}[base_model]
    pair = {f"{layer}.0.attn.to_q.lora_{half}.weight": np.full((4, 4), 0.5, np.float16) for half in "AB"}
    return save(pair, {"training_info": json.dumps({"step": steps, "epoch": 1})})


def _output(job: Job, spec: OutputSpec) -> RemoteOutput:
    if spec.media == "lora":
        return RemoteOutput(f"{spec.name}.safetensors", lora(job.request["base_model"], job.request["steps"]))
    seed = sum(spec.name.encode())
    return RemoteOutput(f"{spec.name}_00001_.png", picture(spec.width, spec.height, seed=seed))


def damaged(damage: Damage, outputs: list[RemoteOutput]) -> list[RemoteOutput]:
    """The outputs with that damage done to the first of them."""
    from PIL import Image

    first = outputs[0]
    if damage == "blank":
        return [replace(first, data=png(Image.new("RGB", Image.open(io.BytesIO(first.data)).size))), *outputs[1:]]
    if damage == "wrong size":
        return [replace(first, data=picture(48, 40)), *outputs[1:]]
    if damage == "truncated":
        return [replace(first, data=first.data[: len(first.data) // 2]), *outputs[1:]]
    if damage == "extra":
        return [*outputs, RemoteOutput("surprise_00001_.png", first.data)]
    if damage == "double":
        return [*outputs, RemoteOutput(first.name.replace("_00001_", "_00002_"), first.data)]
    if damage == "missing":
        return outputs[1:]
    return outputs
