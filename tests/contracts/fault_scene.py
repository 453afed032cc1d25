"""The stage on which one fault is played: the real runner and the real backend against a fake RunPod over HTTP.

Belongs here: how the parts are put together for a case, short clocks for them, what must hold after every case, and
what is written down of it. The cases and what each must end in are the tests'; the table of all is `fault_table`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from resources.database import reading
from resources.gpu import faultpoints
from resources.gpu.backends.comfyui.prompt import mark_of
from resources.gpu.backends.runpod.assemble import assembled
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.limits import Limits
from resources.gpu.backends.runpod.service import Service
from resources.gpu.backends.runpod.watch import Cadence
from resources.gpu.budget import Budgets
from resources.gpu.errors import GpuError
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.policy import Policy
from resources.gpu.records import Attempt
from resources.gpu.runner import JobResult, Runner
from resources.gpu.tables import attempts, events, jobs
from resources.storage_s3 import S3Store
from tests.contracts.fault_pods import IMAGE, hurried
from tests.contracts.fault_table import Row, record
from tests.fakes.fake_runpod.cases import CASES
from tests.fakes.fake_runpod.config import EndpointConfig, Switches
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.s3 import S3Server
from workflows.base_image import base_image
from workflows.requests import ImageRequest

Contract = Literal["ryla", "worker-comfyui"]
KEY = "rpa_SECRET0000000000000000000000000000000000"
PX = 256
HASTE = 10.0  # pauses that RunPod asks for pass so many times faster
END_S = 6.0  # how long the far side may go on after us
ENDPOINT = EndpointConfig("ep1", cold_s=0.1, exec_s=(0.1, 0.1), idle_s=1.0)
POLICY = Policy(
    queue_limit_s=20.0,
    run_limit_s=20.0,
    unknown_wait_s=0.6,
    retry_pause_s=0.02,
    poll_min_s=0.01,
    poll_max_s=0.05,
    diagnose_after_s=0.1,
    diagnose_every_s=0.1,
    wake_s=0.02,
)
CADENCE = Cadence(
    queued_s=0.02, queued_max_s=0.05, head_s=0.02, running_min_s=0.02, running_max_s=0.05, trouble_max_s=0.3,
    grace_s=1.0, missing_s=0.02,
)  # fmt: skip
_SIGNED = re.compile(r"X-Amz-Signature=[0-9a-f]{8}")


def job(seed: int = 1, *, images: int = 1, inputs: Sequence[InputFile] = ()) -> Job:
    """A small base-image job."""
    names = [f"option-{number}" for number in range(images)]
    prompt = "photo of a 30 year old woman in a park"
    requests = [ImageRequest(name, prompt, "blurry", seed + n, PX, PX) for n, name in enumerate(names)]
    specs = tuple(OutputSpec(name, "image", PX, PX) for name in names)
    return Job(
        "image", base_image("zimage-turbo", requests), specs, tuple(inputs), label=f"job {seed}", owner="mara-lind"
    )


@dataclass
class Parts:
    """What the test session hands to every scene."""

    engine: sa.Engine
    s3: S3Server
    log: pytest.LogCaptureFixture
    patch: pytest.MonkeyPatch


@dataclass
class Outcome:
    """What came of a call."""

    results: list[JobResult] = field(default_factory=list)
    error: GpuError | None = None


class Scene:
    """One account, one ledger, one runner. `policy` and `cadence` change fields of POLICY and CADENCE."""

    def __init__(
        self,
        parts: Parts,
        *,
        contract: Contract = "ryla",
        policy: dict[str, Any] | None = None,
        cadence: dict[str, Any] | None = None,
        switches: dict[str, Any] | None = None,
        endpoint: dict[str, Any] | None = None,
        fallback: bool = False,
        haste: float = HASTE,
        webhook_url: str = "",
        speed: float = 1.0,
        pods: bool = False,
        control: str = "/control/v2",
    ) -> None:
        self.parts, self.contract = parts, contract
        mine = replace(ENDPOINT, **(endpoint or {}))
        spare = [replace(ENDPOINT, id="ep2", name="spare")] if fallback else []
        self.fake = FakeRunPod([mine, *spare], speed=speed, switches=Switches(**(switches or {})), api_key=KEY)
        self.fake.start()
        self.store: S3Store = parts.s3.store()
        self.policy = replace(POLICY, **(policy or {}))
        self.service = Service(
            self.fake.jobs_url,
            KEY,
            cadence=replace(CADENCE, **(cadence or {})),
            limits=lambda: Limits(
                clock=lambda: time.monotonic() * haste,
                sleep=lambda seconds: asyncio.sleep(seconds / haste),
                chance=lambda: 0.5,
            ),
        )
        self.pods = pods
        self.control_url = self.fake.world.base_url + control
        self.backend = self.backend_on("ep1", fallback="ep2" if fallback else "")
        self.ledger = Ledger(parts.engine)
        self.runner = self.another_runner(webhook_url=webhook_url)
        self.said: list[str] = []  # every error that a caller got

    def backend_on(self, image: str, *, fallback: str = "") -> RunPodBackend:
        """The backend as a deployment's settings make it."""
        made = assembled(
            jobs_url=self.fake.jobs_url,
            control_url=self.control_url,
            graphql_url=self.fake.graphql_url,
            key=KEY,
            endpoints=Endpoints(image, fallback=fallback),
            store=self.store if self.contract == "ryla" else None,
            engine="comfyui",
            policy=self.policy,
            service=self.service,
            training_image=IMAGE if self.pods else "",
        )
        return hurried(made, self.control_url, KEY) if self.pods else made

    def another_runner(self, **changes: Any) -> Runner:
        """A runner of another process, so to speak."""
        backend = changes.pop("backend", self.backend)
        return Runner(self.ledger, backend, self.store, Budgets(25.0), policy=self.policy, **changes)

    def close(self) -> None:
        """Stop everything."""
        faultpoints.install(None)
        self.service.close()
        self.fake.stop()

    # ---- what happens

    def install(self, case: str, **tuned: Any) -> None:
        """Install a case from now on; `tuned` shortens its times: fields of the jobs' script or of its rules."""
        before = len(self.fake.faults.rules)
        self.fake.install(case, "ep1")
        for rule in self.fake.faults.rules[before:]:
            if rule.operation == "job":
                rule.script |= {key: value for key, value in tuned.items() if key in rule.script}
                continue
            for key, value in tuned.items():
                if getattr(rule, key, None):
                    setattr(rule, key, value)

    def at(self, point: str, act: Callable[[], object]) -> None:
        """Do something once, when the runner comes to that point."""

        def hook(name: str) -> None:
            if name == point:
                faultpoints.install(None)
                act()

        faultpoints.install(hook)

    def run(self, *wanted: Job, runner: Runner | None = None) -> Outcome:
        """Run jobs to their end; whatever our code raises is part of the outcome."""
        try:
            return Outcome((runner or self.runner).run(wanted or [job()], run_id="the-run"))
        except GpuError as error:
            self.said.append(str(error))
            return Outcome(error=error)

    def terminate(self, point: str) -> None:
        """Run a job, and terminate the run as Dagster does when it comes to that point."""
        here = threading.Event()
        self.at(point, here.set)

        async def terminated() -> None:
            task = asyncio.ensure_future(self.runner._run([job()], "the-run", None))
            while not here.is_set():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(terminated())

    # ---- what is there afterwards

    def attempts(self) -> list[Attempt]:
        """All that the ledger has, in order."""
        with reading(self.ledger.engine) as db:
            ids = list(
                db.execute(sa.select(attempts.c.id).order_by(attempts.c.intended_at, attempts.c.number)).scalars()
            )
        found = self.ledger.read(ids)
        return [found[attempt_id] for attempt_id in ids]

    def states(self) -> list[str]:
        """Each attempt's end."""
        return [attempt.state for attempt in self.attempts()]

    def taken(self) -> dict[str, list[str]]:
        """Attempt id -> jobs and pods that RunPod took on for it; "" holds jobs of nobody."""
        ours = self.attempts()
        found: dict[str, list[str]] = {}
        for accepted in self.fake.accepted:
            text = json.dumps(accepted.input)
            whose = next((a.id for a in ours if accepted.attempt == a.id or mark_of(a.id) in text), "")
            found.setdefault(whose, []).append(accepted.job_id)
        for pod in self.fake.world.pods.pods.values():
            if not pod.foreign:
                found.setdefault(pod.spec["name"].removeprefix("ryla-"), []).append(pod.id)
        return found

    def reads(self) -> str:
        """What the user reads last: the error, or what the ledger says of the first attempt that ended badly."""
        if self.said:
            return self.said[-1]
        bad = next((a for a in self.attempts() if a.error), None)
        return f"{bad.error} [{bad.error_code}]" if bad else ""

    def bill(self) -> float:
        """What RunPod will have charged once every worker has gone to sleep."""
        with self.fake.clock.lock:
            stops = [
                w.stopping.when for pool in self.fake.world.pools.values() for w in pool.workers.values() if w.stopping
            ]
            end = max([self.fake.clock.now(), *stops])
            return sum(lease.usd(end) for lease in self.fake.bill.leases)

    def holds(self) -> None:
        """The invariant of the fault matrix, after every case."""
        give_up = time.monotonic() + END_S
        while self.fake.alive() and time.monotonic() < give_up:
            time.sleep(0.01)
        assert self.fake.alive() == []
        assert self.fake.clock.errors == []
        assert self.ledger.open_attempts() == [], "an attempt is left open"
        taken, ours = self.taken(), {attempt.id: attempt for attempt in self.attempts()}
        assert set(taken) <= set(ours), "RunPod took a job that the ledger does not know"
        assert all(len(job_ids) == 1 for job_ids in taken.values()), "one attempt was submitted twice"
        for attempt in ours.values():
            unsent = attempt.remote_id is None and attempt.cost_usd == 0 and bool(attempt.error_code)
            presumed = attempt.cost_basis == "presumed" and attempt.cost_usd == attempt.exposure_usd
            assert attempt.id in taken or unsent or presumed, f"{attempt} is not explained"
        assert sum(attempt.cost_usd for attempt in ours.values()) >= self.bill() - 1e-9, (
            "RunPod charges more than we book"
        )
        self._no_secret(ours.values())

    def _no_secret(self, ours: Any) -> None:
        texts = [*self.said, *self._ledger_texts(), *_logged(self.parts.log)]
        secrets = [KEY, self.parts.s3.access.secret_access_key, *(a.webhook_token for a in ours)]
        for text in texts:
            found = [secret for secret in secrets if secret in text]
            assert not found, f"{found} is shown: {text[:300]}"
            assert not _SIGNED.search(text), f"a signed URL is shown: {text[:300]}"

    def _ledger_texts(self) -> list[str]:
        found: list[str] = []
        with reading(self.ledger.engine) as db:
            for table in (jobs, attempts, events):
                columns = [column for column in table.c if column.name != "webhook_token"]
                found += [str(tuple(row)) for row in db.execute(sa.select(*columns))]
        return found

    # ---- what is written down

    def written(self, case: str, variant: str = "", *, injected: str = "", reads: str | None = None) -> None:
        """Hold the invariant, then write the case's row."""
        self.holds()
        text = self.reads() if reads is None else reads
        row = Row(case, variant, injected or CASES[case].text, self.happened(), self._plain(text))
        record(row)

    def happened(self) -> str:
        """The ledger's and RunPod's story in one line."""
        number, thing = sum(len(taken) for taken in self.taken().values()), "pod" if self.pods else "job"
        told = []
        for attempt in self.attempts():
            why = [attempt.error_code] if attempt.error_code else []
            why += ["the most it can cost is booked"] if attempt.cost_basis == "presumed" else []
            told.append(_told(attempt.state, why))
        accepted = sum(1 for attempt in self.attempts() if attempt.state == "succeeded")
        took = f"RunPod took {number or 'no'} {thing}{'s' if number > 1 else ''}"
        return f"{took}; {' → '.join(told) if told else 'nothing was sent'}; {accepted} accepted"

    def _plain(self, text: str) -> str:
        places = {
            self.fake.jobs_url: "https://api.runpod.ai/v2",
            self.fake.control_url: "https://api.runpod.io/v2",
            self.fake.world.base_url: "https://files",
        }
        for place, name in places.items():
            text = text.replace(place, name)
        pools = self.fake.world.pools.values()
        for worker in [w for pool in pools for w in (*pool.workers.values(), *pool.stopped)]:
            text = text.replace(worker.id, "WORKER")
        for pod_id in self.fake.world.pods.pods:
            text = text.replace(pod_id, "POD")
        return text


def _told(state: str, why: Sequence[str | None]) -> str:
    return f"{state} ({', '.join(str(word) for word in why)})" if why else state


def _logged(log: pytest.LogCaptureFixture) -> list[str]:
    """What our side logged, as a deployment at INFO would see it; the fake's own threads are RunPod's."""
    ours = [r for r in log.records if not (r.threadName or "").startswith("fake-runpod") and r.levelno >= logging.INFO]
    return [r.getMessage() + (r.exc_text or "") for r in ours]
