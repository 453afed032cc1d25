"""The fake's workers and their bill: scaling, cold starts, deaths, and workers of the SDK's kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.fake_runpod_client import OPEN, Client
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod

RATE = 0.00031


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPEN.close()


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """One scripted endpoint on a virtual clock: cold 10 s, runs of 2 s, idle 10 s, at most 3 workers."""
    with FakeRunPod() as running:
        yield running


def test_bill_is_load_run_and_idle(fake: FakeRunPod) -> None:
    """From loading to the stop, in whole seconds: 10 + 2 + 10."""
    client = Client(fake)
    client.run()
    fake.clock.advance(15)
    assert fake.bill.total() == pytest.approx(15 * RATE)
    fake.clock.advance(100)
    assert fake.bill.total("ep1") == pytest.approx(22 * RATE)
    assert fake.workers() == []
    assert list(fake.bill.executed.values()) == [pytest.approx(2 * RATE)]


def test_seconds_begun_are_billed(fake: FakeRunPod) -> None:
    """Ceil to the second."""
    Client(fake).run(input={"scripted_s": 2.2})
    fake.clock.advance(100)
    assert fake.bill.total() == pytest.approx(23 * RATE)


@pytest.mark.parametrize("mode", ["no_capacity", "throttled", "unhealthy"])
def test_waiting_is_free(fake: FakeRunPod, mode: Any) -> None:
    """Queue, throttled and unhealthy time costs nothing, and ends when the fault does."""
    fake.set_mode(mode)
    client = Client(fake)
    job = client.run()
    fake.clock.advance(600)
    assert client.status(job)["status"] == "IN_QUEUE"
    assert fake.bill.total() == 0
    assert [worker.state for worker in fake.workers()] == ([] if mode == "no_capacity" else [mode])
    fake.set_mode("ok")
    fake.clock.advance(13)
    assert client.status(job)["status"] == "COMPLETED"


def test_pulling_an_image_is_free() -> None:
    """Initializing is not billed."""
    with FakeRunPod([EndpointConfig(pull_s=120)]) as fake:
        client = Client(fake)
        job = client.run()
        fake.clock.advance(125)
        assert client.get("health").json()["workers"]["initializing"] == 1
        fake.clock.advance(200)
        assert client.status(job)["delayTime"] == 130_000
        assert fake.bill.total() == pytest.approx(22 * RATE)


def test_always_active_workers_are_billed() -> None:
    """min workers cost without a job and never idle out."""
    with FakeRunPod([EndpointConfig(workers_min=2)]) as fake:
        fake.clock.advance(100)
        assert fake.bill.total() == pytest.approx(200 * RATE)
        assert {worker.state for worker in fake.workers()} == {"idle"}


def test_workers_scale_to_the_queue_and_no_further(fake: FakeRunPod) -> None:
    """Five jobs start three workers; the last two run on warm ones."""
    client = Client(fake)
    jobs = [client.run() for _ in range(5)]
    assert len(fake.workers()) == 3
    fake.clock.advance(15)
    delays = sorted(client.status(job)["delayTime"] for job in jobs)
    assert delays == [10_000, 10_000, 10_000, 12_000, 12_000]


def test_queue_delay_holds_scaling_back() -> None:
    """A worker starts for a job that has waited."""
    with FakeRunPod([EndpointConfig(queue_delay_s=4)]) as fake:
        Client(fake).run()
        assert fake.workers() == []
        fake.clock.advance(4)
        assert len(fake.workers()) == 1


def test_dead_worker_gives_its_job_back(fake: FakeRunPod) -> None:
    """IN_PROGRESS -> IN_QUEUE -> COMPLETED elsewhere; counted as retried; two executions, both billed."""
    client = Client(fake)
    job = client.run(input={"scripted_s": 5})
    fake.clock.advance(12)
    worker = fake.workers()[0].id
    fake.kill_worker(worker)
    assert client.status(job) == {"id": job, "status": "IN_QUEUE"}
    fake.clock.advance(30)
    body = client.status(job)
    assert body["status"] == "COMPLETED"
    assert body["workerId"] != worker
    assert client.get("health").json()["jobs"]["retried"] == 1
    assert len(fake.executions) == 2
    assert fake.bill.total() == pytest.approx((12 + 25) * RATE)


def test_requeued_job_runs_again(fake: FakeRunPod) -> None:
    """The platform may also take a job away from a healthy worker."""
    client = Client(fake)
    job = client.run(input={"scripted_s": 5})
    fake.clock.advance(12)
    fake.requeue(job)
    fake.clock.advance(10)
    assert client.status(job)["status"] == "COMPLETED"
    assert len(fake.executions) == 2


def test_duplicate_execution(fake: FakeRunPod) -> None:
    """One job, two workers, one end."""
    fake.faults.script(duplicate=True)
    client = Client(fake)
    job = client.run()
    fake.clock.advance(30)
    assert client.status(job)["status"] == "COMPLETED"
    assert len({run.worker for run in fake.executions}) == 2
    assert len(fake.accepted) == 1
    assert fake.alive() == []


def test_same_seed_same_story() -> None:
    """Equal seeds give equal ids, durations and bills under a virtual clock."""

    def story() -> tuple[list[str], float]:
        with FakeRunPod([EndpointConfig(exec_s=(1.0, 9.0), workers_max=2)], seed=7) as fake:
            client = Client(fake)
            ids = [client.run() for _ in range(6)]
            fake.clock.advance(200)
            return ids + [str(client.status(job)["executionTime"]) for job in ids], fake.bill.total()

    assert story() == story()


def test_one_advance_is_many_small_ones() -> None:
    """What happens does not depend on the steps in which time is moved."""

    def bill(steps: int) -> float:
        with FakeRunPod([EndpointConfig(exec_s=(1.0, 9.0))]) as fake:
            client = Client(fake)
            for _ in range(6):
                client.run()
            for _ in range(steps):
                fake.clock.advance(120 / steps)
            return fake.bill.total()

    assert bill(1) == pytest.approx(bill(240))


# ---- workers of the SDK's kind, by hand


class Taker:
    """What the SDK's worker loop asks, as single requests."""

    def __init__(self, fake: FakeRunPod) -> None:
        self.client = Client(fake, "ext")

    def take(self, **query: Any) -> Any:
        """The next job."""
        return self.client.http.get(f"{self.client.base}/job-take/w1", params={"job_in_progress": "0"} | query).json()

    def done(self, job: str, **body: Any) -> int:
        """Post a result or a progress update."""
        return self.client.post(f"job-done/w1/{job}?isStream=false", **body).status_code


@pytest.fixture
def taker() -> Iterator[Taker]:
    """A worker of an external endpoint, on a virtual clock."""
    with FakeRunPod([EndpointConfig("ext", engine="external")]) as fake:
        yield Taker(fake)


@pytest.mark.parametrize(("regresses", "status"), [(True, "IN_PROGRESS"), (False, "COMPLETED")])
def test_late_progress(taker: Taker, regresses: bool, status: str) -> None:
    """An update that arrives after the result may put the job back to IN_PROGRESS (runpod-python #250)."""
    taker.client.fake.switches.late_progress_regresses = regresses
    job = taker.client.run()
    assert taker.take()["id"] == job
    taker.done(job, status="IN_PROGRESS", output=0.5)
    assert taker.client.status(job)["output"] == 0.5
    taker.done(job, output={"done": True})
    taker.done(job, status="IN_PROGRESS", output=0.9)
    assert taker.client.status(job)["status"] == status


@pytest.mark.parametrize(("how", "status"), [("no_output", "COMPLETED"), ("stale", "IN_PROGRESS")])
def test_worker_posts_too_much(taker: Taker, how: Any, status: str) -> None:
    """[infer] 400 for the worker; the job is COMPLETED without output, or stale until it is TIMED_OUT."""
    fake = taker.client.fake
    fake.switches.oversize = how
    job = taker.client.run()
    taker.take()
    assert taker.done(job, output="x" * 11 * 1024 * 1024) == 400
    body = taker.client.status(job)
    assert body["status"] == status
    assert "output" not in body
    fake.clock.advance(601)
    assert taker.client.status(job)["status"] == ("COMPLETED" if how == "no_output" else "TIMED_OUT")


def test_stream_of_a_worker(taker: Taker) -> None:
    """Chunks posted by a worker are what /stream gives; more than 1 MB is refused."""
    job = taker.client.run()
    taker.take()
    assert taker.client.post(f"job-stream/w1/{job}", output="part").status_code == 200
    assert taker.client.post(f"job-stream/w1/{job}", output="x" * 2**20).status_code == 400
    assert taker.client.get(f"stream/{job}").json() == {"status": "IN_PROGRESS", "stream": [{"output": "part"}]}


def test_batches_and_stops(taker: Taker) -> None:
    """job-take-batch gives a list; job-stop names the jobs that were cancelled meanwhile."""
    jobs = [taker.client.run() for _ in range(2)]
    base = taker.client.base
    taken = taker.client.http.get(f"{base}/job-take-batch/w1", params={"batch_size": 5}).json()
    assert [job["id"] for job in taken] == jobs
    taker.client.post(f"cancel/{jobs[0]}")
    assert taker.client.http.get(f"{base}/job-stop/w1").json() == {"jobsToStop": [jobs[0]]}
