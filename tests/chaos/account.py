"""The account that outlives every kill: the fake RunPod in a process of its own, asked over a pipe.

Belongs here: starting it from a plan, ending its faults, and the report on which the checker rests. With it lives the
product's own webhook receiver, as the HTTP app would, since somebody must hear what RunPod says while nobody runs.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tests.chaos.dilation import Pace
from tests.chaos.history import POD, RemoteJob, RemoteWorker
from tests.chaos.plan import SPEED, Plan

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.fake import FakeRunPod

ENDPOINT = "chaos1endpoint"
PREFIX = "ryla-"  # of a pod's name, before its attempt's id


class Account:
    """A fake RunPod and a webhook receiver on the ledger in `engine`, in a forked child."""

    def __init__(self, plan: Plan, key: str, engine: sa.Engine, log: Path) -> None:
        here, there = Pipe()
        engine.dispose()  # no connection is shared with a child
        self.pid = os.fork()
        if self.pid == 0:
            here.close()
            _live(plan, key, engine, log, there)
        there.close()
        self._pipe = here
        self.where: dict[str, Any] = self._answer()
        self.pace = Pace(SPEED, self.where["begun"], self.where["wall"])

    def calm(self) -> None:
        """No more faults from now on."""
        self._ask("calm")

    def alive(self) -> list[str]:
        """What still runs or waits there."""
        return list(self._ask("alive"))

    def report(self) -> dict[str, Any]:
        """Jobs and pods (RemoteJob), bill_usd, hidden_usd, faults, errors."""
        found: dict[str, Any] = self._ask("report")
        return found

    def close(self) -> None:
        """End the process."""
        try:
            self._pipe.send("stop")
            self._pipe.close()
        except OSError:
            pass  # it is gone already
        os.waitpid(self.pid, 0)

    def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(20):
            raise RuntimeError("the fake RunPod does not answer")
        return self._pipe.recv()


def _live(plan: Plan, key: str, engine: sa.Engine, log: Path, pipe: Connection) -> None:
    """The child: never returns."""
    with log.open("ab", buffering=0) as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    status = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when it is told to, or when nobody is left to tell it
    try:
        _serve(plan, key, engine, pipe)
        status = 0
    except EOFError:
        pass  # whoever asked is gone
    except BaseException:  # noqa: BLE001  a child must never run on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(plan: Plan, key: str, engine: sa.Engine, pipe: Connection) -> None:
    from tests.fakes.fake_runpod.config import EndpointConfig, PodSettings
    from tests.fakes.fake_runpod.fake import FakeRunPod

    endpoint = EndpointConfig(ENDPOINT, engine="scripted", mode=plan.mode, **plan.settings)  # type: ignore[arg-type]
    pods = PodSettings(**plan.pod_settings)
    fake = FakeRunPod([endpoint], pods=pods, speed=SPEED, api_key=key, seed=plan.seed)
    for operation, action, options in plan.rules:
        if operation == "job":
            fate = dict(options)
            fake.faults.add("job", probability=fate.pop("probability", 1.0), script=fate)
        else:
            fake.faults.add(operation, action, **options)  # type: ignore[arg-type]
    fake.start()
    begun, wall = fake.clock._begun, fake.clock._start
    where: dict[str, Any] = {
        "jobs_url": fake.jobs_url,
        "control_url": fake.control_url,
        "graphql_url": fake.graphql_url,
    }
    where |= {"files_url": fake.files_url, "begun": begun, "wall": wall}
    where["webhook_url"] = _receiver(fake, engine) if plan.webhook else ""
    pipe.send(where)
    while (question := pipe.recv()) != "stop":
        if question == "calm":
            fake.faults.clear()
            fake.set_mode("ok")
            pods.stick = pods.crash = pods.vanish = 0.0
        answers: dict[str, Any] = {
            "alive": fake.alive,
            "report": lambda: _report(fake),
        }
        pipe.send(answers[question]() if question in answers else None)
    shutil.rmtree(fake.world.folder, ignore_errors=True)


def _receiver(fake: FakeRunPod, engine: sa.Engine) -> str:
    """The product's receiver on loopback; returns its URL."""
    from starlette.applications import Starlette

    from resources.gpu.ledger import Ledger
    from ryla_assets.api.webhooks import Webhooks
    from tests.fakes.fake_runpod.server import Server

    app = Starlette(routes=Webhooks(Ledger(engine, clock=fake.clock.now)).routes())
    server = Server(app)  # type: ignore[arg-type]
    return f"http://127.0.0.1:{server.start()}"


def _report(fake: FakeRunPod) -> dict[str, Any]:
    """What the service knows at the end. `hidden_usd`: what its API never tells of, as RunPod's does not."""
    with fake.clock.lock:
        jobs = [_remote(fake, item.job_id, item.fingerprint, item.attempt) for item in fake.accepted]
        workers = [_worker(fake, lease) for lease in fake.bill.leases if lease.kind == "serverless"]
        return {
            "jobs": jobs + [_rented(fake, pod) for pod in fake.world.pods.pods.values()],
            "bill_usd": fake.bill.total(),
            "hidden_usd": sum(job.hidden_usd for job in jobs) + sum(worker.hidden_usd for worker in workers),
            "faults": [action if operation != "job" else "job" for operation, _, action in fake.faults.log],
            "errors": list(fake.clock.errors),
            "workers": workers,
        }


def _remote(fake: FakeRunPod, job_id: str, fingerprint: str, attempt: str) -> RemoteJob:
    job = fake.world.jobs[job_id]
    rate, idle_s = fake.pool(job.endpoint).config.usd_per_s, fake.pool(job.endpoint).config.idle_s
    unseen: Sequence[Any] = [run for run in job.runs if run.twin or run is not _last(job)]
    spent = [(run.ended or fake.clock.now()) - run.started for run in unseen]
    return RemoteJob(
        id=job.id,
        endpoint=job.endpoint,
        at=job.created,
        attempt=attempt,
        fingerprint=fingerprint,
        status="GONE" if job.gone else job.status,
        runs=len(job.runs),
        ended=job.ended if job.terminal else None,
        executed_usd=fake.bill.executed.get(job.id, 0.0),
        damaged=len(job.runs) if job.script.damage else 0,
        hidden_usd=sum(int(seconds + 1 + idle_s + fake.pool().config.cold_s) * rate for seconds in spent),
    )


def _rented(fake: FakeRunPod, pod: Any) -> RemoteJob:
    """A pod; all that it was billed is its attempt's."""
    leases = [lease for lease in fake.bill.leases if lease.machine == pod.id]
    ended = max((lease.until for lease in leases if lease.until is not None), default=None)
    return RemoteJob(
        id=pod.id,
        endpoint=POD,
        at=pod.created,
        attempt=pod.spec["name"].removeprefix(PREFIX),
        status=pod.status,
        runs=pod.boots,
        ended=ended,
        executed_usd=sum(lease.usd(fake.clock.now()) for lease in leases),
        usd_per_s=pod.usd_per_hour / 3600,
        vanished=pod.cut_short and pod.cut == "TERMINATED",
    )


def _worker(fake: FakeRunPod, lease: Any) -> RemoteWorker:
    ran = tuple(item.job_id for item in fake.executions if item.worker == lease.machine)
    usd = lease.usd(fake.clock.now())
    if not ran:
        return RemoteWorker(lease.machine, lease.since, usd, ran, usd, lease.usd_per_s)
    ahead_s = max(0.0, fake.world.jobs[ran[0]].queued - lease.since)  # it came for a job that another worker took
    return RemoteWorker(lease.machine, lease.since, usd, ran, math.ceil(ahead_s) * lease.usd_per_s, lease.usd_per_s)


def _last(job: Any) -> Any:
    seen = [run for run in job.runs if not run.twin]
    return seen[-1] if seen else None
