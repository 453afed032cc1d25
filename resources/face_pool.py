"""Many files scored at once: one process a core, started when first needed, ended with their owner.

Belongs here: the processes and who gets which file. What they do with it is `resources.face_worker`'s. Processes and no
threads, since dlib's embedding holds the interpreter's lock; and started as a module of ours, not by multiprocessing,
which would load the main module of a Dagster run (1.5 s) in each of them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from resources.face_worker import decode_answer, read_frame, write_frame
from resources.identity import Seen

FEW = 8  # fewer files are done sooner without: a process takes 0.5-1 s to start and load, a file 0.15-0.3 s
_END_WITHIN_S = 10.0  # a process that was told to end may first finish the slowest look
_ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class FacePool:
    """Processes that look at files. About 100 MB each; they end at `close`, with this object, or with this process."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or cores()
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._started: list[_Process] = []
        self._guard = threading.Lock()
        self._ending = weakref.finalize(self, _end_all, self._started)

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """What is in each file, in their order. A file that kills its process is told as `crashed`, and is no error."""
        if not files:
            return []
        with self._guard:  # one caller at a time: two would only share the same cores
            while len(self._started) < min(self.size, len(files)):
                self._free.put(self._start())
            with ThreadPoolExecutor(len(self._started)) as threads:
                return list(threads.map(self._see, files))

    def close(self) -> None:
        """End the processes; the next `see_all` starts new ones."""
        with self._guard:
            _end_all(self._started)
            self._free = queue.SimpleQueue()

    def _see(self, data: bytes) -> Seen:
        process = self._free.get()
        seen = process.see(data)
        if seen is None:
            process.end()
            self._started.remove(process)
            process = self._start()
        self._free.put(process)
        return seen or Seen("", rejected="crashed")

    def _start(self) -> _Process:
        process = _Process()
        self._started.append(process)
        return process


class _Process:
    """One worker, asked one file at a time."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "resources.face_worker"],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, **_ONE_CORE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is its parent's to answer; then stdin ends
        )
        self._to, self._from = _pipe(self._popen.stdin), _pipe(self._popen.stdout)

    def see(self, data: bytes) -> Seen | None:
        """What is in the file; None if the process died of it."""
        try:
            write_frame(self._to, data)
            answer = read_frame(self._from)
        except OSError:
            return None
        return None if answer is None else decode_answer(answer)

    def end(self) -> None:
        """Close its stdin, and wait until it is gone."""
        with contextlib.suppress(OSError):  # it is gone already, with bytes of ours in the pipe
            self._to.close()
        try:
            self._popen.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._from.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a process was started without its pipes")
    return stream


def _end_all(processes: list[_Process]) -> None:
    while processes:
        processes.pop().end()
