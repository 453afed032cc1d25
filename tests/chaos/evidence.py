"""What a seed left behind, gathered for the checker: the far side's report, the ledger, the store, what was printed.

Belongs here: reading and counting. What must be true of it is in checker, who made it in harness.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from resources import images
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.official import OfficialContract
from resources.gpu.backends.runpod.service import Service
from resources.gpu.job import Job
from resources.gpu.records import Attempt
from resources.storage import StorageError
from tests.chaos.account import ENDPOINT
from tests.chaos.history import POD, History, JobRecord, RemoteJob, outputs_of, read_ledger

if TYPE_CHECKING:
    from tests.chaos.harness import Seed


@dataclass
class Verdict:
    """What came of a seed; money in USD, times in real seconds."""

    seed: int
    problems: list[str]
    contract: str = ""
    postgres: bool = False
    on_pods: bool = False  # its training ran on pods
    hits: Counter[str] = field(default_factory=Counter)  # fault point -> times reached
    kills: Counter[str] = field(default_factory=Counter)  # fault point, or "at a random moment" -> SIGKILLs
    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    accepted: int = 0
    refused: int = 0
    attempts: int = 0
    presumed: int = 0
    remote: int = 0
    pods: int = 0
    bereft: int = 0  # accepted results whose bytes the store lost
    booked_usd: float = 0.0
    billed_usd: float = 0.0
    hidden_usd: float = 0.0
    executed_usd: float = 0.0
    wasted_usd: float = 0.0  # of what was executed: for no accepted result
    wall_s: float = 0.0
    cpu_s: float = 0.0
    folder: str = ""


def history_of(seed: Seed, alive: list[str]) -> History:
    """Both sides' records of a seed that is over; its verdict is counted on the way."""
    report, place = seed.account.report(), seed.place
    jobs, attempts, events = read_ledger(seed.engine)
    named = {fingerprint_of(job): job for job in seed.jobs}
    seed.verdict.problems += [f"the fake itself: {text}" for text in report["errors"]]
    _count(seed, attempts, report, jobs)
    rows = [{**asdict(attempt), "webhook_token": ""} for attempt in attempts]  # its one rightful place
    printed = [path for pattern in ("*.txt", "*.json") for path in place.folder.glob(pattern)]
    tokens = {f"the webhook token of attempt {a.id}": a.webhook_token for a in attempts if a.webhook_token}
    return History(
        asked={fingerprint: job.label for fingerprint, job in named.items()},
        jobs=jobs,
        attempts=attempts,
        events=events,
        remote=report["jobs"],
        bill_usd=report["bill_usd"],
        hidden_usd=report["hidden_usd"],
        budgets=seed.plan.budgets,
        refusals=seed.refusals,
        bereft=seed.bereft,
        alive=alive,
        unreadable=list(_unreadable(seed, named)),
        earlier=seed.earlier,
        begun_by_settling=seed.begun_by_settling,
        secrets={"the API key": seed.key, "a signed URL's signature": place.signature, **tokens},
        texts={
            "the ledger": json.dumps([rows, [asdict(event) for event in events]]),
            **{path.name: path.read_text(errors="replace") for path in printed},
        },
        workers=report["workers"],
    )


def fingerprint_of(job: Job) -> str:
    """Its name in the ledger: the job, and what the killed process puts in beside it."""
    service = Service("http://127.0.0.1/v2", "no-key")
    backend = RunPodBackend(service, Endpoints(ENDPOINT), OfficialContract(), "comfyui")
    return job.fingerprint(backend.profile(job))


def _count(seed: Seed, attempts: list[Attempt], report: dict[str, Any], jobs: dict[str, JobRecord]) -> None:
    verdict, remote = seed.verdict, report["jobs"]
    verdict.faults.update(report["faults"])
    for line in seed.place.hits.read_text().splitlines() if seed.place.hits.exists() else []:
        _, _, word = line.partition(" ")
        killed = word.startswith("KILL ")
        (verdict.kills if killed else verdict.hits)[word.removeprefix("KILL ")] += 1
    verdict.jobs, verdict.accepted = len(seed.jobs), sum(job.accepted_attempt is not None for job in jobs.values())
    verdict.refused, verdict.bereft = len(seed.refusals), sum(seed.bereft.values())
    verdict.attempts, verdict.remote = len(attempts), len(remote)
    verdict.pods = sum(job.endpoint == POD for job in remote)
    verdict.presumed = sum(attempt.cost_basis == "presumed" for attempt in attempts)
    verdict.booked_usd = sum(attempt.cost_usd for attempt in attempts)
    verdict.billed_usd, verdict.hidden_usd = report["bill_usd"], report["hidden_usd"]
    verdict.executed_usd = sum(job.executed_usd for job in remote)
    verdict.wasted_usd = verdict.executed_usd - _useful_usd(attempts, remote, jobs)


def _useful_usd(attempts: list[Attempt], remote: list[RemoteJob], jobs: dict[str, JobRecord]) -> float:
    """What was executed once for each accepted result: the dearest of its runs, the others were for nothing."""
    job_of = {attempt.id.replace("-", "")[:12]: attempt.fingerprint for attempt in attempts}
    dearest: dict[str, float] = {}
    for job in remote:
        fingerprint = job_of.get(job.attempt.replace("-", "")[:12], "")
        if (row := jobs.get(fingerprint)) is not None and row.accepted_attempt is not None:
            dearest[fingerprint] = max(dearest.get(fingerprint, 0.0), job.executed_usd)
    return sum(dearest.values())


def _unreadable(seed: Seed, named: dict[str, Job]) -> Iterator[str]:
    """Read every accepted output as a later stage would; each picture was accepted, or refused by name."""
    store = seed.place.store()
    for fingerprint, (outputs, refused) in outputs_of(seed.engine).items():
        job = named[fingerprint]
        wanted = {spec.name: spec for spec in job.outputs}
        names = [output["name"] for output in outputs]
        if sorted([*names, *refused]) != sorted(wanted):
            yield f"{job.label}: its accepted outputs are {names}, refused are {refused}"
        for output in outputs:
            spec = wanted[output["name"]]
            try:
                data = store.get("images" if spec.media == "image" else "loras", output["sha256"])
                if spec.media == "image":
                    images.decode(data, size=(spec.width, spec.height))
            except (StorageError, images.ImageRejected) as error:
                yield f"{job.label}: {error}"
