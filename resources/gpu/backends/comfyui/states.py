"""What ComfyUI's history says about a finished prompt, as a RemoteStatus. No HTTP.

`messages` are believed before `status_str`: the executor keeps its success flag from one prompt to the next, and a
fault found before the first node leaves the old flag standing (ComfyUI execution.py, 0.13.0 and 0.18.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resources.gpu.backend import RemoteStatus

_OUT_OF_MEMORY = "OutOfMemoryError"  # the server unloads all models after one: a second try may have room
_TRACEBACK_LINES = 5


def finished(entry: Mapping[str, Any]) -> RemoteStatus:
    """The state and times of a prompt from its history entry."""
    status = entry.get("status") or {}
    messages: dict[str, Mapping[str, Any]] = {str(kind): data for kind, data in status.get("messages") or ()}
    queue_s, exec_s = _times(entry, messages)
    ended = RemoteStatus("succeeded", queue_s=queue_s, exec_s=exec_s, progress=1.0)
    if (failure := messages.get("execution_error")) is not None:
        error, detail = _words(failure), _detail(failure)
        return replace(ended, state="failed", error_code="execution_error", error=error, detail=detail)
    if (stopped := messages.get("execution_interrupted")) is not None:
        error = f"interrupted at node {stopped.get('node_id')} ({stopped.get('node_type')})"
        return replace(ended, state="cancelled", error=error)
    if "execution_success" in messages or status.get("status_str") == "success":
        return ended
    return replace(ended, state="failed", error_code="execution_error", error="ComfyUI names no reason")


def _times(entry: Mapping[str, Any], messages: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Seconds queued and executing, all by the server's clock: from its receipt of the prompt, from start to end."""
    stamps = [float(data["timestamp"]) / 1000 for data in messages.values() if data.get("timestamp")]
    if not stamps:
        return 0.0, 0.0
    prompt: Sequence[Any] = entry.get("prompt") or []
    extra = prompt[3] if len(prompt) > 3 else {}  # number, id, graph, extra_data, outputs
    received = float(extra.get("create_time") or 0) / 1000 or stamps[0]
    return max(0.0, stamps[0] - received), max(0.0, stamps[-1] - stamps[0])


def _words(failure: Mapping[str, Any]) -> str:
    """Node, class and ComfyUI's own words."""
    words = str(failure.get("exception_message", "")).strip()
    return f"node {failure.get('node_id')} ({failure.get('node_type')}): {failure.get('exception_type')}: {words}"


def _detail(failure: Mapping[str, Any]) -> dict[str, Any]:
    detail = {key: failure.get(key) for key in ("node_id", "node_type", "exception_type", "exception_message")}
    detail["traceback"] = [str(line) for line in failure.get("traceback") or ()][-_TRACEBACK_LINES:]
    if str(failure.get("exception_type", "")).rpartition(".")[2] == _OUT_OF_MEMORY:
        detail["retry"] = "transient"
    return detail
