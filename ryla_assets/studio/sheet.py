"""The character sheet: the selected face in seven to ten declared shots, drawn again where they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ryla_assets.domain.errors import InputError, NotAccepted
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.domain.redraw import Drawing
from ryla_assets.domain.shots import sheet_shots
from ryla_assets.registry.records import Character, Request
from ryla_assets.studio import texts
from ryla_assets.studio.faces import reference_template
from ryla_assets.studio.lineage import own_picture
from ryla_assets.studio.paid import active
from ryla_assets.studio.plans import (
    IDENTITY_WEIGHT,
    REROLLS,
    Frame,
    PlannedJob,
    alike,
    drawn_input,
    frame,
    image_job,
    input_image,
    plan_once,
    spread,
    take_for,
)
from ryla_assets.studio.rendering import render
from ryla_assets.studio.reroll import Verdict, drawing_of, reroll
from ryla_assets.studio.review import demand_review
from ryla_assets.studio.studio import Studio, name_of
from workflows.character_sheet import SheetImage, character_sheet
from workflows.poses.picture import pose_picture

STAGE = "character_sheet"


def make_sheet(
    studio: Studio, base: ImageSet, *, new_take: bool = False, identity_weight: float = IDENTITY_WEIGHT
) -> ImageSet:
    """Draw the sheet of a selected base image; shots that fail their gates are drawn again (`reroll`).

    `identity_weight` is PuLID's (0..1): how strongly the reference face is held; the default is the workflow's.
    """
    who = active(studio, base.character)
    studio.demand(base)
    if not 0.0 <= identity_weight <= 1.0:
        raise InputError(
            "is outside 0..1.",
            field="identity_weight",
            value=identity_weight,
            way_out=f"Leave it at {IDENTITY_WEIGHT}.",
        )
    own_picture(studio, base.images[0], who.id)
    demand_review(studio, base)
    _check_reference(studio, base)
    reference = base.images[0]
    body = {"reference": reference.sha256, "identity_weight": identity_weight, "count": studio.settings.sheet_images}
    request = take_for(studio, who.id, STAGE, body, new_take=new_take)
    studio.registry.set_lora_status(who.id, "generating_sheets")

    draw = partial(_plan, studio, who, base, request)
    plan = plan_once(studio, request, partial(draw, None, 0))
    images, timing = render(studio, plan)
    sheet = ImageSet(
        asset=STAGE,
        character=who.id,
        take=request.take,
        request_id=request.id,
        backend=studio.runner.backend.name,
        render_domain=studio.render_domain,
        route="sheet",
        images=tuple(images),
        parents=(name_of(base),),
        timing=timing,
    )
    return reroll(studio, request, sheet, draw)


def _check_reference(studio: Studio, base: ImageSet) -> None:
    """Before anything is paid: raises NotAccepted for a base image that does not show one face.

    With RYLA_GATES=record it is only told: then no shot can be drawn again for its face.
    """
    try:
        reference_template(studio, base)
    except NotAccepted as error:
        if studio.settings.gates == "enforce":
            raise
        studio.caller.tell(f"No face can be compared: {error.message}")


def _plan(
    studio: Studio,
    who: Character,
    base: ImageSet,
    request: Request,
    failed: Mapping[str, Verdict] | None,
    number: int,
) -> list[PlannedJob]:
    """All shots, or in a re-roll those that failed."""
    first = Drawing(weight=float(request.body["identity_weight"]), start=SheetImage.start_at)
    frames = []
    for shot in sheet_shots(int(request.body["count"])):
        if failed is None or shot.id in failed:
            text = texts.prompt(studio, who, shot, stage=STAGE)
            how = drawing_of(first, shot.id, failed, "sheet", number)
            take = request.take * REROLLS + number
            frames.append(frame(studio, who.id, STAGE, shot, text, take=take, drawing=how))
    label = f"{who.id}/{STAGE}/{request.take}" + (f" re-roll {number}" if number else "")
    backend, jobs = studio.runner.backend, []
    for group in alike(frames, lambda how: how.fp32_vae):
        jobs += [_job(studio, part, base.images[0], label, who.id) for part in spread(group, backend)]
    return jobs


def _job(
    studio: Studio,
    frames: Sequence[Frame],
    reference: ImageRecord,
    label: str,
    owner: str,
) -> PlannedJob:
    face = input_image("images", reference.sha256)
    poses = {
        f.prefix: drawn_input(studio, pose_picture(f.shot.view, f.shot.posture, f.shot.framing, f.width, f.height))
        for f in frames
    }
    requests = [
        SheetImage(
            f.prefix,
            f.text.positive,
            f.text.negative,
            f.seed,
            f.width,
            f.height,
            pose=poses[f.prefix].name,
            identity_weight=f.drawing.weight,
            start_at=f.drawing.start,
        )
        for f in frames
    ]
    return image_job(
        studio,
        frames,
        character_sheet(requests, reference_image=face.name),
        workflow="character-sheet",
        method="pulid",
        label=label,
        owner=owner,
        inputs=sorted({face, *poses.values()}, key=lambda file: file.name),
    )
