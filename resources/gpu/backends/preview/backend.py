"""The preview backend: our workflows executed by a small interpreter whose nodes draw, with no model and no GPU.

It behaves like a remote service: it validates as ComfyUI does, works in detached processes, charges a nominal price,
and refuses what it cannot know. Its pictures are procedural and say so; its timings are not evidence of anything.
The drawing itself is in `interpreter` and `render`, and runs in `worker` only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from resources.gpu.backend import (
    NO_AGES,
    Diagnosis,
    Estimate,
    OneEndpoint,
    Pace,
    RemoteOutput,
    RemoteStatus,
    Submission,
)
from resources.gpu.backends.preview.spool import Spool
from resources.gpu.errors import BackendUnavailable, JobLost
from resources.gpu.job import Job, canonical
from workflows import models, schema

ENGINE_VERSION = "1"  # raise it when the renderer draws other pixels for the same job
USD_PER_IMAGE = 0.0001  # nominal: about one second of worker.USD_PER_S
IDLE_S = 20.0
_ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a worker is one core


def default_workers() -> int:
    """One worker a core, at most four."""
    return max(1, min(4, os.cpu_count() or 1))


@dataclass
class PreviewBackend(OneEndpoint):
    """Runs jobs in detached local workers. `lexicon` tells the renderer what our prompts' words mean."""

    home: Path
    lexicon: Mapping[str, Any]
    files: Mapping[str, frozenset[str]] | None = None  # model files "on the volume"; None: all of models.yaml
    workers: int = field(default_factory=default_workers)
    idle_s: float = IDLE_S
    name: str = "preview"
    render_domain: Literal["preview", "model"] = "preview"
    self_run: bool = True

    def __post_init__(self) -> None:
        self.spool = Spool(self.home)
        self.spool.prepare()
        self.endpoint = "embedded"

    def pace(self) -> Pace:
        """Measured on one core: 0.65 s a 512 px picture, 0.5 s until a new worker draws (docs/benchmarks.md)."""
        return Pace(image_s=0.65, shared_s=0.01, cold_s=0.5)

    def profile(self, job: Job) -> str:
        """Engine version and lexicon: another renderer or other words draw other pixels."""
        words = hashlib.sha256(canonical(dict(self.lexicon)).encode()).hexdigest()[:12]
        return f"preview/{ENGINE_VERSION}/{words}" if job.kind == "image" else f"preview/{ENGINE_VERSION}"

    def model_files(self) -> dict[str, frozenset[str]]:
        """Folder -> file names that this backend has."""
        if self.files is not None:
            return dict(self.files)
        found: dict[str, set[str]] = {}
        for file in models.model_files():
            found.setdefault(file.folder, set()).add(file.file)
        return {folder: frozenset(names) for folder, names in found.items()}

    def problems(self, job: Job) -> list[dict[str, Any]]:
        """Validate an image job as a ComfyUI server with these files would."""
        if job.kind != "image":
            return []
        present = {folder: set(names) for folder, names in self.model_files().items()}
        for item in job.inputs:
            present.setdefault(item.folder, set()).add(item.name)
        found = schema.validate(job.request, files=present)
        return [
            {
                "node_id": p.node_id,
                "class_type": p.class_type,
                "type": p.type,
                "message": p.message,
                "details": p.details,
            }
            for p in found
        ]

    def estimate(self, job: Job) -> Estimate:
        """Nominal: one cent per hundred images; a training counts as fifty."""
        usd = USD_PER_IMAGE * (50 if job.kind == "training" else len(job.outputs))
        return Estimate(usd=usd, most_usd=usd * 10, exec_s=float(len(job.outputs)))

    async def submit(self, submission: Submission) -> str:
        """Write inputs, then the request, then make sure that somebody works."""
        job = submission.job
        for item in job.inputs:
            self.spool.put_input(item.sha256, submission.load(item))
        body = {**job.as_dict(), "fingerprint": submission.fingerprint}
        if job.kind == "image":
            body["lexicon"] = dict(self.lexicon)
        self.spool.enqueue(submission.attempt_id, body)
        self._ensure_workers()
        return f"pv-{submission.attempt_id}"

    async def find(self, attempt_id: str, **_: object) -> str | None:
        """The spool knows every attempt that arrived, so None is certain."""
        return f"pv-{attempt_id}" if self.spool.where(attempt_id) else None

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:  # noqa: ARG002
        """Read each job's file; dead workers are noticed and replaced here."""
        statuses = {remote_id: self._status(remote_id.removeprefix("pv-")) for remote_id in remote_ids}
        if any(status.state in ("queued", "running") for status in statuses.values()):
            self.spool.reap()
            self._ensure_workers()
        return statuses

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The drawn files. Raises JobLost if the spool has them no longer."""
        try:
            return [RemoteOutput(name, data) for name, data in self.spool.outputs(remote_id.removeprefix("pv-"))]
        except FileNotFoundError as error:
            raise JobLost(f"The preview spool no longer has the output of {remote_id} ({error.filename}).") from error

    async def cancel(self, remote_id: str) -> None:
        """Take it out of the queue, or stop it after the picture it is drawing."""
        self.spool.cancel(remote_id.removeprefix("pv-"))

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:  # noqa: ARG002
        """How many wait, how many workers live."""
        alive = self.workers - len(self.spool.free_slots(self.workers))
        state = self.spool.where(remote_id.removeprefix("pv-")) or "unknown"
        waiting = self.spool.waiting()
        return Diagnosis(
            code=state,
            text=f"Preview job {remote_id} is {state}; {waiting} jobs wait or run, "
            f"{alive} of {self.workers} workers live; their log is {self.home / 'worker.log'}.",
            evidence={"waiting": waiting, "alive": alive, "workers": self.workers},
        )

    def executions(self) -> Counter[str]:
        """Executions per fingerprint, as the workers counted them."""
        return self.spool.executions()

    def _status(self, attempt_id: str) -> RemoteStatus:
        for _ in range(3):  # the job may move between the two reads
            state = self.spool.where(attempt_id)
            if state is None:
                return RemoteStatus("lost", error="the preview spool does not know this job", error_code="unknown_job")
            if state == "queue":
                return RemoteStatus("queued")
            if state == "running":
                return RemoteStatus("running", progress=self.spool.progress(attempt_id))
            body = self.spool.read("done", attempt_id)
            if body is not None:
                return RemoteStatus(
                    body["state"],
                    queue_s=body.get("queue_s", 0.0),
                    cold_s=body.get("cold_s", 0.0),
                    exec_s=body.get("exec_s", 0.0),
                    cost_usd=body.get("cost_usd", 0.0),
                    progress=1.0,
                    error_code=body.get("error_code", ""),
                    error=body.get("error", ""),
                    detail=body.get("detail", {}),
                )
        return RemoteStatus("running")

    def _ensure_workers(self) -> None:
        free = self.spool.free_slots(self.workers)
        wanted = min(self.workers, self.spool.waiting())
        for slot in free[: max(0, wanted - (self.workers - len(free)))]:
            self._spawn(slot)

    def _spawn(self, slot: int) -> None:
        """Start a worker that inherits the slot, taken here: while it starts up, nobody starts another."""
        handle = self.spool.hold(slot)
        if handle is None:
            return  # somebody else was faster
        command = [sys.executable, "-m", __package__ + ".worker"]
        command += [str(self.home.resolve()), str(slot), str(self.idle_s), str(handle)]
        try:
            with (self.home / "worker.log").open("a") as log:
                process = subprocess.Popen(  # noqa: S603  our own module, our own arguments
                    command,
                    cwd=Path(__file__).resolve().parents[4],
                    env={**os.environ, **_ONE_CORE},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(handle,),
                )
        except OSError as error:
            raise BackendUnavailable(f"The preview worker cannot be started: {error}.") from error
        finally:
            os.close(handle)
        threading.Thread(target=process.wait, daemon=True).start()  # it may outlive us; if not, it leaves no zombie
