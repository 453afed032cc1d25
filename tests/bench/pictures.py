"""What a preview picture costs: drawing it, and our own work around it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.jobs import Done
from tests.bench.row import Row, median, percentile


def rendering(done: list[Done]) -> Iterator[Row]:
    """The worker's own time of one 512 x 512 picture, PNG encoding included."""
    yield Row("preview render, 512 x 512, one core, median of 20", median([one.attempt.exec_s for one in done]), "s")


def overhead(done: list[Done]) -> Iterator[Row]:
    """From the intent in the ledger to the settled result, less what the backend waited and worked.

    The first job is left out: it waits for the worker's process to start.
    """
    spent = [one.attempt.overhead_s for one in done[1:]]
    yield Row("studio overhead of a job, p50", percentile(spent, 0.50), "s")
    yield Row("studio overhead of a job, p95", percentile(spent, 0.95), "s")
