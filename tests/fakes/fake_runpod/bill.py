"""What the fake charges, by its own arithmetic.

Belongs here: leases of machines (from, until, rate) and their sums. A serverless worker costs from the start of loading
until it is stopped, in whole seconds begun; queue, image pull, throttled and unhealthy time is free.
# runpod facts 6 [doc]. It shares no line with the product's idea of a cost: the two are compared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.fake_runpod.clock import Clock

HOUR = 3600


@dataclass
class Lease:
    """A machine for a time; `until` None while it runs."""

    kind: str  # "serverless" or "pod"
    owner: str  # endpoint id or pod id
    machine: str
    usd_per_s: float
    since: float
    until: float | None = None

    def usd(self, now: float) -> float:
        """Its cost so far."""
        end = now if self.until is None else self.until
        return math.ceil(round(end - self.since, 6)) * self.usd_per_s

    def hours(self, now: float) -> Iterator[tuple[int, float]]:
        """(hour since the epoch, USD) of its cost, spread evenly over its time."""
        end = now if self.until is None else self.until
        length, total = end - self.since, self.usd(now)
        if length <= 0:
            return
        for hour in range(int(self.since // HOUR), int(end // HOUR) + 1):
            part = min(end, (hour + 1) * HOUR) - max(self.since, hour * HOUR)
            if part > 0:
                yield hour, total * part / length


@dataclass
class Bill:
    """All leases of the account."""

    clock: Clock
    leases: list[Lease] = field(default_factory=list)
    executed: dict[str, float] = field(default_factory=dict)  # job id -> USD of its executions alone

    def open(self, kind: str, owner: str, machine: str, usd_per_s: float) -> None:
        """A machine costs from now on."""
        self.leases.append(Lease(kind, owner, machine, usd_per_s, self.clock.now()))

    def close(self, machine: str) -> None:
        """It stopped; closing what is not open does nothing."""
        for lease in reversed(self.leases):
            if lease.machine == machine and lease.until is None:
                lease.until = self.clock.now()
                return

    def execution(self, job_id: str, seconds: float, usd_per_s: float) -> None:
        """Note what a job's run cost of its worker's time."""
        self.executed[job_id] = self.executed.get(job_id, 0.0) + seconds * usd_per_s

    def total(self, owner: str | None = None, *, kind: str | None = None) -> float:
        """USD so far, of everything, one endpoint or pod, or one kind."""
        with self.clock.lock:
            now = self.clock.now()
            return sum(
                lease.usd(now) for lease in self.leases if owner in (None, lease.owner) and kind in (None, lease.kind)
            )

    def per_hour(self) -> float:
        """USD an hour of what runs right now."""
        return sum(lease.usd_per_s * HOUR for lease in self.leases if lease.until is None)

    def by_hour(self, kind: str) -> dict[tuple[str, int], float]:
        """(owner, hour since the epoch) -> USD."""
        sums: dict[tuple[str, int], float] = defaultdict(float)
        with self.clock.lock:
            now = self.clock.now()
            for lease in self.leases:
                if lease.kind == kind:
                    for hour, usd in lease.hours(now):
                        sums[lease.owner, hour] += usd
        return dict(sums)
