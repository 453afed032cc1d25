"""What goes wrong with a day's batch: somebody served twice, served from a refused sheet, left out for another's fault.

Through Dagster, on scripted pictures: each test has a house of its own, and a day costs a second.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.gpu.budget import Budgets
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import materialize, why
from ryla_assets.settings import Settings
from ryla_assets.studio.batch import DAILY_SCENES
from ryla_assets.studio.content import STAGE, ContentRequest, ask, generate
from ryla_assets.studio.judge import CLAIMS, judge
from ryla_assets.studio.studio import Studio, name_of
from tests.conftest import MARA as WIZARD
from tests.fakes.scripted_backend import Script, ScriptedBackend
from tests.fakes.scripted_studio import (
    IMAGE_PX,
    STRANGER,
    ScriptedScorer,
    face,
    scripted_parts,
    to_base,
    to_content,
    to_sheet,
)

DAY, NEXT_DAY = "2026-11-02", "2026-11-03"
MARA, KOFI, LUCIA = "mara-lind", "kofi-mensah", "lucia-ferrer"


@dataclass
class House:
    """A studio, a Dagster instance, and the batch as the schedule runs it."""

    studio: Studio
    instance: dg.DagsterInstance

    @property
    def backend(self) -> ScriptedBackend:
        """The scripted backend, with its counts."""
        backend = self.studio.runner.backend
        assert isinstance(backend, ScriptedBackend)
        return backend

    def batch(self, day: str = DAY) -> dg.ExecuteInProcessResult:
        """Materialize the day."""
        return materialize(self.studio, self.instance, ["content_batch"], character=day)

    def rows(self, result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
        """The day's table, by character."""
        [event] = result.asset_materializations_for_node("content_batch")[-1:]
        table = event.metadata.get("results")
        records = table.records if isinstance(table, dg.TableMetadataValue) else []
        return {str(record.data["character"]): dict(record.data) for record in records}


@dataclass
class Day:
    """One run of the batch and what it ran in."""

    house: House
    result: dg.ExecuteInProcessResult


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def open_house(
    open_studio: Callable[..., Studio], make_character: Callable[..., Any], instance: dg.DagsterInstance
) -> Callable[..., House]:
    """Open a house with these active characters, each ready for content."""

    def build(*ready: str, parts: dict[str, Any] | None = None, **settings: Any) -> House:
        common = {"image_px": IMAGE_PX, "content_images": 2}
        studio = open_studio(parts={**scripted_parts(), **(parts or {})}, **{**common, **settings})
        for who in ready:
            make_character(studio, who)
            to_content(studio, who)
            instance.add_dynamic_partitions("characters", [who])
        return House(studio, instance)

    return build


Opens = Callable[..., House]


def daily(who: str, day: str = DAY) -> str:
    """The id of a day's request."""
    return f"{who}/{STAGE}/daily-{day}"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Day]:
    """Two characters served on one day: made once, looked at by several tests."""
    home = tmp_path_factory.mktemp("day")
    shutil.copy(migrated_database, home / "ryla.db")
    studio = build_studio(Settings(home=home, image_px=IMAGE_PX, content_images=2), **scripted_parts())
    with dg.DagsterInstance.ephemeral() as made:
        for who in (MARA, KOFI):
            studio.registry.add_character(parse_character({"id": who, "config": WIZARD}, source="the test"))
            studio.registry.activate(who)
            to_content(studio, who)
            made.add_dynamic_partitions("characters", [who])
        house = House(studio, made)
        yield Day(house, house.batch())
    studio.registry.engine.dispose()


def test_day_serves_every_ready_character(day: Day) -> None:
    """One request, one set of pictures and one row each; the day's own numbers add up."""
    assert day.result.success, why(day.result)
    rows = day.house.rows(day.result)
    assert set(rows) == {MARA, KOFI}
    for who, row in rows.items():
        assert (row["accepted"], row["reason"], row["images"], row["route"]) == (True, "accepted", 2, "face_swap"), who
        assert day.house.studio.is_accepted(STAGE, who)
    [batch] = day.result.asset_materializations_for_node("content_batch")[-1:]
    assert batch.metadata["characters"].value == 2
    assert batch.metadata["refused"].value == 0
    assert batch.metadata["cost_usd"].value == pytest.approx(sum(row["cost_usd"] for row in rows.values()))


def test_each_character_gets_a_materialization_of_its_own(day: Day) -> None:
    """Under `generated_images`, in its partition, with the batch's tag, metadata and thumbnails as of any other run."""
    fetched = day.house.instance.fetch_materializations(dg.AssetKey(STAGE), limit=10).records
    made = {record.partition_key: record.asset_materialization for record in fetched}
    assert set(made) == {MARA, KOFI}
    for who, event in made.items():
        assert event is not None
        assert event.tags is not None
        assert event.tags["ryla/batch"] == DAY
        images = day.house.studio.current(STAGE, str(who))
        assert isinstance(images, ImageSet)
        assert event.metadata["manifest_sha256"].value == name_of(images)
        assert event.metadata["images"].value == 2
        assert "/t/" in str(event.metadata["preview"].value)


def test_checks_are_logged_for_that_partition_and_gates_written(day: Day) -> None:
    """What the UI shows of a run's checks, and what every gate asks, hold for the batch's pictures too."""
    seen = {(one.partition, one.check_name) for one in evaluations_of(day.result)}
    assert seen == {(who, f"{STAGE}__{claim}") for who in (MARA, KOFI) for claim in CLAIMS[STAGE]}
    for who in (MARA, KOFI):
        images = day.house.studio.current(STAGE, who)
        assert isinstance(images, ImageSet)
        gates = day.house.studio.registry.gates(STAGE, who, name_of(images))
        held = {**dict.fromkeys(CLAIMS[STAGE], True), "evidence": False}  # two of two pictures prove next to nothing
        assert {gate.claim: gate.passed for gate in gates} == held


def test_running_the_day_twice_sends_nothing_twice(day: Day) -> None:
    """The second run adopts every picture, and costs and says the same."""
    sent = list(day.house.backend.sent)
    second = day.house.batch()
    assert second.success
    assert day.house.backend.sent == sent
    assert day.house.rows(second) == day.house.rows(day.result)
    assert [r.id for r in day.house.studio.registry.requests(MARA, STAGE)] == [daily(MARA)]


def test_failed_check_of_a_batch_is_an_error_and_a_row(open_house: Opens) -> None:
    """Strangers on the pictures: a row that says so, ERROR for identity, WARN for time, and the next one is served."""
    house = open_house(MARA, KOFI)
    scorer = house.studio.scorer
    assert isinstance(scorer, ScriptedScorer)
    for number, shot in enumerate(("01", "02")):
        for scene in DAILY_SCENES:
            scorer.sees[f"{MARA}/generated-images-10-{scene}-studio-1x1-{shot}"] = [face(STRANGER + number)]
    result = house.batch()
    rows = house.rows(result)
    assert (rows[MARA]["accepted"], rows[KOFI]["accepted"]) == (False, True)
    assert rows[MARA]["reason"].startswith("0 of 2 declared shots verified")
    assert not house.studio.is_accepted(STAGE, MARA)
    evaluations = {(e.partition, e.check_name): e for e in evaluations_of(result)}
    failed = evaluations[(MARA, f"{STAGE}__identity")]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert evaluations[(MARA, f"{STAGE}__timing")].severity == dg.AssetCheckSeverity.WARN


def test_unjudged_rating_of_a_batch_is_a_warning(open_house: Opens) -> None:
    """Without the classifier the day is served, and says "not judged" as every other run does."""
    house = open_house(MARA, parts={"guard": None})
    result = house.batch()
    assert house.rows(result)[MARA]["accepted"]
    [rating] = [e for e in evaluations_of(result) if e.check_name == f"{STAGE}__rating"]
    assert (rating.passed, rating.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert rating.description.startswith("not judged: no classifier is installed")


def evaluations_of(result: dg.ExecuteInProcessResult) -> list[Any]:
    """The check evaluations that a run logged."""
    events = [e for e in result.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    return [event.asset_check_evaluation_data for event in events]


def test_slow_pictures_are_served_all_the_same(open_house: Opens) -> None:
    """Time is told: a model that is too slow fails its timing check and nothing else."""
    slow = scripted_parts(domain="model", scripts=[Script(states=("succeeded",), exec_s=99.0)])
    house = open_house(MARA, parts=slow)
    result = house.batch()
    row = house.rows(result)[MARA]
    assert (row["accepted"], row["reason"]) == (True, "accepted")
    timing = next(e for e in evaluations_of(result) if e.check_name == f"{STAGE}__timing")
    assert timing.passed is False


def test_next_day_is_another_request_with_another_scene(open_house: Opens) -> None:
    """New pictures, not yesterday's; an old day can still be run again after it."""
    house = open_house(MARA)
    house.batch(DAY)
    sent = len(house.backend.sent)
    house.batch(NEXT_DAY)
    assert len(house.backend.sent) > sent
    requests = house.studio.registry.requests(MARA, STAGE)
    assert [r.id for r in requests] == [daily(MARA, DAY), daily(MARA, NEXT_DAY)]
    assert requests[0].body["scene"] != requests[1].body["scene"]
    sent = len(house.backend.sent)
    again = house.batch(DAY)
    assert house.rows(again)[MARA]["accepted"] is True
    assert len(house.backend.sent) == sent


def test_character_without_a_sheet_is_no_row(open_house: Opens, make_character: Callable[..., Any]) -> None:
    """Still on its way: nothing was refused, and nothing is asked for."""
    house = open_house(MARA)
    make_character(house.studio, KOFI)
    to_base(house.studio, KOFI)
    assert set(house.rows(house.batch())) == {MARA}
    assert house.studio.registry.requests(KOFI, STAGE) == []


def test_refused_sheet_is_a_row_and_not_served(open_house: Opens, make_character: Callable[..., Any]) -> None:
    """It says which claim failed and the way out; no request is kept that a sensor would make later."""
    house = open_house(MARA)
    make_character(house.studio, KOFI)
    to_sheet(house.studio, KOFI, accepted=False)
    sent = len(house.backend.sent)
    result = house.batch()
    row = house.rows(result)[KOFI]
    assert (row["accepted"], row["images"], row["cost_usd"]) == (False, 0, 0.0)
    assert "character_sheet: that of kofi-mensah is not accepted: identity: 0 of" in row["reason"]
    assert "Make another on purpose" in row["reason"]
    assert house.studio.registry.requests(KOFI, STAGE) == []
    assert [job for job in house.backend.sent[sent:] if job.startswith(KOFI)] == []
    assert house.rows(result)[MARA]["accepted"] is True
    assert result.success, "a refused character is a row, not a failed day"


def test_sheet_that_was_refused_since_is_not_served(open_house: Opens, make_character: Callable[..., Any]) -> None:
    """Accepted yesterday, damaged today: today's judgement counts."""
    house = open_house()
    make_character(house.studio, KOFI)
    sheet = to_sheet(house.studio, KOFI)
    Path(house.studio.store.uri("images", sheet.images[2].sha256).removeprefix("file://")).unlink()
    judge(house.studio, "character_sheet", KOFI, "integrity")
    sent = len(house.backend.sent)
    row = house.rows(house.batch())[KOFI]
    assert (row["accepted"], row["images"]) == (False, 0)
    assert "integrity: left-neutral" in row["reason"]
    assert len(house.backend.sent) == sent


@pytest.mark.parametrize("state", ["inactive", "retired"])
def test_inactive_and_retired_are_left_alone(open_house: Opens, make_character: Callable[..., Any], state: str) -> None:
    """Whoever may not spend is not served."""
    house = open_house(MARA, KOFI)
    if state == "retired":
        house.studio.registry.retire(KOFI)
    else:
        make_character(house.studio, LUCIA, active=False)
    rows = house.rows(house.batch())
    assert set(rows) == ({MARA} if state == "retired" else {MARA, KOFI})


def test_one_failing_character_does_not_stop_the_others(open_house: Opens) -> None:
    """The backend refuses one character's job: a row with the reason, and the others get their pictures."""
    house = open_house(MARA, KOFI, LUCIA)
    house.backend.invalid = frozenset({f"{KOFI}/{STAGE}/1"})
    result = house.batch()
    rows = house.rows(result)
    assert {who: row["accepted"] for who, row in rows.items()} == {MARA: True, KOFI: False, LUCIA: True}
    assert "would refuse this job" in rows[KOFI]["reason"]
    assert result.success
    [batch] = result.asset_materializations_for_node("content_batch")[-1:]
    assert batch.metadata["refused"].value == 1
    house.backend.invalid = frozenset()
    assert house.rows(house.batch())[KOFI]["accepted"] is True, "and the day can be run again for who was left out"


def test_empty_budget_ends_the_day(open_house: Opens) -> None:
    """Money is no row: the run fails, says what is spent and what to do, and nothing more is sent."""
    house = open_house(MARA, KOFI)
    house.studio.runner.budgets = Budgets(house.studio.runner.ledger.committed_usd() + 0.06)
    sent = len(house.backend.sent)
    result = house.batch()
    assert not result.success
    assert "over_budget" in why(result)
    assert "RYLA_DAILY_BUDGET_USD" in why(result)
    assert len(house.backend.sent) - sent < 4


def test_request_of_a_person_is_left_to_the_sensor(open_house: Opens) -> None:
    """The batch makes its own request only: what somebody else asked for waits as before."""
    house = open_house(MARA)
    mine = ask(house.studio, MARA, ContentRequest(count=1, asked_by="a person"))
    house.batch()
    found = house.studio.registry.request(mine.id)
    assert found is not None
    assert found.state == "pending"
    assert len(generate(house.studio, found).images) == 1


def test_day_without_characters_is_an_empty_success(open_house: Opens) -> None:
    """A new deployment's first morning."""
    result = open_house().batch()
    assert result.success, why(result)
    [batch] = result.asset_materializations_for_node("content_batch")[-1:]
    assert batch.metadata["characters"].value == 0
