"""What goes wrong between RunPod's status and the truth: COMPLETED that is none, texts to be read, hostile shapes."""

import json
from typing import Any

import pytest

from resources.gpu.backends.runpod.failures import classify
from resources.gpu.backends.runpod.ids import RemoteId, parse
from resources.gpu.backends.runpod.official import OfficialContract
from resources.gpu.backends.runpod.states import progress, read_status

JOB = RemoteId("ep1", "job-1", "f" * 64)
PICTURE = {"filename": "front_00001_.png", "type": "base64", "data": "aGVsbG8="}


def completed(output: Any, *expected: str) -> Any:
    """A COMPLETED body in worker-comfyui's contract."""
    return OfficialContract().read({"status": "COMPLETED", "output": output, "executionTime": 2000}, JOB, expected)


@pytest.mark.parametrize(
    ("word", "state"),
    [("IN_QUEUE", "queued"), ("IN_PROGRESS", "running"), ("RUNNING", "running"), ("COMPLETED", "succeeded"),
     ("FAILED", "failed"), ("CANCELLED", "cancelled"), ("TIMED_OUT", "failed")],
)  # fmt: skip
def test_every_documented_status(word: str, state: str) -> None:
    """Each word that RunPod names, with times in seconds."""
    status = read_status({"status": word, "delayTime": 1500, "executionTime": 2500, "workerId": "w1"})
    assert (status.state, status.queue_s, status.exec_s, status.worker) == (state, 1.5, 2.5, "w1")
    assert status.cost_usd is None


def test_unknown_status_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """PAUSED is warned of and waited for."""
    assert read_status({"status": "PAUSED"}).state == "queued"
    assert read_status({"status": "PAUSED", "workerId": "w"}).state == "running"
    assert "PAUSED" in caplog.text


def test_progress_is_no_result() -> None:
    """While IN_PROGRESS the output is the last progress update."""
    status = OfficialContract().read({"status": "IN_PROGRESS", "output": {"images": [PICTURE], "percent": 40}}, JOB, ())
    assert (status.state, status.progress) == ("running", 0.4)


@pytest.mark.parametrize(
    ("update", "fraction"),
    [(0.5, 0.5), ({"progress": 0.25}, 0.25), ({"percent": 50}, 0.5), ({"value": 3, "max": 4}, 0.75), ("half", 0.0),
     (7, 1.0), (-1, 0.0), (True, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), (10**400, 0.0), ([1], 0.0),
     ({"value": 1, "max": 0}, 0.0), (None, 0.0)],
)  # fmt: skip
def test_progress_in_all_its_forms(update: object, fraction: float) -> None:
    """A fraction between 0 and 1 whatever a worker sends."""
    assert progress(update) == fraction


def test_completed_without_output_is_a_lost_result() -> None:
    """The result was too large to get through: said with the size that would have."""
    status = completed(None)
    assert (status.state, status.error_code, status.detail["retry"]) == ("failed", "result_lost", "permanent")
    assert "7.5 MB" in status.error
    assert status.exec_s == 2.0, "it is billed all the same"


def test_success_without_pictures_is_a_failure() -> None:
    """worker-comfyui calls it success_no_images."""
    status = completed({"status": "success_no_images", "images": []}, "front")
    assert (status.state, status.error_code) == ("failed", "no_images")
    assert "success_no_images" in status.error


def test_pictures_beside_errors_are_taken_if_they_are_all_there() -> None:
    """Policy: complete is complete, and the errors are kept in the detail."""
    output = {"images": [PICTURE], "errors": ["Node 9: preview failed"]}
    assert completed(output, "front").state == "succeeded"
    assert completed(output, "front").detail["errors"] == ["Node 9: preview failed"]
    partial = completed(output, "front", "side")
    assert (partial.state, partial.error_code) == ("failed", "partial")
    assert "side" in partial.error
    assert "preview failed" in partial.error


def test_partial_result_with_out_of_memory_goes_elsewhere() -> None:
    """The errors beside the pictures say what another attempt is worth."""
    status = completed({"images": [], "errors": ["torch.OutOfMemoryError: CUDA out of memory"]}, "front")
    assert (status.error_code, status.detail["retry"]) == ("out_of_memory", "elsewhere")


def test_fewer_pictures_than_asked_for() -> None:
    """The missing ones are named; where nobody here knows what was asked for, `accept` counts."""
    status = completed({"images": [PICTURE]}, "front", "side")
    assert (status.error_code, status.detail["retry"]) == ("missing_output", "transient")
    assert "side" in status.error
    assert completed({"images": [PICTURE]}).state == "succeeded"


def test_answer_of_an_old_worker_is_named() -> None:
    """Before 5.0.0 the picture stood in output.message."""
    status = completed({"message": "aGVsbG8=", "status": "success"}, "front")
    assert (status.error_code, status.detail["retry"]) == ("worker_too_old", "permanent")
    assert "5.0.0" in status.error


@pytest.mark.parametrize("output", ["text", 7, [1], [{"output": 1}], {"images": "no"}, {"images": [1]},
                                    {"images": [{"data": 1}]}, {"images": [PICTURE] * 65}, {}])  # fmt: skip
def test_strange_output_is_a_failure_and_no_crash(output: Any) -> None:
    """A list, a string, an aggregated stream: none is what was asked for."""
    assert completed(output, "front").state == "failed"


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, True, float("nan"), 10**400, "\x00\x1b[31m" * 1000])
@pytest.mark.parametrize("word", ["IN_PROGRESS", "FAILED", "COMPLETED", "TIMED_OUT", "", None, 7])
def test_hostile_body_is_read_all_the_same(word: object, value: object) -> None:
    """Any key may be absent or of any type."""
    keys = ("delayTime", "executionTime", "workerId", "output", "error", "id")
    status = OfficialContract().read({"status": word, **dict.fromkeys(keys, value)}, JOB, ("front",))
    assert len(status.error) < 1000
    assert not any(ord(letter) < 32 for letter in status.error + status.worker)
    assert 0 <= status.exec_s <= 7 * 86_400
    assert OfficialContract().read({}, JOB, ()).state == "queued"


def sdk(message: str, kind: str = "<class 'RuntimeError'>", traceback: str = "") -> str:
    """A raised exception as RunPod's SDK posts it."""
    return json.dumps(
        {"error_type": kind, "error_message": message, "error_traceback": traceback, "worker_id": "w9", "hostname": "h"}
    )


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (sdk("CUDA out of memory. Tried 2 GiB", "<class 'torch.OutOfMemoryError'>"), "out_of_memory", "elsewhere"),
        ("Allocation on device", "out_of_memory", "elsewhere"),
        ("Workflow validation failed:\n• Node 4 (errors): unet_name: 'flux1-dev.safetensors' not in []",
         "missing_model", "permanent"),
        ("[Errno 2] No such file or directory: '/comfyui/models/vae/ae.safetensors'", "missing_model", "permanent"),
        ("Cannot execute because node PulidFluxModelLoader does not exist.", "missing_node", "permanent"),
        ("Node type 'ApplyPulidFlux' not found", "missing_node", "permanent"),
        ("WebSocket communication error: ComfyUI HTTP unreachable", "worker_crashed", "transient"),
        ("ComfyUI process has exited", "worker_crashed", "transient"),
        ("ComfyUI server (127.0.0.1:8188) not reachable after multiple retries.", "worker_crashed", "transient"),
        ("Workflow validation failed:\n• Node 3 (errors): steps below min", "invalid_workflow", "permanent"),
        ("Missing 'workflow' parameter", "invalid_workflow", "permanent"),
        ("CUDA error: no kernel image is available for execution on the device", "gpu_fault", "elsewhere"),
        ("No space left on device", "disk_full", "elsewhere"),
        ("job timed out after 1 retries", "remote_timeout", "transient"),
        ("something else", "job_failed", "permanent"),
        ({"code": "storage_unreachable", "message": "PUT result: 503"}, "store_unreachable", "transient"),
        (sdk("no answer", "<class 'resources.storage.StoreUnreachable'>"), "store_unreachable", "transient"),
        ("The store could not be reached: front.png was not put", "store_unreachable", "transient"),
        ('Could not connect to the endpoint URL: "https://s3.example/b/k"', "store_unreachable", "transient"),
        ("S3 PUT failed: connection reset by peer", "store_unreachable", "transient"),
        ({"code": "storage_unreachable", "message": "no", "retry": "elsewhere"}, "storage_unreachable", "elsewhere"),
        ({"code": "lora_missing", "message": "not in the store", "retry": "transient"}, "lora_missing", "transient"),
        (json.dumps({"error": {"code": "bad_input", "message": "no", "retry": "permanent"}}), "bad_input", "permanent"),
    ],
)  # fmt: skip
def test_failure_texts_are_classified(error: object, code: str, retry: str) -> None:
    """Real texts of the SDK, of worker-comfyui and of our worker."""
    status = read_status({"status": "FAILED", "error": error})
    assert (status.state, status.error_code, status.detail["retry"]) == ("failed", code, retry)


def test_missing_things_are_named() -> None:
    """Which file, which node: what a person has to put there."""
    assert classify("'flux1-dev.safetensors' not in []").detail["names"] == "flux1-dev.safetensors"
    assert classify("Cannot execute because node PulidFluxModelLoader does not exist.").detail["names"] == (
        "PulidFluxModelLoader"
    )
    assert (
        classify("no such file or directory: '/runpod-volume/models/vae/ae.safetensors'").detail["names"]
        == "ae.safetensors"
    )


def test_traceback_does_not_become_the_message() -> None:
    """The message is one short line; the traceback's end is kept beside it, the worker named."""
    status = read_status({"status": "FAILED", "error": sdk("boom " * 400, traceback="line\n" * 500 + "last")})
    assert len(status.error) <= 500
    assert status.detail["traceback"][-1] == "last"
    assert len(status.detail["traceback"]) == 5
    assert status.worker == "w9"


def test_details_of_a_returned_error_are_read() -> None:
    """worker-comfyui returns {"error", "details"}; RunPod shows them apart."""
    body = {"status": "FAILED", "error": "Job processing failed", "output": {"details": ["Node 4: CUDA out of memory"]}}
    status = read_status(body)
    assert status.error_code == "out_of_memory"
    assert "Node 4" in status.error


def test_error_said_only_in_the_output() -> None:
    """Some workers leave `error` to the output."""
    assert read_status({"status": "FAILED", "output": {"error": "out of memory"}}).error_code == "out_of_memory"
    assert "no reason" in read_status({"status": "FAILED"}).error


@pytest.mark.parametrize(
    "word", ["", "a", "a/b", "ep/../x/" + "f" * 64, f"ep/job/{'F' * 64}", f"ep/job/{'f' * 64}/x", f"/j/{'f' * 64}"]
)
def test_foreign_remote_id_is_none_of_ours(word: str) -> None:
    """A remote id has three parts and no surprises; every real one fits the ledger's column."""
    assert parse(word) is None
    assert parse(str(JOB)) == JOB
    assert len(str(RemoteId("e" * 60, "j" * 60, "f" * 64))) <= 200
