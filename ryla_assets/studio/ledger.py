"""What people and sensors do about paid work beside running it: find an attempt, stop it, sweep up, compare bills.

Belongs here: the decisions (what is an orphan, which hours of a bill can be compared). Questions to the ledger are
`resources.gpu.books`, every change of it is the runner's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.gpu.errors import BackendUnavailable, GpuError, NotCancelled
from resources.storage import StorageError
from ryla_assets.domain.errors import InputError, Refused
from ryla_assets.domain.images import TrainingTicket
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.gpu.books import Books
    from resources.gpu.records import Entry

FOREIGN_AFTER_S = 600.0  # an attempt's age, if its run is unknown to Dagster: deleted, or another deployment's
LOOK_AT = 2_000  # left-alone attempts that a sweep reads: the most that one process is built to follow
STOP_AT_ONCE = 25  # attempts that a sweep stops: one call each
STOP_S, SETTLE_S = 20.0, 20.0  # seconds for either half of a sweep: both are inside a sensor's 60 s

EndedRuns = Callable[[Sequence[str]], Mapping[str, str]]  # run ids -> how each ended one ended: see ENDS
ENDS = ("succeeded", "failed", "canceled", "gone")


@dataclass(frozen=True)
class Swept:
    """What became of one orphan."""

    attempt_id: str
    label: str
    why: str
    state: str  # of the attempt afterwards; still an open one where it could not be stopped
    cost_usd: float
    trouble: str = ""
    silent: bool = False  # the backend did not answer


def books_of(studio: Studio) -> Books:
    """The ledger's books, on its own clock."""
    from resources.gpu.books import Books

    return Books(studio.runner.ledger.engine, clock=studio.runner.ledger.clock)


def attempt_named(studio: Studio, name: str) -> Entry:
    """The attempt of that id, id prefix, or job fingerprint prefix (of a job with several: its newest attempt).

    Raises InputError for a name that is too short, known to nobody, or fits several jobs.
    """
    from resources.gpu.records import MIN_PREFIX

    if len(name) < MIN_PREFIX:
        raise InputError(
            f"{name!r} is too short: an id needs at least {MIN_PREFIX} characters.",
            field="job",
            value=name,
            way_out="See ryla jobs list.",
        )
    found = books_of(studio).found(name.lower())
    if not found:
        raise InputError(
            f"no attempt or job begins with {name!r}.", field="job", value=name, way_out="See ryla jobs list."
        )
    if len({entry.attempt.fingerprint for entry in found}) > 1:
        ids = ", ".join(entry.attempt.id for entry in found[:3])
        raise InputError(
            f"several begin with {name!r}: {ids}.", field="job", value=name, way_out="Give more of the id."
        )
    return found[0]


def cancel(studio: Studio, name: str, *, who: str) -> Entry:
    """Stop an open attempt; what had just finished is taken instead. Returns it as it is now.

    Raises Refused for one that ended, and GpuError where the backend or a living owner stands in the way.
    """
    attempt = attempt_named(studio, name).attempt
    if not attempt.is_open:
        raise Refused(
            f"attempt {attempt.id} ended as {attempt.state} and cost ${attempt.cost_usd:.4f}: nothing is left to stop.",
            field="job",
            value=name,
            way_out=f"ryla jobs show {attempt.id}",
        )
    studio.runner.cancel(attempt.id, why=f"cancelled by {who}")
    entry = books_of(studio).entry(attempt.id)
    if entry is None:
        raise InputError("the attempt is gone from the ledger.", field="job", value=name)
    return entry


def orphans(studio: Studio, ended_runs: EndedRuns) -> list[tuple[Entry, str]]:
    """Open attempts that nobody follows since their Dagster run ended, each with the reason.

    A training outlives the run that submitted it: it is an orphan only if that run neither ended well nor left a
    ticket that waits for it. Attempts of no run, and those of another backend, are nobody's business here.
    """
    backend = studio.runner.backend
    alone = [
        entry
        for entry in books_of(studio).left_alone(limit=LOOK_AT)
        if entry.attempt.run_id and entry.attempt.backend == backend.name and backend.reaches(entry.attempt.endpoint)
    ]
    ends = ended_runs(sorted({entry.attempt.run_id or "" for entry in alone})) if alone else {}
    return [
        (entry, f"its run {entry.attempt.run_id} {_WORDS[end]}")
        for entry in alone
        if (end := ends.get(entry.attempt.run_id or "")) and not _awaited(studio, entry, end)
    ]


def sweep(studio: Studio, ended_runs: EndedRuns, *, limit: int = STOP_AT_ONCE) -> list[Swept]:
    """Stop orphans (at most `limit`), taking what is paid for, and settle what dead processes left open.

    Machines that were rented for one attempt and outlived it are given back. Each of the three is done whatever became
    of the others; what could not be done now is left to the next sweep.
    """
    swept = _stopped(studio, orphans(studio, ended_runs)[:limit])
    with contextlib.suppress(GpuError, StorageError):  # nothing is known, nothing concluded
        studio.runner.settle_open(within_s=SETTLE_S)
    with contextlib.suppress(GpuError, StorageError):
        for machine in studio.runner.sweep():
            studio.caller.tell(f"Gave back {machine}: the attempt that it was rented for is over.")
    return swept


def _stopped(studio: Studio, found: Sequence[tuple[Entry, str]]) -> list[Swept]:
    """One after the other, until there is no more time; while the backend is silent the others need not wait for it."""
    until, swept = time.monotonic() + STOP_S, []
    for entry, why in found:
        if time.monotonic() > until:
            break
        swept.append(_stop(studio, entry, why))
        if swept[-1].silent:
            break
    return swept


_WORDS = {"succeeded": "has ended", "failed": "failed", "canceled": "was cancelled", "gone": "is gone"}


def _awaited(studio: Studio, entry: Entry, end: str) -> bool:
    """Whether somebody will come for it although its run ended."""
    if end == "gone" and entry.attempt.intended_at > studio.runner.ledger.clock() - FOREIGN_AFTER_S:
        return True
    if entry.kind != "training":
        return False
    if end == "succeeded":
        return True
    ticket = studio.current("lora_training", entry.character) if entry.character else None
    return isinstance(ticket, TrainingTicket) and ticket.job == entry.attempt.fingerprint


def _stop(studio: Studio, entry: Entry, why: str) -> Swept:
    trouble, silent = "", False
    try:
        studio.runner.cancel(entry.attempt.id, why=why)
    except (GpuError, StorageError) as error:  # it stays open and in the ledger: the next sweep tries again
        silent = isinstance(error, BackendUnavailable) and not isinstance(error, NotCancelled)
        trouble = str(error)
    now = studio.runner.ledger.attempt(entry.attempt.id)
    return Swept(now.id, entry.label, why, now.state, now.cost_usd, trouble, silent)
