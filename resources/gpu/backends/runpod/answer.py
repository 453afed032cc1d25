"""Reading an answer of the jobs API whole: within a size, as JSON where it is some, and with words fit to be shown.

Belongs here: bytes of one response. Not here: what an answer's status means (`client`), nor what a job's body does.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod.redaction import shown, without_key

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES = 32 * 1024 * 1024  # results of 20 MB are documented, 25 MB of base64 were seen
LARGE_BYTES = 256 * 1024  # answers above it are read one at a time: memory stays bounded whatever comes back
SHOWN_CHARS = 500  # of a body in a message


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole; `body` is JSON where it is an object, `text` what a person may be shown."""

    status: int
    body: dict[str, Any] | None = field(repr=False)
    text: str


class Answers:
    """Reads all answers of one client, in one event loop. `key` is what no text may show."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._large = asyncio.Semaphore(1)

    async def read(self, response: httpx.Response, place: str) -> Answer:
        """The whole body; a large one when no other large one is being read. Raises BackendUnavailable: too large."""
        body = bytearray()
        chunks = response.aiter_bytes(64 * 1024)
        async for chunk in chunks:
            body += chunk
            if len(body) > LARGE_BYTES:
                break
        else:
            return self._understood(response, body)
        async with self._large:
            async for chunk in chunks:
                body += chunk
                if len(body) > ANSWER_BYTES:
                    raise BackendUnavailable(
                        f"{place} sends more than {ANSWER_BYTES} bytes.",
                        code="answer_too_large",
                        retry=Retry.FATAL,
                        way_out="Let the worker put its results into the store (RUNPOD_WORKER=ryla, or its BUCKET_* "
                        "settings).",
                    )
            return self._understood(response, body)

    def _understood(self, response: httpx.Response, body: bytearray) -> Answer:
        try:
            found = json.loads(without_key(body, self._key))
        except (ValueError, RecursionError):
            found = None
        text = "" if isinstance(found, dict) and response.is_success else shown(body, SHOWN_CHARS, self._key)
        return Answer(response.status_code, found if isinstance(found, dict) else None, f": {text}" if text else "")
