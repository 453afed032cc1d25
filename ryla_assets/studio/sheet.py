"""The character sheet: the selected face in seven to ten declared shots, each with one re-roll."""

from __future__ import annotations

from collections.abc import Sequence

from ryla_assets.domain.errors import InputError, NotAccepted
from ryla_assets.domain.identity import ImageScore
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.domain.shots import Shot, sheet_shots
from ryla_assets.prompts.build import build_prompt
from ryla_assets.registry.records import Character, Request
from ryla_assets.studio.base import active
from ryla_assets.studio.faces import reference_template, score_image
from ryla_assets.studio.plans import (
    IDENTITY_WEIGHT,
    REROLLS,
    Frame,
    PlannedJob,
    drawn_input,
    frame,
    image_job,
    input_image,
    plan_once,
    spread,
    take_for,
)
from ryla_assets.studio.rendering import render, together
from ryla_assets.studio.studio import Studio, name_of
from workflows.character_sheet import SheetImage, character_sheet
from workflows.poses.picture import pose_picture

STAGE = "character_sheet"


def make_sheet(
    studio: Studio, base: ImageSet, *, new_take: bool = False, identity_weight: float = IDENTITY_WEIGHT
) -> ImageSet:
    """Draw the sheet of a selected base image; shots whose face does not verify are drawn once more.

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
    template = _template(studio, base)
    reference = base.images[0]
    body = {"reference": reference.sha256, "identity_weight": identity_weight, "count": studio.settings.sheet_images}
    request = take_for(studio, who.id, STAGE, body, new_take=new_take)
    studio.registry.set_lora_status(who.id, "generating_sheets")

    shots = sheet_shots(studio.settings.sheet_images)
    plan = plan_once(studio, request, lambda: _plan(studio, who, base, request, shots, 0))
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
    return sheet if template is None else _reroll(studio, who, base, request, sheet, template)


def _template(studio: Studio, base: ImageSet) -> list[float] | None:
    """The face that shots are compared with; asked for before anything is paid.

    Raises NotAccepted for a base image that does not show one face; with RYLA_GATES=record it is None instead.
    """
    try:
        return reference_template(studio, base)
    except NotAccepted as error:
        if studio.settings.gates == "enforce":
            raise
        studio.caller.tell(f"No shot will be re-rolled: {error.message}")
        return None


def _reroll(
    studio: Studio, who: Character, base: ImageSet, request: Request, sheet: ImageSet, template: list[float]
) -> ImageSet:
    """Draw what failed once more and keep the better take of each shot; the other one stays, as rejected."""
    scores = {record.shot: score_image(studio, record, sheet, template) for record in sheet.images}
    failed = [s for s in sheet_shots(len(sheet.images)) if scores[s.id].expected and not scores[s.id].verified]
    if not failed or not request.body.get("reference"):
        return sheet
    studio.caller.tell(f"Re-rolling {len(failed)} shots of {who.id}: " + ", ".join(s.id for s in failed))
    again = studio.registry.open_request(
        f"{request.id}/reroll-1", character=who.id, stage=f"{STAGE}:reroll", take=request.take, body=request.body
    )
    plan = plan_once(studio, again, lambda: _plan(studio, who, base, request, failed, 1))
    images, timing = render(studio, plan)
    worse: list[ImageRecord] = []
    better = {record.shot: record for record in sheet.images}
    for record in images:
        first = better[record.shot]
        if _rank(score_image(studio, record, sheet, template)) < _rank(scores[record.shot]):
            better[record.shot] = record
            worse.append(first)
        else:
            worse.append(record)
    return sheet.model_copy(
        update={
            "images": tuple(better[record.shot] for record in sheet.images),
            "rejected": tuple(worse),
            "timing": together(sheet.timing, timing),
        }
    )


def _rank(score: ImageScore) -> tuple[bool, float]:
    return (not score.verified, score.distance if score.distance is not None else float("inf"))


def _plan(
    studio: Studio, who: Character, base: ImageSet, request: Request, shots: Sequence[Shot], reroll: int
) -> list[PlannedJob]:
    weight = float(request.body["identity_weight"])
    frames = []
    for shot in shots:
        text = build_prompt(who.config, shot)
        frames.append(frame(studio, who.id, STAGE, shot, text, take=request.take * REROLLS + reroll))
    groups = spread(frames, studio.runner.backend)
    label = f"{who.id}/{STAGE}/{request.take}" + (f" re-roll {reroll}" if reroll else "")
    return [_job(studio, group, base.images[0], weight, label, who.id) for group in groups]


def _job(
    studio: Studio, frames: Sequence[Frame], reference: ImageRecord, weight: float, label: str, owner: str
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
            identity_weight=weight,
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
