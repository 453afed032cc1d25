"""`ryla dev`: Dagster (webserver, daemon, code server) and the HTTP app, started and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from ryla_assets.api.app import build_app
from ryla_assets.instance import prepare_home
from ryla_assets.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 10  # dagster dev stops its own children when asked; measured 1-3 s


def serve(config: Settings, *, port: int) -> int:
    """Run both until interrupted; returns Dagster's exit code if it ended by itself."""
    import uvicorn

    prepare_home(config)
    address = urlsplit(config.public_url)
    environment = {**os.environ, "RYLA_HOME": str(config.home.resolve())}
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-p", str(port)]
    click.echo(f"Dagster: http://127.0.0.1:{port}   thumbnails and galleries: {config.public_url}   Ctrl-C stops both")
    dagster = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)  # noqa: S603  our own
    app = build_app(config.model_copy(update={"home": config.home.resolve()}))
    try:
        uvicorn.run(app, host="127.0.0.1", port=address.port or 3001, log_level="warning", access_log=False)
    finally:
        _stop(dagster)
    return 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist: the whole session of `dagster dev`, so that no webserver keeps the port."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
