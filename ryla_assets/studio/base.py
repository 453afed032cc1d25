"""Base images and the pick: three different people who fit the description, and the one that the character becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from ryla_assets.domain.errors import InputError, TooEarly
from ryla_assets.domain.images import ImageSet, Timing
from ryla_assets.domain.redraw import PLAIN
from ryla_assets.domain.shots import BASE_SHOTS
from ryla_assets.registry.records import Character, Selection
from ryla_assets.studio import texts
from ryla_assets.studio.faces import faces_of
from ryla_assets.studio.lineage import own_picture
from ryla_assets.studio.paid import active
from ryla_assets.studio.plans import REROLLS, Frame, PlannedJob, alike, frame, image_job, plan_once, take_for
from ryla_assets.studio.rendering import render
from ryla_assets.studio.reroll import Verdict, drawing_of, reroll
from ryla_assets.studio.review import ADULT_APPEARANCE, POLICY, UNREVIEWED, check_reviewer, is_review
from ryla_assets.studio.studio import Studio, name_of
from workflows.base_image import base_image
from workflows.requests import ImageRequest

STAGE = "base_images"


def make_base_images(studio: Studio, character: str, *, new_take: bool = False) -> ImageSet:
    """Three options, in one graph with three seeds; what is no good picture of one person is drawn again.

    Materializing again adopts them; a new take is asked for.
    """
    who = active(studio, character)
    request = take_for(studio, character, STAGE, {"config": who.config.model_dump(mode="json")}, new_take=new_take)
    draw = partial(_plan, studio, who, request.take)
    plan = plan_once(studio, request, partial(draw, None, 0))
    images, timing = render(studio, plan)
    options = ImageSet(
        asset=STAGE,
        character=character,
        take=request.take,
        request_id=request.id,
        backend=studio.runner.backend.name,
        render_domain=studio.render_domain,
        route="base",
        images=tuple(images),
        timing=timing,
    )
    return reroll(studio, request, options, draw)


def pick(
    studio: Studio, character: str, *, option: int, who: str, why: str, review: str | None = ADULT_APPEARANCE
) -> Selection:
    """Record which option the character becomes: the reviewed, adult-looking base image of everything after.

    Picking is the recorded review: the person says that whom they see looks adult. `review` None: no person looked.
    Raises InputError (no such option, a review by nobody) and TooEarly / NotAccepted (inactive, or no accepted base
    images to pick from).
    """
    active(studio, character)
    if review is not None:
        check_reviewer(who)
    base = studio.accepted(STAGE, character)
    if not isinstance(base, ImageSet):
        raise TooEarly(f"{character} has no base images yet.", way_out="Materialize base_images first.")
    if not 1 <= option <= len(base.images):
        raise InputError(
            f"{character} has no option {option}.",
            field="option",
            value=option,
            way_out=f"Choose 1 to {len(base.images)}; ryla characters show {character} lists them.",
        )
    image = base.images[option - 1]
    own_picture(studio, image, character)
    return studio.registry.select(
        character,
        option=option,
        take=base.take,
        image={
            "sha256": image.sha256,
            "manifest_sha256": name_of(base),
            "url": studio.store.uri("images", image.sha256),
        },
        who=who,
        why=why,
        review=review,
    )


def best_option(studio: Studio, character: str) -> tuple[int, str]:
    """The option that the policy would pick, and why: one face, found with the highest detector score."""
    base = studio.accepted(STAGE, character)
    scores = {}
    for number, record in enumerate(base.images if isinstance(base, ImageSet) else (), start=1):
        faces = faces_of(studio, record)
        if len(faces) == 1:
            scores[number] = faces[0].score
    if not scores:
        raise TooEarly(
            f"no base image of {character} shows exactly one face.",
            field="policy",
            value="best_score",
            way_out="Regenerate the base images, or pick one yourself.",
        )
    best = max(scores, key=lambda number: scores[number])
    return best, f"highest face-detector score ({scores[best]:.2f}) of {len(scores)} options with one face"


def selected_base_image(
    studio: Studio,
    character: str,
    *,
    option: int | None = None,
    policy: Literal["registry", "best_score"] = "registry",
    who: str,
) -> ImageSet | None:
    """The picked base image as a set of one; None (with the reason told) while nobody picked."""
    base = studio.accepted(STAGE, character)
    selection = studio.registry.selection(character)
    if option is not None:
        selection = pick(studio, character, option=option, who=who, why="picked in the run's config")
    elif policy == "best_score" and (selection is None or selection.manifest_sha256 != name_of(base)):
        number, why = best_option(studio, character)
        selection = pick(studio, character, option=number, who=f"{POLICY}best_score", why=why, review=None)
    if selection is None:
        studio.caller.tell(f"No base image of {character} is selected yet: ryla characters select {character} OPTION")
        return None
    chosen = studio.manifest(selection.manifest_sha256)
    if not isinstance(chosen, ImageSet):
        raise InputError(f"{selection.manifest_sha256[:12]} is no set of base images.", field="selection")
    images = tuple(image for image in chosen.images if image.sha256 == selection.image_sha256)
    if chosen.character != character or chosen.asset != STAGE or len(images) != 1:
        raise InputError(
            f"the pick of {character} names no picture of its base images.",
            field="selection",
            value=selection.image_sha256[:12],
            way_out=f"Pick again: ryla characters select {character} OPTION",
        )
    own_picture(studio, images[0], character)
    reviewed = f"reviewed: {selection.review}" if is_review(selection) else UNREVIEWED
    return chosen.model_copy(
        update={
            "asset": "selected_base_image",
            "images": images,
            "take": selection.id,
            "route_reason": f"option {selection.option} picked by {selection.who}: {selection.why}; {reviewed}",
            "parents": (selection.manifest_sha256,),
            "timing": Timing(),  # a pick makes nothing: its picture is on the bill of base_images
        }
    )


def _plan(
    studio: Studio, who: Character, take: int, failed: Mapping[str, Verdict] | None, number: int
) -> list[PlannedJob]:
    """All options in one graph, or in a re-roll those that failed."""
    frames: list[Frame] = []
    for shot in BASE_SHOTS:
        if failed is None or shot.id in failed:
            text = texts.prompt(studio, who, shot, stage=STAGE, sfw_base=True)
            how = drawing_of(PLAIN, shot.id, failed, "base", number)
            frames.append(frame(studio, who.id, STAGE, shot, text, take=take * REROLLS + number, drawing=how))
    label = f"{who.id}/{STAGE}/{take}" + (f" re-roll {number}" if number else "")
    return [_job(studio, who, group, label) for group in alike(frames, lambda how: how.fp32_vae)]


def _job(studio: Studio, who: Character, frames: Sequence[Frame], label: str) -> PlannedJob:
    requests = [ImageRequest(f.prefix, f.text.positive, f.text.negative, f.seed, f.width, f.height) for f in frames]
    graph = base_image(who.config.base_model or studio.settings.base_model, requests)
    return image_job(studio, frames, graph, workflow="base-image", method="text", label=label, owner=who.id)
