"""The one conversation that a process has with RunPod: a thread with its own loop, a client, the limits, the poller.

Callers come and go with event loops of their own (one `asyncio.run` an asset); what must be shared between them lives
here: connections, quotas, and who is asked about when. One service for each base URL and key.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from resources.gpu.backends.runpod.address import checked_key, checked_url
from resources.gpu.backends.runpod.client import JobsClient
from resources.gpu.backends.runpod.limits import Limits
from resources.gpu.backends.runpod.poller import NO_AGES, Poller
from resources.gpu.backends.runpod.watch import Cadence, Key, Look, Reader
from resources.gpu.errors import BackendUnavailable

if TYPE_CHECKING:
    import httpx


@runtime_checkable
class Closing(Protocol):
    """What is closed in the end."""

    async def aclose(self) -> None:
        """Close it."""


T = TypeVar("T")
_STOP_S = 5.0


class Service:
    """Client and poller behind a thread that starts with the first question. Raises ValueError for a wrong URL or key.

    `key` is read by the client alone and shown nowhere.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        cadence: Cadence | None = None,
        limits: Callable[[], Limits] = Limits,
    ) -> None:
        self.url = checked_url(url)
        checked_key(key)
        self._make: Callable[[], JobsClient] = lambda: JobsClient(
            url, key, limits(), transport=transport() if transport else None
        )
        self._cadence = cadence
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._parts: tuple[JobsClient, Poller] | None = None
        self._kept: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"Service({self.url!r})"

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """The part of that name, made at most once: what a process learns outlives the studio that learned it.

        It lives in the service's loop, and is closed with it where it can be.
        """
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            return cast("T", self._kept[name])

    async def ask(self, question: Callable[[JobsClient], Awaitable[T]]) -> T:
        """One call of the client, made in the service's loop; a cancelled caller cancels it."""

        async def asked(client: JobsClient, _: Poller) -> T:
            return await question(client)

        return await self._in_loop(asked)

    async def submitted(self, key: Key, read: Reader) -> None:
        """Follow a job that was just submitted."""

        async def note(_: JobsClient, poller: Poller) -> None:
            poller.submitted(key, read)

        await self._in_loop(note)

    async def look(
        self, keys: Sequence[Key], reader: Callable[[Key], Reader], ages_s: Mapping[Key, float] = NO_AGES
    ) -> dict[Key, Look]:
        """The poller's newest answers (`Poller.look`)."""

        async def looked(_: JobsClient, poller: Poller) -> dict[Key, Look]:
            return await poller.look(keys, reader, ages_s)

        return await self._in_loop(looked)

    def hurry(self, keys: Iterable[Key]) -> None:
        """Ask about these now; returns at once."""
        wanted = list(keys)

        def hurried() -> None:
            if self._parts is not None:
                self._parts[1].hurry(wanted)

        self._running_loop().call_soon_threadsafe(hurried)

    def close(self) -> None:
        """Stop the thread and close the connections; a later question starts them again."""
        with self._lock:
            loop, thread, parts = self._loop, self._thread, self._parts
            kept = [part for part in self._kept.values() if isinstance(part, Closing)]
            self._loop = self._thread = self._parts = None
        if loop is None or thread is None:
            return
        closing = [*reversed(parts or ()), *kept]  # first the poller, then what it asks with
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_close(closing), loop).result(_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        loop.close()

    async def _in_loop(self, work: Callable[[JobsClient, Poller], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            if self._parts is None:
                client = self._make()
                self._parts = (client, Poller(_checked(client), cadence=self._cadence, opened=client.opened))
            return await work(*self._parts)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._running_loop()))

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="runpod", daemon=True)
                self._thread.start()
            return self._loop


_services: dict[tuple[int, str, str], Service] = {}
_services_lock = threading.Lock()


def shared(url: str, key: str) -> Service:
    """This process's service for that URL and key. Raises ValueError for a wrong one."""
    place = (os.getpid(), checked_url(url), hashlib.sha256(key.encode()).hexdigest())  # a forked child has no thread
    with _services_lock:
        if place not in _services:
            _services[place] = Service(url, key)
        return _services[place]


@atexit.register
def close_all() -> None:
    """Close every service of this process."""
    with _services_lock:
        mine = [_services.pop(place) for place in list(_services) if place[0] == os.getpid()]
    for service in mine:
        service.close()


def _checked(client: JobsClient) -> Callable[[str, str], Coroutine[Any, Any, dict[str, Any] | None]]:
    async def status(endpoint: str, job_id: str) -> dict[str, Any] | None:
        body = await client.status(endpoint, job_id)
        if body is not None and body.get("id", job_id) != job_id:
            raise BackendUnavailable(f"Asked about job {job_id}, {client.url} answers about another one.")
        return body

    return status


async def _close(parts: Sequence[Closing]) -> None:
    for part in parts:
        await part.aclose()
