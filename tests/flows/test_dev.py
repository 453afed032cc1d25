"""The whole house as `ryla dev` starts it: webserver, daemon, code server, run workers, preview workers, HTTP app.

One start for all tests of this file (it takes tens of seconds); each test uses a character of its own.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import pytest

from ryla_assets.build import build_studio
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Studio

pytestmark = pytest.mark.flow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "characters"
PATIENCE_S = 150
T = TypeVar("T")


@dataclass
class Dev:
    """A running `ryla dev` and the handles a person would have on it."""

    home: Path
    port: int
    app_url: str
    studio: Studio
    instance: dg.DagsterInstance
    environment: dict[str, str]

    def ryla(self, *words: str) -> Any:
        """Run a command of the command line with --json and return what it printed."""
        command = [sys.executable, "-m", "ryla_assets.cli", *words, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def add(self, name: str) -> str:
        """Add an example character under its own id, active."""
        self.ryla("characters", "add", str(EXAMPLES / f"{name}.yaml"), "--activate")
        return name

    def graphql(self, query: str, **variables: Any) -> Any:
        """Ask Dagster's webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def sheet_attempts(self, character: str) -> list[Any]:
        """The ledger's attempts of this character's sheet."""
        ledger = self.studio.runner.ledger
        found = []
        for request in self.studio.registry.requests(character, "character_sheet"):
            for planned in request.plan or []:
                from resources.gpu.job import Job

                job = Job.from_dict(planned["job"])
                found += ledger.attempts(job.fingerprint(self.studio.runner.backend.profile(job)))
        return found

    def running_sheet(self, character: str) -> Any:
        """A sheet attempt that a worker is drawing right now, or None."""
        return next((a for a in self.sheet_attempts(character) if a.state == "running"), None)


def eventually(look: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """Poll until `look` returns something true."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {patience_s} s: {what}")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Start `ryla dev` in a new RYLA_HOME and stop it at the end."""
    home = tmp_path_factory.mktemp("dev")
    port, app_port = free_port(), free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RYLA_", "DAGSTER_"))}
    public = f"http://127.0.0.1:{app_port}"
    environment = {**clean, "RYLA_HOME": str(home), "RYLA_PUBLIC_URL": public}
    command = [sys.executable, "-m", "ryla_assets.cli", "dev", "--port", str(port)]
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        studio = build_studio(Settings(home=home, public_url=public))
        try:
            eventually(lambda: answers(f"{public}/health"), "the HTTP app answers")
            eventually(lambda: answers(f"http://127.0.0.1:{port}/server_info"), "the webserver answers")
            with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
                yield Dev(home, port, public, studio, instance, environment)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            studio.registry.engine.dispose()


def answers(url: str) -> bool:
    """True if the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_activation_and_one_pick_lead_to_lora_images(dev: Dev) -> None:
    """Base images come, a person picks, and LoRA-routed images exist with no other manual step."""
    who = dev.add("mara-lind")
    eventually(lambda: dev.studio.is_accepted("base_images", who), "base images are accepted")
    assert dev.studio.registry.head("character_sheet", who) is None, "no sheet before a person picked"
    dev.ryla("characters", "select", who, "1", "--why", "flow test")

    def lora_images() -> ImageSet | None:
        images = dev.studio.current("generated_images", who)
        done = (
            isinstance(images, ImageSet) and images.route == "lora" and dev.studio.is_accepted("generated_images", who)
        )
        return images if done and isinstance(images, ImageSet) else None

    images = eventually(lora_images, "LoRA-routed images are accepted")
    assert {image.method for image in images.images} == {"lora"}
    assert dev.studio.registry.character(who).lora_status == "ready"
    assert set(dev.studio.runner.backend.executions().values()) == {1}  # type: ignore[attr-defined]


def test_previews_open_by_their_capability_url_only(dev: Dev) -> None:
    """The thumbnails in a materialization's preview are served; a changed token is not."""
    event = dev.instance.get_latest_materialization_event(dg.AssetKey("base_images"))
    assert event is not None
    assert event.asset_materialization is not None
    preview = str(event.asset_materialization.metadata["preview"].value)
    assert len(preview) < 1000, "longer markdown hides behind a click"
    urls = re.findall(r"\((http[^)]+)\)", preview)
    assert len(urls) == 3
    with urllib.request.urlopen(urls[0], timeout=10) as answer:
        assert answer.headers["Content-Type"] == "image/webp"
        assert answer.read()[8:12] == b"WEBP"
    forged = urls[0].replace("/t/", "/t/A") if "/t/A" not in urls[0] else urls[0].replace("/t/A", "/t/B")
    assert not answers(forged)


def test_terminating_a_run_cancels_its_remote_jobs(dev: Dev) -> None:
    """Terminate in the UI: what the run was paying for is stopped and settled, not left burning."""
    who = dev.add("lucia-ferrer")
    eventually(lambda: dev.studio.is_accepted("base_images", who), "base images are accepted")
    dev.ryla("characters", "select", who, "1")
    attempt = eventually(lambda: dev.running_sheet(who), "a sheet job is running")
    dev.graphql("mutation T($id: String!) { terminateRun(runId: $id) { __typename } }", id=attempt.run_id)
    run = eventually(lambda: finished(dev.instance, attempt.run_id), "the run ended")
    assert run.status == dg.DagsterRunStatus.CANCELED
    attempts = dev.sheet_attempts(who)
    assert {a.state for a in attempts} <= {"cancelled", "succeeded"}
    assert "cancelled" in {a.state for a in attempts}
    assert all(a.settled_at is not None for a in attempts)
    assert not dev.studio.runner.ledger.open_attempts("image")


def test_a_killed_run_worker_loses_and_doubles_nothing(dev: Dev) -> None:
    """SIGKILL during a sheet: the detached jobs go on, and the re-run adopts them."""
    who = dev.add("kofi-mensah")
    eventually(lambda: dev.studio.is_accepted("base_images", who), "base images are accepted")
    dev.ryla("characters", "select", who, "1")
    attempt = eventually(lambda: dev.running_sheet(who), "a sheet job is running")
    os.kill(run_pid(dev.instance, attempt.run_id), signal.SIGKILL)

    result = materialize(dev.studio, dev.instance, ["selected_base_image", "character_sheet"], character=who)

    assert result.success
    assert dev.studio.is_accepted("character_sheet", who)
    counts = dev.studio.runner.backend.executions()  # type: ignore[attr-defined]
    assert set(counts.values()) == {1}, "no fingerprint was executed twice"
    assert {a.state for a in dev.sheet_attempts(who)} == {"succeeded"}
    assert attempt.id in {a.id for a in dev.sheet_attempts(who)}


def test_materialize_all_on_a_fresh_character_ends_in_success(dev: Dev) -> None:
    """Base images are made; what needs a pick is skipped, and the run says why."""
    from ryla_assets.registry.files import load_character

    spec = load_character(EXAMPLES / "samira-haddad.yaml")
    dev.studio.registry.add_character(spec)
    dev.studio.registry.activate(spec.id)
    add_partition(dev.instance, spec.id)
    every = [
        "model_files",
        "character",
        "base_images",
        "selected_base_image",
        "character_sheet",
        "lora_dataset",
        "lora_training",
        "lora_weights",
        "generated_images",
    ]
    result = materialize(dev.studio, dev.instance, every, character=spec.id)
    assert result.success
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert made == {"model_files", "character", "base_images"}
    said = " ".join(record.user_message for record in dev.instance.all_logs(result.run_id))
    assert f"ryla characters select {spec.id}" in said


def finished(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    """The run, once it ended."""
    run = instance.get_run_by_id(run_id)
    return run if run and run.is_finished else None


def run_pid(instance: dg.DagsterInstance, run_id: str) -> int:
    """The process of a run's worker, as its own event says."""

    def look() -> int | None:
        for record in instance.all_logs(run_id):
            found = re.search(r"\(pid: (\d+)\)", record.message)
            if found:
                return int(found.group(1))
        return None

    return eventually(look, "the run names its process")
