"""A contestant: this product's runner and RunPod backend as `ryla_assets.build` puts them together, on SQLite.

Tells for every attempt how it ended and how long it took beside the remote work. Dagster is imported though nothing
uses it: whoever runs jobs in a deployment has it in memory.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster  # noqa: F401

from resources.database import open_engine
from resources.gpu.backends.runpod.assemble import assembled, signing
from resources.gpu.backends.runpod.backend import Endpoints
from resources.gpu.budget import Budgets
from resources.gpu.errors import GpuError
from resources.gpu.ledger import Ledger
from resources.gpu.policy import Policy
from resources.gpu.runner import Runner
from resources.storage import S3Access, open_store
from ryla_assets.registry.migrate import ready
from tests.bench.peers.contestant import orders, perform
from tests.bench.peers.load import picture_job

UNLIMITED_USD = 1e6


def main() -> None:
    """Run `count` jobs at once."""
    given = orders()
    runner = _runner(Path(given["folder"]), given)
    jobs = [picture_job(number, given["px"]) for number in range(given["count"])]
    prints = [job.fingerprint(runner.backend.profile(job)) for job in jobs]

    errors: list[str] = []

    def work() -> None:
        try:
            runner.run(jobs, run_id="bench")
        except GpuError as error:  # the first job's that has one; the story tells of all
            errors.append(str(error))

    perform(work, lambda: {"errors": errors, **_story(runner, prints)})


def _runner(folder: Path, given: dict[str, Any]) -> Runner:
    """Results go into `storage`, an S3 that our workers reach, or else into a folder, from worker-comfyui's answers."""
    policy = Policy(**given["policy"])
    store = open_store(given["storage"] or str(folder / "store"), S3Access(**given["s3"]))
    backend = assembled(
        **given["account"],
        endpoints=Endpoints(given["endpoint"]),
        store=signing(store),
        engine="comfyui",
        policy=policy,
    )
    ledger = Ledger(ready(open_engine(f"sqlite:///{folder / 'ryla.db'}")))
    return Runner(ledger, backend, store, Budgets(UNLIMITED_USD), policy)


def _story(runner: Runner, fingerprints: list[str]) -> dict[str, Any]:
    rows = [runner.ledger.job(fingerprint) for fingerprint in fingerprints]
    accepted = {row.accepted_attempt for row in rows if row is not None}
    attempts = [attempt for fingerprint in fingerprints for attempt in runner.ledger.attempts(fingerprint)]
    keys = ("id", "fingerprint", "number", "state", "remote_id", "error_code", "error", "cost_usd", "cost_basis")
    return {
        "stored": sum(1 for row in rows if row is not None and row.result),
        "attempts": [
            {key: asdict(attempt)[key] for key in keys}
            | {
                "accepted": attempt.id in accepted,
                "overhead_s": (attempt.settled_at or 0.0) - attempt.intended_at
                - attempt.queue_s - attempt.cold_s - attempt.exec_s,
            }
            for attempt in attempts
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
