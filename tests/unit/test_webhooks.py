"""What goes wrong with a webhook: a stranger that is believed, a body without an end, a token in a log."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from resources.database import open_engine
from resources.gpu.budget import Budgets
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Attempt, Intent, Ledger
from ryla_assets.api.app import build_app
from ryla_assets.api.webhooks import MAX_BODY, Rate, Webhooks, claimed, hidden, quiet_access_log
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


@pytest.fixture
def attempt(ledger: Ledger) -> Attempt:
    """An open attempt, which has a token."""
    job = Job("image", {"1": {"class_type": "X", "inputs": {}}}, (OutputSpec("a", "image", 64, 64),))
    row = ledger.open(job, backend="runpod", profile="p")
    intent = Intent("runpod", "https://jobs.test/v2/ep", "me", 60.0, None, 0.01, 0.05, 900.0, 1800.0)
    made = ledger.begin(row.fingerprint, intent, Budgets(1.0))
    assert made is not None
    assert made.webhook_token
    return made


@pytest.fixture
def client(ledger: Ledger) -> TestClient:
    """RunPod, or whoever says so."""
    return TestClient(Starlette(routes=[*Webhooks(ledger).routes()]), raise_server_exceptions=False)


def path(attempt: Attempt, token: str | None = None) -> str:
    """Where that attempt is told of."""
    return f"/webhooks/runpod/{attempt.id}/{token or attempt.webhook_token}"


def test_attempt_is_woken_and_nothing_else_happens(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """204, the time and the claimed id are noted; the state that the body tells is not believed."""
    answer = client.post(path(attempt), json={"id": REMOTE, "status": "COMPLETED", "output": {"images": []}})
    assert (answer.status_code, answer.content) == (204, b"")
    now = ledger.attempt(attempt.id)
    assert now.woken_at is not None
    assert (now.claimed_id, now.state, now.remote_id, now.cost_usd) == (REMOTE, "intended", None, 0.0)


def test_telling_it_again_is_the_same(client: TestClient, ledger: Ledger, attempt: Attempt) -> None:
    """RunPod tries three times: each is answered alike, and an attempt that ended is no error."""
    assert {client.post(path(attempt), json={"id": REMOTE}).status_code for _ in range(3)} == {204}
    ledger.move(ledger.attempt(attempt.id), "failed")
    assert client.post(path(attempt), json={"id": REMOTE}).status_code == 204
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
    monkeypatch.setattr(Ledger, "wake", lambda *_: pytest.fail("the database was asked"))
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
    assert client.post(path(attempt), content=sent).status_code == 204
    assert ledger.attempt(attempt.id).claimed_id == claim
    assert ledger.attempt(attempt.id).woken_at is not None


def test_endless_body_is_not_read_to_its_end() -> None:
    """A stranger may send for ever: reading stops at the limit."""
    taken = 0

    async def endless() -> dict[str, Any]:
        nonlocal taken
        taken += 16_384
        return {"type": "http.request", "body": b"x" * 16_384, "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, endless)
    assert asyncio.run(asyncio.wait_for(claimed(request), 5)) is None
    assert taken <= MAX_BODY + 16_384


def test_sender_that_hangs_up_is_no_error(ledger: Ledger, attempt: Attempt) -> None:
    """The attempt is woken all the same: somebody knew the token."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert asyncio.run(claimed(Request({"type": "http", "method": "POST", "headers": []}, gone))) is None


def test_flood_does_not_reach_the_database(ledger: Ledger, attempt: Attempt) -> None:
    """Calls beyond the rate are refused with a time to come back; then there is room again."""
    client = TestClient(Starlette(routes=[*Webhooks(ledger, rate=Rate(0.001, 3.0)).routes()]))
    codes = [client.post(path(attempt)).status_code for _ in range(5)]
    assert codes == [204, 204, 204, 429, 429]
    assert client.post(path(attempt)).headers["retry-after"] == "10"


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
        log.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:1", "POST", target, "1.1", 204)
    assert "s3cr3t" not in caplog.text
    assert "/webhooks/runpod/" in caplog.text
