"""What goes wrong with sensors: a cause that is missed or answered twice, a flood, one bad row that stops them all."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from resources.gpu.budget import Budgets
from resources.gpu.job import Job, OutputSpec
from resources.gpu.records import Intent
from ryla_assets.build import build_defs
from ryla_assets.domain.images import ImageSet, LoraArtifact, LoraDataset, TrainingTicket
from ryla_assets.registry.registry import Gate
from ryla_assets.studio.content import STAGE, ContentRequest, ask
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, name_of
from sensors.content import content_wanted__generated_images
from sensors.cursor import PER_TICK
from sensors.intake import character_activated__base_images
from sensors.selection import base_image_selected__character_sheet
from sensors.training import sheet_accepted__lora_training, training_finished__lora_weights

MARA = "mara-lind"
PICKED = "1" * 64  # the picture that `pick` picks
Made = Callable[..., Any]
ALL = (
    character_activated__base_images,
    base_image_selected__character_sheet,
    sheet_accepted__lora_training,
    training_finished__lora_weights,
    content_wanted__generated_images,
)


class Ticks:
    """Evaluates sensors as the daemon does: targets, tags and partitions are validated, the cursor is kept."""

    def __init__(self, studio: Studio, instance: dg.DagsterInstance, defs: dg.Definitions) -> None:
        self.studio = studio
        self.instance = instance
        self.defs = defs
        self.cursors: dict[str, str | None] = {}

    def tick(self, sensor: dg.SensorDefinition) -> Any:
        """One tick; the partitions that it adds are added, as the daemon does before launching."""
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),  # partitions that the result adds are looked up through it
            definitions=self.defs,
            resources={"studio": self.studio},
            cursor=self.cursors.get(sensor.name),
            sensor_name=sensor.name,
        ) as context:
            data = sensor.evaluate_tick(context)
        self.cursors[sensor.name] = data.cursor
        for request in data.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        return data

    def keys(self, sensor: dg.SensorDefinition) -> list[str]:
        """The run keys that one tick asks for."""
        return [request.run_key for request in self.tick(sensor).run_requests or ()]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """One Dagster instance for this file: making one costs more than all its ticks."""
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """What sensors' targets are validated against."""
    return build_defs()


@pytest.fixture
def ticks(studio: Studio, instance: dg.DagsterInstance, defs: dg.Definitions) -> Iterator[Ticks]:
    """Sensors on a studio of their own; Dagster knows no character."""
    yield Ticks(studio, instance, defs)
    for character in instance.get_dynamic_partitions("characters"):
        instance.delete_dynamic_partition("characters", character)


@pytest.fixture
def mara(ticks: Ticks, make_character: Made) -> str:
    """An active character that Dagster knows."""
    make_character(ticks.studio, MARA)
    ticks.instance.add_dynamic_partitions("characters", [MARA])
    return MARA


def images(asset: str, character: str, take: int = 1) -> ImageSet:
    common = {"backend": "preview", "render_domain": "preview", "route": "sheet", "images": ()}
    return ImageSet(asset=asset, character=character, take=take, request_id=f"{character}/{asset}/{take}", **common)


def accept(studio: Studio, manifest: ImageSet | LoraArtifact) -> None:
    """Publish a manifest and let all its required claims pass."""
    studio.publish(manifest)
    for claim in REQUIRED_CLAIMS[manifest.asset]:
        gate = Gate(claim, True, "as told", {}, "bytes")
        where = (manifest.asset, manifest.character, name_of(manifest))
        studio.registry.judge(*where, gate, required=REQUIRED_CLAIMS[manifest.asset])


def weights(character: str) -> LoraArtifact:
    return LoraArtifact(
        character=character, take=1, request_id=f"{character}/lora_training/1", backend="preview",
        render_domain="preview", sha256="a" * 64, file_name="mara.safetensors", base_model="flux-dev",
        trigger="bcdfghjk", steps=1000, rank=16, bytes=1, dataset_hash="d" * 64, job="f" * 64,
    )  # fmt: skip


def pick(studio: Studio, character: str, option: int = 1, manifest: str = "2" * 64) -> None:
    image = {"sha256": PICKED, "manifest_sha256": manifest, "url": "file:///1.png"}
    studio.registry.select(character, option=option, take=1, image=image, who="ops", why="looks right")


def dataset(studio: Studio, character: str, *parents: str) -> str:
    """A published dataset that was made from these manifests; its sha256."""
    common = {"render_domain": "preview", "base_model": "flux-dev", "trigger": "bcdfghjk", "images": ()}
    request = f"{character}/lora_dataset/1"
    return studio.publish(LoraDataset(character=character, take=1, request_id=request, parents=parents, **common))


def training(studio: Studio, character: str, *, ended: bool, number: int = 1, sheet: str = "") -> str:
    """A training that was submitted by the ledger's own rules, and failed if it `ended`; its attempt's id."""
    ledger = studio.runner.ledger
    job = Job("training", {"take": number, "who": character}, (OutputSpec(character, "lora"),), owner=character)
    row = ledger.open(job, backend="preview", profile="preview/1")
    intent = Intent("preview", "embedded", "another-host", 60.0, None, 0.001, 0.001, 900.0, 900.0)
    attempt = ledger.begin(row.fingerprint, intent, Budgets(25.0))
    assert attempt is not None
    if ended:
        ledger.move(attempt, "failed", error="out of memory")
    ticket = TrainingTicket(
        character=character, take=number, request_id=f"{character}/lora_training/{number}", backend="preview",
        render_domain="preview", base_model="flux-dev", trigger="bcdfghjk", steps=1000, dataset_hash="d" * 64,
        job=row.fingerprint, parents=(dataset(studio, character, sheet),),
    )  # fmt: skip
    studio.publish(ticket)
    studio.registry.set_lora_status(character, "training")
    return attempt.id


def requested(ticks: Ticks) -> list[str]:
    """The content requests that one tick runs."""
    runs = ticks.tick(content_wanted__generated_images).run_requests or ()
    return [run.run_config["ops"][STAGE]["config"]["request"] for run in runs]


# ---- all of them


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_nothing_new_asks_for_nothing(ticks: Ticks, make_character: Made, sensor: dg.SensorDefinition) -> None:
    """With inactive characters only, a tick skips and says so."""
    for number in range(3):
        make_character(ticks.studio, f"idle-{'abc'[number]}", active=False)
    data = ticks.tick(sensor)
    assert (data.run_requests, data.dynamic_partitions_requests) == ([], [])
    assert data.skip_message


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_sensor_runs_by_default(sensor: dg.SensorDefinition) -> None:
    """The pipeline moves as soon as a daemon runs; what may spend is decided by activation and budget."""
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert "__" in sensor.name


# ---- intake


def test_activated_character_gets_its_partition_and_base_images(ticks: Ticks, make_character: Made) -> None:
    """Key and run come in one result: the partition need not exist before."""
    make_character(ticks.studio, MARA)
    data = ticks.tick(character_activated__base_images)
    [request] = data.run_requests
    assert request.partition_key == MARA
    assert {key.to_user_string() for key in request.asset_selection or ()} <= {"character", "base_images"}
    assert [r.partition_keys for r in data.dynamic_partitions_requests] == [[MARA]]


def test_cause_is_answered_once(ticks: Ticks, make_character: Made) -> None:
    """The cursor moves on: a second tick asks for nothing, and a reset cursor repeats the same run key."""
    make_character(ticks.studio, MARA)
    first = ticks.keys(character_activated__base_images)
    assert ticks.keys(character_activated__base_images) == []
    ticks.cursors.clear()
    assert ticks.keys(character_activated__base_images) == first


def test_regenerating_is_a_new_run_key(ticks: Ticks, make_character: Made) -> None:
    """Run keys are for ever in Dagster: each cause has one of its own."""
    make_character(ticks.studio, MARA)
    keys = ticks.keys(character_activated__base_images)
    ticks.studio.registry.emit("base_images:regenerate", MARA, 2)
    keys += ticks.keys(character_activated__base_images)
    ticks.studio.registry.emit("base_images:regenerate", MARA, 2)
    keys += ticks.keys(character_activated__base_images)
    assert len(set(keys)) == len(keys) == 3


def test_flood_is_capped_and_nothing_is_lost(
    ticks: Ticks, make_character: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activating many characters fills the queue tick by tick; every one comes, in order, exactly once."""
    assert PER_TICK <= 50, "Dagster takes 8 ms a run request before anything is launched"
    monkeypatch.setattr("sensors.cursor.PER_TICK", 3)
    wanted = [f"many-{letter}" for letter in "hgfedcba"]
    for character in wanted:
        make_character(ticks.studio, character)
    asked = []
    for expected in (3, 3, 2, 0):
        requests = ticks.tick(character_activated__base_images).run_requests
        assert len(requests) == expected
        asked += [request.partition_key for request in requests]
    assert asked == wanted


def test_tick_reads_what_is_new_only(ticks: Ticks, make_character: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many characters there are, a tick asks behind its cursor and loads no list of them."""
    make_character(ticks.studio, MARA)
    ticks.tick(character_activated__base_images)
    asked = []
    real = ticks.studio.registry.events
    monkeypatch.setattr(
        ticks.studio.registry,
        "events",
        lambda after, kinds, limit: asked.append(after) or real(after, kinds, limit=limit),
    )
    monkeypatch.setattr(ticks.studio.registry, "characters", lambda **_: pytest.fail("a tick lists all characters"))
    ticks.tick(character_activated__base_images)
    assert asked == [int(ticks.cursors[character_activated__base_images.name] or 0)] != [0]


# ---- selection


def test_pick_starts_the_sheet(ticks: Ticks, mara: str) -> None:
    """A person's pick asks for the set of one and the sheet."""
    pick(ticks.studio, mara)
    [request] = ticks.tick(base_image_selected__character_sheet).run_requests
    assert request.partition_key == mara
    assert "policy" not in json.dumps(request.run_config)


def test_second_thought_is_a_second_sheet(ticks: Ticks, mara: str) -> None:
    """Each pick is a cause of its own."""
    pick(ticks.studio, mara, option=1)
    pick(ticks.studio, mara, option=2)
    keys = ticks.keys(base_image_selected__character_sheet)
    assert len(set(keys)) == 2


def test_accepted_base_images_wait_for_a_person(ticks: Ticks, mara: str) -> None:
    """Without auto_select nobody picks, and the cursor moves on all the same."""
    accept(ticks.studio, images("base_images", mara))
    data = ticks.tick(base_image_selected__character_sheet)
    assert data.run_requests == []
    assert int(data.cursor or 0) > 0


def test_auto_select_lets_the_policy_pick(ticks: Ticks, make_character: Made) -> None:
    """Where the character says so, the pick alone is requested, by policy; the sheet follows the pick's own event."""
    make_character(ticks.studio, MARA, auto_select=True)
    ticks.instance.add_dynamic_partitions("characters", [MARA])
    accept(ticks.studio, images("base_images", MARA))
    [request] = ticks.tick(base_image_selected__character_sheet).run_requests
    assert [key.to_user_string() for key in request.asset_selection] == ["selected_base_image"]
    assert request.run_config["ops"]["selected_base_image"]["config"]["policy"] == "best_score"


# ---- training


def test_accepted_sheet_starts_the_training(ticks: Ticks, mara: str) -> None:
    """Accepted means all required claims; a published sheet alone starts nothing."""
    ticks.studio.publish(images("character_sheet", mara))
    assert ticks.keys(sheet_accepted__lora_training) == []
    accept(ticks.studio, images("character_sheet", mara))
    assert len(ticks.keys(sheet_accepted__lora_training)) == 1


def test_refused_sheet_starts_no_training(ticks: Ticks, mara: str) -> None:
    """A failed required claim is an event too, but none that spends."""
    sheet = images("character_sheet", mara)
    ticks.studio.publish(sheet)
    gate = Gate("identity", False, "somebody else", {}, "dlib")
    ticks.studio.registry.judge(
        "character_sheet", mara, name_of(sheet), gate, required=REQUIRED_CLAIMS["character_sheet"]
    )
    assert ticks.keys(sheet_accepted__lora_training) == []


def test_running_training_is_left_alone(ticks: Ticks, mara: str) -> None:
    """Nothing is asked for while it runs."""
    training(ticks.studio, mara, ended=False)
    assert ticks.keys(training_finished__lora_weights) == []


def test_ended_training_asks_for_its_weights_once(ticks: Ticks, mara: str) -> None:
    """The run key holds take and attempt: ticks repeat it until the weights are taken, Dagster runs it once."""
    attempt = training(ticks.studio, mara, ended=True)
    keys = ticks.keys(training_finished__lora_weights)
    assert keys == [f"weights:{mara}:1:{attempt}"]
    assert ticks.keys(training_finished__lora_weights) == keys
    ticks.studio.registry.set_lora_status(mara, "ready")
    assert ticks.keys(training_finished__lora_weights) == []


def test_retraining_is_a_new_run_key(ticks: Ticks, mara: str) -> None:
    """Another attempt of a failed training is another cause."""
    training(ticks.studio, mara, ended=True)
    first = ticks.keys(training_finished__lora_weights)
    training(ticks.studio, mara, ended=True, number=2)
    assert set(ticks.keys(training_finished__lora_weights)).isdisjoint(first)


def test_poll_reads_trainings_only(ticks: Ticks, mara: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick's cost grows with open trainings, not with characters."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(ticks.studio.registry, "characters", lambda **only: asked.append(only) or [])
    ticks.tick(training_finished__lora_weights)
    assert asked == [{"active": True, "lora_status": "training"}]


# ---- content


def test_request_waits_for_the_sheet(ticks: Ticks, mara: str) -> None:
    """Asked too early, it is generated when the sheet is accepted, by the face swap."""
    request = ask(ticks.studio, mara, ContentRequest())
    assert ticks.keys(content_wanted__generated_images) == []
    accept(ticks.studio, images("character_sheet", mara))
    assert requested(ticks) == [request.id]


def test_lora_request_waits_for_the_lora(ticks: Ticks, mara: str) -> None:
    """Who asked for the LoRA does not get a face swap."""
    accept(ticks.studio, images("character_sheet", mara))
    ask(ticks.studio, mara, ContentRequest(method="lora"))
    assert ticks.keys(content_wanted__generated_images) == []
    accept(ticks.studio, weights(mara))
    assert len(ticks.keys(content_wanted__generated_images)) == 1


def test_ready_lora_answers_a_first_look(ticks: Ticks, mara: str) -> None:
    """A LoRA that nobody asked anything of yet shows what it can, once."""
    accept(ticks.studio, images("character_sheet", mara))
    accept(ticks.studio, weights(mara))
    assert [requested(ticks) for _ in range(3)] == [[], [f"{mara}/{STAGE}/first-look"], []]
    assert len(ticks.studio.registry.requests(mara, STAGE)) == 1


def test_answered_requests_are_not_generated_again(ticks: Ticks, mara: str) -> None:
    """A LoRA that becomes ready does not repeat what was done by the face swap."""
    accept(ticks.studio, images("character_sheet", mara))
    request = ask(ticks.studio, mara, ContentRequest())
    ticks.tick(content_wanted__generated_images)
    ticks.studio.registry.finish_request(request.id, "done")
    accept(ticks.studio, weights(mara))
    assert ticks.keys(content_wanted__generated_images) == []


def test_each_request_is_run_once_however_many_wait(ticks: Ticks, mara: str) -> None:
    """Three requests and an opened route in one tick are three runs, and a fourth request starts only its own."""
    early = [ask(ticks.studio, mara, ContentRequest()).id for _ in range(2)]
    accept(ticks.studio, images("character_sheet", mara))
    late = ask(ticks.studio, mara, ContentRequest()).id
    assert requested(ticks) == [*early, late]
    fourth = ask(ticks.studio, mara, ContentRequest()).id
    assert requested(ticks) == [fourth]


# ---- effects that are there already, characters that were taken out


def test_made_by_hand_is_not_made_again(ticks: Ticks, make_character: Made) -> None:
    """Base images, pick, sheet and training of a character that a person (or the demo) took through: no run at all."""
    studio = ticks.studio
    make_character(studio, MARA, auto_select=True)
    base = images("base_images", MARA)
    accept(studio, base)
    pick(studio, MARA, manifest=name_of(base))
    sheet = images("character_sheet", MARA)
    where = {"character": MARA, "stage": "character_sheet", "take": 1}
    studio.registry.open_request(sheet.request_id, **where, body={"reference": PICKED})
    accept(studio, sheet)
    training(studio, MARA, ended=False, sheet=name_of(sheet))
    data = ticks.tick(character_activated__base_images)
    assert data.run_requests == []
    assert [r.partition_keys for r in data.dynamic_partitions_requests] == [[MARA]], "the key is added all the same"
    assert ticks.keys(base_image_selected__character_sheet) == []
    assert ticks.keys(sheet_accepted__lora_training) == []


def test_another_pick_wants_another_sheet(ticks: Ticks, mara: str) -> None:
    """A sheet of the earlier pick is not the sheet of this one."""
    sheet = images("character_sheet", mara)
    where = {"character": mara, "stage": "character_sheet", "take": 1}
    ticks.studio.registry.open_request(sheet.request_id, **where, body={"reference": "9" * 64})
    accept(ticks.studio, sheet)
    pick(ticks.studio, mara)
    assert len(ticks.keys(base_image_selected__character_sheet)) == 1


def _content(studio: Studio, character: str) -> None:
    accept(studio, images("character_sheet", character))
    ask(studio, character, ContentRequest())
    accept(studio, weights(character))


CAUSES: dict[str, Callable[[Studio, str], object]] = {
    character_activated__base_images.name: lambda studio, who: None,  # the activation itself
    base_image_selected__character_sheet.name: pick,
    sheet_accepted__lora_training.name: lambda studio, who: accept(studio, images("character_sheet", who)),
    training_finished__lora_weights.name: lambda studio, who: training(studio, who, ended=True),
    content_wanted__generated_images.name: _content,
}


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_retired_character_costs_nothing_and_stops_nobody(
    ticks: Ticks, make_character: Made, sensor: dg.SensorDefinition
) -> None:
    """Events of a character that was retired meanwhile start no run, and those behind them are still answered."""
    for character in (MARA, "kofi-mensah"):
        make_character(ticks.studio, character)
        ticks.instance.add_dynamic_partitions("characters", [character])
        CAUSES[sensor.name](ticks.studio, character)
    ticks.studio.registry.retire(MARA)
    assert {request.partition_key for request in ticks.tick(sensor).run_requests or ()} == {"kofi-mensah"}


def test_first_look_of_a_retired_character_stops_nobody(ticks: Ticks, make_character: Made) -> None:
    """A LoRA that became ready just before its character was retired must not fail every tick after."""
    for character in (MARA, "kofi-mensah"):
        make_character(ticks.studio, character)
        ticks.instance.add_dynamic_partitions("characters", [character])
        accept(ticks.studio, images("character_sheet", character))
        accept(ticks.studio, weights(character))
    ticks.studio.registry.retire(MARA)
    assert [requested(ticks) for _ in range(2)] == [[], [f"kofi-mensah/{STAGE}/first-look"]]


def test_trainings_behind_stuck_ones_get_their_turn(
    ticks: Ticks, make_character: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that cannot be taken (a lost file, a refused check) must not hide the trainings that end after them."""
    monkeypatch.setattr("sensors.training.PER_TICK", 2)
    many = ["many-a", "many-b", "many-c"]
    for character in many:
        make_character(ticks.studio, character)
        ticks.instance.add_dynamic_partitions("characters", [character])
        training(ticks.studio, character, ended=True)
    found = [ticks.tick(training_finished__lora_weights).run_requests for _ in range(3)]
    assert [[request.partition_key for request in tick] for tick in found] == [many[:2], many[2:], many[:2]]
