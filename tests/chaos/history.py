"""What happened in one seed, as both sides recorded it: the ledger's rows and events, the far side's jobs and bill.

Plain data, and its reading from a database. What must be true of it is in checker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from resources.database import reading
from resources.gpu.budget import Budgets
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt
from resources.gpu.tables import attempts as attempts_table
from resources.gpu.tables import events as events_table
from resources.gpu.tables import jobs as jobs_table

POD = "pod"  # the endpoint of a RemoteJob that is a pod


@dataclass(frozen=True)
class Event:
    """One row of gpu_events."""

    attempt: str
    at: float
    before: str
    after: str
    note: str


@dataclass(frozen=True)
class JobRecord:
    """A job in the ledger at the end; `owner` is its character."""

    fingerprint: str
    owner: str
    accepted_attempt: str | None
    outputs: int


@dataclass(frozen=True)
class RemoteJob:
    """A job that the far side accepted, and what it cost there; `attempt` is the id, or the first 12 digits of it.

    A pod is one too, its endpoint is POD: `executed_usd` is its whole rent, at `usd_per_s`.
    """

    id: str
    endpoint: str
    at: float
    attempt: str
    fingerprint: str = ""
    status: str = "COMPLETED"
    runs: int = 1
    ended: float | None = None  # None: it has not, or the far side forgot it before
    executed_usd: float = 0.0  # all executions alone, without starts and idle time
    hidden_usd: float = 0.0  # runs that no answer of the API tells of: twins, and those before a requeue
    damaged: int = 0  # runs whose first picture was spoiled before it was delivered
    usd_per_s: float = 0.0
    vanished: bool = False  # somebody else deleted the pod: from then on nothing tells that it ever was


@dataclass(frozen=True)
class RemoteWorker:
    """A machine of the far side: what it cost from start to stop, and the jobs whose runs began there."""

    id: str
    since: float
    usd: float
    jobs: tuple[str, ...]
    hidden_usd: float = 0.0  # before its first job was even there, which no answer of the API tells; all of it if idle
    usd_per_s: float = 0.0


@dataclass
class History:
    """One seed's record."""

    asked: dict[str, str]  # fingerprint -> label, of every job that a process was ever asked for
    jobs: dict[str, JobRecord]
    attempts: list[Attempt]
    events: list[Event]
    remote: list[RemoteJob]
    bill_usd: float
    hidden_usd: float = 0.0  # of it for what no answer of the API tells of: such runs, and workers too early or in vain
    budgets: Budgets = field(default_factory=lambda: Budgets(1_000.0))
    refusals: dict[str, str] = field(default_factory=dict)  # fingerprint -> what the last caller was told
    bereft: dict[str, int] = field(default_factory=dict)  # fingerprint -> times that the store lost what was accepted
    alive: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # accepted outputs that the store cannot give back
    earlier: list[dict[str, str]] = field(default_factory=list)  # after each life: fingerprint -> accepted attempt
    begun_by_settling: int = 0  # attempts that began while only leftovers were settled
    secrets: dict[str, str] = field(default_factory=dict)  # name -> what must be nowhere
    texts: dict[str, str] = field(default_factory=dict)  # name -> all that was printed, logged, stored
    workers: list[RemoteWorker] = field(default_factory=list)

    def of(self, fingerprint: str) -> list[Attempt]:
        """The attempts of a job, oldest first."""
        return [attempt for attempt in self.attempts if attempt.fingerprint == fingerprint]

    def untold_usd(self, job: RemoteJob) -> float:
        """Of a job's cost, what only the reconciled bill tells: hidden runs, a pod between its attempt's end and the
        sweep, and a pod that had vanished before anybody learned its id.
        """
        sender = self.attempt_of(job)
        if job.endpoint != POD or sender is None or sender.settled_at is None:
            return job.hidden_usd
        if job.vanished and sender.remote_id is None:
            return job.executed_usd
        if job.ended is None or job.ended <= sender.settled_at:
            return 0.0
        return (job.ended - sender.settled_at + 1.0) * job.usd_per_s  # a second begun is billed whole

    @property
    def untold_total_usd(self) -> float:
        """The same of everything."""
        return self.hidden_usd + sum(self.untold_usd(job) for job in self.remote if job.endpoint == POD)

    def story(self) -> str:
        """All of it for a person, in the order of time."""
        labels = {attempt.id: self.asked.get(attempt.fingerprint, "?") for attempt in self.attempts}
        lines = [(e.at, f"{labels.get(e.attempt, '?')} {e.attempt[:8]} -> {e.after}: {e.note}") for e in self.events]
        for job in self.remote:
            sender = self.attempt_of(job)
            words = f"{sender.id[:8]} arrived as {job.id}" if sender else f"{job.id} arrived, from nobody"
            ended = "" if job.ended is None else f", ended {job.ended:.2f}"
            lines.append(
                (job.at, f"  far: {words}, {job.status} after {job.runs} runs, ${job.executed_usd:.6f}{ended}")
            )
        money = [
            f"{labels[a.id]} {a.id[:8]} {a.state}: ${a.cost_usd:.6f} {a.cost_basis} (cold ${a.cold_usd:.6f}, idle "
            f"${a.idle_usd:.6f}), waited {a.queue_s:.1f} s, cold {a.cold_s:.1f} s, ran {a.exec_s:.1f} s"
            for a in self.attempts
        ]
        workers = [
            f"{w.since:.2f} worker {w.id}: ${w.usd:.6f}, ran {', '.join(w.jobs) or 'nothing'}" for w in self.workers
        ]
        return "\n".join([*(f"{at:.2f} {words}" for at, words in sorted(lines)), "", *money, "", *workers, ""])

    def attempt_of(self, job: RemoteJob) -> Attempt | None:
        """The attempt that sent a remote job, by what the job itself tells."""
        mark = job.attempt.replace("-", "")
        found = [a for a in self.attempts if mark and a.id.replace("-", "").startswith(mark)]
        return found[0] if len(found) == 1 else None


def read_ledger(engine: sa.Engine) -> tuple[dict[str, JobRecord], list[Attempt], list[Event]]:
    """Jobs, attempts and events (in the order of their commits) of a ledger."""
    columns = [attempts_table.c[name] for name in Attempt.__dataclass_fields__]
    e = events_table.c
    with reading(engine) as db:
        jobs = {
            row.fingerprint: JobRecord(row.fingerprint, row.owner, row.accepted_attempt, len(row.result or []))
            for row in db.execute(sa.select(jobs_table))
        }
        found = [Attempt(*row) for row in db.execute(sa.select(*columns).order_by(attempts_table.c.intended_at))]
        query = sa.select(e.attempt_id, e.at, e.from_state, e.to_state, e.note).order_by(e.id)
        events = [Event(*row) for row in db.execute(query)]
    return jobs, found, events


def accepted_now(engine: sa.Engine) -> dict[str, str]:
    """Fingerprint -> accepted attempt, as the ledger says at this moment."""
    query = sa.select(jobs_table.c.fingerprint, jobs_table.c.accepted_attempt)
    with reading(engine) as db:
        return {row[0]: row[1] for row in db.execute(query.where(jobs_table.c.accepted_attempt.is_not(None)))}


def outputs_of(engine: sa.Engine) -> dict[str, tuple[list[dict[str, Any]], list[str]]]:
    """Fingerprint -> the records of its accepted outputs, and the names of those that were refused beside them."""
    joined = jobs_table.join(attempts_table, jobs_table.c.accepted_attempt == attempts_table.c.id)
    columns = (jobs_table.c.fingerprint, jobs_table.c.result, attempts_table.c.refused)
    with reading(engine) as db:
        rows = db.execute(sa.select(*columns).select_from(joined))
        return {row[0]: (row[1], [one["name"] for one in row[2] or []]) for row in rows if row[1]}


def attempts_begun(engine: sa.Engine) -> int:
    """How many attempts there are, however they ended."""
    with reading(engine) as db:
        return int(db.execute(sa.select(sa.func.count()).select_from(attempts_table)).scalar_one())


def open_attempts(engine: sa.Engine) -> int:
    """How many attempts are open."""
    return len(Ledger(engine).open_attempts())
