"""Both workers' contracts as the fake speaks them: ours, read by the product's own parsers, and worker-comfyui's."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest

from resources import images
from tests.contracts.fake_runpod_client import ATTEMPT, FINGERPRINT, OPEN, Client, graph, wire_request
from tests.fakes.fake_runpod.config import EndpointConfig, Switches
from tests.fakes.fake_runpod.fake import FakeRunPod
from workflows.lora_file import verify
from workflows.wire import parse_failure, parse_request, parse_result


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


def test_wire_request_leaves_files_then_manifest(fake: FakeRunPod) -> None:
    """Files and manifest lie in the store; the output is the manifest; the product's own parser reads it."""
    body = wire_request(fake)
    parse_request(body)
    client = Client(fake)
    job = client.run(input=body)
    fake.clock.advance(11)
    assert fake.world.files == {}
    fake.clock.advance(5)
    output = client.status(job)["output"]
    result = parse_result(output)
    assert parse_result(fake.world.files[f"results/{FINGERPRINT}/result.json"]) == result
    assert (result.engine, result.load_s, result.exec_s, result.reused) == ("comfyui", 10.0, 2.0, False)
    for file in result.files:
        data = fake.world.files[f"results/{FINGERPRINT}/{ATTEMPT}/{file.name}"]
        assert len(data) == file.bytes
        assert not images.is_blank(images.decode(data, size=(96, 64)))
    assert (fake.accepted[0].fingerprint, fake.accepted[0].attempt) == (FINGERPRINT, ATTEMPT)


def test_wire_worker_finds_what_is_there(fake: FakeRunPod) -> None:
    """A second attempt of the fingerprint returns the first one's result and makes nothing."""
    client = Client(fake)
    client.run(input=wire_request(fake))
    fake.clock.advance(15)
    second = client.run(input=wire_request(fake, attempt=ATTEMPT[:-1] + "2"))
    fake.clock.advance(1)
    body = client.status(second)
    assert body["executionTime"] == 500
    assert parse_result(body["output"]).reused
    assert parse_result(body["output"]).attempt == ATTEMPT


def test_cancelled_wire_job_leaves_nothing(fake: FakeRunPod) -> None:
    """Files have their place in time: before the end of the run there are none."""
    client = Client(fake)
    job = client.run(input=wire_request(fake))
    fake.clock.advance(11)
    client.post(f"cancel/{job}")
    fake.clock.advance(60)
    assert fake.world.files == {}


def test_late_files_of_a_cancelled_job() -> None:
    """[infer] Where the handler is not stopped, they arrive."""
    with FakeRunPod(switches=Switches(cancel_stops_worker=False)) as fake:
        client = Client(fake)
        job = client.run(input=wire_request(fake))
        fake.clock.advance(11)
        client.post(f"cancel/{job}")
        fake.clock.advance(60)
        assert len(fake.world.files) == 3
        assert client.status(job)["status"] == "CANCELLED"


def test_wire_failure_is_readable(fake: FakeRunPod) -> None:
    """A store that refuses makes a failure that the product's parser reads."""
    fake.faults.add("files", status=503, body="busy")
    client = Client(fake)
    job = client.run(input=wire_request(fake))
    fake.clock.advance(15)
    body = client.status(job)
    assert body["status"] == "FAILED"
    assert parse_failure(body["error"]).retry == "transient"


# ---- drawing by the preview


def test_preview_engine_speaks_both_contracts() -> None:
    """worker-comfyui's base64 with ComfyUI's file names, and our wire; the same pixels by both."""
    with FakeRunPod([EndpointConfig(engine="preview", exec_s=(3.0, 3.0))]) as fake:
        client = Client(fake)
        official = client.run(input={"workflow": graph("base/1", "base/2")})
        outputs = wire_request(fake)["outputs"]
        ours = client.run(input=wire_request(fake, request=graph(*[item["name"] for item in outputs])))
        fake.clock.advance(15)
        found = client.status(official)["output"]["images"]
        assert [(image["filename"], image["type"]) for image in found] == [
            ("1_00001_.png", "base64"),
            ("2_00001_.png", "base64"),
        ]
        assert images.decode(base64.b64decode(found[0]["data"])).size == (256, 256)
        result = parse_result(client.status(ours)["output"])
        assert result.engine == "preview"
        book = {path.stem for path in (fake.world.folder / "identities").glob("*/*.json")}
        assert book == {
            images.pixels_sha256(images.decode(fake.world.files[f"results/{FINGERPRINT}/{ATTEMPT}/{file.name}"]))
            for file in result.files
        }  # the same seeds and sizes in both requests: the same pixels


def test_preview_engine_fails_as_workers_do() -> None:
    """A graph that cannot run is FAILED, in each contract's words."""
    with FakeRunPod([EndpointConfig(engine="preview")]) as fake:
        client = Client(fake)
        bad = {"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}}}
        official = client.run(input={"workflow": bad})
        ours = client.run(input=wire_request(fake, request=bad))
        fake.clock.advance(15)
        body = client.status(official)
        assert (body["status"], body["error"]) == ("FAILED", "Job processing failed")
        assert "does not exist" in body["output"]["details"][0]
        assert parse_failure(client.status(ours)["error"]).retry == "permanent"


def test_preview_engine_in_real_time() -> None:
    """Under a clock that runs by itself a run takes as long as the drawing; two workers share the book."""
    with FakeRunPod([EndpointConfig(engine="preview", exec_s=(0.0, 0.0), cold_s=0.1)], speed=1.0) as fake:
        client = Client(fake)
        names = [item["name"] for item in wire_request(fake)["outputs"]]
        job = client.run(input=wire_request(fake, request=graph(*names)))
        give_up = time.monotonic() + 30
        while client.status(job)["status"] != "COMPLETED" and time.monotonic() < give_up:
            time.sleep(0.02)
        body = client.status(job)
        assert body["executionTime"] > 0
        assert parse_result(body["output"]).exec_s > 0
        assert fake.clock.errors == []


def test_preview_trains_what_it_drew() -> None:
    """A training request whose dataset came out of an image request gives a LoRA file; another file is refused."""
    with FakeRunPod([EndpointConfig(engine="preview")]) as fake:
        client = Client(fake)
        names = [item["name"] for item in wire_request(fake)["outputs"]]
        drawn = client.run(input=wire_request(fake, request=graph(*names)))
        fake.clock.advance(15)
        files = parse_result(client.status(drawn)["output"]).files
        stored = f"{fake.files_url}/results/{FINGERPRINT}/{ATTEMPT}"
        dataset = [
            {"folder": "dataset", "name": f"{n}.png", "sha256": file.sha256, "url": f"{stored}/{file.name}"}
            for n, file in enumerate(files)
        ]
        manifest = f"{fake.files_url}/results/lora/result.json"
        lora = {"name": "ada", "media": "lora", "width": 0, "height": 0, "put_url": f"{fake.files_url}/ada"}
        request = wire_request(
            fake, kind="training", inputs=dataset, outputs=[lora], fingerprint="cd" * 32,
            request={"base_model": "flux-dev", "trigger": "ohwx", "steps": 50, "rank": 4},
            manifest_get=manifest, manifest_put=manifest,
        )  # fmt: skip
        parse_request(request)
        trained = client.run(input=request)
        fake.clock.advance(15)
        result = parse_result(client.status(trained)["output"])
        assert (result.engine, result.files[0].media) == ("preview", "lora")
        assert verify(fake.world.files["ada"], base_model="flux-dev", trained_steps=50).rank == 4
        fake.world.files[f"results/{FINGERPRINT}/{ATTEMPT}/{files[0].name}"] = b"something else"
        del fake.world.files["results/lora/result.json"]
        again = client.run(input=request)
        fake.clock.advance(15)
        assert parse_failure(client.status(again)["error"]).code == "input"
