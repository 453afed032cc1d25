"""Content: requests for pictures of a character, routed to the LoRA if it is ready and to the face swap before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from resources.gpu.job import InputFile
from ryla_assets.domain.errors import InputError, RylaError
from ryla_assets.domain.images import ImageSet, LoraArtifact
from ryla_assets.domain.redraw import Drawing
from ryla_assets.domain.routing import Route, route
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.shots import CONTENT_COUNTS, content_shots
from ryla_assets.domain.wrong_values import WrongValue, shown, unknown_field, wrong_value
from ryla_assets.registry.records import Character, Request
from ryla_assets.studio import texts
from ryla_assets.studio.lineage import own_picture
from ryla_assets.studio.paid import active
from ryla_assets.studio.plans import (
    REROLLS,
    Frame,
    PlannedJob,
    alike,
    frame,
    image_job,
    input_image,
    plan_once,
    spread,
)
from ryla_assets.studio.rendering import render
from ryla_assets.studio.reroll import Verdict, drawing_of, reroll
from ryla_assets.studio.review import demand_review
from ryla_assets.studio.studio import Studio, name_of
from workflows.face_swap import IDENTITY_WEIGHT, START_AT, face_swap
from workflows.lora_generation import LORA_STRENGTH, lora_generation
from workflows.requests import ImageRequest

STAGE = "generated_images"
SEEDS = 2**53 - 1


class ContentRequest(BaseModel):
    """What is asked for; every id is one of the catalogue's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: str = "candid-lifestyle"
    environment: str = "studio"
    count: int = Field(default=4, ge=1, le=10)
    aspect: str = "1:1"
    outfit: str | None = None
    pose: str | None = None
    lighting: str | None = None
    style: str | None = None
    details: str | None = Field(default=None, max_length=500)
    rating: str = "sfw"
    method: str = "auto"
    seed: int | None = Field(default=None, ge=0, le=SEEDS)
    asked_by: str = ""


def ask(studio: Studio, character: str, wanted: ContentRequest, *, name: str | None = None) -> Request:
    """Put a request on the character's list; sensors (or the caller) generate it. `name` makes asking idempotent.

    Everything is checked here, before anything is paid: ids, rating, the screen over free text.
    """
    who = active(studio, character)
    with texts.recorded(studio, place=STAGE, character=who.id, who=wanted.asked_by):
        if wanted.details:
            texts.check(studio, wanted.details, field="details", place=STAGE, character=who.id, who=wanted.asked_by)
        for shot in _shots(wanted):
            _text(studio, who, shot, wanted, trigger=None, asked_by=wanted.asked_by)
        _route(studio, who, wanted, lora=None, planning=False)
        _check_scorable(studio, wanted)
    body = wanted.model_dump(mode="json")
    return studio.registry.open_take(character, STAGE, body, reuse="never", name=name, event="content_requested")


def parse(data: dict[str, Any], studio: Studio | None = None, *, character: str | None = None) -> ContentRequest:
    """A request from outside. Raises InputError naming the field, the value and what is allowed.

    What an error would repeat is screened first: what is blocked is an UnsafeText, kept in the audit trail of `studio`.
    """
    try:
        return ContentRequest.model_validate(data)
    except ValidationError as error:
        fault = _fault(error.errors()[0], studio.denied if studio else None)
    if studio is None:
        raise fault
    with texts.recorded(studio, place=STAGE, character=character, who=str(data.get("asked_by", ""))):
        raise fault


def _fault(fault: ErrorDetails, denied: DenyList | None) -> WrongValue:
    """The error for a wrong field, which tells its value, but for free text and what stands in an unknown field."""
    field, value, said = ".".join(map(str, fault["loc"])), fault["input"], fault["msg"]
    if fault["type"] == "extra_forbidden":
        known = f"Known fields: {', '.join(ContentRequest.model_fields)}."
        return unknown_field(value, field=field, inside="request", fault=said, way_out=known, denied=denied)
    again = "Correct it and ask again."
    if field == "details":
        return InputError(f"{said}.", field=field, way_out=again)
    return wrong_value(value, field=field, fault=said, way_out=again, denied=denied)


def next_request(studio: Studio, character: str, request_id: str | None = None) -> Request:
    """The request to work on: the named one, the oldest waiting one, or the latest again (its results are adopted)."""
    if request_id:
        found = studio.registry.request(request_id)
        if found is None or found.character != character or found.stage != STAGE:
            raise InputError(
                f"{character} has no request {shown(request_id)!r}.",
                field="request",
                value=shown(request_id),
                way_out=f"ryla characters show {character} lists them.",
            )
        return found
    waiting = studio.registry.requests(character, STAGE, states=("pending", "planned"))
    if waiting:
        return waiting[0]
    earlier = studio.registry.requests(character, STAGE)
    return earlier[-1] if earlier else first_look(studio, character)


def first_look(studio: Studio, character: str) -> Request:
    """The request that stands in where nobody asked for anything yet."""
    wanted = ContentRequest(count=studio.settings.content_images, asked_by="first look")
    return ask(studio, character, wanted, name="first-look")


def generate(studio: Studio, request: Request) -> ImageSet:
    """Make a request's pictures by the route that holds now. A planned request keeps the route that it was planned on.

    What fails its gates is drawn again, unless a seed was asked for: then these pictures are meant, and no others.

    Gates: the sheet must be accepted, and the LoRA if it is used.
    """
    who = active(studio, request.character)
    wanted = ContentRequest.model_validate(request.body)
    sheet = studio.accepted("character_sheet", who.id)
    base = studio.accepted("selected_base_image", who.id)
    lora = _lora(studio, who)
    if not isinstance(base, ImageSet):
        raise InputError(f"{who.id} has no selected base image.", field="selected_base_image")
    own_picture(studio, base.images[0], who.id)
    demand_review(studio, base)
    way = _route(studio, who, wanted, lora=lora, planning=True)
    if request.plan is None:
        _check_scorable(studio, wanted)  # the size may be another one since it was asked for
    chosen = request.route or way.method
    draw = partial(_plan, studio, who, request, wanted, base)
    plan = plan_once(studio, request, partial(draw, lora if way.method == "lora" else None, None, 0), route=way.method)
    images, timing = render(studio, plan)
    lora_parent = (name_of(lora),) if lora and chosen == "lora" else ()
    made = ImageSet(
        asset=STAGE,
        character=who.id,
        take=request.take,
        request_id=request.id,
        backend=studio.runner.backend.name,
        render_domain=studio.render_domain,
        route="lora" if chosen == "lora" else "face_swap",
        route_reason=way.reason if chosen == way.method else "planned before the LoRA was ready",
        rating="nsfw" if wanted.rating == "nsfw" else "sfw",
        images=tuple(images),
        parents=(name_of(sheet), name_of(base), *lora_parent),
        timing=timing,
    )
    again = wanted.seed is None and (chosen != "lora" or lora is not None)
    redraw = partial(draw, lora if chosen == "lora" else None) if again else None
    made = reroll(studio, request, made, redraw)
    studio.registry.finish_request(request.id, "done")
    return made


def _check_scorable(studio: Studio, wanted: ContentRequest) -> None:
    """Before anything is paid: raises InputError for a set that could not pass, for no shot's face can be verified."""
    px = studio.settings.image_px
    if studio.settings.gates != "enforce" or _has_faces(wanted, wanted.count, px):
        return
    count = next((count for count in CONTENT_COUNTS if _has_faces(wanted, count, px)), None)
    larger = next(size for size in range(px, 2048, 16) if _has_faces(wanted, wanted.count, size))
    raise InputError(
        f"at {px} px no face of {wanted.count} pictures of {wanted.aspect} would be large enough to be verified.",
        field="count",
        value=wanted.count,
        way_out=(f"Ask for {count} or more, whose closest is a close-up, or set" if count else "Set")
        + f" RYLA_IMAGE_PX to {larger} or more.",
    )


def _has_faces(wanted: ContentRequest, count: int, px: int) -> bool:
    return any(shot.expects_face(px) for shot in _shots(wanted.model_copy(update={"count": count})))


def _lora(studio: Studio, who: Character) -> LoraArtifact | None:
    """The accepted LoRA, if there is one; refused weights are no weights."""
    try:
        found = studio.accepted("lora_weights", who.id)
    except RylaError:
        return None
    return found if isinstance(found, LoraArtifact) else None


def _route(
    studio: Studio, who: Character, wanted: ContentRequest, *, lora: LoraArtifact | None, planning: bool
) -> Route:
    method = wanted.method
    if not planning and method == "lora":
        method = "auto"  # a request for the LoRA route may be put on the list before the LoRA is ready
    return route(
        lora_ready=lora is not None,
        lora_base=lora.base_model if lora else None,
        wanted_base=who.config.base_model or studio.settings.base_model,
        rating=wanted.rating,
        character_nsfw=who.config.nsfw_enabled,
        deployment_nsfw=studio.settings.nsfw_allowed,
        wanted=method,
        self_run_backend=studio.runner.backend.self_run,
    )


def _shots(wanted: ContentRequest) -> Sequence[Any]:
    return content_shots(
        scene=wanted.scene,
        environment=wanted.environment,
        count=wanted.count,
        aspect=wanted.aspect,
        pose=wanted.pose,
        lighting=wanted.lighting,
    )


def _text(
    studio: Studio, who: Character, shot: Any, wanted: ContentRequest, *, trigger: str | None, asked_by: str = ""
) -> Any:
    return texts.prompt(
        studio,
        who,
        shot,
        stage=STAGE,
        asked_by=asked_by,
        outfit=wanted.outfit,
        style=wanted.style,
        details=wanted.details,
        rating="nsfw" if wanted.rating == "nsfw" else "sfw",
        trigger=trigger,
    )


def _plan(
    studio: Studio,
    who: Character,
    request: Request,
    wanted: ContentRequest,
    base: ImageSet,
    lora: LoraArtifact | None,
    failed: Mapping[str, Verdict] | None,
    number: int,
) -> list[PlannedJob]:
    """All shots, or in a re-roll those that failed; by the LoRA if one is given, else by the face swap."""
    first = Drawing(weight=IDENTITY_WEIGHT, start=START_AT, strength=LORA_STRENGTH)
    frames = []
    for index, shot in enumerate(_shots(wanted)):
        if failed is None or shot.id in failed:
            fixed = None if wanted.seed is None else (wanted.seed + index) % (SEEDS + 1)
            text = _text(studio, who, shot, wanted, trigger=lora.trigger if lora else None)
            take = request.take * REROLLS + number
            how = drawing_of(first, shot.id, failed, "lora" if lora else "face_swap", number)
            frames.append(frame(studio, who.id, STAGE, shot, text, take=take, fixed_seed=fixed, drawing=how))
    label = f"{who.id}/{STAGE}/{request.take}" + (f" re-roll {number}" if number else "")
    backend, jobs = studio.runner.backend, []
    for group in alike(frames, lambda how: how):  # PuLID's hold, or the LoRA's strength, is one a graph
        jobs += [_job(studio, part, request, base, lora, label) for part in spread(group, backend)]
    return jobs


def _job(
    studio: Studio,
    frames: Sequence[Frame],
    request: Request,
    base: ImageSet,
    lora: LoraArtifact | None,
    label: str,
) -> PlannedJob:
    how = frames[0].drawing
    requests = [ImageRequest(f.prefix, f.text.positive, f.text.negative, f.seed, f.width, f.height) for f in frames]
    rating: Literal["sfw", "nsfw"] = "nsfw" if request.body.get("rating") == "nsfw" else "sfw"
    job = partial(image_job, studio, frames, label=label, owner=request.character, rating=rating)
    if lora is not None:
        file = InputFile("loras", lora.file_name, "loras", lora.sha256)
        graph = lora_generation(
            lora.base_model,  # type: ignore[arg-type]
            requests,
            lora_name=file.name,
            strength=how.strength,
            rating=rating,
        )
        return job(graph, workflow="lora-generation", method="lora", inputs=[file])
    face = input_image("images", base.images[0].sha256)
    graph = face_swap(
        requests, reference_image=face.name, identity_weight=how.weight, start_at=how.start, rating=rating
    )
    return job(graph, workflow="face-swap", method="pulid", inputs=[face])
