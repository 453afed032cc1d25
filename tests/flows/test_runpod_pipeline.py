"""The pipeline on RunPod: settings alone point it at a fake account over HTTP, and every asset materializes.

Both worker contracts, trainings on an endpoint or on pods; and real run processes that are terminated or killed while
their paid job runs. What RunPod does when it misbehaves is tests/contracts/test_runpod_faults_*.py's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from resources import images
from resources.database import reading, writing
from resources.gpu.backends.preview.book import IdentityBook
from resources.gpu.backends.preview.identity import person
from resources.gpu.records import Attempt
from resources.gpu.tables import attempts
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.images import ImageSet, LoraArtifact
from ryla_assets.instance import add_partition, materialize, prepare_home, why
from ryla_assets.settings import settings
from ryla_assets.studio.content import STAGE, ContentRequest, ask
from ryla_assets.studio.judge import judge_all
from ryla_assets.studio.lora import make_dataset
from ryla_assets.studio.studio import Studio
from tests.conftest import MARA
from tests.fakes.fake_runpod.config import EndpointConfig, PodSettings
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.scripted_studio import scripted_parts, to_sheet
from tests.s3 import S3Server

pytestmark = pytest.mark.flow

WHO = "mara-lind"
IMAGES, TRAINING = "ep-images", "ep-training"
PICK = {"policy": "best_score", "who": "the test"}
TRAINER = "registry.example/ryla/trainer:1"
PATIENCE_S = 60.0


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """An account in real time whose workers draw with the preview's engine."""
    endpoints = [
        EndpointConfig(IMAGES, engine="preview", cold_s=0.3, exec_s=(0.1, 0.1), idle_s=1.0, workers_max=2),
        EndpointConfig(TRAINING, engine="preview", cold_s=0.3, exec_s=(0.5, 0.5), idle_s=1.0, usd_per_s=0.00076,
                       gpu_pools=("AMPERE_80",)),
    ]  # fmt: skip
    pods = PodSettings(provision_s=0.1, start_s=0.2, engine="preview", exec_s=(0.5, 0.5))
    with FakeRunPod(endpoints, speed=1.0, pods=pods, api_key="rpa_SECRET0000000000") as running:
        yield running
        assert running.clock.errors == []


@pytest.fixture
def deploy(fake: FakeRunPod, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Studio]]:
    """Set the environment of a deployment, and build its studio from it: `deploy(RUNPOD_WORKER="ryla")`."""
    built: list[Studio] = []
    home.mkdir()

    def make(**more: str) -> Studio:
        environment = {
            "RYLA_BACKEND": "runpod",
            "RYLA_IMAGE_PX": "384",
            "RYLA_SHEET_IMAGES": "7",
            "RYLA_CONTENT_IMAGES": "2",
            "RUNPOD_API_KEY": fake.api_key,
            "RUNPOD_ENGINE": "preview",
            "RUNPOD_JOBS_URL": fake.jobs_url,
            "RUNPOD_CONTROL_URL": fake.control_url,
            "RUNPOD_GRAPHQL_URL": fake.graphql_url,
            "RUNPOD_IMAGE_ENDPOINT_ID": IMAGES,
            "RUNPOD_TRAINING_ENDPOINT_ID": TRAINING,
            **more,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        studio = build_studio(settings())
        built.append(studio)
        studio.registry.add_character(parse_character({"id": WHO, "config": MARA}, source="the test"))
        studio.registry.activate(WHO)
        return studio

    yield make
    for studio in built:
        studio.registry.engine.dispose()


def on_s3(s3: S3Server) -> dict[str, str]:
    """The settings of a store that far workers reach."""
    return {"RYLA_STORAGE_URL": s3.url(), **{f"RYLA_{name.upper()}": value for name, value in s3.settings().items()}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that knows the character."""
    with dg.DagsterInstance.ephemeral() as made:
        add_partition(made, WHO)
        yield made


def all_attempts(studio: Studio) -> list[Attempt]:
    """Every attempt in the ledger, oldest first."""
    with reading(studio.registry.engine) as db:
        ids = list(db.execute(sa.select(attempts.c.id).order_by(attempts.c.intended_at)).scalars())
    found = studio.runner.ledger.read(ids)
    return [found[attempt_id] for attempt_id in ids]


def step(studio: Studio, instance: dg.DagsterInstance, *assets: str, **config: Any) -> dg.ExecuteInProcessResult:
    """One run with its checks, which must succeed."""
    who = None if assets == ("model_files",) else WHO
    result = materialize(studio, instance, assets, character=who, config=config)
    assert result.success, why(result)
    return result


def to_the_sheet(studio: Studio, instance: dg.DagsterInstance) -> None:
    """From the description to an accepted character sheet."""
    step(studio, instance, "model_files")
    step(studio, instance, "character", "base_images")
    step(studio, instance, "selected_base_image", selected_base_image=PICK)
    step(studio, instance, "character_sheet")
    assert studio.is_accepted("character_sheet", WHO)


def pictures(studio: Studio, instance: dg.DagsterInstance, method: str) -> tuple[str, ImageSet]:
    """A content request by that route, answered: its id and its pictures."""
    wanted = ContentRequest(scene="candid-lifestyle", environment="cafe", count=1, asked_by="the test", method=method)  # type: ignore[arg-type]
    request = ask(studio, WHO, wanted)
    step(studio, instance, STAGE, generated_images={"request": request.id})
    made = studio.current(STAGE, WHO)
    assert isinstance(made, ImageSet)
    assert studio.is_accepted(STAGE, WHO)
    return request.id, made


def trained(studio: Studio, instance: dg.DagsterInstance, *before: str) -> LoraArtifact:
    """The weights, once the training that was submitted is over."""
    step(studio, instance, *before, "lora_training")
    give_up = time.monotonic() + PATIENCE_S
    while not studio.is_accepted("lora_weights", WHO) and time.monotonic() < give_up:
        step(studio, instance, "lora_weights")
    weights = studio.current("lora_weights", WHO)
    assert isinstance(weights, LoraArtifact)
    return weights


def hold_true(studio: Studio, made: ImageSet, route: str) -> None:
    """Its pictures are the fake workers', marked for what they are; its times and money are the ledger's."""
    assert (made.backend, made.render_domain, made.route) == ("runpod", "preview", route)
    for record in made.images:
        assert images.read_mark(studio.store.get("images", record.sha256)) == "algorithmicMedia"
    mine = [a for a in all_attempts(studio) if a.fingerprint in {record.job for record in made.images}]
    assert {a.state for a in mine} == {"succeeded"}
    assert made.timing.cost_usd == pytest.approx(sum(a.cost_usd for a in mine))
    assert made.timing.cost_usd > 0
    assert made.timing.exec_s > 0
    assert made.timing.cost_usd == pytest.approx(made.timing.run_usd + made.timing.cold_usd + made.timing.idle_usd)


def bill(fake: FakeRunPod) -> float:
    """What the account is charged once its workers have gone to sleep."""
    with fake.clock.lock:
        stops = [w.stopping.when for pool in fake.world.pools.values() for w in pool.workers.values() if w.stopping]
        return sum(lease.usd(max([fake.clock.now(), *stops])) for lease in fake.bill.leases)


def test_every_asset_materializes_by_settings_alone(
    deploy: Callable[..., Studio], fake: FakeRunPod, instance: dg.DagsterInstance, s3: S3Server,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Our worker: from the description to LoRA pictures, and once more for nothing."""
    caplog.set_level("INFO")
    studio = deploy(RUNPOD_WORKER="ryla", **on_s3(s3))
    to_the_sheet(studio, instance)
    swap_request, swapped = pictures(studio, instance, "face_swap")
    weights = trained(studio, instance, "lora_dataset")
    lora_request, drawn = pictures(studio, instance, "lora")

    sheet = studio.current("character_sheet", WHO)
    assert isinstance(sheet, ImageSet)
    for made, route in ((sheet, "face_swap"), (swapped, "face_swap"), (drawn, "lora")):
        hold_true(studio, made, route) if made is not sheet else hold_true(studio, made, str(sheet.route))
    ours = all_attempts(studio)
    assert {a.attempt for a in fake.accepted} == {a.id for a in ours}, "every job that RunPod took is in the ledger"
    assert {a.endpoint.rpartition("/")[2] for a in ours} == {IMAGES, TRAINING}
    assert fake.alive() == []
    assert {a.cost_basis for a in ours} == {"reported"}
    assert sum(a.cost_usd for a in ours) >= bill(fake) - 1e-9
    assert any(a.cold_s > 0 for a in ours)
    assert weights.timing.cost_usd > 0

    taken, charged, counted = len(fake.accepted), len(fake.bill.leases), len(ours)
    step(studio, instance, "character", "base_images")
    step(studio, instance, "selected_base_image", selected_base_image=PICK)
    step(studio, instance, "character_sheet")
    step(studio, instance, "lora_dataset", "lora_training")
    step(studio, instance, "lora_weights")
    for request in (swap_request, lora_request):
        step(studio, instance, STAGE, generated_images={"request": request})
    assert (len(fake.accepted), len(fake.bill.leases), len(all_attempts(studio))) == (taken, charged, counted)

    logged = [r.getMessage() for r in caplog.records if not (r.threadName or "").startswith("fake-runpod")]
    events = [record.message for run in instance.get_runs() for record in instance.all_logs(run.run_id)]
    shown = "\n".join([*logged, *events])
    assert fake.api_key not in shown
    assert s3.access.secret_access_key not in shown


def test_image_side_runs_on_worker_comfyui(
    deploy: Callable[..., Studio], fake: FakeRunPod, instance: dg.DagsterInstance
) -> None:
    """The official worker and a store in a folder: pictures by face swap; training is refused with the way out."""
    studio = deploy(RUNPOD_WORKER="worker-comfyui")
    to_the_sheet(studio, instance)
    _, swapped = pictures(studio, instance, "face_swap")
    hold_true(studio, swapped, "face_swap")
    before = len(fake.accepted)
    assert before == len(all_attempts(studio))
    result = materialize(studio, instance, ["lora_dataset", "lora_training"], character=WHO)
    assert not result.success
    assert "RUNPOD_WORKER=ryla" in why(result)
    assert len(fake.accepted) == before
    assert sum(a.cost_usd for a in all_attempts(studio)) >= bill(fake) - 1e-9


# ---- real run processes


def a_run(asset: str) -> subprocess.Popen[str]:
    """A process of its own that materializes one asset, as a run worker does."""
    command = [
        sys.executable, "-m", "dagster", "asset", "materialize", "-m", "ryla_assets.definitions",
        "--select", asset, "--partition", WHO,
    ]  # fmt: skip
    return subprocess.Popen(
        command, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def until(look: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until `look` is true; fail with the process's words if it ends before."""
    give_up = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < give_up
        if process is not None and process.poll() is not None:
            pytest.fail(process.communicate()[0][-3000:])
        time.sleep(0.02)


@pytest.fixture
def house(deploy: Callable[..., Studio], s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """A deployment whose Dagster instance lies in a folder, for several processes."""
    studio = deploy(RUNPOD_WORKER="ryla", **on_s3(s3))
    monkeypatch.setenv("DAGSTER_HOME", "")  # prepare_home sets it; put back at the end
    with dg.DagsterInstance.from_config(str(prepare_home(settings()))) as instance:
        add_partition(instance, WHO)
        step(studio, instance, "character")
    return studio


def test_terminated_run_cancels_its_remote_job(house: Studio, fake: FakeRunPod) -> None:
    """RunPod is told, the worker stops, and the ledger says what it cost until then."""
    fake.faults.script(IMAGES, duration_s=60.0)
    process = a_run("base_images")
    until(lambda: any(a.state == "running" for a in all_attempts(house)), process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[0]
    assert {fake.job(a.job_id).status for a in fake.accepted} == {"CANCELLED"}, said[-3000:]
    assert fake.alive() == []
    assert {a.state for a in all_attempts(house)} == {"cancelled"}
    assert sum(a.cost_usd for a in all_attempts(house)) >= bill(fake) - 1e-9
    assert fake.api_key not in said


def test_killed_run_is_taken_over_by_the_next_process(house: Studio, fake: FakeRunPod) -> None:
    """SIGKILL: the paid job goes on, and the next run takes it; there is no second one."""
    fake.faults.script(IMAGES, duration_s=3.0)
    process = a_run("base_images")
    until(lambda: any(a.state == "running" for a in all_attempts(house)), process)
    process.kill()
    process.communicate(timeout=30)
    taken = len(fake.accepted)
    said = a_run("base_images").communicate(timeout=PATIENCE_S)[0]
    assert house.is_accepted("base_images", WHO) or house.current("base_images", WHO), said[-3000:]
    assert {a.state for a in all_attempts(house)} == {"succeeded"}
    assert taken == len(fake.accepted) == len(all_attempts(house)), "a second paid job"
    assert len(fake.executions) == taken
    assert sum(a.cost_usd for a in all_attempts(house)) >= bill(fake) - 1e-9


# ---- trainings on pods


def test_loras_are_trained_on_pods_by_a_setting(
    deploy: Callable[..., Studio], fake: FakeRunPod, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No training endpoint, but an image: one pod trains, also if its run is killed before it hears of the pod.

    The pod that is paid for is found by its name, and pictures go where they went before.
    """
    monkeypatch.setattr("resources.gpu.backends.runpod.pods.LOOK_S", 0.3)  # RunPod's quota is 60 looks a minute
    monkeypatch.setenv("DAGSTER_HOME", "")
    image = {"RUNPOD_TRAINING_ENDPOINT_ID": "", "RUNPOD_TRAINING_POD_IMAGE": TRAINER}
    studio = deploy(RUNPOD_WORKER="ryla", **image, **on_s3(s3))
    with dg.DagsterInstance.from_config(str(prepare_home(settings()))) as instance:
        add_partition(instance, WHO)
        dataset_by_script(fake)
        killed_while_its_pod_is_created(fake, studio)
        weights = trained(studio, instance)
        step(studio, instance, "base_images", base_images={"new_take": True})

    [pod] = fake.world.pods.pods.values()
    assert (pod.spec["image"], pod.status) == (TRAINER, "TERMINATED")
    assert fake.alive() == []
    ours = [a for a in all_attempts(studio) if a.backend == "runpod"]
    [training] = [a for a in ours if a.fingerprint == weights.job]
    assert (training.state, training.endpoint) == ("succeeded", f"{fake.jobs_url}/pod")
    assert training.remote_id == f"pod/{pod.id}/{weights.job}"
    assert [done.attempt for done in fake.executions if done.worker == pod.id] == [training.id]
    assert (weights.render_domain, weights.timing.cost_usd) == ("preview", training.cost_usd)
    assert training.cost_usd >= fake.bill.total(pod.id) > 0
    assert {a.endpoint.rpartition("/")[2] for a in ours if a is not training} == {IMAGES}
    assert sum(a.cost_usd for a in ours) >= bill(fake) - 1e-9


def dataset_by_script(fake: FakeRunPod) -> None:
    """An accepted data set whose pictures nobody drew; the pod's engine is told who is on them."""
    studio = build_studio(settings(), **scripted_parts())
    dataset = make_dataset(studio, to_sheet(studio, WHO))
    studio.publish(dataset)
    judge_all(studio, "lora_dataset", WHO)
    book = IdentityBook(fake.world.folder / "identities")
    for picture in dataset.images:
        book.put(picture.pixels_sha256, person(7, {"gender": "female", "age": "34"}))
    studio.registry.engine.dispose()


def killed_while_its_pod_is_created(fake: FakeRunPod, studio: Studio) -> None:
    """A run that gets SIGKILL when RunPod has its pod, and it has not heard so; more than a lease ago."""
    slow = fake.faults.add("pods.create", "delay", seconds=PATIENCE_S, after=True)
    process = a_run("lora_training")
    until(lambda: fake.world.pods.pods, process)
    process.kill()
    process.communicate(timeout=30)
    fake.faults.rules.remove(slow)
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(attempts).values(lease_until=0.0))
