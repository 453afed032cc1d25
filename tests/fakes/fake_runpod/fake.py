"""A RunPod account in this process: jobs API, workers, bill, control API, faults. The way in for tests.

    with FakeRunPod(endpoints=[EndpointConfig("ep1", engine="preview")]) as fake:
        ... fake.jobs_url, fake.control_url, fake.graphql_url, fake.api_key ...
        fake.faults.add("run", "drop_response", times=1)
        fake.clock.advance(30)
        assert fake.alive() == [] and fake.bill.total() > 0

Belongs here: putting the parts together, and questions that tests ask afterwards. Every behaviour is in its own module
and cites the RunPod notes; assertions about the product are the tests' business.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tests.fakes.fake_runpod import worker_api
from tests.fakes.fake_runpod.admin import Admin
from tests.fakes.fake_runpod.bill import Bill
from tests.fakes.fake_runpod.clock import Clock
from tests.fakes.fake_runpod.config import Config, EndpointConfig, Mode, PodSettings, Switches
from tests.fakes.fake_runpod.faults import Faults, Rule
from tests.fakes.fake_runpod.jobs import Jobs
from tests.fakes.fake_runpod.pods import Pods
from tests.fakes.fake_runpod.pool import Pool
from tests.fakes.fake_runpod.server import App, Server
from tests.fakes.fake_runpod.state import Accepted, Job, Worker
from tests.fakes.fake_runpod.world import Executed, World, worker_of

ANSWER_S = 0.1  # real seconds for an answer to leave before the listener closes


class FakeRunPod:
    """One account. `speed` None: time moves by `clock.advance` only; a number: real time, so many times as fast."""

    def __init__(
        self,
        endpoints: Sequence[EndpointConfig] | None = None,
        *,
        speed: float | None = None,
        switches: Switches | None = None,
        pods: PodSettings | None = None,
        config: Config | None = None,
        **more: Any,
    ) -> None:
        given = config or Config(
            endpoints=tuple(endpoints) if endpoints is not None else (EndpointConfig(),),
            speed=speed,
            switches=switches or Switches(),
            pods=pods or PodSettings(),
            **more,
        )
        self.world: World = World(given)
        self.world.pods = Pods(self.world)
        self.jobs = Jobs(self.world)
        for endpoint in given.endpoints:
            self.world.pools[endpoint.id] = Pool(self.world, endpoint)
        for rule in given.rules:
            self.faults.rules.append(Rule.from_dict(rule))
        self.app = App(self.world, Admin(self))
        self.server = Server(self.app, given.port)
        self._outage: threading.Timer | None = None
        for case in given.cases:
            self.install(case)

    # ---- running

    def start(self) -> FakeRunPod:
        """Listen, let real time run, start the workers that are always active."""
        self.world.base_url = f"http://127.0.0.1:{self.server.start()}"
        self.clock.start()
        with self.clock.lock:
            for pool in self.world.pools.values():
                pool.keep_minimum()
        return self

    def stop(self) -> None:
        """End it, and everything that it started."""
        if self._outage is not None:
            self._outage.cancel()
            self._outage.join(5)
        self.server.stop()
        self.world.close()

    def __enter__(self) -> FakeRunPod:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def go_offline(self) -> None:
        """Refuse connections; workers go on."""
        self.server.stop()

    def go_online(self) -> None:
        """Listen again, on the same port."""
        self.server.start()

    def refuse_for(self, seconds: float) -> None:
        """Refuse connections for so many real seconds; told over HTTP, from right after the answer."""
        if self.server.serves_here():
            self._outage = threading.Timer(ANSWER_S, self.refuse_for, [seconds])
        else:
            self.go_offline()
            self._outage = threading.Timer(seconds, self.go_online)
        self._outage.start()

    # ---- where it is

    @property
    def jobs_url(self) -> str:
        """What stands for https://api.runpod.ai/v2."""
        return f"{self.world.base_url}/v2"

    @property
    def control_url(self) -> str:
        """What stands for https://api.runpod.io/v2."""
        return f"{self.world.base_url}/control/v2"

    @property
    def graphql_url(self) -> str:
        """What stands for https://api.runpod.io/graphql."""
        return f"{self.world.base_url}/graphql"

    @property
    def files_url(self) -> str:
        """An unsigned object store: PUT, GET and DELETE {files_url}/NAME; its content is `world.files`."""
        return f"{self.world.base_url}/files"

    @property
    def admin_url(self) -> str:
        """The fake's own questions, for processes that are not this one."""
        return f"{self.world.base_url}/_fake"

    @property
    def api_key(self) -> str:
        """The key that it takes."""
        return self.world.config.api_key

    # ---- its parts

    @property
    def clock(self) -> Clock:
        """Its time."""
        return self.world.clock

    @property
    def bill(self) -> Bill:
        """What it charges."""
        return self.world.bill

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.world.faults

    @property
    def switches(self) -> Switches:
        """How it behaves where nothing is documented."""
        return self.world.config.switches

    def pool(self, endpoint: str | None = None) -> Pool:
        """An endpoint's workers and queue; the first endpoint's without a name."""
        return self.world.pools[endpoint or next(iter(self.world.pools))]

    def job(self, job_id: str) -> Job:
        """A job, gone or not."""
        return self.world.jobs[job_id]

    # ---- what tests do to it

    def install(self, case: str, endpoint: str = "") -> None:
        """Install a case of the catalogue (facts section 8) by its id, such as "S2"."""
        from tests.fakes.fake_runpod.cases import CASES

        CASES[case].install(self, endpoint or next(iter(self.world.pools)))

    def set_mode(self, mode: Mode, endpoint: str | None = None) -> None:
        """There is (no) capacity, throttling or a crash loop from now on."""
        with self.clock.lock:
            self.pool(endpoint).set_mode(mode)

    def kill_worker(self, worker_id: str) -> None:
        """The machine dies; its job is queued again."""
        with self.clock.lock:
            worker = worker_of(self.world, worker_id)
            if worker is None:
                raise KeyError(f"no worker {worker_id} is alive")
            self.world.pools[worker.endpoint].kill(worker)

    def lose(self, job_id: str) -> None:
        """The service forgets the job (404); whoever runs it goes on."""
        with self.clock.lock:
            self.job(job_id).gone = True

    def requeue(self, job_id: str) -> None:
        """A running job goes back into the queue; its worker is fine."""
        with self.clock.lock:
            job = self.job(job_id)
            for run in [run for run in job.runs if run.live]:
                self.pool(job.endpoint).requeue(run)
                self.pool(job.endpoint).free(run.worker)

    def cancel(self, job_id: str) -> None:
        """Somebody else cancels the job."""
        with self.clock.lock:
            if not self.job(job_id).terminal:
                self.jobs.cancelled(self.job(job_id))

    def worker_environment(self, endpoint: str, worker_id: str = "external1") -> dict[str, str]:
        """Variables for a real SDK worker of an endpoint with engine "external"."""
        return worker_api.environment(self.world, endpoint, worker_id)

    # ---- what tests ask it

    @property
    def accepted(self) -> list[Accepted]:
        """Every job that it ever took on."""
        return list(self.world.accepted)

    @property
    def executions(self) -> list[Executed]:
        """Every run that ever began."""
        return list(self.world.executions)

    def workers(self, endpoint: str | None = None) -> list[Worker]:
        """The endpoint's live workers."""
        with self.clock.lock:
            return list(self.pool(endpoint).workers.values())

    def alive(self) -> list[str]:
        """Jobs that are neither terminal nor gone or still run, and pods that still cost."""
        with self.clock.lock:
            jobs = [
                f"{job.endpoint}/{job.id} {job.status}"
                for job in self.world.jobs.values()
                if not (job.terminal or job.gone) or any(run.live for run in job.runs)
            ]
            return jobs + self.world.pods.alive()
