"""What every backend promises the runner, asked of each of them in the same words.

A new backend joins by one line in `backend`: it must take the base-image graph that `job` builds.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from resources.gpu.accept import accept
from resources.gpu.backend import Backend, RemoteStatus, Submission
from resources.gpu.backends.preview.backend import PreviewBackend
from resources.gpu.errors import JobLost, OutcomeUnknown
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.storage import FileStore, ObjectMissing
from ryla_assets.prompts.lexicon import lexicon
from tests.fakes.scripted_backend import Script, ScriptedBackend
from workflows.base_image import base_image
from workflows.requests import ImageRequest

T = TypeVar("T")
ENDED = ("succeeded", "failed", "cancelled", "lost")
PROMPT = "photo of a 30 year old woman in a park"


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> PreviewBackend:
    """One preview for all: its worker stays warm from test to test."""
    return PreviewBackend(tmp_path_factory.mktemp("preview"), lexicon=lexicon(), workers=1, idle_s=5.0)


@pytest.fixture(params=["scripted", "preview", "runpod-ryla", "runpod-worker-comfyui"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; RunPod's by both worker contracts, against a fake account."""
    found: Backend
    if request.param == "preview":
        found = request.getfixturevalue("preview")
        return found
    if request.param.startswith("runpod-"):
        found = request.getfixturevalue("runpod")(request.param.removeprefix("runpod-"))
        return found
    return ScriptedBackend([Script(states=("queued", "running", "running", "succeeded"))])


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Submission]:
    """A submission of a job, with an attempt id that no other test has."""

    def make(wanted: Job) -> Submission:
        load = FileStore(tmp_path).get
        named = wanted.fingerprint("contract")
        return Submission(str(uuid.uuid4()), named, wanted, lambda file: load(file.kind, file.sha256))

    return make


def job(seed: int = 1, *, images: int = 1) -> Job:
    """A small base-image job."""
    names = [f"option-{number}" for number in range(images)]
    requests = [ImageRequest(name, PROMPT, "blurry", seed + n, 256, 256) for n, name in enumerate(names)]
    specs = tuple(OutputSpec(name, "image", 256, 256) for name in names)
    return Job("image", base_image("zimage-turbo", requests), specs, label="contract")


def ask(question: Coroutine[Any, Any, T]) -> T:
    """The answer, from an event loop of its own: a backend holds nothing that lives in one."""
    return asyncio.run(question)


def status_of(backend: Backend, remote_id: str) -> RemoteStatus:
    """One poll for one job."""
    return ask(backend.poll([remote_id]))[remote_id]


def ended(backend: Backend, remote_id: str) -> RemoteStatus:
    """Poll until it ends."""
    deadline = time.monotonic() + 20
    while (status := status_of(backend, remote_id)).state not in ENDED:
        assert time.monotonic() < deadline, ask(backend.diagnose(remote_id, 0.0))
        time.sleep(0.02)
    return status


def whereabouts(backend: Backend, attempt_id: str, remote_id: str | None, **about: str) -> bool:
    """True if that is what it says of an attempt; one whose API has no names for attempts must say that it cannot."""
    asked = {"fingerprint": "e" * 64, "endpoint": backend.endpoint_for(job()), **about}
    try:
        return ask(backend.find(attempt_id, **asked)) == remote_id
    except OutcomeUnknown:
        return backend.name == "runpod"  # it has them neither for jobs that run nor for jobs that never came


def test_job_goes_its_way_and_is_billed(
    backend: Backend, submission: Callable[..., Submission], tmp_path: Path
) -> None:
    """Submitted, found, polled, fetched, accepted: the whole way, with times and a price."""
    wanted = job()
    sent = submission(wanted)
    remote_id = ask(backend.submit(sent))
    assert whereabouts(backend, sent.attempt_id, remote_id)
    status = ended(backend, remote_id)
    assert (status.state, status.error, status.progress) == ("succeeded", "", 1.0)
    assert status.exec_s > 0
    assert min(status.queue_s, status.cold_s) >= 0
    assert 0 < status.cost_usd <= backend.estimate(wanted).most_usd
    outputs = ask(backend.fetch(remote_id))
    [record] = accept(wanted, outputs, FileStore(tmp_path), source="algorithmicMedia", tool="test").outputs
    assert (record["name"], record["width"], record["height"]) == ("option-0", 256, 256)
    assert whereabouts(backend, sent.attempt_id, remote_id), "it is found after its end too"
    assert ask(backend.fetch(remote_id)) == outputs, "and fetched more than once"


def test_every_output_of_a_graph_comes_back_once(
    backend: Backend, submission: Callable[..., Submission], tmp_path: Path
) -> None:
    """Three base images are one job, mapped by their names."""
    wanted = job(images=3)
    remote_id = ask(backend.submit(submission(wanted)))
    assert ended(backend, remote_id).state == "succeeded"
    store = FileStore(tmp_path)
    records = accept(wanted, ask(backend.fetch(remote_id)), store, source="algorithmicMedia", tool="test").outputs
    assert [record["name"] for record in records] == ["option-0", "option-1", "option-2"]
    assert len({record["pixels_sha256"] for record in records}) == 3


def test_poll_answers_for_each_job_asked_for(backend: Backend, submission: Callable[..., Submission]) -> None:
    """Many at once, known or not; a job that is not known is lost, never left out."""
    first, second = (ask(backend.submit(submission(job(seed)))) for seed in (1, 2))
    assert first != second
    answer = ask(backend.poll([first, "never-heard-of", second]))
    assert set(answer) == {first, second, "never-heard-of"}
    assert answer["never-heard-of"].state == "lost"
    assert answer["never-heard-of"].error
    assert "lost" not in (answer[first].state, answer[second].state)
    assert ask(backend.poll([])) == {}
    for remote_id in (first, second):
        ended(backend, remote_id)


def test_attempt_that_never_arrived_is_certainly_not_found(backend: Backend) -> None:
    """None is an answer, on which another submission is paid for."""
    assert whereabouts(backend, "0000-no-such-attempt", None)


def test_end_is_an_end(backend: Backend, submission: Callable[..., Submission]) -> None:
    """However often it is polled, and whatever is cancelled afterwards."""
    remote_id = ask(backend.submit(submission(job())))
    first = ended(backend, remote_id)
    ask(backend.cancel(remote_id))
    assert [status_of(backend, remote_id) for _ in range(3)] == [first] * 3
    assert ask(backend.fetch(remote_id))


def test_cancelled_job_ends_soon(backend: Backend, submission: Callable[..., Submission]) -> None:
    """One that works and one that waits behind it; cancelling twice is no error, nor is cancelling nothing."""
    working, waiting = (ask(backend.submit(submission(job(seed, images=2)))) for seed in (10, 20))
    for remote_id in (waiting, working, working, "never-heard-of"):
        ask(backend.cancel(remote_id))
    for remote_id in (working, waiting):
        status = ended(backend, remote_id)
        assert status.state == "cancelled"
        assert status.cost_usd >= 0
    assert status_of(backend, "never-heard-of").state == "lost"


def test_diagnosis_is_a_sentence_about_the_job(backend: Backend, submission: Callable[..., Submission]) -> None:
    """For a person who asks why it does not move; also about a job that nobody knows."""
    remote_id = ask(backend.submit(submission(job())))
    for asked in (remote_id, "never-heard-of"):
        verdict = ask(backend.diagnose(asked, 0.0))
        name = asked.split("/")[1] if "/" in asked else asked  # of endpoint/job/fingerprint the job
        assert name in f"{verdict.text} {verdict.evidence}"
        assert verdict.text.endswith(".")
        assert (str(verdict), bool(verdict.code)) == (verdict.text, True)
        assert len(verdict.code) <= 64
    ended(backend, remote_id)


def test_output_of_an_unknown_job_is_lost(backend: Backend) -> None:
    """Not an empty list, which would be a worker's fault."""
    with pytest.raises(JobLost):
        ask(backend.fetch("never-heard-of"))


def test_missing_input_is_raised_before_anything_arrives(
    backend: Backend, submission: Callable[..., Submission]
) -> None:
    """The store's error as it is; and the attempt is not found afterwards."""
    missing = InputFile("input", "ref.png", "images", "a" * 64)
    sent = submission(replace(job(), inputs=(missing,)))
    with pytest.raises(ObjectMissing):
        ask(backend.submit(sent))
    assert whereabouts(backend, sent.attempt_id, None)


def test_good_job_has_no_problems_and_a_price(backend: Backend) -> None:
    """What it should cost is not more than what it can cost."""
    assert backend.problems(job()) == []
    estimate = backend.estimate(job())
    assert 0 < estimate.usd <= estimate.most_usd
    assert estimate.exec_s > 0


def test_profile_is_short_and_the_same_for_the_same_job(backend: Backend) -> None:
    """It is part of the fingerprint and a column of the ledger, and names the backend."""
    profile = backend.profile(job())
    assert profile == backend.profile(replace(job(), label="other", owner="other"))
    assert profile.startswith(backend.name)
    assert len(profile) <= 200
    assert len(backend.name) <= 16
    assert len(backend.endpoint) <= 200
    assert backend.workers >= 1
    assert backend.render_domain in ("preview", "model")


def test_endpoint_is_one_that_it_reaches(backend: Backend) -> None:
    """Stored with the attempt before anything is sent, and enough to follow it by; a stranger's is not reached."""
    wanted = job()
    chosen = backend.endpoint_for(wanted)
    assert chosen == backend.endpoint_for(wanted), "no choice by chance"
    assert 0 < len(chosen) <= 200
    for endpoint in (chosen, backend.endpoint_for(wanted, [chosen])):
        assert backend.reaches(endpoint)
    for stranger in ("", "http://elsewhere.example"):
        assert not backend.reaches(stranger)
    assert ask(backend.preflight([chosen])) is None
    assert ask(backend.preflight([])) is None


def test_hurry_is_only_a_hint(backend: Backend, submission: Callable[..., Submission]) -> None:
    """About a job that it knows, one that it does not, and none; the job goes its way."""
    remote_id = ask(backend.submit(submission(job())))
    backend.hurry([remote_id, "never-heard-of"])
    backend.hurry([])
    assert ended(backend, remote_id).state == "succeeded"


def test_claimed_id_is_not_believed(backend: Backend, submission: Callable[..., Submission]) -> None:
    """Anybody may have sent it: another attempt's job does not become this one's."""
    other = ask(backend.submit(submission(job())))
    for claim in (other, "never-heard-of"):
        assert whereabouts(backend, "0000-no-such-attempt", None, claim=claim)
    ended(backend, other)


def test_model_files_are_names_by_folder(backend: Backend) -> None:
    """A LoRA is used only where the backend says that it has it."""
    files = backend.model_files()
    assert files
    assert all(isinstance(names, frozenset) and all(names) for names in files.values())


def test_problems_have_the_shape_of_comfyuis(preview: PreviewBackend) -> None:
    """Node, class, type, message, details: as a server would refuse the job."""
    bad = job()
    node = next(number for number, body in bad.request.items() if body["class_type"] == "KSampler")
    inputs = {**bad.request[node]["inputs"], "steps": 0}
    request = {**bad.request, node: {**bad.request[node], "inputs": inputs}}
    [problem] = preview.problems(replace(bad, request=request))
    assert (problem["node_id"], problem["class_type"]) == (node, "KSampler")
    assert all(problem[key] for key in ("type", "message", "details"))
