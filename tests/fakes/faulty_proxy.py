"""A proxy before a real HTTP server that breaks what it is told to: for clients whose retries and errors are tested.

It hands the Host header through, so signatures stay valid. Faults are used up in their order, one a matching request.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True)
class Fault:
    """What happens to the next request of that method whose path holds `path`.

    `status` is answered instead of asking the server, with `code` as S3's error code; `reset` closes the connection
    before (`True`) an answer; `cut` sends so many bytes of the true answer's body, then closes; `done` lets the server
    do its work before the fault; `wait_s` delays.
    """

    method: str = ""
    path: str = ""
    status: int = 0
    code: str = "InternalError"
    reset: bool = False
    cut: int = -1
    done: bool = False
    wait_s: float = 0.0


@dataclass
class FaultyProxy:
    """Where it listens, what it will break, what it has seen. `judge` is asked first, with method and path."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    judge: Callable[[str, str], Fault | None] = lambda _method, _path: None

    def next_fault(self, method: str, path: str) -> Fault:
        """Note the request and take the fault that is meant for it."""
        self.seen.append(f"{method} {urlsplit(path).path}")
        if (judged := self.judge(method, path)) is not None:
            return judged
        for fault in self.faults:
            if fault.method in ("", method) and fault.path in path:
                self.faults.remove(fault)
                return fault
        return Fault()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    target: str
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.next_fault(self.command, self.path)
        time.sleep(fault.wait_s)
        broken = fault.status or fault.reset
        answer = self.ask(body) if fault.done or not broken else None
        if fault.reset:
            self.drop()
        elif fault.status:
            text = f"<Error><Code>{fault.code}</Code><Message>secret reflection</Message></Error>".encode()
            self.reply(fault.status, [("Content-Type", "application/xml")], text, text)
        elif answer:
            status, headers, data = answer
            self.reply(status, headers, data, data if fault.cut < 0 else data[: fault.cut])
            if fault.cut >= 0:
                self.drop()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815  http.server's names

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        link = http.client.HTTPConnection(self.target)
        try:
            link.request(self.command, self.path, body, {**self.headers, "Connection": "close"})
            answer = link.getresponse()
            headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP_BY_HOP]
            if self.command == "HEAD":
                headers.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, headers, answer.read()
        finally:
            link.close()

    def reply(self, status: int, headers: list[tuple[str, str]], data: bytes, sent: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
            self.wfile.flush()

    def drop(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def before(server_url: str) -> Iterator[FaultyProxy]:
    """A running proxy before that server."""
    proxy = FaultyProxy()
    about = {"proxy": proxy, "target": urlsplit(server_url).netloc}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), about))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
