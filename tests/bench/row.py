"""One measured number, what it is held against, and the machine that it was measured on."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

STEPS = 1_000_000


@dataclass(frozen=True)
class Row:
    """A line of docs/benchmarks.md. `against` is a peer's number or a limit in the same unit; None: there is none.

    Without a number nothing was measured, and `unit` says why.
    """

    what: str
    number: float | None
    unit: str
    against: float | None = None
    named: str = ""  # what `against` is: "limit", or the peer's name
    limit: float | None = None  # of the ratio (a peer) or of the number itself (named "limit")

    @property
    def ratio(self) -> float | None:
        """The number as a multiple of what it is held against."""
        return self.number / self.against if self.against and self.number is not None else None

    @property
    def verdict(self) -> str:
        """`ok`, `over`, or nothing where there is no limit."""
        if self.limit is None or self.ratio is None:
            return ""
        return "ok" if self.ratio <= self.limit else "over"


def machine() -> str:
    """Cores, CPU model and Python of this machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def yardstick(when: str) -> Row:
    """How fast this machine is just now: where others share its cores, it and all numbers beside it may double."""
    taken = []
    for _ in range(9):
        begun, total = time.process_time(), 0
        for step in range(STEPS):
            total += step * step
        taken.append(1000 * (time.process_time() - begun))
    return Row(f"yardstick, {when}: a Python loop of {STEPS:,} steps, CPU", median(taken), "ms")


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


__all__ = ["Row", "machine", "median", "percentile", "yardstick"]
