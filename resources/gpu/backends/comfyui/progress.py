"""How far a prompt is, heard over the server's WebSocket: node by node and step by step, for bars and logs.

Nothing here decides anything. A socket that is lost is opened again a few times, and what was said meanwhile is not
repeated: `/queue` and `/history` stay the truth (facts: sockets stop without a word, messages are never replayed).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # before each try to listen; then the bar stands still until the end
OPEN_S = 5.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # an execution_error carries its node's inputs
ENDS = ("execution_success", "execution_error", "execution_interrupted")
log = logging.getLogger(__name__)


@dataclass
class Heard:
    """What was heard about one prompt."""

    prompt_id: str
    graph: Mapping[str, Any]
    done: set[str] = field(default_factory=set)
    node: str = ""  # the one that runs
    step: int = 0
    steps: int = 0
    ended: bool = False

    def take(self, message: str) -> None:
        """Take in one message; what is not understood, or about another prompt, is left alone."""
        try:
            body = json.loads(message)
            kind, data = body["type"], body["data"]
            if data.get("prompt_id") != self.prompt_id:
                return
            self._take(kind, data)
        except (ValueError, TypeError, KeyError, AttributeError):
            log.debug("%s: a message that is not ComfyUI's: %.80s", self.prompt_id, message)

    def fraction(self) -> float:
        """Done so far, 0..1: a sampler counts its steps, any other node counts one."""
        weights = {node_id: _weight(node) for node_id, node in self.graph.items()}
        so_far = float(sum(weight for node_id, weight in weights.items() if node_id in self.done))
        if self.node in weights and self.node not in self.done and self.steps:
            so_far += weights[self.node] * min(1.0, self.step / self.steps)
        return so_far / max(1, sum(weights.values()))

    def words(self) -> str:
        """What runs, for people."""
        name = (self.graph.get(self.node) or {}).get("class_type", "")
        step = f", step {self.step} of {self.steps}" if self.steps else ""
        return f"node {self.node} ({name}){step}" if self.node else ""

    def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "execution_cached":
            self.done.update(str(node) for node in data["nodes"])
        elif kind == "executing" and data["node"] is not None:
            if self.node:
                self.done.add(self.node)
            self.node, self.step, self.steps = str(data["node"]), 0, 0
            log.info("%s: %s", self.prompt_id, self.words())
        elif kind == "progress":
            self.node, self.step, self.steps = str(data["node"]), int(data["value"]), int(data["max"])
            log.debug("%s: %s", self.prompt_id, self.words())
        elif kind == "executed":
            self.done.add(str(data["node"]))
        self.ended |= kind in ENDS or (kind == "executing" and data["node"] is None)


class Listener:
    """Listens to any number of prompts, each over a socket under its own client id (the prompt's)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}/ws"
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._heard: dict[str, Heard] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def listen(self, prompt_id: str, graph: Mapping[str, Any]) -> Heard:
        """Listen in the background of the running loop, unless that is done already."""
        heard = self._heard.setdefault(prompt_id, Heard(prompt_id, graph))
        task = self._tasks.get(prompt_id)
        if task is None or (task.cancelled() and not heard.ended):  # a loop that ended cancelled it
            self._tasks[prompt_id] = asyncio.get_running_loop().create_task(self._follow(heard))
        return heard

    def heard(self, prompt_id: str) -> Heard | None:
        """What was heard about a prompt that is listened to."""
        return self._heard.get(prompt_id)

    def forget(self, prompt_id: str) -> None:
        """Stop listening: it ended."""
        self._heard.pop(prompt_id, None)
        task = self._tasks.pop(prompt_id, None)
        if task is not None and not task.done():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _follow(self, heard: Heard) -> None:
        from websockets.exceptions import WebSocketException

        for pause in PAUSES_S:
            await asyncio.sleep(pause)
            try:
                await self._hear(heard)
            except (OSError, TimeoutError, WebSocketException, ValueError) as error:
                log.debug("%s: no progress for now: %s", heard.prompt_id, error)
            if heard.ended:
                return

    async def _hear(self, heard: Heard) -> None:
        from websockets.asyncio.client import connect

        try:
            async with connect(
                f"{self._url}?clientId={heard.prompt_id}",
                host=self._host,  # spelt out: then a redirect to another host is refused
                port=self._port,
                proxy=None,
                open_timeout=OPEN_S,
                close_timeout=1.0,
                max_size=MAX_MESSAGE_BYTES,
            ) as socket:
                async for message in socket:
                    if isinstance(message, str):  # bytes are preview pictures
                        heard.take(message)
                    if heard.ended:
                        return
        finally:
            await asyncio.sleep(0.01)  # the transport closes a turn after the socket: before the loop may end


def _weight(node: Mapping[str, Any]) -> int:
    steps = (node.get("inputs") or {}).get("steps")
    return max(1, steps) if isinstance(steps, int) else 1
