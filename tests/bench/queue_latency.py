"""How long a one-step run takes from submission to success, through the queue of `ryla dev`'s own Dagster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from ryla_assets.instance import prepare_home
from ryla_assets.settings import Settings
from tests.bench.row import Row, median

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
LIMIT_S = 4.0
START_S, RUN_S = 90.0, 60.0  # patience


def measure(home: Path) -> Iterator[Row]:
    """`model_files` (one step, no job) submitted to the webserver, five times; the first run warms nothing up."""
    with _dagster(home) as (client, instance):
        _run_once(client, instance)
        taken = [_run_once(client, instance) for _ in range(ROUNDS)]
    yield Row(
        "one-step run through the queue, submit to success, median of 5", median(taken), "s", LIMIT_S, "limit", 1.0
    )


def _run_once(client: DagsterGraphQLClient, instance: dg.DagsterInstance) -> float:
    begun = time.perf_counter()
    run_id = client.submit_job_execution(
        "__ASSET_JOB", "ryla", "__repository__", asset_selection=[dg.AssetKey("model_files")]
    )
    while time.perf_counter() - begun < RUN_S:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            if not run.is_success:
                raise RuntimeError(f"run {run_id} of model_files ended as {run.status}")
            return time.perf_counter() - begun
        time.sleep(0.02)
    raise RuntimeError(f"run {run_id} of model_files did not end within {RUN_S} s")


@contextmanager
def _dagster(home: Path) -> Iterator[tuple[DagsterGraphQLClient, dg.DagsterInstance]]:
    """`dagster dev` as `ryla dev` starts it: webserver, daemon and code server on the dagster.yaml that ryla writes."""
    folder = prepare_home(Settings(home=home))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-p", str(port)]
    with (home / "dagster.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "RYLA_HOME": str(home)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            with dg.DagsterInstance.from_config(str(folder)) as instance:
                yield _client(port), instance
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _client(port: int) -> DagsterGraphQLClient:
    """A client of the webserver, once it answers."""
    end = time.monotonic() + START_S
    while True:
        try:
            client = DagsterGraphQLClient("127.0.0.1", port_number=port)
            client._execute("query { version }")  # it has no public way to ask whether the webserver answers
            return client
        except DagsterGraphQLClientError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
