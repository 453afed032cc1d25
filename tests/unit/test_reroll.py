"""What goes wrong with re-rolls: money without end, a better take thrown away, a rejected picture that is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resources.gpu.budget import Budgets
from ryla_assets.domain.errors import NotAccepted
from ryla_assets.domain.images import ImageRecord, ImageSet, from_json, to_json
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.judge import judge, judge_all
from ryla_assets.studio.lora import make_dataset, start_training, take_weights
from ryla_assets.studio.quality import look_at
from ryla_assets.studio.reroll import cost_per_accepted, redrawn
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Caller, Studio, name_of, pictures_of
from tests.fakes.scripted_backend import MOST_USD, USD, ScriptedBackend
from tests.fakes.scripted_studio import (
    IMAGE_PX,
    STRANGER,
    ScriptedScorer,
    decree,
    face,
    scripted_parts,
    to_base,
    to_content,
    to_sheet,
)

MARA = "mara-lind"
SCENE = "candid-lifestyle-cafe-1x1"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def open_house(open_studio: Opens, make_character: Makes) -> Opens:
    """Open a studio on scripted pictures and faces, with one active character."""

    def opened(*, parts: dict[str, Any] | None = None, **settings: Any) -> Studio:
        studio = open_studio(parts=parts or scripted_parts(), image_px=IMAGE_PX, **settings)
        make_character(studio, MARA)
        return studio

    return opened


@pytest.fixture
def studio(open_house: Opens) -> Studio:
    """With the default rounds and budget."""
    return open_house()


def sees(studio: Studio, prefix: str, *distances: float) -> None:
    """Script the faces on an output that is not drawn yet."""
    assert isinstance(studio.scorer, ScriptedScorer)
    studio.scorer.sees[f"{MARA}/{prefix}"] = [face(distance) for distance in distances]


def sent(studio: Studio) -> list[str]:
    """The labels of all submissions."""
    assert isinstance(studio.runner.backend, ScriptedBackend)
    return list(studio.runner.backend.sent)


def content(studio: Studio, **wanted: Any) -> ImageSet:
    """Generated images of Mara."""
    asked = ContentRequest(**{"scene": "candid-lifestyle", "environment": "cafe", "count": 4, **wanted})
    return generate(studio, ask(studio, MARA, asked))


def takes(images: tuple[ImageRecord, ...]) -> dict[str, int]:
    """Last two characters of the shot -> take."""
    return {image.shot[-2:]: image.take for image in images}


# ---- rounds


def test_shot_that_fails_twice_is_drawn_a_third_time(studio: Studio) -> None:
    """Each round draws what still fails, with a seed of its own; every take that lost says why."""
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    sees(studio, f"generated-images-11-{SCENE}-02", 0.1, 0.2)
    made = content(studio)
    assert takes(made.images) == {"01": 10, "02": 12, "03": 10, "04": 10}
    assert [(one.take, one.refused) for one in made.rejected] == [
        (11, "2 people, one was asked for"),
        (10, "another person: distance 0.90"),
    ]
    assert {one.refused for one in made.images} == {""}
    assert len({one.seed for one in (*made.images, *made.rejected)}) == 6


def test_rounds_end(open_house: Opens) -> None:
    """What never gets better is not drawn for ever; it is kept, says why it fails, and its set is refused."""
    studio = open_house(rerolls=1)
    to_content(studio, MARA)
    for take in (10, 11, 12):
        sees(studio, f"generated-images-{take}-{SCENE}-02")
    made = content(studio)
    assert takes(made.images)["02"] == 10
    assert [image.refused for image in made.images] == ["", "no face, one was asked for", "", ""]
    assert takes(made.rejected) == {"02": 11}
    studio.publish(made)
    found = judge(studio, "generated_images", MARA, "quality")
    assert (found.passed, found.numbers["faults"]) == (False, 1)
    assert f"{SCENE}-02: no face" in found.reason


def test_no_rounds_no_rerolls(open_house: Opens) -> None:
    """RYLA_REROLLS=0: the gates alone decide."""
    studio = open_house(rerolls=0)
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    made = content(studio)
    assert made.rejected == ()
    assert made.images[1].refused == "another person: distance 0.90"


def test_seed_that_was_asked_for_is_meant(studio: Studio) -> None:
    """Another seed would be another experiment: these pictures are judged, and no others are made."""
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    made = content(studio, seed=7)
    assert (made.rejected, takes(made.images)["02"]) == ((), 10)


def test_base_image_of_two_people_is_drawn_again(studio: Studio) -> None:
    """By quality alone: there is no face yet that it should have."""
    sees(studio, "base-images-10-option-2", 0.0, STRANGER)
    sees(studio, "base-images-10-option-3", STRANGER)
    made = make_base_images(studio, MARA)
    assert takes(made.images) == {"-1": 10, "-2": 11, "-3": 10}
    studio.publish(made)
    assert all(found.passed for found in judge_all(studio, "base_images", MARA) if found.claim != "timing")


# ---- the budget


def test_set_that_fails_as_a_whole_is_not_drawn_again(studio: Studio) -> None:
    """More than half of it is not chance; that is told, with every reason."""
    told: list[str] = []
    studio = replace(studio, caller=Caller(tell=told.append))
    to_content(studio, MARA)
    for number in (1, 2, 3):
        sees(studio, f"generated-images-10-{SCENE}-0{number}", STRANGER)
    before = len(sent(studio))
    assert content(studio).rejected == ()
    assert len([label for label in sent(studio)[before:] if "re-roll" in label]) == 0
    assert "3 of 4 shots fail and 2 may be drawn again (RYLA_REROLL_BUDGET_SHARE)" in told[-1]
    assert told[-1].count("another person") == 3


@pytest.mark.parametrize(("share", "count", "drawn"), [(0.5, 1, 1), (0.5, 3, 2), (0.5, 4, 2), (0.0, 4, 0), (1.0, 1, 1)])
def test_budget_is_a_share_of_the_first_round(open_house: Opens, share: float, count: int, drawn: int) -> None:
    """Rounded up to a whole picture, over all rounds together."""
    studio = open_house(rerolls=5, reroll_budget_share=share)
    to_content(studio, MARA)
    for take in range(10, 16):
        sees(studio, f"generated-images-{take}-{SCENE}-01", STRANGER)
    assert len(content(studio, count=count).rejected) == drawn


def test_empty_purse_keeps_the_first_round(studio: Studio) -> None:
    """The day's budget does not allow the re-roll: what is paid for is not lost with it."""
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-01", STRANGER)
    request = ask(studio, MARA, ContentRequest(scene="candid-lifestyle", environment="cafe", count=1))
    spent = len(sent(studio)) * USD
    studio.runner.budgets = Budgets(spent + MOST_USD + USD / 2)  # the most that one job can cost, and no second one
    made = generate(studio, request)
    assert made.rejected == ()
    assert made.images[0].refused
    studio.runner.budgets = Budgets(25.0)
    assert takes(generate(studio, request).images) == {"01": 11}, "and it is made when there is money"


def test_again_adopts_every_round_and_pays_nothing(open_house: Opens, open_studio: Opens) -> None:
    """The same manifest, from the same plans, also where the settings would not allow the rounds any more."""
    studio = open_house()
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    request = ask(studio, MARA, ContentRequest(scene="candid-lifestyle", environment="cafe", count=4))
    made = generate(studio, request)
    before = sent(studio)
    assert generate(studio, request) == made
    studio.settings = studio.settings.model_copy(update={"reroll_budget_share": 0.0})
    assert generate(studio, request) == made
    assert sent(studio) == before


# ---- parameters


def test_face_is_held_more_where_it_was_another_one(studio: Studio) -> None:
    """A shot that failed otherwise keeps its weight."""
    base = to_base(studio, MARA)
    sees(studio, "character-sheet-10-front-smile", STRANGER)
    sees(studio, "character-sheet-10-left-neutral")
    make_sheet(studio, base, identity_weight=0.8)
    assert weights(studio, "character-sheet-10-") == {"front-smile": 0.8, "left-neutral": 0.8}
    assert weights(studio, "character-sheet-11-") == {"front-smile": 0.85, "left-neutral": 0.8}


def test_content_is_held_more_too(studio: Studio) -> None:
    """The face swap's weight is one a graph: who showed somebody else is drawn apart from who was only lost."""
    to_content(studio, MARA)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    sees(studio, f"generated-images-10-{SCENE}-03")
    made = content(studio)
    assert takes(made.images) == {"01": 10, "02": 11, "03": 11, "04": 10}
    assert set(weights(studio, "generated-images-10-", ("02", "03")).values()) == {0.8}
    assert weights(studio, "generated-images-11-", ("02", "03")) == {f"{SCENE}-02": 0.85, f"{SCENE}-03": 0.8}


def test_lora_is_taken_stronger_where_the_face_was_another_one(studio: Studio) -> None:
    """By 0.1 a round; its strength is one a graph, so who was only lost is drawn apart."""
    made: Any = to_sheet(studio, MARA)
    for stage in (make_dataset, start_training, take_weights):
        made = stage(studio, made)
        decree(studio, made)
    sees(studio, f"generated-images-10-{SCENE}-02", STRANGER)
    sees(studio, f"generated-images-10-{SCENE}-03")
    made = content(studio, method="lora")
    assert made.route == "lora"
    assert takes(made.images) == {"01": 10, "02": 11, "03": 11, "04": 10}
    assert strengths(studio, "generated-images-11-") == {f"{SCENE}-02": 1.1, f"{SCENE}-03": 1.0}


def strengths(studio: Studio, take: str) -> dict[str, float]:
    """Shot -> the LoRA's strength in the graph that drew it."""
    assert isinstance(studio.runner.backend, ScriptedBackend)
    jobs = [remote.submission.job for remote in studio.runner.backend.remotes.values()]
    graphs = [job.request for job in jobs if job.kind == "image"]
    return {
        str(node["inputs"]["filename_prefix"]).partition(take)[2]: float(lora["inputs"]["strength_model"])
        for graph in graphs
        for lora in graph.values()
        if lora["class_type"] == "LoraLoaderModelOnly"
        for node in graph.values()
        if take in str(node["inputs"].get("filename_prefix", ""))
    }


def weights(studio: Studio, take: str, shots: tuple[str, ...] = ("front-smile", "left-neutral")) -> dict[str, float]:
    """Shot -> PuLID's weight in the graph that drew it, of the two shots of interest."""
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    found = {}
    for remote in backend.remotes.values():
        graph = remote.submission.job.request
        for node in graph.values():
            prefix = str(node["inputs"].get("filename_prefix", ""))
            if take in prefix and prefix.endswith(shots):
                found[prefix.partition(take)[2]] = _weight_behind(graph, node)
    return found


def _weight_behind(graph: dict[str, Any], node: dict[str, Any]) -> float:
    waiting, seen = [node], []
    while waiting:
        one = waiting.pop()
        if one["class_type"].startswith("ApplyPulid"):
            return float(one["inputs"]["weight"])
        seen.append(one)
        links = [value[0] for value in one["inputs"].values() if isinstance(value, list)]
        waiting += [graph[link] for link in links if graph[link] not in seen]
    raise AssertionError("no PuLID behind this picture")


# ---- damage


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("blank", "blank: luma spreads over 0"),
        ("noise", "noise: 49,"),
        ("blurred", "picture blurred: sharpness"),
        ("duplicate", "the same picture as"),
    ],
)
def test_damaged_picture_is_replaced(open_house: Opens, how: str, said: str) -> None:
    """The other three are kept, and what was wrong is on its record, also what its pixels alone said."""
    studio = open_house(parts=scripted_parts(harm={f"{MARA}/generated-images-10-{SCENE}-02": how}))
    to_content(studio, MARA)
    made = content(studio)
    assert takes(made.images) == {"01": 10, "02": 11, "03": 10, "04": 10}
    [rejected] = made.rejected
    assert rejected.refused.startswith(said)
    assert rejected.faults == (("blank",) if how == "blank" else ()), "the others are found when it is looked at"
    studio.publish(made)
    assert judge(studio, "generated_images", MARA, "quality").passed


def test_take_like_the_one_before_is_told_not_refused(studio: Studio) -> None:
    """A cache answered, or a seed was ignored: somebody should know, nobody should pay."""
    to_content(studio, MARA)
    first = content(studio, count=1)
    studio.publish(first)
    judge_all(studio, "generated_images", MARA)
    again = first.model_copy(update={"take": 2, "images": (first.images[0].model_copy(update={"take": 20}),)})
    [seen] = look_at(studio, again)
    assert seen.refusals == []
    assert [found.text for found in seen.findings] == [
        "the same picture as take 10 of its shot: 0 of 256 bits differ"
    ]  # fmt: skip


# ---- quarantine


@pytest.fixture
def rerolled(studio: Studio) -> ImageSet:
    """A sheet, published and accepted by decree, with one take that lost."""
    base = to_base(studio, MARA)
    sees(studio, "character-sheet-10-front-smile", STRANGER)
    made = make_sheet(studio, base)
    decree(studio, made)
    return made


def test_rejected_takes_stay_in_the_store_and_are_known(studio: Studio, rerolled: ImageSet) -> None:
    """Nothing that was drawn is deleted; whoever finds the file is told that it was rejected."""
    [lost] = rerolled.rejected
    assert studio.store.has("images", lost.sha256)
    assert [one.rejected for one in pictures_of(rerolled) if one.sha256 == lost.sha256] == [True]
    assert lost.sha256 not in {one.sha256 for one in rerolled.images}


def test_rejected_takes_are_never_trained_on(studio: Studio, rerolled: ImageSet) -> None:
    """Nor picked, nor anybody's parent."""
    used = {image.sha256 for image in make_dataset(studio, rerolled).images}
    assert used.isdisjoint(one.sha256 for one in rerolled.rejected)


def test_cost_per_accepted_image_counts_every_round(studio: Studio, rerolled: ImageSet) -> None:
    """Three jobs for eight pictures that hold; none that holds is no price."""
    assert rerolled.timing.jobs == 3
    assert cost_per_accepted(rerolled) == pytest.approx(3 * USD / 8)
    assert [one.shot for one in redrawn(rerolled)] == ["front-smile"]
    refused = rerolled.images[0].model_copy(update={"refused": "blurred"})
    assert cost_per_accepted(rerolled.model_copy(update={"images": (refused,)})) is None


def test_manifest_of_before_keeps_its_name(rerolled: ImageSet) -> None:
    """Fields that are empty are not written: what was stored without them is read, and named, as it was."""
    plain = rerolled.model_copy(
        update={"rejected": tuple(one.model_copy(update={"refused": ""}) for one in rerolled.rejected)}
    )
    text = to_json(plain)
    assert b"refused" not in text
    assert b"faults" not in text
    assert name_of(from_json(text)) == name_of(plain)
    assert from_json(to_json(rerolled)) == rerolled


def test_blurred_pick_is_refused(open_house: Opens) -> None:
    """The quality claim is required: base images that fail it cannot be picked from."""
    studio = open_house(rerolls=0)
    sees(studio, "base-images-10-option-2")
    studio.publish(make_base_images(studio, MARA))
    judge_all(studio, "base_images", MARA)
    with pytest.raises(NotAccepted, match="quality: option-2: no face, one was asked for"):
        studio.accepted("base_images", MARA)
