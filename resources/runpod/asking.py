"""How RunPod's control plane is asked: one connection pool, its retries, its quota, and whatever goes wrong on the way.

Belongs here: bytes, statuses and time. Not here: routes, and what an answer means. A request that may have done
something is repeated only where doing it twice does no harm. The key goes into one header and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from resources.gpu.errors import BackendUnavailable, NotSent
from resources.runpod.limits import Quota
from resources.runpod.problems import ControlProblem, ControlSilent, clean, problem

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
ANSWER_S = 30.0  # one whole answer
PATIENCE_S = 45.0  # one call with all its retries and waits; what needs longer is asked again later
TRIES = 4
BACKOFF_S = 0.5  # doubled with every try
MAX_BYTES = 16 * 1024 * 1024  # a list of a thousand pods with their environments is about 5 MB
_REPEATABLE = ("GET", "DELETE")


class Asker:
    """One host that is asked with one key, in one event loop. Raises ValueError for a key that fits in no header."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not re.fullmatch(r"[!-~]*", key.strip()):
            raise ValueError("holds a blank, a line break or another letter that no key has")
        self._url = url.rstrip("/")
        self._key = key.strip()
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._quota = Quota(clock, sleep)
        self._dated: tuple[float, float] | None = None  # the far side's clock (epoch seconds), and ours, at an answer
        self._open: httpx.AsyncClient | None = None

    def far_time(self) -> float | None:
        """Epoch seconds by the far side's clock, which its dates belong to; ours may be wrong by hours."""
        return None if self._dated is None else self._dated[0] + self._clock() - self._dated[1]

    async def aclose(self) -> None:
        """Close the connections; the next request opens new ones."""
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask until there is an answer, as often as is safe. Returns the JSON of a success."""
        give_up = self._clock() + PATIENCE_S
        pause = BACKOFF_S
        for left in reversed(range(TRIES)):
            await self._quota.wait(give_up)
            try:
                return await self._once(method, path, params, body)
            except (ControlProblem, ControlSilent, NotSent) as error:
                if left == 0 or not _may_repeat(method, error) or self._clock() + pause > give_up:
                    raise
            await self._sleep(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _once(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> Any:
        status, headers, raw = await self.answer(method, self._url + path, params=params, json=body)
        asked = f"{method} {self._url}{path}"
        self._quota.note(status, headers)
        if (date := _date(headers.get("date", ""))) is not None:
            self._dated = (date, self._clock())
        if not 200 <= status < 300:
            raise problem(asked, status, raw, self._key)
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            shown = clean(raw, self._key)[:80]
            raise ControlSilent(f"{asked} answers {status} with something that is no JSON: {shown!r}.") from None

    async def answer(self, method: str, url: str, **request: Any) -> tuple[int, Mapping[str, str], bytes]:
        """One request, its answer read whole: status, headers, body. Raises NotSent, ControlSilent."""
        asked = f"{method} {url}"
        async with (
            self._trouble_named(asked),
            asyncio.timeout(ANSWER_S),
            self._http().stream(method, url, **request) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ControlSilent(f"{asked} sends more than {MAX_BYTES} bytes.")
            return response.status_code, response.headers, bytes(body)

    def _http(self) -> httpx.AsyncClient:
        if self._open is None:
            import httpx

            self._open = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                follow_redirects=False,  # the key goes to no other address than the configured one
                trust_env=self._url.startswith("https:"),  # a proxy sees no key in a tunnel
                verify=_certificates(),
                transport=self._transport,
            )
        return self._open

    @asynccontextmanager
    async def _trouble_named(self, asked: str) -> AsyncIterator[None]:
        """Whatever httpx raises, as ours."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(
                f"{asked} cannot be reached ({clean(error, self._key) or type(error).__name__}).",
                code="control_unreachable",
                way_out="Check the network and RUNPOD_CONTROL_URL; see ryla doctor.",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            words = clean(error, self._key)
            raise ControlSilent(
                f"{asked} does not answer ({type(error).__name__}{': ' + words if words else ''})."
            ) from None


def _date(header: str) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _may_repeat(method: str, error: BackendUnavailable) -> bool:
    """What certainly did not happen, or may happen twice without harm, is tried again while it is worth it."""
    if isinstance(error, ControlProblem):
        return error.status == 429 or (error.status >= 500 and method in _REPEATABLE)
    return isinstance(error, NotSent) or method in _REPEATABLE


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
