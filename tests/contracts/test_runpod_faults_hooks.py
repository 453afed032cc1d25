"""W1-W7: webhooks that are missing, doubled, early, forged, misdirected, refused, or late, at the app's receiver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from resources.gpu import faultpoints
from resources.gpu.backend import Submission
from resources.gpu.budget import Budgets
from resources.gpu.records import Intent
from tests.contracts.fake_runpod_client import OPEN, Client
from tests.contracts.fault_scene import Scene, job
from tests.contracts.fault_trial import Stage
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.fake_runpod.server import Server

SLOW = {"queued_s": 4.0, "queued_max_s": 4.0, "head_s": 4.0, "running_min_s": 4.0, "running_max_s": 4.0}


@pytest.fixture
def heard(scene: Stage, receiver: Server) -> Callable[..., Scene]:
    """A scene whose jobs carry a webhook to the receiver; unless told otherwise its poller hardly asks."""

    def make(**options: Any) -> Scene:
        return scene(webhook_url=f"http://127.0.0.1:{receiver.port}", **{"cadence": SLOW, **options})

    return make


def answers(stage: Scene) -> list[int]:
    """What our receiver answered, in order."""
    give_up = time.monotonic() + 5
    while not stage.fake.world.webhooks_sent and time.monotonic() < give_up:
        time.sleep(0.01)
    return [status for _, _, status in stage.fake.world.webhooks_sent]


def played(stage: Scene, case: str, *, within: float = 3.5) -> float:
    """Run one job through the case; it must be accepted within that time."""
    stage.install(case)
    begun = time.monotonic()
    assert stage.run().results
    took = time.monotonic() - begun
    assert took < within, f"{took:.1f} s"
    assert stage.states() == ["succeeded"]
    return took


def test_no_webhook_ever(heard: Callable[..., Scene]) -> None:
    """W1: polling alone brings it home."""
    stage = heard(cadence={})
    played(stage, "W1")
    assert stage.fake.world.webhooks_sent == []
    stage.written("W1")


def test_webhook_is_delivered_once(receiver: Server, scene: Stage) -> None:
    """RunPod comes back twice unless it is answered 200: our answer ends it, by its own clock minutes later too."""
    ledger = scene().ledger
    row = ledger.open(job(), backend="runpod", profile="p")
    intent = Intent("runpod", "https://jobs.test/v2/ep1", "me", 60.0, None, 0.01, 0.05, 900.0, 1800.0)
    attempt = ledger.begin(row.fingerprint, intent, Budgets(1.0))
    assert attempt is not None
    with FakeRunPod() as fake:
        client = Client(fake)
        client.run(webhook=f"http://127.0.0.1:{receiver.port}/webhooks/runpod/{attempt.id}/{attempt.webhook_token}")
        fake.clock.advance(300)
        assert [status for _, _, status in fake.world.webhooks_sent] == [200]
    assert ledger.attempt(attempt.id).woken_at is not None
    OPEN.close()


def test_webhook_three_times(heard: Callable[..., Scene]) -> None:
    """W2: it wakes a poller that would have slept on; three of them are as good as one."""
    stage = heard()
    played(stage, "W2")
    assert set(answers(stage)) == {200}
    stage.written("W2")


def test_webhook_before_the_status_says_it(heard: Callable[..., Scene]) -> None:
    """W3: woken too early, it looks, sees a running job, and goes on waiting."""
    stage = heard(cadence={}, endpoint={"exec_s": (0.5, 0.5)})
    played(stage, "W3")
    states = [state for _, state, _ in stage.ledger.history(stage.attempts()[0].id)]
    assert states[-1] == "succeeded"
    assert "running" in states
    stage.written("W3")


def test_forged_body(heard: Callable[..., Scene]) -> None:
    """W4: whatever it says, only GET /status is believed."""
    stage = heard()
    played(stage, "W4")
    assert answers(stage) == [200]
    attempt = stage.attempts()[0]
    assert attempt.remote_id is not None
    assert "forged" not in attempt.remote_id
    stage.written("W4")


def test_forged_claim_of_an_unanswered_submission(heard: Callable[..., Scene]) -> None:
    """W4 while the submission's outcome is unknown: the forged id is asked after, found nowhere, and not used."""
    stage = heard(contract="worker-comfyui", cadence={})
    stage.install("S3")
    stage.install("W4")
    assert stage.run().results
    assert stage.states() == ["lost", "succeeded"]
    lost = stage.attempts()[0]
    assert lost.claimed_id == "forged-0000"
    stage.written("W4", "the submission's answer was lost, too")


@pytest.mark.parametrize("contract", ["ryla", "worker-comfyui"])
def test_forged_claim_names_another_attempts_running_job(heard: Callable[..., Scene], contract: str) -> None:
    """W4 with an id that exists: the other job is neither taken for this one's nor cancelled in its stead."""
    stage = heard(contract=contract, cadence={}, endpoint={"exec_s": (1.0, 1.0)})
    other = threading.Thread(target=lambda: stage.run(job(1), runner=stage.another_runner()))
    other.start()
    while not stage.fake.executions:
        time.sleep(0.01)
    [theirs] = stage.fake.accepted

    def claim_theirs() -> None:
        mine = next(attempt for attempt in stage.attempts() if attempt.remote_id is None)
        assert stage.ledger.wake(mine.id, mine.webhook_token or "", theirs.job_id)

    stage.install("S8")
    stage.at(faultpoints.OUTCOME_UNKNOWN, claim_theirs)
    stage.run(job(11))
    other.join(20)
    first, lost, *_ = stage.attempts()
    assert (first.state, first.remote_id and theirs.job_id in first.remote_id) == ("succeeded", True)
    assert (lost.state, lost.claimed_id, lost.remote_id) == ("lost", theirs.job_id, None)
    variant = "names another attempt's running job" + (f", {contract}" if contract != "ryla" else "")
    stage.written("W4", variant, injected="502 at submission, and a webhook that names another attempt's running job")


def test_wrong_token(heard: Callable[..., Scene]) -> None:
    """W5: 404, nobody is woken, polling brings it home."""
    stage = heard(cadence={})
    played(stage, "W5")
    assert set(answers(stage)) == {404}
    assert stage.attempts()[0].woken_at is None
    stage.written("W5")


def test_receiver_that_fails_first(heard: Callable[..., Scene], receiver: Server) -> None:
    """W6: 500 the first time; RunPod comes back, and then it wakes the poller."""
    stage = heard()
    app, failures = receiver.app, [1]

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and failures:
            failures.pop()
            await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    receiver.stop()
    receiver.app = failing  # type: ignore[assignment]
    receiver.start()
    played(stage, "W6")
    assert answers(stage) == [500, 200]
    stage.written("W6")


def test_webhook_for_a_cancelled_job(heard: Callable[..., Scene]) -> None:
    """W7: the run was terminated, its job cancelled; what the webhook says of it afterwards changes nothing."""
    stage = heard(cadence={}, endpoint={"exec_s": (30.0, 30.0)})
    stage.install("W7")
    stage.terminate(faultpoints.OBSERVED_RUNNING)
    assert answers(stage) == [200]
    assert stage.states() == ["cancelled"]
    stage.written("W7")


def test_submission_carries_an_address_nobody_can_guess(heard: Callable[..., Scene]) -> None:
    """Each attempt has its own, of 32 random bytes, and it is shown in no repr."""
    stage = heard(cadence={})
    addresses: list[str] = []
    submit = stage.backend.submit

    async def spied(submission: Submission) -> str:
        addresses.append(submission.webhook)
        return await submit(submission)

    stage.parts.patch.setattr(stage.backend, "submit", spied)
    assert stage.run(job(1), job(11)).results
    tokens = {address.rpartition("/")[2] for address in addresses}
    assert len(tokens) == 2
    assert all(len(token) >= 43 for token in tokens)
    assert all(str(attempt.webhook_token) not in repr(attempt) for attempt in stage.attempts())
    stage.holds()
