"""What the catalogue's result cases (R1-R22) do to an output.

Belongs here: functions from a worker's output to a harmed one. Results of our own wire contract that a case is not
about pass unharmed: cases on base64 and `s3_url` belong to worker-comfyui.  # runpod facts 4 [code]
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.fake import FakeRunPod

Change = Callable[[Any], Any]
_FRAME = 12  # bytes of a PNG chunk beside its data, and of the whole IEND at its end

TRACEBACK = json.dumps(
    {
        "error_type": "<class 'ValueError'>",
        "error_message": "could not convert the conditioning",
        "error_traceback": "Traceback (most recent call last):\n" + '  File "/handler.py", line 1\n' * 40,
        "hostname": "w1-64410", "worker_id": "w1", "runpod_version": "1.12.0",
    }
)  # fmt: skip
OOM = "Workflow execution error: CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0; 23.65 GiB total capacity)"
MISSING_MODEL = (
    "Workflow validation failed:\n• Node 4 (errors): [{'type': 'value_not_in_list', 'message': 'Value not in list',"
    " 'details': \"unet_name: 'flux1-dev.safetensors' not in []\"}]\n• Node 4 (class_type): UNETLoader"
)
MISSING_NODE = "Workflow validation failed: Cannot execute because node ApplyPulidFlux does not exist."
CRASH = "WebSocket communication error: ComfyUI HTTP unreachable during websocket reconnect"


def first_image(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """A change of the first of `output.images`; other outputs pass."""

    def changed(output: Any) -> Any:
        if not isinstance(output, dict) or not output.get("images"):
            return output
        return {**output, "images": [change(dict(output["images"][0])), *output["images"][1:]]}

    return changed


def with_errors(output: Any) -> Any:
    """R3: pictures and errors."""
    return {**output, "errors": ["Node 9: failed to save"]} if isinstance(output, dict) else output


def invalid_base64(image: dict[str, Any]) -> dict[str, Any]:
    """R5."""
    return {**image, "data": "@@not base64@@" + image["data"][:33]}


def data_uri(image: dict[str, Any]) -> dict[str, Any]:
    """R6."""
    return {**image, "data": "data:image/png;base64," + image["data"]}


def old_shape(output: Any) -> Any:
    """R7: worker-comfyui before 5.0.0."""
    if not isinstance(output, dict) or not output.get("images"):
        return output
    return {"message": output["images"][0]["data"], "status": "success"}


def as_list(output: Any) -> Any:
    """R13: an aggregated stream."""
    return [output]


def double_name(output: Any) -> Any:
    """R19: two files of one name."""
    if not isinstance(output, dict) or not output.get("images"):
        return output
    return {**output, "images": [*output["images"], dict(output["images"][0])]}


def heavy(megabytes: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """R20: the PNG with one chunk more before its end that nobody reads, so large in base64."""

    def change(image: dict[str, Any]) -> dict[str, Any]:
        data = base64.b64decode(image["data"])
        name, padding = b"ryPd", bytes(megabytes * 1024 * 1024 * 3 // 4 - len(data) - _FRAME)
        chunk = struct.pack(">I", len(padding)) + name + padding + struct.pack(">I", zlib.crc32(name + padding))
        return {**image, "data": base64.b64encode(data[:-_FRAME] + chunk + data[-_FRAME:]).decode()}

    return change


def other_fingerprint(output: Any) -> Any:
    """R22 of the wire contract: another job's result."""
    if isinstance(output, dict) and "fingerprint" in output:
        return {**output, "fingerprint": "0" * 64}
    return output


def by_url(fake: FakeRunPod) -> Change:
    """R10-R12: pictures behind the fake's own /files instead of in the answer."""

    def changed(output: Any) -> Any:
        if not isinstance(output, dict) or not output.get("images"):
            return output
        images = []
        for image in output["images"]:
            name = f"{fake.world.token(8)}.png"
            fake.world.files[name] = base64.b64decode(image["data"])
            images.append({**image, "type": "s3_url", "data": f"{fake.world.base_url}/files/{name}"})
        return {**output, "images": images}

    return changed
