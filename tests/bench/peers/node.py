"""BullMQ and its Redis for one measurement: installed into a throwaway folder, listening on a free port, gone after."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BULLMQ = "bullmq@5"  # the major version of the original product's time; it brings ioredis
INSTALL = "apt-get install nodejs npm redis-server"
INSTALL_S, START_S = 90.0, 10.0


class Missing(Exception):
    """What is not on this machine; the measurement is left out, and says so."""


def install(folder: Path) -> str:
    """Install BullMQ there; returns its version. Raises Missing."""
    for program in ("node", "npm", "redis-server"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing ({INSTALL})")
    folder.mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", BULLMQ]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise Missing(f"{BULLMQ} is missing: npm cannot install it ({type(error).__name__})") from error
    found = json.loads((folder / "node_modules" / "bullmq" / "package.json").read_text())
    return str(found["version"])


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[int]:
    """A Redis that keeps nothing on disk; yields its port. Raises Missing if it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--dir": str(folder)}
    command = ["redis-server", *(word for option in options.items() for word in option)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Missing("redis-server is missing: it does not start here")
