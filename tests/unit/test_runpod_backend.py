"""What goes wrong with a paid job on RunPod: sent twice, or to the wrong place; lost, mixed up, charged too little."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from resources.gpu.backend import Diagnosis, RemoteStatus, Submission
from resources.gpu.backends.comfyui.prompt import mark_of
from resources.gpu.backends.runpod import health
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.contract import Contract
from resources.gpu.backends.runpod.envelope import execution_policy
from resources.gpu.backends.runpod.ids import RemoteId
from resources.gpu.backends.runpod.money import Terms, priced
from resources.gpu.backends.runpod.official import OfficialContract
from resources.gpu.backends.runpod.ours import OurContract
from resources.gpu.backends.runpod.service import Service
from resources.gpu.backends.runpod.watch import Cadence, Look
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, NotSent, OutcomeUnknown, OutputRejected, Retry
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.storage import ObjectMissing, ResultUrls, StorageError, StoreUnreachable
from workflows.base_image import base_image
from workflows.requests import ImageRequest

URL = "http://far.example/v2"
FINGERPRINT = "f" * 64
ATTEMPT = "0b1f6c1e-9a52-4b52-8d7e-0d4a6f0a1b2c"
EARLIER = "11111111-9a52-4b52-8d7e-0d4a6f0a1b2c"
SECONDS = {"delayTime": 3000, "executionTime": 2000, "workerId": "w1"}
FAST = Cadence(queued_s=0.01, head_s=0.01, running_min_s=0.01, grace_s=0.05, missing_s=0.005, answer_s=1.0)
TERMS = Terms(usd_per_s=0.001, idle_timeout_s=5.0)


class Far:
    """RunPod with one job: `status` is what it says of it (None: 404), `health` of its workers."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = {"id": "job-1", "status": "IN_QUEUE"}
        self.health: dict[str, Any] | None = {}
        self.run = httpx.Response(200, json={"id": "job-1", "status": "IN_QUEUE"})
        self.sent: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.stubborn = 0  # cancels that fail

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        _, _, endpoint, operation, *_ = request.url.path.split("/")
        self.paths.append(f"{endpoint}/{operation}")
        if operation == "run":
            self.sent.append(json.loads(request.content))
            return httpx.Response(self.run.status_code, content=self.run.content)
        if operation == "cancel":
            self.stubborn -= 1
            if self.stubborn >= 0:
                return httpx.Response(502)
            if self.status is not None:
                self.status = {"id": "job-1", "status": "CANCELLED"}
        body = self.health if operation == "health" else self.status
        return httpx.Response(404) if body is None else httpx.Response(200, json=body)


class Shelf:
    """A signing store in memory."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.results: dict[str, bytes] = {}
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.trouble: StorageError | None = None

    def has(self, kind: str, sha256: str) -> bool:
        """True if it is there."""
        if self.trouble:
            raise self.trouble
        return (kind, sha256) in self.objects

    def sign_get(self, kind: str, sha256: str, *, seconds: int) -> str:
        """A URL."""
        return f"https://store.example/{kind}/{sha256}?for={seconds}"

    def sign_result(self, fingerprint: str, attempt_id: str, names: Sequence[str], *, seconds: int) -> ResultUrls:
        """URLs."""
        base = f"https://store.example/results/{fingerprint}"
        return ResultUrls(f"{base}/get", f"{base}/put", {name: f"{base}/{attempt_id}/{name}" for name in names})

    def result(self, fingerprint: str) -> bytes | None:
        """The manifest."""
        if self.trouble:
            raise self.trouble
        return self.results.get(fingerprint)

    def result_file(self, fingerprint: str, attempt_id: str, name: str, *, max_bytes: int) -> bytes:
        """A file."""
        if (fingerprint, attempt_id, name) not in self.files:
            raise ObjectMissing(name)
        return self.files[fingerprint, attempt_id, name]

    def leave(self, *, attempt: str = ATTEMPT, fingerprint: str = FINGERPRINT, **more: Any) -> dict[str, Any]:
        """What a worker leaves after its work; returns the result."""
        data = b"a picture"
        self.files[fingerprint, attempt, "front"] = data
        file = {"name": "front", "media": "image", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        result = {"ryla": 1, "fingerprint": fingerprint, "attempt": attempt, "engine": "comfyui", "files": [file],
                  "load_s": 1.0, "exec_s": 2.0, "reused": False, **more}  # fmt: skip
        self.results[fingerprint] = json.dumps(result).encode()
        return result


@pytest.fixture
def far() -> Far:
    """The far side."""
    return Far()


@pytest.fixture
def shelf() -> Shelf:
    """The store."""
    return Shelf()


@pytest.fixture
def service(far: Far) -> Iterator[Service]:
    """A conversation with it."""
    service = Service(URL, "key", transport=lambda: httpx.MockTransport(far), cadence=FAST)
    yield service
    service.close()


def backend_of(service: Service, contract: Contract, **more: Any) -> RunPodBackend:
    """A backend with every endpoint and known terms."""

    async def terms(_: str) -> Terms:
        return TERMS

    endpoints = more.pop("endpoints", Endpoints("img", "adult", "train", "other"))
    return RunPodBackend(service, endpoints, contract, terms=more.pop("terms", terms), **more)


@pytest.fixture
def official(service: Service) -> RunPodBackend:
    """On worker-comfyui."""
    return backend_of(service, OfficialContract(inside=True))


@pytest.fixture
def ours(service: Service, shelf: Shelf) -> RunPodBackend:
    """On our own worker."""
    return backend_of(service, OurContract(shelf, "comfyui"))  # type: ignore[arg-type]


def image_job(**more: Any) -> Job:
    """One picture named front."""
    graph = base_image("zimage-turbo", [ImageRequest("front", "photo of a 30 year old woman", "blurry", 1, 256, 256)])
    return Job("image", graph, (OutputSpec("front", "image", 256, 256),), label="test", **more)


def training(**more: Any) -> Job:
    """One LoRA."""
    return Job("training", {"steps": 1}, (OutputSpec("lora", "lora"),), label="test", **more)


def submission(job: Job | None = None) -> Submission:
    """One attempt."""
    return Submission(
        ATTEMPT, FINGERPRINT, job or image_job(), lambda _: b"input", endpoint=f"{URL}/img", queue_limit_s=900,
        run_limit_s=1800, webhook="https://us.example/webhooks/runpod/x",
    )  # fmt: skip


def ask(question: Coroutine[Any, Any, Any]) -> Any:
    """An answer, from a loop of its own."""
    return asyncio.run(question)


def ended(backend: RunPodBackend, remote_id: str, age_s: float | None = None) -> RemoteStatus:
    """Poll until it ends; `age_s` is what the ledger says of it."""
    ages_s = {} if age_s is None else {remote_id: age_s}

    async def follow() -> RemoteStatus:
        for _ in range(200):
            try:
                status: RemoteStatus = (await backend.poll([remote_id], ages_s))[remote_id]
            except BackendUnavailable:
                status = RemoteStatus("queued")
            if status.state not in ("queued", "running"):
                return status
            await asyncio.sleep(0.01)
        raise AssertionError("it never ended")

    return ask(follow())


def picture(name: str = "front_00001_.png", data: str = "", kind: str = "base64") -> dict[str, str]:
    """One picture of worker-comfyui."""
    return {"filename": name, "type": kind, "data": data or base64.b64encode(b"png").decode()}


def completed(output: Any) -> dict[str, Any]:
    """The end of the job."""
    return {"id": "job-1", "status": "COMPLETED", "output": output, **SECONDS}


# ---- where a job goes


def test_endpoint_by_kind_and_rating(official: RunPodBackend) -> None:
    """Images, trainings and nsfw images each have an endpoint; only sfw pictures fall back, and only once."""
    img, other = f"{URL}/img", f"{URL}/other"
    assert official.endpoint_for(image_job()) == img
    assert official.endpoint_for(image_job(), [img]) == other
    assert official.endpoint_for(image_job(), [img, other]) == img
    assert official.endpoint_for(training(), [f"{URL}/train"]) == f"{URL}/train"
    assert official.endpoint_for(image_job(rating="nsfw"), [f"{URL}/adult"]) == f"{URL}/adult"


def test_nsfw_goes_to_its_own_endpoint_or_nowhere(service: Service) -> None:
    """Without RUNPOD_NSFW_ENDPOINT_ID it is refused, named, and the backend is not self-run."""
    backend = backend_of(service, OfficialContract(), endpoints=Endpoints("img", fallback="other"))
    assert not backend.self_run
    with pytest.raises(BackendUnavailable, match="RUNPOD_NSFW_ENDPOINT_ID"):
        backend.endpoint_for(image_job(rating="nsfw"))
    assert "RUNPOD_NSFW_ENDPOINT_ID is not set" in [p["message"] for p in backend.problems(image_job(rating="nsfw"))]
    assert backend_of(service, OfficialContract()).self_run


def test_attempts_are_followed_where_they_were_sent(official: RunPodBackend) -> None:
    """Any endpoint of the same API is reached, also one that the settings no longer name; another API is not."""
    assert official.reaches(f"{URL}/long-gone")
    assert not any(official.reaches(word) for word in ("", "embedded", f"{URL}/a/b", "https://api.example/v2/img"))
    with pytest.raises(BackendUnavailable, match="RUNPOD_JOBS_URL"):
        ask(official.find(ATTEMPT, fingerprint=FINGERPRINT, endpoint="https://elsewhere/v2/img"))


def test_what_a_worker_can_never_do_is_told_before(official: RunPodBackend, ours: RunPodBackend) -> None:
    """Worker-comfyui neither trains nor takes LoRAs; ours does both."""
    with_lora = image_job(inputs=(InputFile("loras", "alice.safetensors", "loras", "a" * 64),))
    assert official.problems(image_job()) == []
    assert "RUNPOD_WORKER=ryla" in official.problems(training())[0]["details"]
    assert "alice.safetensors" in official.problems(with_lora)[0]["details"]
    assert ours.problems(training()) == ours.problems(with_lora) == []
    assert ours.problems(Job("image", {"1": {"class_type": "Nope", "inputs": {}}}, ()))


def test_profile_follows_engine_and_models(service: Service, official: RunPodBackend) -> None:
    """Other model files are another fingerprint; the endpoint and the seed are not in it."""
    graph = image_job().request
    other = {n: {**b, "inputs": {**b["inputs"], **({"unet_name": "x.sft"} if "unet_name" in b["inputs"] else {})}}
             for n, b in graph.items()}  # fmt: skip
    assert official.profile(image_job()).startswith("runpod/comfyui/1/")
    assert official.profile(Job("image", other, ())) != official.profile(image_job())
    assert backend_of(service, OfficialContract(), engine="preview").profile(image_job()).startswith("runpod/preview/")
    assert backend_of(service, OfficialContract(), engine="preview").render_domain == "preview"


def test_estimate_without_prices_is_the_dearest(service: Service, official: RunPodBackend) -> None:
    """The most is all that RunPod lets a job live (its ttl), and the idle time after it, at the endpoint's rate."""
    dear = backend_of(service, OfficialContract(), terms=None).estimate(image_job())
    assert dear.most_usd == pytest.approx((900 + 1800 + 60 + 10) * 0.0024)
    ask(official.preflight([f"{URL}/img", f"{URL}/train"]))
    assert official.estimate(image_job()).most_usd == pytest.approx((900 + 1800 + 60 + 5) * 0.001)
    assert official.estimate(training()).most_usd == pytest.approx((900 + 3 * 3600 + 60 + 5) * 0.001)
    assert 0 < official.estimate(image_job()).usd < official.estimate(training()).usd


def test_price_of_the_fallback_is_learned_with_the_endpoint_before_it(service: Service, far: Far) -> None:
    """Else each picture is reserved at the dearest price there is; nothing is asked about a fallback of others."""
    asked: list[str] = []

    async def terms(endpoint_id: str) -> Terms:
        asked.append(endpoint_id)
        return Terms(0.002 if endpoint_id == "other" else 0.001, 5.0)

    backend = backend_of(service, OfficialContract(), terms=terms)
    ask(backend.preflight([f"{URL}/train"]))
    assert asked == ["train"]
    ask(backend.preflight([f"{URL}/img"]))
    assert asked == ["train", "img", "other"]
    assert backend.estimate(image_job()).most_usd == pytest.approx((900 + 1800 + 60 + 5) * 0.002)
    assert backend.estimate(image_job(rating="nsfw")).most_usd > 5, "nobody asked about that one yet"


def test_policy_is_within_bounds() -> None:
    """Both deadlines in milliseconds; ttl covers queue and run and a minute more."""
    assert execution_policy(900, 1800) == {"executionTimeout": 1_800_000, "ttl": 2_760_000}
    assert execution_policy(0, 1) == {"executionTimeout": 5_000, "ttl": 61_000}
    assert max(execution_policy(1e7, 1e7).values()) == 7 * 86_400_000


# ---- submission


def test_official_worker_gets_graph_pictures_and_policy(official: RunPodBackend, far: Far) -> None:
    """Input pictures travel as base64; the graph saves under this attempt's own prefix."""
    job = image_job(inputs=(InputFile("input", "face.png", "inputs", "a" * 64),))
    assert ask(official.submit(submission(job))) == f"img/job-1/{FINGERPRINT}"
    [sent] = far.sent
    assert sent["policy"] == {"executionTimeout": 1_800_000, "ttl": 2_760_000}
    assert sent["webhook"] == "https://us.example/webhooks/runpod/x"
    assert sent["input"]["images"] == [{"name": "face.png", "image": base64.b64encode(b"input").decode()}]
    assert f"front{mark_of(ATTEMPT)}" in json.dumps(sent["input"]["workflow"])


def test_our_worker_gets_urls(ours: RunPodBackend, far: Far, shelf: Shelf) -> None:
    """Inputs and outputs by presigned URL that outlives both deadlines; fingerprint and attempt inside."""
    job = image_job(inputs=(InputFile("loras", "a.safetensors", "loras", "a" * 64),))
    with pytest.raises(ObjectMissing, match=r"a\.safetensors"):
        ask(ours.submit(submission(job)))
    shelf.objects["loras", "a" * 64] = b"lora"
    ask(ours.submit(submission(job)))
    [sent] = far.sent
    assert (sent["input"]["fingerprint"], sent["input"]["attempt"], sent["input"]["ryla"]) == (FINGERPRINT, ATTEMPT, 1)
    assert sent["input"]["inputs"][0]["url"] == f"https://store.example/loras/{'a' * 64}?for=6300"
    assert sent["input"]["outputs"][0]["put_url"].endswith(f"{ATTEMPT}/front")


def test_silent_store_before_submission_is_certainty(ours: RunPodBackend, far: Far, shelf: Shelf) -> None:
    """Nothing was sent, so nothing is unknown."""
    shelf.trouble = StoreUnreachable("down")
    with pytest.raises(NotSent):
        ask(ours.submit(submission(image_job(inputs=(InputFile("input", "x.png", "inputs", "a" * 64),)))))
    assert far.sent == []


def test_impossible_job_is_invalid_at_submission_too(official: RunPodBackend) -> None:
    """Whoever skips `problems` is still refused before anything is sent."""
    with pytest.raises(InvalidJob, match="images only"):
        ask(official.submit(submission(training())))


# ---- unknown outcomes


def test_nobody_knows_a_submission_without_a_trace(official: RunPodBackend, ours: RunPodBackend) -> None:
    """The jobs API cannot be asked: OutcomeUnknown, never None."""
    for backend in (official, ours):
        with pytest.raises(OutcomeUnknown):
            ask(backend.find(ATTEMPT, fingerprint=FINGERPRINT, endpoint=f"{URL}/img"))


def test_result_in_the_store_tells_of_its_attempt(ours: RunPodBackend, shelf: Shelf) -> None:
    """Its own result is found and followed under a name without a job id; another attempt's is not taken for it."""
    shelf.leave(attempt=EARLIER)
    with pytest.raises(OutcomeUnknown):
        ask(ours.find(ATTEMPT, fingerprint=FINGERPRINT, endpoint=f"{URL}/img"))
    shelf.leave()
    found = ask(ours.find(ATTEMPT, fingerprint=FINGERPRINT, endpoint=f"{URL}/img"))
    assert found == f"img/-/{FINGERPRINT}"
    status = ended(ours, found)
    assert (status.state, status.cost_usd) == ("succeeded", None), "nobody can say what it cost"
    assert [(o.name, o.data) for o in ask(ours.fetch(found))] == [("front", b"a picture")]
    ask(ours.cancel(found))
    shelf.results.clear()
    assert ended(ours, found).state == "lost"


def test_claim_of_a_webhook_proves_itself_by_its_result(
    official: RunPodBackend, ours: RunPodBackend, far: Far, shelf: Shelf
) -> None:
    """The job must exist, have succeeded, and show this attempt: its mark in every name, or its id in the result."""
    job = RemoteId("img", "job-1", FINGERPRINT)
    mine, theirs = (f"front{mark_of(attempt)}_00001_.png" for attempt in (ATTEMPT, EARLIER))
    pictures = [([mine], True), ([theirs], False), ([mine, theirs], False), ([], False)]
    for names, right in pictures:
        body = completed({"images": [picture(name) for name in names]})
        assert official.contract.is_of(body, job, ATTEMPT) == right
    results = [({}, True), ({"attempt": EARLIER}, False), ({"attempt": EARLIER, "reused": True}, False),
               ({"reused": True}, False), ({"fingerprint": "e" * 64}, False)]  # fmt: skip
    for more, right in results:
        assert ours.contract.is_of(completed(shelf.leave(**more)), job, ATTEMPT) == right
    assert not ours.contract.is_of(completed({"x": 1}), job, ATTEMPT)
    shelf.results.clear()
    where = {"fingerprint": FINGERPRINT, "endpoint": f"{URL}/img", "claim": "job-1"}
    far.status = completed({"images": [picture(mine)]})
    assert ask(official.find(ATTEMPT, **where)) == str(job)
    for claim in ("../../x", "-"):
        with pytest.raises(OutcomeUnknown):
            ask(official.find(ATTEMPT, **{**where, "claim": claim}))


@pytest.mark.parametrize("word", ["IN_QUEUE", "IN_PROGRESS", "FAILED", "CANCELLED", "TIMED_OUT", None])
def test_claim_that_nothing_shows_to_be_ours_is_not_taken(
    official: RunPodBackend, ours: RunPodBackend, far: Far, word: str | None
) -> None:
    """Anybody may name the running job of another attempt: taken for ours, it would be cancelled in our stead."""
    for backend in (official, ours):
        far.status = word and {"id": "job-1", "status": word, "workerId": "w1"}  # type: ignore[assignment]
        with pytest.raises(OutcomeUnknown, match="nothing shows that job job-1 is its"):
            ask(backend.find(ATTEMPT, fingerprint=FINGERPRINT, endpoint=f"{URL}/img", claim="job-1"))


# ---- ends


def test_finished_job_is_fetched_and_charged(official: RunPodBackend, far: Far) -> None:
    """Pictures under the names asked for; start, run and idle time in whole seconds."""
    remote_id = ask(official.submit(submission()))
    far.status = completed({"images": [picture(f"front{mark_of(ATTEMPT)}_00001_.png")]})
    status = ended(official, remote_id)
    assert (status.state, status.queue_s, status.cold_s, status.exec_s) == ("succeeded", 0.0, 3.0, 2.0)
    assert status.cost_usd == pytest.approx((3 + 2 + 5) * 0.001)
    [output] = ask(official.fetch(remote_id))
    assert (output.name, output.data) == ("front_00001_.png", b"png")
    assert ask(official.fetch(remote_id)) == [output], "and fetched more than once"


def test_what_one_studio_learned_the_next_one_knows(service: Service, official: RunPodBackend, far: Far) -> None:
    """A process has many backends, one after the other: what was asked for and a result seen once are the process's."""
    remote_id = ask(official.submit(submission()))
    far.status = completed({"images": [picture(f"front{mark_of(ATTEMPT)}_00001_.png")]})
    assert ended(official, remote_id).state == "succeeded"
    far.status = {"id": "job-1", "status": "IN_PROGRESS", "output": {"progress": 0.9}}  # a late update: told no more
    another = backend_of(service, OfficialContract(inside=True))
    assert ended(another, remote_id).state == "succeeded"
    assert [output.data for output in ask(another.fetch(remote_id))] == [b"png"]


def test_missing_picture_is_named_where_the_job_is_known(official: RunPodBackend, far: Far) -> None:
    """This process sent it, so it knows what was asked for."""
    remote_id = ask(official.submit(submission()))
    far.status = completed({"images": [picture("other_00001_.png")]})
    assert ended(official, remote_id).error_code == "missing_output"


@pytest.mark.parametrize("far_says", [None, {"id": "job-1", "status": "TIMED_OUT"}, completed(None), completed("?")])
def test_result_in_the_store_saves_what_runpod_lost(
    ours: RunPodBackend, far: Far, shelf: Shelf, far_says: dict[str, Any] | None
) -> None:
    """404, TIMED_OUT, COMPLETED without output: first the store is asked; without it the job is gone."""
    remote_id = f"img/job-1/{FINGERPRINT}"
    far.status = far_says
    gone = ended(ours, remote_id)
    assert gone.state in ("lost", "failed")
    assert gone.detail["retry"] == "transient"
    shelf.leave()
    assert ended(ours, remote_id).state == "succeeded"
    if far_says is None:
        assert ended(ours, remote_id).cost_usd is None
        assert [o.data for o in ask(ours.fetch(remote_id))] == [b"a picture"]


def test_result_of_another_job_is_rejected(ours: RunPodBackend, far: Far, shelf: Shelf) -> None:
    """A mixed-up output is refused when it is polled and when it is fetched."""
    remote_id = f"img/job-1/{FINGERPRINT}"
    far.status = completed(shelf.leave(fingerprint="e" * 64))
    assert ended(ours, remote_id).error_code == "wrong_result"
    with pytest.raises(OutputRejected, match="another job"):
        ask(ours.fetch(remote_id))


def test_result_of_another_engine_is_rejected(ours: RunPodBackend, far: Far, shelf: Shelf) -> None:
    """Procedural pictures never pass for a model's."""
    far.status = completed(shelf.leave(engine="preview"))
    status = ended(ours, f"img/job-1/{FINGERPRINT}")
    assert (status.error_code, status.detail["retry"]) == ("wrong_engine", "fatal")


def test_damaged_result_files_are_rejected(ours: RunPodBackend, far: Far, shelf: Shelf) -> None:
    """Size and hash are held to the worker's word; what is gone is lost; a silent store is asked again."""
    far.status = completed(shelf.leave())
    remote_id = f"img/job-1/{FINGERPRINT}"
    shelf.files[FINGERPRINT, ATTEMPT, "front"] = b"A picture"
    with pytest.raises(OutputRejected, match="vouched"):
        ask(ours.fetch(remote_id))
    shelf.files.clear()
    with pytest.raises(JobLost):
        ask(ours.fetch(remote_id))
    far.status = completed({"ryla": 2})
    with pytest.raises(OutputRejected, match="ryla"):
        ask(ours.fetch(remote_id))
    far.status, shelf.trouble = None, StoreUnreachable("down")
    with pytest.raises(BackendUnavailable):
        ask(ours.fetch(remote_id))


def test_expired_result_of_the_official_worker_is_lost(official: RunPodBackend, far: Far) -> None:
    """RunPod keeps it for 30 minutes, and nobody else does."""
    far.status = None
    with pytest.raises(JobLost, match="30 minutes"):
        ask(official.fetch(f"img/job-1/{FINGERPRINT}"))


def test_unknown_names_are_lost_never_left_out(official: RunPodBackend) -> None:
    """What is none of ours is told so, whatever else is asked."""
    assert ended(official, "nonsense").state == "lost"
    with pytest.raises(JobLost):
        ask(official.fetch("nonsense"))
    official.hurry(["nonsense", f"img/job-1/{FINGERPRINT}"])


# ---- cancelling, diagnosing


@pytest.mark.parametrize(
    ("health", "cost"),
    [({"workers": {"initializing": 0, "idle": 0, "running": 3}}, 0.0), ({"workers": {"initializing": 1}}, 0.006),
     ({}, 0.006), (None, 0.006)],
)  # fmt: skip
def test_cancelled_in_the_queue_costs_what_a_start_may_cost(
    official: RunPodBackend, far: Far, health: dict[str, Any] | None, cost: float
) -> None:
    """Nothing, if no worker was coming; else its start and idle time. A failing cancel is repeated."""
    remote_id = ask(official.submit(submission()))
    far.health, far.stubborn = health, 1
    ask(official.cancel(remote_id))
    status = ended(official, remote_id)
    assert (status.state, status.detail.get("retry")) == ("cancelled", None)
    assert status.cost_usd == pytest.approx(cost)
    ask(official.cancel(remote_id))


def test_cancelled_by_another_process_costs_what_its_age_says(official: RunPodBackend, far: Far) -> None:
    """`ryla jobs cancel` did not submit it: the ledger's word for its age bounds the bill as well as our own does."""
    remote_id = f"img/job-1/{FINGERPRINT}"
    far.health = {"workers": {"initializing": 0, "idle": 0, "running": 3}}
    ask(official.cancel(remote_id))
    assert ended(official, remote_id, age_s=900.0).cost_usd == 0.0


def test_run_of_another_process_that_tells_no_time_costs_its_age(official: RunPodBackend, far: Far) -> None:
    """It may have run from the start: all the seconds since its intent, and the idle time after it."""
    far.status = {"id": "job-1", "status": "FAILED", "workerId": "w1"}
    status = ended(official, f"img/job-1/{FINGERPRINT}", age_s=60.0)
    assert status.cost_usd == pytest.approx(62 * 0.001 + 5 * 0.001)
    far.status = {"id": "job-2", "status": "FAILED", "workerId": "w1"}
    assert ended(official, f"img/job-2/{FINGERPRINT}").cost_usd is None, "nobody said how old it is"


def test_crowd_that_is_cancelled_asks_once_how_the_workers_are(official: RunPodBackend, far: Far) -> None:
    """Before anything is cancelled: afterwards nobody could tell whether a worker was coming."""

    async def cancel_all() -> None:
        await asyncio.gather(*(official.cancel(f"img/job-{number}/{FINGERPRINT}") for number in range(40)))

    far.health = {"workers": {"initializing": 0}}
    ask(cancel_all())
    assert (far.paths[0], far.paths.count("img/health"), far.paths.count("img/cancel")) == ("img/health", 1, 40)


def test_health_that_hangs_holds_up_no_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for shortly, by all together; then a start is taken for possible."""
    paths: list[str] = []

    async def hung(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path.split("/")[3])
        if paths[-1] == "health":
            await asyncio.sleep(3600)
        return httpx.Response(200, json={"id": "job-1", "status": "CANCELLED"})

    monkeypatch.setattr(health, "WARMING_S", 0.01)
    service = Service(URL, "key", transport=lambda: httpx.MockTransport(hung), cadence=FAST)
    backend, remote_id = backend_of(service, OfficialContract()), f"img/job-1/{FINGERPRINT}"
    try:
        for _ in range(3):
            ask(backend.cancel(remote_id))
        assert paths.count("health") == 1, "and it is asked no second time meanwhile"
        assert ended(backend, remote_id, age_s=10.0).cost_usd == pytest.approx((11 + 5) * 0.001)
    finally:
        service.close()


def test_cancel_that_had_to_wait_knows_no_more_how_the_workers_were(
    official: RunPodBackend, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RunPod takes 100 cancels in 10 s: by the last of 400 a worker may have started for it."""
    monkeypatch.setattr("resources.gpu.backends.runpod.backend.HEALTH_S", -1.0)
    far.health = {"workers": {"initializing": 0}}
    remote_id = f"img/job-1/{FINGERPRINT}"
    ask(official.cancel(remote_id))
    assert ended(official, remote_id, age_s=10.0).cost_usd == pytest.approx((11 + 5) * 0.001)


def test_cancel_that_is_said_again_trusts_no_look_at_the_workers(official: RunPodBackend, far: Far) -> None:
    """The first one may have found no such job yet: until the second a worker may have started for it."""
    far.health = {"workers": {"initializing": 0, "idle": 0, "running": 3}}
    remote_id = f"img/job-1/{FINGERPRINT}"
    known, far.status = far.status, None
    ask(official.cancel(remote_id))
    far.status = known
    ask(official.cancel(remote_id))
    assert ended(official, remote_id, age_s=10.0).cost_usd == pytest.approx((11 + 5) * 0.001)


def test_cancelling_what_is_gone_is_no_error(official: RunPodBackend, far: Far) -> None:
    """404 means that it has ended."""
    far.status = None
    ask(official.cancel(f"img/job-1/{FINGERPRINT}"))
    assert "img/cancel" in far.paths


def test_diagnosis_from_counts_alone(official: RunPodBackend, far: Far) -> None:
    """Without the control API /health tells what it counts, and nothing is an answer too."""
    remote_id = f"img/job-1/{FINGERPRINT}"
    assert ask(official.diagnose(remote_id, 25.0)).code == "unknown"
    official._health._known.clear()
    far.health = {"workers": {"idle": 0, "running": 0}, "jobs": {"inQueue": 4, "failed": "many"}}
    told = ask(official.diagnose(remote_id, 25.0))
    assert (told.code, told.hopeless) == ("no_workers", False)
    assert "0 idle, 0 running; jobs waiting: 4." in told.text


class Doctor:
    """A diagnoser that knows everything."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def preflight(self, endpoint_id: str) -> None:
        """Refuse one endpoint."""
        self.asked.append(endpoint_id)
        if endpoint_id == "adult":
            raise BackendUnavailable("max workers 0", code="max_workers_0", retry=Retry.FATAL)

    async def diagnose(
        self, endpoint_id: str, job_id: str, waited_s: float, *, may_fall_back: bool = False
    ) -> Diagnosis:
        """Name the cause."""
        self.asked.append((endpoint_id, job_id, waited_s, may_fall_back))
        return Diagnosis("throttled", "no GPU is free")


def test_diagnoser_is_asked_where_there_is_one(service: Service) -> None:
    """Preflight and diagnosis are its own words."""
    doctor = Doctor()
    backend = backend_of(service, OfficialContract(), diagnoser=doctor)
    ask(backend.preflight([f"{URL}/img", f"{URL}/img"]))
    with pytest.raises(BackendUnavailable, match="max workers 0"):
        ask(backend.preflight([f"{URL}/adult"]))
    assert ask(backend.diagnose(f"img/job-1/{FINGERPRINT}", 25.0)).code == "throttled"
    assert doctor.asked == ["img", "adult", ("img", "job-1", 25.0, False)]


@pytest.mark.parametrize(
    ("endpoints", "waits_at", "helps"),
    [
        (Endpoints("img", "adult", "train"), "img", True),
        (Endpoints("img", "adult", "train"), "train", False),
        (Endpoints("img", "adult", "train"), "adult", False),
        (Endpoints("img", "adult", "train", fallback="other"), "img", False),
        (Endpoints("img", training="img"), "img", False),
    ],
)
def test_fallback_is_advised_where_every_job_may_take_it(
    service: Service, endpoints: Endpoints, waits_at: str, helps: bool
) -> None:
    """Only sfw pictures may, and only where none is set."""
    doctor = Doctor()
    backend = backend_of(service, OfficialContract(), diagnoser=doctor, endpoints=endpoints)
    ask(backend.diagnose(f"{waits_at}/job-1/{FINGERPRINT}", 25.0))
    assert doctor.asked == [(waits_at, "job-1", 25.0, helps)]


def test_endpoint_that_does_not_exist_is_told_before_anything_is_paid(official: RunPodBackend, far: Far) -> None:
    """/health answers 404: fatal, with the setting to look at."""
    far.health = None
    with pytest.raises(BackendUnavailable, match="no such endpoint") as caught:
        ask(official.preflight([f"{URL}/img"]))
    assert caught.value.retry is Retry.FATAL


# ---- money


def cost_of(status: RemoteStatus, **more: Any) -> RemoteStatus:
    """The status, priced."""
    warming = more.pop("warming", None)
    return priced(Look(status, **more), TERMS, cold_limit_s=600.0, warming=warming)


DONE = RemoteStatus("succeeded", queue_s=3.2, exec_s=2.5, cost_usd=None, worker="w1")


def test_warm_worker_is_not_charged_a_start() -> None:
    """It was busy a moment ago; after a pause longer than its idle timeout it started anew."""
    assert cost_of(DONE, gap_s=1.0).cost_usd == pytest.approx((3 + 5) * 0.001)
    assert cost_of(DONE, gap_s=1.0).queue_s == 3.2
    assert cost_of(DONE, gap_s=6.0).cost_usd == pytest.approx((3 + 4 + 5) * 0.001)
    assert cost_of(DONE, gap_s=float("inf")).cold_s == 3.2
    assert cost_of(replace(DONE, queue_s=5000.0), gap_s=float("inf")).cold_usd == pytest.approx(0.6)


def test_requeued_job_is_charged_for_all_its_runs() -> None:
    """Two workers may have run for as long as it existed; submitted elsewhere, nobody can say."""
    assert cost_of(DONE, requeues=1, elapsed_s=20.0).cost_usd == pytest.approx((21 + 2 * 5) * 0.001)
    assert cost_of(DONE, requeues=1).cost_usd is None


def test_end_without_a_time_is_charged_by_the_clock() -> None:
    """A run that tells none cost at most its time since its submission; one that is lost, nobody can say."""
    ended_badly = RemoteStatus("failed", cost_usd=None)
    assert cost_of(ended_badly, elapsed_s=10.0, ran=True).cost_usd == pytest.approx((11 + 5) * 0.001)
    assert cost_of(ended_badly).cost_usd is None
    assert cost_of(RemoteStatus("lost", cost_usd=None), elapsed_s=10.0).cost_usd is None


def test_run_that_may_go_on_after_its_end_has_no_known_price() -> None:
    """A sync handler hears of no cancel and no timeout: the most is booked, unless no worker ever took the job."""
    stopped = RemoteStatus("cancelled", cost_usd=None)
    late = replace(stopped, state="failed", error_code="remote_timeout")
    for status in (replace(stopped, exec_s=2.0), replace(stopped, worker="w1"), late, replace(late, exec_s=60.0)):
        assert cost_of(status, elapsed_s=10.0, gap_s=0.0, warming=False).cost_usd is None
    assert cost_of(stopped, elapsed_s=10.0, ran=True, warming=False).cost_usd is None
    assert cost_of(stopped, elapsed_s=10.0, requeues=1, warming=False).cost_usd is None
    assert cost_of(stopped, elapsed_s=10.0, warming=False).cost_usd == 0.0
    assert cost_of(stopped, elapsed_s=10.0).cost_usd == pytest.approx((10 + 5) * 0.001)
    assert cost_of(stopped).cost_usd is None


def test_worker_that_fails_again_and_again_is_named() -> None:
    """Three jobs in a row: the note says which, and another worker is tried."""
    broken = RemoteStatus("failed", worker="w1", exec_s=1.0, error="CUDA error", error_code="gpu_fault")
    assert "w1" in cost_of(broken, worker_failures=3, gap_s=0.0).error
    assert cost_of(broken, worker_failures=3).detail["retry"] == "elsewhere"
    assert cost_of(broken, worker_failures=2).error == "CUDA error"
