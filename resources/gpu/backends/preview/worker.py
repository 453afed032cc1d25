"""The preview's worker process: `python -m resources.gpu.backends.preview.worker SPOOL SLOT IDLE_S HANDLE`.

HANDLE is the inherited file handle that holds the slot, so that the slot is taken before the process is up. Detached
from whoever started it: it outlives its caller, works the spool's queue one job at a time, and ends when it had nothing
to do for IDLE_S seconds. It needs no network, no model, no GPU.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from resources.gpu.backends.preview import lora
from resources.gpu.backends.preview.interpreter import ExecutionError, IdentityBook, run_workflow
from resources.gpu.backends.preview.spool import Spool

USD_PER_S = 0.0001  # nominal, so that money is real in a preview; RunPod lists an RTX 4090 at 0.00031 (2026-08)
POLL_S = 0.02


class Cancelled(Exception):
    """Somebody asked to stop the running job."""


def main(root: str, slot: str, idle_s: str, handle: str) -> int:
    """Work until idle, let the slot go, leave no queued job behind."""
    spool = Spool(Path(root))
    ready = time.time()
    held: int | None = int(handle)
    while held is not None:
        spool.sweep(int(slot))
        spool.prune()
        _work(spool, int(slot), float(idle_s), ready)
        os.close(held)
        held = _hold_again(spool, int(slot))
    return 0


def _hold_again(spool: Spool, slot: int) -> int | None:
    """The slot once more if a job came while it was let go; None if there is none, or another worker took over."""
    for _ in range(10):
        if not any((spool.root / "queue").glob("*.json")):
            return None
        handle = spool.hold(slot)
        if handle is not None:
            return handle
        time.sleep(POLL_S)  # somebody may only be looking who is alive
    return None


def _work(spool: Spool, slot: int, idle_s: float, ready: float) -> None:
    book = IdentityBook(spool.root / "identities")
    last = time.monotonic()
    while time.monotonic() - last < idle_s:
        claimed = spool.claim(slot)
        if claimed is None:
            time.sleep(POLL_S)
            continue
        attempt_id, body = claimed
        outcome = _execute(spool, attempt_id, body, book, ready)
        spool.finish(attempt_id, {**body, **outcome})
        last = time.monotonic()


def _execute(spool: Spool, attempt_id: str, body: dict[str, Any], book: IdentityBook, ready: float) -> dict[str, Any]:
    begun = time.time()
    waited = max(0.0, begun - body["queued_at"])
    cold = min(waited, max(0.0, ready - body["queued_at"]))
    times = {"cold_s": cold, "queue_s": waited - cold, "begun_at": begun}
    index: list[dict[str, str]] = []
    error: dict[str, Any] = {}
    try:
        index = spool.write_outputs(attempt_id, _run(spool, attempt_id, body, book))
    except Cancelled:
        error = {"state": "cancelled"}
    except ExecutionError as failure:
        error = {"state": "failed", "error_code": "execution_error", "error": str(failure), "detail": failure.as_dict()}
    except Exception as failure:  # noqa: BLE001  whatever a job does, the worker lives and says so
        traceback.print_exc()
        error = {"state": "failed", "error_code": "worker_error", "error": f"{type(failure).__name__}: {failure}"}
    exec_s = time.time() - begun
    return {"state": "succeeded", **times, "exec_s": exec_s, "cost_usd": exec_s * USD_PER_S, "outputs": index, **error}


def _run(spool: Spool, attempt_id: str, body: dict[str, Any], book: IdentityBook) -> list[tuple[str, bytes]]:
    if spool.is_cancelled(attempt_id):
        raise Cancelled
    spool.count_execution(attempt_id, body["fingerprint"])
    files: dict[str, dict[str, bytes]] = {"input": {}, "loras": {}, "dataset": {}}
    for item in body["inputs"]:
        files[item["folder"]][item["name"]] = (spool.root / "inputs" / item["sha256"]).read_bytes()
    total = max(1, len(body["outputs"]))

    def progressed(done: int, of: int = total) -> None:
        if not spool.note_progress(attempt_id, done / of):
            raise Cancelled

    if body["kind"] == "training":
        config = body["request"]
        data = lora.train(
            list(files["dataset"].values()),
            book=book,
            base_model=config["base_model"],
            trigger=config["trigger"],
            steps=config["steps"],
            rank=config["rank"],
            on_progress=progressed,
        )
        return [(f"{body['outputs'][0]['name']}.safetensors", data)]
    drawn = run_workflow(
        body["request"],
        files=files["input"],
        loras=files["loras"],
        book=book,
        lexicon=body["lexicon"],
        on_image=progressed,
    )
    return [(f"{image.filename_prefix}_{image.index:05d}_.png", image.png) for image in drawn]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
