"""What goes wrong with a webhook: a stranger that is believed, a body without an end, a token in a log."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from resources.database import open_engine
from resources.gpu.books import Books
from resources.gpu.budget import Budgets
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt, Intent
from ryla_assets.api import webhooks
from ryla_assets.api.app import build_app
from ryla_assets.api.webhooks import Rate, Webhooks, claimed, hidden, quiet_access_log
from ryla_assets.build import build_studio
from ryla_assets.settings import Settings
from tests.fakes.scripted_studio import scripted_parts

REMOTE = "6f9619ff-8b86-d011-b42d-00cf4fc964ff-u1"
ELSE = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def ledger(tmp_path: Path, migrated_database: Path) -> Iterator[Ledger]:
    """A ledger of its own."""
    shutil.copy(migrated_database, tmp_path / "ryla.db")
    made = Ledger(open_engine(f"sqlite:///{tmp_path}/ryla.db"))
    yield made
    made.engine.dispose()


def begun(ledger: Ledger, name: str) -> Attempt:
    """An open attempt, which has a token."""
    job = Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (OutputSpec("a", "image", 64, 64),))
    row = ledger.open(job, backend="runpod", profile="p")
    intent = Intent("runpod", "https://jobs.test/v2/ep", "me", 60.0, None, 0.01, 0.05, 900.0, 1800.0)
    made = ledger.begin(row.fingerprint, intent, Budgets(1.0))
    assert made is not None
    assert made.webhook_token
    return made


@pytest.fixture
def attempt(ledger: Ledger) -> Attempt:
    """One of them."""
    return begun(ledger, "a")


@pytest.fixture
def client(ledger: Ledger) -> TestClient:
    """RunPod, or whoever says so."""
    return TestClient(Starlette(routes=[*Webhooks(ledger).routes()]), raise_server_exceptions=False)


def path(attempt: Attempt, token: str | None = None) -> str:
    """Where that attempt is told of."""
    return f"/webhooks/runpod/{attempt.id}/{token or attempt.webhook_token}"


def test_attempt_is_woken_and_nothing_else_happens(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """200, the time and the claimed id are noted; the state that the body tells is not believed."""
    answer = client.post(path(attempt), json={"id": REMOTE, "status": "COMPLETED", "output": {"images": []}})
    assert (answer.status_code, answer.content) == (200, b"")
    now = ledger.attempt(attempt.id)
    assert now.woken_at is not None
    assert (now.claimed_id, now.state, now.remote_id, now.cost_usd) == (REMOTE, "intended", None, 0.0)


def test_telling_it_again_is_the_same(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """RunPod tries three times: each is answered alike, and an attempt that ended is no error."""
    assert {client.post(path(attempt), json={"id": REMOTE}).status_code for _ in range(3)} == {200}
    ledger.move(ledger.attempt(attempt.id), "failed")
    assert client.post(path(attempt), json={"id": REMOTE}).status_code == 200
    assert ledger.attempt(attempt.id).state == "failed"


def test_unknown_attempt_and_wrong_token_look_the_same(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """Whether an attempt exists is nobody's business, and nothing is written."""
    wrong = [
        client.post(path(attempt, "A" * 43)),
        client.post(f"/webhooks/runpod/{ELSE}/{attempt.webhook_token}"),
        client.post(f"/webhooks/runpod/{ELSE}/{'A' * 43}"),
        client.post("/webhooks/runpod/nonsense/nonsense"),
    ]
    assert len({(a.status_code, a.content, tuple(sorted(a.headers.items()))) for a in wrong}) == 1
    assert wrong[0].status_code == 404
    assert ledger.attempt(attempt.id).woken_at is None


@pytest.mark.parametrize("token", ["", "%00", "é" * 43, "A" * 5000, "..", "' OR 1=1 --", "A" * 19])
def test_shapeless_token_is_not_looked_up(
    client: TestClient, ledger: Ledger, attempt: Attempt, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be a token costs no query."""
    for place, name in ((Ledger, "wake"), (Books, "tokens")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("the database was asked"))
    assert client.post(f"/webhooks/runpod/{attempt.id}/{token}").status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_posting_is_answered(client: TestClient, ledger: Ledger, attempt: Attempt, method: str) -> None:
    """A link preview or a crawler wakes nobody."""
    assert client.request(method, path(attempt)).status_code == 405
    assert ledger.attempt(attempt.id).woken_at is None


BODIES: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", None),
    "an id": (json.dumps({"id": REMOTE}).encode(), REMOTE),
    "no JSON": (b"<html>", None),
    "a list": (b'["id"]', None),
    "a number": (b'{"id": 7}', None),
    "a long id": (json.dumps({"id": "a" * 101}).encode(), None),
    "a path": (b'{"id": "../../other-endpoint/cancel"}', None),
    "a newline": (json.dumps({"id": "abc\nX-Header: 1"}).encode(), None),
    "deep": (b"[" * 60_000, None),
    "a huge number": (b'{"id": 1, "n": ' + b"9" * 50_000 + b"}", None),
    "no text": (b"\xff\xfe\x00", None),
    "a whole result": (b'{"delayTime":1,"id":"' + REMOTE.encode() + b'","output":"' + b"A" * 200_000, REMOTE),
    "a whole result without": (b'{"output":"' + b"A" * 200_000, None),
}


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_body_is_only_a_claim(client: TestClient, ledger: Ledger, attempt: Attempt, body: str) -> None:
    """Whatever it is, the attempt is woken; an id that could be one is kept, as a claim."""
    sent, claim = BODIES[body]
    assert client.post(path(attempt), content=sent).status_code == 200
    assert ledger.attempt(attempt.id).claimed_id == claim
    assert ledger.attempt(attempt.id).woken_at is not None


def test_half_sent_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends for ever, or not at all, is answered after the deadline; what came until then is looked at."""
    monkeypatch.setattr(webhooks, "BODY_S", 0.05)

    async def endless() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x" * 16_384, "more_body": True}

    sent = [{"type": "http.request", "body": b'{"id":"' + REMOTE.encode() + b'","outp', "more_body": True}]

    async def stalled() -> dict[str, Any]:
        return sent.pop() if sent else await asyncio.Future()

    for receive, claim in ((endless, None), (stalled, REMOTE)):
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        assert asyncio.run(asyncio.wait_for(claimed(request), 5)) == claim


def test_sender_that_hangs_up_is_no_error() -> None:
    """The attempt is woken all the same: somebody knew the token."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert asyncio.run(claimed(Request({"type": "http", "method": "POST", "headers": []}, gone))) is None


@pytest.mark.parametrize("token", ["A" * 43, "short"])
def test_stranger_is_answered_before_it_has_sent_anything(ledger: Ledger, attempt: Attempt, token: str) -> None:
    """The token is checked first, the body of a stranger is never read, and its connection is ended."""
    answered = asyncio.run(posted(Webhooks(ledger), path(attempt, token)))
    assert answered["status"] == 404
    assert (b"connection", b"close") in answered["headers"]


async def posted(receiver: Webhooks, where: str) -> Any:
    """How a POST is answered whose sender fails the test if its body is asked for."""
    told: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was asked for")

    async def send(message: Any) -> None:
        told.append(message)

    app = Starlette(routes=[*receiver.routes()])
    scope = {"type": "http", "method": "POST", "path": where, "headers": [], "query_string": b"", "root_path": ""}
    await app(scope, receive, send)
    return told[0]


def test_flood_of_one_attempt_does_not_reach_the_database(ledger: Ledger, attempt: Attempt) -> None:
    """A token that leaked: its calls beyond what RunPod would make are refused, those of other attempts are not."""
    client = TestClient(Starlette(routes=[*Webhooks(ledger).routes()]))
    codes = [client.post(path(attempt)).status_code for _ in range(9)]
    assert codes[:6] == [200] * 6
    assert 429 in codes[6:]
    assert client.post(path(begun(ledger, "b"))).status_code == 200


def test_flood_of_all_attempts_is_bounded(ledger: Ledger, attempt: Attempt) -> None:
    """Calls beyond the rate are refused with a time to come back."""
    client = TestClient(Starlette(routes=[*Webhooks(ledger, rate=Rate(0.001, 3.0)).routes()]))
    codes = [client.post(path(attempt)).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert client.post(path(attempt)).headers["retry-after"] == "10"


def test_garbage_is_no_load_and_takes_no_turn(
    ledger: Ledger, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand made-up calls cost as many queries as the looks' rate allows; RunPod's own are heard among them."""
    asked: list[float] = []
    tokens = Books.tokens
    monkeypatch.setattr(Books, "tokens", lambda *a, **more: asked.append(more["since"]) or tokens(*a, **more))
    client = TestClient(Starlette(routes=[*Webhooks(ledger, looks=Rate(0.001, 3.0)).routes()]))
    assert client.post(path(attempt)).status_code == 200
    garbage = {client.post(f"/webhooks/runpod/{uuid.uuid4()}/{'A' * 43}").status_code for _ in range(300)}
    assert (garbage, len(asked)) == ({404}, 3)
    assert client.post(path(attempt, "A" * 43)).status_code == 404
    assert client.post(path(attempt)).status_code == 200
    assert asked[1] > asked[0], "a look reads what is new, not everything again"


def test_new_attempt_is_known_at_its_first_call(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """Begun after the last look, perhaps by another process: it is looked for."""
    assert client.post(path(attempt)).status_code == 200
    assert client.post(path(begun(ledger, "b"))).status_code == 200


def test_only_the_newest_attempts_are_kept(
    client: TestClient, ledger: Ledger, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: an old attempt is polled, a new one is heard."""
    monkeypatch.setattr(webhooks, "MOST_TOKENS", 1)
    assert client.post(path(attempt)).status_code == 200
    other = begun(ledger, "b")
    assert client.post(path(other)).status_code == 200
    assert client.post(path(attempt)).status_code == 404
    assert client.post(path(other)).status_code == 200


def test_rate_recovers() -> None:
    """A burst of finished jobs, then the steady rate."""
    now = [100.0]
    rate = Rate(2.0, 4.0, clock=lambda: now[0])
    assert [rate.allowed() for _ in range(5)] == [True] * 4 + [False]
    now[0] += 1.0
    assert [rate.allowed() for _ in range(3)] == [True, True, False]


def test_app_has_the_receiver(tmp_path: Path, migrated_database: Path) -> None:
    """The real app, on the ledger of its studio."""
    shutil.copy(migrated_database, tmp_path / "ryla.db")
    studio = build_studio(Settings(home=tmp_path), **scripted_parts())
    client = TestClient(build_app(studio.settings, studio=studio))
    assert client.post(f"/webhooks/runpod/{ELSE}/{'A' * 43}").status_code == 404
    assert client.get(f"/webhooks/runpod/{ELSE}/{'A' * 43}").status_code == 405
    studio.registry.engine.dispose()


# ---- logs


SECRETS: dict[str, Callable[[str], str]] = {
    "webhook": lambda token: f"/webhooks/runpod/{ELSE}/{token}",
    "webhook with a query": lambda token: f"/webhooks/runpod/{ELSE}/{token}?x=1",
    "thumbnail": lambda token: f"/t/{token}.webp",
    "gallery": lambda token: f"/g/mara-lind/{token}",
    "behind a prefix": lambda token: f"/app/webhooks/runpod/{ELSE}/{token}",
}


@pytest.mark.parametrize("where", SECRETS, ids=str)
def test_path_is_logged_without_its_token(where: str) -> None:
    """The rest of the line stays: ops see what was called."""
    token = "s3cr3t_" + "A" * 36
    shown = hidden(SECRETS[where](token))
    assert "s3cr3t" not in shown
    assert shown.startswith(SECRETS[where]("")[:3])
    assert hidden("/health") == "/health"


def test_access_log_tells_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever serves the app with its access log on: uvicorn's own record, with its own arguments."""
    log = logging.getLogger("uvicorn.access")
    before = list(log.filters)
    quiet_access_log()
    quiet_access_log()
    assert len(log.filters) <= len(before) + 1
    with caplog.at_level(logging.INFO, logger="uvicorn.access"):
        target = f"/webhooks/runpod/{ELSE}/s3cr3t_{'A' * 36}"
        log.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:1", "POST", target, "1.1", 200)
    assert "s3cr3t" not in caplog.text
    assert "/webhooks/runpod/" in caplog.text
