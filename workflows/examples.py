"""One small example of every workflow on every base model it runs on.

Belongs here: neutral parameters that show a graph's whole structure. Used to trim `object_info.json`, to pin each
workflow's version to its structure, and to ask a real server whether it takes the graphs; never to make content.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workflows.base_image import base_image
from workflows.character_sheet import SheetImage, character_sheet
from workflows.face_swap import face_swap
from workflows.graph import Prompt
from workflows.lora_generation import lora_generation
from workflows.precision import in_fp32
from workflows.requests import ImageRequest

REFERENCE_IMAGE: Final = "reference.png"
POSE_IMAGES: Final = ("pose-front.png", "pose-side-left.png")
LORA_FILES: Final[Mapping[str, str]] = MappingProxyType(
    {"flux-dev": "character_flux.safetensors", "zimage-turbo": "character_zimage.safetensors"}
)
NEGATIVE: Final = "blurry, deformed"


def examples(*, size: int = 1024, steps: int | None = None, prefix: str = "example") -> dict[str, Prompt]:
    """Graphs by `<workflow>/<base model>[-nsfw]`; square images of `size` pixels, files named under `prefix`."""
    images = [_request(f"{prefix}/{seed}", seed, size) for seed in (1, 2, 3)]
    sheet = [_view(f"{prefix}/{view}", seed, size, pose) for seed, (view, pose) in enumerate(_views())]
    return {
        "base-image/flux-dev": base_image("flux-dev", images, steps=steps),
        "base-image/flux-dev-nsfw": base_image("flux-dev", images, rating="nsfw", steps=steps),
        "base-image/zimage-turbo": base_image("zimage-turbo", images, steps=steps),
        "character-sheet/flux-dev": character_sheet(sheet, reference_image=REFERENCE_IMAGE, steps=steps),
        "face-swap/flux-dev": face_swap(images, reference_image=REFERENCE_IMAGE, steps=steps),
        "lora-generation/flux-dev": lora_generation("flux-dev", images, lora_name=LORA_FILES["flux-dev"], steps=steps),
        "lora-generation/zimage-turbo": lora_generation(
            "zimage-turbo", images, lora_name=LORA_FILES["zimage-turbo"], steps=steps
        ),
    }


def option_examples(*, size: int = 1024, steps: int | None = None, prefix: str = "example") -> dict[str, Prompt]:
    """Graphs that no template shows: a person asks for such an option by name, a re-roll for another precision."""
    images = [_request(f"{prefix}/{seed}", seed, size) for seed in (1, 2, 3)]
    style = face_swap(images, reference_image=REFERENCE_IMAGE, identity_method="ip_adapter", steps=steps)
    clip = lora_generation("flux-dev", images, lora_name=LORA_FILES["flux-dev"], clip_strength=0.8, steps=steps)
    fp32 = in_fp32(base_image("flux-dev", images, steps=steps))
    return {
        "face-swap/flux-dev-ip-adapter": style,
        "lora-generation/flux-dev-clip": clip,
        "base-image/flux-dev-fp32-vae": fp32,
    }


def _views() -> tuple[tuple[str, str | None], ...]:
    return (("front", POSE_IMAGES[0]), ("side-left", POSE_IMAGES[1]), ("free", None))


def _request(prefix: str, seed: int, size: int) -> ImageRequest:
    return ImageRequest(prefix, "photo of a 30 year old woman in a park", NEGATIVE, seed, size, size)


def _view(prefix: str, seed: int, size: int, pose: str | None) -> SheetImage:
    return SheetImage(prefix, "photo of a 30 year old woman, standing", NEGATIVE, seed, size, size, pose=pose)
