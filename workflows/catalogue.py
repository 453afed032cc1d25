"""The workflows by name: what each is for, its parameters as a person may write them, and the graph they give.

Belongs here: one table for the command line and the docs. Callers in code use the builders: those are typed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from workflows.base_image import base_image
from workflows.character_sheet import SHEET_STEPS, SheetImage, character_sheet
from workflows.errors import WorkflowError
from workflows.examples import LORA_FILES, NEGATIVE, REFERENCE_IMAGE
from workflows.face_swap import IDENTITY_WEIGHT, START_AT, face_swap
from workflows.graph import Prompt
from workflows.lora_generation import LORA_STRENGTH, lora_generation
from workflows.requests import ImageRequest, check_whole

Value: TypeAlias = str | int | float | None

MAX_COUNT: Final = 10  # pictures of one graph: the longest sheet, and the most a content request asks for


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `--set NAME=VALUE`: how its text is read, what it is otherwise (None: the base model's own), its meaning."""

    name: str
    kind: type[str] | type[int] | type[float]
    default: Value
    meaning: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """A named workflow; `make` takes a value for every parameter."""

    name: str
    purpose: str
    template: str
    base_models: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    make: Callable[[Mapping[str, Any]], Prompt]


_IMAGE: Final = (
    Parameter("prompt", str, "photo of a 30 year old woman in a park", "what the picture shows"),
    Parameter("negative", str, NEGATIVE, "recorded, but without effect at cfg 1"),
    Parameter("seed", int, 1, "0 to 2^53-1; picture n of several has seed + n"),
    Parameter("width", int, 1024, "pixels, 256 to 2048, a multiple of 16"),
    Parameter("height", int, 1024, "pixels, 256 to 2048, a multiple of 16"),
    Parameter("prefix", str, "ryla", "file name of the results, followed by a number"),
    Parameter("count", int, 1, f"pictures in one graph, 1 to {MAX_COUNT}"),
)
_SAMPLING: Final = (
    Parameter("rating", str, "sfw", "sfw or nsfw: another unet file (flux-dev only)"),
    Parameter("guidance", float, None, "FluxGuidance, 0 to 10, own value 3.5 (flux-dev only)"),
)
_BASE_MODEL: Final = Parameter("base_model", str, "flux-dev", "flux-dev or zimage-turbo")
_STEPS: Final = Parameter("steps", int, None, "sampler steps, 1 to 60; own value 20, Z-Image 8")
_REFERENCE: Final = Parameter("reference_image", str, REFERENCE_IMAGE, "the character's picture, as uploaded")


def build(name: str, settings: Mapping[str, str]) -> Prompt:
    """The graph of workflow `name` with `settings` (parameter -> text) over its defaults, in API format.

    Raises `WorkflowError` for an unknown workflow or parameter, and for a value that cannot be read or is out of range.
    """
    workflow = named(name)
    known = {parameter.name: parameter for parameter in workflow.parameters}
    for key in settings:
        if key not in known:
            close = get_close_matches(key, list(known), n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(known)}."
            raise WorkflowError(f"{name} has no such parameter.", field=key, value=settings[key], way_out=hint)
    values = {key: _read(p, settings[key]) if key in settings else p.default for key, p in known.items()}
    check_whole("count", values["count"], 1, MAX_COUNT)  # type: ignore[arg-type]  # its kind is int
    return workflow.make(values)


def named(name: str) -> Workflow:
    """The workflow of that name; `WorkflowError` if there is none."""
    if name not in WORKFLOWS:
        raise WorkflowError(
            f"{name!r} is unknown.", field="workflow", value=name, way_out=f"Use one of {', '.join(WORKFLOWS)}."
        )
    return WORKFLOWS[name]


def _read(parameter: Parameter, text: str) -> Value:
    try:
        return parameter.kind(text)
    except ValueError as error:
        wanted = "a whole number" if parameter.kind is int else "a number"
        raise WorkflowError(
            f"{text!r} is not {wanted}.", field=parameter.name, value=text, way_out=parameter.meaning
        ) from error


def _images(values: Mapping[str, Any]) -> list[ImageRequest]:
    return [ImageRequest(**_request(values, number)) for number in range(values["count"])]


def _request(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    same = {key: values[key] for key in ("prompt", "negative", "width", "height")}
    return {**same, "seed": values["seed"] + number, "prefix": f"{values['prefix']}-{number + 1}"}


def _some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _sheet(values: Mapping[str, Any]) -> Prompt:
    identity = {**_some(values, "identity_weight", "start_at"), "pose": values["pose"] or None}
    views = [SheetImage(**_request(values, number), **identity) for number in range(values["count"])]
    return character_sheet(views, **_some(values, "reference_image", "rating", "steps", "guidance"))


def _face_swap(values: Mapping[str, Any]) -> Prompt:
    wanted = ("reference_image", "identity_weight", "start_at", "identity_method", "rating", "steps", "guidance")
    return face_swap(_images(values), **_some(values, *wanted))


def _base_image(values: Mapping[str, Any]) -> Prompt:
    return base_image(values["base_model"], _images(values), **_some(values, "rating", "steps", "guidance"))


def _lora(values: Mapping[str, Any]) -> Prompt:
    wanted = ("lora_name", "strength", "rating", "steps", "guidance")
    return lora_generation(values["base_model"], _images(values), **_some(values, *wanted))


WORKFLOWS: Final[Mapping[str, Workflow]] = MappingProxyType(
    {
        "base-image": Workflow(
            "base-image",
            "a character seen for the first time, in several options",
            "base-image-generation",
            ("flux-dev", "zimage-turbo"),
            (*_IMAGE, _BASE_MODEL, _STEPS, *_SAMPLING),
            _base_image,
        ),
        "character-sheet": Workflow(
            "character-sheet",
            "one face in many views: PuLID for the face, ControlNet for the pose",
            "character-sheet",
            ("flux-dev",),
            (
                *_IMAGE,
                _REFERENCE,
                Parameter("pose", str, "", "the pose picture, as uploaded; empty: no pose net"),
                Parameter("identity_weight", float, SheetImage.identity_weight, "PuLID weight, 0 to 1.5"),
                Parameter("start_at", float, SheetImage.start_at, "share of the steps before PuLID acts, 0 to 0.9"),
                Parameter("steps", int, None, f"sampler steps, 1 to 60; own value {SHEET_STEPS}"),
                *_SAMPLING,
            ),
            _sheet,
        ),
        "face-swap": Workflow(
            "face-swap",
            "a scene with the character's face by PuLID, while no LoRA exists",
            "face-swap",
            ("flux-dev",),
            (
                *_IMAGE,
                _REFERENCE,
                Parameter("identity_weight", float, IDENTITY_WEIGHT, "PuLID weight, 0 to 1.5"),
                Parameter("start_at", float, START_AT, "share of the steps before PuLID acts, 0 to 0.9"),
                Parameter("identity_method", str, "pulid", "pulid, or ip_adapter: style, not the person"),
                _STEPS,
                *_SAMPLING,
            ),
            _face_swap,
        ),
        "lora-generation": Workflow(
            "lora-generation",
            "a scene with the character's own trained weights",
            "lora-generation",
            ("flux-dev", "zimage-turbo"),
            (
                *_IMAGE,
                _BASE_MODEL,
                Parameter("lora_name", str, LORA_FILES["flux-dev"], "the file in the server's loras folder"),
                Parameter("strength", float, LORA_STRENGTH, "of the LoRA, 0 to 2"),
                _STEPS,
                *_SAMPLING,
            ),
            _lora,
        ),
    }
)
