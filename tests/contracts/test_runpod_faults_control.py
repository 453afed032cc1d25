"""C1-C12: pods that exist in spite of an error, or stay when they should go; a control plane that is old or silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from resources.gpu.backends.runpod.pods import Pods
from resources.gpu.backends.runpod.with_pods import RunPodWithPods
from resources.gpu.errors import Retry
from resources.gpu.records import Attempt
from resources.runpod.problems import ControlProblem
from tests.contracts.fault_pods import GPUS, SPEED, training
from tests.contracts.fault_scene import Scene
from tests.contracts.fault_trial import Stage

T = TypeVar("T")
PODS = {"pods": True, "speed": SPEED}


def ask(stage: Scene, question: Callable[[Pods], Awaitable[T]]) -> T:
    """One question to the pods, from outside any run."""
    assert isinstance(stage.backend, RunPodWithPods)
    return asyncio.run(stage.backend._asked(question))


def live(stage: Scene) -> list[str]:
    """Our pods that still cost."""
    return stage.fake.world.pods.alive()


def trained(scene: Stage, case: str) -> Scene:
    """A training whose first attempt comes through the case."""
    stage = scene(**PODS)
    stage.install(case)
    assert stage.run(training()).results
    assert stage.states() == ["succeeded"]
    assert live(stage) == [], "a pod that has done its work is terminated"
    return stage


def test_pod_that_was_made_in_spite_of_an_error_is_the_only_one(scene: Stage) -> None:
    """C1: its name is looked for before anything is created again."""
    stage = trained(scene, "C1")
    assert len(stage.fake.world.pods.pods) == 1
    stage.written("C1")


def test_next_gpu_type_is_tried(scene: Stage) -> None:
    """C2: two types have no room, the third one has."""
    stage = trained(scene, "C2")
    assert len(stage.fake.faults.log) == 2
    [pod] = stage.fake.world.pods.pods.values()
    assert pod.spec["gpu"]["id"] == GPUS[2]
    stage.written("C2")


@pytest.mark.parametrize(("case", "code", "retry"), [("C3", "balance_zero", Retry.FATAL), ("C5", "invalid_job", None)])
def test_refusal_stops_at_once(scene: Stage, case: str, code: str, retry: Retry | None) -> None:
    """C3, C5: asked once, for one GPU type; nothing was created, and the error says what to do."""
    stage = scene(**PODS)
    stage.install(case)
    outcome = stage.run(training())
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.retry) == (code, retry or Retry.PERMANENT)
    assert len(stage.fake.faults.log) == 1
    assert stage.states() == ["failed"]
    assert outcome.error.way_out
    stage.written(case)


def test_action_that_is_not_possible_is_not_repeated(scene: Stage) -> None:
    """C4: 409 is an answer; the pod is left as it is until it is deleted."""
    stage = trained(scene, "C4")
    [pod_id] = stage.fake.world.pods.pods
    path = f"/pods/{pod_id}/action"  # nothing of ours asks for one
    with pytest.raises(ControlProblem) as caught:
        ask(stage, lambda pods: pods._control._asker.ask("POST", path, body={"action": "stop"}))
    assert (caught.value.status, caught.value.retry) == (409, Retry.PERMANENT)
    assert len(stage.fake.faults.log) == 1
    stage.said.append(str(caught.value))
    stage.written("C4")


def test_pod_that_never_starts_is_terminated(scene: Stage) -> None:
    """C6: past the queue's deadline it is diagnosed, deleted, and booked for as long as it stood there."""
    stage = scene(**PODS, policy={"queue_limit_s": 0.6, "max_attempts": 1})
    stage.install("C6")
    outcome = stage.run(training())
    assert outcome.error is not None
    assert outcome.error.code == "timed_out"
    assert "is PROVISIONING" in str(outcome.error)
    assert (stage.states(), live(stage)) == (["timed_out"], [])
    assert stage.attempts()[0].cost_usd > 0
    stage.written("C6")


def test_pod_that_is_gone_already_is_no_error(scene: Stage) -> None:
    """C7: 404 on DELETE means done."""
    stage = trained(scene, "C7")
    assert "delete" in " ".join(operation for operation, _, _ in stage.fake.faults.log)
    stage.written("C7")


def test_pod_that_cannot_be_deleted_is_swept_later(scene: Stage) -> None:
    """C8: the result is taken all the same; the pod is the sweep's, and the most that it can cost is booked."""
    stage = scene(**PODS)
    stage.install("C8")
    stage.fake.faults.rules[-1].times = 4  # as often as one deletion is tried
    stage.fake.world.config.pods.exits_after = False
    assert stage.run(training()).results
    assert stage.states() == ["succeeded"]
    assert len(live(stage)) == 1, "it still costs"
    ours = {attempt.id for attempt in stage.attempts()}
    gone = ask(stage, lambda pods: pods.sweep({}, lambda attempt_id: attempt_id in ours))
    assert (len(gone), live(stage)) == (1, [])
    stage.written("C8")


def test_price_that_one_studio_saw_is_booked_by_the_next_one(scene: Stage) -> None:
    """A training on a pod is followed by ticks, each with a backend of its own: RUNNING at a price, EXITED at none."""
    stage = scene(**PODS)
    attempt = stage.runner.submit(training())
    assert isinstance(attempt, Attempt)
    ticks = 0
    while stage.ledger.attempt(attempt.id).is_open:
        fresh = stage.another_runner(backend=stage.backend_on("ep1"))
        fresh.backend.hurry([attempt.remote_id or ""])
        fresh.collect("training")
        ticks += 1
    ended = stage.ledger.attempt(attempt.id)
    assert (ended.state, ended.cost_basis, ticks > 1) == ("succeeded", "reported", True)
    stage.holds()


def test_foreign_pods_are_never_touched(scene: Stage) -> None:
    """C9: neither one with another name, nor one with our prefix that our ledger does not know."""
    stage = trained(scene, "C9")
    foreign = [pod for pod in stage.fake.world.pods.pods.values() if pod.foreign]
    assert ask(stage, lambda pods: pods.sweep({}, lambda _: True)) == []
    assert [pod.status for pod in foreign] == ["RUNNING", "RUNNING"]
    stage.written("C9")


def test_retired_control_url_says_where_it_moved(scene: Stage) -> None:
    """C10: v1 is told from v2 by its answer."""
    stage = scene(**PODS)
    stage.install("C10")
    outcome = stage.run(training())
    assert outcome.error is not None
    assert outcome.error.code == "api_moved"
    assert "https://api.runpod.io/v2" in str(outcome.error)
    stage.written("C10")


def test_jobs_run_while_the_control_plane_is_retired(scene: Stage) -> None:
    """C10 for serverless: preflight and diagnosis are unknown, which stops nobody; the dearest price is booked."""
    stage = scene()
    stage.install("C10")
    assert stage.run().results
    assert stage.states() == ["succeeded"]
    stage.written("C10", "serverless jobs")


def test_bill_that_lags_is_said_to_be_unreconciled(scene: Stage) -> None:
    """C11: no record yet is no zero."""
    stage = trained(scene, "C11")
    [pod_id] = stage.fake.world.pods.pods
    now = datetime.fromtimestamp(stage.fake.clock.now(), UTC)
    bill = ask(stage, lambda pods: pods._control.billed_pods([pod_id], now - timedelta(hours=2), now))
    assert bill.usd == 0.0
    assert f"there is no record of {pod_id} yet" in bill.unreconciled
    stage.written("C11", reads=bill.unreconciled)


def test_spent_quota_is_a_pause(scene: Stage) -> None:
    """C12: r=0 in the RateLimit header makes the next request wait for its t."""
    stage = scene(**PODS)
    stage.install("C12")
    stage.fake.faults.rules[-1].times = 1
    begun = time.monotonic()
    assert stage.run(training()).results
    assert time.monotonic() - begun >= 12 / SPEED
    stage.written("C12")
