"""The fake and RunPod's own SDK agree: its clients talk to the fake, its worker loop works for the fake.

No specification of the jobs host is published, and fake and product have one author: a misreading could sit in both.
The SDK is RunPod's reading. It runs unmodified, in processes of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.fake_runpod_client import OPEN, Client
from tests.fakes.fake_runpod.config import EndpointConfig, Switches
from tests.fakes.fake_runpod.fake import FakeRunPod

HERE = Path(__file__).parent
GIVE_UP_S = 60.0


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPEN.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's, without proxies and credentials of whoever runs the tests."""
    kept = {
        key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY") and "RUNPOD" not in key
    }
    return {**kept, "HOME": str(folder), "NO_PROXY": "127.0.0.1", "RUNPOD_SKIP_GPU_CHECK": "true", **more}


@contextmanager
def worker(fake: FakeRunPod, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The SDK's worker loop for endpoint `ext`."""
    checks = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}
    env = environment(folder, **checks, **fake.worker_environment("ext", "sdkworker1"))
    log = (folder / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, HERE / "runpod_sdk_worker.py"],
        env=env,
        stdout=log,
        stderr=log,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the loop and its ping process, a group of their own
        process.wait(5)
        log.close()


def until(client: Client, job: str, *states: str) -> Any:
    """The status body once it says one of `states`."""
    give_up = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up:
        body = client.status(job)
        if body["status"] in states:
            return body
        time.sleep(0.02)
    raise AssertionError(f"still {body}")


def test_clients_of_the_sdk(tmp_path: Path) -> None:
    """run, status, output, run_sync, health, cancel, purge_queue, and the asyncio client, against the fake."""
    with FakeRunPod([EndpointConfig(cold_s=1.0, exec_s=(0.5, 0.5))], speed=10) as fake:
        fake.faults.rules.append(_failing())
        env = environment(tmp_path, RUNPOD_ENDPOINT_BASE_URL=fake.jobs_url, RUNPOD_API_KEY=fake.api_key)
        program = [sys.executable, str(HERE / "runpod_sdk_client.py")]
        printed = subprocess.check_output(program, env=env, text=True, timeout=GIVE_UP_S, cwd=tmp_path)
        told = json.loads(printed.splitlines()[-1])
        assert set(told["health"]) == {"jobs", "workers"}
        assert told["first_status"] in ("IN_QUEUE", "IN_PROGRESS")
        assert told["output"] == {"echo": {"scripted_s": 4, "word": "a"}}
        assert told["last_status"] == "COMPLETED"
        assert told["run_sync"] == {"echo": {"word": "b"}}
        assert told["cancel"]["status"] == told["cancelled"] == "CANCELLED"
        assert told["purge"] == {"removed": 0, "status": "completed"}
        assert (told["failed_output"], told["failed_status"]) == (None, "FAILED")
        assert told["async_output"] == {"echo": {"word": "c"}}
        assert (told["async_status"], told["async_cancel"]) == ("COMPLETED", "CANCELLED")
        assert told["wrong_key"] == "RuntimeError"
        assert len(fake.accepted) == 6
        assert fake.alive() == []


def test_worker_loop_of_the_sdk(tmp_path: Path) -> None:
    """One worker process takes jobs from the fake and returns results, errors, progress; a cancel reaches it."""
    endpoint = EndpointConfig("ext", engine="external")
    with FakeRunPod([endpoint], speed=1.0, switches=Switches(error_object_as="object")) as fake:
        client = Client(fake, "ext")
        with worker(fake, tmp_path):
            done = until(client, client.run(input={"word": "a"}), "COMPLETED", "FAILED")
            assert (done["status"], done["output"]["echo"]) == ("COMPLETED", {"word": "a"})
            assert done["workerId"] == "sdkworker1"
            raised = until(client, client.run(input={"raise": "bad prompt"}), "FAILED", "COMPLETED")
            error = json.loads(raised["error"])  # a JSON string, as the notes say
            assert (error["error_message"], error["worker_id"]) == ("bad prompt", "sdkworker1")
            failed = until(client, client.run(input={"fail": True}), "FAILED", "COMPLETED")
            assert failed["error"] == {"code": "oom", "message": "no memory", "retry": "elsewhere"}
            assert failed["output"] == {"details": [1]}
            busy = client.run(input={"progress": {"done": 0.5}})
            seen: list[Any] = []
            while not seen or seen[-1]["status"] != "COMPLETED":
                seen.append(client.status(busy))
                time.sleep(0.02)
            assert {"done": 0.5} in [body.get("output") for body in seen if body["status"] == "IN_PROGRESS"]
            long = client.run(input={"progress": "at work", "sleep": 600})
            while client.status(long).get("output") != "at work":  # a stop before its handler runs is lost on the SDK
                time.sleep(0.02)
            client.post(f"cancel/{long}")
            after = until(client, client.run(input={"word": "b"}), "COMPLETED")
            assert after["output"]["echo"] == {"word": "b"}  # the worker was told, and is free again
            assert client.status(long)["status"] == "CANCELLED"
        assert fake.alive() == []
        assert [item.worker for item in fake.executions] == ["sdkworker1"] * 6
        assert fake.clock.errors == []


def _failing() -> Any:
    """Jobs whose input asks for it fail."""
    from tests.fakes.fake_runpod.faults import Rule

    return Rule("job", where=lambda call: call.body.get("fail"), script={"error": "boom"})
