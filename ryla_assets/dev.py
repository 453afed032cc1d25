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
STOP_S = 15  # dagster dev stops its own children on SIGINT


def serve(config: Settings, *, port: int) -> int:
    """Run both until interrupted; returns Dagster's exit code if it ended by itself."""
    import uvicorn

    prepare_home(config)
    address = urlsplit(config.public_url)
    environment = {**os.environ, "RYLA_HOME": str(config.home.resolve())}
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-p", str(port)]
    click.echo(f"Dagster: http://127.0.0.1:{port}   thumbnails and galleries: {config.public_url}   Ctrl-C stops both")
    dagster = subprocess.Popen(command, cwd=ROOT, env=environment)  # noqa: S603  our own arguments
    app = build_app(config.model_copy(update={"home": config.home.resolve()}))
    try:
        uvicorn.run(app, host="127.0.0.1", port=address.port or 3001, log_level="warning")
    finally:
        _stop(dagster)
    return 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    if process.poll() is None:
        process.kill()
        process.wait()
