"""What tests against the fake RunPod share: a scene for a fault, the webhook receiver, a backend of either contract."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from resources import runpod_control
from resources.database import open_engine
from resources.gpu.backends.runpod import diagnosis, verdicts
from resources.gpu.backends.runpod.assemble import assembled
from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.service import Service
from resources.gpu.ledger import Ledger
from ryla_assets.api.webhooks import Webhooks, quiet_access_log
from tests.contracts import fault_table
from tests.contracts.fault_scene import CADENCE, Parts, Scene
from tests.fakes.fake_runpod import webhooks
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.fake_runpod.server import Server
from tests.s3 import S3Server

PARTLY: set[Path] = set()  # files of which some tests were left out


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note it."""
    PARTLY.update(item.path for item in items)


@pytest.fixture(scope="module", autouse=True)
def no_dead_rows(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once all fault tests of a file have passed, the page tells no case of theirs that none of them played."""
    yield
    group = fault_table.PLAYED_IN.get(request.path.stem.removeprefix("test_runpod_faults_"), "")
    partly = request.path in PARTLY or any("::" in argument for argument in request.config.args)
    played = any(case.startswith(group) for case, _ in fault_table.ROWS)
    if group and played and not partly and not request.session.testsfailed:
        assert fault_table.dead(group) == [], f"{fault_table.COMMAND} rewrites the page"


@pytest.fixture
def scene(
    tmp_path: Path,
    migrated_database: Path,
    s3: S3Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Scene]]:
    """Set a scene: `scene(contract="worker-comfyui")`; what takes minutes takes moments."""
    shutil.copy(migrated_database, tmp_path / "ryla.db")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(verdicts, "FIRST_WORKER_S", 0.3)
    monkeypatch.setattr(diagnosis, "LASTS_S", 0.4)
    monkeypatch.setattr(runpod_control, "SHARED_S", 0.05)
    monkeypatch.setattr(webhooks, "PAUSE_S", 0.3)
    engine = open_engine(f"sqlite:///{tmp_path}/ryla.db")
    scenes: list[Scene] = []

    def make(**options: Any) -> Scene:
        scenes.append(Scene(Parts(engine, s3, caplog, monkeypatch), **options))
        return scenes[-1]

    yield make
    for made in scenes:
        made.close()
    engine.dispose()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Server]:
    """The HTTP app's webhook receiver, on the scene's ledger and on a socket of its own."""
    quiet_access_log()
    engine = open_engine(f"sqlite:///{tmp_path}/ryla.db")
    server = Server(Starlette(routes=[*Webhooks(Ledger(engine)).routes()]))  # type: ignore[arg-type]
    server.start()
    yield server
    server.stop()
    engine.dispose()


@pytest.fixture
def runpod(s3: S3Server) -> Iterator[Callable[[str], RunPodBackend]]:
    """The backend for a worker contract, `runpod("ryla")`, on an account of its own whose workers draw previews."""
    endpoint = EndpointConfig("ep1", engine="preview", cold_s=0.1, exec_s=(0.05, 0.05), idle_s=1.0, workers_max=1)
    with FakeRunPod([endpoint], speed=1.0) as fake:
        service = Service(fake.jobs_url, fake.api_key, cadence=CADENCE)
        yield lambda contract: assembled(
            jobs_url=fake.jobs_url,
            control_url=fake.control_url,
            graphql_url=fake.graphql_url,
            key=fake.api_key,
            endpoints=Endpoints("ep1"),
            store=s3.store() if contract == "ryla" else None,
            engine="preview",
            service=service,
        )
        service.close()
