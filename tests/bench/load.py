"""How long the definitions take to load: every run is a process that pays it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.row import Row, median

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 7
LIMIT = 1.5  # of what dagster itself costs
EMPTY = "import dagster as dg; dg.Definitions.validate_loadable(dg.Definitions())"
OURS = "import dagster as dg; from ryla_assets.definitions import defs; dg.Definitions.validate_loadable(defs())"
INSTANCE = "; dg.DagsterInstance.local_temp()"  # opens its SQLite storages, as every real process does


def measure() -> Iterator[Row]:
    """Whole processes, alternating, so that a busy moment hits both."""
    yield from _pair("definitions load, whole process", EMPTY, OURS, "import dagster + empty Definitions", limit=LIMIT)
    yield from _pair("the same with a Dagster instance open", EMPTY + INSTANCE, OURS + INSTANCE, "the same, empty")


def _pair(what: str, peer: str, ours: str, named: str, *, limit: float | None = None) -> Iterator[Row]:
    times: dict[str, list[float]] = {peer: [], ours: []}
    caching = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(1 + ROUNDS):  # the first one compiles what was edited since
        for code, taken in times.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=caching)
            taken.append(time.perf_counter() - begun)
    yield Row(what, median(times[ours][1:]), "s", median(times[peer][1:]), named, limit)
