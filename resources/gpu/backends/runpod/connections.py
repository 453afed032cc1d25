"""Many small connection pools instead of one large one.

httpx's pool looks at each of its connections for each request that begins or ends: with 16 requests under way one pool
was measured at 4.4 ms of CPU a request, and pools of two connections at 1.6 ms (httpx 0.28.1, httpcore 1.0.9). A fifth
of the rest went into httpcore looking for a package that is not installed, four times a request.
Belongs here: which pool takes the next request. What is asked is the client's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

EACH = 2  # requests under way in one pool before another one is opened
POOLS = 100  # together as many as the quotas allow at once (RunPod docs: 200 submissions)


class Connections:
    """Pools that are opened as they are needed; the one with the least to do takes the next request."""

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        _spare_the_search("sniffio")
        self._make = make
        self._busy: dict[httpx.AsyncClient, int] = {}

    @contextmanager
    def lease(self) -> Iterator[httpx.AsyncClient]:
        """A client for one request."""
        client = next((known for known, busy in self._busy.items() if busy < EACH), None)
        if client is None:
            client = self._make() if len(self._busy) < POOLS else min(self._busy, key=self._busy.__getitem__)
        self._busy[client] = self._busy.get(client, 0) + 1
        try:
            yield client
        finally:
            self._busy[client] -= 1

    async def aclose(self) -> None:
        """Close all pools."""
        while self._busy:
            await self._busy.popitem()[0].aclose()


def _spare_the_search(package: str) -> None:
    """Let imports of a package that is not installed fail at once (None in sys.modules), instead of searching anew."""
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        sys.modules[package] = None  # type: ignore[assignment]
