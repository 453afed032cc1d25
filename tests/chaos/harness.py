"""One seed from its plan to its verdict: an account, lives that are killed, a drain, and what the checker says.

    account up -> lives, each forked and (mostly) killed -> no more faults -> settle and resume -> check

Belongs here: processes and their order. What goes wrong is the plan's, what a life does the worker's business, what is
read afterwards evidence's. Whoever calls `run_seed` must have no thread: it forks.
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
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from tests.chaos import dilation
from tests.chaos.account import Account
from tests.chaos.checker import check
from tests.chaos.evidence import Verdict, history_of
from tests.chaos.history import History, accepted_now, attempts_begun, open_attempts, outputs_of
from tests.chaos.jobs import jobs_of
from tests.chaos.plan import Life, Plan, plan_of
from tests.chaos.servers import Servers
from tests.chaos.worker import Place, live

HANGS_AFTER_S = 30.0  # real seconds; no life should take a tenth of it
QUIET_WITHIN_S = 8.0  # real seconds in which the far side's last jobs end by themselves: their ttl at this speed
LOOK_S = 0.004
MEMORY = Path("/dev/shm")  # a disk's fsync costs more than the rest of a seed, and SIGKILL does not ask for it


class Seed:
    """The processes of one seed."""

    def __init__(self, plan: Plan, folder: Path, engine: sa.Engine, broken: str = "") -> None:
        self.plan, self.folder, self.engine, self.broken = plan, folder, engine, broken
        self.key = f"rp-chaos-secret-{plan.seed}"
        self.account = Account(plan, self.key, engine, folder / "account.txt")
        self.place = Place(folder, engine, self.key, self.account.where)
        self.jobs = jobs_of(plan)
        self.verdict = Verdict(plan.seed, [], plan.contract, plan.postgres, plan.pods)
        self.refusals: dict[str, str] = {}
        self.earlier: list[dict[str, str]] = []
        self.bereft: Counter[str] = Counter()  # fingerprint -> times that the store lost its accepted result
        self.begun_by_settling = 0
        self._lives = 0
        self._running: set[int] = set()  # process ids

    def run(self) -> History:
        """All lives, the drain, and what is left to look at."""
        running: list[tuple[Life, int, float]] = []
        for life in self.plan.lives:
            if not life.beside:
                self._wait(running)
                running = []
            if life.bereft:
                self._lose_results()
            running.append(self._start(life))
        self._wait(running)
        self.account.calm()
        for ask in ("settle", "resume", "settle") if self.plan.settle_first else ("resume", "settle"):
            getattr(self, f"_{ask}")()
        return history_of(self, self._left_alive())

    def close(self) -> None:
        """End every process of it that still runs."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.account.close()

    # ---- lives

    def _start(self, life: Life) -> tuple[Life, int, float]:
        self._lives += 1
        self.engine.dispose()  # no connection is shared with a child
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child lets it in once it is ready
        pid = os.fork()
        if pid == 0:
            live(self.place, self.plan, self._lives, life, self.jobs, self.account.pace, self.broken)
        self._running.add(pid)
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
                    self._running.discard(pid)
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
        self._running.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _kill(self, pid: int, why: str) -> None:
        os.kill(pid, signal.SIGKILL)
        self.verdict.kills[why] += 1

    def _lose_results(self) -> None:
        """The store loses the bytes of all that was accepted."""
        store = self.place.store()
        for fingerprint, (outputs, _) in outputs_of(self.engine).items():
            self.bereft[fingerprint] += 1
            for output in outputs:
                store.lose("images" if output["media"] == "image" else "loras", output["sha256"])

    # ---- the drain

    def _settle(self) -> None:
        if not open_attempts(self.engine) and not self.plan.pods:
            return
        before = attempts_begun(self.engine)
        self._well(Life("settle"))
        self.begun_by_settling += attempts_begun(self.engine) - before

    def _resume(self) -> None:
        self._well(Life("resume", tuple(range(len(self.jobs)))))
        told = self.place.told(self._lives)
        self.refusals = json.loads(told.read_text()) if told.exists() else {}

    def _well(self, life: Life) -> None:
        """A life that nobody kills must end well."""
        [code] = self._wait([self._start(life)])
        if code:
            said = self.place.output(self._lives).read_text()[-2000:]
            self.verdict.problems.append(f"harness: the process that was to {life.ask} ended with {code}: {said}")

    def _left_alive(self) -> list[str]:
        """What the far side still works on when all that ends by itself has ended."""
        give_up = dilation.real() + QUIET_WITHIN_S
        while (alive := self.account.alive()) and dilation.real() < give_up:
            dilation.really_sleep(0.05)
        return alive


def run_seed(seed: int, *, servers: Servers, broken: str = "", keep: bool = False) -> Verdict:
    """Run one seed and judge it; `keep` leaves its folder where it is, named in the verdict."""
    assert threading.active_count() == 1, "this process forks: it must have no thread"
    begun, used = dilation.real(), _cpu_s()
    plan = servers.can(plan_of(seed))
    folder = Path(tempfile.mkdtemp(prefix=f"{seed}-", dir=servers.template.parent))
    try:
        with servers.database(plan, folder) as engine:
            one = Seed(plan, folder, engine, broken)
            try:
                history = one.run()
            finally:
                one.close()
        verdict = one.verdict
        verdict.problems += check(history)
        verdict.wall_s, verdict.cpu_s = dilation.real() - begun, _cpu_s() - used
        if keep:
            (folder / "story.txt").write_text(f"{plan}\n\n{history.story()}\n" + "\n".join(verdict.problems))
            verdict.folder = str(folder)
        return verdict
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in both)
