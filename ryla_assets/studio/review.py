"""The review: a person looked at a base image and says that whom it shows looks adult.

Belongs here: who may have said so, and the question whether anybody did. Picking is the review, so its record is the
row of the selection (`base.pick`). A policy picks without looking: on previews that is enough, for they are drawn with
adult measures; from a model's base image nothing is made before a person has picked it.
"""

from __future__ import annotations

from ryla_assets.domain.errors import InputError, TooEarly
from ryla_assets.domain.images import ImageSet, RenderDomain
from ryla_assets.registry.records import Selection
from ryla_assets.studio.studio import Studio

ADULT_APPEARANCE = "adult appearance"  # what a person reviews by picking
UNREVIEWED = "picked by policy, no person reviewed its adult appearance"
POLICY = "policy:"  # how the name of a policy begins that picked
_NOBODY = ("", "dagster", "unnamed")  # no one; the service that runs things; a user of a container without a name


def check_reviewer(who: str) -> None:
    """Raise InputError unless `who` can be a person: a review that names nobody is none."""
    if not names_a_person(who):
        raise InputError(
            "a pick is the review of a base image's adult appearance, and this names no person.",
            field="who",
            value=who,
            way_out="Say who looked: --who, or `who` beside `option` in the run config of selected_base_image.",
        )


def names_a_person(who: str) -> bool:
    """Whether it is neither empty, nor a policy, nor the service itself."""
    name = who.strip().lower()
    return name not in _NOBODY and not name.startswith(POLICY)


def is_review(selection: Selection | None) -> bool:
    """Whether a person stands behind a selection."""
    return selection is not None and selection.review is not None and names_a_person(selection.who)


def demand_review(studio: Studio, base: ImageSet) -> None:
    """Raise TooEarly for a selected base image that a model made and no person has picked."""
    demand_reviewed(studio, base.character, base.images[0].sha256, base.render_domain)


def demand_reviewed(studio: Studio, character: str, image_sha256: str, domain: RenderDomain) -> None:
    """The same for one base image by its stored bytes."""
    if domain == "preview" or any(map(is_review, studio.registry.selections(character, image_sha256))):
        return
    raise TooEarly(
        f"no person has reviewed that the base image of {character} looks adult.",
        field="selected_base_image",
        value=image_sha256[:12],
        way_out=f"Look at it, and pick: ryla characters select {character} OPTION",
    )
