"""How long the runner waits, how often it asks, how much it does at once, and what it does when it is stuck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Policy:
    """Seconds and counts; the defaults are what a deployment runs with."""

    queue_limit_s: float = 900.0  # a cold RunPod worker was measured at 498 s (docs/adr/0006)
    run_limit_s: float = 1800.0
    training_run_limit_s: float = 3 * 3600.0  # four times the 45-minute target
    lease_s: float = 60.0
    silence_limit_s: float = 120.0  # a backend that answers nothing for longer ends the wait, never the attempt
    unknown_wait_s: float = 120.0  # so long may a lost answer's job still show up; then its exposure is booked
    training_unknown_wait_s: float | None = None  # the same for a training; None: as long
    max_attempts: int = 2  # attempts that one call starts for one job
    retry_pause_s: float = 1.0  # before a submission that did not get through is repeated; doubled each time
    sends_at_once: int = 8  # more only wait for each other's rows: 16 took 0.1 s longer from intent to id
    fetches_at_once: int = 8  # each holds a job's files in memory
    shield_s: float = 5.0  # a terminated run waits so long for the id of what it is just sending, to cancel it
    diagnose_after_s: float = 20.0  # of waiting in a queue
    diagnose_every_s: float = 15.0  # as long as the control API's answers are believed
    when_stuck: Literal["wait", "fallback", "fail"] = "wait"  # once the diagnosis says that no worker will come
    poll_min_s: float = 0.05
    poll_max_s: float = 2.0
    wake_s: float = 0.5  # how often a pause looks whether a webhook came

    def unknown_limit_s(self, kind: str) -> float:
        """How long the outcome of such a job's submission may stay unknown before the most it can cost is booked."""
        longer = self.training_unknown_wait_s if kind == "training" else None
        return self.unknown_wait_s if longer is None else longer
