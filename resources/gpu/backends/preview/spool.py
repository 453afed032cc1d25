"""The preview's spool: a folder in which jobs wait, run and end, shared by callers and detached workers.

    queue/ID.json -> running/SLOT/ID.json -> done/ID.json     moved by rename, so exactly one process wins; never back
    inputs/SHA  outputs/ID/N  progress/ID  cancelled/ID  workers/SLOT.lock  executions.jsonl  worker.log

Everything here survives the process that wrote it. No drawing, no ledger, no ComfyUI in this module.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEEP_S = 86_400.0  # finished jobs stay fetchable for a day; RunPod keeps results for 30 minutes
_FOLDERS = ("queue", "running", "done", "inputs", "outputs", "cancelled", "workers", "progress")


class Spool:
    """The folder and its few atomic moves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folders."""
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    # ---- callers

    def put_input(self, sha256: str, data: bytes) -> None:
        """Keep an input's bytes under their hash."""
        path = self.root / "inputs" / sha256
        if not path.exists():
            _write(path, data)

    def enqueue(self, attempt_id: str, request: dict[str, Any]) -> None:
        """Queue a request; visible all at once or not at all."""
        body = {**request, "queued_at": time.time()}
        _write(self.root / "queue" / f"{attempt_id}.json", json.dumps(body).encode())

    def where(self, attempt_id: str) -> str | None:
        """`queue`, `running`, `done`, or None for an id that never arrived (or was pruned)."""
        for state in ("queue", "running", "done"):  # in the order of the moves: none can slip between two looks
            if self._path(state, attempt_id).exists():
                return state
        return None

    def read(self, state: str, attempt_id: str) -> dict[str, Any] | None:
        """The job's file in that state, or None if it moved on meanwhile."""
        try:
            body: dict[str, Any] = json.loads(self._path(state, attempt_id).read_bytes())
        except FileNotFoundError:
            return None
        return body

    def progress(self, attempt_id: str) -> float:
        """How much of a running job is drawn, 0..1."""
        try:
            return float((self.root / "progress" / attempt_id).read_text() or 0)
        except (FileNotFoundError, ValueError):
            return 0.0

    def cancel(self, attempt_id: str) -> None:
        """Take a queued job out; ask the worker of a running one to stop."""
        if self.where(attempt_id) in (None, "done"):
            return
        (self.root / "cancelled" / attempt_id).touch()
        mine = self.root / "running" / "cancelling" / f"{attempt_id}.json"
        mine.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it is not in the queue: its worker sees the mark
            self._path("queue", attempt_id).rename(mine)
            body = json.loads(mine.read_bytes())
            self.finish(attempt_id, {**body, "state": "cancelled", "queue_s": time.time() - body["queued_at"]})

    def outputs(self, attempt_id: str) -> list[tuple[str, bytes]]:
        """(name, bytes) of every output of a done job, in order. Raises FileNotFoundError if any is gone."""
        body = json.loads(self._path("done", attempt_id).read_bytes())
        folder = self.root / "outputs" / attempt_id
        return [(entry["name"], (folder / entry["file"]).read_bytes()) for entry in body.get("outputs", [])]

    def executions(self) -> Counter[str]:
        """How often each fingerprint was executed: the workers' own count."""
        try:
            lines = (self.root / "executions.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return Counter()
        return Counter(json.loads(line)["fingerprint"] for line in lines)

    def free_slots(self, slots: int) -> list[int]:
        """The worker slots that no live worker holds."""
        free = []
        for slot in range(slots):
            with self.slot(slot) as held:
                if held:
                    free.append(slot)
        return free

    def reap(self) -> None:
        """Report jobs as lost whose worker died under them."""
        for slot in [int(path.name) for path in (self.root / "running").iterdir() if path.name.isdigit()]:
            with self.slot(slot) as held:
                if held:
                    self.sweep(slot)

    def waiting(self) -> int:
        """How many jobs are queued or running."""
        return sum(1 for pattern in ("queue/*.json", "running/*/*.json") for _ in self.root.glob(pattern))

    # ---- workers

    def hold(self, slot: int) -> int | None:
        """Lock a worker slot; returns the file handle that holds it, or None if a live process has it.

        The slot is free again when every copy of the handle is closed: a worker inherits the one of who started it.
        """
        handle = os.open(self.root / "workers" / f"{slot}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    @contextlib.contextmanager
    def slot(self, slot: int) -> Iterator[bool]:
        """Hold a worker slot while the block runs; yields False if a live process has it."""
        handle = self.hold(slot)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                os.close(handle)

    def claim(self, slot: int) -> tuple[str, dict[str, Any]] | None:
        """Take the oldest queued job; None if there is none."""
        mine = self.root / "running" / str(slot)
        mine.mkdir(exist_ok=True)
        for path in sorted((self.root / "queue").glob("*.json"), key=_age):
            try:
                path.rename(mine / path.name)
            except FileNotFoundError:
                continue  # another worker was faster
            body: dict[str, Any] = json.loads((mine / path.name).read_bytes())
            return path.stem, body
        return None

    def count_execution(self, attempt_id: str, fingerprint: str) -> None:
        """Write down that an execution begins."""
        line = json.dumps({"fingerprint": fingerprint, "attempt": attempt_id, "at": time.time()}) + "\n"
        with (self.root / "executions.jsonl").open("a") as out:
            out.write(line)

    def note_progress(self, attempt_id: str, fraction: float) -> bool:
        """Publish progress; returns False if the job was cancelled meanwhile."""
        (self.root / "progress" / attempt_id).write_text(f"{fraction:.4f}")
        return not self.is_cancelled(attempt_id)

    def is_cancelled(self, attempt_id: str) -> bool:
        """True once somebody asked to stop the job."""
        return (self.root / "cancelled" / attempt_id).exists()

    def write_outputs(self, attempt_id: str, outputs: list[tuple[str, bytes]]) -> list[dict[str, str]]:
        """Keep a job's outputs; returns their index for the done file."""
        folder = self.root / "outputs" / attempt_id
        folder.mkdir(parents=True, exist_ok=True)
        index = []
        for number, (name, data) in enumerate(outputs):
            (folder / str(number)).write_bytes(data)
            index.append({"name": name, "file": str(number)})
        return index

    def finish(self, attempt_id: str, body: dict[str, Any]) -> None:
        """Move a running job to done with its outcome."""
        _write(self._path("done", attempt_id), json.dumps(body).encode())
        self._path("running", attempt_id).unlink(missing_ok=True)
        (self.root / "progress" / attempt_id).unlink(missing_ok=True)

    def sweep(self, slot: int) -> None:
        """Called by a slot's new holder: whatever the old holder was running is lost."""
        for path in (self.root / "running" / str(slot)).glob("*.json"):
            body = json.loads(path.read_bytes())
            lost = {"state": "lost", "error_code": "worker_lost", "error": "the preview worker died during the job"}
            self.finish(path.stem, {**body, **lost})

    def prune(self) -> None:
        """Forget what ended more than KEEP_S ago."""
        for path in (self.root / "done").glob("*.json"):
            if _age(path) < time.time() - KEEP_S:
                shutil.rmtree(self.root / "outputs" / path.stem, ignore_errors=True)
                (self.root / "cancelled" / path.stem).unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def _path(self, state: str, attempt_id: str) -> Path:
        if state == "running":
            for slot in (self.root / "running").iterdir():
                if (slot / f"{attempt_id}.json").exists():
                    return slot / f"{attempt_id}.json"
        return self.root / state / f"{attempt_id}.json"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{uuid.uuid4().hex}.part")  # never *.json: a half-written job must not be claimed
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
