"""A contestant: a program in a process of its own that gets its orders in a file, says `ready`, waits for `go`, and
tells at the end what it did, as one line of JSON.

Belongs here: both ends of that talk. What is done between `go` and the end is the programs'.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
START_S = 60.0


class Contestant:
    """One started program; end it by leaving the context."""

    def __init__(self, command: Sequence[str], orders: dict[str, Any], folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        place = folder / "orders.json"
        place.write_text(json.dumps({**orders, "folder": str(folder)}))
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [*command, str(place)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def ready(self) -> Contestant:
        """Wait until it has loaded what it needs."""
        if (line := self._next(START_S)) != "ready":
            raise RuntimeError(f"it says {line!r} instead of ready; {self._last_words()}")
        return self

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def told(self, within_s: float) -> dict[str, Any]:
        """What it did. Raises RuntimeError with its last words if it does not say."""
        line = self._next(within_s)
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            raise RuntimeError(f"it says {line!r}; {self._last_words()}") from None
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed while we read
            for line in self._process.stdout:
                self._lines.put(line.strip())
        self._lines.put("")

    def _next(self, within_s: float) -> str:
        try:
            return self._lines.get(timeout=within_s)
        except queue.Empty:
            raise RuntimeError(f"nothing in {within_s:.0f} s; {self._last_words()}") from None

    def _last_words(self) -> str:
        self._log.flush()
        return (self.folder / "log").read_text()[-1500:]


def orders() -> dict[str, Any]:
    """The program's own: what it was ordered to do."""
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return found


def perform(work: Callable[[], None], story: Callable[[], dict[str, Any]]) -> None:
    """The program's own: be ready, wait for `go`, work, tell. `seconds` are those of `work` alone."""
    out = sys.stdout
    out.write("ready\n")
    out.flush()
    if sys.stdin.readline().strip() != "go":
        return
    begun = time.monotonic()
    work()
    seconds = time.monotonic() - begun
    out.write(json.dumps({"seconds": seconds, **story()}) + "\n")
    out.flush()
