"""Base images and the pick: three different people who fit the description, and the one that the character becomes."""

from __future__ import annotations

from typing import Literal

from ryla_assets.domain.errors import InputError, TooEarly
from ryla_assets.domain.images import ImageSet, Timing
from ryla_assets.domain.shots import BASE_SHOTS
from ryla_assets.prompts.build import build_prompt
from ryla_assets.registry.records import Character, Selection
from ryla_assets.studio.faces import faces_of
from ryla_assets.studio.plans import REROLLS, Frame, PlannedJob, frame, image_job, plan_once, take_for
from ryla_assets.studio.rendering import render
from ryla_assets.studio.studio import Studio, name_of
from workflows.base_image import base_image
from workflows.requests import ImageRequest

STAGE = "base_images"


def make_base_images(studio: Studio, character: str, *, new_take: bool = False) -> ImageSet:
    """Three options, in one graph with three seeds. Materializing again adopts them; a new take is asked for."""
    who = active(studio, character)
    request = take_for(studio, character, STAGE, {"config": who.config.model_dump(mode="json")}, new_take=new_take)
    plan = plan_once(studio, request, lambda: [_plan(studio, who, request.take)])
    images, timing = render(studio, plan)
    return ImageSet(
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


def pick(studio: Studio, character: str, *, option: int, who: str, why: str) -> Selection:
    """Record which option the character becomes: the reviewed, adult-looking base image of everything after.

    Raises InputError (no such option) and TooEarly / NotAccepted (inactive, or no accepted base images to pick from).
    """
    active(studio, character)
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
        selection = pick(studio, character, option=number, who="policy:best_score", why=why)
    if selection is None:
        studio.caller.tell(f"No base image of {character} is selected yet: ryla characters select {character} OPTION")
        return None
    chosen = studio.manifest(selection.manifest_sha256)
    if not isinstance(chosen, ImageSet):
        raise InputError(f"{selection.manifest_sha256[:12]} is no set of base images.", field="selection")
    return chosen.model_copy(
        update={
            "asset": "selected_base_image",
            "images": tuple(i for i in chosen.images if i.sha256 == selection.image_sha256),
            "take": selection.id,
            "route_reason": f"option {selection.option} picked by {selection.who}: {selection.why}",
            "parents": (selection.manifest_sha256,),
            "timing": Timing(),  # a pick makes nothing: its picture is on the bill of base_images
        }
    )


def active(studio: Studio, character: str) -> Character:
    """The character, if it may spend. Raises TooEarly while it is inactive."""
    found = studio.registry.character(character)
    if not found.active or found.retired:
        raise TooEarly(
            f"{character} is not active, so nothing is spent on it.",
            field="character",
            value=character,
            way_out=f"ryla characters activate {character}",
        )
    return found


def _plan(studio: Studio, who: Character, take: int) -> PlannedJob:
    frames: list[Frame] = []
    for shot in BASE_SHOTS:
        text = build_prompt(who.config, shot, sfw_base=True)
        frames.append(frame(studio, who.id, STAGE, shot, text, take=take * REROLLS))
    requests = [ImageRequest(f.prefix, f.text.positive, f.text.negative, f.seed, f.width, f.height) for f in frames]
    graph = base_image(who.config.base_model or studio.settings.base_model, requests)
    label = f"{who.id}/{STAGE}/{take}"
    return image_job(studio, frames, graph, workflow="base-image", method="text", label=label, owner=who.id)
