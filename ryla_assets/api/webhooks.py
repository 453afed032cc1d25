"""Webhooks: RunPod says that a job moved. It is believed in nothing; the poller is woken, and asks RunPod itself.

Belongs here: what a stranger may send to us, and how little of it is used. The path's token says which attempt is
meant, and is checked before anything is read; of the body only its `id` is used, as a claim for an attempt whose
submission was never answered. RunPod signs nothing and tries again twice, ten seconds apart, unless it is answered 200:
so a call may be missing, doubled, early or forged. How long a sender may take over its headers is the proxy's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from resources.gpu.books import Books
from resources.gpu.ledger import Ledger

MAX_BODY = 64 * 1024  # bytes that are kept; a finished job's body holds its whole output, which nobody needs here
BODY_S = 5.0  # seconds in which it must come; who is slower has woken us all the same
PER_SECOND, BURST = 50.0, 200.0  # wakes that are written, per process; 200 jobs that end together are told within 4 s
OWN_PER_SECOND, OWN_BURST = 0.2, 6.0  # of one attempt: RunPod calls three times at most
LOOKS_PER_SECOND, LOOKS_BURST = 5.0, 20.0  # looks for new tokens, whoever asks: a query over what was begun since
AGE_S = 24 * 3600.0  # an attempt is told of so long: the longest that RunPod keeps a job unless it is asked to
OVERLAP_S = 60.0  # by which looks overlap: commits come late, and clocks of machines differ
MOST_TOKENS = 20_000  # attempts that are known at a time, the newest; others are polled
_ATTEMPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,100}")
_CLAIM = re.compile(r"[A-Za-z0-9-]{1,100}")
_CLAIM_IN_PART = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9-]{1,100})"')  # RunPod sorts its keys: `id` before `output`
_SECRET_PATHS = re.compile(r"(/webhooks/runpod/[^/]*/|/g/[^/]*/|/t/)[^/?\s]+")


class Rate:
    """A bucket of calls: as many as `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
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


@dataclass(frozen=True)
class Hook:
    """An attempt's token, and how often it may still wake us."""

    token: str
    calls: Rate = field(default_factory=lambda: Rate(OWN_PER_SECOND, OWN_BURST))


class Hooks:
    """The tokens of attempts that were begun in the last AGE_S, in memory.

    Whatever a stranger sends is compared with them; the database is asked what was begun since, LOOKS_PER_SECOND times
    at most. So garbage costs no query of its own, and takes nothing from calls that know their token.
    """

    def __init__(self, books: Books, *, looks: Rate | None = None) -> None:
        self._books = books
        self._looks = looks or Rate(LOOKS_PER_SECOND, LOOKS_BURST)
        self._known: dict[str, Hook] = {}  # in the order in which they were begun
        self._seen_until = 0.0  # by the ledger's clock
        self._looking = asyncio.Lock()

    async def hook(self, attempt_id: str, token: str) -> Hook | None:
        """The attempt's hook if that is its token, else None."""
        if attempt_id not in self._known and self._looks.allowed():
            async with self._looking:
                if attempt_id not in self._known:  # another call's look may have brought it
                    await run_in_threadpool(self._look)
        found = self._known.get(attempt_id)
        return found if found and hmac.compare_digest(found.token.encode(), token.encode()) else None

    def _look(self) -> None:
        now = self._books.clock()
        since = max(now - AGE_S, self._seen_until - OVERLAP_S)
        for attempt_id, token in self._books.tokens(since=since, limit=MOST_TOKENS).items():
            self._known.setdefault(attempt_id, Hook(token))
        self._seen_until = now
        for attempt_id in list(self._known)[: max(0, len(self._known) - MOST_TOKENS)]:
            del self._known[attempt_id]


class Webhooks:
    """The receiver, on one ledger."""

    def __init__(self, ledger: Ledger, *, rate: Rate | None = None, looks: Rate | None = None) -> None:
        self.ledger = ledger
        self.rate = rate or Rate(PER_SECOND, BURST)
        self.hooks = Hooks(Books(ledger.engine, clock=ledger.clock), looks=looks)

    def routes(self) -> list[Route]:
        """POST /webhooks/runpod/{attempt_id}/{token}; every other method is answered 405."""
        return [Route("/webhooks/runpod/{attempt_id}/{token}", self.runpod, methods=["POST"])]

    async def runpod(self, request: Request) -> Response:
        """200 where attempt and token belong together, however often; 404 for all else, without saying which.

        429 where one attempt, or all together, are told of too often: RunPod comes back in ten seconds.
        """
        attempt_id, token = request.path_params["attempt_id"], request.path_params["token"]
        if not (_ATTEMPT.fullmatch(attempt_id) and _TOKEN.fullmatch(token)):
            return _answer(404)
        hook = await self.hooks.hook(attempt_id, token)
        if hook is None:
            return _answer(404)
        if not (hook.calls.allowed() and self.rate.allowed()):
            return _answer(429, **{"Retry-After": "10"})
        claim = await claimed(request)
        known = await run_in_threadpool(self.ledger.wake, attempt_id, token, claim)
        return _answer(200 if known else 404)


def _answer(status: int, **headers: str) -> Response:
    """An empty answer, and the end of the connection: what of a body was not read is never waited for."""
    return Response(status_code=status, headers={"Connection": "close", **headers})


async def claimed(request: Request) -> str | None:
    """The job's id as the body says it; None for whatever is not one. Read for at most BODY_S, of it MAX_BODY kept.

    What comes after MAX_BODY is taken in and dropped: a sender that is cut off believes that it was not heard.
    """
    body, whole = bytearray(), False
    with contextlib.suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk[: MAX_BODY - len(body)]
            whole = len(body) < MAX_BODY
    if not whole:
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
