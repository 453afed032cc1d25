"""The process that is killed: the product's runner and RunPod backend on a ledger and a store, and no Dagster.

Belongs here: what one life does, and dying at a fault point. It is forked from a warm parent (a new interpreter would
cost a second for each of thousands of lives); what it wrote before it died is all that is left of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resources.gpu import faultpoints
from resources.gpu.backends.runpod.assemble import assembled
from resources.gpu.backends.runpod.backend import Endpoints
from resources.gpu.errors import BackendUnavailable, GpuError, OutputRejected
from resources.gpu.job import Job
from resources.gpu.ledger import Ledger
from resources.gpu.runner import Runner
from resources.storage import StorageError
from tests.chaos import dilation
from tests.chaos.account import ENDPOINT
from tests.chaos.broken import BROKEN
from tests.chaos.plan import POLICY, Life, Plan
from tests.chaos.results import ResultStore

SETTLED_WITHIN_S = 400.0  # dilated; the longest thing to wait for is a ttl


@dataclass(frozen=True)
class Place:
    """Where a seed's processes meet."""

    folder: Path
    engine: sa.Engine  # of the ledger; without an open connection when a life begins
    key: str
    where: dict[str, Any]  # the account's URLs

    @property
    def hits(self) -> Path:
        """One line for each fault point reached and each kill, by all lives."""
        return self.folder / "hits"

    def output(self, life: int) -> Path:
        """What a life printed."""
        return self.folder / f"life-{life}.txt"

    def told(self, life: int) -> Path:
        """What its callers were told, as JSON."""
        return self.folder / f"life-{life}.json"

    def store(self) -> ResultStore:
        """The store; workers of ours leave their results behind it."""
        return ResultStore(self.folder / "store", self.where["files_url"])


def live(place: Place, plan: Plan, number: int, life: Life, jobs: list[Job], pace: dilation.Pace, broken: str) -> None:
    """Be that life until its end. For a forked child only: never returns."""
    status = 1
    try:
        with place.output(number).open("ab", buffering=0) as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        assert "dagster" not in sys.modules, "the killed process must be free of Dagster"
        dilation.start(pace)
        faultpoints.install(_reaper(place.hits, number, life))
        if broken:
            BROKEN[broken].put_in()
        told = _act(runner_of(place, plan), life, [jobs[index] for index in life.jobs])
        place.told(number).write_text(json.dumps(told))
        status = 0
    except KeyboardInterrupt:
        status = 3
    except BaseException:  # noqa: BLE001  a child must never run on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _reaper(hits: Path, number: int, life: Life) -> Callable[[str], None]:
    """Count every point that is reached, where a SIGKILL cannot erase it; and die at the chosen one."""
    log = os.open(hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    left = life.nth

    def die(word: str = "", late_s: float = 0.0) -> None:
        time.sleep(late_s)
        os.write(log, f"{number} KILL {life.kill_at} {word}".rstrip().encode() + b"\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(point: str) -> None:
        nonlocal left
        os.write(log, f"{number} {point}\n".encode())
        if point == life.kill_at:
            left -= 1
            if left == 0 and life.late_s:
                threading.Thread(target=die, args=("a moment after it", life.late_s), daemon=True).start()
            elif left == 0:
                die()

    return reached


def runner_of(place: Place, plan: Plan) -> Runner:
    """The product, as a deployment would put it together."""
    store = place.store()
    backend = assembled(
        jobs_url=place.where["jobs_url"],
        control_url=place.where["control_url"],
        graphql_url=place.where["graphql_url"],
        key=place.key,
        endpoints=Endpoints(image=ENDPOINT, training=ENDPOINT),
        store=store if plan.contract == "ours" else None,
        engine="comfyui",
        policy=POLICY,
    )
    ledger = Ledger(place.engine, clock=time.time)
    return Runner(ledger, backend, store, plan.budgets, POLICY, webhook_url=place.where["webhook_url"])


def _act(runner: Runner, life: Life, jobs: list[Job]) -> dict[str, str]:
    """Do what the life is for; returns what the caller of each job was told, by fingerprint."""
    if life.ask == "settle":
        _settle(runner)
        return {}
    if life.ask == "submit":
        for job in jobs:
            with contextlib.suppress(GpuError, StorageError):
                runner.submit(job, run_id="chaos-run")
        with contextlib.suppress(BackendUnavailable):
            runner.collect("image")
        return {}
    try:
        told = [_said(answer) for answer in runner.answers(jobs, run_id="chaos-run")]
    except (GpuError, StorageError):  # the error is the first job's: the others are asked one by one
        told = [_told(runner, job) for job in jobs] if life.ask == "resume" else []
    if life.ask != "resume":
        return {}
    names = [job.fingerprint(runner.backend.profile(job)) for job in jobs]
    return {name: text for name, text in zip(names, told, strict=True) if text}


def _told(runner: Runner, job: Job) -> str:
    try:
        return _said(runner.answers([job], run_id="chaos-run")[0])
    except (GpuError, StorageError) as error:
        return str(error)


def _said(answer: object) -> str:
    """Why a job was refused; nothing of one that has a result."""
    return str(answer) if isinstance(answer, OutputRejected) else ""


def _settle(runner: Runner) -> None:
    """Look at what is open until nothing is, as the sweep does every minute."""
    give_up = time.monotonic() + SETTLED_WITHIN_S
    while runner.ledger.open_attempts() and time.monotonic() < give_up:
        with contextlib.suppress(BackendUnavailable):
            runner.settle_open()
        time.sleep(2.0)
