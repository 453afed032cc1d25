"""The ledger: every job, every attempt, every state it went through, and every dollar.

Belongs here: rows and the rules about them that must hold whatever crashes (one open attempt per job, sticky terminal
states, fenced leases, money reserved before it is spent). Their columns are in `tables`, the sums in `budget`; talking
to a backend is the runner's business.

Times are seconds since the epoch (UTC) or durations in seconds; money is USD.
"""

from __future__ import annotations

import hmac
import secrets
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from resources.database import clock_of, lock, reading, writing
from resources.gpu.backend import Diagnosis
from resources.gpu.budget import DAY_S, Budgets, committed, refuse_what_does_not_fit
from resources.gpu.errors import GpuError
from resources.gpu.job import Job
from resources.gpu.records import TERMINAL_STATES, Attempt, Intent, JobRow
from resources.gpu.tables import attempts, events, jobs

_MOVES: dict[str, frozenset[str]] = {
    "intended": frozenset({"submitted", "unknown", "failed", "cancelled"}),
    "submitted": frozenset({"queued", "running", "unknown"}) | TERMINAL_STATES,
    "queued": frozenset({"running", "unknown"}) | TERMINAL_STATES,
    "running": frozenset({"queued", "unknown"}) | TERMINAL_STATES,  # a platform may put a job back in its queue
    "unknown": frozenset({"submitted", "queued", "running"}) | TERMINAL_STATES,
}
MAX_TEXT = 4_000  # characters of an error; a worker may return megabytes of it
IDS_A_QUERY = 500  # databases limit how many values one statement holds
_LIMITS = {"error_code": 64, "error": MAX_TEXT, "diagnosis": MAX_TEXT, "way_out": MAX_TEXT, "worker": 64}

# A range, not IS NOT NULL: both databases answer it from the unique index, however many attempts have ended.
_IS_OPEN = attempts.c.open_fingerprint > ""


class LedgerConflict(GpuError):
    """The row is not what the caller believed: a lease was lost, or the state is terminal already."""

    code = "ledger_conflict"


_COLUMNS = tuple(attempts.c[name] for name in Attempt.__dataclass_fields__)
_ROWS = sa.select(*_COLUMNS).order_by(attempts.c.intended_at, attempts.c.number)


class Ledger:
    """The tables above behind the few operations that keep their promises."""

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], float] | None = None) -> None:
        self.engine = engine
        self.clock = clock or clock_of(engine)

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

    def begin(self, fingerprint: str, intent: Intent, budgets: Budgets) -> Attempt | None:
        """Commit the intent and its reservation; None if the job has an open attempt or a result already.

        Raises OverBudget, with nothing written, if what is spent and open leaves no room in one of the budgets.
        """
        with writing(self.engine) as db:
            lock(db, "gpu_budget")
            now = self.clock()  # read under the lock, here and below: whoever waited for it comes later
            is_open = sa.exists().where(attempts.c.open_fingerprint == fingerprint)
            is_done = sa.exists().where(jobs.c.fingerprint == fingerprint, jobs.c.result.is_not(None))
            if db.execute(sa.select(is_open | is_done)).scalar_one():
                return None
            refuse_what_does_not_fit(
                db, budgets, fingerprint=fingerprint, run_id=intent.run_id, exposure_usd=intent.exposure_usd, now=now
            )
            number = db.execute(
                sa.select(sa.func.count()).select_from(attempts).where(attempts.c.fingerprint == fingerprint)
            ).scalar_one()
            row = db.execute(
                sa.insert(attempts)
                .values(
                    id=str(uuid.uuid4()), fingerprint=fingerprint, number=number + 1, backend=intent.backend,
                    endpoint=intent.endpoint, state="intended", open_fingerprint=fingerprint,
                    lease_owner=intent.owner, lease_token=1, lease_until=now + intent.lease_s, run_id=intent.run_id,
                    intended_at=now, queue_limit_s=intent.queue_limit_s, run_limit_s=intent.run_limit_s,
                    reserved_usd=intent.reserve_usd, exposure_usd=intent.exposure_usd, cost_usd=0.0,
                    queue_s=0.0, cold_s=0.0, exec_s=0.0, overhead_s=0.0, cold_usd=0.0, idle_usd=0.0,
                    webhook_token=secrets.token_urlsafe(32),
                )
                .returning(*_COLUMNS)
            ).one()  # fmt: skip
            begun = Attempt(*row)
            _note(db, begun.id, now, "", "intended", _reserved(intent))
        return begun

    def attempt(self, attempt_id: str) -> Attempt:
        """One attempt by id. Raises KeyError."""
        found = self._select(attempts.c.id == attempt_id)
        if not found:
            raise KeyError(attempt_id)
        return found[0]

    def read(self, attempt_ids: Iterable[str]) -> dict[str, Attempt]:
        """Those attempts as they are now, by id; one query for 500 of them."""
        ids = list(attempt_ids)
        parts = (ids[at : at + IDS_A_QUERY] for at in range(0, len(ids), IDS_A_QUERY))
        return {found.id: found for part in parts for found in self._select(attempts.c.id.in_(part))}

    def attempts(self, fingerprint: str) -> list[Attempt]:
        """All attempts of a job, oldest first."""
        return self._select(attempts.c.fingerprint == fingerprint)

    def open_attempt(self, fingerprint: str) -> Attempt | None:
        """The job's open attempt, or None."""
        found = self._select(attempts.c.open_fingerprint == fingerprint)
        return found[0] if found else None

    def open_attempts(self, kind: str | None = None) -> list[Attempt]:
        """Every open attempt (of one kind of job), oldest first."""
        where: sa.ColumnElement[bool] = _IS_OPEN
        if kind is not None:
            where &= attempts.c.fingerprint.in_(sa.select(jobs.c.fingerprint).where(jobs.c.kind == kind))
        return self._select(where)

    def sent_to(self, endpoint: str, *, since: float) -> bool:
        """True if any attempt was meant for that endpoint since then, seconds since the epoch; open or over."""
        query = sa.select(attempts.c.id).where(attempts.c.intended_at >= since, attempts.c.endpoint == endpoint)
        with reading(self.engine) as db:
            return db.execute(query.limit(1)).first() is not None

    def take_lease(self, attempt: Attempt, owner: str, lease_s: float) -> Attempt | None:
        """Become (or stay) the one who may submit or cancel; None while somebody else's lease runs."""
        mine = attempts.c.lease_owner == owner
        with writing(self.engine) as db:
            now = self.clock()
            row = db.execute(
                sa.update(attempts)
                .where(attempts.c.id == attempt.id, _IS_OPEN)
                .where(mine | (attempts.c.lease_until < now))
                .values(
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    lease_token=sa.case((mine, attempts.c.lease_token), else_=attempts.c.lease_token + 1),
                )
                .returning(*_COLUMNS)
            ).first()
        return Attempt(*row) if row else None

    def renew(self, owner: str, lease_s: float) -> int:
        """Keep every lease that `owner` holds, in one statement; returns how many those are."""
        with writing(self.engine) as db:
            until = self.clock() + lease_s
            mine = sa.update(attempts).where(attempts.c.lease_owner == owner, _IS_OPEN)
            return db.execute(mine.values(lease_until=until)).rowcount

    def release(self, owner: str) -> int:
        """Let go of every lease that `owner` holds: whoever comes next need not wait for it to run out."""
        with writing(self.engine) as db:
            mine = sa.update(attempts).where(attempts.c.lease_owner == owner, _IS_OPEN)
            return db.execute(mine.values(lease_until=0.0)).rowcount

    def wake(self, attempt_id: str, token: str, claimed_id: str | None = None) -> bool:
        """Somebody who knows its token says that an attempt moved; False if it is not the token of that attempt.

        Nothing is believed: its followers ask the far side sooner, and verify `claimed_id` before they use it. A wrong
        token writes nothing and waits for nobody.
        """
        query = sa.select(attempts.c.webhook_token).where(attempts.c.id == attempt_id)  # a token never changes
        with reading(self.engine) as db:
            known = db.execute(query).scalar_one_or_none() or ""
        if not hmac.compare_digest(known.encode(), token.encode()) or not token:
            return False
        with writing(self.engine) as db:
            values: dict[str, Any] = {"woken_at": self.clock()}
            if claimed_id:
                values["claimed_id"] = _clean(claimed_id, 200)
            db.execute(sa.update(attempts).where(attempts.c.id == attempt_id).values(**values))
        return True

    def woken(self) -> dict[str, float]:
        """Id -> time of the last `wake`, of every open attempt that was woken: for comparing with an earlier answer."""
        query = sa.select(attempts.c.id, attempts.c.woken_at).where(attempts.c.woken_at.is_not(None), _IS_OPEN)
        with reading(self.engine) as db:
            return {row.id: row.woken_at for row in db.execute(query)}

    def diagnose(self, attempt: Attempt, verdict: Diagnosis) -> None:
        """Note why an open attempt does not move, by what that is known, and what a person may do."""
        with writing(self.engine) as db:
            mine = sa.update(attempts).where(attempts.c.id == attempt.id, _IS_OPEN)
            db.execute(mine.values(**_cleaned(told(verdict, self.clock()))))

    def move(self, attempt: Attempt, state: str, *, note: str = "", **values: object) -> Attempt:
        """Move an open attempt to `state`; terminal is sticky, and a lost lease cannot move it.

        A terminal move settles the attempt in the same transaction: `values` hold what it cost, its reservation is
        given back. Raises LedgerConflict if the row went elsewhere meanwhile.
        """
        if state == attempt.state:
            return attempt
        if state not in _MOVES.get(attempt.state, frozenset()):
            raise LedgerConflict(f"Attempt {attempt.id} is {attempt.state}; it cannot become {state}.")
        values = _cleaned(values)
        with writing(self.engine) as db:
            now = self.clock()
            if state in TERMINAL_STATES:
                values = _ending(now) | values
            row = db.execute(
                sa.update(attempts)
                .where(attempts.c.id == attempt.id, attempts.c.state == attempt.state)
                .where(attempts.c.lease_token == attempt.lease_token)
                .values(state=state, **values)
                .returning(*_COLUMNS)
            ).first()
            if row is None:
                raise LedgerConflict(f"Attempt {attempt.id} is no longer {attempt.state}, or its lease was taken over.")
            _note(db, attempt.id, now, attempt.state, state, note)
        return Attempt(*row)

    def learned(self, attempt: Attempt, remote_id: str, note: str) -> Attempt | None:
        """Record where a submission arrived; None if the attempt was ended meanwhile.

        What the far side answered is a fact and no decision: it needs no lease, and is never thrown away.
        """
        with writing(self.engine) as db:
            now = self.clock()
            query = sa.select(attempts.c.state, attempts.c.remote_id).where(attempts.c.id == attempt.id)
            state, known = db.execute(query.with_for_update()).one()
            if state in ("intended", "unknown") and known is None:
                values = {"state": "submitted", "remote_id": remote_id, "submitted_at": now}
                db.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(**values))
                _note(db, attempt.id, now, state, "submitted", note)
        found = self.attempt(attempt.id)
        return found if found.is_open else None

    def accept(self, attempt: Attempt, result: list[dict[str, Any]], **settlement: Any) -> bool:
        """Record the one accepted result and settle its attempt, in one transaction.

        Returns False if another attempt's result was accepted before; this attempt is settled all the same.
        """
        count = len(settlement.get("refused") or ())
        told = f"accepted {len(result)} outputs" + (f", refused {count}" if count else "")
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
                .values(state="succeeded", **(_ending(now) | _cleaned(settlement)))
            )
            _note(db, attempt.id, now, state, "succeeded", told if first else "late")
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
            return committed(db, since=self.clock() - window_s).usd

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
        with reading(self.engine) as db:
            return [Attempt(*row) for row in db.execute(_ROWS.where(where))]


def told(verdict: Diagnosis, now: float) -> dict[str, Any]:
    """A verdict as columns; `evidence` says when it was found."""
    evidence = {**verdict.evidence, "code": verdict.code, "at": now}
    return {"diagnosis": verdict.text, "evidence": evidence, "way_out": verdict.next_command}


def _reserved(intent: Intent) -> str:
    return f"reserved ${intent.reserve_usd:.4f}" + (f"; {intent.note}" if intent.note else "")


def _ending(now: float) -> dict[str, Any]:
    """What every end writes: settled, its reservation given back, room for another attempt."""
    return {
        "finished_at": now,
        "settled_at": now,
        "open_fingerprint": None,
        "reserved_usd": 0.0,
        "cost_basis": "reported",
    }


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    """The columns that hold somebody else's words, as every database takes them."""
    return {k: _clean(str(v), _LIMITS[k]) if k in _LIMITS and v is not None else v for k, v in values.items()}


def _clean(text: str, limit: int) -> str:
    """A worker's words as every database takes them: no NUL, no half character, not endless."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:limit]


def _note(db: sa.Connection, attempt_id: str, at: float, before: str, after: str, note: str) -> None:
    db.execute(
        sa.insert(events).values(
            attempt_id=attempt_id, at=at, from_state=before, to_state=after, note=_clean(note, MAX_TEXT)
        )
    )
