"""How the product lives through each reading of what nobody documents about RunPod: the plays of the fake's switches.

Belongs here: one function a switch, for all of its readings. That they are played, and that none is left out, is
`test_runpod_infer`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from resources.gpu.budget import Budgets
from resources.gpu.errors import Retry
from tests.contracts.fault_pods import SPEED, training
from tests.contracts.fault_scene import Scene, job
from tests.contracts.fault_trial import Stage
from tests.fakes.fake_runpod import engine, execution, jobs, rates
from tests.fakes.fake_runpod.server import Server

COMFY = "worker-comfyui"
ONCE = {"max_attempts": 1}
FAST = {"speed": 10.0}  # of the far side; the client's own pauses pass as fast
WEEKS_S = 30 * 86_400.0


@dataclass(frozen=True)
class Round:
    """One reading of one switch, and the stage that it is played on."""

    scene: Stage
    switch: str
    reading: Any
    receiver: Server

    def stage(self, **options: Any) -> Scene:
        """A scene whose fake reads the notes so."""
        return self.scene(switches={self.switch: self.reading}, **options)


Act = Callable[[Round], None]


@dataclass(frozen=True)
class Play:
    """How the product lives through each reading of one switch."""

    readings: tuple[Any, ...]
    act: Act


PLAYS: dict[str, Play] = {}
ELSEWHERE = {"timeout_stops_worker": "test_runpod_faults_poll.py"}  # where more than one end is looked at


def reading(switch: str, *readings: Any) -> Callable[[Act], Act]:
    """The decorated function plays these readings of that switch."""

    def keep(act: Act) -> Act:
        assert switch not in PLAYS, f"{switch} is played twice"
        PLAYS[switch] = Play(readings, act)
        return act

    return keep


def ended(stage: Scene, *states: str, code: str = "") -> None:
    """Each attempt ended so, the first bad one with that code, and the invariant holds."""
    story = f"{stage.happened()}\n{stage.said}\n{[(a.error_code, a.error) for a in stage.attempts()]}"
    assert tuple(stage.states()) == states, story
    bad = next((attempt.error_code for attempt in stage.attempts() if attempt.error_code), "")
    assert bad == code, story
    stage.holds()


# ---- words


@reading("run_says", "IN_QUEUE", "IN_PROGRESS")
@reading("ids_end", "-u1", "-e1", "-e2")
@reading("started_status", "IN_PROGRESS", "RUNNING")
def any_word_will_do(round_: Round) -> None:
    """What a job is called, or said to be while it is not over, ends nothing."""
    stage = round_.stage(endpoint={"exec_s": (0.7, 0.7)})
    assert stage.run().results
    assert "running" in [state for _, state, _ in stage.ledger.history(stage.attempts()[0].id)]
    ended(stage, "succeeded")


@reading("error_object_as", "string", "object")
def an_error_is_understood(round_: Round) -> None:
    """Out of memory is out of memory, and is tried elsewhere."""
    stage = round_.stage(contract=COMFY)
    error = {"error_type": "<class 'RuntimeError'>", "error_message": "CUDA out of memory", "error_traceback": "..."}
    stage.fake.faults.script("ep1", times=1, error=error)
    assert stage.run().results
    ended(stage, "failed", "succeeded", code="out_of_memory")


@reading("errors_as", "json", "text")
def a_refusal_is_known_by_its_status(round_: Round) -> None:
    """A job that is gone is a 404, whatever the body says."""
    stage = round_.stage()
    stage.install("P10", lose_after_s=0.03)
    assert stage.run().results
    ended(stage, "lost", "succeeded", code="unknown_job")


@reading("too_large_status", 400, 413)
def a_request_that_is_too_large_is_permanent(round_: Round) -> None:
    """RunPod takes less than it says: refused, told, not paid and not repeated."""
    stage = round_.stage()
    stage.parts.patch.setattr(jobs, "RUN_BYTES", 500)
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.retry is Retry.PERMANENT
    assert f"answers {round_.reading}" in str(outcome.error)
    assert stage.fake.accepted == []
    ended(stage, "failed", code="invalid_job")


@reading("policy_out_of_bounds", "reject", "clamp")
def a_policy_stays_within_bounds(round_: Round) -> None:
    """Weeks in the queue, two seconds at work: RunPod is asked for what it documents, and has nothing to refuse."""
    stage = round_.stage(policy={"queue_limit_s": WEEKS_S, "run_limit_s": 2.0})
    stage.runner.budgets = Budgets(10_000.0)  # weeks of the dearest reading
    assert stage.run().results
    ended(stage, "succeeded")


# ---- limits


def _quota(round_: Round) -> Scene:
    """Eight jobs in a world that takes few questions."""
    stage = round_.stage(**FAST)
    stage.parts.patch.setitem(rates.RATES, "status", (12, 400))
    assert len(stage.run(*(job(seed) for seed in range(1, 80, 10))).results) == 8
    ended(stage, *["succeeded"] * 8)
    return stage


@reading("rate_limits", True, False)
def a_quota_delays(round_: Round) -> None:
    """Enforced or not, every job is done, once."""
    stage = _quota(round_)
    assert bool(stage.fake.app.jobs.rates.refusals) is round_.reading


@reading("rate_headers", True, False)
def a_429_is_obeyed_with_or_without_its_time(round_: Round) -> None:
    """Told when to come back, we come then; untold, we back off: few questions are asked in vain either way."""
    stage = _quota(round_)
    assert 0 < stage.fake.app.jobs.rates.refusals <= 3 * 8


@reading("health_keys", "all", "documented")
def health_may_say_little(round_: Round) -> None:
    """A job that no worker takes is cancelled in time, and costs what it may have cost."""
    stage = round_.stage(policy={"queue_limit_s": 0.8, **ONCE})
    stage.install("P1")
    outcome = stage.run()
    assert outcome.error is not None
    assert "no free machine" in str(outcome.error)
    ended(stage, "timed_out", code="timed_out")


# ---- ends


@reading("ttl_in_queue", "timed_out", "deleted")
def a_ttl_that_ends_in_the_queue_is_told(round_: Round) -> None:
    """TIMED_OUT or gone: over either way, and worth another try."""
    stage = round_.stage()
    stage.fake.faults.script("ep1", times=1, stuck=True, expire_s=0.3)
    assert stage.run().results
    code = {"timed_out": "remote_timeout", "deleted": "unknown_job"}[round_.reading]
    ended(stage, "failed" if round_.reading == "timed_out" else "lost", "succeeded", code=code)


@reading("ttl_running_stops", True, False)
def a_ttl_that_ends_a_run_is_told(round_: Round) -> None:
    """Its worker may go on: the result that it brings too late is nobody's, and its time is booked."""
    stage = round_.stage()
    stage.fake.faults.script("ep1", times=1, duration_s=1.0, expire_s=0.3, deliver=False)
    assert stage.run().results
    ended(stage, "lost", "succeeded", code="unknown_job")


@reading("cancel_stops_worker", True, False)
def a_cancel_ends_what_is_overdue(round_: Round) -> None:
    """Its handler may go on: the result that it brings too late is not taken, and the most is booked."""
    stage = round_.stage(policy={"run_limit_s": 0.4, **ONCE}, endpoint={"exec_s": (1.2, 1.2)})
    outcome = stage.run()
    assert outcome.error is not None
    ended(stage, "timed_out", code="timed_out")


@reading("cancel_of_ended", "its_status", "cancelled", "refused")
def a_cancel_that_comes_too_late_loses_nothing(round_: Round) -> None:
    """The job ended while the cancel was under way: its result is paid for, and the next run at the latest takes it."""
    stage = round_.stage(policy={"run_limit_s": 0.3, **ONCE}, endpoint={"exec_s": (0.5, 0.5)})
    stage.fake.faults.add("cancel", "delay", seconds=0.8)
    stage.run()
    assert stage.run().results
    ended(stage, "succeeded")


@reading("oversize", "no_output", "stale")
def a_result_that_is_too_large_is_explained(round_: Round) -> None:
    """COMPLETED without it at once, or IN_PROGRESS until RunPod gives up: an error with the reason, and one bill."""
    stage = round_.stage(contract=COMFY, policy={**ONCE, "run_limit_s": 5.0}, **FAST)
    stage.parts.patch.setattr(execution, "RUN_BYTES", 1000)
    outcome = stage.run()
    assert outcome.error is not None
    ended(stage, "failed", code="result_lost" if round_.reading == "no_output" else "remote_timeout")


@reading("late_progress_regresses", True, False)
def a_progress_that_comes_late_hides_no_result(round_: Round) -> None:
    """A job that shows IN_PROGRESS again, before anybody saw its end: what lies in the store is taken."""
    stage = round_.stage(policy={"run_limit_s": 1.0}, endpoint={"engine": "external"})
    worker = threading.Thread(target=_work_once, args=(stage,))
    worker.start()
    assert stage.run().results
    worker.join(10)
    ended(stage, "succeeded")


def _work_once(stage: Scene) -> None:
    """A worker of the SDK's kind whose last progress update comes after its result."""
    base, key = f"{stage.fake.jobs_url}/ep1", {"authorization": f"Bearer {stage.fake.api_key}"}
    options: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 10}  # loopback only
    with httpx.Client(headers=key, **options) as http, httpx.Client(**options) as store:
        taken = http.get(f"{base}/job-take/w1", params={"job_in_progress": "0"})
        while taken.status_code == 204:
            taken = http.get(f"{base}/job-take/w1", params={"job_in_progress": "0"})
        body, job_id = taken.json()["input"], taken.json()["id"]
        result = engine.deliver(store, body, engine.scripted(body, "wire"), "comfyui", 0.0, 0.1)
        done = f"{base}/job-done/w1/{job_id}"
        http.post(done, json={"output": result, "stopPod": True})
        http.post(done, json={"status": "IN_PROGRESS", "output": 0.9})


# ---- pods, webhooks, the control plane


@reading("exits_after", True, False)
def a_pod_is_terminated_whether_it_exits_or_not(round_: Round) -> None:
    """Its work is done when the result lies in the store; then it goes."""
    stage = round_.scene(pods=True, speed=SPEED)
    stage.fake.world.config.pods.exits_after = round_.reading
    assert stage.run(training()).results
    ended(stage, "succeeded")
    assert {pod.status for pod in stage.fake.world.pods.pods.values()} == {"TERMINATED"}


@reading("pods_billed_from", "creation", "running")
def a_pod_is_booked_from_its_creation(round_: Round) -> None:
    """The dearer reading: whatever RunPod bills, no less is booked."""
    stage = round_.stage(pods=True, speed=SPEED)
    assert stage.run(training()).results
    ended(stage, "succeeded")


@reading("v1_status", 410, 404)
def a_retired_control_url_says_where_it_moved(round_: Round) -> None:
    """Gone or not found: the way out is the new address."""
    stage = round_.stage(pods=True, speed=SPEED, control="/control/v1")
    outcome = stage.run(training())
    assert outcome.error is not None
    assert outcome.error.code == "api_moved"
    assert "https://api.runpod.io/v2" in str(outcome.error)
    ended(stage, "failed", code="never_submitted")


@reading("webhook_on", (), ("COMPLETED",), ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"))
def a_webhook_may_tell_of_any_end_or_none(round_: Round) -> None:
    """A failure and a success: both are learned by asking, and what is told besides changes nothing."""
    stage = round_.stage(webhook_url=f"http://127.0.0.1:{round_.receiver.port}")
    stage.fake.faults.script("ep1", times=1, error="CUDA out of memory", deliver=False)
    assert stage.run().results
    ended(stage, "failed", "succeeded", code="out_of_memory")
    told = len({job_id for job_id, _, _ in stage.fake.world.webhooks_sent})
    assert told == len({"COMPLETED", "FAILED"} & set(round_.reading))
