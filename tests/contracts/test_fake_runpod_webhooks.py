"""The fake's webhooks: their body, their tries, and what goes wrong with them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.contracts.fake_runpod_client import OPEN, Client
from tests.fakes.fake_runpod.config import Switches
from tests.fakes.fake_runpod.fake import FakeRunPod


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


class Receiver:
    """A webhook receiver in a thread: what it was sent, and what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.got.append((self.path, body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=lambda: self.server.serve_forever(poll_interval=0.01), daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver()
    yield made
    made.close()


def test_webhook_is_the_status_body(fake: FakeRunPod, receiver: Receiver) -> None:
    """POST with the same JSON as GET /status."""
    client = Client(fake)
    job = client.run(webhook=receiver.url)
    fake.clock.advance(15)
    assert receiver.got == [("/hook", client.status(job))]


def test_webhook_is_tried_three_times(fake: FakeRunPod, receiver: Receiver) -> None:
    """Ten seconds apart, then never again."""
    receiver.answers = [500, 500, 500, 200]
    Client(fake).run(webhook=receiver.url)
    fake.clock.advance(12)
    assert len(receiver.got) == 1
    fake.clock.advance(9)
    assert len(receiver.got) == 1
    fake.clock.advance(1)
    assert len(receiver.got) == 2
    fake.clock.advance(300)
    assert len(receiver.got) == 3


@pytest.mark.parametrize(("told", "count"), [(("COMPLETED",), 0), (("COMPLETED", "FAILED"), 1)])
def test_webhook_of_a_failure(receiver: Receiver, told: tuple[str, ...], count: int) -> None:
    """[infer] Whether failures are told is documented nowhere."""
    with FakeRunPod(switches=Switches(webhook_on=told)) as fake:
        fake.faults.script(error="boom")
        Client(fake).run(webhook=receiver.url)
        fake.clock.advance(15)
        assert len(receiver.got) == count


@pytest.mark.parametrize(
    ("mode", "paths"),
    [("never", []), ("thrice", ["/hook"] * 3), ("wrong_path", ["/hookx"]), ("forged", ["/hook"])],
)
def test_faulty_webhooks(fake: FakeRunPod, receiver: Receiver, mode: str, paths: list[str]) -> None:
    """Never, too often, elsewhere, with a lie."""
    fake.faults.script(webhook=mode)
    job = Client(fake).run(webhook=receiver.url)
    fake.clock.advance(60)
    assert [path for path, _ in receiver.got] == paths
    assert all((body["id"] == job) is (mode != "forged") for _, body in receiver.got)


def test_early_webhook(fake: FakeRunPod, receiver: Receiver) -> None:
    """It says COMPLETED while the status says IN_PROGRESS."""
    fake.faults.script(webhook="early")
    client = Client(fake)
    job = client.run(webhook=receiver.url)
    fake.clock.advance(10.5)
    assert receiver.got[0][1]["status"] == "COMPLETED"
    assert client.status(job)["status"] == "IN_PROGRESS"
