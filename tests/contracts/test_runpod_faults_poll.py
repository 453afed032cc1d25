"""P1-P20: jobs that wait, jobs that vanish, answers that come late, broken, or again."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from resources.gpu import faultpoints, stuck
from resources.gpu.backends.runpod import backend, diagnosis, verdicts
from resources.gpu.errors import NotCancelled, Retry
from tests.contracts.fault_scene import job
from tests.contracts.fault_trial import Stage, Trial, play

COMFY = "worker-comfyui"
QUEUE = {"queue_limit_s": 1.2}
STUCK = {"policy": {"when_stuck": "fail"}}
TRIALS = [
    Trial("P1", "timed_out", "no worker.*no free machine", code="timed_out", retry=Retry.ELSEWHERE,
          variant="waited for", stage={"policy": {**QUEUE, "max_attempts": 1}}),
    Trial("P1", "timed_out", "no free machine.*Add GPU pools", code="no_capacity", retry=Retry.PERMANENT,
          variant="policy: fail", stage=STUCK),
    Trial("P2", "timed_out", "start and die: .*unhealthy.*worker's logs", code="crash_loop", retry=Retry.PERMANENT,
          stage=STUCK),
    Trial("P3", "timed_out", "wait for a machine .throttled.", code="throttled", retry=Retry.PERMANENT, stage=STUCK),
    Trial("P4", "", "may start no worker.*RunPod lowers it to 2 after 3 days.*Raise Max workers", 0,
          retry=Retry.ELSEWHERE),
    Trial("P5", "timed_out", "ran for more than 1 s", code="timed_out", retry=Retry.ELSEWHERE,
          stage={"policy": {"run_limit_s": 0.6, "max_attempts": 1}}),
    Trial("P6", "succeeded"),
    Trial("P7", "failed succeeded", "TIMED_OUT at RunPod", 2, "remote_timeout"),
    Trial("P7", "failed succeeded", "TIMED_OUT at RunPod", 2, "remote_timeout", contract=COMFY, variant=COMFY),
    Trial("P8", "succeeded", tune={"hidden_s": 0.5}),
    Trial("P9", "succeeded", tune={"lose_after_s": 0.03}),
    Trial("P10", "lost succeeded", "404.*ttl", 2, "unknown_job", tune={"lose_after_s": 0.03}),
    Trial("P10", "lost succeeded", "404.*ttl", 2, "unknown_job", contract=COMFY, variant=COMFY,
          tune={"lose_after_s": 0.03}),
    Trial("P11", "lost succeeded", "its ttl ended it, waiting or running", 2, "unknown_job", tune={"expire_s": 0.5}),
    Trial("P13", "succeeded"),
    Trial("P13", "succeeded", contract=COMFY, variant=COMFY),
    Trial("P14", "succeeded"),
    Trial("P17", "succeeded", tune={"kill_at_s": [0.05], "duration_s": 0.2}),
    Trial("P18", "cancelled", "cancelled at RunPod", code="cancelled", retry=Retry.PERMANENT,
          tune={"cancel_after_s": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_waiting(scene: Stage, trial: Trial) -> None:
    """One job, one fault, one end."""
    play(scene, trial)


@pytest.mark.parametrize("case", ["P1", "P2", "P3"])
def test_stuck_job_goes_to_the_fallback(scene: Stage, case: str) -> None:
    """Diagnosed as hopeless, it is cancelled where it waits and paid for elsewhere: one result."""
    stage = scene(policy={"when_stuck": "fallback"}, fallback=True)
    stage.install(case)
    assert stage.run().results
    first, second = stage.attempts()
    assert (first.state, second.state) == ("timed_out", "succeeded")
    assert (first.endpoint.rpartition("/")[2], second.endpoint.rpartition("/")[2]) == ("ep1", "ep2")
    assert first.diagnosis
    assert first.cost_usd == 0.0, "a job that no worker took costs nothing"
    assert [stage.fake.job(accepted.job_id).status for accepted in stage.fake.accepted] == ["CANCELLED", "COMPLETED"]
    stage.written(case, "policy: fallback")


def test_endpoint_that_was_scaled_down_is_passed_over(scene: Stage) -> None:
    """P4 with a fallback: nothing is sent where nothing can run, and the ledger says why it went elsewhere."""
    stage = scene(policy={"when_stuck": "fallback"}, fallback=True)
    stage.install("P4")
    assert stage.run().results
    [attempt] = stage.attempts()
    assert (attempt.state, attempt.endpoint.rpartition("/")[2]) == ("succeeded", "ep2")
    assert "may start no worker" in " ".join(note for _, _, note in stage.ledger.history(attempt.id))
    stage.written("P4", "policy: fallback")


def test_want_of_machines_lasts_from_one_studio_to_the_next(scene: Stage) -> None:
    """P1: each tick of a sensor has a backend of its own; how long machines have been wanting, the process knows."""
    stage = scene()
    stage.install("P1")
    for place, name, value in (
        (diagnosis, "LASTS_S", 1e-9),
        (verdicts, "FIRST_WORKER_S", 0.0),
        (backend, "VERDICT_S", 0.0),
    ):
        stage.parts.patch.setattr(place, name, value)
    waiting = f"ep1/job-1/{'f' * 64}"
    ticks = [asyncio.run(stage.backend_on("ep1").diagnose(waiting, 60.0)) for _ in range(2)]
    assert [(verdict.code, verdict.hopeless) for verdict in ticks] == [("no_capacity", False), ("no_capacity", True)]


def test_job_that_is_not_known_yet_is_cancelled_when_it_is(scene: Stage) -> None:
    """P8: a run is terminated right after it sent its job. The cancel finds no such job, which all the same comes."""
    stage = scene(endpoint={"exec_s": (30.0, 30.0)})
    stage.install("P8", hidden_s=0.6)
    stage.terminate(faultpoints.REMOTE_ID_RECORDED)
    assert [stage.fake.job(accepted.job_id).status for accepted in stage.fake.accepted] == ["CANCELLED"]
    assert stage.states() == ["cancelled"]
    stage.written("P8", "the run is terminated at once")


def test_job_that_stays_unknown_is_not_given_up(scene: Stage) -> None:
    """P8: whether it was cancelled nobody can say yet. It stays open with its exposure; the next cancel stops it."""
    stage = scene(endpoint={"exec_s": (30.0, 30.0)}, policy={"queue_limit_s": 60.0})
    stage.parts.patch.setattr(stuck, "STOP_LOOKS_S", (0.0, 0.05))
    stage.install("P8", hidden_s=1.5)
    stage.terminate(faultpoints.REMOTE_ID_RECORDED)
    [attempt] = stage.attempts()
    assert attempt.is_open
    with pytest.raises(NotCancelled, match="does not show it"):
        stage.another_runner().cancel(attempt.id, why="an orphan")
    time.sleep(1.5)
    stage.another_runner().cancel(attempt.id, why="an orphan")
    assert stage.states() == ["cancelled"]
    stage.holds()


def test_undocumented_words_are_no_end(scene: Stage) -> None:
    """P12: RUNNING and PAUSED are waited out."""
    stage = scene()
    stage.install("P12")
    outcome = stage.run(job(1), job(11))
    assert [len(result.outputs) for result in outcome.results] == [1, 1]
    assert stage.states() == ["succeeded", "succeeded"]
    stage.written("P12")


def test_burst_of_429_is_one_pause_for_all(scene: Stage) -> None:
    """P15: while RunPod wants quiet, all jobs are quiet, and all of them finish."""
    stage = scene()
    stage.install("P15")
    for rule in stage.fake.faults.rules:
        rule.until_s = rule.from_s + 1.0
    outcome = stage.run(*(job(seed) for seed in range(1, 9)))
    assert len(outcome.results) == 8
    refused = len([call for call in stage.fake.faults.log if call[0] == "status"])
    assert refused <= 8 * 4, "each job asked on its own"
    stage.written("P15")


def test_wall_clock_that_jumps_ends_nothing(scene: Stage) -> None:
    """P16: deadlines are monotonic."""
    stage = scene(policy={"queue_limit_s": 30.0, "run_limit_s": 30.0}, endpoint={"exec_s": (0.5, 0.5)})
    stage.install("P16")
    ahead = [0.0]
    stage.ledger.clock = lambda: time.time() + ahead[0]
    stage.at(faultpoints.OBSERVED_RUNNING, lambda: ahead.__setitem__(0, 3600.0))
    assert stage.run().results
    assert ahead == [3600.0]
    assert stage.states() == ["succeeded"]
    stage.written("P16")


def test_requeued_job_is_one_attempt_that_pays_both_runs(scene: Stage) -> None:
    """P17: not failed, not sent again; the time of the dead worker is in the bill."""
    stage = scene(endpoint={"exec_s": (1.4, 1.4), "cold_s": 0.6})
    stage.install("P17", kill_at_s=[1.2], duration_s=1.4)
    assert stage.run().results
    assert stage.states() == ["succeeded"]
    assert stage.fake.job(stage.fake.accepted[0].job_id).retried == 1
    stage.holds()


def test_slow_answer_keeps_nobody_waiting(scene: Stage) -> None:
    """P19: one job's status takes seconds; the other one is done long before."""
    stage = scene()
    stage.install("P19", seconds=3.0)
    ended: dict[int, float] = {}
    begun = time.monotonic()

    def one(seed: int) -> None:
        stage.run(job(seed), runner=stage.another_runner())
        ended[seed] = time.monotonic() - begun

    threads = [threading.Thread(target=one, args=(seed,)) for seed in (1, 11, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    fast, second, slow = sorted(ended.values())
    assert max(fast, second) < 2.5 <= slow
    stage.written("P19")


BESIDE = {
    "P15": {"action": "answer", "status": 429, "headers": {"retry-after": "25"}, "body": {"error": "slow down"}},
    "P19": {"action": "delay", "seconds": 2.5},
}


@pytest.mark.parametrize("case", BESIDE)
def test_endpoint_that_does_not_answer_keeps_no_other_one_waiting(scene: Stage, case: str) -> None:
    """P15, P19 for more questions than may be under way: another endpoint's job is done before any of them."""
    stage = scene(fallback=True, cadence={"at_once": 2})
    rule = stage.fake.faults.add("status", endpoint="ep1", **BESIDE[case])
    there = threading.Thread(target=lambda: stage.run(*(job(seed) for seed in (1, 11, 21, 31))))
    there.start()
    other = stage.another_runner(backend=stage.backend_on("ep2"))
    assert stage.run(job(41), runner=other).results
    ended = [attempt.endpoint.rpartition("/")[2] for attempt in stage.attempts() if not attempt.is_open]
    assert ended == ["ep2"]
    rule.until_s = 0.0
    there.join(20)
    assert stage.states() == ["succeeded"] * 5
    injected = {"P15": "429 on every status of one endpoint", "P19": "no status of one endpoint is answered for 2.5 s"}
    stage.written(case, "another endpoint has a job, too", injected=injected[case])


def test_health_without_keys_stops_nobody(scene: Stage) -> None:
    """P20: nothing is counted; the job is diagnosed from the control API, cancelled, and booked."""
    stage = scene(policy={**QUEUE, "max_attempts": 1})
    stage.install("P20")
    stage.install("P1")
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == "timed_out"
    assert "no free machine" in str(outcome.error)
    stage.written("P20", injected="health without a single key, and no worker comes")


BOTH_WAYS = [
    Trial("P11", "lost succeeded", "its ttl ended it", 2, "unknown_job", tune={"expire_s": 0.3, "duration_s": 1.0},
          variant="the worker goes on", stage={"switches": {"ttl_running_stops": False}}),
    Trial("P8", "succeeded", tune={"hidden_s": 0.3}, variant="/run says IN_PROGRESS, status RUNNING, ids end in -e1",
          stage={"switches": {"run_says": "IN_PROGRESS", "started_status": "RUNNING", "ids_end": "-e1"}}),
]  # fmt: skip


@pytest.mark.parametrize("trial", BOTH_WAYS, ids=str)
def test_what_nobody_documents(scene: Stage, trial: Trial) -> None:
    """The same with the other reading of a point marked [infer]."""
    play(scene, trial)


@pytest.mark.parametrize(("stops", "contract"), [(True, "ryla"), (False, "ryla"), (False, COMFY)])
def test_cancelled_run_is_booked_with_the_most_it_can_cost(scene: Stage, contract: str, stops: bool) -> None:
    """P5: whether the handler hears of the cancel is not known, and where it does not it is paid to its end."""
    stage = scene(
        contract=contract, speed=2.0, policy={"run_limit_s": 0.4, "max_attempts": 1},
        switches={"cancel_stops_worker": stops}, endpoint={"exec_s": (6.0, 6.0)},
    )  # fmt: skip
    outcome = stage.run()
    assert outcome.error is not None
    assert [(a.state, a.cost_basis) for a in stage.attempts()] == [("timed_out", "presumed")]
    variant = f"the handler {'ends with' if stops else 'goes on after'} /cancel"
    variant += f", {COMFY}" if contract == COMFY else ""
    stage.written("P5", variant, injected="a run longer than our deadline")


@pytest.mark.parametrize(("stops", "contract"), [(True, "ryla"), (False, "ryla"), (False, COMFY)])
def test_run_that_runpod_times_out_is_booked_with_the_most_it_can_cost(
    scene: Stage, contract: str, stops: bool
) -> None:
    """P7 by executionTimeout: whether the worker stops is not known either."""
    stage = scene(
        contract=contract, speed=20.0, policy={"run_limit_s": 5.0, "max_attempts": 1},
        switches={"timeout_stops_worker": stops}, endpoint={"exec_s": (20.0, 20.0)},
    )  # fmt: skip
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == "remote_timeout"
    assert [(a.state, a.cost_basis) for a in stage.attempts()] == [("failed", "presumed")]
    variant = f"the worker {'stops at' if stops else 'goes on after'} executionTimeout"
    variant += f", {COMFY}" if contract == COMFY else ""
    stage.written("P7", variant, injected="a run longer than its executionTimeout")


@pytest.mark.parametrize("how", ["timed_out", "deleted"])
def test_ttl_that_ends_in_the_queue(scene: Stage, how: str) -> None:
    """A job that waited longer than its ttl is TIMED_OUT, or gone: either way it is told so, and tried once more."""
    stage = scene(switches={"ttl_in_queue": how}, policy={"max_attempts": 1})
    stage.fake.faults.script("ep1", stuck=True, expire_s=0.4)
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.retry is Retry.TRANSIENT
    assert stage.states() == ["failed" if how == "timed_out" else "lost"]
    stage.written("P11", f"in the queue: {how}", injected="ttl ends while it waits")
