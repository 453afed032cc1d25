"""One ComfyUI server over HTTP: its routes, limits and failures, and nothing of what a job is.

Every call has timeouts and a size limit, follows no redirect and uses no proxy of the environment: a ComfyUI has no
authentication at all, so its address is loopback or something that the operator put in front of it. What it answers
is untrusted. A failure to answer is BackendUnavailable: transient, unless only a person can mend it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resources.gpu.errors import BackendUnavailable, InvalidJob, OutputRejected, Retry

if TYPE_CHECKING:
    import httpx

MAX_JSON_BYTES = 64 * 1024 * 1024  # /object_info of a server with many node packs is about 10 MB
MAX_UPLOAD_BYTES = 100 * 1024 * 1024  # the server's own limit (facts: /features max_upload_size)
CONNECT_S = 5.0
SILENCE_S = 30.0  # between two reads; the server's loop stalls for seconds while a model loads
ANSWER_S = 120.0  # one whole answer, however slowly it drips
_WAY_OUT = "Start ComfyUI, or correct COMFYUI_URL; see ryla doctor."


class NotReached(BackendUnavailable):
    """No connection was made: whatever was to be sent certainly did not arrive."""


class TooLarge(BackendUnavailable):
    """The answer is larger than anything we ask for."""

    retry = Retry.FATAL


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that was read whole."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises BackendUnavailable: something else than ComfyUI answered."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise BackendUnavailable(f"The answer ({self.status}) is no JSON: {self.body[:80]!r}.") from None


@dataclass(frozen=True)
class Queue:
    """Prompt id -> graph, of what runs and (in order) of what waits."""

    running: dict[str, dict[str, Any]]
    pending: dict[str, dict[str, Any]]


def checked_url(url: str) -> str:
    """The server's address without a trailing slash. Raises ValueError saying what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("holds a user or a password, and would be stored with every attempt")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or a fragment")
    return url.rstrip("/")


def ask(url: str, path: str) -> Any:
    """GET a JSON document, waiting for it. Raises BackendUnavailable."""
    import httpx

    give_up = time.monotonic() + ANSWER_S
    with _trouble_named(url), httpx.Client(**_options(url)) as http, http.stream("GET", path) as response:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            _check_size(path, len(body), MAX_JSON_BYTES)
            if time.monotonic() > give_up:
                raise TimeoutError(f"{path} took more than {ANSWER_S:.0f} s")
        return _expected(url, path, Answer(response.status_code, bytes(body))).json()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Link]:
    """A link to the server at `url`; nothing is sent before the first call."""
    import httpx

    async with httpx.AsyncClient(**_options(url)) as http:
        yield Link(url, http)


class Link:
    """The server's routes that a backend needs. All raise BackendUnavailable where it does not answer."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def send(self, prompt: Mapping[str, Any], prompt_id: str) -> dict[str, Any]:
        """POST a graph under our own id, which is its client id too: its messages come to whoever listens by it.

        Returns the answer. Raises InvalidJob with the server's problems; NotReached: it certainly did not arrive.
        """
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": prompt_id}
        answer = await self._ask("POST", "/prompt", json=body)
        with _understood("/prompt"):
            if answer.status in (400, 413):
                found = problems_of(answer.json()) if answer.status == 400 else ()
                raise InvalidJob(f"ComfyUI refuses the graph: {in_words(found)}.", problems=found)
            sent: dict[str, Any] = _expected(self._url, "/prompt", answer).json()
            return sent

    async def queue(self) -> Queue:
        """What runs and what waits, at one moment."""
        body = await self._json("/queue")
        with _understood("/queue"):
            pending = sorted(body["queue_pending"], key=lambda item: item[0])  # the server keeps a heap, not a list
            return Queue({item[1]: item[2] for item in body["queue_running"]}, {item[1]: item[2] for item in pending})

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What became of a finished prompt; None while it is not finished, and for an unknown one."""
        body = await self._json(f"/history/{prompt_id}")
        with _understood("/history"):
            entry: dict[str, Any] | None = body.get(prompt_id)
        return entry

    async def stop(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or interrupt it while it runs; no other prompt is touched."""
        await self._done("/queue", json={"delete": [prompt_id]})
        if prompt_id in (await self.queue()).running:  # a server that ignores the id would stop whatever runs
            await self._done("/interrupt", json={"prompt_id": prompt_id})

    async def upload(self, name: str, data: bytes, *, place: str = "input") -> str:
        """Upload a file and return the name that the server gave it: another one if `name` holds other bytes."""
        if len(data) > MAX_UPLOAD_BYTES:
            raise InvalidJob(f"{name} has {len(data)} bytes; ComfyUI takes at most {MAX_UPLOAD_BYTES}.")
        answer = await self._ask("POST", "/upload/image", files={"image": (name, data)}, data={"type": place})
        body = _expected(self._url, "/upload/image", answer).json()
        with _understood("/upload/image"):
            return f"{body['subfolder']}/{body['name']}" if body.get("subfolder") else str(body["name"])

    async def size(self, name: str, *, place: str) -> int | None:
        """Bytes of a file in the server's input or temp folder; None if it is not there."""
        with _trouble_named(self._url):
            async with asyncio.timeout(ANSWER_S):
                response = await self._http.head("/view", params={"filename": name, "type": place})
        if response.status_code == 404:
            return None
        _expected(self._url, "/view", Answer(response.status_code, b""))
        return int(response.headers.get("content-length", -1))

    async def view(self, file: Mapping[str, str], *, limit: int) -> bytes | None:
        """The bytes of an output; None if the file is gone. Raises OutputRejected over `limit` bytes."""
        try:
            answer = await self._ask("GET", "/view", limit=limit, params=dict(file))
        except TooLarge as error:
            raise OutputRejected(f"{file['filename']}: {error.message}", code="too_large") from error
        return None if answer.status == 404 else _expected(self._url, "/view", answer).body

    async def models(self, folder: str) -> frozenset[str]:
        """The names of the model files in a folder."""
        return frozenset(str(name) for name in await self._json(f"/models/{folder}"))

    async def _json(self, path: str) -> Any:
        return _expected(self._url, path, await self._ask("GET", path)).json()

    async def _done(self, path: str, **request: Any) -> None:
        _expected(self._url, path, await self._ask("POST", path, **request))

    async def _ask(self, method: str, path: str, *, limit: int = MAX_JSON_BYTES, **request: Any) -> Answer:
        with _trouble_named(self._url):
            async with asyncio.timeout(ANSWER_S), self._http.stream(method, path, **request) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    _check_size(path, len(body), limit)
                return Answer(response.status_code, bytes(body))


def problems_of(body: Any) -> tuple[dict[str, object], ...]:
    """The problems in a 400's body, or in a 200's non-empty node_errors: one entry a fault, as `problems` has them."""
    found = [
        {
            "node_id": node_id,
            "class_type": node.get("class_type"),
            **{key: error.get(key, "") for key in ("type", "message", "details")},
        }
        for node_id, node in (body.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    whole = body.get("error")
    if not found and isinstance(whole, dict):
        found = [{"node_id": None, "class_type": None, **{k: whole.get(k, "") for k in ("type", "message", "details")}}]
    return tuple(found)


def in_words(problems: tuple[dict[str, object], ...]) -> str:
    """The first three problems in a line."""
    lines = [
        f"node {p['node_id']} ({p['class_type']}): {p['message']}: {p['details']}"
        if p["node_id"]
        else f"{p['message']}: {p['details']}"
        for p in problems[:3]
    ]
    return "; ".join(lines) or "no reason given"


def _options(url: str) -> dict[str, Any]:
    import httpx

    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    return {
        "base_url": url,
        "timeout": timeout,
        "follow_redirects": False,
        "trust_env": False,
        "verify": _certificates(),
    }


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _expected(url: str, path: str, answer: Answer) -> Answer:
    """The answer if it is a 200; else what its status means for whoever asks again."""
    if answer.status == 200:
        return answer
    words = answer.body[:200].decode("utf-8", "replace").strip()
    message = f"{url}{path} answers {answer.status}{': ' + words if words else ''}."
    if answer.status >= 500 or answer.status in (408, 429):
        raise BackendUnavailable(message)
    raise BackendUnavailable(message, retry=Retry.FATAL, way_out=_WAY_OUT)


def _check_size(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"{path} sends more than {limit} bytes.")


@contextmanager
def _understood(path: str) -> Iterator[None]:
    """Reading an answer of another shape than ComfyUI's."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        message = f"The answer of {path} is not ComfyUI's ({type(error).__name__}: {error})."
        raise BackendUnavailable(message, retry=Retry.FATAL, way_out=_WAY_OUT) from error


@contextmanager
def _trouble_named(url: str) -> Iterator[None]:
    """Whatever httpx raises, as ours."""
    import httpx

    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotReached(f"{url} cannot be reached ({error or type(error).__name__}).", way_out=_WAY_OUT) from error
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise BackendUnavailable(
            f"{url} does not answer ({type(error).__name__}: {error}).", way_out=_WAY_OUT
        ) from error
