"""The protocol that every backend speaks: submit, find, poll many, fetch, cancel, diagnose.

A backend moves bytes and tells the truth about remote state. It keeps no books: ledger, money, leases and retries
are the runner's, and the runner is the only caller of `submit`. All but `submit` may raise BackendUnavailable: then
nothing is known, nothing is concluded, and the question is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from resources.gpu.job import InputFile, Job

RemoteState = Literal["queued", "running", "succeeded", "failed", "cancelled", "lost"]


@dataclass(frozen=True)
class Submission:
    """What is sent for one attempt. `load` reads an input's bytes from the store."""

    attempt_id: str
    fingerprint: str
    job: Job
    load: Callable[[InputFile], bytes]


@dataclass(frozen=True)
class RemoteStatus:
    """What the backend says about one remote job; times in seconds, money in USD."""

    state: RemoteState
    queue_s: float = 0.0
    cold_s: float = 0.0
    exec_s: float = 0.0
    cost_usd: float = 0.0
    progress: float = 0.0  # 0..1
    error_code: str = ""
    error: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteOutput:
    """One returned file, untrusted: `name` matches an OutputSpec."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Estimate:
    """What a job should cost and take, and the most that it can cost."""

    usd: float
    most_usd: float
    exec_s: float


@dataclass(frozen=True)
class Pace:
    """What a planner may expect of one worker; seconds, bytes. An expectation, never a promise or a target."""

    image_s: float
    shared_s: float  # once a graph: loading models, analysing the reference face
    cold_s: float  # until a new worker takes its first graph
    max_result_bytes: int | None = None  # what one job may return


class Backend(Protocol):
    """Where jobs run."""

    name: str  # preview, comfyui, runpod
    endpoint: str  # which one of its kind; stored with the attempt
    render_domain: Literal["preview", "model"]  # procedural pictures, or a model's
    self_run: bool  # on machines that the deployment runs itself, under its own rules
    workers: int  # how many jobs it works on at once

    def pace(self) -> Pace:
        """How fast a worker is, for deciding how many graphs a stage becomes."""

    def profile(self, job: Job) -> str:
        """What determines pixels besides the job itself; goes into the fingerprint."""

    def model_files(self) -> dict[str, frozenset[str]]:
        """Folder -> names of the model files that it has."""

    def problems(self, job: Job) -> list[dict[str, Any]]:
        """What the backend would refuse about `job`, in ComfyUI's error shape; empty if it would take it."""

    def estimate(self, job: Job) -> Estimate:
        """Cost and time of one attempt."""

    async def submit(self, submission: Submission) -> str:
        """Load every input, then send it and return the remote id.

        Any error but InvalidJob, and a missing input's, leaves the outcome unknown.
        """

    async def find(self, attempt_id: str) -> str | None:
        """The remote id of an attempt whose submission's outcome is unknown; None: it certainly never arrived."""

    async def poll(self, remote_ids: Sequence[str]) -> dict[str, RemoteStatus]:
        """The state of each remote job; one that the backend does not know is `lost`."""

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The files of a succeeded job. Raises JobLost if they are gone."""

    async def cancel(self, remote_id: str) -> None:
        """Stop it; no error if it ended already."""

    async def diagnose(self, remote_id: str) -> str:
        """Why it does not move, in one sentence with its evidence."""
