"""What a fake account is like: its endpoints, its pods, and how it behaves where nobody has written it down.

Belongs here: numbers and switches, all of them JSON-able, with their source ("facts N" is a section of the project's
RunPod notes; [doc], [spec], [code], [issue], [infer] are its marks). Does not belong here: anything that changes while
the fake runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

Engine = Literal["scripted", "preview", "external"]
Mode = Literal["ok", "no_capacity", "throttled", "unhealthy"]

RUN_BYTES = 10 * 1024 * 1024  # /run body, and an async result  # runpod facts 1 [doc], 7 F8 [issue]
RUNSYNC_BYTES = 20 * 1024 * 1024  # /runsync body and result  # runpod facts 1 [doc]
STREAM_BYTES = 1024 * 1024  # one chunk of /stream  # runpod facts 1 [doc]
ASYNC_KEPT_S = 1800.0  # a result stays 30 min after completion  # runpod facts 1 [doc]
SYNC_KEPT_S = 60.0  # runpod facts 1 [doc]
SYNC_WAIT_MS = (1000, 300_000, 90_000)  # ?wait= least, most, default  # runpod facts 1 [doc]
STREAM_WAIT_S = 10.0  # runpod facts 1 [issue runpod-mcp]
EXECUTION_MS = (5_000, 7 * 86_400_000)  # policy.executionTimeout  # runpod facts 1 [doc]
TTL_MS = (10_000, 7 * 86_400_000, 86_400_000)  # policy.ttl least, most, default  # runpod facts 1 [doc]
RATES = {  # operation: (requests in 10 s, at once)  # runpod facts 1 [doc]
    "run": (1000, 200), "runsync": (2000, 400), "status": (2000, 400), "stream": (2000, 400),
    "cancel": (100, 20), "purge-queue": (2, 1_000),
}  # fmt: skip
CONTROL_RATES = (("minute", 60, 60), ("hour", 3000, 3600), ("day", 50_000, 86_400))  # runpod facts 1 [spec]


@dataclass
class EndpointConfig:
    """One serverless endpoint. `exec_s` is (least, most): each job's is drawn from it by the seed and its number.

    Where `durations` are given, the n-th job takes the n-th of them, from the first again after the last.
    """

    id: str = "ep1"
    name: str = "ryla-images"
    engine: Engine = "scripted"
    mode: Mode = "ok"
    workers_min: int = 0
    workers_max: int = 3
    idle_s: float = 10.0  # v2 create default  # runpod facts 2.1 [spec]
    pull_s: float = 0.0  # initializing: image pull, not billed  # runpod facts 6 [doc]
    cold_s: float = 10.0  # start: loading models, billed  # runpod facts 6 [doc]
    exec_s: tuple[float, float] = (2.0, 2.0)
    durations: tuple[float, ...] = ()
    queue_delay_s: float = 0.0  # a job waits so long before it makes a new worker start
    usd_per_s: float = 0.00031  # RTX 4090 flex  # runpod facts 6 [doc]
    timeout_ms: int = 600_000  # executionTimeout of jobs that set none  # runpod facts 1 [doc]
    gpu_pools: tuple[str, ...] = ("ADA_24",)
    gpu_type: str = "NVIDIA GeForce RTX 4090"
    data_center: str = "EU-RO-1"
    image: str = "registry.example/ryla/comfyui:1"
    requests_per_worker: int = 0  # raises the rate limit with running workers  # runpod facts 1 [doc]
    network_volumes: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class PodSettings:
    """How pods come up. A pod whose env holds a request works on it and exits."""

    provision_s: float = 5.0
    start_s: float = 20.0
    engine: Engine = "scripted"
    exec_s: tuple[float, float] = (30.0, 30.0)
    no_capacity: tuple[str, ...] = ()  # GPU type ids that answer 400
    stick: float = 0.0  # share of pods that never get past PROVISIONING (C6)
    crash: float = 0.0  # share whose command ends in the middle of its work, without a word (T2)
    vanish: float = 0.0  # share that somebody deletes in the middle of their work
    exits_after: bool = True  # the container ends with its command, else its pod stays RUNNING  # 5 [infer]


@dataclass
class Switches:
    """What nobody documents, or what was seen to differ: each value is one reading of it (facts 1, 7 and 9).

    tests/contracts/test_runpod_infer.py plays every reading of every switch against the product.
    """

    webhook_on: tuple[str, ...] = ("COMPLETED", "FAILED")  # terminal states that call the webhook  # 1 [infer]
    ttl_in_queue: Literal["timed_out", "deleted"] = "timed_out"  # a job that waited longer than its ttl  # 1 [infer]
    ttl_running_stops: bool = True  # a job deleted while it runs also frees its worker  # 0.7 [infer]
    cancel_stops_worker: bool = True  # False: the handler goes on, and its files arrive  # 7 F15 [infer]
    cancel_of_ended: Literal["its_status", "cancelled", "refused"] = "its_status"  # what /cancel says then  # 1 [infer]
    timeout_stops_worker: bool = True  # False: it goes on past executionTimeout  # 7 F9 [infer]
    oversize: Literal["no_output", "stale"] = "no_output"  # a result that is too large  # 7 F8 [issue #309, #129]
    policy_out_of_bounds: Literal["reject", "clamp"] = "reject"  # 1 [infer]
    too_large_status: Literal[400, 413] = 400  # of a request that is too large  # 1 [infer]
    error_object_as: Literal["string", "object"] = "string"  # how {"error": {...}} shows in the status  # 1 [infer]
    errors_as: Literal["json", "text"] = "json"  # bodies of 4xx of the jobs host, which have no schema  # 1 [infer]
    health_keys: Literal["all", "documented"] = "all"  # 1 [infer]
    started_status: Literal["IN_PROGRESS", "RUNNING"] = "IN_PROGRESS"  # job-states.mdx lists both  # 1 [infer]
    late_progress_regresses: bool = True  # an update after the end  # 1 [issue runpod-python #250]
    rate_limits: bool = True  # they are enforced as documented  # 1 [infer]
    rate_headers: bool = False  # the job host's 429 says when to come back  # 1 [infer]
    run_says: Literal["IN_QUEUE", "IN_PROGRESS"] = "IN_QUEUE"  # the answer to /run  # 1, 8 S13 [infer]
    ids_end: Literal["-u1", "-e1", "-e2"] = "-u1"  # 1 [infer]
    pods_billed_from: Literal["creation", "running"] = "creation"  # 6 [infer]
    v1_status: Literal[410, 404] = 410  # the last words of the retired control API  # 0.1, 8 C10 [infer]


@dataclass
class Config:
    """The whole account."""

    endpoints: tuple[EndpointConfig, ...] = (EndpointConfig(),)
    pods: PodSettings = field(default_factory=PodSettings)
    switches: Switches = field(default_factory=Switches)
    api_key: str = "rp-fake-key"
    speed: float | None = None
    seed: int = 1
    balance_usd: float = 100.0
    spend_limit_usd: float = 80.0  # an hour  # runpod facts 2.1 [doc]
    port: int = 0
    rules: tuple[dict[str, Any], ...] = ()
    cases: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Config:
        """Read JSON; an unknown key is a ValueError that names it."""
        known = dict(data)
        known["endpoints"] = tuple(_made(EndpointConfig, item) for item in data.get("endpoints", [{}]))
        known["pods"] = _made(PodSettings, data.get("pods", {}))
        known["switches"] = _made(Switches, data.get("switches", {}))
        made: Config = _made(cls, known)
        return made


def _made(kind: Any, data: dict[str, Any]) -> Any:
    names = {item.name for item in fields(kind)}
    if unknown := sorted(set(data) - names):
        raise ValueError(f"{kind.__name__} does not know {', '.join(unknown)}; it knows {', '.join(sorted(names))}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
