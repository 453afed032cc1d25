"""Reading an answer of the jobs API whole: within a size, as JSON where it is some, and with words fit to be shown.

Belongs here: bytes of one response. Not here: what an answer's status means (`client`), nor what a job's body does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod.redaction import shown, without_key

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES = 32 * 1024 * 1024  # results of 20 MB are documented, 25 MB of base64 were seen
ANSWER_S = 120.0  # one whole answer, however slowly it drips
LARGE_BYTES = 256 * 1024  # answers above it share a room: memory stays bounded whatever comes back
ROOM_BYTES = 3 * ANSWER_BYTES
SHOWN_CHARS = 500  # of a body in a message


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole; `body` is JSON where it is an object, `text` what a person may be shown."""

    status: int
    body: dict[str, Any] | None = field(repr=False)
    text: str


class Room:
    """Bytes that large answers may take together; who comes first is served first. Lives in one event loop."""

    def __init__(self) -> None:
        self._free = ROOM_BYTES
        self._line = asyncio.Lock()
        self._left = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for so many bytes, at most ROOM_BYTES, and hold them."""
        async with self._line:
            while self._free < size:
                self._left.clear()
                await self._left.wait()
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._left.set()


class Answers:
    """Reads all answers of one client, in one event loop. `key` is what no text may show."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._room = Room()

    async def read(self, response: httpx.Response, place: str, clock: asyncio.Timeout) -> Answer:
        """The whole body; a large one when there is room for it, until when `clock`, its time limit, stands still.

        Raises BackendUnavailable for one that is too large.
        """
        body = bytearray()
        chunks = response.aiter_bytes(64 * 1024)
        async for chunk in chunks:
            body += chunk
            if len(body) > LARGE_BYTES:
                break
        else:
            return self._understood(response, body)
        most = _declared(response)
        if most > ANSWER_BYTES:
            raise _too_large(place)
        clock.reschedule(None)
        async with self._room.taken(most):
            clock.reschedule(asyncio.get_running_loop().time() + ANSWER_S)
            async for chunk in chunks:
                body += chunk
                if len(body) > most:
                    raise _too_large(place)
            return self._understood(response, body)

    def _understood(self, response: httpx.Response, body: bytearray) -> Answer:
        try:
            found = json.loads(without_key(body, self._key))
        except (ValueError, RecursionError):
            found = None
        text = "" if isinstance(found, dict) and response.is_success else shown(body, SHOWN_CHARS, self._key)
        return Answer(response.status_code, found if isinstance(found, dict) else None, f": {text}" if text else "")


def _declared(response: httpx.Response) -> int:
    """How many bytes a body will have by its own word, or may have where it gives none."""
    length = response.headers.get("content-length", "")
    plain = "content-encoding" not in response.headers
    return int(length) if plain and length.isdigit() and len(length) < 12 else ANSWER_BYTES


def _too_large(place: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{place} sends more than {ANSWER_BYTES} bytes.",
        code="answer_too_large",
        retry=Retry.FATAL,
        way_out="Let the worker put its results into the store (RUNPOD_WORKER=ryla, or its BUCKET_* settings).",
    )
