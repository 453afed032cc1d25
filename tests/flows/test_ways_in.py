"""Every way in that spends money or publishes, tried on one character whose sheet is refused.

The refusal is real: drawn by the preview, measured by the scorer, written by the checks of a Dagster run. Each test
ends with the count of attempts and of executions that it began with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from resources.database import reading
from resources.gpu import ledger
from resources.gpu.backends.preview.backend import PreviewBackend
from ryla_assets.build import build_defs, build_studio, default_assets, default_checks
from ryla_assets.cli import main
from ryla_assets.domain.errors import NotAccepted, Refused
from ryla_assets.domain.images import Caption, ImageSet, LoraDataset
from ryla_assets.instance import add_partition, materialize, prepare_home, why
from ryla_assets.manifest_io import manifest_io_manager
from ryla_assets.prompts.lexicon import lexicon
from ryla_assets.registry.files import load_character
from ryla_assets.registry.registry import Gate
from ryla_assets.settings import Settings
from ryla_assets.studio import content, lora
from ryla_assets.studio.content import STAGE, ContentRequest, ask
from ryla_assets.studio.studio import Studio, name_of
from sensors.content import content_wanted__generated_images
from sensors.intake import character_activated__base_images
from sensors.selection import base_image_selected__character_sheet
from sensors.training import sheet_accepted__lora_training, training_finished__lora_weights
from tests.fakes.scripted_studio import IMAGE_PX, scripted_parts, to_base

pytestmark = pytest.mark.flow

WHO, FRESH = "kofi-mensah", "yuki-tanaka"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "characters"
DRIFT = 0.2  # PuLID's hold turned down: most shots show somebody else
PX = {"image_px": 512, "sheet_images": 7, "content_images": 1}
DOWNSTREAM = ["lora_dataset", "lora_training", "lora_weights", STAGE]
REFUSAL = f"character_sheet: that of {WHO} is not accepted: identity: "
WAY_OUT = (
    f"Make another on purpose: ryla characters regenerate {WHO} --stage character_sheet, "
    "or materialize character_sheet with new_take."
)
SENSORS = (
    character_activated__base_images,
    base_image_selected__character_sheet,
    sheet_accepted__lora_training,
    training_finished__lora_weights,
    content_wanted__generated_images,
)


@dataclass
class House:
    """A deployment with the refused character, and what was spent in it so far."""

    studio: Studio
    instance: dg.DagsterInstance
    request: str  # a content request that waits

    def spent(self) -> tuple[int, dict[str, int]]:
        """Attempts in the ledger, and executions by the preview's own count."""
        with reading(self.studio.registry.engine) as db:
            attempts = db.execute(sa.select(sa.func.count()).select_from(ledger.attempts)).scalar_one()
        backend = self.studio.runner.backend
        assert isinstance(backend, PreviewBackend)
        return int(attempts), dict(backend.executions())

    def launch(self, *assets: str, **config: Any) -> dg.ExecuteInProcessResult:
        """A launch by hand, for the refused character."""
        return materialize(self.studio, self.instance, assets, character=WHO, config=config)

    def sheet(self) -> ImageSet:
        """The refused sheet."""
        found = self.studio.current("character_sheet", WHO)
        assert isinstance(found, ImageSet)
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[House]:
    """Base images, a pick, and a sheet that drifts: all by real runs of the instance."""
    home = tmp_path_factory.mktemp("ways")
    shutil.copy(migrated_database, home / "ryla.db")
    config = Settings(home=home, preview_workers=2, **PX)
    backend = PreviewBackend(home / "preview", lexicon=lexicon(), workers=2)
    studio = build_studio(config, backend=backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")  # prepare_home sets it for this process; put back at the end
        dagster_home = prepare_home(config)
        with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
            for name in (WHO, FRESH):
                studio.registry.add_character(load_character(EXAMPLES / f"{name}.yaml"))
                studio.registry.activate(name)
                add_partition(instance, name)
            made = House(studio, instance, "")
            assert made.launch("character", "base_images").success
            assert made.launch("selected_base_image", selected_base_image={"policy": "best_score"}).success
            refused = made.launch("character_sheet", character_sheet={"identity_weight": DRIFT})
            assert "character_sheet__identity" in why(refused), "the sheet was to be refused"
            made.request = ask(studio, WHO, ContentRequest(count=1, asked_by="the test")).id
            yield made
    studio.registry.engine.dispose()


@pytest.fixture
def nothing_spent(house: House) -> Iterator[None]:
    """The test sends nothing: as many attempts and executions after it as before."""
    before = house.spent()
    assert before[0] > 0
    yield
    assert house.spent() == before


def made_in(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that a run materialized."""
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


# ---- the refusal itself


@pytest.mark.usefixtures("nothing_spent")
def test_sheet_is_refused_by_its_identity_alone(house: House) -> None:
    """The pictures are whole and marked; they show somebody else. The row says how many, and is what everybody asks."""
    head = house.studio.registry.head("character_sheet", WHO)
    assert head is not None
    assert head.accepted_sha256 is None
    verdicts = {g.claim: g for g in house.studio.registry.gates("character_sheet", WHO, head.current_sha256)}
    assert {claim for claim, gate in verdicts.items() if not gate.passed} == {"identity"}
    numbers = verdicts["identity"].numbers
    assert numbers["identity_consistency"] < numbers["identity_gate"] == 0.9
    assert numbers["requested"] == 6
    assert house.sheet().rejected, "each failed shot had its one re-roll"


# ---- launches by hand


@pytest.mark.usefixtures("nothing_spent")
@pytest.mark.parametrize(
    ("asset", "said", "way_out"),
    [
        ("lora_dataset", REFUSAL, WAY_OUT),
        (STAGE, REFUSAL, WAY_OUT),
        ("lora_training", f"{WHO} has no lora_dataset yet.", "Materialize lora_dataset first."),
        ("lora_weights", f"{WHO} has no lora_training yet.", "Materialize lora_training first."),
    ],
)
def test_launch_of_one_asset_is_refused(house: House, asset: str, said: str, way_out: str) -> None:
    """From the UI, alone: the failure says what refuses it and what to do."""
    result = house.launch(asset)
    assert not result.success
    assert said in why(result)
    assert way_out in why(result)
    assert made_in(result) == set()


@pytest.mark.usefixtures("nothing_spent")
def test_launch_of_everything_downstream_is_refused(house: House) -> None:
    """Together in one run: the first that asks is refused, the others are not even started."""
    result = house.launch(*DOWNSTREAM)
    assert not result.success
    assert REFUSAL in why(result)
    assert made_in(result) == set()


@pytest.mark.usefixtures("nothing_spent")
def test_retry_changes_nothing(house: House) -> None:
    """A refusal is final for this manifest: Dagster is told not to try again, and trying again ends alike."""
    texts = []
    for _ in range(2):
        result = house.launch("lora_dataset")
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        assert [data.user_failure_data.label for data in failures if data.user_failure_data] == ["intentional-failure"]
        assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
        texts.append(why(result))
    assert texts[0] == texts[1]


@pytest.mark.usefixtures("nothing_spent")
def test_materializing_the_sheet_again_refuses_again(house: House) -> None:
    """Adopted, not drawn anew: the same manifest gets the same verdict, for no money."""
    before = house.sheet()
    result = house.launch("character_sheet", character_sheet={"identity_weight": DRIFT})
    assert not result.success
    assert house.sheet() == before
    assert not house.studio.is_accepted("character_sheet", WHO)


@pytest.mark.usefixtures("nothing_spent")
def test_training_on_a_dataset_of_the_refused_sheet_is_refused(house: House) -> None:
    """A dataset that was accepted before its sheet was refused is no way around the sheet."""
    sheet = house.sheet()
    base = house.studio.current("selected_base_image", WHO)
    assert isinstance(base, ImageSet)
    rows = [
        Caption(sha256=i.sha256, pixels_sha256=i.pixels_sha256, caption="bcdfghjk", shot=i.shot) for i in sheet.images
    ]
    dataset = LoraDataset(
        character=WHO, take=1, request_id=f"{WHO}/lora_dataset/1", render_domain="preview", base_model="flux-dev",
        trigger="bcdfghjk", images=tuple(rows), parents=(name_of(sheet), name_of(base)),
    )  # fmt: skip
    house.studio.publish(dataset)
    gate = Gate("dataset", True, "as told", {}, "bytes")
    assert house.studio.registry.judge("lora_dataset", WHO, name_of(dataset), gate, required=("dataset",))
    with forgotten(house.studio, "lora_dataset"):
        for launched in (["lora_training"], ["lora_training", "lora_weights"]):
            result = house.launch(*launched)
            assert not result.success
            assert "made from character_sheet" in why(result)
            assert "which is not accepted: identity: " in why(result)
            assert "Make what it was made from anew" in why(result)
            assert made_in(result) == set()


class forgotten:  # noqa: N801  it reads as a sentence
    """Take the head that a test made out again: the other tests expect none."""

    def __init__(self, studio: Studio, asset: str) -> None:
        self.studio, self.asset = studio, asset

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, *_: object) -> None:
        from resources.database import writing
        from ryla_assets.registry import tables

        with writing(self.studio.registry.engine) as db:
            db.execute(sa.delete(tables.heads).where(tables.heads.c.asset == self.asset))


# ---- backfills and sensors


@pytest.mark.usefixtures("nothing_spent")
def test_backfill_over_characters_is_refused_for_each(house: House) -> None:
    """One run a partition by the deployed definitions, as a backfill launches them: each with its own reason."""
    job = build_defs(studio=house.studio).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(asset) for asset in DOWNSTREAM]
    said = {}
    for who in (WHO, FRESH):
        result = job.execute_in_process(
            partition_key=who, instance=house.instance, asset_selection=keys, raise_on_error=False,
            tags={"dagster/backfill": "by-hand"},
        )  # fmt: skip
        assert not result.success
        assert made_in(result) == set()
        said[who] = why(result)
    assert REFUSAL in said[WHO]
    assert f"{FRESH} has no character_sheet yet. Materialize character_sheet first." in said[FRESH]


@pytest.mark.usefixtures("nothing_spent")
@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.name)
def test_no_sensor_asks_for_a_run(house: House, sensor: dg.SensorDefinition) -> None:
    """From the first event on: no training, no content, and no second sheet by itself."""
    with dg.build_sensor_context(
        instance_ref=house.instance.get_ref(),
        definitions=build_defs(studio=house.studio),
        resources={"studio": house.studio},
        sensor_name=sensor.name,
    ) as context:
        asked = sensor.evaluate_tick(context).run_requests or []
    assert [request.run_key for request in asked if request.partition_key == WHO] == []


@pytest.mark.usefixtures("nothing_spent")
def test_asked_content_waits(house: House) -> None:
    """The request of a person is neither lost nor planned: it is made when the sheet is accepted."""
    found = house.studio.registry.request(house.request)
    assert found is not None
    assert (found.state, found.plan) == ("pending", None)


@pytest.mark.usefixtures("nothing_spent")
def test_daily_batch_has_a_row_and_serves_nobody(house: House) -> None:
    """The day succeeds; the row says which claim refuses and the way out; no request is left behind."""
    result = materialize(house.studio, house.instance, ["content_batch"], character="2026-11-02")
    assert result.success, why(result)
    [event] = result.asset_materializations_for_node("content_batch")[-1:]
    table = event.metadata["results"]
    assert isinstance(table, dg.TableMetadataValue)
    [row] = [record.data for record in table.records]
    assert (row["character"], row["accepted"], row["images"]) == (WHO, False, 0)
    assert REFUSAL in str(row["reason"])
    assert WAY_OUT in str(row["reason"])
    assert [r.id for r in house.studio.registry.requests(WHO, STAGE)] == [house.request]


# ---- command line and code


@pytest.mark.usefixtures("nothing_spent")
@pytest.mark.parametrize("method", ["auto", "face_swap"])
def test_command_line_is_refused(house: House, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """`ryla generate --now`: exit 1, and the reason instead of pictures."""
    ryla_environment(house, monkeypatch)
    words = ["generate", WHO, "--count", "1", "--method", method, "--now"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert REFUSAL in said
    assert WAY_OUT in said
    as_json = CliRunner().invoke(main, [*words, "--json"])
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, [])
    withdraw(house)


@pytest.mark.usefixtures("nothing_spent")
def test_lora_by_command_line_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the LoRA asks the sheet's gate first: there is none without it."""
    ryla_environment(house, monkeypatch)
    result = CliRunner().invoke(main, ["generate", WHO, "--method", "lora", "--now"])
    assert result.exit_code == 1
    assert REFUSAL in " ".join(result.stdout.split())
    withdraw(house)


def ryla_environment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the house, as a shell has them."""
    monkeypatch.setenv("DAGSTER_HOME", os.environ.get("DAGSTER_HOME", ""))  # the command sets its own
    monkeypatch.setenv("RYLA_HOME", str(house.studio.settings.home))
    for name, value in PX.items():
        monkeypatch.setenv(f"RYLA_{name.upper()}", str(value))


def withdraw(house: House) -> None:
    """Mark what the command asked for as refused, so that one request waits as before."""
    for request in house.studio.registry.requests(WHO, STAGE, states=("pending",)):
        if request.id != house.request:
            assert request.plan is None
            house.studio.registry.finish_request(request.id, "refused")


@pytest.mark.usefixtures("nothing_spent")
@pytest.mark.parametrize(
    "call",
    [
        lambda h: content.generate(h.studio, h.studio.registry.request(h.request)),
        lambda h: lora.make_dataset(h.studio, h.sheet()),
        lambda h: lora.make_dataset(h.studio, h.sheet(), new_take=True),
    ],
    ids=["generate", "make_dataset", "make_dataset anew"],
)
def test_studio_function_is_refused(house: House, call: Callable[[House], Any]) -> None:
    """Called directly, with the manifest in hand: the gate is inside, not around."""
    with pytest.raises(NotAccepted) as caught:
        call(house)
    assert REFUSAL in str(caught.value)
    assert caught.value.way_out == WAY_OUT
    assert caught.value.exit_code == 1


# ---- not judged yet, and gates that only record


def run(
    studio: Studio, instance: dg.DagsterInstance, selection: dg.AssetSelection, who: str
) -> dg.ExecuteInProcessResult:
    """A launch of exactly this; the partition is a tag: checks alone have no asset to take it from."""
    return dg.materialize(
        [*default_assets, *default_checks],
        selection=selection,
        tags={"dagster/partition": who},
        instance=instance,
        resources={
            "studio": studio,
            "manifests": dg.IOManagerDefinition(manifest_io_manager, required_resource_keys={"studio"}),
        },
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def test_unjudged_sheet_is_refused_until_its_checks_ran(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any]
) -> None:
    """Leaving the checks out is no way in either; executing them opens the gate."""
    studio = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7)
    make_character(studio, "mara-lind")
    to_base(studio, "mara-lind")
    with dg.DagsterInstance.ephemeral() as instance:
        add_partition(instance, "mara-lind")
        unchecked = dg.AssetSelection.assets("character_sheet").without_checks()
        assert run(studio, instance, unchecked, "mara-lind").success
        sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
        for asset in ("lora_dataset", STAGE):
            result = materialize(studio, instance, [asset], character="mara-lind")
            assert not result.success
            assert "integrity: not yet judged; provenance: not yet judged; quality: not yet judged" in why(result)
            assert "Execute the checks of character_sheet for this partition." in why(result)
        assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]
        checks = dg.AssetSelection.checks_for_assets("character_sheet")
        assert run(studio, instance, checks, "mara-lind").success
        assert materialize(studio, instance, ["lora_dataset"], character="mara-lind").success


def test_recording_gates_let_through_and_mark_unaccepted(house: House) -> None:
    """RYLA_GATES=record: pictures are made, the sheet stays unaccepted, what the data cannot bear is refused."""
    config = house.studio.settings.model_copy(update={"gates": "record"})
    recording = build_studio(config, backend=house.studio.runner.backend)
    before = house.spent()
    try:
        images = materialize(recording, house.instance, [STAGE], character=WHO)
        assert images.success, why(images)
        assert house.spent()[0] == before[0] + 1, "one picture was asked for"
        dataset = materialize(recording, house.instance, ["lora_dataset"], character=WHO)
        assert not dataset.success
        assert "pictures of kofi-mensah are fit to train on; 6 are needed" in why(dataset)
    finally:
        recording.registry.engine.dispose()
    head = house.studio.registry.head("character_sheet", WHO)
    assert head is not None
    assert head.accepted_sha256 is None
    with pytest.raises(Refused):
        house.studio.accepted("character_sheet", WHO)
