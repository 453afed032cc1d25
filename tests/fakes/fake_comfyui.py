"""A ComfyUI server in a thread, on loopback: its real routes, answers and socket, and its faults on demand.

Belongs here: the wire as 0.13.0 and 0.18.1 speak it (queue, history, view, uploads, object_info, /ws). A prompt moves
only when the test says so, by `work` or `auto`; what it "draws" is noise by its prefix. `Faults` are what goes wrong,
for as long as they are set. Assertions are the tests' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.fakes.scripted_backend import picture
from workflows.examples import LORA_FILES
from workflows.models import model_files
from workflows.object_info import FILE_FOLDERS, STORED

SIZE = 64  # pixels a side of every picture it draws, whatever the graph asks for


@dataclass
class Faults:
    """What goes wrong, for as long as it is set."""

    drop_post: str = ""  # "before" or "after" the prompt is queued the connection ends without an answer
    refuse: dict[str, Any] | None = None  # the body of a 400 to the next POST /prompt
    node_errors: dict[str, Any] | None = None  # of a 200, whose prompt is queued all the same
    other_id: bool = False  # an old server that makes its own prompt ids
    status: int = 0  # every route answers with this
    body: bytes = b"trouble"
    redirect: str = ""  # every route points there
    drip_s: float = 0.0  # /view sends a byte, and the next after so long
    view_bytes: int = 0  # /view sends so many bytes
    rename: bool = False  # uploads get another name
    deaf: bool = False  # a LoRA that is copied into the models folder is never listed


@dataclass
class FakeComfyUI:
    """The server's memory and its folders. Safe for the test's thread and the server's."""

    faults: Faults = field(default_factory=Faults)
    loras: set[str] = field(default_factory=lambda: set(LORA_FILES.values()))
    lacks: set[str] = field(default_factory=set)  # model files and node classes that it does not have

    def __post_init__(self) -> None:
        self.url = ""
        self.inputs: dict[str, bytes] = {}
        self.outputs: dict[tuple[str, str], bytes] = {}
        self.uploads: list[str] = []
        self.posted: list[dict[str, Any]] = []
        self.interrupted: list[str] = []
        self.sockets: dict[str, WebSocket] = {}
        self.listened: list[str] = []  # client ids, in the order they came
        self.loop: asyncio.AbstractEventLoop | None = None
        self.models_dir: Any = None  # a pathlib.Path whose loras/ are listed too
        self.auto = False  # work whenever somebody looks at the queue
        self.error: dict[str, Any] | None = None  # of what is worked on by itself
        self.restart()

    # ---- what tests do

    def restart(self) -> None:
        """Forget what only the process knew; ComfyUI empties its temp folder, too."""
        self.temp: dict[str, bytes] = {}
        self.running: list[Any] = []
        self.pending: list[list[Any]] = []
        self.history: dict[str, dict[str, Any]] = {}
        self.number = 0

    def begin(self) -> str:
        """Take the next prompt to work; returns its id."""
        item = self.pending.pop(0)
        self.running = [item]
        self.tell(item[1], "execution_start", {})
        return str(item[1])

    def work(self, *, error: dict[str, Any] | None = None, exec_s: float = 2.0) -> str:
        """Run the next prompt (or the one at work) to its end: pictures, or `error` as an execution_error."""
        prompt_id = str(self.running[0][1]) if self.running else self.begin()
        item = self.running[0]
        start = item[3]["create_time"] + 500
        outputs = (
            {} if error else {node: {"images": self._save(body)} for node, body in item[2].items() if _saves(body)}
        )
        end = ("execution_error", error) if error else ("execution_success", {})
        self._end(prompt_id, outputs, start, exec_s, *end)
        return prompt_id

    def tell(self, prompt_id: str, kind: str, data: dict[str, Any]) -> None:
        """Send a message about a prompt to whoever listens by its client id."""
        client = next((i[3].get("client_id") for i in (*self.running, *self.pending) if i[1] == prompt_id), prompt_id)
        connection = self.sockets.get(client)
        if connection is not None and self.loop is not None:
            text = json.dumps({"type": kind, "data": {**data, "prompt_id": prompt_id}})
            asyncio.run_coroutine_threadsafe(connection.send_text(text), self.loop).result(5)

    def hang_up(self, client: str) -> None:
        """End a client's socket."""
        if self.loop is not None:
            asyncio.run_coroutine_threadsafe(self.sockets.pop(client).close(), self.loop).result(5)

    # ---- parts

    def _save(self, node: dict[str, Any]) -> list[dict[str, str]]:
        folder, _, stem = node["inputs"]["filename_prefix"].rpartition("/")
        taken = sum(1 for where, name in self.outputs if where == folder and name.startswith(f"{stem}_"))
        name = f"{stem}_{taken + 1:05d}_.png"
        self.outputs[folder, name] = picture(SIZE, SIZE, seed=sum(stem.encode()))
        return [{"filename": name, "subfolder": folder, "type": "output"}]

    def _end(self, prompt_id: str, outputs: Any, start: float, exec_s: float, kind: str, data: dict[str, Any]) -> None:
        item = self.running.pop()
        last = {"prompt_id": prompt_id, **data, "timestamp": int(start + exec_s * 1000)}
        messages = [["execution_start", {"prompt_id": prompt_id, "timestamp": int(start)}], [kind, last]]
        good = kind == "execution_success"
        status = {"status_str": "success" if good else "error", "completed": good, "messages": messages}
        self.history[prompt_id] = {"prompt": item, "outputs": outputs, "status": status, "meta": {}}
        self.tell(prompt_id, kind, data)

    def _interrupt(self, prompt_id: str) -> None:
        where = {"node_id": "7", "node_type": "KSampler", "executed": []}
        self._end(prompt_id, {}, self.running[0][3]["create_time"], 0.1, "execution_interrupted", where)

    def listed(self, folder: str) -> list[str]:
        """Names in a models folder."""
        names = {model.file for model in model_files() if model.folder == folder and model.named}
        if folder == "loras":
            copied = [] if self.faults.deaf or self.models_dir is None else self.models_dir.glob("loras/*.safetensors")
            names |= self.loras | {path.name for path in copied}
        return sorted((names - self.lacks) | (set(self.inputs) if folder == "input" else set()))

    def object_info(self) -> dict[str, Any]:
        """The stored copy, with this server's file lists."""
        stored: dict[str, Any] = json.loads(STORED.read_text())
        info = {name: node for name, node in stored.items() if name not in self.lacks}
        for node in info.values():
            for section in ("required", "optional"):
                for name, spec in node["input"].get(section, {}).items():
                    if name in FILE_FOLDERS and isinstance(spec[0], list):
                        spec[0] = self.listed(FILE_FOLDERS[name])
        return info


def _saves(node: dict[str, Any]) -> bool:
    return bool(node["class_type"] == "SaveImage")


@contextlib.contextmanager
def served(fake: FakeComfyUI) -> Iterator[FakeComfyUI]:
    """Serve it on a free port of loopback while the block runs."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(_app(fake), log_level="critical", ws="websockets-sansio", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    give_up = time.monotonic() + 5
    while not server.started and time.monotonic() < give_up:
        time.sleep(0.005)
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


def _app(fake: FakeComfyUI) -> Any:
    routes = _Routes(fake)
    app = Starlette(
        routes=[
            Route("/prompt", routes.prompt, methods=["POST"]),
            Route("/queue", routes.queue, methods=["GET", "POST"]),
            Route("/interrupt", routes.interrupt, methods=["POST"]),
            Route("/history/{prompt_id}", routes.history),
            Route("/view", routes.view),
            Route("/upload/image", routes.upload, methods=["POST"]),
            Route("/object_info", routes.info),
            Route("/models/{folder}", routes.models),
            Route("/system_stats", routes.stats),
            WebSocketRoute("/ws", routes.socket),
        ]
    )

    async def faulty(scope: Any, receive: Any, send: Any) -> None:
        fake.loop = asyncio.get_running_loop()
        if scope["type"] == "http" and fake.faults.redirect:
            await RedirectResponse(fake.faults.redirect + scope["path"])(scope, receive, send)
        elif scope["type"] == "http" and fake.faults.status:
            await Response(fake.faults.body, fake.faults.status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return faulty


@dataclass
class _Routes:
    """The routes; names and bodies as ComfyUI's server.py has them."""

    fake: FakeComfyUI

    async def prompt(self, request: Request) -> Response:
        fake, faults, body = self.fake, self.fake.faults, await request.json()
        if faults.drop_post == "before":
            return _Hangup()
        if faults.refuse is not None:
            return JSONResponse(faults.refuse, 400)
        fake.posted.append(body)
        prompt_id = str(uuid.uuid4()) if faults.other_id else str(body["prompt_id"])
        extra = {"client_id": body["client_id"], "create_time": int(time.time() * 1000)}
        fake.pending.append([fake.number, prompt_id, body["prompt"], extra, []])
        fake.number += 1
        if faults.drop_post == "after":
            return _Hangup()
        return JSONResponse({"prompt_id": prompt_id, "number": fake.number, "node_errors": faults.node_errors or {}})

    async def queue(self, request: Request) -> Response:
        if request.method == "GET":
            if self.fake.auto and self.fake.pending:
                await asyncio.to_thread(self.fake.work, error=self.fake.error)
            return JSONResponse({"queue_running": self.fake.running, "queue_pending": self.fake.pending[::-1]})
        gone = (await request.json()).get("delete", [])
        self.fake.pending = [item for item in self.fake.pending if item[1] not in gone]
        return Response()

    async def interrupt(self, request: Request) -> Response:
        wanted = (await request.json()).get("prompt_id")
        self.fake.interrupted.append(wanted)
        if wanted in [item[1] for item in self.fake.running]:
            await asyncio.to_thread(self.fake._interrupt, wanted)
        return Response()

    async def history(self, request: Request) -> Response:
        prompt_id = request.path_params["prompt_id"]
        return JSONResponse({prompt_id: self.fake.history[prompt_id]} if prompt_id in self.fake.history else {})

    async def view(self, request: Request) -> Response:
        name, kind = request.query_params["filename"], request.query_params.get("type", "output")
        place = {"input": self.fake.inputs, "temp": self.fake.temp}.get(kind)
        folder = request.query_params.get("subfolder", "")
        data = self.fake.outputs.get((folder, name)) if place is None else place.get(name)
        if data is None:
            return PlainTextResponse("", 404)
        if self.fake.faults.view_bytes:
            data = bytes(self.fake.faults.view_bytes)
        if self.fake.faults.drip_s:
            return StreamingResponse(_drip(data, self.fake.faults.drip_s))
        return Response(data, media_type="image/png")

    async def upload(self, request: Request) -> Response:
        async with request.form() as form:
            file, kind = form["image"], str(form.get("type", "input"))
            assert not isinstance(file, str)
            name, data = str(file.filename), await file.read()
        place = self.fake.temp if kind == "temp" else self.fake.inputs
        if kind == "input":
            self.fake.uploads.append(name)
        if (name in place and place[name] != data) or (self.fake.faults.rename and kind == "input"):
            stem, _, ending = name.rpartition(".")
            name = f"{stem} (1).{ending}"
        place[name] = data
        return JSONResponse({"name": name, "subfolder": "", "type": kind})

    async def info(self, request: Request) -> Response:
        return JSONResponse(self.fake.object_info())

    async def models(self, request: Request) -> Response:
        return JSONResponse(self.fake.listed(request.path_params["folder"]))

    async def stats(self, request: Request) -> Response:
        return JSONResponse({"system": {"comfyui_version": "0.18.1"}, "devices": []})

    async def socket(self, connection: WebSocket) -> None:
        client = connection.query_params["clientId"]
        await connection.accept()
        self.fake.sockets[client] = connection
        self.fake.listened.append(client)
        await connection.send_text(json.dumps({"type": "status", "data": {"status": {}, "sid": client}}))
        await connection.send_bytes(b"\x00\x00\x00\x01preview")
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await connection.receive_text()


async def _drip(data: bytes, pause_s: float) -> Any:
    for start in range(len(data)):
        yield data[start : start + 1]
        await asyncio.sleep(pause_s)


class _Hangup(Response):
    """Headers that promise a body, and the end of the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
