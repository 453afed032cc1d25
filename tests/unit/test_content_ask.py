"""What goes wrong with asking for content: a set that could never pass is paid for, or a good one is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.shots import content_shots
from ryla_assets.studio.batch import serve_day
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.studio import Studio
from tests.fakes.scripted_backend import ScriptedBackend
from tests.fakes.scripted_studio import STRANGER, ScriptedScorer, face, scripted_parts, to_content

MARA = "mara-lind"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def house(open_studio: Opens, make_character: Makes) -> Opens:
    """A character of whom content may be asked, at a size of the test's choice."""

    def opened(px: int, **settings: Any) -> Studio:
        studio = open_studio(parts=scripted_parts(), image_px=px, **settings)
        make_character(studio, MARA)
        to_content(studio, MARA)
        return studio

    return opened


@pytest.mark.parametrize(("px", "count", "aspect"), [(256, 1, "1:1"), (256, 2, "9:16"), (352, 2, "1:1")])
def test_set_without_a_face_that_can_be_verified_is_refused_before_it_costs(
    house: Opens, px: int, count: int, aspect: str
) -> None:
    """0 of 0 is no consistency: the error names count and size, and what would do."""
    studio = house(px)
    with pytest.raises(InputError, match=f"at {px} px no face of {count} pictures") as caught:
        ask(studio, MARA, ContentRequest(count=count, aspect=aspect))
    assert (caught.value.field, caught.value.value) == ("count", count)
    assert "Ask for 3 or more" in caught.value.way_out
    enough = int(caught.value.way_out.rpartition("RYLA_IMAGE_PX to ")[2].split()[0])
    for size, scorable in ((enough, True), (enough - 16, False)):
        shots = content_shots(count=count, aspect=aspect)
        assert any(shot.expects_face(size) for shot in shots) is scorable
    assert not studio.registry.requests(MARA, "generated_images")


def test_size_that_was_made_smaller_meanwhile_is_noticed(house: Opens) -> None:
    """The request was good when it was asked for; nothing is sent for it now."""
    studio = house(512)
    request = ask(studio, MARA, ContentRequest(count=1))
    studio.settings = studio.settings.model_copy(update={"image_px": 256})
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    before = len(backend.sent)
    with pytest.raises(InputError, match="at 256 px"):
        generate(studio, request)
    assert len(backend.sent) == before


@pytest.mark.parametrize(("px", "count"), [(256, 3), (368, 1)])
def test_set_with_one_face_is_asked_for(house: Opens, px: int, count: int) -> None:
    """One declared shot is enough to judge by."""
    assert ask(house(px), MARA, ContentRequest(count=count)).state == "pending"


def test_gates_that_only_record_refuse_no_size(house: Opens) -> None:
    """Nothing made there is accepted anyway."""
    assert ask(house(256, gates="record"), MARA, ContentRequest(count=1)).state == "pending"


def test_day_counts_what_is_accepted(house: Opens) -> None:
    """Four of five that the face swap's gate lets pass are four pictures in the day's table."""
    studio = house(368, content_images=5, rerolls=0)
    scorer = studio.scorer
    assert isinstance(scorer, ScriptedScorer)
    shots = content_shots(scene="morning-vibes", environment="studio", count=5)
    day = "2026-11-24"
    for scene in ("candid-lifestyle", "morning-vibes", "cozy-home", "professional-portrait"):
        name = shots[1].id.replace("morning-vibes", scene)
        scorer.sees[f"{MARA}/generated-images-10-{name}"] = [face(STRANGER)]
    [served] = serve_day(studio, day, stop_on=(), skip_on=())
    assert (served.row()["accepted"], served.row()["images"]) == (True, 4)
