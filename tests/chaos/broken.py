"""Runners that break the promise on purpose: a harness that does not catch each of them proves nothing.

Belongs here: one small, believable bug each, put into a killed process before it acts.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.database import writing
from resources.gpu import errors, outcome
from resources.gpu import faultpoints as points
from resources.gpu.backend import RemoteStatus, Submission
from resources.gpu.backends.runpod.backend import RunPodBackend
from resources.gpu.backends.runpod.pod_launch import Launcher
from resources.gpu.ledger import Ledger
from resources.gpu.life import Life
from resources.gpu.records import Attempt
from resources.gpu.stuck import Patience
from resources.gpu.tables import attempts, events, jobs
from resources.gpu.tracked import Tracked
from resources.runpod.answers import Pod
from tests.chaos.plan import plan_of


def sends_before_the_intent() -> None:
    """The intent is committed only after the far side has answered: a crash in between leaves paid work unowned."""
    begin, move = Ledger.begin, Ledger.move
    held: dict[str, list[tuple[sa.Table, dict[str, Any]]]] = {}

    def begun(self: Ledger, *args: Any, **kwargs: Any) -> Attempt | None:
        attempt = begin(self, *args, **kwargs)
        if attempt is not None:
            with writing(self.engine) as db:
                held[attempt.id] = [
                    (table, dict(row))
                    for table, key in ((attempts, attempts.c.id), (events, events.c.attempt_id))
                    for row in db.execute(sa.select(table).where(key == attempt.id)).mappings()
                ]
                db.execute(sa.delete(events).where(events.c.attempt_id == attempt.id))
                db.execute(sa.delete(attempts).where(attempts.c.id == attempt.id))
        return attempt

    def moved(self: Ledger, attempt: Attempt, state: str, **values: Any) -> Attempt:
        with writing(self.engine) as db:
            for table, row in held.pop(attempt.id, []):
                db.execute(
                    sa.insert(table).values(**{key: row[key] for key in row if table is attempts or key != "id"})
                )
        return move(self, attempt, state, **values)

    Ledger.begin = begun  # type: ignore[method-assign]
    Ledger.move = moved  # type: ignore[method-assign]


def resends_what_is_unknown() -> None:
    """A lost answer is taken for a submission that never arrived: free, and sent again at once."""

    async def settled(self: Life, item: Tracked, attempt: Attempt, waited_s: float) -> None:
        leased = self.lease(attempt)
        if leased is None:
            return
        if leased.state == "intended":
            leased = self._doubt(leased, "its process died")
        error = errors.JobFailed("it never arrived", code="never_submitted", retry=errors.Retry.TRANSIENT)
        self.end(leased, "failed", error)
        raise error

    Life.settle_unknown = settled  # type: ignore[method-assign]


def books_a_fifth() -> None:
    """Most of every bill is forgotten."""
    real = outcome.settlement

    def lessened(*args: Any) -> dict[str, Any]:
        booked = real(*args)
        return booked | {"cost_usd": booked["cost_usd"] / 5}

    outcome.settlement = lessened  # type: ignore[assignment]


def gives_up_without_a_cancel() -> None:
    """What is past its deadline is written off and left running."""

    async def quiet(self: Patience, attempt: Attempt) -> RemoteStatus:
        return RemoteStatus("running")

    Patience._stop = quiet  # type: ignore[method-assign]


def accepts_twice() -> None:
    """An end is not the end: the row is opened again, and its result is accepted once more."""
    accept = Ledger.accept

    def accepted(self: Ledger, attempt: Attempt, result: list[dict[str, Any]], **settlement: Any) -> bool:
        first = accept(self, attempt, result, **settlement)
        if first:
            with writing(self.engine) as db:
                db.execute(sa.update(jobs).where(jobs.c.fingerprint == attempt.fingerprint).values(result=sa.null()))
                db.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(state="running"))
            accept(self, attempt, result, **settlement)
        return first

    Ledger.accept = accepted  # type: ignore[method-assign]


def says_the_key() -> None:
    """The key is logged with each submission."""
    submit = RunPodBackend.submit

    async def told(self: RunPodBackend, submission: Submission) -> str:
        client = self.service._make()
        logging.getLogger("chaos").warning("submitting with %s", client._answers._key)
        return await submit(self, submission)

    RunPodBackend.submit = told  # type: ignore[method-assign]


def keeps_what_it_refused() -> None:
    """A result that was not accepted stays where workers leave theirs: each later attempt is given it again."""

    async def kept(self: RunPodBackend, remote_id: str) -> None:
        return None

    RunPodBackend.discard = kept  # type: ignore[method-assign]


def creates_pods_without_looking() -> None:
    """A create without an answer is repeated, and nobody looks whether a pod of that name is there already."""

    async def blind(self: Launcher, name: str) -> list[Pod]:
        return []

    Launcher.named = blind  # type: ignore[method-assign]


def leaves_pods_running() -> None:
    """A pod whose work is done is taken for terminated, and stays."""

    async def lazy(self: Launcher, pod_id: str) -> bool:
        return True

    Launcher.terminated = lazy  # type: ignore[method-assign]


@dataclass(frozen=True)
class Bug:
    """How it is put into a process, the fault point around which it shows, and whether it takes pods to show it."""

    put_in: Callable[[], None]
    aim: str
    pods: bool = False

    def seeds(self) -> Iterator[int]:
        """Seeds that aim there."""
        aimed = itertools.count(points.POINTS.index(self.aim), len(points.POINTS))
        return (seed for seed in aimed if plan_of(seed).pods or not self.pods)


BROKEN: dict[str, Bug] = {
    bug.put_in.__name__: bug
    for bug in (
        Bug(sends_before_the_intent, points.AFTER_SUBMIT),
        Bug(resends_what_is_unknown, points.OUTCOME_UNKNOWN),
        Bug(books_a_fifth, points.ACCEPTED),
        Bug(gives_up_without_a_cancel, points.CANCEL_SENT),
        Bug(accepts_twice, points.BEFORE_ACCEPT),
        Bug(says_the_key, points.AFTER_SUBMIT),
        Bug(keeps_what_it_refused, points.AFTER_FETCH),
        Bug(creates_pods_without_looking, points.OUTCOME_UNKNOWN, pods=True),
        Bug(leaves_pods_running, points.ACCEPTED, pods=True),
    )
}
