"""What the RunPod backend promises beyond the suite of all backends, which it joins by both contracts.

Its API cannot be asked for an attempt, so what it may conclude, and from what, is its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resources.gpu.backend import Submission
from resources.gpu.backends.runpod.backend import RunPodBackend
from resources.gpu.backends.runpod.service import Service
from resources.gpu.errors import OutcomeUnknown
from resources.gpu.job import Job
from tests.contracts.fault_scene import CADENCE, job

COMFY = "worker-comfyui"
Make = Callable[[str], RunPodBackend]


def sent_and_done(backend: RunPodBackend, wanted: Job) -> tuple[Submission, str]:
    """A job that ended well: its submission and its remote id."""
    sent = Submission(str(uuid.uuid4()), wanted.fingerprint("contract"), wanted, lambda file: b"")

    async def go() -> str:
        remote_id = await backend.submit(sent)
        while (await backend.poll([remote_id]))[remote_id].state != "succeeded":
            await asyncio.sleep(0.02)
        return remote_id

    return sent, asyncio.run(go())


def find(backend: RunPodBackend, sent: Submission, **about: Any) -> str | None:
    """What it says of an attempt."""
    known = {"fingerprint": sent.fingerprint, "endpoint": backend.endpoint_for(sent.job), **about}
    return asyncio.run(backend.find(sent.attempt_id, **known))


def test_result_in_the_store_tells_of_its_attempt(runpod: Make) -> None:
    """Our worker: found without any id of RunPod's, polled, and fetched; another attempt's result is not its own."""
    backend = runpod("ryla")
    sent, remote_id = sent_and_done(backend, job())
    nameless = find(backend, sent)
    assert nameless == f"ep1/-/{sent.fingerprint}"
    status = asyncio.run(backend.poll([nameless]))[nameless]
    assert (status.state, status.cost_usd) == ("succeeded", None), "nobody can say what it cost"
    assert asyncio.run(backend.fetch(nameless)) == asyncio.run(backend.fetch(remote_id))
    with pytest.raises(OutcomeUnknown):
        find(backend, Submission(str(uuid.uuid4()), sent.fingerprint, sent.job, lambda file: b""))


def test_claim_is_verified_by_the_mark_in_its_pictures(runpod: Make) -> None:
    """worker-comfyui: the claimed job must exist, and once it has ended its pictures name the attempt."""
    backend = runpod(COMFY)
    mine, remote_id = sent_and_done(backend, job(1))
    other, _ = sent_and_done(backend, job(1))
    claim = remote_id.split("/")[1]
    assert find(backend, mine, claim=claim) == remote_id
    for wrong in (claim, "no-such-job-u1", "../../ep2/cancel", ""):
        with pytest.raises(OutcomeUnknown):
            find(backend, other, claim=wrong)


@pytest.mark.parametrize("contract", ["ryla", COMFY])
def test_another_process_needs_the_remote_id_alone(runpod: Make, contract: str) -> None:
    """A backend that has never seen the job polls, fetches and cancels it."""
    backend = runpod(contract)
    _, remote_id = sent_and_done(backend, job())
    files = asyncio.run(backend.fetch(remote_id))
    first, backend.service = backend.service, Service(backend.service.url, "rp-fake-key", cadence=CADENCE)
    stranger = RunPodBackend(backend.service, backend.endpoints, backend.contract, engine="preview")
    assert asyncio.run(stranger.poll([remote_id]))[remote_id].state == "succeeded"
    assert asyncio.run(stranger.fetch(remote_id)) == files
    asyncio.run(stranger.cancel(remote_id))
    assert asyncio.run(stranger.poll([remote_id]))[remote_id].state == "succeeded"
    backend.service.close()
    backend.service = first


@pytest.mark.parametrize("contract", ["ryla", COMFY])
def test_files_in_folders_come_back_under_their_names(runpod: Make, contract: str) -> None:
    """A picture is named character/stage-take-shot; worker-comfyui tells names without their folders."""
    wanted = job(images=2)
    names = [f"mara-lind/{spec.name}" for spec in wanted.outputs]
    for node in wanted.request.values():
        if node["class_type"] == "SaveImage":
            node["inputs"]["filename_prefix"] = "mara-lind/" + node["inputs"]["filename_prefix"]
    outputs = tuple(replace(spec, name=f"mara-lind/{spec.name}") for spec in wanted.outputs)
    foldered = Job("image", wanted.request, outputs, label="in a folder")
    backend = runpod(contract)
    _, remote_id = sent_and_done(backend, foldered)
    found = [output.name.partition("_0000")[0] for output in asyncio.run(backend.fetch(remote_id))]
    assert sorted(found) == sorted(names)
