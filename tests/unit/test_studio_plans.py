"""What goes wrong with plans: computed twice by two versions, a take that advances by itself, two takes of one seed."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from ryla_assets.domain.errors import InputError, TooEarly, UnknownCharacter
from ryla_assets.domain.shots import sheet_shots
from ryla_assets.prompts.build import PromptText
from ryla_assets.registry.registry import Request
from ryla_assets.studio import base, texts
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import STAGE, ContentRequest, ask, first_look, generate, next_request
from ryla_assets.studio.plans import PlannedJob, frame, plan_once, regenerate, spread, take_for
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Caller, Studio
from tests.fakes.scripted_backend import ScriptedBackend
from tests.fakes.scripted_studio import IMAGE_PX, scripted_parts, to_base, to_content, to_sheet

MARA = "mara-lind"
SHEET = "character_sheet"
BODY = {"reference": "1" * 64, "identity_weight": 0.95, "count": 8}


@pytest.fixture
def studio(open_studio: Callable[..., Studio], make_character: Callable[..., Any]) -> Studio:
    """A studio on the scripted backend with one active character."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX)
    make_character(made, MARA)
    return made


def submissions(studio: Studio) -> int:
    """How many jobs ever reached the backend."""
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    return len(backend.sent)


def called_by(studio: Studio, run_id: str) -> Studio:
    """The same studio, working for another run."""
    return replace(studio, caller=Caller(run_id))


def take(studio: Studio, *, run: str = "", new_take: bool = False, **body: Any) -> Request:
    """Ask for the sheet's request as a run does."""
    return take_for(called_by(studio, run), MARA, SHEET, BODY | body, new_take=new_take)


# ---- planned once


def test_second_planner_gets_the_plan_that_holds(studio: Studio) -> None:
    """Whoever read the request before it was planned, and plans otherwise, gets what the first one wrote."""
    request = take(studio)
    first, second = jobs(studio, request, "a red scarf"), jobs(studio, request, "a blue scarf")
    held = plan_once(studio, request, lambda: first)
    assert plan_once(studio, request, lambda: second) == held == first
    stored = studio.registry.request(request.id)
    assert stored is not None
    assert plan_once(studio, stored, lambda: pytest.fail("a planned request was planned again")) == first


def jobs(studio: Studio, request: Request, words: str) -> list[PlannedJob]:
    """A plan of one picture with these words in its prompt."""
    shot = sheet_shots(8)[0]
    one = frame(studio, MARA, SHEET, shot, PromptText(words, ""), take=request.take)
    plan = base.image_job(
        studio, [one], {"1": {"text": words}}, workflow="base-image", method="text", label="x", owner=MARA
    )
    return [plan]


def test_changed_prompts_do_not_change_what_was_planned(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the words is deployed between two runs: the paid pictures are adopted, nothing is sent."""
    first = make_base_images(studio, MARA)
    sent = submissions(studio)
    monkeypatch.setattr(texts, "build_prompt", lambda *_, **__: PromptText("other words altogether", ""))
    again = make_base_images(studio, MARA)
    assert [image.prompt for image in again.images] == [image.prompt for image in first.images]
    assert again == first
    assert submissions(studio) == sent


def test_plan_survives_a_killed_run(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is committed before the first job is sent: the next run sends exactly that."""
    with monkeypatch.context() as patch:
        patch.setattr(studio.runner, "answers", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_base_images(studio, MARA)
    [request] = studio.registry.requests(MARA, "base_images")
    assert request.state == "planned"
    planned = PlannedJob.from_dict((request.plan or [{}])[0]).job
    made = make_base_images(studio, MARA)
    assert {image.job for image in made.images} == {planned.fingerprint(studio.runner.backend.profile(planned))}


def test_planned_job_is_read_back_as_it_was_written(studio: Studio) -> None:
    """Sizes, inputs, seeds and names survive the row; a fingerprint depends on all of them."""
    make_base_images(studio, MARA)
    [request] = studio.registry.requests(MARA, "base_images")
    for entry in request.plan or []:
        assert json.loads(json.dumps(PlannedJob.from_dict(entry).as_dict())) == entry


# ---- takes


def test_materializing_again_is_the_same_take(studio: Studio) -> None:
    """Another run that asks for nothing new gets the request that holds."""
    first = take(studio, run="run-1")
    assert take(studio, run="run-2") == first
    assert first.take == 1


def test_new_take_is_made_on_purpose(studio: Studio) -> None:
    """`new_take` opens the next number, and the old request stays."""
    first, second = take(studio, run="run-1"), take(studio, run="run-2", new_take=True)
    assert (first.take, second.take) == (1, 2)
    assert [request.id for request in studio.registry.requests(MARA, SHEET)] == [first.id, second.id]


def test_reexecuted_run_keeps_the_take_that_it_asked_for(studio: Studio) -> None:
    """A retry of the run that asked for a new take is the same asking: it must not pay a third time."""
    take(studio, run="run-1")
    second = take(studio, run="run-2", new_take=True)
    assert take(studio, run="run-2", new_take=True) == second
    assert take(studio, run="run-3", new_take=True).take == 3


def test_new_take_outside_of_a_run_is_always_new(studio: Studio) -> None:
    """Without a run there is nothing to recognise a repetition by: each asking counts."""
    assert [take(studio, new_take=True).take for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("change", [{"reference": "2" * 64}, {"identity_weight": 0.5}, {"count": 9}], ids=str)
def test_changed_upstream_is_a_new_take(studio: Studio, change: dict[str, Any]) -> None:
    """Another face, another weight or another number of shots is another sheet; going on with it is not."""
    take(studio)
    changed = take(studio, **change)
    assert changed.take == 2
    assert take(studio, **change) == changed


def test_regenerating_is_a_new_take_that_the_next_run_makes(studio: Studio) -> None:
    """The request is opened now, with its event; the run that the sensor starts finds it without `new_take`."""
    take(studio, run="run-1")
    asked = regenerate(studio, MARA, SHEET)
    assert asked.take == 2
    assert take(studio, run="run-2") == asked
    [event] = studio.registry.events(0, (f"{SHEET}:regenerate",), limit=10)
    assert event.detail == {"request": asked.id}


def test_regenerating_does_not_repeat_an_experiment(studio: Studio) -> None:
    """A sheet whose hold on the face was turned down is made anew with the workflow's own weight."""
    take(studio, identity_weight=0.2)
    assert regenerate(studio, MARA, SHEET).body["identity_weight"] == 0.95


def test_nothing_to_regenerate_is_told(studio: Studio) -> None:
    """A stage that was never made has no next take; an unknown character is named."""
    with pytest.raises(TooEarly, match="no character_sheet to make anew"):
        regenerate(studio, MARA, SHEET)
    with pytest.raises(UnknownCharacter):
        regenerate(studio, "nobody", SHEET)


def test_new_base_images_are_a_new_take_with_new_pictures(studio: Studio) -> None:
    """What `new_take` is for: other people to choose from, paid once."""
    first = make_base_images(studio, MARA)
    second = make_base_images(studio, MARA, new_take=True)
    assert second.take == 2
    assert {i.seed for i in first.images}.isdisjoint(i.seed for i in second.images)
    assert {i.job for i in first.images}.isdisjoint(i.job for i in second.images)
    sent = submissions(studio)
    assert make_base_images(studio, MARA) == second
    assert submissions(studio) == sent


def test_another_pick_is_another_sheet(studio: Studio) -> None:
    """The face is part of what was asked for; coming back to a sheet that is current sends nothing."""
    one = to_base(studio, MARA, option=1)
    first = make_sheet(studio, one)
    second = make_sheet(studio, to_base(studio, MARA, option=2))
    assert (first.take, second.take) == (1, 2)
    assert first.parents != second.parents
    assert {i.job for i in first.images}.isdisjoint(i.job for i in second.images)


def test_impossible_weight_is_refused_before_a_request_exists(studio: Studio) -> None:
    """A typo in the run's config leaves no trace."""
    chosen = to_base(studio, MARA)
    with pytest.raises(InputError, match=r"identity_weight: is outside 0\.\.1"):
        make_sheet(studio, chosen, identity_weight=95)
    assert studio.registry.requests(MARA, SHEET) == []


def at_once(*calls: Callable[[], Request]) -> list[Request]:
    """Run the calls in threads that start together."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Request]) -> Request:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def test_different_sheets_at_once_are_different_takes(studio: Studio) -> None:
    """Two runs on two picks: neither gets the other's request, or its pictures would have the wrong parents."""
    found = at_once(*[lambda n=n: take(studio, run=f"run-{n}", reference=str(n) * 64) for n in range(4)])
    assert sorted(request.take for request in found) == [1, 2, 3, 4]
    assert [request.body["reference"][0] for request in found] == ["0", "1", "2", "3"]


def test_same_sheet_at_once_is_one_take(studio: Studio) -> None:
    """A sensor's run and a person's launch of the same thing: paid once."""
    found = at_once(*[lambda n=n: take(studio, run=f"run-{n}") for n in range(4)])
    assert {request.id for request in found} == {f"{MARA}/{SHEET}/1"}


def test_no_wish_is_lost_when_many_ask_at_once(studio: Studio) -> None:
    """Every request is on the list with its own words."""
    found = at_once(*[lambda n=n: ask(studio, MARA, ContentRequest(count=n)) for n in range(1, 6)])
    assert len({request.id for request in found}) == 5
    assert [request.body["count"] for request in found] == [1, 2, 3, 4, 5]
    assert len(studio.registry.requests(MARA, STAGE)) == 5


# ---- seeds, sizes, spreading


def test_no_two_takes_and_no_reroll_share_a_seed(studio: Studio) -> None:
    """Take 1's re-rolls never meet take 2, and no shot meets another."""
    shots = sheet_shots(10)
    text = PromptText("words", "")
    takes = [number * 10 + reroll for number in (1, 2, 11) for reroll in (0, 1)]
    frames = [frame(studio, MARA, SHEET, shot, text, take=number) for number in takes for shot in shots]
    assert len({f.seed for f in frames}) == len({f.prefix for f in frames}) == len(takes) * len(shots)


def test_seed_is_the_characters_own(studio: Studio) -> None:
    """The original gave all characters one seed, so all shared one noise."""
    shot, text = sheet_shots(8)[0], PromptText("words", "")
    assert frame(studio, MARA, SHEET, shot, text, take=10) == frame(studio, MARA, SHEET, shot, text, take=10)
    others = {frame(studio, who, SHEET, shot, text, take=10).seed for who in (MARA, "kofi-mensah", "yuki-tanaka")}
    assert len(others) == 3


def test_frame_has_the_size_of_its_shot(studio: Studio) -> None:
    """Multiples of 16 at the deployment's base size, portrait where the shot is."""
    frames = [frame(studio, MARA, SHEET, shot, PromptText("w", ""), take=10) for shot in sheet_shots(10)]
    assert {(f.width, f.height) for f in frames} == {(IMAGE_PX, IMAGE_PX), (320, 480)}


@pytest.mark.parametrize(
    ("frames", "workers", "sizes"),
    [
        (8, 1, [8]),
        (8, 2, [4, 4]),
        (8, 3, [3, 3, 2]),
        (3, 4, [1, 1, 1]),
        (1, 16, [1]),
        (10, 4, [3, 3, 2, 2]),
    ],
)
def test_spread_keeps_the_order_and_loses_nothing(frames: int, workers: int, sizes: list[int]) -> None:
    """As many graphs as workers are worth, about equal, and together the frames in their order."""
    numbers: list[Any] = list(range(frames))
    backend = ScriptedBackend()
    backend.workers = workers
    groups = spread(numbers, backend)
    assert [len(group) for group in groups] == sizes
    assert [number for group in groups for number in group] == numbers


def test_pictures_come_back_in_the_order_of_the_shots(studio: Studio) -> None:
    """Over several graphs, on several workers: the sheet is in the order in which it was declared."""
    sheet = to_sheet(studio, MARA)
    assert [image.shot for image in sheet.images] == [shot.id for shot in sheet_shots(8)]
    assert len({image.job for image in sheet.images}) == 2, "one graph for each of the two workers"


# ---- content requests


def test_asking_twice_under_one_name_is_asking_once(studio: Studio) -> None:
    """The daily batch and the demo ask by name; a person who asks twice gets two requests."""
    wanted = ContentRequest(count=1)
    assert ask(studio, MARA, wanted, name="daily") == ask(studio, MARA, wanted, name="daily")
    assert ask(studio, MARA, wanted).id != ask(studio, MARA, wanted).id
    assert first_look(studio, MARA).id == first_look(studio, MARA).id


def test_oldest_waiting_request_is_next(studio: Studio) -> None:
    """First asked, first served; when nothing waits, the latest again: its results are adopted."""
    to_content(studio, MARA)
    first, second = ask(studio, MARA, ContentRequest(count=1)), ask(studio, MARA, ContentRequest(count=2))
    assert next_request(studio, MARA).id == first.id
    generate(studio, first)
    assert next_request(studio, MARA).id == second.id
    generate(studio, second)
    sent = submissions(studio)
    assert next_request(studio, MARA).id == second.id
    assert len(generate(studio, next_request(studio, MARA)).images) == 2
    assert submissions(studio) == sent


def test_request_of_somebody_else_is_not_answered(studio: Studio, make_character: Callable[..., Any]) -> None:
    """A request id is checked against the partition: a typo must not show one character's pictures as another's."""
    make_character(studio, "kofi-mensah")
    theirs = ask(studio, "kofi-mensah", ContentRequest())
    sheet = take(studio)
    for wrong in (theirs.id, sheet.id, "no-such-request"):
        with pytest.raises(InputError, match="has no request") as caught:
            next_request(studio, MARA, wrong)
        assert f"ryla characters show {MARA}" in caught.value.way_out


def test_fixed_seed_gives_every_picture_its_own(studio: Studio) -> None:
    """`--seed 7` asked for three pictures is 7, 8, 9: one seed thrice would be the same noise thrice."""
    to_content(studio, MARA)
    made = generate(studio, ask(studio, MARA, ContentRequest(count=3, seed=7)))
    assert [image.seed for image in made.images] == [7, 8, 9]


def test_same_wish_twice_is_not_the_same_pictures(studio: Studio) -> None:
    """Asking again is a new take: people who ask twice want more pictures, not the same ones."""
    to_content(studio, MARA)
    first, second = (generate(studio, ask(studio, MARA, ContentRequest(count=2))) for _ in range(2))
    assert {i.seed for i in first.images}.isdisjoint(i.seed for i in second.images)


def test_requests_are_answered_in_any_order(studio: Studio) -> None:
    """A request that had to wait is answered after a later one: its pictures are paid for, so they are published."""
    to_content(studio, MARA)
    early, late = ask(studio, MARA, ContentRequest(count=1)), ask(studio, MARA, ContentRequest(count=1))
    for request in (late, early):
        studio.publish(generate(studio, request))
    head = studio.registry.head(STAGE, MARA)
    assert head is not None
    assert head.take == early.take, "what was made last is current"
    assert len(studio.registry.manifests(STAGE, MARA)) == 2
