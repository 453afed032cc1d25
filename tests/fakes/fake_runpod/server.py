"""The fake on a socket: uvicorn in a thread on loopback, and which part answers which path.

Belongs here: routing, the fault plan's place in front of everything, going offline. Does not belong here: any answer.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import traceback
from typing import Any

from tests.fakes.fake_runpod.admin import Admin
from tests.fakes.fake_runpod.control_api import ControlApi
from tests.fakes.fake_runpod.faults import Call
from tests.fakes.fake_runpod.graphql import balance
from tests.fakes.fake_runpod.http import Reply, Request, respond
from tests.fakes.fake_runpod.jobs_api import JobsApi
from tests.fakes.fake_runpod.world import World


class App:
    """The ASGI application of one fake."""

    def __init__(self, world: World, admin: Admin) -> None:
        self.world, self.admin = world, admin
        self.jobs, self.control = JobsApi(world), ControlApi(world)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = await Request.read(scope, receive)
        path = request.path
        call = self._call(request)
        with self.world.clock.lock:
            rule = None if path[:1] == ["_fake"] else self.world.faults.strike(call, self.world.elapsed)
        await respond(rule, lambda: self._answered(request), send)

    async def _answered(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except Exception:  # noqa: BLE001  the fake's own mistake: tests look at `clock.errors`
            self.world.clock.errors.append(traceback.format_exc())
            return Reply({"error": "the fake is broken: see clock.errors"}, 500)

    def _call(self, request: Request) -> Call:
        path = request.path
        body = _quietly(request)
        if path[:1] == ["v2"]:
            return JobsApi.call(path[1:], body)
        if path[:2] == ["control", "v2"]:
            return ControlApi.call(request.method, path[2:], body)
        if path[:1] == ["files"]:
            return Call("files", job="/".join(path[1:]))
        return Call("graphql" if path == ["graphql"] else "unknown", body=body)

    async def _answer(self, request: Request) -> Reply:
        path = request.path
        if path[:1] == ["v2"]:
            return await self.jobs.answer(request, path[1:])
        if path[:2] == ["control", "v2"]:
            with self.world.clock.lock:
                return self.control.answer(request, path[2:])
        if path == ["graphql"]:
            with self.world.clock.lock:
                return balance(self.world, request)
        if path[:1] == ["files"]:
            return self._file(request, "/".join(path[1:]))
        if path[:1] == ["_fake"]:
            return await self.admin.answer(request, path[1:])
        if path[:2] == ["control", "v1"]:  # retired on 2026-11-15  # runpod facts 0.1 [doc], [infer: v1_status]
            words = "The v1 API has been retired. Use https://api.runpod.io/v2."
            return Reply({"message": words}, self.world.config.switches.v1_status)
        return Reply({"error": "not found"}, 404)

    def _file(self, request: Request, name: str) -> Reply:
        """An unsigned object store, for tests that need no real one; DELETE takes all that lies under the name too."""
        files = self.world.files
        if request.method == "PUT":
            files[name] = request.data
            return Reply(None, 200)
        if request.method == "DELETE":
            for gone in [key for key in files if key == name or key.startswith(f"{name}/")]:
                del files[gone]
            return Reply(None, 204)
        found = files.get(name)
        return Reply({"error": "no such key"}, 404) if found is None else Reply(found, content_type="image/png")


class Server:
    """uvicorn in a thread; the same port again after an outage."""

    def __init__(self, app: App, port: int = 0) -> None:
        self.app, self.port = app, port
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None

    def start(self) -> int:
        """Listen; returns the port."""
        import uvicorn

        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=2048)
        self.port = int(self._listener.getsockname()[1])
        config = uvicorn.Config(  # dates are the fake's own: control_api
            self.app, log_level="critical", access_log=False, ws="none", lifespan="off", date_header=False
        )
        self._server = _prompt_server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        give_up = time.monotonic() + 10
        while not hasattr(self._server, "over") and time.monotonic() < give_up:
            time.sleep(0.002)
        return self.port

    def serves_here(self) -> bool:
        """True in the thread that serves: it cannot wait for its own end."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Close the socket: whoever connects now is refused."""
        if self._thread is not None and self._listener is not None:
            self._server.end()
            self._thread.join(10)
            self._listener.close()
            self._thread = None


def _prompt_server(config: Any) -> Any:
    """uvicorn's server, but it ends at once when told to: no ticks, no grace for open requests."""
    import uvicorn

    class PromptServer(uvicorn.Server):
        async def main_loop(self) -> None:
            self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
            await self.over.wait()

        def end(self) -> None:
            self.loop.call_soon_threadsafe(self.over.set)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.gather(*self.server_state.tasks, return_exceptions=True)

    return PromptServer(config)


def _quietly(request: Request) -> Any:
    try:
        return request.json()
    except ValueError:
        return None
