"""A house for tests of paid work: one ledger, one store, one scripted service, as many runners as a test wants."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resources.database import metadata, open_engine, writing
from resources.gpu import tables
from resources.gpu.backend import Backend
from resources.gpu.budget import Budgets
from resources.gpu.faultpoints import Death
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt, Intent
from resources.gpu.runner import JobResult, Policy, Runner
from resources.storage import FileStore
from tests.fakes.scripted_backend import MOST_USD, USD, Script, ScriptedBackend

TABLES = [tables.jobs, tables.attempts, tables.events]
QUICK = Policy(poll_min_s=0.001, poll_max_s=0.005, silence_limit_s=0.05, retry_pause_s=0.0, shield_s=0.05)
RUNS_ON = Script(states=("running",))  # never ends by itself
WAITS_ON = Script(states=("queued",), cost_usd=0.0)


class Killed(Death):
    """The process is gone: nothing in it handles this."""


class Clock:
    """The wall clock, and what the test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.ahead


@dataclass
class House:
    """One ledger, one store, one service; as many runners as a test wants."""

    ledger: Ledger
    store: FileStore
    backend: ScriptedBackend
    clock: Clock

    def runner(self, *, budget: float = 1.0, backend: Backend | None = None, **policy: Any) -> Runner:
        """Another process that works on it."""
        rules = replace(QUICK, **policy)
        return Runner(self.ledger, backend or self.backend, self.store, Budgets(budget), policy=rules)

    def attempts(self, wanted: Job) -> list[Attempt]:
        """All attempts of a job."""
        return self.ledger.attempts(self.print(wanted))

    def print(self, wanted: Job) -> str:
        """A job's fingerprint here."""
        return wanted.fingerprint(self.backend.profile(wanted))

    def intend(self, wanted: Job, *, owner: str = "dead") -> Attempt:
        """The intent that a process wrote before it died."""
        row = self.ledger.open(wanted, backend="scripted", profile=self.backend.profile(wanted))
        intent = Intent("scripted", "memory", owner, 60.0, None, USD, MOST_USD, 900.0, 1800.0)
        attempt = self.ledger.begin(row.fingerprint, intent, Budgets(1.0))
        assert attempt is not None
        return attempt

    def object_of(self, result: JobResult) -> Path:
        """The file of a result's first output."""
        sha256: str = result.outputs[0]["sha256"]
        return self.store.root / "images" / sha256[:2] / f"{sha256}.png"


def job(name: str = "a", **changes: Any) -> Job:
    """A small picture job."""
    spec = OutputSpec(name, "image", 64, 48)
    return replace(Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (spec,), label=name), **changes)


def training(name: str = "mara") -> Job:
    """A LoRA training."""
    return Job("training", {"base_model": "flux-dev", "steps": 9, "n": name}, (OutputSpec(name, "lora"),), label=name)


def states(attempts: list[Attempt]) -> list[str]:
    """Their states, oldest first."""
    return [attempt.state for attempt in attempts]


def ledger_in(folder: Path) -> sa.Engine:
    """A ledger in a file: several threads and processes could share it."""
    engine = open_engine(f"sqlite:///{folder}/ledger.db")
    metadata.create_all(engine, tables=TABLES)
    return engine


def house_on(engine: sa.Engine, folder: Path) -> House:
    """A house on that ledger, with a store of its own."""
    clock = Clock()
    return House(Ledger(engine, clock=clock), FileStore(folder / "store"), ScriptedBackend(), clock)


def emptied(engine: sa.Engine) -> None:
    """Forget everything in that ledger."""
    with writing(engine) as db:
        for table in reversed(TABLES):
            db.execute(sa.delete(table))
