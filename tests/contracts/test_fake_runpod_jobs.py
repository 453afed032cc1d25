"""The fake's jobs API does what RunPod's documents and threads say; what is [infer] is a switch, tried both ways."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contracts.fake_runpod_client import OPEN, Client
from tests.fakes.fake_runpod.config import EndpointConfig, Switches
from tests.fakes.fake_runpod.fake import FakeRunPod


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPEN.close()


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """One scripted endpoint on a virtual clock: cold 10 s, runs of 2 s, idle 10 s."""
    with FakeRunPod() as running:
        yield running


@pytest.fixture
def client(fake: FakeRunPod) -> Client:
    """Its client."""
    return Client(fake)


def switched(**switches: Any) -> FakeRunPod:
    """A fake that reads an undocumented point the other way."""
    return FakeRunPod(switches=Switches(**switches))


def test_life_of_a_job(fake: FakeRunPod, client: Client) -> None:
    """Queued, cold start, running, completed, with the documented fields and their milliseconds."""
    answer = client.post("run", input={"x": 1}, webhookV2="ignored").json()
    assert answer["status"] == "IN_QUEUE"
    assert answer["id"].endswith("-u1")
    assert client.status(answer["id"]) == {"id": answer["id"], "status": "IN_QUEUE"}
    fake.clock.advance(10.5)
    assert client.status(answer["id"])["status"] == "IN_PROGRESS"
    fake.clock.advance(5)
    done = client.status(answer["id"])
    assert (done["status"], done["delayTime"], done["executionTime"]) == ("COMPLETED", 10_000, 2_000)
    assert done["workerId"]
    assert done["output"] == {"echo": {"x": 1}}


@pytest.mark.parametrize(("path", "kept_s"), [("run", 1800), ("runsync", 60)])
def test_results_are_forgotten(fake: FakeRunPod, client: Client, path: str, kept_s: int) -> None:
    """An async result stays half an hour, a sync one a minute; then it is a 404 like any unknown id."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(client.post(path, input={}).json()["id"]))
    thread.start()
    while not fake.accepted:
        thread.join(0.01)
    fake.clock.advance(12)
    thread.join(5)
    fake.clock.advance(kept_s - 1)
    assert client.status(found[0])["status"] == "COMPLETED"
    fake.clock.advance(2)
    assert client.get(f"status/{found[0]}").status_code == 404
    assert client.get("status/never-was-u1").json() == client.get(f"status/{found[0]}").json()


def test_key_is_asked_for(fake: FakeRunPod, client: Client) -> None:
    """401 without the key; the bare key is taken as well as Bearer."""
    url = f"{client.base}/health"
    assert httpx.get(url, headers={"authorization": "Bearer nope"}, trust_env=False).status_code == 401
    assert httpx.get(url, headers={"authorization": fake.api_key}, trust_env=False).status_code == 200


def test_unknown_endpoint_is_404(client: Client, fake: FakeRunPod) -> None:
    """An unknown endpoint looks like an unknown job."""
    assert client.http.post(f"{fake.jobs_url}/other/run", json={"input": {}}).status_code == 404


@pytest.mark.parametrize("envelope", [{}, {"inputs": {}}])
def test_input_is_required(client: Client, envelope: dict[str, Any]) -> None:
    """Only `input` is."""
    answer = client.post("run", **envelope)
    assert answer.status_code == 400
    assert "input" in answer.json()["error"]


def test_large_body_is_refused(client: Client) -> None:
    """10 MB for /run."""
    big = client.post("run", input={"x": "x" * 10 * 1024 * 1024})
    assert big.status_code == 400
    assert client.post("run", input={"x": "x" * 9 * 1024 * 1024}).status_code == 200


@pytest.mark.parametrize(
    "policy", [{"executionTimeout": 4999}, {"ttl": 9_999}, {"ttl": 8 * 86_400_000}, {"executionTimeout": "x"}]
)
def test_policy_bounds(client: Client, policy: dict[str, Any]) -> None:
    """executionTimeout 5 s to 7 d, ttl 10 s to 7 d."""
    assert client.post("run", input={}, policy=policy).status_code == 400


def test_policy_bounds_may_be_clamped() -> None:
    """[infer] Nobody says what happens out of bounds."""
    with switched(policy_out_of_bounds="clamp") as fake:
        job = Client(fake).run(policy={"ttl": 1})
        assert fake.job(job).ttl_ms == 10_000


def test_defaults_of_policy(fake: FakeRunPod, client: Client) -> None:
    """ttl 24 h; executionTimeout is the endpoint's."""
    job = fake.job(client.run())
    assert (job.ttl_ms, job.execution_ms) == (86_400_000, 600_000)


def test_execution_timeout(fake: FakeRunPod, client: Client) -> None:
    """It counts once the job runs, and ends as TIMED_OUT."""
    job = client.run(input={"scripted_s": 100}, policy={"executionTimeout": 5_000})
    fake.clock.advance(14.9)
    assert client.status(job)["status"] == "IN_PROGRESS"
    fake.clock.advance(0.2)
    body = client.status(job)
    assert body["status"] == "TIMED_OUT"
    assert "output" not in body
    assert fake.workers()[0].state == "idle"


@pytest.mark.parametrize(("how", "left"), [("timed_out", "TIMED_OUT"), ("deleted", None)])
def test_ttl_in_the_queue(how: Any, left: str | None) -> None:
    """[infer] A job that waited longer than its ttl is TIMED_OUT, or gone."""
    with FakeRunPod([EndpointConfig(mode="no_capacity")], switches=Switches(ttl_in_queue=how)) as fake:
        client = Client(fake)
        job = client.run(policy={"ttl": 10_000})
        fake.clock.advance(10.1)
        assert client.status(job).get("status") == left
        assert fake.alive() == []


@pytest.mark.parametrize("stops", [True, False])
def test_ttl_deletes_a_running_job(stops: bool) -> None:
    """ttl counts from submission and takes a running job away; [infer] whether its worker notices."""
    with switched(ttl_running_stops=stops) as fake:
        client = Client(fake)
        job = client.run(input={"scripted_s": 60}, policy={"ttl": 20_000})
        fake.clock.advance(20.1)
        assert client.get(f"status/{job}").status_code == 404
        assert (fake.alive() == []) is stops
        assert fake.workers()[0].state == ("idle" if stops else "busy")


def test_status_can_set_the_ttl(fake: FakeRunPod, client: Client) -> None:
    """?ttl= is not a read-only parameter."""
    fake.set_mode("no_capacity")
    job = client.run()
    client.get(f"status/{job}?ttl=11000")
    fake.clock.advance(11.5)
    assert client.status(job)["status"] == "TIMED_OUT"


@pytest.mark.parametrize("stops", [True, False])
def test_cancel(stops: bool) -> None:
    """CANCELLED at once; [infer] whether a handler that runs is stopped; a late result changes nothing."""
    with switched(cancel_stops_worker=stops) as fake:
        client = Client(fake)
        job = client.run(input={"scripted_s": 30})
        fake.clock.advance(11)
        assert client.post(f"cancel/{job}").json() == {"id": job, "status": "CANCELLED"}
        assert fake.workers()[0].state == ("idle" if stops else "busy")
        fake.clock.advance(40)
        body = client.status(job)
        assert body["status"] == "CANCELLED"
        assert "output" not in body
        assert client.post(f"cancel/{job}").json()["status"] == "CANCELLED"


def test_retry(fake: FakeRunPod, client: Client) -> None:
    """Only after FAILED or TIMED_OUT; same id; the old end is gone."""
    fake.faults.script(times=1, error="boom")
    job = client.run()
    assert client.post(f"retry/{job}").status_code == 400
    fake.clock.advance(13)
    assert client.status(job)["error"] == "boom"
    fake.job(job).script.error = None
    assert client.post(f"retry/{job}").json() == {"id": job, "status": "IN_QUEUE"}
    fake.clock.advance(13)
    body = client.status(job)
    assert body["status"] == "COMPLETED"
    assert "error" not in body
    assert len(fake.executions) == 2
    assert len(fake.accepted) == 1


def test_purge_takes_what_is_queued(fake: FakeRunPod, client: Client) -> None:
    """Running jobs stay."""
    fake.pool().config.workers_max = 1
    jobs = [client.run(input={"scripted_s": 30}) for _ in range(3)]
    fake.clock.advance(11)
    assert client.post("purge-queue").json() == {"removed": 2, "status": "completed"}
    assert [client.status(job)["status"] for job in jobs] == ["IN_PROGRESS", "CANCELLED", "CANCELLED"]


def test_health_counts(fake: FakeRunPod, client: Client) -> None:
    """Jobs and workers by state; every key beyond the documented ones is optional."""
    fake.pool().config.workers_max = 1
    client.run()
    client.run()
    fake.clock.advance(11)
    health = client.get("health").json()
    assert health["jobs"] == {"completed": 0, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0}
    assert health["workers"]["running"] == 1
    fake.switches.health_keys = "documented"
    assert set(client.get("health").json()["workers"]) == {"idle", "running"}


@pytest.mark.parametrize("wait", ["999", "300001", "soon"])
def test_wait_of_runsync(client: Client, wait: str) -> None:
    """1 s to 300 s, in the words that were observed."""
    answer = client.post(f"runsync?wait={wait}", input={})
    assert answer.status_code == 400
    assert answer.json() == {"error": "wait is invalid; must be between 1000 and 300000"}


def test_runsync_returns_before_the_end() -> None:
    """After `wait` the answer is a state that is not terminal, to be polled."""
    with FakeRunPod(speed=20) as fake:
        client = Client(fake)
        early = client.post("runsync?wait=2000", input={}).json()
        assert early["id"].startswith("sync-")
        assert early["status"] == "IN_QUEUE"
        whole = client.post("runsync", input={}).json()
        assert whole["status"] == "COMPLETED"


def test_stream_gives_chunks_once(fake: FakeRunPod, client: Client) -> None:
    """`{"status", "stream": [{"output"}]}`, and an empty stream later."""
    fake.faults.script(chunks=["a", "b"])
    job = client.run()
    fake.clock.advance(13)
    assert client.get(f"stream/{job}").json() == {
        "status": "COMPLETED",
        "stream": [{"output": "a"}, {"output": "b"}],
    }
    assert client.get(f"stream/{job}").json()["stream"] == []


def test_progress_is_not_a_result(fake: FakeRunPod, client: Client) -> None:
    """While it runs, `output` is the last progress update."""
    fake.faults.script(progress={"done": 0.5})
    job = client.run()
    fake.clock.advance(11)
    body = client.status(job)
    assert (body["status"], body["output"]) == ("IN_PROGRESS", {"done": 0.5})


@pytest.mark.parametrize(("method", "path", "limit"), [("POST", "cancel/x", 100), ("POST", "purge-queue", 2)])
def test_rate_limits(fake: FakeRunPod, client: Client, method: str, path: str, limit: int) -> None:
    """So many in ten seconds, then 429 without headers, then again."""
    codes = [client.http.request(method, f"{client.base}/{path}").status_code for _ in range(limit + 1)]
    assert 429 not in codes[:-1]
    assert codes[-1] == 429
    refused = client.http.request(method, f"{client.base}/{path}")
    assert "retry-after" not in refused.headers
    fake.switches.rate_headers = True
    assert int(client.http.request(method, f"{client.base}/{path}").headers["retry-after"]) == 10
    fake.clock.advance(10)
    assert client.http.request(method, f"{client.base}/{path}").status_code != 429


def test_running_workers_raise_the_rate_limit(fake: FakeRunPod, client: Client) -> None:
    """The limit is the larger of base and running workers times requests a worker."""
    fake.pool().config.requests_per_worker = 5
    client.run(input={"scripted_s": 100})
    fake.clock.advance(11)
    assert [client.post("purge-queue").status_code for _ in range(6)] == [200] * 5 + [429]


def test_result_too_large_is_no_result(fake: FakeRunPod, client: Client) -> None:
    """The platform refuses it, and the job is COMPLETED without `output` (#167, #309)."""
    fake.faults.script(output={"images": "x" * 11 * 1024 * 1024})
    job = client.run()
    fake.clock.advance(13)
    body = client.status(job)
    assert body["status"] == "COMPLETED"
    assert "output" not in body


@pytest.mark.parametrize(("how", "kind"), [("string", str), ("object", dict)])
def test_shape_of_an_error(how: Any, kind: type) -> None:
    """[infer] An error that is an object shows as JSON text, or as it is; the rest of the return is `output`."""
    with switched(error_object_as=how) as fake:
        client = Client(fake)
        fake.faults.script(output={"error": {"code": "oom"}, "details": [1]})
        job = client.run()
        fake.clock.advance(13)
        body = client.status(job)
        assert body["status"] == "FAILED"
        assert isinstance(body["error"], kind)
        assert body["output"] == {"details": [1]}


def test_low_priority_starts_nothing(fake: FakeRunPod, client: Client) -> None:
    """A low-priority job triggers no scale-up: with min workers 0 it waits for others'."""
    job = client.run(policy={"lowPriority": True})
    fake.clock.advance(60)
    assert client.status(job)["status"] == "IN_QUEUE"
    client.run()
    fake.clock.advance(30)
    assert client.status(job)["status"] == "COMPLETED"
