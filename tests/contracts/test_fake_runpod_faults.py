"""The fault plan injects what it says, and every case of the catalogue is installed as its line tells."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from resources import images
from tests.contracts.fake_runpod_client import OPEN, Client, graph, wire_request
from tests.fakes.fake_runpod.cases import CASES
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod

COMFYUI = {"input": {"workflow": graph("a", "b")}}
WANTED = [*(f"S{n}" for n in range(1, 15)), *(f"P{n}" for n in range(1, 21)), *(f"R{n}" for n in range(1, 23)),
          *(f"W{n}" for n in range(1, 8)), *(f"C{n}" for n in range(1, 13))]  # fmt: skip


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPEN.close()


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """One scripted endpoint on a virtual clock."""
    with FakeRunPod() as running:
        yield running


def done(fake: FakeRunPod, case: str, **envelope: Any) -> Any:
    """The status body of a job that went through a case."""
    fake.install(case)
    client = Client(fake)
    job = client.run(**(envelope or COMFYUI))
    fake.clock.advance(20)
    return client.status(job)


def test_catalogue_is_complete() -> None:
    """S1-S14, P1-P20, R1-R22, W1-W7, C1-C12, each with its line."""
    assert sorted(CASES) == sorted(WANTED)
    assert all(case.text and case.id == name for name, case in CASES.items())


@pytest.mark.parametrize("case", WANTED)
def test_case_installs_once_and_twice(case: str) -> None:
    """Installing asks for nothing that is not there."""
    fake = FakeRunPod()
    if case != "S1":  # needs a listener
        fake.install(case)
        fake.install(case, "ep1")
    fake.world.close()


# ---- connections


def test_dropped_request_stores_nothing(fake: FakeRunPod) -> None:
    """The connection ends before anything is read."""
    fake.faults.add("run", "drop_request", times=1)
    client = Client(fake)
    with pytest.raises(httpx.TransportError):
        client.run()
    assert fake.accepted == []
    client.run()


@pytest.mark.parametrize("action", ["drop_response", "cut_response"])
def test_dropped_response_has_stored(fake: FakeRunPod, action: Any) -> None:
    """The job is there, the answer is not."""
    fake.faults.add("run", action, times=1)
    with pytest.raises(httpx.TransportError):
        Client(fake).run()
    assert len(fake.accepted) == 1


def test_silence_after_storing(fake: FakeRunPod) -> None:
    """S2: the client's read timeout is what ends it."""
    fake.install("S2")
    client = Client(fake)
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(f"{client.base}/run", json={"input": {}}, timeout=0.2)
    assert len(fake.accepted) == 1


def test_refused_connections(fake: FakeRunPod) -> None:
    """S1: nobody listens, then the same port does."""
    client = Client(fake)
    fake.install("S1")
    with pytest.raises(httpx.ConnectError):
        client.run()
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        try:
            client.run()
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    assert len(fake.accepted) == 1


@pytest.mark.parametrize(
    ("case", "status", "stored"),
    [("S4", 200, 1), ("S5", 429, 0), ("S6", 429, 0), ("S7", 500, 1), ("S8", 502, 0), ("S9", 401, 0), ("S10", 404, 0),
     ("S11", 400, 0), ("S13", 200, 1)],
)  # fmt: skip
def test_answers_to_a_submission(fake: FakeRunPod, case: str, status: int, stored: int) -> None:
    """Status, and whether a job exists all the same."""
    fake.install(case)
    answer = Client(fake).post("run", input={})
    assert answer.status_code == status
    assert len(fake.accepted) == stored
    assert (answer.headers.get("retry-after") == "3") is (case == "S5")
    if case == "S4":
        assert answer.content == b""
    if case == "S13":
        assert answer.json()["status"] == "IN_PROGRESS"


def test_rule_counts_matches(fake: FakeRunPod) -> None:
    """skip passes, times ends, an endpoint that is not meant passes."""
    rule = fake.faults.add("health", status=500, skip=1, times=2)
    fake.faults.add("health", status=418, endpoint="other")
    client = Client(fake)
    assert [client.get("health").status_code for _ in range(4)] == [200, 500, 500, 200]
    assert (rule.seen, rule.fired) == (4, 2)
    assert [strike[0] for strike in fake.faults.log] == ["health", "health"]


def test_rule_by_chance_is_seeded() -> None:
    """The same seed strikes the same calls."""

    def codes() -> list[int]:
        with FakeRunPod(seed=3) as fake:
            fake.faults.add("health", status=500, probability=0.5)
            client = Client(fake)
            return [client.get("health").status_code for _ in range(12)]

    first = codes()
    assert first == codes()
    assert {200, 500} == set(first)


def test_rule_looks_at_the_call(fake: FakeRunPod) -> None:
    """`where` sees operation, endpoint, job and body."""
    fake.faults.add("run", status=500, where=lambda call: call.body["input"].get("bad"))
    client = Client(fake)
    assert client.post("run", input={"bad": 1}).status_code == 500
    assert client.post("run", input={"bad": 0}).status_code == 200


def test_redirect(fake: FakeRunPod) -> None:
    """Any header can be given."""
    fake.faults.add("health", status=307, headers={"location": "http://127.0.0.1:9/"})
    assert Client(fake).get("health").headers["location"] == "http://127.0.0.1:9/"


# ---- polls


@pytest.mark.parametrize(("case", "state"), [("P1", None), ("P2", "UNHEALTHY"), ("P3", "THROTTLED"), ("P4", None)])
def test_stuck_in_the_queue(fake: FakeRunPod, case: str, state: str | None) -> None:
    """IN_QUEUE for ever, and /workers tells why."""
    assert done(fake, case)["status"] == "IN_QUEUE"
    assert {worker.status for worker in fake.workers()} == ({state} if state else set())
    assert fake.bill.total() == 0


def test_endless_run(fake: FakeRunPod) -> None:
    """P5: executionTimeout passes and nothing happens; a cancel ends it."""
    assert done(fake, "P5", input={}, policy={"executionTimeout": 5000})["status"] == "IN_PROGRESS"
    Client(fake).post(f"cancel/{fake.accepted[0].job_id}")
    assert fake.alive() == []


@pytest.mark.parametrize(("case", "files"), [("P6", 3), ("P7", 0), ("P9", 3), ("P10", 0)])
def test_result_may_lie_in_the_store(fake: FakeRunPod, case: str, files: int) -> None:
    """TIMED_OUT and 404, with and without files."""
    body = done(fake, case, input=wire_request(fake))
    assert body.get("status") == ("TIMED_OUT" if case in ("P6", "P7") else None)
    assert "output" not in body
    assert len(fake.world.files) == files
    assert fake.alive() == []


def test_job_is_hidden_at_first(fake: FakeRunPod) -> None:
    """P8: 404 for five seconds."""
    fake.install("P8")
    client = Client(fake)
    job = client.run()
    assert client.get(f"status/{job}").status_code == 404
    fake.clock.advance(5)
    assert client.get(f"status/{job}").status_code == 200


def test_ttl_while_running(fake: FakeRunPod) -> None:
    """P11: gone after a minute."""
    fake.install("P11")
    client = Client(fake)
    job = client.run()
    fake.clock.advance(59)
    assert client.status(job)["status"] == "IN_PROGRESS"
    fake.clock.advance(2)
    assert client.get(f"status/{job}").status_code == 404
    assert fake.alive() == []


def test_unknown_words(fake: FakeRunPod) -> None:
    """P12: RUNNING, then PAUSED."""
    fake.install("P12")
    client = Client(fake)
    jobs = [client.run() for _ in range(2)]
    fake.clock.advance(11)
    assert [client.status(job)["status"] for job in jobs] == ["RUNNING", "PAUSED"]


def test_regression(fake: FakeRunPod) -> None:
    """P13: COMPLETED once, IN_PROGRESS ever after."""
    assert done(fake, "P13")["status"] == "COMPLETED"
    assert Client(fake).status(fake.accepted[0].job_id)["status"] == "IN_PROGRESS"


def test_broken_status_answers(fake: FakeRunPod) -> None:
    """P14: two answers cut short, two pages, then the truth."""
    fake.install("P14")
    client = Client(fake)
    job = client.run()
    texts = [client.get(f"status/{job}").text for _ in range(5)]
    assert [len(text) for text in texts[:2]] == [12, 12]
    assert all("<html>" in text for text in texts[2:4])
    assert json.loads(texts[4])["id"] == job


def test_burst_of_429(fake: FakeRunPod) -> None:
    """P15: every status for twenty seconds."""
    fake.install("P15")
    client = Client(fake)
    job = client.run()
    assert client.get(f"status/{job}").status_code == 429
    fake.clock.advance(20)
    assert client.get(f"status/{job}").status_code == 200


def test_worker_loss_requeues(fake: FakeRunPod) -> None:
    """P17: the job runs twice and completes."""
    fake.install("P17")
    client = Client(fake)
    job = client.run()
    fake.clock.advance(10.6)
    assert client.status(job)["status"] == "IN_QUEUE"
    fake.clock.advance(20)
    assert client.status(job)["status"] == "COMPLETED"


def test_cancelled_by_somebody(fake: FakeRunPod) -> None:
    """P18."""
    assert done(fake, "P18")["status"] == "CANCELLED"


def test_health_without_keys(fake: FakeRunPod) -> None:
    """P20."""
    fake.install("P20")
    assert Client(fake).get("health").json() == {}


# ---- results


@pytest.mark.parametrize(
    ("case", "status"),
    [(f"R{n}", "FAILED" if n in (14, 15, 16, 17, 18, 21) else "COMPLETED") for n in range(1, 20)],
)  # fmt: skip
def test_state_of_a_bad_result(fake: FakeRunPod, case: str, status: str) -> None:
    """Most bad results say COMPLETED."""
    assert done(fake, case)["status"] == status


def test_bad_outputs(fake: FakeRunPod) -> None:
    """What is wrong with each of them is what its line says."""

    def output(case: str) -> Any:
        with FakeRunPod() as other:
            return done(other, case).get("output", "none")

    assert output("R1") == "none"
    assert output("R2") == {"status": "success_no_images", "images": []}
    assert output("R3")["errors"]
    assert len(output("R4")["images"]) == 1
    with pytest.raises(ValueError, match=r"[Bb]ase64|[Oo]nly"):
        base64.b64decode(output("R5")["images"][0]["data"], validate=True)
    assert output("R6")["images"][0]["data"].startswith("data:image/png;base64,")
    assert set(output("R7")) == {"message", "status"}
    with pytest.raises(images.ImageRejected):
        images.decode(base64.b64decode(output("R8")["images"][0]["data"]))
    assert images.is_blank(images.decode(base64.b64decode(output("R9")["images"][0]["data"])))
    assert isinstance(output("R13"), list)
    assert output("R15") == {"details": ["Node 7: boom"]}
    assert len({image["filename"] for image in output("R19")["images"]}) == 2


@pytest.mark.parametrize(("case", "status"), [("R10", 403), ("R11", 404)])
def test_url_results(fake: FakeRunPod, case: str, status: int) -> None:
    """s3_url to the fake's own store, which refuses."""
    image = done(fake, case)["output"]["images"][0]
    assert image["type"] == "s3_url"
    assert httpx.get(image["data"], trust_env=False).status_code == status


def test_download_breaks_off_once(fake: FakeRunPod) -> None:
    """R12."""
    url = done(fake, "R12")["output"]["images"][0]["data"]
    with pytest.raises(httpx.TransportError):
        httpx.get(url, trust_env=False)
    assert images.decode(httpx.get(url, trust_env=False).content).size == (256, 256)


def test_heavy_result(fake: FakeRunPod) -> None:
    """R20: 25 MB in one answer."""
    fake.install("R20")
    client = Client(fake)
    job = client.run(**COMFYUI)
    fake.clock.advance(20)
    assert len(client.get(f"status/{job}").content) > 25_000_000


def test_poisoned_worker(fake: FakeRunPod) -> None:
    """R21: the same workerId three times."""
    fake.install("R21")
    client = Client(fake)
    jobs = [client.run() for _ in range(4)]
    fake.clock.advance(30)
    bodies = [client.status(job) for job in jobs]
    assert [body["status"] for body in bodies] == ["FAILED"] * 3 + ["COMPLETED"]
    assert len({body["workerId"] for body in bodies[:3]}) == 1


def test_other_jobs_answer(fake: FakeRunPod) -> None:
    """R22: a foreign id, and a foreign fingerprint in the result."""
    body = done(fake, "R22", input=wire_request(fake))
    assert body["id"] == "somebody-elses-job"
    assert body["output"]["fingerprint"] == "0" * 64


def test_wire_files_can_be_damaged() -> None:
    """R8 and R9 of our own contract: the harm lies in the store."""
    with FakeRunPod([EndpointConfig()]) as fake:
        done(fake, "R9", input=wire_request(fake))
        blank = [data for name, data in fake.world.files.items() if name.endswith("sheet-front")]
        assert images.is_blank(images.decode(blank[0]))
