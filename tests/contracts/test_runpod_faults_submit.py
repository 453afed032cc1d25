"""S1-S14: what becomes of a submission that is refused, that breaks off, or whose answer is lost."""

from __future__ import annotations

import time

import pytest

from resources.gpu import faultpoints
from resources.gpu.backends.runpod.client import JobsClient
from resources.gpu.errors import Retry
from resources.gpu.job import InputFile
from tests.contracts.fault_scene import Scene, job
from tests.contracts.fault_trial import Stage, Trial, play
from tests.fakes.fake_runpod.server import Server

COMFY = "worker-comfyui"
TRIALS = [
    # Our worker leaves its result in the store under the fingerprint: a lost answer costs nothing.
    *(Trial(case, "succeeded") for case in ("S3", "S4", "S7")),
    Trial("S14", "succeeded", variant="our worker"),
    # worker-comfyui leaves nothing: the first submission is booked at the most it can cost, then one more is sent.
    *(
        Trial(case, "lost succeeded", "booked as if it had", 2, "outcome_unknown", contract=COMFY, variant=COMFY)
        for case in ("S3", "S4", "S7", "S14")
    ),
    Trial("S6", "succeeded", stage={"haste": 50.0}),
    Trial("S8", "lost succeeded", "found out.*502: 502 Bad Gateway nginx.*booked as if", 1, "outcome_unknown"),
    Trial("S9", "", r"401.*\[key_refused\].*RUNPOD_API_KEY", 0, retry=Retry.FATAL),
    Trial(
        "S9", "failed", r"401.*\[key_refused\].*RUNPOD_API_KEY", 0, "never_submitted", Retry.FATAL,
        variant="the key dies between preflight and submission", late=True,
    ),
    Trial(
        "S10", "failed", r"404.*\[unknown_endpoint\].*ep1 still exists", 0, "never_submitted", Retry.FATAL,
        variant="only the jobs API says so",
    ),
    Trial("S11", "failed", "400: .*input.workflow is required", 0, "invalid_job", Retry.PERMANENT),
    Trial("S13", "succeeded"),
]  # fmt: skip


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_submission(scene: Stage, trial: Trial) -> None:
    """One job, one fault, one end."""
    play(scene, trial)


def test_refused_connections_are_waited_out(scene: Stage) -> None:
    """S1: nobody listens for a moment; nothing was sent meanwhile, and one job is."""
    stage = scene(haste=3.0)
    stage.at(faultpoints.BEFORE_SUBMIT, lambda: stage.install("S1"))
    assert stage.run().results
    assert (stage.states(), len(stage.fake.accepted)) == (["succeeded"], 1)
    stage.written("S1")


def silent(stage: Scene) -> None:
    """S2, with a client that takes half a second for silence."""
    stage.install("S2", seconds=5.0)
    for function in (JobsClient._submitted, JobsClient._exchange):
        stage.parts.patch.setattr(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), "silence_s": 0.5})


def test_silence_after_a_stored_job_sends_no_second_one(scene: Stage) -> None:
    """S2: our worker's result is found in the store, and is the job's."""
    stage = scene()
    silent(stage)
    assert stage.run().results
    assert (stage.states(), len(stage.fake.accepted)) == (["succeeded"], 1)
    assert "found ep1/-/" in " ".join(note for _, _, note in stage.ledger.history(stage.attempts()[0].id))
    stage.written("S2")


def test_silence_of_a_worker_without_a_store_is_booked(scene: Stage) -> None:
    """S2: nobody can tell; its exposure is booked before another one is sent, and both are in the ledger."""
    stage = scene(contract=COMFY)
    silent(stage)
    assert stage.run().results
    assert (stage.states(), len(stage.fake.accepted)) == (["lost", "succeeded"], 2)
    stage.written("S2", COMFY)


def test_silence_is_ended_by_a_webhook(scene: Stage, receiver: Server) -> None:
    """S2: worker-comfyui's webhook names the job; GET /status confirms it, and nothing is sent twice."""
    stage = scene(contract=COMFY, webhook_url=f"http://127.0.0.1:{receiver.port}", policy={"unknown_wait_s": 5.0})
    silent(stage)
    assert stage.run().results
    assert (stage.states(), len(stage.fake.accepted)) == (["succeeded"], 1)
    stage.written("S2", "worker-comfyui with webhooks")


def test_retry_after_is_obeyed(scene: Stage) -> None:
    """S5: the submission waits for as long as RunPod asks for (3 s, which pass ten times as fast here)."""
    stage = scene()
    stage.install("S5")
    begun = time.monotonic()
    assert stage.run().results
    assert time.monotonic() - begun >= 0.3
    assert (stage.states(), len(stage.fake.accepted)) == (["succeeded"], 1)
    stage.written("S5")


def test_wrong_key_stops_the_whole_call(scene: Stage) -> None:
    """S9: of many jobs one asks; the others are not sent at all."""
    stage = scene()
    outcome = stage.run(*(job(seed) for seed in range(1, 9)))
    assert outcome.results
    stage.install("S9")
    outcome = stage.run(*(job(seed) for seed in range(11, 19)), runner=stage.another_runner())
    assert outcome.error is not None
    assert outcome.error.code == "key_refused"
    assert len([call for call in stage.fake.faults.log if call[0] == "run"]) <= 1
    stage.holds()


def test_endpoint_that_is_gone_is_told_before_anything_is_written(scene: Stage) -> None:
    """S10: both APIs say that there is none; no attempt is begun."""
    stage = scene()
    stage.fake.world.pools.clear()
    outcome = stage.run()
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.retry) == ("unknown_endpoint", Retry.ELSEWHERE)
    assert "RUNPOD_..._ENDPOINT_ID" in str(outcome.error)
    assert stage.attempts() == []
    stage.written("S10", "both APIs say so")


def test_large_body_never_leaves(scene: Stage) -> None:
    """S12: more than 10 MB are refused here, before anything is paid."""
    stage = scene(contract=COMFY)
    stage.install("S12")
    data = bytes(8_000_000)
    picture = InputFile("input", "ref.png", "inputs", stage.store.put("inputs", data))
    outcome = stage.run(job(inputs=[picture]))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.retry) == ("invalid_job", Retry.PERMANENT)
    assert "RunPod takes at most" in str(outcome.error)
    assert stage.fake.accepted == []
    stage.written("S12")
