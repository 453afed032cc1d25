"""Webhooks: RunPod says that a job moved. It is believed in nothing; the poller is woken, and asks RunPod itself.

Belongs here: what a stranger may send to us, and how little of it is used. The path's token says which attempt is
meant; of the body only its `id` is read, as a claim for an attempt whose submission was never answered. RunPod signs
nothing and tries again twice, ten seconds apart, so a call may be missing, doubled, early or forged.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from resources.gpu.ledger import Ledger

MAX_BODY = 64 * 1024  # bytes that are read; a finished job's body holds its whole output, which nobody needs here
PER_SECOND = 50.0  # calls that reach the database, per process; 200 jobs that end together are told within 4 s
BURST = 200.0
_ATTEMPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,100}")
_CLAIM = re.compile(r"[A-Za-z0-9-]{1,100}")
_CLAIM_IN_PART = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9-]{1,100})"')  # RunPod sorts its keys: `id` before `output`
_SECRET_PATHS = re.compile(r"(/webhooks/runpod/[^/]*/|/g/[^/]*/|/t/)[^/?\s]+")


class Rate:
    """A bucket of calls: as many as `burst` at once, `per_second` in the long run."""

    def __init__(
        self, per_second: float = PER_SECOND, burst: float = BURST, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = burst, clock()

    def allowed(self) -> bool:
        """Take one call out of it, if there is one left."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Webhooks:
    """The receiver, on one ledger."""

    def __init__(self, ledger: Ledger, *, rate: Rate | None = None) -> None:
        self.ledger = ledger
        self.rate = rate or Rate()

    def routes(self) -> list[Route]:
        """POST /webhooks/runpod/{attempt_id}/{token}; every other method is answered 405."""
        return [Route("/webhooks/runpod/{attempt_id}/{token}", self.runpod, methods=["POST"])]

    async def runpod(self, request: Request) -> Response:
        """204 where attempt and token belong together, however often; 404 for all else, without saying which."""
        attempt_id, token = request.path_params["attempt_id"], request.path_params["token"]
        if not (_ATTEMPT.fullmatch(attempt_id) and _TOKEN.fullmatch(token)):
            return Response(status_code=404)
        if not self.rate.allowed():
            return Response(status_code=429, headers={"Retry-After": "10"})
        claim = await claimed(request)
        known = await run_in_threadpool(self.ledger.wake, attempt_id, token, claim)
        return Response(status_code=204 if known else 404)


async def claimed(request: Request) -> str | None:
    """The job's id as the body says it; None for whatever is not one. At most MAX_BODY bytes are kept."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk[: MAX_BODY - len(body)]
            if len(body) >= MAX_BODY:
                break
    except ClientDisconnect:
        return None
    if len(body) >= MAX_BODY:
        part = _CLAIM_IN_PART.search(body)
        return part[1].decode() if part else None
    try:
        said = json.loads(bytes(body))
    except (ValueError, RecursionError):
        return None
    name = said.get("id") if isinstance(said, dict) else None
    return name if isinstance(name, str) and _CLAIM.fullmatch(name) else None


class WithoutTokens(logging.Filter):
    """Takes the capability tokens out of an ASGI server's access log, whoever switched that on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every line is kept; the paths in it lose their last, secret part."""
        if isinstance(record.args, tuple):
            record.args = tuple(hidden(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def hidden(path: str) -> str:
    """A path without what opens it."""
    return _SECRET_PATHS.sub(r"\1…", path)


def quiet_access_log() -> None:
    """Have uvicorn's access log tell no tokens; it may be called again."""
    log = logging.getLogger("uvicorn.access")
    if not any(isinstance(one, WithoutTokens) for one in log.filters):
        log.addFilter(WithoutTokens())
