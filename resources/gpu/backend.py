"""The protocol that every backend speaks: preflight, submit, find, poll many, fetch, cancel, diagnose.

A backend moves bytes and tells the truth about remote state. It keeps no books: ledger, money, leases and retries
are the runner's, and the runner is the only caller of `submit`. All but `submit` may raise BackendUnavailable: then
nothing is known, nothing is concluded, and the question is asked again.

A remote id is the backend's own word, opaque to everybody else and at most 200 characters long: with it alone another
process on another machine finds the job, its endpoint and its stored result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from resources.gpu.job import InputFile, Job

RemoteState = Literal["queued", "running", "succeeded", "failed", "cancelled", "lost"]
NO_AGES: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Submission:
    """What is sent for one attempt. `load` reads an input's bytes from the store."""

    attempt_id: str
    fingerprint: str
    job: Job
    load: Callable[[InputFile], bytes]
    endpoint: str = ""  # as `endpoint_for` chose it
    queue_limit_s: float = 900.0  # the runner's deadlines: a backend that can makes the far side keep them too
    run_limit_s: float = 1800.0
    webhook: str = ""  # URL to be told that the job moved; empty: nobody listens


@dataclass(frozen=True)
class RemoteStatus:
    """What the backend says about one remote job; times in seconds, money in USD.

    `cost_usd` is all that the attempt cost, `cold_usd` and `idle_usd` the shares of it that went into starting a worker
    and into keeping it warm afterwards. None: nobody can say, so the most that it can cost is booked.
    """

    state: RemoteState
    queue_s: float = 0.0
    cold_s: float = 0.0
    exec_s: float = 0.0
    cost_usd: float | None = 0.0
    cold_usd: float = 0.0
    idle_usd: float = 0.0
    worker: str = ""  # which one worked on it, where that is known
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


@dataclass(frozen=True)
class Diagnosis:
    """Why a job does not move: a word for programs, a sentence with its evidence for people.

    `hopeless`: no worker will come by itself, however long one waits. `next_command` is what a person may run next.
    """

    code: str
    text: str
    hopeless: bool = False
    next_command: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


class Backend(Protocol):
    """Where jobs run."""

    name: str  # preview, comfyui, runpod
    endpoint: str  # which one of its kind, in words: an address without secrets
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

    def endpoint_for(self, job: Job, tried: Sequence[str] = ()) -> str:
        """Where this job would be sent, at most 200 characters; stored with the attempt before it is.

        `tried` are the endpoints that failed it just now: where there is another one, and policy says so, it is chosen.
        """

    def reaches(self, endpoint: str) -> bool:
        """True if an attempt that was sent to `endpoint` can be followed, fetched and cancelled from here."""

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Ask, before anything is paid, whether work sent there can run at all.

        Raises BackendUnavailable (FATAL where only a person can help) naming the reason and the next command.
        """

    async def submit(self, submission: Submission) -> str:
        """Load every input, then send it and return the remote id.

        Any error but InvalidJob, NotSent, and a missing input's, leaves the outcome unknown.
        """

    async def find(
        self, attempt_id: str, *, fingerprint: str = "", endpoint: str = "", claim: str = "", waited_s: float = 0.0
    ) -> str | None:
        """The remote id of an attempt whose submission's outcome is unknown; None: it certainly never arrived.

        `claim` is the id that a webhook named, which anybody may have sent: it is verified, never believed. `waited_s`:
        for how long the outcome has been unknown. Raises OutcomeUnknown where the far side cannot tell; then time, or
        a budget, decides.
        """

    async def left(self, fingerprint: str, endpoint: str) -> str | None:
        """The remote id of a result that an earlier attempt at the same job left, and that `fetch` would find.

        So what was paid for and thought lost is taken before anything is sent again; None where nothing is left.
        """

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:
        """The state of each remote job; one that the backend does not know is `lost`.

        `ages_s`: remote id -> seconds since it was about to be submitted, which another process may have done.
        """

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """Somebody says that these moved: ask the far side about them at the next poll, however recently it was."""

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The files of a succeeded job. Raises JobLost if they are gone."""

    async def discard(self, remote_id: str) -> None:
        """Forget what it made: it was refused, or lies in our store by now, and no later attempt may get it back."""

    async def cancel(self, remote_id: str) -> None:
        """Stop it; no error if it ended already."""

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:
        """Why it does not move, after so many seconds in its state."""


@runtime_checkable
class Renter(Protocol):
    """A backend that rents machines for single attempts; one without `sweep` has nothing to give back."""

    @property
    def rents(self) -> str:
        """The endpoint that attempts on such machines are stored under."""

    async def sweep(self, open_attempts: Mapping[str, str], ended: Callable[[str], bool]) -> list[str]:
        """Remove machines that were rented for one attempt and outlived it; returns their ids.

        `open_attempts`: attempt id -> remote id ("" where unknown); `ended` is true of an attempt that the ledger knows
        and that is over. What neither of them knows is somebody else's, and is never touched.
        """


class OneEndpoint:
    """What the protocol asks of a backend with several endpoints, answered for one that has a single one."""

    endpoint: str

    def endpoint_for(self, job: Job, tried: Sequence[str] = ()) -> str:  # noqa: ARG002
        """The only one."""
        return self.endpoint

    def reaches(self, endpoint: str) -> bool:
        """That one, and no other."""
        return endpoint == self.endpoint

    async def preflight(self, endpoints: Sequence[str]) -> None:
        """Nothing is known before it is asked to work."""

    def hurry(self, remote_ids: Sequence[str]) -> None:
        """It is asked anew at every poll."""

    async def left(self, fingerprint: str, endpoint: str) -> str | None:  # noqa: ARG002
        """Each attempt works anew, and what it made is found by its own id."""
        return None

    async def discard(self, remote_id: str) -> None:
        """Each attempt works anew."""
