"""The workers of one endpoint: when they start, what they take, when they stop.

Belongs here: scaling, the queue, cold start, idle timeout, throttled and crashing machines, a worker's death. Does not
belong here: what a run does (execution), and what a client sees (jobs).
# runpod facts 1, 6 [doc], 2.1 [spec]
"""

from __future__ import annotations

from collections import deque

from tests.fakes.fake_runpod.config import EndpointConfig, Mode
from tests.fakes.fake_runpod.execution import begin
from tests.fakes.fake_runpod.state import Job, Run, Worker
from tests.fakes.fake_runpod.world import World

LIVE = ("pulling", "loading", "idle", "busy")


class Pool:
    """One endpoint at work. Every method is called with the clock's lock held."""

    def __init__(self, world: World, config: EndpointConfig) -> None:
        self.world, self.config = world, config
        self.queue: deque[Job] = deque()
        self.workers: dict[str, Worker] = {}
        self.stopped: list[Worker] = []
        self.to_stop: dict[str, list[str]] = {}  # external workers' jobs that they should stop
        self.number = 0  # of the next job
        self.completed = self.failed = self.retried = 0
        self.version = 1
        self.releases: list[dict[str, object]] = []
        self.extra: dict[str, object] = {}  # what the control API was told and nothing here depends on
        self.created = world.clock.now()

    # ---- what jobs do to it

    def add(self, job: Job) -> None:
        """Queue a job, and see who can take it.  # runpod facts 1 [doc]"""
        job.status, job.queued = "IN_QUEUE", self.world.clock.now()
        self.queue.append(job)
        if self.config.queue_delay_s:
            self.world.clock.after(self.config.queue_delay_s, self.balance)
        self.balance()

    def balance(self) -> None:
        """Give queued jobs to idle workers, then start workers for the rest.  # runpod facts 2.1 [spec], 6 [doc]"""
        if self.config.engine == "external":
            return
        for worker in list(self.workers.values()):
            if worker.state == "idle" and (job := self.take()) is not None:
                self.give(worker, job)
        self._scale()

    def take(self) -> Job | None:
        """The next job that anybody may take, out of the queue.  # runpod facts 1 [doc]"""
        stuck: list[Job] = []
        found: Job | None = None
        while self.queue and found is None:
            job = self.queue.popleft()
            if job.script.stuck and not (job.gone or job.terminal):
                stuck.append(job)
            elif not (job.gone or job.terminal):
                found = job
        self.queue.extendleft(reversed(stuck))
        return found

    def give(self, worker: Worker, job: Job, *, twin: bool = False) -> Run:
        """Let an idle worker run the job; the platform may run it twice.  # runpod facts 7 F2 [issue]"""
        if worker.stopping is not None:
            worker.stopping.cancelled = True
            worker.stopping = None
        run = Run(job, worker, self.world.clock.now(), twin=twin, load_s=self._load(worker))
        worker.state, worker.run = "busy", run
        worker.runs += 1
        begin(self.world, self, run)
        if job.script.duplicate and not twin and not worker.external:
            self.give(self._start(0.0), job, twin=True)
        return run

    def free(self, worker: Worker) -> None:
        """Its run is over: next job, or idle until the timeout.  # runpod facts 6 [doc]"""
        worker.run = None
        if worker.state != "busy":
            return
        worker.state = "idle"
        if worker.external:
            return
        surplus = len(self._alive()) > self.config.workers_max
        job = None if surplus else self.take()
        if job is not None:
            self.give(worker, job)
        elif surplus:
            self.stop(worker)
        else:
            self._rest(worker)

    # ---- what tests do to it

    def kill(self, worker: Worker) -> None:
        """The machine dies: its job goes back to the queue and counts as retried.  # runpod facts 1 [doc]"""
        run = worker.run
        self.stop(worker)
        if run is not None and run.live:
            self.requeue(run)

    def requeue(self, run: Run) -> None:
        """Put a running job back into the queue.  # runpod facts 1 [doc]"""
        run.live, run.ended = False, self.world.clock.now()
        job = run.job
        if not job.terminal and not job.gone and not any(other.live for other in job.runs):
            job.retried += 1
            self.retried += 1
            job.started, job.worker = None, ""
            self.add(job)
        self.balance()

    def set_mode(self, mode: Mode) -> None:
        """From now on there is (no) capacity, throttling, a crash loop.  # runpod facts 7 F5 [issue]"""
        self.config.mode = mode
        for worker in list(self.workers.values()):
            if worker.state in ("throttled", "unhealthy"):
                self.stop(worker)
        self.balance()

    def stop(self, worker: Worker) -> None:
        """The worker is gone, and costs no more.  # runpod facts 6 [doc]"""
        if worker.stopping is not None:
            worker.stopping.cancelled = True
        worker.state, worker.run = "stopped", None
        self.world.bill.close(worker.id)
        self.workers.pop(worker.id, None)
        self.stopped.append(worker)

    # ---- parts

    def counts(self) -> dict[str, int]:
        """Workers by state.  # runpod facts 2.1 [spec]"""
        found = dict.fromkeys(("pulling", "loading", "idle", "busy", "throttled", "unhealthy"), 0)
        for worker in self.workers.values():
            found[worker.state] += 1
        return found

    def keep_minimum(self) -> None:
        """Start the workers that are always active.  # runpod facts 2.1 [spec]"""
        self._scale()

    def _alive(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.state in LIVE]

    def _scale(self) -> None:
        now = self.world.clock.now()
        if self.config.mode == "no_capacity" or len(self.workers) >= self.config.workers_max:
            return
        due = [
            job
            for job in self.queue
            if not (job.low_priority or job.gone or job.terminal or job.script.stuck)
            and now - job.queued >= self.config.queue_delay_s - 1e-6
        ]
        starting = sum(1 for worker in self.workers.values() if worker.state in ("pulling", "loading"))
        wanted = max(len(due) - starting, self.config.workers_min - len(self.workers))
        for _ in range(min(wanted, self.config.workers_max - len(self.workers))):
            self._start(self.config.cold_s)

    def _start(self, cold_s: float) -> Worker:
        world, clock = self.world, self.world.clock
        worker = Worker(world.token(), self.config.id, clock.now())
        self.workers[worker.id] = worker
        if self.config.mode in ("throttled", "unhealthy"):
            worker.state = self.config.mode
            return worker
        worker.state = "pulling"
        if self.config.pull_s and cold_s:
            clock.after(self.config.pull_s, lambda: self._load_up(worker, cold_s))
        else:
            self._load_up(worker, cold_s)
        return worker

    def _load_up(self, worker: Worker, cold_s: float) -> None:
        """From here on it is billed.  # runpod facts 6 [doc]"""
        if worker.state != "pulling":
            return
        worker.state = "loading"
        self.world.bill.open("serverless", self.config.id, worker.id, self.config.usd_per_s)
        worker.ready_at = self.world.clock.now() + cold_s
        if cold_s:
            self.world.clock.after(cold_s, lambda: self._ready(worker))
        else:
            worker.state = "idle"

    def _ready(self, worker: Worker) -> None:
        if worker.state != "loading":
            return
        worker.state = "busy"
        self.free(worker)

    def _rest(self, worker: Worker) -> None:
        worker.stopping = self.world.clock.after(self.config.idle_s, lambda: self._idle_out(worker))

    def _idle_out(self, worker: Worker) -> None:
        if worker.state != "idle":
            return
        if len(self._alive()) > self.config.workers_min:
            self.stop(worker)
        else:
            self._rest(worker)

    def _load(self, worker: Worker) -> float:
        return self.config.cold_s if worker.runs == 0 else 0.0
