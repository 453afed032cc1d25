"""What goes wrong with the table of re-rolls: values that no node takes, limits passed, changes for nothing."""

from __future__ import annotations

from typing import get_args

import pytest

from ryla_assets.domain.redraw import MAX_STRENGTH, MAX_WEIGHT, PLAIN, Drawing, Fault, Route, redrawn_as

SHEET = Drawing(weight=0.95, start=0.1)


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("route", get_args(Route))
@pytest.mark.parametrize("fault", get_args(Fault))
def test_every_round_stays_within_what_the_nodes_take(fault: Fault, route: Route, number: int) -> None:
    """Five rounds are the most that the settings allow; PuLID's weight moves in steps of 0.05."""
    drawn = redrawn_as(SHEET, fault, route, number)
    assert SHEET.weight <= drawn.weight <= MAX_WEIGHT
    assert round(drawn.weight / 0.05, 6).is_integer()
    assert 0.0 <= drawn.start <= SHEET.start
    assert 1.0 <= drawn.strength <= MAX_STRENGTH


def test_another_face_is_held_more() -> None:
    """On the sheet up to the cap, and from an earlier step on; in scenes by the weight; a LoRA by its strength."""
    drawn = [redrawn_as(SHEET, "other_person", "sheet", number) for number in (1, 2)]
    assert [(one.weight, one.start) for one in drawn] == [(1.0, 0.05), (1.0, 0.025)]
    scene = Drawing(weight=0.8)
    assert [redrawn_as(scene, "other_person", "face_swap", n).weight for n in (1, 2, 3)] == [0.85, 0.9, 0.95]
    assert [redrawn_as(PLAIN, "other_person", "lora", n).strength for n in (1, 2, 3)] == [1.1, 1.2, 1.2]
    assert redrawn_as(PLAIN, "other_person", "base", 1) == PLAIN, "there is no face yet that it should have"


def test_who_asked_for_more_than_the_limit_keeps_it() -> None:
    """The limit is on what we add, not on what somebody set."""
    assert redrawn_as(Drawing(weight=1.3), "other_person", "sheet", 1).weight == 1.3


@pytest.mark.parametrize("route", get_args(Route))
def test_blank_picture_is_decoded_in_32_bits_once(route: Route) -> None:
    """If that did not help, half precision was not the cause."""
    assert [redrawn_as(PLAIN, "blank", route, number).fp32_vae for number in (1, 2)] == [True, False]


@pytest.mark.parametrize("route", get_args(Route))
def test_other_faults_change_the_seed_alone(route: Route) -> None:
    """Nothing in our graphs is known to cure them."""
    assert redrawn_as(SHEET, "other", route, 1) == SHEET
