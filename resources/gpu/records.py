"""The ledger's rows and answers, as the rest of the house holds them.

Belongs here: what an attempt, a job and a sum are called, and the states there are. Does not belong here: SQL
(`tables`, `ledger`, `books`), so that whoever only reads a record loads no database.

Times are seconds since the epoch (UTC) or durations in seconds; money is USD.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from resources.gpu.job import Job

OPEN_STATES = frozenset({"intended", "submitted", "queued", "running", "unknown"})
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "timed_out", "lost"})
HOUR_S = 3_600.0
MIN_PREFIX = 8  # characters of an id that a person must type; 16^8 ids, as git's short hashes
SECONDS = ("queue_s", "cold_s", "exec_s", "overhead_s")
By = Literal["day", "character", "run"]


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
    worker: str | None
    cold_usd: float
    idle_usd: float
    cost_basis: str | None
    webhook_token: str | None = field(repr=False)
    claimed_id: str | None
    woken_at: float | None
    evidence: dict[str, Any] | None = None  # what the diagnosis rests on
    way_out: str | None = None
    refused: list[dict[str, Any]] | None = None  # pictures that it returned and `accept` refused

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
    note: str = ""  # why there, where that was a choice


@dataclass(frozen=True)
class Entry:
    """One attempt with what its job is and for whom."""

    attempt: Attempt
    kind: str
    label: str
    character: str
    accepted: bool  # its result is the job's


@dataclass(frozen=True)
class Spend:
    """Money of a day (as its first second), a character or a run; None: the attempts of no run."""

    key: str | float | None
    attempts: int
    spent_usd: float
    reserved_usd: float
    unknown_usd: float

    @property
    def usd(self) -> float:
        """The most that it all can be: what budgets count."""
        return self.spent_usd + self.reserved_usd + self.unknown_usd


@dataclass(frozen=True)
class Span:
    """Attempts at one endpoint that may be billed in the same hours: in `first`, in `last` and between.

    Both are an hour's first second; `last` is None while they are open. What is presumed is part of the cost.
    """

    endpoint: str
    first: float
    last: float | None
    attempts: int
    cost_usd: float
    presumed_usd: float


@dataclass(frozen=True)
class Summary:
    """The ledger in numbers: what is open now, and what the last `window_s` seconds brought."""

    window_s: float
    by_state: dict[str, int]  # open ones of any age, ended ones of the window
    spent_usd: float
    reserved_usd: float
    unknown_usd: float
    presumed_usd: float  # part of what was spent: booked as the most that it can cost, since nobody could say
    wasted_usd: float  # part of what was spent: on attempts without an accepted result
    cold_usd: float
    idle_usd: float
    images: int  # accepted
    image_usd: float  # what all image attempts cost, with the wasted ones
    p50: dict[str, float] = field(default_factory=dict)  # of accepted results, by SECONDS
    p95: dict[str, float] = field(default_factory=dict)

    @property
    def per_image_usd(self) -> float | None:
        """Cost per accepted image; None where none was accepted."""
        return self.image_usd / self.images if self.images else None

    @property
    def wasted_share(self) -> float:
        """Share of the spent money that brought no accepted result, 0..1."""
        return self.wasted_usd / self.spent_usd if self.spent_usd else 0.0
