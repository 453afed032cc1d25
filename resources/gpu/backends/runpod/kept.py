"""Answers that hold a result, kept from the look that brought them until the result is fetched.

A late progress update can put a finished job back to IN_PROGRESS (runpod-python #250), and its output is never told
again: what was seen once is not asked for twice. Bounded in bytes; what does not fit is asked for again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

MAX_BYTES = 64 * 1024 * 1024  # of one process: two of the largest answers that the client takes


class Kept:
    """Remote id -> status body. The service's thread puts, callers take."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[str, tuple[int, Mapping[str, Any]]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, remote_id: str, body: Mapping[str, Any]) -> None:
        """Keep it; the oldest ones make room, and what is too large by itself is not kept."""
        size = weight(body)
        with self._lock:
            self._drop(remote_id)
            if size > self._max_bytes:
                return
            self._bodies[remote_id] = (size, body)
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._bodies)))

    def get(self, remote_id: str) -> Mapping[str, Any] | None:
        """The body, if it is still here."""
        with self._lock:
            return self._bodies.get(remote_id, (0, None))[1]

    def drop(self, remote_id: str) -> None:
        """It was used."""
        with self._lock:
            self._drop(remote_id)

    def _drop(self, remote_id: str) -> None:
        self._bytes -= self._bodies.pop(remote_id, (0, None))[0]


def weight(value: object) -> int:
    """Roughly the bytes of a JSON value: its texts, and a little for everything else."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(key)) + weight(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(weight(item) for item in value)
    return 8
