"""What goes wrong with pods: doubles, orphans, foreign ones, and trainings that end without a word."""

import asyncio
import hashlib
import json
import shutil
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from resources.database import open_engine
from resources.gpu.backend import RemoteStatus, Submission
from resources.gpu.backends.runpod.assemble import assembled
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.ours import OurContract
from resources.gpu.backends.runpod.pod_launch import (
    CREATES,
    MAX_REQUEST_BYTES,
    REQUEST_VARIABLE,
    PodSettings,
    checked_image,
)
from resources.gpu.backends.runpod.pod_memory import PodMemory
from resources.gpu.backends.runpod.pods import LOOK_S, MARGIN_S, PREFIX, SURE_S, SWEPT_S, Pods
from resources.gpu.budget import Budgets
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, NotSent, OutcomeUnknown, OutputRejected, Retry
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import Intent
from resources.gpu.runner import Runner
from resources.runpod.answers import LIMIT_VARIABLE
from resources.runpod_control import ControlClient
from resources.storage import ObjectMissing, ResultUrls, SigningStore, StorageError, Store
from workflows.wire import parse_request

KEY = "rpa_SECRET0123456789"
NOW = 1_800_000_000.0
LORA = b"the bytes of a LoRA"
JOB = Job(
    "training", {"steps": 1200}, (OutputSpec("mara", "lora"),), (InputFile("dataset", "1.png", "inputs", "a" * 64),)
)


class Results:
    """The part of a signing store that workers and pods use."""

    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.down = False

    def has(self, kind: str, sha256: str) -> bool:
        """Every input is there."""
        return True

    def sign_get(self, kind: str, sha256: str, *, seconds: int) -> str:
        """A signed address."""
        return f"https://s3.test/{kind}/{sha256}?X-Amz-Signature=x&for={seconds}"

    def sign_result(self, fingerprint: str, attempt_id: str, names: Sequence[str], *, seconds: int) -> ResultUrls:
        """Where results go."""
        at = f"https://s3.test/results/{fingerprint}"
        return ResultUrls(f"{at}?get", f"{at}?put", {name: f"{at}/{attempt_id}/{name}?put" for name in names})

    def result(self, fingerprint: str) -> bytes | None:
        """What a worker left."""
        if self.down:
            raise StorageError("connection refused")
        return self.results.get(fingerprint)

    def result_file(self, fingerprint: str, attempt_id: str, name: str, *, max_bytes: int) -> bytes:
        """One file of it."""
        if name not in self.files:
            raise ObjectMissing(name)
        return self.files[name]


class Cloud:
    """RunPod's pods: they are created as told, bill by the hour, and stay until they are deleted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pods: dict[str, dict[str, Any]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.on_create: list[Any] = []  # per create: a status to refuse with, ("made", failure), or a failure
        self.on: dict[str, Any] = {}  # method -> status or exception, for all but creates
        self.store = Results()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        answer = self._answered(request)
        answer.headers["Date"] = formatdate(NOW + self.now, usegmt=True)
        return answer

    def _answered(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        pod_id = request.url.path.rsplit("/", 1)[-1]
        if request.method == "POST":
            return self._created(json.loads(request.content))
        if (failure := self.on.get(request.method)) is not None:
            return _fail(failure)
        if pod_id == "pods":
            return httpx.Response(200, json={"pods": list(self.pods.values())})
        if pod_id not in self.pods:
            return _fail(404)
        if request.method == "DELETE":
            del self.pods[pod_id]
            return httpx.Response(204)
        return httpx.Response(200, json=self.pods[pod_id])

    def _created(self, body: dict[str, Any]) -> httpx.Response:
        self.bodies.append(body)
        plan = self.on_create.pop(0) if self.on_create else None
        if plan is not None and not isinstance(plan, tuple):
            return _fail(plan)
        pod = self.add(body["name"], gpu=body["gpu"], env=body["env"])
        return _fail(plan[1]) if plan else httpx.Response(201, json=pod)

    def add(self, name: str, status: str = "PROVISIONING", **more: Any) -> dict[str, Any]:
        """A pod that is there."""
        created = datetime.fromtimestamp(NOW + self.now, UTC).isoformat()
        pod = {
            "id": f"pod{len(self.bodies)}x{len(self.pods)}", "name": name, "status": status, "cost": 0.36,
            "createdAt": created, "runtime": None, "env": {}, **more,
        }  # fmt: skip
        self.pods[pod["id"]] = pod
        return pod

    async def sleep(self, seconds: float) -> None:
        """Waiting moves the clock."""
        self.now += seconds
        await asyncio.sleep(0)

    def run(self, work: Callable[[Pods], Awaitable[Any]], **settings: Any) -> Any:
        """What pods on this cloud answer."""
        known = {key: settings.pop(key) for key in ("memory", "list_usd_h") if key in settings}
        chosen = PodSettings(**{"image": "ghcr.io/x/trainer@sha256:1", "gpu_types": ("A", "B", "C"), **settings})

        async def start() -> Any:
            control = ControlClient(
                "https://control.test/v2", KEY, transport=httpx.MockTransport(self),
                clock=lambda: self.now, sleep=self.sleep,
            )  # fmt: skip
            contract = OurContract(cast(SigningStore, self.store), "comfyui")
            async with control:
                return await work(Pods(control, contract, chosen, clock=lambda: self.now, sleep=self.sleep, **known))

        return asyncio.run(start())

    def left(self, fingerprint: str, attempt_id: str, **changes: Any) -> None:
        """A worker leaves its result."""
        sha256 = hashlib.sha256(LORA).hexdigest()
        file = {"name": "mara", "media": "lora", "sha256": sha256, "bytes": len(LORA)}
        body = {
            "ryla": 1, "fingerprint": fingerprint, "attempt": attempt_id, "engine": "ai-toolkit",
            "files": [file], "load_s": 100.0, "exec_s": 1500.0, "reused": False, **changes,
        }  # fmt: skip
        self.store.results[fingerprint] = json.dumps(body).encode()
        self.store.files["mara"] = LORA


def _fail(failure: Any) -> httpx.Response:
    if isinstance(failure, Exception):
        raise failure
    return httpx.Response(failure, json={"title": "x", "status": failure, "detail": f"refused with {failure}"})


def attempt() -> Submission:
    """A new attempt."""
    return Submission(str(uuid.uuid4()), JOB.fingerprint("t"), JOB, lambda _: b"", queue_limit_s=600, run_limit_s=7200)


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with room for everybody, on which somebody else works already."""
    cloud = Cloud()
    cloud.add("somebody-elses", "RUNNING")
    cloud.add("ryla-notebook", "RUNNING")  # our prefix, and no attempt of ours
    return cloud


@pytest.fixture
def ledger(tmp_path: Path, migrated_database: Path) -> Iterator[Ledger]:
    """A ledger of its own."""
    shutil.copy(migrated_database, tmp_path / "ryla.db")
    engine = open_engine(f"sqlite:///{tmp_path}/ryla.db")
    yield Ledger(engine)
    engine.dispose()


def mine(cloud: Cloud, submission: Submission) -> list[dict[str, Any]]:
    """The attempt's pods."""
    return [pod for pod in cloud.pods.values() if pod["name"] == PREFIX + submission.attempt_id]


def fails(cloud: Cloud, kind: type[Exception], submission: Submission, **settings: Any) -> Any:
    """The error that submitting raises."""
    with pytest.raises(kind) as caught:
        cloud.run(lambda pods: pods.submit(submission), **settings)
    return caught.value


# ---- creating


def test_pod_gets_what_it_needs_and_not_our_key(cloud: Cloud) -> None:
    """Its environment is shown to whoever may list pods; its ports are public."""
    sent = attempt()
    remote_id = cloud.run(
        lambda pods: pods.submit(sent), min_cuda="13.0", volume_id="vol1", data_centers=("EU-RO-1",), gpu_count=2
    )
    body = cloud.bodies[0]
    assert remote_id == f"pod/{mine(cloud, sent)[0]['id']}/{sent.fingerprint}"
    assert body["name"] == f"ryla-{sent.attempt_id}"
    assert body["gpu"] == {"id": "A", "count": 2, "minCudaVersion": "13.0"}
    assert body["mounts"] == {"network": [{"volumeId": "vol1", "path": "/workspace"}]}
    assert (body["ports"], body["dataCenterIds"]) == ([], ["EU-RO-1"])
    assert set(body["env"]) == {REQUEST_VARIABLE, LIMIT_VARIABLE}
    assert body["env"][LIMIT_VARIABLE] == "7860"
    request = parse_request(body["env"][REQUEST_VARIABLE])
    assert (request.attempt, request.fingerprint, request.kind) == (sent.attempt_id, sent.fingerprint, "training")
    assert "SECRET" not in json.dumps(body)


def test_next_gpu_type_is_tried_where_one_has_no_room(cloud: Cloud) -> None:
    """C2: 400 for the first two, 201 for the third; 403 skips one, too."""
    cloud.on_create = [400, 403, None]
    sent = attempt()
    cloud.run(lambda pods: pods.submit(sent))
    assert [body["gpu"]["id"] for body in cloud.bodies] == ["A", "B", "C"]
    assert len(mine(cloud, sent)) == 1


def test_refusal_on_every_type_is_called_what_it_may_be(cloud: Cloud) -> None:
    """No capacity has no code of its own: all 400 may mean that the request is wrong."""
    cloud.on_create = [400, 400, 400]
    error = fails(cloud, InvalidJob, attempt())
    assert "A, B, C" in str(error)
    assert "refused with 400" in str(error)
    assert "GPU type" in str(fails(cloud, InvalidJob, attempt(), gpu_types=()))


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (402, NotSent, Retry.FATAL),
        (422, InvalidJob, Retry.PERMANENT),
        (401, NotSent, Retry.FATAL),
        (409, NotSent, Retry.FATAL),
    ],
)
def test_refusal_that_holds_for_all_types_stops_at_once(
    cloud: Cloud, status: int, kind: type[Exception], retry: Retry
) -> None:
    """C3, C5: no candidate will succeed, and nothing was created."""
    cloud.on_create = [status, None]
    error = fails(cloud, kind, attempt())
    assert (error.retry, len(cloud.bodies)) == (retry, 1)


def test_key_that_may_use_no_type_says_so(cloud: Cloud) -> None:
    """403 everywhere is a matter of permission, not of room."""
    cloud.on_create = [403, 403, 403]
    assert fails(cloud, NotSent, attempt()).code == "forbidden"


@pytest.mark.parametrize("failure", [500, 503, httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
def test_pod_that_was_made_in_spite_of_an_error_is_taken(cloud: Cloud, failure: Any) -> None:
    """C1: creating it again would pay twice."""
    cloud.on_create = [("made", failure)]
    sent = attempt()
    remote_id = cloud.run(lambda pods: pods.submit(sent))
    assert len(cloud.bodies) == 1
    assert remote_id.split("/")[1] == mine(cloud, sent)[0]["id"]


def test_create_that_did_nothing_is_repeated(cloud: Cloud) -> None:
    """5xx: the same candidate again, once its name is known to be free."""
    cloud.on_create = [500, 500, None]
    sent = attempt()
    cloud.run(lambda pods: pods.submit(sent))
    assert [body["gpu"]["id"] for body in cloud.bodies] == ["A", "A", "A"]
    assert len(mine(cloud, sent)) == 1


def test_double_that_shows_up_late_is_terminated(cloud: Cloud) -> None:
    """The first create arrives while the second is answered: one of the two stays."""
    sent = attempt()
    cloud.on_create = [httpx.ReadTimeout("slow"), None]
    first_list = cloud.__call__

    async def late(request: httpx.Request) -> httpx.Response:
        answer = await first_list(request)
        if request.method == "POST" and len(cloud.bodies) == 2:
            cloud.add(PREFIX + sent.attempt_id)  # the lost one appears
        return answer

    cloud.__class__ = type("Late", (Cloud,), {"__call__": lambda self, request: late(request)})
    remote_id = cloud.run(lambda pods: pods.submit(sent))
    assert [pod["id"] for pod in mine(cloud, sent)] == [remote_id.split("/")[1]]


@pytest.mark.parametrize("plan", [[500] * CREATES, [500, 402], [500, 400, 400, 400]])
def test_doubt_is_never_called_certain(cloud: Cloud, plan: list[int]) -> None:
    """After one lost answer a later refusal proves nothing about the first create."""
    cloud.on_create = list(plan)
    error = fails(cloud, BackendUnavailable, attempt())
    assert not isinstance(error, NotSent)


def test_list_that_fails_after_a_lost_answer_creates_nothing_more(cloud: Cloud) -> None:
    """Without knowing that the name is free, another pod may be a second one."""
    cloud.on_create = [httpx.ReadTimeout("slow"), None]
    cloud.on = {"GET": 500}
    assert not isinstance(fails(cloud, BackendUnavailable, attempt()), NotSent)
    assert len(cloud.bodies) == 1


def test_request_that_fits_in_no_environment_is_refused_before_it_is_sent(cloud: Cloud) -> None:
    """Linux takes 128 KiB in one variable; a pod would start and die."""
    job = Job("training", {"note": "x" * MAX_REQUEST_BYTES}, JOB.outputs)
    big = Submission(str(uuid.uuid4()), job.fingerprint("t"), job, lambda _: b"")
    assert str(MAX_REQUEST_BYTES) in str(fails(cloud, InvalidJob, big))
    assert cloud.bodies == []


# ---- did it arrive?


def test_attempt_is_found_by_its_name_in_another_process(cloud: Cloud) -> None:
    """T11: the orchestrator died right after the create."""
    sent = attempt()
    pod = cloud.add(PREFIX + sent.attempt_id)
    cloud.now += 5
    cloud.add(PREFIX + sent.attempt_id)  # and its double
    found = cloud.run(lambda pods: pods.find(sent.attempt_id, sent.fingerprint, 0.0))
    assert found == f"pod/{pod['id']}/{sent.fingerprint}"
    assert [one["id"] for one in mine(cloud, sent)] == [pod["id"]]


def test_absence_is_believed_only_after_a_while(cloud: Cloud) -> None:
    """A pod may be listed later than it is created."""
    sent = attempt()

    async def ask(pods: Pods) -> Any:
        with pytest.raises(OutcomeUnknown):
            await pods.find(sent.attempt_id, sent.fingerprint, SURE_S - 1)
        return await pods.find(sent.attempt_id, sent.fingerprint, SURE_S)

    assert cloud.run(ask) is None


def test_result_of_a_pod_that_nobody_remembers_is_found_in_the_store(cloud: Cloud) -> None:
    """It worked, left its result and is gone: its id was never learned."""
    sent = attempt()
    cloud.left(sent.fingerprint, sent.attempt_id)

    async def ask(pods: Pods) -> tuple[str | None, RemoteStatus]:
        found = await pods.find(sent.attempt_id, sent.fingerprint, 0.0)
        assert found is not None
        return found, await pods.status(found)

    found, status = cloud.run(ask)
    assert found == f"pod/-/{sent.fingerprint}"
    assert (status.state, status.cost_usd) == ("succeeded", None)
    other = attempt()
    with pytest.raises(OutcomeUnknown):  # the same job's result, made by another attempt, proves nothing of this one
        cloud.run(lambda pods: pods.find(other.attempt_id, other.fingerprint, 0.0))


# ---- following


def follow(cloud: Cloud, *states: str, result: bool = False, after_s: float = 1800.0, **changes: Any) -> RemoteStatus:
    """What is said of a pod that was created here and went through these states."""
    sent = attempt()

    async def work(pods: Pods) -> RemoteStatus:
        remote_id = await pods.submit(sent)
        pod = mine(cloud, sent)[0]
        found = await pods.status(remote_id)
        for index, state in enumerate(states):
            cloud.now += after_s if index == len(states) - 1 else LOOK_S
            pod |= {"status": state, "runtime": {"uptime": 1700} if state == "RUNNING" else None}
            pod["cost"] = 0.0 if state in ("EXITED", "TERMINATED") else 0.36
            if result and index == len(states) - 1:
                cloud.left(sent.fingerprint, sent.attempt_id, **changes)
            if state == "GONE":
                cloud.pods.pop(pod["id"], None)
            found = await pods.status(remote_id)
        return found

    status: RemoteStatus = cloud.run(work)
    return status


@pytest.mark.parametrize(
    ("status", "state"),
    [("PROVISIONING", "queued"), ("STARTING", "queued"), ("RUNNING", "running"), ("PAUSED", "queued")],
)
def test_pod_that_lives_is_open(cloud: Cloud, status: str, state: str) -> None:
    """An unknown status is no end."""
    found = follow(cloud, status)
    assert found.state == state
    assert found.cost_usd == pytest.approx(0.36 * 1801 / 3600)
    if state == "running":
        assert (found.exec_s, found.queue_s) == (1700.0, pytest.approx(100.0))


@pytest.mark.parametrize("status", ["RUNNING", "EXITED", "ERROR", "TERMINATED", "GONE"])
def test_result_in_the_store_counts_whatever_the_pod_says(cloud: Cloud, status: str) -> None:
    """T7's end: the store is the truth, and the pod is terminated as soon as its work lies there."""
    found = follow(cloud, "RUNNING", status, result=True)
    assert (found.state, found.exec_s, found.cold_s) == ("succeeded", 1500.0, 100.0)
    assert found.cost_usd == pytest.approx(0.36 * 1811 / 3600)  # RunPod shows 0 now; what was seen is booked
    assert found.cold_usd == pytest.approx(0.36 * 100 / 3600)
    alive = [pod["name"] for pod in cloud.pods.values() if pod["status"] != "TERMINATED"]
    assert alive == ["somebody-elses", "ryla-notebook"]


@pytest.mark.parametrize(
    ("status", "state", "code", "retry"),
    [
        ("EXITED", "failed", "pod_exited", "transient"),
        ("ERROR", "failed", "pod_error", "elsewhere"),
        ("TERMINATED", "lost", "pod_gone", None),
        ("GONE", "lost", "pod_gone", None),
    ],
)
def test_pod_that_ended_without_a_result_failed(
    cloud: Cloud, status: str, state: str, code: str, retry: str | None
) -> None:
    """T1, T2: it is over, it was paid for, and its disk bills until it is deleted."""
    found = follow(cloud, "RUNNING", status)
    assert (found.state, found.error_code, found.detail.get("retry")) == (state, code, retry)
    assert found.cost_usd == pytest.approx(0.36 * 1811 / 3600)
    assert len(cloud.pods) == (3 if status == "TERMINATED" else 2)


def test_worker_that_says_why_is_believed(cloud: Cloud) -> None:
    """A failure lies where the result would lie."""
    sent = attempt()
    cloud.store.results[sent.fingerprint] = json.dumps(
        {"error": {"code": "bad_dataset", "message": "7 of 9 captions are empty", "retry": "permanent"}}
    ).encode()
    pod = cloud.add(PREFIX + sent.attempt_id, "EXITED")
    found = cloud.run(lambda pods: pods.status(f"pod/{pod['id']}/{sent.fingerprint}"))
    assert (found.state, found.error_code, found.detail["retry"]) == ("failed", "bad_dataset", "permanent")
    assert "captions" in found.error


@pytest.mark.parametrize("status", ["PROVISIONING", "RUNNING"])
def test_pod_past_its_deadline_is_terminated(cloud: Cloud, status: str) -> None:
    """C6, T10: whoever looks first ends it, even if the run that wanted it is gone."""
    found = follow(cloud, status, after_s=7860 + LOOK_S)
    assert (found.state, found.error_code) == ("failed", "pod_deadline")
    assert len(cloud.pods) == 2


def test_pod_that_is_not_listed_yet_is_waited_for(cloud: Cloud) -> None:
    """The list may lag behind the create; a minute later it is lost."""
    assert follow(cloud, "GONE", after_s=LOOK_S).state == "queued"
    assert follow(cloud, "GONE", after_s=SURE_S).state == "lost"


def test_cost_of_an_unseen_pod_is_not_made_up(cloud: Cloud) -> None:
    """Nobody can say what a pod cost that this process never saw: the most is booked."""
    assert cloud.run(lambda pods: pods.status(f"pod/unseen/{'a' * 64}")).cost_usd is None


@pytest.mark.parametrize("gpu", [{"id": "NVIDIA A40", "count": 2}, {"id": "unheard of"}, None])
def test_pod_that_ended_unwatched_costs_its_list_price_by_its_dates(cloud: Cloud, gpu: dict[str, Any] | None) -> None:
    """RunPod says 0 of one that has exited; a process that never saw it alive knows its GPU and when it was created."""
    sent = attempt()
    pod = cloud.add(PREFIX + sent.attempt_id, "EXITED", cost=0.0, **({"gpu": gpu} if gpu else {}))
    cloud.left(sent.fingerprint, sent.attempt_id)
    cloud.now += 1000
    prices = {"NVIDIA A40": 1.224}
    status = cloud.run(lambda pods: pods.status(f"pod/{pod['id']}/{sent.fingerprint}"), list_usd_h=prices.get)
    known = gpu is not None and gpu["id"] in prices
    assert status.cost_usd == (pytest.approx(2 * 1.224 * 1001 / 3600) if known else None)


def test_pod_of_unknown_age_has_no_price(cloud: Cloud) -> None:
    """Seen for the first time, and nobody says when it was created: it may have been there for a day."""
    sent = attempt()
    pod = cloud.add(PREFIX + sent.attempt_id, "RUNNING", createdAt=None)
    assert cloud.run(lambda pods: pods.status(f"pod/{pod['id']}/{sent.fingerprint}")).cost_usd is None


def test_price_that_one_studio_saw_the_next_one_knows(cloud: Cloud) -> None:
    """Each tick of the sensor has pods of its own, and one memory: first RUNNING at a price, then EXITED at none."""
    sent, memory = attempt(), PodMemory()
    remote_id = cloud.run(lambda pods: pods.submit(sent), memory=memory)
    pod = mine(cloud, sent)[0]
    pod |= {"status": "RUNNING", "runtime": {"uptime": 60}}
    cloud.now += 100
    assert cloud.run(lambda pods: pods.status(remote_id), memory=memory).state == "running"
    cloud.left(sent.fingerprint, sent.attempt_id)
    pod |= {"status": "EXITED", "cost": 0.0, "runtime": None}
    cloud.now += 100
    status = cloud.run(lambda pods: pods.status(remote_id), memory=memory)
    assert (status.state, status.cost_usd) == ("succeeded", pytest.approx(0.36 * 201 / 3600))


def test_end_that_nobody_watched_has_no_made_up_price(cloud: Cloud) -> None:
    """Two days after it exited, its age says nothing of what it billed."""
    assert follow(cloud, "RUNNING", "EXITED", after_s=2 * 86_400.0).cost_usd is None


def test_store_that_is_down_concludes_nothing(cloud: Cloud) -> None:
    """A paid training is not called failed because a bucket is away."""
    sent = attempt()
    pod = cloud.add(PREFIX + sent.attempt_id, "EXITED")
    cloud.store.down = True
    with pytest.raises(BackendUnavailable, match="connection refused"):
        cloud.run(lambda pods: pods.status(f"pod/{pod['id']}/{sent.fingerprint}"))
    assert pod["id"] in cloud.pods


def test_many_pods_are_followed_by_one_question(cloud: Cloud) -> None:
    """The control plane takes 60 requests a minute."""

    async def work(pods: Pods) -> None:
        ids = [await pods.submit(attempt()) for _ in range(8)]
        cloud.asked.clear()
        for _ in range(20):
            await pods.poll(ids)
        assert cloud.asked == ["GET /v2/pods"]
        pods.hurry(ids)
        cloud.now += LOOK_S
        assert {status.state for status in (await pods.poll(ids)).values()} == {"queued"}
        assert cloud.asked == ["GET /v2/pods"] * 2

    cloud.run(work)


# ---- fetching, stopping


def test_files_are_held_to_what_the_result_names(cloud: Cloud) -> None:
    """Truncated on the way, or gone."""
    sent = attempt()
    cloud.left(sent.fingerprint, sent.attempt_id)
    remote_id = f"pod/p1/{sent.fingerprint}"
    assert [(file.name, file.data) for file in cloud.run(lambda pods: pods.fetch(remote_id))] == [("mara", LORA)]
    cloud.store.files["mara"] = LORA[:-1]
    with pytest.raises(OutputRejected):
        cloud.run(lambda pods: pods.fetch(remote_id))
    cloud.store.files.clear()
    with pytest.raises(JobLost):
        cloud.run(lambda pods: pods.fetch(remote_id))


def test_cancelled_pod_is_gone_and_called_so(cloud: Cloud) -> None:
    """C7: and cancelling it again is no error."""
    sent = attempt()

    async def work(pods: Pods) -> RemoteStatus:
        remote_id = await pods.submit(sent)
        assert (await pods.status(remote_id)).state == "queued"
        cloud.now += 1
        await pods.cancel(remote_id)
        await pods.cancel(remote_id)
        return await pods.status(remote_id)

    assert cloud.run(work).state == "cancelled"
    assert mine(cloud, sent) == []


def test_pod_that_cannot_be_terminated_now_is_left_to_the_sweep(cloud: Cloud) -> None:
    """C8: the result is not lost for it; what the pod costs until the sweep gets it, nobody knows yet."""
    cloud.on = {"DELETE": 500}
    status = follow(cloud, "RUNNING", "EXITED", result=True)
    assert (status.state, status.cost_usd) == ("succeeded", None)
    cloud.store.results.clear()
    status = follow(cloud, "RUNNING", "EXITED")
    assert (status.state, status.cost_usd, len(cloud.pods)) == ("failed", None, 4)
    cloud.on = {}
    swept = cloud.run(lambda pods: pods.sweep({}, lambda _: True))
    assert (len(swept), len(cloud.pods)) == (2, 2)


def test_sweep_touches_nothing_that_is_not_ours(cloud: Cloud) -> None:
    """C9: neither foreign names, nor our prefix without an attempt, nor another deployment's attempts."""
    theirs, open_one, over = attempt(), attempt(), attempt()
    for sent in (theirs, open_one, over):
        cloud.add(PREFIX + sent.attempt_id, "RUNNING")
    kept = mine(cloud, open_one)[0]["id"]
    over_pod = mine(cloud, over)[0]["id"]
    double = cloud.add(PREFIX + open_one.attempt_id, "RUNNING")["id"]
    swept = cloud.run(lambda pods: pods.sweep({open_one.attempt_id: kept}, lambda one: one == over.attempt_id))
    assert sorted(swept) == sorted([over_pod, double])
    assert [pod["name"] for pod in cloud.pods.values()][:2] == ["somebody-elses", "ryla-notebook"]
    assert mine(cloud, theirs)
    assert [pod["id"] for pod in mine(cloud, open_one)] == [kept]


def test_clock_of_this_machine_ends_no_pod(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """P16: an hour, or a year, forward here says nothing of a pod there."""
    monkeypatch.setattr("time.time", lambda: NOW + 10**8)
    assert follow(cloud, "RUNNING").state == "running"


def test_sweep_ends_an_open_attempts_pod_that_is_past_its_deadline(cloud: Cloud) -> None:
    """The dead man's switch: v2 has none on its side."""
    sent = attempt()
    cloud.add(PREFIX + sent.attempt_id, "RUNNING", env={LIMIT_VARIABLE: "100"})
    assert cloud.run(lambda pods: pods.sweep({sent.attempt_id: ""}, lambda _: False)) == []
    cloud.now += 101
    assert len(cloud.run(lambda pods: pods.sweep({sent.attempt_id: ""}, lambda _: False))) == 1


@pytest.mark.parametrize("remote_id", ["", "pod", "pod//", "ep1/job/" + "a" * 64, f"pod/../{'a' * 64}"])
def test_id_that_names_no_pod_is_lost(cloud: Cloud, remote_id: str) -> None:
    """Nothing is asked, and nothing deleted, by a name that we did not write."""
    with pytest.raises(JobLost):
        cloud.run(lambda pods: pods.cancel(remote_id))
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("status", "code", "hopeless"), [("PROVISIONING", "pod_starting", False), ("ERROR", "pod_ended", True)]
)
def test_pod_that_does_not_work_is_explained(cloud: Cloud, status: str, code: str, hopeless: bool) -> None:
    """C6, T12: the state of the pod is the evidence."""
    pod = cloud.add("ryla-x", status, gpu={"id": "A"})
    found = cloud.run(lambda pods: pods.diagnose(f"pod/{pod['id']}/{'a' * 64}", 600.0))
    assert (found.code, found.hopeless) == (code, hopeless)
    assert status in found.text
    assert "600 s" in found.text
    cloud.on = {"GET": 500}
    assert cloud.run(lambda pods: pods.diagnose(f"pod/{pod['id']}/{'a' * 64}", 600.0)).code == "unknown"


# ---- a deployment's choice


JOBS = "http://127.0.0.1:9/v2"  # the discard port: nobody listens


def chosen(image: str, *, store: bool = True) -> RunPodBackend:
    """The backend of a deployment with that training image, which nobody answers."""
    return assembled(
        jobs_url=JOBS,
        control_url=JOBS,
        graphql_url="",
        key=KEY,
        endpoints=Endpoints("ep1", nsfw="ep2", training="ep3"),
        store=cast("SigningStore", Results()) if store else None,
        engine="comfyui",
        training_image=image,
    )


def test_most_that_a_pod_can_cost_is_its_deadline_and_the_sweep_after_it() -> None:
    """At the price of the dearest GPU that it may get."""
    most = chosen("registry.example/trainer:1").estimate(JOB).most_usd
    assert most == pytest.approx((900 + 3 * 3600 + MARGIN_S + SWEPT_S) * 0.00053)


@pytest.mark.parametrize(("image", "endpoint"), [("registry.example/trainer:1", "pod"), ("", "ep3")])
def test_trainings_go_where_the_setting_says(image: str, endpoint: str) -> None:
    """Only sfw ones, and nothing else; a pod of before the setting changed is followed all the same."""
    backend = chosen(image)
    assert backend.endpoint_for(JOB) == f"{JOBS}/{endpoint}"
    assert backend.endpoint_for(replace(JOB, rating="nsfw")) == f"{JOBS}/ep2"
    assert backend.endpoint_for(replace(JOB, kind="image")) == f"{JOBS}/ep1"
    assert backend.reaches(f"{JOBS}/pod")


def test_pod_is_out_of_reach_for_another_contract() -> None:
    """Its job is no endpoint's: asked there, it would be called lost while it costs."""
    assert not chosen("", store=False).reaches(f"{JOBS}/pod")


@pytest.mark.parametrize(("image", "sent_to", "asks"), [
    ("", "ep3", False), ("trainer:1", "ep3", False), ("", "pod", True), ("trainer:1", "pod", True),
])  # fmt: skip
def test_account_is_swept_where_the_ledger_knows_of_pods(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, image: str, sent_to: str, asks: bool
) -> None:
    """Open or over, and whatever the setting says now; a deployment on endpoints needs no right to list pods."""
    swept: list[tuple[dict[str, str], bool]] = []

    async def sweep(_: Pods, open_pods: dict[str, str], ended: Callable[[str], bool]) -> list[str]:
        swept.append((open_pods, ended(sent.id)))
        return ["pod1"]

    monkeypatch.setattr(Pods, "sweep", sweep)
    backend = chosen(image)
    row = ledger.open(JOB, backend=backend.name, profile=backend.profile(JOB))
    intent = Intent(
        backend=backend.name, endpoint=f"{JOBS}/{sent_to}", owner="me", lease_s=60.0, run_id=None, reserve_usd=0.1,
        exposure_usd=1.0, queue_limit_s=1.0, run_limit_s=1.0,
    )  # fmt: skip
    begun = ledger.begin(row.fingerprint, intent, Budgets(25.0))
    assert begun is not None
    sent = ledger.move(begun, "submitted", remote_id=f"{sent_to}/x/{row.fingerprint}")
    runner = Runner(ledger, backend, cast("Store", Results()), Budgets(25.0))
    assert runner.sweep() == (["pod1"] if asks else [])
    ledger.move(sent, "failed", error_code="x", error="x")
    assert runner.sweep() == (["pod1"] if asks else [])
    assert swept == ([({sent.id: "x"}, False), ({}, True)] if asks else [])


@pytest.mark.parametrize("image", ["trainer", "ryla/trainer:1.2-CUDA", "registry.example:5000/a/b@sha256:" + "0" * 64])
def test_container_image_is_taken(image: str) -> None:
    """With and without registry, tag and digest."""
    assert checked_image(image) == image


@pytest.mark.parametrize("image", ["", "https://registry.example/a", "a b", "a:", "-a", "Trainer:1", "a" * 501, "a\n"])
def test_what_names_no_image_is_refused(image: str) -> None:
    """RunPod would take a typo, and a pod that never starts is paid for."""
    with pytest.raises(ValueError, match="no container image"):
        checked_image(image)
