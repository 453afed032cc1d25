"""The memory that all parts of one fake share.

Belongs here: the parts themselves, and ids. Behaviour is in pool, execution, jobs, webhooks and pods.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod.bill import Bill
from tests.fakes.fake_runpod.clock import Clock
from tests.fakes.fake_runpod.config import Config
from tests.fakes.fake_runpod.faults import Faults
from tests.fakes.fake_runpod.state import Accepted, Job, Worker

if TYPE_CHECKING:
    import httpx

    from tests.fakes.fake_runpod.pods import Pods
    from tests.fakes.fake_runpod.pool import Pool

IO_THREADS = 16
DRAW_THREADS = 2
IO_S = 30.0


@dataclass(frozen=True)
class Executed:
    """One run that began: the count of what really happened, whatever the product believes."""

    job_id: str
    fingerprint: str
    attempt: str
    worker: str
    at: float


@dataclass
class World:
    """Everything of one account."""

    config: Config
    pods: Pods = field(init=False)
    pools: dict[str, Pool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock(self.config.speed)
        self.start = self.clock.now()
        self.bill = Bill(self.clock)
        self.faults = Faults(self.config.seed)
        self.random = random.Random(self.config.seed)
        self.jobs: dict[str, Job] = {}
        self.accepted: list[Accepted] = []
        self.executions: list[Executed] = []
        self.volumes: dict[str, dict[str, Any]] = {}
        self.loras: dict[str, bytes] = {}  # LoRA files on the volume, for the worker-comfyui contract
        self.files: dict[str, bytes] = {}  # what {base}/files/NAME serves and takes
        self.webhooks_sent: list[tuple[str, str, int]] = []  # job id, url, status (0: no answer)
        self.threads = ThreadPoolExecutor(IO_THREADS, "fake-runpod-io")
        self.drawing = ThreadPoolExecutor(DRAW_THREADS, "fake-runpod-draw")
        self.folder = Path(tempfile.mkdtemp(prefix="fake-runpod-"))
        self.base_url = ""
        self._http: httpx.Client | None = None

    @property
    def elapsed(self) -> float:
        """The fake's seconds since it was made."""
        return self.clock.now() - self.start

    def http(self) -> httpx.Client:
        """The client of workers and webhooks; safe for threads."""
        import httpx

        with self.clock.lock:
            if self._http is None:
                limits = httpx.Limits(max_connections=None)
                self._http = httpx.Client(timeout=IO_S, trust_env=False, verify=False, limits=limits)  # loopback only
            return self._http

    def token(self, letters: int = 14) -> str:
        """An id as RunPod makes them for workers, pods and endpoints; seeded."""
        return "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(letters))

    def uuid(self) -> str:
        """A seeded uuid4."""
        bits = self.random.getrandbits(128)
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def io(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Do something that waits for the network, in a thread."""
        return self.threads.submit(work, *args)

    def close(self) -> None:
        """End threads and connections, remove the temporary folder."""
        import shutil

        self.clock.stop()
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.drawing.shutdown(wait=True, cancel_futures=True)
        if self._http is not None:
            self._http.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def worker_of(world: World, worker_id: str) -> Worker | None:
    """A worker by its id, whatever its endpoint."""
    return next((pool.workers[worker_id] for pool in world.pools.values() if worker_id in pool.workers), None)
