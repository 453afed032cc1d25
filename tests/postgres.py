"""A throwaway Postgres for tests: a server of its own on a Unix socket, gone afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import open_engine, reading

NOBODY = 65534  # Postgres refuses to run as root


def serve() -> Iterator[str]:
    """Yield the server's URL; skips where no server is installed."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if not initdb or not server:
        pytest.skip("no Postgres server binaries on PATH")
    other: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="ryla-pg-"))
    if other:
        os.chown(folder, NOBODY, NOBODY)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **other}
    process = None
    try:
        made = [initdb, "-D", f"{folder}/data", "--no-sync", "-A", "trust", "-U", "ryla", "-E", "UTF8"]
        subprocess.run(made, check=True, cwd=folder, **quiet)
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
        process = subprocess.Popen([server, "-D", f"{folder}/data", *options], cwd=folder, **quiet)
        url = f"postgresql+psycopg2://ryla@/postgres?host={folder}"
        _until_it_answers(url)
        yield url
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # "fast": it waits for nobody
            process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def fresh_database(url: str, name: str) -> str:
    """Make an empty database on that server; returns its URL."""
    engine = open_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.replace("@/postgres?", f"@/{name}?")


def _until_it_answers(url: str) -> None:
    engine = open_engine(url)
    deadline = time.monotonic() + 10
    while True:
        try:
            with reading(engine) as db:
                db.execute(sa.text("SELECT 1"))
            break
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    engine.dispose()
