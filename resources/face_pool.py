"""Files looked at by processes of their own: up to one a core, started as they pay, kept warm, ended with their owner.

Belongs here: the processes and who gets which file. What they do with it is `resources.face_worker`'s. Processes and no
threads, since a hostile file may end the process that looks at it, and since dlib holds the interpreter's lock; started
as a module of ours, not by multiprocessing, which would load the main module of a Dagster run (1.5 s) in each of them.
"""

from __future__ import annotations

import contextlib
import functools
import math
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
from resources.identity import ScorerUnavailable, Seen

# A process starts and loads in the CPU time of about as many pictures of 1024 px: another one is started for every so
# many files that were asked for, so that what is spent on starting never exceeds what is spent on looking.
FILES_A_START = 4
TRIES = 2  # processes that a file may end before it is given up: the first may have been ended by something else
_END_WITHIN_S = 10.0  # a process that was told to end may first finish the slowest look
_ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class FacePool:
    """Processes that look at files. About 100 MB each; they end at `close`, with this object, or with this process."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or cores()
        self._asked = 0
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._started: list[_Process] = []
        self._guard = threading.Lock()
        self._ending = weakref.finalize(self, _end_all, self._started)

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """What is in each file, in their order. A file that ends its process is told as `crashed`, and is no error.

        Raises ScorerUnavailable where they do not come to life.
        """
        if not files:
            return []
        with self._guard:  # one caller at a time: two would only share the same cores
            self._asked += len(files)
            while len(self._started) < min(self.size, len(files), math.ceil(self._asked / FILES_A_START)):
                self._free.put(self._start())
            try:
                with ThreadPoolExecutor(len(self._started)) as threads:
                    return list(threads.map(self._see, files))
            except ScorerUnavailable:
                self._end()
                raise

    def close(self) -> None:
        """End the processes; the next `see_all` starts new ones."""
        with self._guard:
            self._end()

    def _end(self) -> None:
        _end_all(self._started)
        self._free = queue.SimpleQueue()

    def _see(self, data: bytes) -> Seen:
        process = self._free.get()
        try:
            for _ in range(TRIES):
                seen = process.see(data)
                if seen is not None:
                    return seen
                process.end()
                self._started.remove(process)
                process = self._start()
            return Seen("", rejected="crashed")
        finally:
            self._free.put(process)

    def _start(self) -> _Process:
        process = _Process()
        self._started.append(process)
        return process


@functools.cache
def shared_pool() -> FacePool:
    """The one of this process: two would share the same cores. It stays warm from one set of pictures to the next."""
    return FacePool()


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
        self._loaded = False

    def see(self, data: bytes) -> Seen | None:
        """What is in the file; None if the process died of it. Raises ScorerUnavailable if it never came to life."""
        if not self._loaded and read_frame(self._from) is None:
            raise ScorerUnavailable(
                f"a process that looks at pictures ended with {self._popen.wait()} before it looked at any"
            )
        self._loaded = True
        try:
            write_frame(self._to, data)
            answer = read_frame(self._from)
        except OSError:
            return None
        return None if answer is None else decode_answer(answer)

    def hang_up(self) -> None:
        """Tell it to end."""
        with contextlib.suppress(OSError):  # it is gone already, with bytes of ours in the pipe
            self._to.close()

    def end(self) -> None:
        """Tell it to end, and wait until it is gone."""
        self.hang_up()
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
    for process in processes:
        process.hang_up()
    while processes:
        processes.pop().end()
