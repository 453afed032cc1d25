"""What the fake remembers: jobs, their runs, workers, and what it accepted.

Belongs here: plain records and what can be said from one of them alone. Who moves them is in pool and execution.
# runpod facts 1 [doc]; scripts play its cases, facts 7 [issue]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.fake_runpod.clock import Event
from tests.fakes.fake_runpod.config import ASYNC_KEPT_S, SYNC_KEPT_S

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
NOTHING: Any = object()  # told apart from None, which a handler may return

WorkerState = Literal["pulling", "loading", "idle", "busy", "throttled", "unhealthy", "stopped"]
_MARK = re.compile(r"-a([0-9a-f]{12})\b")
WEBHOOKS = ("normal", "never", "thrice", "early", "forged", "wrong_path")


@dataclass
class Script:
    """One job's fate, where it differs from the endpoint's. All but `mutate` can be given as JSON."""

    duration_s: float | None = None
    stuck: bool = False  # never picked up
    hang: bool = False  # never finishes, and executionTimeout does not end it (P5)
    hidden_s: float = 0.0  # 404 for so long after submission (P8)
    lose_after_s: float | None = None  # 404 so long into its first run; the run goes on to its end
    expire_s: float | None = None  # its ttl is over then, whatever the policy said (P11)
    cancel_after_s: float | None = None  # somebody else cancels it (P18)
    kill_at_s: list[float] = field(default_factory=list)  # a worker's death so long into a run; one a run
    duplicate: bool = False  # runs on two workers at once (F2)
    end: str = ""  # the terminal state that it gets whatever the run did
    error: Any = None  # the run fails with this error
    output: Any = NOTHING  # the run's output is this
    drop_output: bool = False  # no `output` key at all (R1)
    damage: str = ""  # truncated, html, blank or missing: what happens to the first file (R4, R8, R9)
    unlimited: bool = False  # a result of any size is kept (R20)
    mutate: Callable[[Any], Any] | None = None  # the run's output after this
    deliver: bool = True  # False: files and manifest never reach the store
    worker_id: str = ""  # what the status says who ran it (R21)
    show: str = ""  # the status shows this instead of IN_PROGRESS (P12)
    regress: bool = False  # IN_PROGRESS again after COMPLETED was seen once (P13)
    webhook: str = "normal"  # one of WEBHOOKS
    chunks: list[Any] = field(default_factory=list)  # what /stream gives
    progress: Any = None  # what `output` is while it runs


@dataclass(eq=False)
class Job:
    """One submission as the service sees it. Times are the fake's epoch seconds."""

    id: str
    endpoint: str
    input: Any
    created: float
    number: int  # of its endpoint, from 0
    execution_ms: int
    ttl_ms: int
    low_priority: bool = False
    webhook: str = ""
    sync: bool = False
    running_word: str = "IN_PROGRESS"
    script: Script = field(default_factory=Script)
    status: str = "IN_QUEUE"
    queued: float = 0.0
    started: float | None = None
    ended: float | None = None
    worker: str = ""
    output: Any = NOTHING
    error: Any = None
    progress: Any = NOTHING
    stream: list[Any] = field(default_factory=list)
    retried: int = 0
    gone: bool = False  # ttl, retention or a fault took it away
    seen_done: bool = False
    runs: list[Run] = field(default_factory=list)
    ttl_event: Event | None = None

    @property
    def terminal(self) -> bool:
        """True once nothing more happens to it."""
        return self.status in TERMINAL

    @property
    def kept_s(self) -> float:
        """How long its result stays after the end."""
        return SYNC_KEPT_S if self.sync else ASYNC_KEPT_S

    @property
    def contract(self) -> Literal["wire", "comfyui", "other"]:
        """Whose request it is: our worker's, worker-comfyui's, or anybody's."""
        body = self.input if isinstance(self.input, dict) else {}
        return "wire" if "ryla" in body else "comfyui" if "workflow" in body else "other"

    def body(self, now: float) -> dict[str, Any]:
        """The answer to GET /status.  # runpod facts 1 [doc]; workerId [issue]"""
        answer: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.started is not None:
            answer["delayTime"] = round(1000 * (self.started - self.queued))
            answer["workerId"] = self.script.worker_id or self.worker
        if self.started is not None and self.terminal:
            answer["executionTime"] = round(1000 * ((self.ended or now) - self.started))
        if self.status == "IN_PROGRESS":
            answer["status"] = self.script.show or self.running_word
            if self.progress is not NOTHING:
                answer["output"] = self.progress  # the last progress update, no result  # runpod facts 1 [issue]
        elif self.output is not NOTHING:
            answer["output"] = self.output
        if self.error is not None:
            answer["error"] = self.error
        return answer


@dataclass(eq=False)
class Run:
    """One execution of a job on a worker."""

    job: Job
    worker: Worker
    started: float
    load_s: float = 0.0
    twin: bool = False  # the second of a duplicated pair
    live: bool = True  # False: nothing that it still brings counts
    reused: bool = False
    unheard: bool = False  # its result was too large, and refused: the job goes on as if nothing had come
    ended: float | None = None


@dataclass(eq=False)
class Worker:
    """One container of an endpoint."""

    id: str
    endpoint: str
    since: float
    state: WorkerState = "loading"
    run: Run | None = None
    stopping: Event | None = None
    ready_at: float = 0.0
    runs: int = 0
    external: bool = False
    seen: float = 0.0

    @property
    def status(self) -> str:
        """Its word in GET /workers.  # runpod facts 2.1 [spec]"""
        words = {"pulling": "INITIALIZING", "loading": "INITIALIZING", "idle": "IDLE", "busy": "RUNNING"}
        return words.get(self.state, self.state.upper())


@dataclass(frozen=True)
class Accepted:
    """A job that the fake took on; fingerprint and attempt (or its first 12 digits) where the input tells them."""

    endpoint: str
    job_id: str
    at: float
    fingerprint: str
    attempt: str
    input: Any = field(repr=False)

    @classmethod
    def of(cls, job: Job) -> Accepted:
        """The record of a stored job."""
        body = job.input if isinstance(job.input, dict) else {}
        token = body.get("client_token", body.get("attempt", "")) or _marked(body)
        return cls(job.endpoint, job.id, job.created, str(body.get("fingerprint", "")), str(token), job.input)

    def as_dict(self) -> dict[str, Any]:
        """JSON form without the input."""
        return {
            "endpoint": self.endpoint, "job_id": self.job_id, "at": self.at,
            "fingerprint": self.fingerprint, "attempt": self.attempt,
        }  # fmt: skip


def _marked(body: dict[str, Any]) -> str:
    """The attempt's digits at the end of every filename_prefix, if there is one attempt: what our graphs carry."""
    found = set(_MARK.findall(json.dumps(body)))
    return str(found.pop()) if len(found) == 1 else ""


def shown_error(error: Any, *, as_string: bool) -> Any:
    """A handler's `error` value as the status shows it."""
    return error if isinstance(error, str) or not as_string else json.dumps(error)
