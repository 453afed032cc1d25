"""The fake as a process: its account outlives its clients, and its state can be asked from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.contracts.fake_runpod_client import OPEN, Client
from tests.fakes.fake_runpod.config import Config, EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.fake_runpod.process import FakeRunPodProcess


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPEN.close()


def test_fake_is_a_process(tmp_path: Any) -> None:
    """Real time twenty times as fast, rules and cases by JSON, state by HTTP, no thread or socket left."""
    config = {
        "speed": 20, "seed": 3, "cases": ["P17"],
        "endpoints": [{"id": "ep1", "cold_s": 2, "exec_s": [1, 1]}],
        "rules": [{"operation": "run", "action": "answer", "status": 503, "times": 1}],
    }  # fmt: skip
    with FakeRunPodProcess(config) as fake:
        client = Client(SimpleNamespace(jobs_url=fake.jobs_url, api_key=fake.api_key))  # type: ignore[arg-type]
        assert client.post("run", input={}).status_code == 503
        job = client.run(input={"fingerprint": "f", "attempt": "a"})
        give_up = time.monotonic() + 10
        while fake.alive() and time.monotonic() < give_up:
            time.sleep(0.02)
        state = fake.state()
        assert state["statuses"] == {job: "COMPLETED"}
        assert [(item["job_id"], item["fingerprint"], item["attempt"]) for item in fake.accepted] == [(job, "f", "a")]
        assert len(state["executions"]) == 2
        assert state["errors"] == []
        assert fake.bill_usd() > 0
        assert state["faults"] == [["run", "ep1", "answer"]]
        fake.tell("case", case="P1")
        second = client.run()
        fake.tell("cancel", job=second)
        assert client.status(second)["status"] == "CANCELLED"
        fake.tell("case", case="S1")
        assert _outage(client) > 0
    with pytest.raises(httpx.ConnectError):
        client.get("health")


def test_virtual_process_is_advanced() -> None:
    """speed null: time moves when it is told to."""
    with FakeRunPodProcess({"speed": None}) as fake:
        client = Client(SimpleNamespace(jobs_url=fake.jobs_url, api_key=fake.api_key))  # type: ignore[arg-type]
        job = client.run()
        before = fake.state()["now"]
        assert fake.tell("advance", seconds=30)["now"] == before + 30
        assert client.status(job)["status"] == "COMPLETED"


def test_unknown_setting_is_named() -> None:
    """A typing error in a config is no default."""
    with pytest.raises(ValueError, match="worker_max"):
        Config.from_dict({"endpoints": [{"worker_max": 3}]})


def test_many_open_jobs_are_cheap() -> None:
    """2,000 open jobs on 400 workers: none is lost, all end, and the bill is exact."""
    endpoint = EndpointConfig(workers_max=400, exec_s=(5.0, 5.0))
    with FakeRunPod([endpoint]) as fake:
        fake.switches.rate_limits = False
        with fake.clock.lock:
            jobs = [fake.jobs.accept("ep1", {"input": {"n": n}}, 10, sync=False) for n in range(2000)]
        assert len(fake.alive()) == 2000
        begun = time.monotonic()
        fake.clock.advance(100)
        assert time.monotonic() - begun < 5
        assert {job.status for job in jobs} == {"COMPLETED"}
        assert fake.bill.total() == pytest.approx(400 * (10 + 25 + 10) * 0.00031)
        assert fake.alive() == []


def _outage(client: Client) -> int:
    """How many connections were refused until one was taken again, for at most five seconds."""
    refused, give_up = 0, time.monotonic() + 5
    while time.monotonic() < give_up:
        try:
            answered = client.get("health").status_code == 200
        except httpx.TransportError:
            refused, answered = refused + 1, False
        if answered and refused:
            return refused
        time.sleep(0.02)
    return 0
