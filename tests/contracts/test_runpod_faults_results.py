"""R1-R22: jobs that RunPod calls COMPLETED or FAILED, and what they hold."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from resources.gpu.errors import Retry
from tests.contracts.fault_scene import KEY
from tests.contracts.fault_trial import Stage, Trial, play
from tests.fakes.fake_runpod.faults import Call

COMFY = "worker-comfyui"
SIGNED = "https://s3.example/bucket/1.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=" + 8 * "0a1b2c3d"
ONCE = {"policy": {"max_attempts": 1}}


def comfy(case: str, ends: str, reads: str = "", code: str = "", retry: Retry | None = None, **more: object) -> Trial:
    """A case that only worker-comfyui can bring about."""
    return Trial(case, ends, reads, code=code, retry=retry, contract=COMFY, **more)  # type: ignore[arg-type]


TRIALS = [
    comfy("R1", "failed", "COMPLETED without an output.*for its size.*10 MB", "result_lost", Retry.PERMANENT),
    Trial("R1", "failed", "COMPLETED without an output, and none in the store", 1, "result_lost", Retry.TRANSIENT,
          variant="our worker", stage=ONCE),
    comfy("R2", "failed", "without a picture .success_no_images.", "no_images", Retry.PERMANENT),
    comfy("R3", "succeeded", images=2),
    comfy("R4", "failed", "1 of 2 pictures came back, without option-0", "missing_output", Retry.TRANSIENT, images=2,
          stage=ONCE),
    Trial("R4", "failed", "option-0", 1, "missing_output", Retry.TRANSIENT, images=2, stage=ONCE,
          variant="our worker"),
    Trial("R4", "failed", "came back without option-0", 1, "missing_output", Retry.TRANSIENT, stage=ONCE,
          variant="our worker, the only picture"),
    comfy("R5", "failed", "is not base64", "bad_base64", Retry.TRANSIENT, stage=ONCE),
    comfy("R6", "succeeded"),
    comfy("R7", "failed", "before 5.0.0.*Use runpod/worker-comfyui", "worker_too_old", Retry.PERMANENT),
    comfy("R9", "failed", "came back blank", "blank", Retry.PERMANENT),
    Trial("R9", "failed", "came back blank", 1, "blank", Retry.PERMANENT, variant="our worker"),
    comfy("R10", "lost", "403; the worker's link to it has expired", "result_expired", Retry.TRANSIENT, stage=ONCE),
    comfy("R11", "lost", "404; .*bucket named after the month", "result_missing", Retry.PERMANENT),
    comfy("R12", "succeeded"),
    comfy("R13", "failed", "output is list, not worker-comfyui's", "wrong_output", Retry.PERMANENT),
    Trial("R13", "succeeded", variant="our worker: its result lies in the store"),
    comfy("R14", "failed", "^job 1: could not convert the conditioning", "job_failed", Retry.PERMANENT),
    comfy("R14", "failed", "^job 1: could not convert the conditioning", "job_failed", Retry.PERMANENT,
          variant="the error is an object", stage={"switches": {"error_object_as": "object"}}),
    comfy("R15", "failed", "Job processing failed Node 7: boom", "job_failed", Retry.PERMANENT),
    comfy("R16", "failed", "out of memory", "out_of_memory", Retry.ELSEWHERE, stage=ONCE),
    comfy("R17", "failed", "flux1-dev.safetensors", "missing_model", Retry.PERMANENT),
    comfy("R18", "failed", "ApplyPulidFlux", "missing_node", Retry.PERMANENT),
    comfy("R19", "failed", "2 files came back for 'option-0'", "extra_output", Retry.TRANSIENT, stage=ONCE),
    comfy("R20", "succeeded"),
    Trial("R22", "failed", "the result of another job came back", 1, "wrong_result", Retry.TRANSIENT, stage=ONCE,
          variant="our worker, the output is another's"),
]  # fmt: skip


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_result(scene: Stage, trial: Trial) -> None:
    """One job, one fault, one end."""
    if trial.case == "R22":
        play_foreign_output(scene, trial)
        return
    stage = play(scene, trial)
    text = stage.reads()
    assert len(text) < 700, "a message is one sentence, not a traceback"
    assert "Traceback" not in text


def play_foreign_output(scene: Stage, trial: Trial) -> None:
    """R22 with the fault on the output alone: the envelope names the right job."""
    stage = scene(contract=trial.contract, **trial.stage)
    stage.install("R22")
    stage.fake.faults.rules = [rule for rule in stage.fake.faults.rules if rule.operation == "job"]
    outcome = stage.run()
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.retry) == (trial.code, trial.retry)
    assert re.search(trial.reads, stage.reads())
    stage.written("R22", trial.variant, injected="the output is another job's")


def test_answer_for_another_job_is_none(scene: Stage) -> None:
    """R22: a status that names another job is not believed; nothing is concluded, and nothing is accepted."""
    stage = scene(contract=COMFY, policy={"silence_limit_s": 0.5}, cadence={"stale_s": 0.3})
    stage.install("R22")
    outcome = stage.run()
    assert outcome.error is not None
    assert "answers about another one" in str(outcome.error)
    assert len(stage.ledger.open_attempts()) == 1
    stage.fake.faults.clear()
    assert stage.run(runner=stage.another_runner()).results, "the next run takes what was paid for"
    assert (stage.states(), len(stage.fake.accepted)) == (["succeeded"], 1)
    stage.written("R22", "status names another job", reads=stage.said[0])


@pytest.mark.parametrize("contract", ["ryla", COMFY])
def test_half_a_picture_and_a_page_are_refused(scene: Stage, contract: str) -> None:
    """R8: neither is decoded into anything, and neither is kept; the next run is answered so without paying."""
    stage = scene(contract=contract)
    stage.install("R8")
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == "unreadable"
    assert set(stage.states()) == {"failed"}
    assert not [key for key in stage.parts.s3.objects(stage.store) if key.startswith("images")]
    taken = len(stage.fake.accepted)
    assert stage.run(runner=stage.another_runner()).error is not None
    assert len(stage.fake.accepted) == taken == 2
    stage.written("R8", contract.replace("ryla", "our worker"))


@pytest.mark.parametrize("contract", ["ryla", COMFY])
def test_worker_that_repeats_secrets_tells_none(scene: Stage, contract: str) -> None:
    """R14: presigned URLs, the webhook's address and our key in its error; the sentence around them is still read."""
    stage = scene(contract=contract, webhook_url="http://127.0.0.1:9")

    def leaking(body: dict[str, Any]) -> dict[str, Any]:
        envelope = next(iter(stage.fake.world.jobs.values()))
        urls = re.findall(r'http[^"]*X-Amz-[^"]*', json.dumps(envelope.input)) or [SIGNED]
        words = f"403 Client Error: Forbidden for url: {urls[0]} (Authorization: Bearer {KEY}); hook {envelope.webhook}"
        ours = {"code": "upload_refused", "message": words, "retry": "permanent"}
        return {**body, "status": "FAILED", "error": json.dumps(ours) if contract == "ryla" else words}

    stage.fake.faults.add("status", "mutate", change=leaking)
    stage.fake.faults.script("ep1", deliver=False)
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == ("upload_refused" if contract == "ryla" else "job_failed")
    assert re.search(r"Forbidden for url: http\S+\?\[hidden\] \(Authorization: \[hidden\]\); hook http", stage.reads())
    variant = f"{contract.replace('ryla', 'our worker')} repeats secrets"
    injected = "FAILED with a presigned URL, our key and the webhook's address in its error"
    reads = re.sub(r"for url: [^?]+", "for url: https://store/option-0", stage.reads())  # its prefix is the test's own
    stage.written("R14", variant, injected=injected, reads=reads)


@pytest.mark.parametrize("contract", ["ryla", COMFY])
def test_refusal_that_repeats_the_request_tells_no_secret(scene: Stage, contract: str) -> None:
    """S11: 400 with the whole envelope, and our key, in its reason."""
    stage = scene(contract=contract, webhook_url="http://127.0.0.1:9")

    def echo(call: Call) -> bool:
        rule.body = {"error": f"invalid request: {json.dumps(call.body)} with key {KEY}"}
        return True

    rule = stage.fake.faults.add("run", status=400, where=echo)
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == "invalid_job"
    assert "invalid request" in str(outcome.error)
    stage.holds()


@pytest.mark.parametrize("damage", ["truncated", "blank"])
def test_rejected_result_does_not_poison_its_job(scene: Stage, damage: str) -> None:
    """R8, R9 once, with our worker: the next attempt is worked on anew, elsewhere if need be, and accepted."""
    stage = scene(fallback=damage == "blank")
    stage.fake.faults.script("ep1", times=1, damage=damage)
    assert stage.run().results
    assert stage.states() == ["failed", "succeeded"]
    ran_on = [attempt.endpoint.rpartition("/")[2] for attempt in stage.attempts()]
    assert ran_on == ["ep1", "ep2" if damage == "blank" else "ep1"], "a blank one is the machine's, half a file is not"
    stage.holds()


def test_out_of_memory_goes_to_a_bigger_pool(scene: Stage) -> None:
    """R16: with a fallback endpoint the second attempt runs there, and succeeds."""
    stage = scene(contract=COMFY, fallback=True)
    stage.install("R16")
    assert stage.run().results
    first, second = stage.attempts()
    assert (first.error_code, second.state) == ("out_of_memory", "succeeded")
    assert (first.endpoint.rpartition("/")[2], second.endpoint.rpartition("/")[2]) == ("ep1", "ep2")
    stage.written("R16", "with a fallback endpoint")


def test_poisoned_worker_is_named(scene: Stage) -> None:
    """R21: after three failures in a row the message says which worker to end."""
    stage = scene(contract=COMFY, policy={"max_attempts": 4})
    stage.install("R21")
    assert stage.run().results
    assert stage.states() == ["failed", "failed", "failed", "succeeded"]
    third = stage.attempts()[2]
    assert "poisoned1worker could not do 3 jobs in a row" in (third.error or "")
    stage.written("R21", reads=f"{third.error} [{third.error_code}]")


def test_result_that_is_too_large(scene: Stage) -> None:
    """R20 with RunPod's limit on: the worker's result is refused, and the error says what to do."""
    stage = scene(contract=COMFY)
    stage.install("R20")
    for rule in stage.fake.faults.rules:
        rule.script.pop("unlimited", None)
    outcome = stage.run()
    assert outcome.error is not None
    assert outcome.error.code == "result_lost"
    stage.written("R20", "refused by RunPod", injected="25 MB of base64, and RunPod's limit of 10 MB")
