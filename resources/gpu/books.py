"""The ledger as people ask about it: which attempts, what was spent on whom, what may have been spent unseen.

Belongs here: read-only questions, each answered by the database in a few indexed queries, never by a loop over its
rows. What may be written, and when, is `resources.gpu.ledger`'s business.

Money is USD, times are seconds since the epoch (UTC). "Spent" is what settled attempts cost; "reserved" the most that
open ones can cost, as far as we know where they are; "unknown" the most that those can cost of which we do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from resources.database import reading
from resources.gpu.budget import DAY_S
from resources.gpu.records import HOUR_S, MIN_PREFIX, SECONDS, Attempt, By, Entry, Span, Spend, Summary
from resources.gpu.tables import attempts, jobs

_OPEN = attempts.c.open_fingerprint > ""  # a range, which both databases answer from the unique index


class Books:
    """Questions to the ledger in this database."""

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.clock = clock

    def entries(
        self,
        *,
        states: Iterable[str] | None = None,
        character: str | None = None,
        run_id: str | None = None,
        since: float | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """The newest attempts that match all that is given."""
        where: list[sa.ColumnElement[bool]] = [sa.true()]
        if states is not None:
            where.append(attempts.c.state.in_(sorted(states)))
        if character is not None:
            where.append(jobs.c.owner == character)
        if run_id is not None:
            where.append(attempts.c.run_id == run_id)
        if since is not None:
            where.append(attempts.c.intended_at >= since)
        return self._entries(sa.and_(*where), limit)

    def found(self, prefix: str, *, limit: int = 20) -> list[Entry]:
        """The attempts whose id, or whose job's fingerprint, begins with `prefix` (at least MIN_PREFIX characters).

        Raises ValueError for a shorter one.
        """
        if len(prefix) < MIN_PREFIX:
            raise ValueError(f"{prefix!r} is shorter than {MIN_PREFIX} characters")
        return self._entries(_begins(attempts.c.id, prefix) | _begins(attempts.c.fingerprint, prefix), limit)

    def entry(self, attempt_id: str) -> Entry | None:
        """One attempt by its whole id."""
        found = self._entries(attempts.c.id == attempt_id, 1)
        return found[0] if found else None

    def left_alone(self, *, limit: int) -> list[Entry]:
        """Open attempts whose lease ended: nobody follows them. Longest alone first."""
        alone = _OPEN & (attempts.c.lease_until < self.clock())
        return self._entries(alone, limit, order=attempts.c.lease_until)

    def exposed(self, *, since: float) -> list[Entry]:
        """All attempts that may have cost money unseen, the dearest first.

        Open: of unknown outcome, or about to be sent when their process died. Settled since then: booked as presumed.
        """
        unseen = _OPEN & _unseen(self.clock())
        presumed = (attempts.c.cost_basis == "presumed") & (attempts.c.settled_at >= since)
        return self._entries(unseen | presumed, None, order=attempts.c.exposure_usd.desc())

    def spend(self, by: By, *, since: float, limit: int = 100) -> list[Spend]:
        """Money per day, character or run: of attempts that are open or were settled since then.

        A run's is all that it ever cost, as its budget counts. Days come newest first (an open attempt counts on the
        day of its intent), the others dearest first.
        """
        is_open = attempts.c.settled_at.is_(None)
        unseen = is_open & _unseen(self.clock())
        spent = _sum(~is_open, attempts.c.cost_usd)
        reserved, unknown = _sum(is_open & ~unseen, attempts.c.exposure_usd), _sum(unseen, attempts.c.exposure_usd)
        day = self._bucket(sa.func.coalesce(attempts.c.settled_at, attempts.c.intended_at), DAY_S)
        keys: dict[By, sa.ColumnElement[Any]] = {"day": day, "character": jobs.c.owner, "run": attempts.c.run_id}
        key = keys[by]
        where = is_open | (attempts.c.settled_at >= since)
        if by == "run":
            where |= attempts.c.run_id.in_(sa.select(attempts.c.run_id).where(where))
        query = (
            sa.select(key, sa.func.count(), spent, reserved, unknown)
            .select_from(attempts.join(jobs))
            .where(where)
            .group_by(key)
            .order_by(key.desc() if by == "day" else (spent + reserved + unknown).desc())
            .limit(limit)
        )
        scale = DAY_S if by == "day" else None
        with reading(self.engine) as db:
            return [Spend(_scaled(row[0], scale), row[1], *map(float, row[2:])) for row in db.execute(query)]

    def spans(self, *, backend: str, since: float, before_s: float, after_s: float) -> list[Span]:
        """The hours that attempts of that backend may be billed in, of those that may be billed at or after `since`.

        That is from `before_s` ahead of their intent to `after_s` past their settlement.
        """
        first = self._bucket(attempts.c.intended_at - before_s, HOUR_S)
        last = self._bucket(attempts.c.settled_at + after_s, HOUR_S)  # NULL of an open one
        presumed = _sum(attempts.c.cost_basis == "presumed", attempts.c.cost_usd)
        recent = attempts.c.settled_at.is_(None) | (attempts.c.settled_at >= since - after_s)
        query = (
            sa.select(attempts.c.endpoint, first, last, sa.func.count(), sa.func.sum(attempts.c.cost_usd), presumed)
            .where(attempts.c.backend == backend, recent)
            .group_by(attempts.c.endpoint, first, last)
        )
        with reading(self.engine) as db:
            return [
                Span(row[0], float(row[1]) * HOUR_S, _scaled(row[2], HOUR_S), row[3], float(row[4]), float(row[5]))
                for row in db.execute(query)
            ]

    def remote_ids(self, endpoint_id: str, *, since: float) -> list[str]:
        """Remote ids of attempts at an endpoint of that id that are open or were settled since then."""
        there = attempts.c.remote_id.startswith(f"{endpoint_id}/", autoescape=True)
        recent = attempts.c.settled_at.is_(None) | (attempts.c.settled_at >= since)
        query = sa.select(attempts.c.remote_id).where(there, recent)
        with reading(self.engine) as db:
            return [str(name) for name in db.execute(query).scalars()]

    def tokens(self, *, since: float, limit: int) -> dict[str, str]:
        """Attempt id -> its webhook token, a secret, of those begun since then: the newest `limit`, oldest first."""
        query = (
            sa.select(attempts.c.id, attempts.c.webhook_token)
            .where(attempts.c.intended_at >= since, attempts.c.webhook_token.is_not(None))
            .order_by(attempts.c.intended_at.desc())
            .limit(limit)
        )
        with reading(self.engine) as db:
            return {str(row.id): str(row.webhook_token) for row in reversed(db.execute(query).all())}

    def diagnoses(self, fingerprints: Iterable[str], *, limit: int = 5) -> list[str]:
        """What was found to hold these jobs up, newest first, each once."""
        said = (
            sa.select(attempts.c.diagnosis, sa.func.max(attempts.c.intended_at).label("at"))
            .where(attempts.c.fingerprint.in_(sorted(set(fingerprints))))
            .where(attempts.c.diagnosis.is_not(None), attempts.c.diagnosis != "")
            .group_by(attempts.c.diagnosis)
            .order_by(sa.desc("at"))
            .limit(limit)
        )
        with reading(self.engine) as db:
            return [str(row.diagnosis) for row in db.execute(said)]

    def summary(self, *, window_s: float = DAY_S) -> Summary:
        """The numbers of the last `window_s` seconds and of everything that is open."""
        since, is_open = self.clock() - window_s, attempts.c.settled_at.is_(None)
        settled, unseen = ~is_open, is_open & _unseen(self.clock())
        accepted = settled & (jobs.c.accepted_attempt == attempts.c.id)
        images = sa.case((accepted & (jobs.c.kind == "image"), sa.func.json_array_length(jobs.c.result)), else_=0)
        sums = sa.select(
            _sum(settled, attempts.c.cost_usd).label("spent_usd"),
            _sum(is_open & ~unseen, attempts.c.exposure_usd).label("reserved_usd"),
            _sum(unseen, attempts.c.exposure_usd).label("unknown_usd"),
            _sum(settled & (attempts.c.cost_basis == "presumed"), attempts.c.cost_usd).label("presumed_usd"),
            _sum(settled & sa.not_(sa.func.coalesce(accepted, sa.false())), attempts.c.cost_usd).label("wasted_usd"),
            _sum(settled, attempts.c.cold_usd).label("cold_usd"),
            _sum(settled, attempts.c.idle_usd).label("idle_usd"),
            sa.func.coalesce(sa.func.sum(images), 0).label("images"),
            _sum(settled & (jobs.c.kind == "image"), attempts.c.cost_usd).label("image_usd"),
        ).select_from(attempts.join(jobs))
        window = is_open | (attempts.c.settled_at >= since)
        with reading(self.engine) as db:
            states = db.execute(sa.select(attempts.c.state, sa.func.count()).where(window).group_by(attempts.c.state))
            by_state = {str(row[0]): int(row[1]) for row in states}
            row = db.execute(sums.where(window)).one()
            done = by_state.get("succeeded", 0)
            p50, p95 = (_percentiles(db, share, done, since) for share in (0.5, 0.95))
        numbers = {name: float(value) for name, value in row._mapping.items() if name != "images"}  # noqa: SLF001  public
        return Summary(window_s, by_state, images=int(row.images), p50=p50, p95=p95, **numbers)

    def _entries(
        self, where: sa.ColumnElement[bool], limit: int | None, *, order: sa.ColumnElement[Any] | None = None
    ) -> list[Entry]:
        columns = [attempts.c[one.name] for one in fields(Attempt)]
        accepted = sa.func.coalesce(jobs.c.accepted_attempt == attempts.c.id, sa.false())
        query = (
            sa.select(*columns, jobs.c.kind, jobs.c.label, jobs.c.owner, accepted)
            .select_from(attempts.join(jobs))
            .where(where)
            .order_by(attempts.c.intended_at.desc() if order is None else order, attempts.c.number.desc())
            .limit(limit)
        )
        with reading(self.engine) as db:
            rows = [tuple(row) for row in db.execute(query)]
        return [Entry(Attempt(*row[:-4]), row[-4], row[-3], row[-2], bool(row[-1])) for row in rows]

    def _bucket(self, column: sa.ColumnElement[Any], width_s: float) -> sa.ColumnElement[Any]:
        """Whole `width_s` seconds since the epoch; SQLite may lack FLOOR, and its CAST cuts where Postgres's rounds."""
        if self.engine.dialect.name == "sqlite":
            return sa.cast(column / width_s, sa.Integer)
        return sa.func.floor(column / width_s)


def _unseen(now: float) -> sa.ColumnElement[bool]:
    """An open attempt that may have been sent without our knowing where it is."""
    abandoned = (attempts.c.state == "intended") & (attempts.c.lease_until < now)
    return (attempts.c.state == "unknown") | abandoned


def _begins(column: sa.ColumnElement[str], prefix: str) -> sa.ColumnElement[bool]:
    """`column` begins with these hexadecimal digits; the range (g follows f) lets the database use its index."""
    return column.between(prefix, prefix + "g") & column.startswith(prefix, autoescape=True)


def _sum(where: sa.ColumnElement[bool], column: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    return sa.func.coalesce(sa.func.sum(sa.case((where, column), else_=0.0)), 0.0)


def _scaled(key: Any, scale: float | None) -> Any:
    return key if scale is None or key is None else float(key) * scale


def _percentiles(db: sa.Connection, share: float, count: int, since: float) -> dict[str, float]:
    """Nearest-rank percentiles of what succeeded; SQLite has no function for them."""
    rank = max(0, math.ceil(share * count) - 1)
    found = {}
    for name in SECONDS if count else ():
        column = attempts.c[name]
        # "" keeps the planner off the index of states: it would read every success there ever was, not the window.
        ended = (attempts.c.settled_at >= since) & (attempts.c.state.concat("") == "succeeded")
        query = sa.select(column).where(ended).order_by(column).limit(1).offset(rank)
        found[name] = float(db.execute(query).scalar_one_or_none() or 0.0)
    return found
