"""What a failed job's own words mean: a code, what another attempt is worth, and one short sentence.

Sources: RunPod's Python SDK posts a raised exception as a JSON string (error_type, error_message, error_traceback,
hostname, worker_id); worker-comfyui 5.8.5 raises or returns plain texts; our own worker sends {code, message, retry}
(workflows.wire). All of it is untrusted text, read once, here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resources.gpu.errors import Retry
from resources.runpod.redaction import READ_CHARS, shown
from workflows import wire
from workflows.errors import WireError

TIMED_OUT = "remote_timeout"  # the code of a job that RunPod, or its own word, calls timed out
WORDS = 500  # characters of a message
TRACEBACK_LINES = 5

_FILE = r"[\w.()-]{1,120}\.(?:safetensors|sft|ckpt|pth?|bin|gguf|onnx)"
_NODE = r"[\w .+()-]{1,80}?"
# First match wins; what a group catches is named in the message.
_KINDS: tuple[tuple[str, Retry, tuple[str, ...]], ...] = (
    (
        "out_of_memory",
        Retry.ELSEWHERE,
        (
            r"OutOfMemoryError",
            r"out of memory",
            r"allocation on device",
            r"not enough (?:gpu |cuda |vram )?memory",
            r"\bOOM\b",
        ),
    ),
    (
        "store_unreachable",  # by the worker: a reset of that connection is no crash
        Retry.TRANSIENT,
        (
            r"stor(?:e|age)_?unreachable",
            r"Could not connect to the endpoint URL",  # botocore's EndpointConnectionError
            r"S3UploadFailedError",
            r"\b(?:store|storage|S3)\b[^\n]{0,80}(?:not (?:be )?reach|unreach|not answer|timed out|refused|reset by)",
        ),
    ),
    (
        "missing_node",
        Retry.PERMANENT,
        (
            rf"node type '?({_NODE})'? (?:not found|does not exist)",
            rf"\bnode '?({_NODE})'? (?:does not exist|not found)",
            r"missing_node_type",
        ),
    ),
    (
        "missing_model",
        Retry.PERMANENT,
        (
            rf"({_FILE})['\"]? ?(?:not in\b|not found|does not exist)",
            rf"(?:no such file or directory|could not find|not found|cannot find)[^\n]{{0,120}}?['\" :/]({_FILE})",
            r"value_not_in_list",
        ),
    ),
    (
        "worker_crashed",
        Retry.TRANSIENT,
        (
            r"websocket",
            r"ComfyUI (?:HTTP )?unreachable",
            r"ComfyUI process has exited",
            r"server[^\n]{0,40}not reachable",
            r"connection (?:refused|reset|aborted)",
            r"broken pipe",
            r"worker (?:died|was lost|exited)",
            r"\bkilled\b",
        ),
    ),
    (
        "gpu_fault",
        Retry.ELSEWHERE,
        (
            r"CUDA error",
            r"cudaError",
            r"CUBLAS_STATUS",
            r"CUDNN_STATUS",
            r"no kernel image is available",
            r"NVIDIA driver",
            r"no CUDA GPUs",
            r"device-side assert",
        ),
    ),
    ("disk_full", Retry.ELSEWHERE, (r"no space left on device", r"disk quota exceeded")),
    (
        "invalid_workflow",
        Retry.PERMANENT,
        (
            r"workflow validation failed",
            r"failed validation",
            r"missing 'workflow' parameter",
            r"invalid JSON",
            r"invalid workflow",
            r"'images' must be a list",
            r"please provide input",
            r"invalid_prompt",
        ),
    ),
    (TIMED_OUT, Retry.TRANSIENT, (r"execution ?time ?out", r"job timed out", r"timed? ?out after")),
)
_PATTERNS = tuple((code, retry, re.compile("|".join(parts), re.IGNORECASE)) for code, retry, parts in _KINDS)


@dataclass(frozen=True)
class Failure:
    """A failure, classified."""

    code: str
    retry: Retry
    message: str
    worker: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


def classify(error: object, details: object = None) -> Failure:
    """Read what stands under `error` (and `output.details`): a string, a JSON string, an object, or nothing."""
    body = _opened(error)
    ours = _ours(body)
    if ours is not None:
        return ours
    message = tidy(body.get("error_message") or body.get("message") or body.get("error") or "")
    traceback = str(body.get("error_traceback") or "").strip()
    more = "; ".join(tidy(item) for item in details[:10]) if isinstance(details, list) else tidy(details or "")
    kind = tidy(body.get("error_type") or body.get("code") or "")
    spoken = " ".join(part for part in (message, more) if part) or "the worker names no reason"
    # The traceback is asked last: its file names and locals mention much that did not happen.
    code, retry, what = (
        _kind(f"{kind} {spoken}") or _kind(traceback[-READ_CHARS:]) or ("job_failed", Retry.PERMANENT, "")
    )
    named = f"{code.replace('_', ' ')} {what}: " if what and what not in spoken[:WORDS] else ""
    detail: dict[str, Any] = {"error_type": kind} if kind else {}
    if what:
        detail["names"] = what
    if traceback:
        detail["traceback"] = [
            tidy(line)[:WORDS] for line in traceback.rsplit("\n", TRACEBACK_LINES)[-TRACEBACK_LINES:]
        ]
    return Failure(code, retry, (named + spoken)[:WORDS], tidy(body.get("worker_id") or "")[:100], detail)


def tidy(value: object) -> str:
    """Any value as one bounded line, fit to be shown."""
    return shown(value, READ_CHARS)


def _opened(error: object) -> Mapping[str, Any]:
    """The error as an object, however many times it was turned into a string on its way."""
    for _ in range(3):
        if isinstance(error, Mapping):
            return error
        if not isinstance(error, str) or not error.lstrip().startswith("{") or len(error) > 1_000_000:
            break
        try:
            error = json.loads(error)
        except (ValueError, RecursionError):
            break
    return {"message": error} if error else {}


def _ours(body: Mapping[str, Any]) -> Failure | None:
    """The failure as our worker's contract words it, or None."""
    try:
        found = wire.parse_failure(dict(body))
    except WireError:
        return None
    return Failure(found.code, Retry(found.retry), tidy(found.message)[:WORDS])


def _kind(text: str) -> tuple[str, Retry, str] | None:
    for code, retry, pattern in _PATTERNS:
        if match := pattern.search(text):
            return code, retry, next((group.strip() for group in match.groups() if group), "")
    return None
