"""What goes wrong with the adult-appearance review: it names nobody, or a model's face is used before one looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from resources.database import writing
from ryla_assets.cli import main
from ryla_assets.domain.errors import InputError, TooEarly
from ryla_assets.domain.images import ImageSet
from ryla_assets.registry import tables
from ryla_assets.studio.base import make_base_images, pick, selected_base_image
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.lora import make_dataset, start_training
from ryla_assets.studio.review import ADULT_APPEARANCE, UNREVIEWED
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.waiting import wants_sheet
from tests.fakes.scripted_studio import IMAGE_PX, decree, judged, scripted_parts, to_content, to_sheet

MARA = "mara-lind"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def opened(open_studio: Opens, make_character: Makes) -> Callable[[str], Studio]:
    """A studio whose pictures are previews, or a model's, with one active character."""

    def make(domain: str = "model") -> Studio:
        studio = open_studio(parts=scripted_parts(domain=domain), image_px=IMAGE_PX, sheet_images=7, rerolls=0)
        make_character(studio, MARA)
        return studio

    return make


def by_policy(studio: Studio) -> ImageSet:
    """The base image that the policy picks, published and judged."""
    judged(studio, make_base_images(studio, MARA))
    chosen = selected_base_image(studio, MARA, policy="best_score", who="")
    assert chosen is not None
    return judged(studio, chosen)


def forget_review(studio: Studio, **values: object) -> None:
    """Make the recorded picks those of nobody."""
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(tables.selections).values(**values))


# ---- who it names


@pytest.mark.parametrize("who", ["", "  ", "dagster", "Dagster", "unnamed", "policy:best_score"])
def test_pick_by_nobody_is_refused(opened: Callable[..., Studio], who: str) -> None:
    """An option in the run config without a name, the service's own, a policy's: nothing is recorded."""
    studio = opened("preview")
    judged(studio, make_base_images(studio, MARA))
    with pytest.raises(InputError, match="names no person") as caught:
        selected_base_image(studio, MARA, option=1, who=who)
    assert (caught.value.field, "beside `option`" in caught.value.way_out) == ("who", True)
    assert studio.registry.selection(MARA) is None


def test_command_line_names_its_user_or_who_is_said(
    opened: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user may be the service: then somebody must say who looked."""
    studio = opened("preview")
    judged(studio, make_base_images(studio, MARA))
    monkeypatch.setenv("LOGNAME", "dagster")
    refused = CliRunner().invoke(main, ["characters", "select", MARA, "1"])
    assert refused.exit_code == 2
    assert "--who" in refused.stderr
    said = CliRunner().invoke(main, ["characters", "select", MARA, "1", "--who", "vera"])
    assert said.exit_code == 0, said.output
    found = studio.registry.selection(MARA)
    assert found is not None
    assert (found.who, found.review) == ("vera", ADULT_APPEARANCE)


# ---- what waits for it


def test_sheet_of_a_model_waits_for_a_person(opened: Callable[..., Studio]) -> None:
    """Refused with the command to pick, nothing sent, no status changed; after the pick it is drawn."""
    studio = opened()
    base = by_policy(studio)
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    with pytest.raises(TooEarly, match="no person has reviewed") as caught:
        make_sheet(studio, base)
    assert caught.value.way_out.endswith(f"ryla characters select {MARA} OPTION")
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]
    assert studio.registry.character(MARA).lora_status == "pending"
    assert not wants_sheet(studio, MARA), "no sensor asks for what would be refused"
    policy = studio.registry.selection(MARA)
    assert policy is not None
    pick(studio, MARA, option=policy.option, who="vera", why="looks right")
    assert wants_sheet(studio, MARA)
    assert make_sheet(studio, base).images, "the same picture, reviewed by now"


def test_other_option_that_was_reviewed_is_no_review(opened: Callable[..., Studio]) -> None:
    """A person looked at another face."""
    studio = opened()
    base = by_policy(studio)
    policy = studio.registry.selection(MARA)
    assert policy is not None
    pick(studio, MARA, option=policy.option % 3 + 1, who="vera", why="looks right")
    with pytest.raises(TooEarly, match="no person has reviewed"):
        make_sheet(studio, base)


def test_preview_needs_no_person(opened: Callable[..., Studio]) -> None:
    """Drawn heads have adult measures: the demo and its policy go on, and say so."""
    studio = opened("preview")
    base = by_policy(studio)
    assert base.route_reason.endswith(UNREVIEWED)
    assert make_sheet(studio, base).images
    assert wants_sheet(studio, MARA)


@pytest.mark.parametrize("values", [{"review": None}, {"who": "dagster"}], ids=["unreviewed", "by the service"])
def test_content_and_training_wait_too(opened: Callable[..., Studio], values: dict[str, object]) -> None:
    """A sheet that exists already is no way around: its base image was reviewed by nobody."""
    studio = opened()
    sheet = to_sheet(studio, MARA)
    dataset = make_dataset(studio, sheet)
    decree(studio, dataset)  # type: ignore[arg-type]
    request = ask(studio, MARA, ContentRequest(count=1))
    forget_review(studio, **values)
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    for call in (lambda: generate(studio, request), lambda: start_training(studio, dataset)):
        with pytest.raises(TooEarly, match="no person has reviewed"):
            call()
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]


def test_planned_picture_waits_too(opened: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch) -> None:
    """The door asks for each base image that a job reads, whatever its stage forgot to ask."""
    studio = opened()
    to_content(studio, MARA)
    request = ask(studio, MARA, ContentRequest(count=1))
    forget_review(studio, review=None)
    monkeypatch.setattr("ryla_assets.studio.content.demand_review", lambda *_: None)
    with pytest.raises(TooEarly, match="no person has reviewed"):
        generate(studio, request)


def test_recording_gates_need_the_review_too(open_studio: Opens, make_character: Makes) -> None:
    """RYLA_GATES=record is about quality."""
    studio = open_studio(parts=scripted_parts(domain="model"), image_px=IMAGE_PX, rerolls=0, gates="record")
    make_character(studio, MARA)
    base = by_policy(studio)
    with pytest.raises(TooEarly, match="no person has reviewed"):
        make_sheet(studio, base)
