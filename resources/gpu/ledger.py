"""The ledger: every job, every attempt, every state it went through, and every dollar.

Belongs here: rows and the rules about them that must hold whatever crashes (one open attempt per job, sticky terminal
states, fenced leases, money reserved before it is spent). Talking to a backend is the runner's business.

Times are seconds since the epoch (UTC) or durations in seconds; money is USD.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.database import lock, metadata, reading, writing
from resources.gpu.errors import GpuError, OverBudget
from resources.gpu.job import Job

OPEN_STATES = frozenset({"intended", "submitted", "queued", "running", "unknown"})
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "timed_out", "lost"})
_MOVES: dict[str, frozenset[str]] = {
    "intended": frozenset({"submitted", "unknown", "failed", "cancelled"}),
    "submitted": frozenset({"queued", "running", "unknown"}) | TERMINAL_STATES,
    "queued": frozenset({"running", "unknown"}) | TERMINAL_STATES,
    "running": frozenset({"queued", "unknown"}) | TERMINAL_STATES,  # a platform may put a job back in its queue
    "unknown": frozenset({"submitted", "queued", "running"}) | TERMINAL_STATES,
}
DAY_S = 86_400.0
ROUNDING_USD = 1e-9  # sums of floats: ten times $0.10 fit into a budget of $1
MAX_TEXT = 4_000  # characters of an error; a worker may return megabytes of it

jobs = sa.Table(
    "gpu_jobs",
    metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
    sa.Column("backend", sa.String(16), nullable=False),
    sa.Column("profile", sa.String(200), nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("result", sa.JSON),  # the accepted outputs; set once
    sa.Column("accepted_attempt", sa.String(36)),
    sa.Column("accepted_at", sa.Float),
)

attempts = sa.Table(
    "gpu_attempts",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("fingerprint", sa.ForeignKey("gpu_jobs.fingerprint"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("backend", sa.String(16), nullable=False),
    sa.Column("endpoint", sa.String(200), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # Equal to the fingerprint while the attempt is open, else NULL: the unique index is the promise
    # "at most one paid attempt is knowingly open".
    sa.Column("open_fingerprint", sa.String(64), unique=True),
    sa.Column("remote_id", sa.String(200)),
    sa.Column("lease_owner", sa.String(100)),
    sa.Column("lease_token", sa.Integer, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("run_id", sa.String(64)),
    sa.Column("intended_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("settled_at", sa.Float, index=True),
    sa.Column("queue_limit_s", sa.Float, nullable=False),
    sa.Column("run_limit_s", sa.Float, nullable=False),
    sa.Column("reserved_usd", sa.Float, nullable=False),
    sa.Column("exposure_usd", sa.Float, nullable=False),  # the most that this attempt can cost
    sa.Column("cost_usd", sa.Float, nullable=False),
    sa.Column("queue_s", sa.Float, nullable=False),
    sa.Column("cold_s", sa.Float, nullable=False),
    sa.Column("exec_s", sa.Float, nullable=False),
    sa.Column("overhead_s", sa.Float, nullable=False),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("diagnosis", sa.Text),
    sa.UniqueConstraint("fingerprint", "number"),
    sa.Index("ix_gpu_attempts_state", "state"),
)

events = sa.Table(
    "gpu_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("attempt_id", sa.ForeignKey("gpu_attempts.id"), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("from_state", sa.String(12), nullable=False),
    sa.Column("to_state", sa.String(12), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)


class LedgerConflict(GpuError):
    """The row is not what the caller believed: a lease was lost, or the state is terminal already."""

    code = "ledger_conflict"


@dataclass(frozen=True)
class Attempt:
    """One row of gpu_attempts, as it was when read."""

    id: str
    fingerprint: str
    number: int
    backend: str
    endpoint: str
    state: str
    remote_id: str | None
    lease_owner: str | None
    lease_token: int
    lease_until: float
    run_id: str | None
    intended_at: float
    submitted_at: float | None
    started_at: float | None
    finished_at: float | None
    settled_at: float | None
    queue_limit_s: float
    run_limit_s: float
    reserved_usd: float
    exposure_usd: float
    cost_usd: float
    queue_s: float
    cold_s: float
    exec_s: float
    overhead_s: float
    error_code: str | None
    error: str | None
    diagnosis: str | None

    @property
    def is_open(self) -> bool:
        """True until the attempt reached a terminal state."""
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class JobRow:
    """One row of gpu_jobs."""

    job: Job
    fingerprint: str
    result: list[dict[str, Any]] | None
    accepted_attempt: str | None


@dataclass(frozen=True)
class Intent:
    """What an attempt may take: who runs it, where, its money and its deadlines."""

    backend: str
    endpoint: str
    owner: str  # the lease's
    lease_s: float
    run_id: str | None
    reserve_usd: float
    exposure_usd: float
    queue_limit_s: float
    run_limit_s: float


class Ledger:
    """The tables above behind the few operations that keep their promises."""

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.clock = clock

    def open(self, job: Job, *, backend: str, profile: str) -> JobRow:
        """The job's row; written on first sight, never changed after."""
        fingerprint = job.fingerprint(profile)
        row = self.job(fingerprint)
        if row is not None:
            return row
        values = {
            "fingerprint": fingerprint,
            "kind": job.kind,
            "label": _clean(job.label, 200),
            "owner": _clean(job.owner, 64),
            "backend": backend,
            "profile": profile,
            "request": job.as_dict(),
            "created_at": self.clock(),
        }
        with writing(self.engine) as db:
            lock(db, fingerprint)
            if not db.execute(sa.select(jobs.c.kind).where(jobs.c.fingerprint == fingerprint)).first():
                db.execute(sa.insert(jobs).values(**values))
        return JobRow(job, fingerprint, None, None)

    def job(self, fingerprint: str) -> JobRow | None:
        """The job of that fingerprint, or None."""
        with reading(self.engine) as db:
            row = db.execute(sa.select(jobs).where(jobs.c.fingerprint == fingerprint)).mappings().first()
        if row is None:
            return None
        return JobRow(Job.from_dict(row["request"]), fingerprint, row["result"], row["accepted_attempt"])

    def begin(self, fingerprint: str, intent: Intent, *, daily_budget_usd: float) -> Attempt | None:
        """Commit the intent and its reservation; None if the job has an open attempt or a result already.

        Raises OverBudget, with nothing written, if today's spend and open exposure leave no room.
        """
        with writing(self.engine) as db:
            lock(db, "gpu_budget")
            now = self.clock()  # read under the lock, here and below: whoever waited for it comes later
            is_open = sa.exists().where(attempts.c.open_fingerprint == fingerprint)
            is_done = sa.exists().where(jobs.c.fingerprint == fingerprint, jobs.c.result.is_not(None))
            if db.execute(sa.select(is_open | is_done)).scalar_one():
                return None
            spent, reserved = _committed(db, since=now - DAY_S)
            if spent + reserved + intent.exposure_usd > daily_budget_usd + ROUNDING_USD:
                raise OverBudget(
                    f"This job can cost ${intent.exposure_usd:.4f}; of the daily budget of ${daily_budget_usd:.2f}, "
                    f"${spent:.4f} is spent and ${reserved:.4f} is reserved for open work.",
                    way_out="Raise RYLA_DAILY_BUDGET_USD or wait until older work leaves the 24-hour window.",
                )
            number = db.execute(
                sa.select(sa.func.count()).select_from(attempts).where(attempts.c.fingerprint == fingerprint)
            ).scalar_one()
            attempt_id = str(uuid.uuid4())
            db.execute(
                sa.insert(attempts).values(
                    id=attempt_id, fingerprint=fingerprint, number=number + 1, backend=intent.backend,
                    endpoint=intent.endpoint, state="intended", open_fingerprint=fingerprint,
                    lease_owner=intent.owner, lease_token=1, lease_until=now + intent.lease_s, run_id=intent.run_id,
                    intended_at=now, queue_limit_s=intent.queue_limit_s, run_limit_s=intent.run_limit_s,
                    reserved_usd=intent.reserve_usd, exposure_usd=intent.exposure_usd, cost_usd=0.0,
                    queue_s=0.0, cold_s=0.0, exec_s=0.0, overhead_s=0.0,
                )
            )  # fmt: skip
            _note(db, attempt_id, now, "", "intended", f"reserved ${intent.reserve_usd:.4f}")
        return self.attempt(attempt_id)

    def attempt(self, attempt_id: str) -> Attempt:
        """One attempt by id. Raises KeyError."""
        found = self._select(attempts.c.id == attempt_id)
        if not found:
            raise KeyError(attempt_id)
        return found[0]

    def attempts(self, fingerprint: str) -> list[Attempt]:
        """All attempts of a job, oldest first."""
        return self._select(attempts.c.fingerprint == fingerprint)

    def open_attempt(self, fingerprint: str) -> Attempt | None:
        """The job's open attempt, or None."""
        found = self._select(attempts.c.open_fingerprint == fingerprint)
        return found[0] if found else None

    def open_attempts(self, kind: str | None = None) -> list[Attempt]:
        """Every open attempt (of one kind of job), oldest first."""
        where: sa.ColumnElement[bool] = attempts.c.open_fingerprint.is_not(None)
        if kind is not None:
            where &= attempts.c.fingerprint.in_(sa.select(jobs.c.fingerprint).where(jobs.c.kind == kind))
        return self._select(where)

    def take_lease(self, attempt: Attempt, owner: str, lease_s: float) -> Attempt | None:
        """Become (or stay) the one who may submit or cancel; None while somebody else's lease runs."""
        mine = attempts.c.lease_owner == owner
        with writing(self.engine) as db:
            now = self.clock()
            changed = db.execute(
                sa.update(attempts)
                .where(attempts.c.id == attempt.id, attempts.c.open_fingerprint.is_not(None))
                .where(mine | (attempts.c.lease_until < now))
                .values(
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    lease_token=sa.case((mine, attempts.c.lease_token), else_=attempts.c.lease_token + 1),
                )
            ).rowcount
        return self.attempt(attempt.id) if changed else None

    def move(self, attempt: Attempt, state: str, *, note: str = "", **values: object) -> Attempt:
        """Move an open attempt to `state`; terminal is sticky, and a lost lease cannot move it.

        A terminal move settles the attempt in the same transaction: `values` hold what it cost, its reservation is
        given back. Raises LedgerConflict if the row went elsewhere meanwhile.
        """
        if state == attempt.state:
            return attempt
        if state not in _MOVES.get(attempt.state, frozenset()):
            raise LedgerConflict(f"Attempt {attempt.id} is {attempt.state}; it cannot become {state}.")
        for name, limit in (("error_code", 64), ("error", MAX_TEXT), ("diagnosis", MAX_TEXT)):
            if name in values:
                values[name] = _clean(str(values[name]), limit)
        with writing(self.engine) as db:
            now = self.clock()
            if state in TERMINAL_STATES:
                ending = {"finished_at": now, "settled_at": now, "open_fingerprint": None, "reserved_usd": 0.0}
                values = ending | values
            changed = db.execute(
                sa.update(attempts)
                .where(attempts.c.id == attempt.id, attempts.c.state == attempt.state)
                .where(attempts.c.lease_token == attempt.lease_token)
                .values(state=state, **values)
            ).rowcount
            if not changed:
                raise LedgerConflict(f"Attempt {attempt.id} is no longer {attempt.state}, or its lease was taken over.")
            _note(db, attempt.id, now, attempt.state, state, note)
        return self.attempt(attempt.id)

    def accept(self, attempt: Attempt, result: list[dict[str, Any]], **settlement: float) -> bool:
        """Record the one accepted result and settle its attempt, in one transaction.

        Returns False if another attempt's result was accepted before; this attempt is settled all the same.
        """
        with writing(self.engine) as db:
            now = self.clock()
            row = sa.select(attempts.c.state).where(attempts.c.id == attempt.id).with_for_update()
            state = db.execute(row).scalar_one()
            if state in TERMINAL_STATES:
                return False
            first = db.execute(
                sa.update(jobs)
                .where(jobs.c.fingerprint == attempt.fingerprint, jobs.c.result.is_(None))
                .values(result=result, accepted_attempt=attempt.id, accepted_at=now)
            ).rowcount
            db.execute(
                sa.update(attempts)
                .where(attempts.c.id == attempt.id)
                .values(
                    state="succeeded", open_fingerprint=None, finished_at=now, settled_at=now, reserved_usd=0.0,
                    **settlement,
                )
            )  # fmt: skip
            _note(db, attempt.id, now, state, "succeeded", f"accepted {len(result)} outputs" if first else "late")
        return bool(first)

    def replace_result(self, attempt: Attempt, result: list[dict[str, Any]] | None) -> None:
        """Replace what `attempt` made and the store lost; None: the job must be made again.

        Nothing happens if another attempt's result was accepted meanwhile.
        """
        values: dict[str, Any] = {"result": result}
        if result is None:
            values = {"result": sa.null(), "accepted_attempt": None, "accepted_at": None}
        with writing(self.engine) as db:
            db.execute(
                sa.update(jobs)
                .where(jobs.c.fingerprint == attempt.fingerprint, jobs.c.accepted_attempt == attempt.id)
                .values(**values)
            )

    def committed_usd(self, *, window_s: float = DAY_S) -> float:
        """Spent in the last `window_s` seconds plus the exposure of all that is open."""
        with reading(self.engine) as db:
            return sum(_committed(db, since=self.clock() - window_s))

    def cost_usd(self, fingerprints: Iterable[str]) -> float:
        """What all settled attempts of these jobs cost together."""
        with reading(self.engine) as db:
            where = attempts.c.fingerprint.in_(list(fingerprints))
            return float(
                db.execute(sa.select(sa.func.coalesce(sa.func.sum(attempts.c.cost_usd), 0.0)).where(where)).scalar_one()
            )

    def history(self, attempt_id: str) -> list[tuple[float, str, str]]:
        """(time, state, note) of every move of an attempt."""
        query = sa.select(events.c.at, events.c.to_state, events.c.note).where(events.c.attempt_id == attempt_id)
        with reading(self.engine) as db:
            return [(row.at, row.to_state, row.note) for row in db.execute(query.order_by(events.c.id))]

    def _select(self, where: sa.ColumnElement[bool]) -> list[Attempt]:
        columns = [attempts.c[name] for name in Attempt.__dataclass_fields__]
        with reading(self.engine) as db:
            rows = db.execute(sa.select(*columns).where(where).order_by(attempts.c.intended_at, attempts.c.number))
            return [Attempt(*row) for row in rows]


def _committed(db: sa.Connection, *, since: float) -> tuple[float, float]:
    """What was spent since then, and the exposure of all that is not settled."""
    is_open = attempts.c.settled_at.is_(None)
    spent = sa.func.sum(sa.case((is_open, 0.0), else_=attempts.c.cost_usd))
    reserved = sa.func.sum(sa.case((is_open, attempts.c.exposure_usd), else_=0.0))
    row = db.execute(sa.select(spent, reserved).where(is_open | (attempts.c.settled_at >= since))).one()
    return float(row[0] or 0.0), float(row[1] or 0.0)


def _clean(text: str, limit: int) -> str:
    """A worker's words as every database takes them: no NUL, no half character, not endless."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:limit]


def _note(db: sa.Connection, attempt_id: str, at: float, before: str, after: str, note: str) -> None:
    db.execute(
        sa.insert(events).values(
            attempt_id=attempt_id, at=at, from_state=before, to_state=after, note=_clean(note, MAX_TEXT)
        )
    )
