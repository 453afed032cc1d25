"""What is lost when the store fails between two requests of a job: nothing, and nothing is paid twice.

A whole job, once for each of its requests to the store: from that one on the store is away, until the run has ended.
The next run, with the store back, ends accepted. The workers' own requests, by presigned URL, are not disturbed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from resources.gpu.backends.comfyui.prompt import mark_of
from resources.gpu.backends.runpod.assemble import assembled
from resources.gpu.backends.runpod.backend import Endpoints
from resources.gpu.errors import GpuError
from resources.gpu.job import InputFile, Job
from resources.gpu.runner import Runner
from resources.s3_client import make_client
from resources.storage import S3Access, StorageError
from resources.storage_s3 import S3Store
from tests.contracts.fault_scene import Scene, job
from tests.contracts.fault_trial import Stage
from tests.fakes.faulty_proxy import Fault, FaultyProxy, before
from tests.s3 import BUCKET, S3Server

AT_ONCE = 6
REFUSED = Fault(status=503, code="SlowDown")
UNANSWERED = Fault(reset=True, done=True)


@dataclass
class Outage:
    """The store under one prefix fails from the product's n-th request on; 0: never."""

    first: int
    seen: int = 0

    def strikes(self) -> bool:
        """Count a request; True if it is to fail."""
        self.seen += 1
        return 0 < self.first <= self.seen


@dataclass
class Shop:
    """One account, one ledger, one S3 behind a proxy; a store of its own for each job."""

    stage: Scene
    client: Any
    outages: dict[str, Outage]
    fault: Fault

    def judged(self, method: str, path: str) -> Fault | None:
        """What the proxy does with a request: nothing, if it is a worker's."""
        if "X-Amz-Signature" in path:
            return None
        outage = next((one for prefix, one in list(self.outages.items()) if prefix in unquote(path)), None)
        return self.fault if outage is not None and outage.strikes() else None

    def played(self, number: int) -> int:
        """Job `number` with the store failing from its request `number` on, and again; returns how many it made."""
        prefix, outage = f"outage/{number}/", Outage(number)
        store = S3Store(BUCKET, f"test/{id(self)}/{prefix}", lambda: self.client)
        runner, wanted = self._runner(store), self._job(store, number)
        self.outages[prefix] = outage
        with contextlib.suppress(GpuError, StorageError):
            runner.run([wanted], run_id="in the outage")
        made, outage.first = outage.seen, 0
        [result] = runner.run([wanted], run_id="after it")
        for output in result.outputs:
            store.verify("images", output["sha256"])
        assert self._paid(wanted, runner) == 1, f"request {number} of {made}"
        return made

    def _job(self, store: S3Store, number: int) -> Job:
        """Two pictures, and one to read, which lies there before any outage."""
        sha256 = store.put("inputs", f"input {number}".encode())
        return job(1000 * (number + 1), images=2, inputs=[InputFile("input", "face.png", "inputs", sha256)])

    def _runner(self, store: S3Store) -> Runner:
        fake = self.stage.fake
        backend = assembled(
            jobs_url=fake.jobs_url,
            control_url=fake.control_url,
            graphql_url=fake.graphql_url,
            key=fake.api_key,
            endpoints=Endpoints("ep1"),
            store=store if self.stage.contract == "ryla" else None,
            engine="comfyui",
            policy=self.stage.policy,
            service=self.stage.service,
        )
        return Runner(self.stage.ledger, backend, store, self.stage.runner.budgets, policy=self.stage.policy)

    def _paid(self, wanted: Job, runner: Runner) -> int:
        """How many jobs RunPod took on for it."""
        ours = runner.ledger.attempts(wanted.fingerprint(runner.backend.profile(wanted)))
        texts = [(accepted.attempt, json.dumps(accepted.input)) for accepted in self.stage.fake.accepted]
        return sum(any(attempt == a.id or mark_of(a.id) in text for a in ours) for attempt, text in texts)


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the server; the store's retries do not wait."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with before(s3.access.endpoint_url) as made:
        yield made


@pytest.mark.parametrize("fault", [REFUSED, UNANSWERED], ids=["refused", "done but unanswered"])
@pytest.mark.parametrize("contract", ["ryla", "worker-comfyui"])
def test_store_that_fails_at_any_request_loses_nothing(
    scene: Stage, s3: S3Server, proxy: FaultyProxy, contract: str, fault: Fault
) -> None:
    """For every request of a whole job: the next run ends accepted, with one paid job."""
    stage = scene(contract=contract, policy={"silence_limit_s": 0.1}, endpoint={"workers_max": AT_ONCE})
    client = make_client(S3Access(**{**vars(s3.access), "endpoint_url": proxy.url}))
    shop = Shop(stage, client, {}, fault)
    proxy.judge = shop.judged
    whole = shop.played(0)
    assert whole >= 4, "a job that asks the store for nothing shows nothing"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(shop.played, range(1, whole + 1)))
    struck = sum(requests >= number for number, requests in enumerate(made, 1))
    assert struck >= whole - 1, "two pictures may be the same bytes, which are put once"
    assert [attempt.state for attempt in stage.attempts()].count("succeeded") == whole + 1
    stage.holds()


def test_adoption_holds_no_result_in_memory(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what was accepted lies there is hashed as it comes: a LoRA has up to a gigabyte."""
    stage = scene()
    assert stage.run(job()).results

    def held(*_: object) -> bytes:
        raise AssertionError("it was read whole")

    monkeypatch.setattr(S3Store, "get", held)
    [again] = stage.run(job()).results
    assert again.adopted
    stage.holds()
