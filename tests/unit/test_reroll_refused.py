"""What goes wrong when a picture costs its whole job: no other seed is drawn, the same one is paid for without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resources.gpu.errors import JobLost, OutputRejected
from resources.images import read_mark
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.registry.records import Request
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import ContentRequest, ask, generate, next_request
from ryla_assets.studio.judge import judge, judge_all
from ryla_assets.studio.reroll import cost_per_accepted
from ryla_assets.studio.studio import Studio, pictures_of
from tests.fakes.scripted_backend import USD, Script, ScriptedBackend
from tests.fakes.scripted_studio import IMAGE_PX, Harm, scripted_parts, to_content

MARA = "mara-lind"
SCENE = "candid-lifestyle-cafe-1x1"
SUCCEEDS = Script(states=("succeeded",))
Opens = Callable[..., Studio]
Makes = Callable[..., Any]
House = Callable[..., Studio]


@pytest.fixture
def house(open_studio: Opens, make_character: Makes) -> House:
    """A character of whom content may be asked; `harm`: take and number of a picture -> what is done to it."""

    def opened(harm: dict[tuple[int, int], Harm], *, workers: int = 4, **settings: Any) -> Studio:
        named = {f"{MARA}/generated-images-{take}-{SCENE}-{n:02d}": how for (take, n), how in harm.items()}
        studio = open_studio(parts=scripted_parts(harm=named, workers=workers), image_px=IMAGE_PX, **settings)
        make_character(studio, MARA)
        to_content(studio, MARA)
        return studio

    return opened


def asked(studio: Studio, count: int = 4, **wanted: Any) -> Request:
    """A request for so many pictures."""
    return ask(studio, MARA, ContentRequest(scene="candid-lifestyle", environment="cafe", count=count, **wanted))


def content_sent(studio: Studio) -> list[str]:
    """Labels of the submissions for generated images."""
    assert isinstance(studio.runner.backend, ScriptedBackend)
    return [label for label in studio.runner.backend.sent if "generated_images" in label]


def takes(records: tuple[ImageRecord, ...]) -> dict[str, int]:
    """Last two characters of the shot -> take."""
    return {record.shot[-2:]: record.take for record in records}


def spent(studio: Studio) -> float:
    """What the fake's bill for generated images is: each attempt costs the same."""
    return len(content_sent(studio)) * USD


# ---- the first round


@pytest.mark.parametrize("workers", [1, 4], ids=["one job", "a job each"])
@pytest.mark.parametrize("how", ["blank", "small", "torn"])
def test_picture_that_is_none_is_drawn_again_with_another_seed(house: House, how: Harm, workers: int) -> None:
    """Whether it has a job of its own or not; the three good ones are kept, and the set is accepted."""
    studio = house({(10, 2): how}, workers=workers)
    made = generate(studio, asked(studio))
    assert takes(made.images) == {"01": 10, "02": 11, "03": 10, "04": 10}
    assert [record.refused for record in made.images] == [""] * 4
    [lost] = made.rejected
    assert lost.faults == ({"small": "wrong_size", "torn": "unreadable"}.get(how, how),)
    assert lost.refused
    studio.publish(made)
    assert all(found.passed for found in judge_all(studio, "generated_images", MARA) if found.claim != "evidence")


def test_two_options_of_three_may_be_none_and_the_third_is_kept(open_studio: Opens, make_character: Makes) -> None:
    """Base images too: they are one job, and what is good of it is paid for."""
    harm: dict[str, Harm] = {f"{MARA}/base-images-10-option-{n}": "torn" for n in (2, 3)}
    studio = open_studio(parts=scripted_parts(harm=harm), image_px=IMAGE_PX)
    make_character(studio, MARA)
    made = make_base_images(studio, MARA)
    assert {record.shot: record.take for record in made.images} == {"option-1": 10, "option-2": 11, "option-3": 11}


def test_whole_set_of_blank_pictures_is_refused_without_an_error(house: House) -> None:
    """It is the worker, not chance: nothing is drawn again, all of it is kept and told, and nothing hangs."""
    studio = house({(10, n): "blank" for n in range(1, 5)})
    made = generate(studio, asked(studio))
    assert all(record.refused.startswith("blank: luma spreads over 0") for record in made.images)
    assert made.rejected == ()
    assert cost_per_accepted(made) is None
    studio.publish(made)
    assert not judge(studio, "generated_images", MARA, "quality").passed


@pytest.mark.parametrize("how", ["blank", "small", "torn"])
def test_materializing_again_pays_nothing_more(house: House, how: Harm) -> None:
    """However often, and though neither take is good: the same manifest, the same bill."""
    studio = house({(take, 1): how for take in range(10, 16)})
    request = asked(studio, count=1)
    made = generate(studio, request)
    before = content_sent(studio)
    for _ in range(3):
        assert generate(studio, request) == made
    assert content_sent(studio) == before
    assert made.timing.cost_usd == pytest.approx(spent(studio))


def test_request_that_was_answered_badly_makes_room_for_the_next(house: House) -> None:
    """It is done, if refused: whoever materializes without naming a request gets on with the newer one."""
    studio = house({(10, 1): "blank", (11, 1): "blank"})
    bad, newer = asked(studio, count=1), asked(studio, count=1)
    assert next_request(studio, MARA).id == bad.id
    generate(studio, bad)
    assert next_request(studio, MARA).id == newer.id


def test_seed_that_was_asked_for_is_not_paid_twice_either(house: House) -> None:
    """These pictures are meant: the blank one is told, and that is all."""
    studio = house({(10, 1): "blank"})
    request = asked(studio, count=1, seed=7)
    for _ in range(2):
        made = generate(studio, request)
        assert made.images[0].refused.startswith("blank")
    assert len(content_sent(studio)) == 1


# ---- later rounds


def test_second_round_is_tried_where_the_first_one_brought_nothing(house: House) -> None:
    """A re-roll is mostly a job of one picture: that it is blank too must not end the rounds."""
    studio = house({(10, 2): "blank", (11, 2): "torn"})
    made = generate(studio, asked(studio))
    assert takes(made.images)["02"] == 12
    assert [(one.take, one.faults) for one in made.rejected] == [(11, ("unreadable",)), (10, ("blank",))]


def test_picture_is_kept_rather_than_none(house: House) -> None:
    """Of two takes that both fail, the one that can be looked at."""
    studio = house({(10, 1): "torn", (11, 1): "blurred"})
    made = generate(studio, asked(studio, count=1))
    assert takes(made.images) == {"01": 11}
    assert made.images[0].refused.startswith("picture blurred")


def test_round_whose_worker_returns_something_else_is_given_up(house: House) -> None:
    """The next one is drawn; its cost is told, and it is never sent again."""
    studio = house({(10, 2): "blank", (11, 2): "missing"})
    request = asked(studio)
    made = generate(studio, request)
    assert takes(made.images)["02"] == 12
    assert made.timing.cost_usd == pytest.approx(spent(studio))
    before = content_sent(studio)
    assert before.count(f"{MARA}/generated_images/1 re-roll 1") == 2, "a missing file is asked for twice"
    assert generate(studio, request) == made
    assert content_sent(studio) == before


def test_round_that_was_lost_is_taken_up_again(house: House) -> None:
    """No worker had it: the set is published as it is, and made better when the stage runs again."""
    studio = house({(10, 1): "blank"})
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    lost = Script(states=("lost",))
    backend.scripts = [SUCCEEDS, lost, lost]
    request = asked(studio, count=1)
    made = generate(studio, request)
    assert takes(made.images) == {"01": 10}
    assert made.timing.cost_usd == pytest.approx(3 * USD), "what the lost attempts cost is told"
    backend.scripts = [SUCCEEDS]
    assert takes(generate(studio, request).images) == {"01": 11}


def test_what_came_of_a_failed_round_is_used(house: House) -> None:
    """Two jobs, of which one fails for good: the picture of the other is paid for."""
    studio = house({(10, 1): "blank", (10, 2): "blurred"}, rerolls=1)
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    backend.scripts = [*[SUCCEEDS] * 4, Script(states=("failed",), error="no such node"), SUCCEEDS]
    request = asked(studio)
    made = generate(studio, request)
    assert sorted(takes(made.images).values()) == [10, 10, 10, 11]
    assert made.timing.cost_usd == pytest.approx(6 * USD)
    before = content_sent(studio)
    assert generate(studio, request) == made
    assert content_sent(studio) == before


def test_failed_rounds_count_against_the_share(house: House) -> None:
    """Two pictures may be asked for again of four: two rounds of which nothing came are two pictures."""
    studio = house({(10, 2): "blank", (11, 2): "missing", (12, 2): "missing"}, rerolls=5)
    generate(studio, asked(studio))
    assert {label.rpartition(" ")[2] for label in content_sent(studio) if "re-roll" in label} == {"1", "2"}


def test_first_round_that_returns_something_else_is_an_error_with_a_way_out(house: House) -> None:
    """Nothing of it can be told apart; who mends the worker runs it again."""
    studio = house({(10, 1): "missing"})
    with pytest.raises(OutputRejected, match="0 files came back") as caught:
        generate(studio, asked(studio, count=1))
    assert "Mend the worker" in str(caught.value)


# ---- money


def test_failed_attempts_are_in_the_price_of_an_accepted_image(house: House) -> None:
    """A worker died, another one did it: both were paid."""
    studio = house({})
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    backend.scripts = [Script(states=("failed",), retry="transient", exec_s=40.0), SUCCEEDS]
    made = generate(studio, asked(studio, count=1))
    assert made.timing.cost_usd == cost_per_accepted(made) == pytest.approx(2 * USD)
    assert (made.timing.jobs, made.timing.exec_s, made.timing.longest_exec_s) == (1, 42.0, 2.0)


def test_first_round_that_was_lost_is_an_error(house: House) -> None:
    """There is no answer to go on from: it is awaited, or sent again, when the stage runs again."""
    studio = house({})
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    backend.scripts = [Script(states=("lost",))]
    request = asked(studio, count=1)
    with pytest.raises(JobLost):
        generate(studio, request)
    backend.scripts = [SUCCEEDS]
    assert generate(studio, request).timing.cost_usd == pytest.approx(3 * USD)


# ---- precision


@pytest.mark.parametrize(("lacking", "loader"), [(False, "VAELoaderKJ"), (True, "VAELoader")])
def test_blank_picture_is_decoded_in_32_bits_where_the_server_can(house: House, lacking: bool, loader: str) -> None:
    """In the first round; where the loader is not there, and in the second round, the seed alone changes."""
    studio = house({(10, 2): "blank", (11, 2): "blank"})
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    if lacking:
        backend.lacks = frozenset({"VAELoaderKJ"})
    generate(studio, asked(studio))
    loaders = {
        remote.submission.job.label: {n["class_type"] for n in remote.submission.job.request.values()}
        for remote in backend.remotes.values()
    }
    used = {label[-1]: classes & {"VAELoader", "VAELoaderKJ"} for label, classes in loaders.items() if "roll" in label}
    assert used == {"1": {loader}, "2": {"VAELoader"}}


# ---- quarantine


def test_what_is_refused_is_kept_marked_and_named_by_its_manifest(house: House) -> None:
    """A picture of another size lies in the store like any other; of torn bytes there is hash, size and reason."""
    studio = house({(10, 1): "small", (10, 2): "torn"})
    made = generate(studio, asked(studio))
    small, torn = sorted(made.rejected, key=lambda one: one.shot)
    assert read_mark(studio.store.get("images", small.sha256)) == "algorithmicMedia"
    assert small.refused == f"{IMAGE_PX // 2}x{IMAGE_PX // 2} came back, {IMAGE_PX}x{IMAGE_PX} was asked for"
    assert (torn.stored, studio.store.has("images", torn.sha256)) == (False, False)
    assert "bytes, not kept" in torn.refused
    assert len(torn.sha256) == 64
    known = {one.sha256: one.rejected for one in pictures_of(made)}
    assert known[small.sha256] is True
    assert torn.sha256 not in known, "there is no picture to be found by it"


def test_shot_without_any_picture_counts_as_not_verified(house: House) -> None:
    """Nothing is left out of the share because nothing came: 3 of 4."""
    studio = house({(take, 2): "torn" for take in range(10, 16)})
    made = generate(studio, asked(studio))
    studio.publish(made)
    found = judge(studio, "generated_images", MARA, "identity")
    assert (found.numbers["verified"], found.numbers["requested"]) == (3, 4)
    assert not judge(studio, "generated_images", MARA, "integrity").passed


# ---- one meaning of accepted


@pytest.fixture
def passing(house: House) -> tuple[Studio, ImageSet]:
    """Five pictures of which one shows somebody else: the face swap's gate is 80 %, so the set is accepted."""
    studio = house({}, rerolls=0)
    from tests.unit.test_reroll import sees

    sees(studio, f"generated-images-10-{SCENE}-02", 0.9)
    made = generate(studio, asked(studio, count=5))
    studio.publish(made)
    judge_all(studio, "generated_images", MARA)
    assert studio.is_accepted("generated_images", MARA)
    return studio, made


def test_refused_picture_of_an_accepted_set_is_not_counted_as_accepted(passing: tuple[Studio, ImageSet]) -> None:
    """The index, the price and the set itself say four."""
    studio, made = passing
    [row] = [row for row in studio.registry.picture_counts() if row["asset"] == "generated_images"]
    assert (row["stored"], row["accepted"], row["rejected"]) == (5, 4, 1)
    assert studio.registry.route_counts() == {"face_swap": 4}
    assert len(made.good) == 4
    assert [one.refused for one in made.quarantined] == ["another person: distance 0.90"]
    assert cost_per_accepted(made) == pytest.approx(spent(studio) / 4)
