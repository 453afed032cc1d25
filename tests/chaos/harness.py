"""One seed from its plan to its verdict: an account, lives that are killed, a drain, and what the checker says.

    account up -> lives, each forked and (mostly) killed -> no more faults -> settle and resume -> check

Belongs here: processes and their order. What goes wrong is the plan's, what a life does the worker's business. Whoever
calls `run_seed` must have no thread: it forks.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resources import images
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.official import OfficialContract
from resources.gpu.backends.runpod.service import Service
from resources.gpu.job import Job
from resources.gpu.ledger import Attempt
from resources.storage import StorageError
from tests.chaos import dilation
from tests.chaos.account import ENDPOINT, Account
from tests.chaos.checker import check
from tests.chaos.history import (
    History,
    JobRecord,
    RemoteJob,
    accepted_now,
    open_attempts,
    outputs_of,
    read_ledger,
)
from tests.chaos.jobs import jobs_of
from tests.chaos.plan import Life, Plan, plan_of
from tests.chaos.servers import Servers
from tests.chaos.worker import Place, live

HANGS_AFTER_S = 30.0  # real seconds; no life should take a tenth of it
QUIET_WITHIN_S = 8.0  # real seconds in which the far side's last jobs end by themselves: their ttl at this speed
LOOK_S = 0.004
MEMORY = Path("/dev/shm")  # a disk's fsync costs more than the rest of a seed, and SIGKILL does not ask for it


@dataclass
class Verdict:
    """What came of a seed; money in USD, times in real seconds."""

    seed: int
    problems: list[str]
    contract: str = ""
    postgres: bool = False
    hits: Counter[str] = field(default_factory=Counter)  # fault point -> times reached
    kills: Counter[str] = field(default_factory=Counter)  # fault point, or "at a random moment" -> SIGKILLs
    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    accepted: int = 0
    refused: int = 0
    attempts: int = 0
    presumed: int = 0
    remote: int = 0
    booked_usd: float = 0.0
    billed_usd: float = 0.0
    hidden_usd: float = 0.0
    executed_usd: float = 0.0
    wasted_usd: float = 0.0  # of what was executed: for no accepted result
    wall_s: float = 0.0
    cpu_s: float = 0.0
    folder: str = ""


class Seed:
    """The processes of one seed."""

    def __init__(self, plan: Plan, folder: Path, engine: sa.Engine, broken: str = "") -> None:
        self.plan, self.folder, self.engine, self.broken = plan, folder, engine, broken
        self.key = f"rp-chaos-secret-{plan.seed}"
        self.account = Account(plan, self.key, engine, folder / "account.txt")
        self.place = Place(folder, engine, self.key, self.account.where)
        self.jobs = jobs_of(plan)
        self.verdict = Verdict(plan.seed, [], plan.contract, plan.postgres)
        self.refusals: dict[str, str] = {}
        self.earlier: list[dict[str, str]] = []
        self.sent_by_settling = 0
        self._lives = 0

    def run(self) -> History:
        """All lives, the drain, and what is left to look at."""
        running: list[tuple[Life, int, float]] = []
        for life in self.plan.lives:
            if not life.beside:
                self._wait(running)
                running = []
            running.append(self._start(life))
        self._wait(running)
        self.account.calm()
        for ask in ("settle", "resume", "settle") if self.plan.settle_first else ("resume", "settle"):
            getattr(self, f"_{ask}")()
        return self._history()

    # ---- lives

    def _start(self, life: Life) -> tuple[Life, int, float]:
        self._lives += 1
        self.engine.dispose()  # no connection is shared with a child
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child lets it in once it is ready
        pid = os.fork()
        if pid == 0:
            live(self.place, self.plan, self._lives, life, self.jobs, self.account.pace, self.broken)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return life, pid, dilation.real()

    def _wait(self, running: Iterable[tuple[Life, int, float]]) -> list[int]:
        """Wait for all of them, killing and interrupting when their time has come; returns how each ended."""
        left, ended = list(running), []
        speed = self.account.pace.speed
        struck: set[int] = set()
        while left:
            for life, pid, since in list(left):
                done, status = os.waitpid(pid, os.WNOHANG)
                age = dilation.real() - since
                if done:
                    left.remove((life, pid, since))
                    ended.append(os.waitstatus_to_exitcode(status))
                elif age > HANGS_AFTER_S:
                    left.remove((life, pid, since))
                    ended.append(self._hung(life, pid))
                elif pid in struck:
                    continue
                elif life.kill_after_s is not None and age * speed >= life.kill_after_s:
                    struck.add(pid)
                    self._kill(pid, "at a random moment")
                elif life.interrupt_after_s is not None and age * speed >= life.interrupt_after_s:
                    struck.add(pid)
                    os.kill(pid, signal.SIGINT)
            dilation.really_sleep(LOOK_S)
        if ended:
            self.earlier.append(accepted_now(self.engine))
        return ended

    def _hung(self, life: Life, pid: int) -> int:
        """A process that does not end is a finding of its own."""
        stopped = ", terminated" if life.interrupt_after_s is not None else ""
        self.verdict.problems.append(f"every_process_ends: one that was to {life.ask}{stopped} hung")
        self._kill(pid, "because it hung")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _kill(self, pid: int, why: str) -> None:
        os.kill(pid, signal.SIGKILL)
        self.verdict.kills[why] += 1

    # ---- the drain

    def _settle(self) -> None:
        if not open_attempts(self.engine):
            return
        before = self.account.sent()
        self._well(Life("settle"))
        self.sent_by_settling += self.account.sent() - before

    def _resume(self) -> None:
        self._well(Life("resume", tuple(range(len(self.jobs)))))
        told = self.place.told(self._lives)
        self.refusals = json.loads(told.read_text()) if told.exists() else {}

    def _well(self, life: Life) -> None:
        """A life that nobody kills must end well."""
        [code] = self._wait([self._start(life)])
        if code:
            self.verdict.problems.append(
                f"harness: the process that was to {life.ask} ended with {code}: {self._said()}"
            )

    def _said(self) -> str:
        return self.place.output(self._lives).read_text()[-2000:]

    # ---- what is looked at

    def _history(self) -> History:
        give_up = dilation.real() + QUIET_WITHIN_S
        while (alive := self.account.alive()) and dilation.real() < give_up:
            dilation.really_sleep(0.05)
        report = self.account.report()
        jobs, attempts, events = read_ledger(self.engine)
        named = {job.fingerprint(_profile(job)): job for job in self.jobs}
        self._count(attempts, report, jobs)
        self.verdict.problems += [f"the fake itself: {text}" for text in report["errors"]]
        rows = {"the ledger": json.dumps([[asdict(a) for a in attempts], [asdict(e) for e in events]])}
        printed = {path.name: path.read_text(errors="replace") for path in self.folder.glob("*.txt")}
        return History(
            asked={fingerprint: job.label for fingerprint, job in named.items()},
            jobs=jobs,
            attempts=attempts,
            events=events,
            remote=report["jobs"],
            bill_usd=report["bill_usd"],
            hidden_usd=report["hidden_usd"],
            budgets=self.plan.budgets,
            refusals=self.refusals,
            alive=alive,
            unreadable=list(self._unreadable(named)),
            earlier=self.earlier,
            sent_by_settling=self.sent_by_settling,
            secrets={"the API key": self.key},
            texts=rows | printed,
            workers=report["workers"],
        )

    def _count(self, attempts: list[Attempt], report: dict[str, Any], jobs: dict[str, JobRecord]) -> None:
        verdict, remote = self.verdict, report["jobs"]
        verdict.faults.update(report["faults"])
        for line in self.place.hits.read_text().splitlines() if self.place.hits.exists() else []:
            _, _, word = line.partition(" ")
            killed = word.startswith("KILL ")
            (verdict.kills if killed else verdict.hits)[word.removeprefix("KILL ")] += 1
        verdict.jobs, verdict.accepted = len(self.jobs), sum(job.accepted_attempt is not None for job in jobs.values())
        verdict.refused = len(self.refusals)
        verdict.attempts, verdict.remote = len(attempts), len(remote)
        verdict.presumed = sum(attempt.cost_basis == "presumed" for attempt in attempts)
        verdict.booked_usd = sum(attempt.cost_usd for attempt in attempts)
        verdict.billed_usd, verdict.hidden_usd = report["bill_usd"], report["hidden_usd"]
        verdict.executed_usd = sum(job.executed_usd for job in remote)
        verdict.wasted_usd = verdict.executed_usd - _useful_usd(attempts, remote, jobs)

    def _unreadable(self, named: dict[str, Job]) -> Iterator[str]:
        """Read every accepted output as a later stage would; each picture was accepted, or refused by name."""
        store = self.place.store()
        for fingerprint, (outputs, refused) in outputs_of(self.engine).items():
            job = named[fingerprint]
            wanted = {spec.name: spec for spec in job.outputs}
            names = [output["name"] for output in outputs]
            if sorted([*names, *refused]) != sorted(wanted):
                yield f"{job.label}: its accepted outputs are {names}, refused are {refused}"
            for output in outputs:
                spec = wanted[output["name"]]
                try:
                    data = store.get("images" if spec.media == "image" else "loras", output["sha256"])
                    if spec.media == "image":
                        images.decode(data, size=(spec.width, spec.height))
                except (StorageError, images.ImageRejected) as error:
                    yield f"{job.label}: {error}"


def run_seed(seed: int, *, servers: Servers, broken: str = "", keep: bool = False) -> Verdict:
    """Run one seed and judge it; `keep` leaves its folder where it is, named in the verdict."""
    assert threading.active_count() == 1, "this process forks: it must have no thread"
    begun, used = dilation.real(), _cpu_s()
    plan = plan_of(seed)
    if plan.postgres and not servers.postgres:
        plan = replace(plan, postgres=False)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=MEMORY if MEMORY.is_dir() else None))
    with servers.database(plan, folder) as engine:
        one = Seed(plan, folder, engine, broken)
        try:
            history = one.run()
        finally:
            one.account.close()
    verdict = one.verdict
    verdict.problems += check(history)
    verdict.wall_s, verdict.cpu_s = dilation.real() - begun, _cpu_s() - used
    if keep:
        (folder / "story.txt").write_text(f"{plan}\n\n{history.story()}\n" + "\n".join(verdict.problems))
        verdict.folder = str(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _profile(job: Job) -> str:
    """What the killed process puts into a fingerprint beside the job."""
    service = Service("http://127.0.0.1/v2", "no-key")
    return RunPodBackend(service, Endpoints(ENDPOINT), OfficialContract(), "comfyui").profile(job)


def _useful_usd(attempts: list[Attempt], remote: list[RemoteJob], jobs: dict[str, JobRecord]) -> float:
    """What was executed once for each accepted result: the dearest of its runs, the others were for nothing."""
    job_of = {attempt.id.replace("-", "")[:12]: attempt.fingerprint for attempt in attempts}
    dearest: dict[str, float] = {}
    for job in remote:
        fingerprint = job_of.get(job.attempt.replace("-", "")[:12], "")
        if (row := jobs.get(fingerprint)) is not None and row.accepted_attempt is not None:
            dearest[fingerprint] = max(dearest.get(fingerprint, 0.0), job.executed_usd)
    return sum(dearest.values())


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in both)
