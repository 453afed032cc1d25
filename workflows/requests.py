"""What a caller asks a workflow for, and the ranges it must keep.

Belongs here: the picture request that all builders share and the checks of their common parameters. Not what a
character or a shot is: a prompt arrives as finished text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from workflows.errors import WorkflowError

Rating: TypeAlias = Literal["sfw", "nsfw"]

MAX_SEED: Final = 2**53 - 1  # ComfyUI takes 2^64-1, but JSON numbers above 2^53 lose digits in browsers and databases
SIZE_STEP: Final = 16  # pixels: the VAE divides by 8, the transformer takes patches of 2 (EmptySD3LatentImage: step 16)
MIN_SIZE, MAX_SIZE = 256, 2048  # pixels: below, no face is left to judge; above, Flux repeats limbs
MAX_STEPS: Final = 60  # twice the usual upper end (20-28 for Flux-dev): a typo must not cost a GPU hour
MAX_GUIDANCE: Final = 10.0  # FluxGuidance takes 100; Union Pro 2.0 was trained on 1..7, photos want 2.5-3.5
MAX_PREFIX: Final = 150  # characters, so that folder + file name stay under 255 with the counter ComfyUI adds

_PREFIX = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")
_INPUT_FILE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._/-]*\.(png|jpg|jpeg|webp)")
_LORA_FILE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._/-]*\.safetensors")


@dataclass(frozen=True)
class ImageRequest:
    """One picture of a graph. `prefix` names its file and finds it again in the result: outputs run in no fixed order.

    `seed` is 0..2^53-1, `width` and `height` are pixels (multiples of 16). Flux-dev and Z-Image-Turbo run at cfg 1,
    which skips the negative pass: `negative` changes no pixel of theirs (Flux graphs record it, Z-Image's drop it).
    """

    prefix: str
    prompt: str
    negative: str
    seed: int
    width: int
    height: int


def check_images(images: Sequence[ImageRequest]) -> None:
    """Raise `WorkflowError` for the first request that is out of range, or for a prefix that is used twice."""
    if not images:
        raise WorkflowError("is empty.", field="images", value=(), way_out="Ask for at least one image.")
    seen: set[str] = set()
    for index, image in enumerate(images):
        _check_image(f"images[{index}]", image)
        if image.prefix in seen:
            raise WorkflowError(
                f"{image.prefix!r} is used twice in one graph.",
                field=f"images[{index}].prefix",
                value=image.prefix,
                way_out="Give each image its own prefix: results are mapped by it.",
            )
        seen.add(image.prefix)


def check_number(field: str, value: float, low: float, high: float) -> None:
    """Raise `WorkflowError` unless `value` is a number in `low..high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise WorkflowError(
            f"{value!r} is not a number from {low:g} to {high:g}.",
            field=field,
            value=value,
            way_out=f"Use a value from {low:g} to {high:g}.",
        )


def check_whole(field: str, value: int, low: int, high: int) -> None:
    """Raise `WorkflowError` unless `value` is an int (no bool, no float) in `low..high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WorkflowError(
            f"{value!r} is not a whole number from {low} to {high}.",
            field=field,
            value=value,
            way_out=f"Use a whole number from {low} to {high}.",
        )


def check_input_file(field: str, name: str) -> None:
    """Raise `WorkflowError` unless `name` is a plain picture name (folders allowed) of the server's input folder."""
    _check_file(field, name, _INPUT_FILE, "Use the name the upload returned, such as 'ab12cd.png'.")


def check_lora_file(field: str, name: str) -> None:
    """Raise `WorkflowError` unless `name` is a plain .safetensors name (folders allowed) of the loras folder."""
    _check_file(field, name, _LORA_FILE, "Use a name such as 'alice-7f3a.safetensors'.")


def _check_file(field: str, name: str, pattern: re.Pattern[str], way_out: str) -> None:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise WorkflowError(f"{name!r} is not a plain file name.", field=field, value=name, way_out=way_out)


def _check_image(field: str, image: ImageRequest) -> None:
    if not _PREFIX.fullmatch(image.prefix) or len(image.prefix) > MAX_PREFIX:
        raise WorkflowError(
            f"{image.prefix!r} is not made of a-z, 0-9, '-' and inner '/' (at most {MAX_PREFIX} characters).",
            field=f"{field}.prefix",
            value=image.prefix,
            way_out="Use a prefix such as 'alice/front-1'.",
        )
    if not image.prompt.strip():
        raise WorkflowError("is empty.", field=f"{field}.prompt", value=image.prompt, way_out="Describe the picture.")
    check_whole(f"{field}.seed", image.seed, 0, MAX_SEED)
    for side, size in (("width", image.width), ("height", image.height)):
        check_whole(f"{field}.{side}", size, MIN_SIZE, MAX_SIZE)
        if size % SIZE_STEP:
            raise WorkflowError(
                f"{size} is not a multiple of {SIZE_STEP}.",
                field=f"{field}.{side}",
                value=size,
                way_out=f"Use {size - size % SIZE_STEP} or {size - size % SIZE_STEP + SIZE_STEP}.",
            )
