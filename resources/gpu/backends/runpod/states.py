"""What RunPod's status body says about one job, as a RemoteStatus. No HTTP, no money, no memory.

Source: RunPod docs, operation reference and job states. Three traps are read here: COMPLETED is not success (no
output at all where the result was too large, `success_no_images`, pictures beside errors); while IN_PROGRESS `output`
is the last progress update and never a result; and a status that no page names is no end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resources.gpu.backend import RemoteState, RemoteStatus
from resources.gpu.backends.runpod.failures import TIMED_OUT, WORDS, classify, tidy

log = logging.getLogger(__name__)

_OPEN: Mapping[str, RemoteState] = {"IN_QUEUE": "queued", "IN_PROGRESS": "running", "RUNNING": "running"}
_LIMITS = "RunPod takes results of 10 MB (20 MB sync)"
_MS_MAX = 7 * 86_400_000.0  # the longest that a job can live (RunPod docs, execution policies)


def read_status(body: Mapping[str, Any]) -> RemoteStatus:
    """State, times, worker and failure; what a result must hold is the contract's business (`judged`).

    `cost_usd` is None: a body names no price. `detail["retry"]` says what another attempt is worth.
    """
    word = tidy(body.get("status") or "")[:40]
    delay_s, exec_s = seconds(body.get("delayTime")), seconds(body.get("executionTime"))
    known = RemoteStatus(
        "queued", queue_s=delay_s, exec_s=exec_s, cost_usd=None, worker=tidy(body.get("workerId") or "")[:100]
    )
    if word in _OPEN:
        return replace(known, state=_OPEN[word], progress=progress(body.get("output")) if word != "IN_QUEUE" else 0.0)
    if word == "COMPLETED":
        return replace(known, state="succeeded", progress=1.0)
    if word == "FAILED":
        return _failed(known, body)
    if word == "CANCELLED":
        return replace(known, state="cancelled", error="cancelled at RunPod", error_code="cancelled")
    if word == "TIMED_OUT":
        error = "TIMED_OUT at RunPod: it expired before a worker took it, ran past its limit, or its worker went silent"
        return failed(known, TIMED_OUT, error, "transient")
    log.warning("RunPod says %r, which no documented state is; it is taken for one that will end.", word)
    running = exec_s > 0 or bool(known.worker)
    return replace(known, state="running" if running else "queued", detail={"unknown_status": word})


def failed(known: RemoteStatus, code: str, error: str, retry: str, **detail: Any) -> RemoteStatus:
    """The same job as one that failed; `error` may hold words of a worker's."""
    return replace(
        known,
        state="failed",
        error_code=code,
        error=tidy(error)[:WORDS],
        progress=0.0,
        detail={**known.detail, **detail, "retry": retry},
    )


def result_lost(known: RemoteStatus) -> RemoteStatus:
    """COMPLETED without `output`: the worker made it, and it did not get through."""
    return failed(
        known,
        "result_lost",
        f"COMPLETED without an output: the worker's result did not get through, most often for its size. {_LIMITS}, "
        "7.5 MB of pictures: fewer pictures a job, or results in a store (RUNPOD_WORKER=ryla)",
        "permanent",
    )


def judge_images(known: RemoteStatus, output: object, expected: Sequence[str], names: Sequence[str]) -> RemoteStatus:
    """A COMPLETED job of worker-comfyui: what its `output` lacks (worker-comfyui 5.8.5, handler and README).

    `expected` are the names asked for (empty: not known here, `accept` counts them), `names` those that came back.
    """
    if output is None:
        return result_lost(known)
    if not isinstance(output, Mapping):
        return failed(known, "wrong_output", f"output is {type(output).__name__}, not worker-comfyui's", "permanent")
    if "images" not in output and "message" in output:
        return failed(
            known,
            "worker_too_old",
            "output.message is how worker-comfyui before 5.0.0 answered; this client reads output.images. "
            "Use runpod/worker-comfyui:5.8.6-base or newer",
            "permanent",
        )
    errors = output.get("errors")
    said = [tidy(item)[:300] for item in errors[:10]] if isinstance(errors, list) else [tidy(errors)] if errors else []
    missing = sorted(set(expected) - set(names))
    if names and not missing:
        return replace(known, detail={**known.detail, "errors": said}) if said else known
    why = classify("; ".join(said)) if said else None
    if not names:
        status = tidy(output.get("status") or "")
        error = f"COMPLETED without a picture{f' ({status})' if status else ''}{': ' + why.message if why else ''}"
        code, retry = ("no_images", "permanent") if why is None else (why.code, why.retry.value)
        return failed(known, code, error, retry, errors=said)
    error = f"{len(names)} of {len(expected)} pictures came back, without {', '.join(missing)}"
    if why is None:
        return failed(known, "missing_output", error, "transient")
    return failed(known, "partial", f"{error}: {why.message}", why.retry.value, errors=said)


def seconds(milliseconds: object) -> float:
    """A time in ms as seconds; 0 for what is no time."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return 0.0
    return min(_MS_MAX, milliseconds) / 1000 if milliseconds > 0 else 0.0  # NaN is not greater either


def progress(update: object) -> float:
    """0..1 from a progress update: a fraction, {"progress": f}, {"percent": p} or {"value", "max"}; else 0."""
    if not isinstance(update, Mapping):
        return min(1.0, max(0.0, _number(update)))
    if (most := _number(update.get("max"))) > 0:
        return min(1.0, max(0.0, _number(update.get("value")) / most))
    return min(1.0, max(0.0, _number(update.get("percent")) / 100 or _number(update.get("progress"))))


def _number(value: object) -> float:
    """A finite number of a sane size, or 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:
        return 0.0
    return float(value)


def _failed(known: RemoteStatus, body: Mapping[str, Any]) -> RemoteStatus:
    output = body.get("output")
    details = output.get("details") if isinstance(output, Mapping) else None
    error = body.get("error")
    if error is None and isinstance(output, Mapping):
        error = output.get("error")
    why = classify(error, details)
    known = replace(known, worker=known.worker or why.worker)
    return failed(known, why.code, why.message, why.retry.value, **why.detail)
