"""What goes wrong between us and a ComfyUI server, each against a server that speaks the real wire."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resources.database import metadata, open_engine
from resources.gpu import ledger as tables
from resources.gpu.backend import RemoteStatus, Submission
from resources.gpu.backends.comfyui import backend as module
from resources.gpu.backends.comfyui import client, inputs, progress
from resources.gpu.backends.comfyui.backend import ComfyUIBackend
from resources.gpu.backends.comfyui.progress import Heard
from resources.gpu.backends.comfyui.states import finished
from resources.gpu.budget import Budgets
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobFailed, JobLost, OutputRejected, Retry
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.runner import Policy, Progress, Runner
from resources.storage import FileStore
from tests.fakes.fake_comfyui import SIZE, FakeComfyUI, Faults, served
from workflows.examples import LORA_FILES, REFERENCE_IMAGE, examples

TEXT, FACE, LORA = "base-image/flux-dev", "face-swap/flux-dev", "lora-generation/flux-dev"
BODY = b"the bytes of an input"
QUICK = Policy(poll_min_s=0.005, poll_max_s=0.02, silence_limit_s=5.0)
FAULT = {"type": "value_not_in_list", "message": "Value not in list", "details": "unet_name: 'x' not in []"}
NODE_ERRORS = {"4": {"errors": [{**FAULT, "extra_info": {}}], "dependent_outputs": ["9"], "class_type": "UNETLoader"}}
CRASH = {
    "node_id": "7",
    "node_type": "KSampler",
    "exception_type": "RuntimeError",
    "exception_message": "mat1 and mat2 shapes cannot be multiplied",
    "traceback": [f"line {number}" for number in range(40)],
    "current_inputs": {},
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[FakeComfyUI]:
    """One server for all tests: starting it costs more than most of them."""
    with served(FakeComfyUI()) as fake:
        yield fake


@pytest.fixture
def server(one_server: FakeComfyUI) -> FakeComfyUI:
    """The server, as new."""
    url = one_server.url
    one_server.__init__()  # type: ignore[misc]
    one_server.url = url
    return one_server


@pytest.fixture
def backend(server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch) -> ComfyUIBackend:
    """A backend that does not wait for a lost answer longer than a test should take."""
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    return ComfyUIBackend(server.url)


def job(label: str = TEXT, *names: str, lora: str = "") -> Job:
    """An example's graph as a job; `names` are its pictures, `lora` its LoRA file."""
    graph = examples(size=256, steps=4, prefix="mara/take")[label]
    saved = [n["inputs"]["filename_prefix"] for n in graph.values() if n["class_type"] == "SaveImage"]
    files = [InputFile("input", name, "inputs", "a" * 64) for name in names]
    files += [InputFile("loras", lora, "loras", "b" * 64)] if lora else []
    return Job("image", graph, tuple(OutputSpec(name, "image", SIZE, SIZE) for name in saved), tuple(files), label)


def attempt(wanted: Job | None = None) -> Submission:
    """A new attempt."""
    wanted = wanted or job()
    return Submission(str(uuid.uuid4()), wanted.fingerprint("test"), wanted, lambda _: BODY)


def send(backend: ComfyUIBackend, wanted: Job | None = None) -> str:
    """Submit it."""
    return asyncio.run(backend.submit(attempt(wanted)))


def state(backend: ComfyUIBackend, remote_id: str) -> RemoteStatus:
    """What a poll says of it."""
    return asyncio.run(backend.poll([remote_id]))[remote_id]


def fails_to_send(backend: ComfyUIBackend) -> str:
    """Submit without getting an answer; returns the attempt's id."""
    submission = attempt()
    with pytest.raises(BackendUnavailable):
        asyncio.run(backend.submit(submission))
    return submission.attempt_id


# ---- did it arrive?


def test_prompt_that_was_dropped_before_it_arrived_is_known_not_to_run(
    server: FakeComfyUI, backend: ComfyUIBackend
) -> None:
    """The note is there and the prompt is not: the same server process never got it."""
    server.faults.drop_post = "before"
    attempt_id = fails_to_send(backend)
    assert asyncio.run(backend.find(attempt_id)) is None
    assert asyncio.run(ComfyUIBackend(server.url).find(attempt_id)) is None  # in another process, too


def test_prompt_that_was_dropped_after_it_arrived_is_found(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Waiting, running or finished: it is found by the id that we gave it."""
    server.faults.drop_post = "after"
    attempt_id = fails_to_send(backend)
    assert asyncio.run(backend.find(attempt_id)) == attempt_id
    server.begin()
    assert asyncio.run(backend.find(attempt_id)) == attempt_id
    server.work()
    assert asyncio.run(backend.find(attempt_id)) == attempt_id
    assert state(backend, attempt_id).state == "succeeded"


def test_nothing_is_concluded_while_a_lost_prompt_may_still_be_read(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after the connection broke, its bytes may lie in the server's socket: absence is no answer yet."""
    backend = ComfyUIBackend(server.url)
    server.faults.drop_post = "before"
    attempt_id = fails_to_send(backend)
    with pytest.raises(BackendUnavailable, match="may still be reading"):
        asyncio.run(backend.find(attempt_id))
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    assert asyncio.run(backend.find(attempt_id)) is None


def test_server_that_is_down_certainly_got_nothing(backend: ComfyUIBackend) -> None:
    """Without a connection nothing was sent: no need to ask anybody."""
    nowhere = ComfyUIBackend("http://127.0.0.1:9")
    attempt_id = fails_to_send(nowhere)
    assert asyncio.run(nowhere.find(attempt_id)) is None


def test_server_that_went_down_before_the_prompt_certainly_got_nothing(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inputs went up, the connection for the prompt was refused: nothing to wait for, nobody to ask."""

    async def refused(*_: Any) -> Any:
        raise client.NotReached("connection refused")

    monkeypatch.setattr(client.Link, "send", refused)
    attempt_id = fails_to_send(backend)
    server.faults.status = 503
    assert asyncio.run(backend.find(attempt_id)) is None


def test_restarted_server_is_not_taken_for_a_witness(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """It forgot its queue and its temp folder: whether it ran is not claimed, that nothing is left of it is."""
    server.faults.drop_post = "after"
    attempt_id = fails_to_send(backend)
    server.restart()
    assert asyncio.run(backend.find(attempt_id)) == attempt_id
    found = state(backend, attempt_id)
    assert (found.state, found.error_code) == ("lost", "unknown_job")
    assert "restarted" in found.error


def test_server_that_does_not_answer_settles_nothing(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Neither find nor poll guesses."""
    remote_id = send(backend)
    server.faults.status = 503
    for question in (backend.find(remote_id), backend.poll([remote_id]), backend.fetch(remote_id)):
        with pytest.raises(BackendUnavailable, match="503") as caught:
            asyncio.run(question)
        assert caught.value.retry is Retry.TRANSIENT


# ---- refusals


def test_refusal_carries_node_class_and_words(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """A 400's body becomes problems, one a fault."""
    server.faults.refuse = {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": NODE_ERRORS}
    with pytest.raises(InvalidJob, match=r"node 4 \(UNETLoader\): Value not in list: unet_name") as caught:
        send(backend)
    assert caught.value.problems == ({"node_id": "4", "class_type": "UNETLoader", **FAULT},)


def test_refusal_of_the_whole_graph_is_a_problem_too(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """An unknown class stops validation at once: no node errors, one error."""
    whole = {"type": "missing_node_type", "message": "Node 'X' not found.", "details": "Node ID '#3'"}
    server.faults.refuse = {"error": {**whole, "extra_info": {}}, "node_errors": {}}
    with pytest.raises(InvalidJob, match="Node 'X' not found") as caught:
        send(backend)
    assert caught.value.problems == ({"node_id": None, "class_type": None, **whole},)


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_graph_that_is_taken_in_part_is_stopped(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch, *, running: bool
) -> None:
    """A 200 with node errors drops an output without a word: the rest is taken back, and it is a refusal."""
    server.faults.node_errors = NODE_ERRORS
    if running:
        send_prompt = client.Link.send

        async def sent(link: Any, *args: Any) -> Any:
            answer = await send_prompt(link, *args)
            server.begin()
            return answer

        monkeypatch.setattr(client.Link, "send", sent)
    with pytest.raises(InvalidJob, match="would drop a part") as caught:
        send(backend)
    assert caught.value.problems[0]["node_id"] == "4"
    assert (server.pending, server.running, len(server.interrupted)) == ([], [], int(running))


def test_server_that_makes_its_own_ids_is_refused(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Such a prompt could never be found again."""
    server.faults.other_id = True
    with pytest.raises(InvalidJob, match="ignores the prompt_id"):
        send(backend)
    assert server.pending == []


def test_training_is_refused_before_anything_is_sent(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Images only: told by validation, and again at the door."""
    training = Job("training", {"base_model": "flux-dev"}, (OutputSpec("x", "lora"),))
    assert "images only" in backend.problems(training)[0]["message"]
    with pytest.raises(InvalidJob, match="the comfyui backend makes images only"):
        send(backend, training)
    assert server.posted == []


def test_model_that_this_server_lacks_is_found_before_it_is_sent(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Validation is by the server's own lists, not by ours."""
    wanted = job()
    assert backend.problems(wanted) == []
    loader = next(node for node in wanted.request.values() if node["class_type"] == "UNETLoader")
    loader["inputs"]["unet_name"] = "flux1-schnell.safetensors"
    assert [(p["class_type"], p["type"]) for p in backend.problems(wanted)] == [("UNETLoader", "value_not_in_list")]


def test_node_pack_that_this_server_lacks_is_found_before_it_is_sent(
    server: FakeComfyUI, backend: ComfyUIBackend
) -> None:
    """Our stored copy knows the node; what counts is the server's own object_info."""
    server.lacks.add("ApplyPulidFlux")
    found = backend.problems(job(FACE, REFERENCE_IMAGE))
    assert {(p["class_type"], p["type"]) for p in found} == {("ApplyPulidFlux", "missing_node_type")}


# ---- answers that are not ComfyUI's


@pytest.mark.parametrize(
    ("faults", "words", "retry"),
    [
        (Faults(redirect="http://elsewhere.invalid"), "answers 307", Retry.FATAL),
        (Faults(status=401), "answers 401: trouble", Retry.FATAL),
        (Faults(status=404), "answers 404", Retry.FATAL),
        (Faults(status=502), "answers 502", Retry.TRANSIENT),
        (Faults(status=200, body=b"<html>hello</html>"), "is no JSON", Retry.TRANSIENT),
        (Faults(status=200, body=b'{"hello": "there"}'), "is not ComfyUI's", Retry.FATAL),
    ],
    ids=["redirect", "key wanted", "other routes", "proxy", "page", "other service"],
)
def test_something_else_at_the_address_is_told(
    server: FakeComfyUI, backend: ComfyUIBackend, faults: Faults, words: str, retry: Retry
) -> None:
    """No redirect is followed, no key is sent, and only what may pass by itself is asked again."""
    server.faults = faults
    with pytest.raises(BackendUnavailable, match=words) as caught:
        asyncio.run(backend.poll(["x"]))
    assert caught.value.retry is retry


def test_answer_without_end_is_cut_off(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body is read to its limit, not to its end."""
    monkeypatch.setattr(client, "MAX_JSON_BYTES", 10)
    monkeypatch.setattr(client.Link._ask, "__kwdefaults__", {"limit": 10})
    with pytest.raises(BackendUnavailable, match="more than 10 bytes"):
        asyncio.run(backend.poll(["x"]))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is not an http"),
        ("localhost:8188", "is not an http"),
        ("ftp://gpu/", "is not an http"),
        ("http://me:secret@gpu:8188", "holds a user or a password"),
        ("http://gpu:8188/?key=1", "holds a query"),
    ],
)
def test_address_that_is_none_is_refused(url: str, words: str) -> None:
    """It would be stored with every attempt: no secrets in it."""
    with pytest.raises(ValueError, match=words):
        ComfyUIBackend(url)


# ---- inputs


def test_picture_that_is_there_is_not_sent_again(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Names are content hashes, so name and size are enough; half an upload is sent anew."""
    wanted = job(FACE, REFERENCE_IMAGE)
    send(backend, wanted)
    send(backend, wanted)
    assert server.uploads == [REFERENCE_IMAGE]
    server.inputs[REFERENCE_IMAGE] = BODY[:5]
    send(backend, wanted)
    assert server.uploads == [REFERENCE_IMAGE] * 2


def test_graph_reads_the_picture_under_the_name_that_the_server_gave(
    server: FakeComfyUI, backend: ComfyUIBackend
) -> None:
    """Another picture of that name lies there: ours is "(1)", and LoadImage says so."""
    server.faults.rename = True
    wanted = job(FACE, REFERENCE_IMAGE)
    send(backend, wanted)
    sent = server.posted[0]["prompt"]
    stem = REFERENCE_IMAGE.removesuffix(".png")
    loaded = {n["inputs"]["image"] for n in sent.values() if n["class_type"] == "LoadImage"}
    assert loaded == {f"{stem} (1).png"}
    assert wanted == job(FACE, REFERENCE_IMAGE)  # the job itself is as it was: its fingerprint stands


def lora_job() -> Job:
    """A job whose LoRA the server has to get first."""
    wanted = job(LORA, lora="mara-0123.safetensors")
    for node in wanted.request.values():
        if "lora_name" in node["inputs"]:
            node["inputs"]["lora_name"] = "mara-0123.safetensors"
    return wanted


def test_lora_that_is_not_on_the_server_is_refused_with_the_way_out(
    server: FakeComfyUI, backend: ComfyUIBackend
) -> None:
    """ComfyUI takes no uploads of models."""
    [problem] = backend.problems(lora_job())
    assert problem["type"] == "lora_not_on_server"
    assert "COMFYUI_MODELS_DIR" in problem["details"]
    with pytest.raises(InvalidJob, match="COMFYUI_MODELS_DIR"):
        send(backend, lora_job())
    assert server.posted == []
    known = next(iter(LORA_FILES.values()))
    assert backend.problems(job(LORA, lora=known)) == []


def test_lora_is_copied_whole_and_listed_before_it_is_named(server: FakeComfyUI, tmp_path: Path) -> None:
    """With the models folder at hand it is written beside and moved: half a file is never seen."""
    (tmp_path / "loras").mkdir()
    server.models_dir = tmp_path
    backend = ComfyUIBackend(server.url, models_dir=tmp_path)
    assert backend.problems(lora_job()) == []
    send(backend, lora_job())
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "loras").iterdir()] == [
        ("mara-0123.safetensors", BODY)
    ]
    assert len(server.posted) == 1


def test_models_folder_of_another_server_is_noticed(
    server: FakeComfyUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied and never listed: nothing is sent that would fail."""
    monkeypatch.setattr(inputs, "LISTED_WITHIN_S", 0.05)
    monkeypatch.setattr(inputs, "LOOK_EVERY_S", 0.01)
    (tmp_path / "loras").mkdir()
    with pytest.raises(BackendUnavailable, match="does not list it") as caught:
        send(ComfyUIBackend(server.url, models_dir=tmp_path), lora_job())
    assert "COMFYUI_MODELS_DIR" in caught.value.way_out
    with pytest.raises(InvalidJob, match="cannot be written"):
        send(ComfyUIBackend(server.url, models_dir=tmp_path / "nowhere"), lora_job())
    assert server.posted == []


# ---- how it ended


def test_pictures_come_back_under_the_names_that_were_asked_for(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Each attempt saves under a prefix of its own, so that a warm server writes files at all; then it is taken off."""
    wanted = job()
    names = {f"{spec.name}_00001_.png" for spec in wanted.outputs}
    prefixes = set()
    for _ in range(2):
        remote_id = send(backend, wanted)
        server.work()
        assert {output.name for output in asyncio.run(backend.fetch(remote_id))} == names
        sent = server.posted[-1]["prompt"].values()
        prefixes |= {n["inputs"]["filename_prefix"] for n in sent if n["class_type"] == "SaveImage"}
    assert len(prefixes) == 2 * len(names)
    assert {body["client_id"] for body in server.posted} == {body["prompt_id"] for body in server.posted}


def test_time_is_the_server_s(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Queued from receipt to start, executed from start to end; own hardware costs nothing."""
    remote_id = send(backend)
    assert state(backend, remote_id).state == "queued"
    server.work(exec_s=2.0)
    ended = state(backend, remote_id)
    assert (ended.state, ended.queue_s, ended.exec_s, ended.cost_usd) == ("succeeded", 0.5, 2.0, 0.0)
    assert backend.estimate(job()).most_usd == 0.0


def test_crash_of_a_node_is_told_in_comfyui_s_words(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Node id, class, exception; the traceback's end, not all of it. The same job would fail the same way."""
    remote_id = send(backend)
    server.work(error=CRASH)
    failed = state(backend, remote_id)
    assert (failed.state, failed.error_code) == ("failed", "execution_error")
    assert failed.error == "node 7 (KSampler): RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    assert failed.detail["traceback"] == [f"line {number}" for number in range(35, 40)]
    assert "retry" not in failed.detail


def test_full_gpu_is_worth_another_try(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """After running out of memory ComfyUI unloads every model."""
    remote_id = send(backend)
    server.work(error={**CRASH, "exception_type": "torch.OutOfMemoryError"})
    assert state(backend, remote_id).detail["retry"] == Retry.TRANSIENT


def test_stale_success_flag_is_not_believed() -> None:
    """The executor keeps its flag from the prompt before; the messages are this prompt's own."""
    crash = ["execution_error", {**CRASH, "timestamp": 2000}]
    assert finished({"status": {"status_str": "success", "messages": [crash]}}).state == "failed"
    good = ["execution_success", {"timestamp": 2000}]
    assert finished({"status": {"status_str": "error", "messages": [good]}}).state == "succeeded"
    assert finished({"status": {"status_str": "error", "messages": []}}).error == "ComfyUI names no reason"


def test_history_that_was_cleared_is_a_lost_job(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Restarted between the end and the fetch: the result is gone, and that is said."""
    remote_id = send(backend)
    server.work()
    server.restart()
    assert state(backend, remote_id).state == "lost"
    with pytest.raises(JobLost, match="no longer knows"):
        asyncio.run(backend.fetch(remote_id))


def test_files_that_were_deleted_are_a_lost_job(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """History still names them; /view answers 404."""
    remote_id = send(backend)
    server.work()
    server.outputs.clear()
    with pytest.raises(JobLost, match="no longer has the file"):
        asyncio.run(backend.fetch(remote_id))


def test_slow_file_is_asked_for_again_later(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drip resets every timeout between reads: the whole answer has one of its own, and the result stays there."""
    monkeypatch.setattr(client, "ANSWER_S", 0.1)
    remote_id = send(backend)
    server.work()
    server.faults.drip_s = 0.05
    with pytest.raises(BackendUnavailable, match="does not answer"):
        asyncio.run(backend.fetch(remote_id))
    server.faults.drip_s = 0.0
    assert len(asyncio.run(backend.fetch(remote_id))) == len(job().outputs)


@pytest.mark.parametrize("limit", ["MAX_BYTES", "TOTAL_BYTES"])
def test_oversized_files_are_not_read(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """One file, or all of a job's together."""
    monkeypatch.setattr(module, limit, 1000)
    remote_id = send(backend)
    server.work()
    server.faults.view_bytes = 900 if limit == "TOTAL_BYTES" else 1100
    with pytest.raises(OutputRejected, match="more than 1000 bytes"):
        asyncio.run(backend.fetch(remote_id))


def test_previews_are_no_results(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """A PreviewImage's file lies in temp and is nobody's output."""
    remote_id = send(backend)
    server.work()
    outputs = server.history[remote_id]["outputs"]
    outputs["99"] = {"images": [{"filename": "p.png", "subfolder": "", "type": "temp"}]}
    outputs["98"] = {"text": ["a node that says something"]}
    assert len(asyncio.run(backend.fetch(remote_id))) == len(job().outputs)
    outputs["99"] = {"images": [{"filename": f"{n}.png", "subfolder": "", "type": "output"} for n in range(100)]}
    with pytest.raises(OutputRejected, match="files came back"):
        asyncio.run(backend.fetch(remote_id))


# ---- stopping and looking


def test_cancel_touches_no_other_prompt(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """A waiting one leaves the queue; what runs for somebody else runs on."""
    other, mine = send(backend), send(backend)
    server.begin()
    asyncio.run(backend.cancel(mine))
    assert (state(backend, mine).state, state(backend, other).state) == ("cancelled", "running")
    assert server.interrupted == []
    asyncio.run(backend.cancel(other))
    ended = state(backend, other)
    assert (ended.state, ended.error) == ("cancelled", "interrupted at node 7 (KSampler)")
    asyncio.run(backend.cancel(other))  # it ended already: no error
    assert server.interrupted == [other]


def test_diagnosis_names_the_place_and_what_runs(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Number in the queue, what runs before it; for a lost one that nobody knows it."""
    first, _, third = (send(backend) for _ in range(3))
    server.begin()
    said = asyncio.run(backend.diagnose(third, 0.0)).text
    assert said == f"It is number 2 in the queue of ComfyUI at {server.url}; {first} runs, 2 wait."
    assert "works on it" in asyncio.run(backend.diagnose(first, 0.0)).text
    assert "restarted" in asyncio.run(backend.diagnose("nobody", 0.0)).text


# ---- progress


async def until(true: Callable[[], object]) -> None:
    """Wait until it holds; two seconds at most."""
    give_up = time.monotonic() + 2
    while not true():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.005)


def sampler(wanted: Job) -> str:
    """The id of the first sampler."""
    return next(node_id for node_id, node in wanted.request.items() if node["class_type"] == "KSampler")


def test_bar_moves_by_steps_and_survives_a_lost_socket(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are heard over the socket; when it breaks, another is opened under the same client id."""
    monkeypatch.setattr(progress, "PAUSES_S", (0.0, 0.01, 0.01))
    wanted = job()

    async def watch() -> list[float]:
        remote_id = await backend.submit(attempt(wanted))
        heard = backend._listener.heard(remote_id)
        assert heard is not None

        async def told(kind: str, data: dict[str, Any], then: Callable[[], object]) -> float:
            await asyncio.to_thread(server.tell, remote_id, kind, data)
            await until(then)
            return (await backend.poll([remote_id]))[remote_id].progress

        await until(lambda: remote_id in server.sockets)
        await asyncio.to_thread(server.begin)
        node = sampler(wanted)
        seen = [await told("executing", {"node": node}, lambda: heard.node == node)]
        seen.append(await told("progress", {"node": node, "value": 2, "max": 4}, lambda: heard.step == 2))
        await asyncio.to_thread(server.hang_up, remote_id)
        await until(lambda: server.listened.count(remote_id) == 2)
        seen.append(await told("progress", {"node": node, "value": 3, "max": 4}, lambda: heard.step == 3))
        assert "step 3 of 4" in (await backend.diagnose(remote_id, 0.0)).text
        await asyncio.to_thread(server.work)
        seen.append((await backend.poll([remote_id]))[remote_id].progress)
        return seen

    seen = asyncio.run(watch())
    assert seen == sorted(set(seen))
    assert seen[-1] == 1.0


def test_deaf_socket_changes_no_result(
    server: FakeComfyUI, backend: ComfyUIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is nothing but a bar: without it the history tells the end."""
    monkeypatch.setattr(progress, "PAUSES_S", ())
    remote_id = send(backend)
    server.work()
    assert state(backend, remote_id).state == "succeeded"
    assert server.listened == []


@pytest.mark.parametrize(
    "message",
    ["", "[]", "no json", '{"type": "progress"}', '{"type": "progress", "data": {"prompt_id": "mine", "node": "1"}}'],
)
def test_strange_message_is_left_alone(message: str) -> None:
    """What is said on the socket is untrusted."""
    heard = Heard("mine", job().request)
    heard.take(message)
    assert (heard.fraction(), heard.ended) == (0.0, False)


def test_message_about_another_prompt_is_left_alone() -> None:
    """A server tells a client of everything that runs under its id."""
    heard = Heard("mine", job().request)
    heard.take('{"type": "executing", "data": {"prompt_id": "another", "node": "3"}}')
    assert heard.node == ""


def test_cached_nodes_count_as_done() -> None:
    """A warm server skips what it knows: the bar starts where the work does."""
    graph = job().request
    heard = Heard("mine", graph)
    nodes = str(list(graph)[:3]).replace("'", '"')
    heard.take(f'{{"type": "execution_cached", "data": {{"prompt_id": "mine", "nodes": {nodes}}}}}')
    assert heard.fraction() > 0.0


# ---- with the runner


@pytest.fixture
def runner(backend: ComfyUIBackend, tmp_path: Path) -> Iterator[Runner]:
    """A runner with a ledger and a store of its own."""
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    metadata.create_all(engine, tables=[tables.jobs, tables.attempts, tables.events])
    yield Runner(Ledger(engine), backend, FileStore(tmp_path / "store"), Budgets(1.0), policy=QUICK)
    engine.dispose()


def test_lost_answer_costs_no_second_prompt(server: FakeComfyUI, runner: Runner) -> None:
    """The prompt arrived, the answer did not: it is found and its pictures are taken, nothing is sent again."""
    server.faults.drop_post = "after"
    server.auto = True
    [result] = runner.run([job()])
    assert len(server.posted) == 1
    assert (result.attempt.state, result.attempt.exec_s, result.attempt.cost_usd) == ("succeeded", 2.0, 0.0)
    assert len(result.outputs) == len(job().outputs)


def test_restart_of_the_server_is_followed_by_one_new_attempt(server: FakeComfyUI, runner: Runner) -> None:
    """What the server forgot is booked as lost, then the job is sent once more, and the ledger shows both."""

    def restart_once(_: Progress) -> None:
        attempts = runner.ledger.open_attempts()
        if attempts and attempts[0].remote_id and not server.auto:
            server.restart()
            server.auto = True

    [result] = runner.run([job()], on_progress=restart_once)
    assert [a.state for a in runner.ledger.attempts(result.fingerprint)] == ["lost", "succeeded"]
    assert len(server.posted) == 2


def test_crash_is_not_tried_again(server: FakeComfyUI, runner: Runner) -> None:
    """The same graph fails the same way: one prompt, and ComfyUI's own words for the person."""
    server.auto, server.error = True, CRASH
    with pytest.raises(JobFailed, match="KSampler.*cannot be multiplied"):  # noqa: RUF043  no dot is meant literally
        runner.run([job()])
    assert len(server.posted) == 1


# ---- what determines a job


def test_fingerprint_does_not_depend_on_the_address(backend: ComfyUIBackend) -> None:
    """The same files draw the same picture anywhere; other files do not."""
    wanted = job()
    elsewhere = ComfyUIBackend("http://127.0.0.1:9/comfy/")
    assert elsewhere.profile(wanted) == backend.profile(wanted)
    assert elsewhere.endpoint == "http://127.0.0.1:9/comfy"
    other = replace(wanted, request=examples(size=256, steps=4, prefix="mara/take")["base-image/zimage-turbo"])
    assert backend.profile(other) != backend.profile(wanted)


def test_server_s_lists_are_asked_for_once_in_a_while(server: FakeComfyUI, backend: ComfyUIBackend) -> None:
    """Validating a batch does not fetch megabytes for each job; the lists are not believed for ever either."""
    before = backend.model_files()["loras"]
    server.loras.add("new.safetensors")
    assert backend.model_files()["loras"] == before
    backend._info = None
    assert backend.model_files()["loras"] == before | {"new.safetensors"}
    assert backend.version() == "0.18.1"
