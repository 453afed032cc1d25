"""Requests and replies on the fake's wire, and what a fault rule does to them.

Belongs here: a reply as plain data, sending it whole, cut, delayed or not at all. What it says is others' business.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.fake_runpod.faults import Rule

MAX_READ = 64 * 1024 * 1024


@dataclass
class Reply:
    """An answer: `body` is sent as JSON unless it is bytes; None is no body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def data(self) -> bytes:
        """The bytes of the body."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Request:
    """A request, read to its end."""

    method: str
    path: list[str]
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes

    @classmethod
    async def read(cls, scope: Any, receive: Any) -> Request:
        """Take it from an ASGI server."""
        parts = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body") or sum(map(len, parts)) > MAX_READ:
                break
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        path = [part for part in scope["path"].split("/") if part]
        return cls(scope["method"], path, query, headers, b"".join(parts))

    @property
    def key(self) -> str:
        """The key that it carries, as Bearer or bare.  # runpod facts 1 [doc]"""
        return self.headers.get("authorization", "").removeprefix("Bearer ").strip()

    def json(self) -> Any:
        """Its body; ValueError if that is no JSON."""
        return json.loads(self.data) if self.data else None


async def respond(rule: Rule | None, act: Callable[[], Awaitable[Reply]], send: Any) -> None:
    """Do what was asked and answer it, as far as the rule lets it."""
    if rule is None:
        await _send(await act(), send)
        return
    if rule.action == "drop_request":
        await _reset(send)
        return
    if rule.action == "answer":
        await asyncio.sleep(rule.seconds)
        await _send(_given(rule, Reply()), send)
        return
    if rule.action == "delay" and not rule.after:
        await asyncio.sleep(rule.seconds)
    reply = await act()
    if rule.action == "delay" and rule.after:
        await asyncio.sleep(rule.seconds)
    if rule.action == "drop_response":
        await _reset(send)
    elif rule.action == "cut_response":
        await _cut(reply, send)
    else:
        await _send(_harmed(rule, reply), send)


def _harmed(rule: Rule, reply: Reply) -> Reply:
    if rule.action == "done_but":
        return _given(rule, reply)
    if rule.action == "truncate":
        return replace(reply, body=reply.data()[: rule.keep])
    if rule.action == "mutate":
        body = reply.body if rule.change is None else rule.change(json.loads(reply.data() or b"null"))
        return replace(reply, body=body, status=rule.status or reply.status, headers={**reply.headers, **rule.headers})
    return reply


def _given(rule: Rule, reply: Reply) -> Reply:
    body = rule.body.encode() if isinstance(rule.body, str) else rule.body
    return Reply(body, rule.status or reply.status, dict(rule.headers), rule.content_type)


async def _send(reply: Reply, send: Any) -> None:
    data = reply.data()
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, len(data))})
    await send({"type": "http.response.body", "body": b"" if reply.status == 204 else data})


async def _cut(reply: Reply, send: Any) -> None:
    data = reply.data()
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, len(data))})
    await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
    await asyncio.sleep(0.01)  # the half has left
    await _reset(send)


async def _reset(send: Any) -> None:
    """End the connection as a crashed peer does: no bytes, RST. The transport is uvicorn's own."""
    cycle = send.__self__
    transport = cycle.transport
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while not cycle.disconnected:
        await asyncio.sleep(0.001)


def _headers(reply: Reply, length: int) -> list[tuple[bytes, bytes]]:
    found = {"content-type": reply.content_type, **reply.headers}
    if reply.status != 204:
        found["content-length"] = str(length)
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in found.items()]
