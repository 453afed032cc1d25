"""Which method makes an image: face swap or LoRA, and on which base model.

Belongs here: the compatibility table and one pure decision. The method that is decided here is recorded on the image;
a request that cannot be met is an error, and a reroute always says why. Does not belong here: graphs, backends, money.

What may hold a face on which model, learned the hard way by the original product: PuLID exists for Flux; nothing of its
kind fits Z-Image's text encoder; "IPAdapter FaceID" exists for SD1.5 and SDXL only. So the face-swap route is PuLID on
Flux, and Z-Image has LoRA alone.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from ryla_assets.domain.choices import BaseModelId, unknown_choice, values
from ryla_assets.domain.errors import InputError, Refused, TooEarly

Method = Literal["face_swap", "lora"]
IdentityMethod = Literal["pulid", "lora"]
Rating = Literal["sfw", "nsfw"]
WantedMethod = Literal["auto", "lora", "face_swap"]

IDENTITY_METHODS: Final[dict[str, frozenset[IdentityMethod]]] = {
    "flux-dev": frozenset({"pulid", "lora"}),
    "zimage-turbo": frozenset({"lora"}),
}
FACE_SWAP_BASE: Final = "flux-dev"  # the one base model with a face-swap method
NSFW_LORA_BASES: Final = frozenset({"flux-dev"})  # Z-Image is unverified there, so it is not used


@dataclass(frozen=True)
class Route:
    """How one image is made. `reason` says why in a sentence, also when nothing was rerouted."""

    method: Method
    base_model: str
    identity_method: IdentityMethod
    reason: str


def route(
    *,
    lora_ready: bool,
    lora_base: str | None,
    wanted_base: str,
    rating: str,
    character_nsfw: bool,
    deployment_nsfw: bool,
    wanted: str,
    self_run_backend: bool,
) -> Route:
    """Decide method and base model of one image.

    `lora_base` is the base model that the ready LoRA was trained on; it is ignored while `lora_ready` is false.
    Raises InputError (unknown value), Refused (rating not allowed), TooEarly (LoRA wanted, none ready).
    """
    _check_values(lora_ready, lora_base, wanted_base, rating, wanted)
    check_rating(
        rating,
        character_nsfw=character_nsfw,
        deployment_nsfw=deployment_nsfw,
        self_run_backend=self_run_backend,
    )
    if wanted == "lora" and not lora_ready:
        raise TooEarly(
            "the LoRA of this character is not ready.",
            field="method",
            value=wanted,
            way_out="Wait for lora_weights, or ask for 'auto' or 'face_swap'.",
        )
    if wanted == "face_swap":
        return _face_swap(wanted_base, "face swap was asked for")
    if not lora_ready or lora_base is None:
        return _face_swap(wanted_base, "no LoRA is ready yet")
    if rating == "nsfw" and lora_base not in NSFW_LORA_BASES:
        if wanted == "lora":
            raise Refused(
                f"a LoRA on {lora_base} is not verified for rating nsfw.",
                field="method",
                value=wanted,
                way_out="Ask for 'auto' or 'face_swap', or train a LoRA on flux-dev.",
            )
        return _face_swap(wanted_base, f"the LoRA's base {lora_base} is not verified for rating nsfw")
    return _lora(lora_base, wanted_base)


def check_rating(rating: str, *, character_nsfw: bool, deployment_nsfw: bool, self_run_backend: bool) -> None:
    """Raise Refused for a rating whose consents are not all there; `sfw` needs none."""
    if rating == "sfw":
        return
    missing = [
        name
        for name, present in (
            ("the character's nsfw_enabled", character_nsfw),
            ("the deployment's nsfw policy", deployment_nsfw),
            ("a self-run backend", self_run_backend),
        )
        if not present
    ]
    if missing:
        raise Refused(
            f"rating {rating} needs {' and '.join(missing)}.",
            field="rating",
            value=rating,
            way_out="Ask for rating 'sfw', or set what is missing.",
        )


def _check_values(lora_ready: bool, lora_base: str | None, wanted_base: str, rating: str, wanted: str) -> None:
    for field, value, allowed in (
        ("base_model", wanted_base, values(BaseModelId)),
        ("rating", rating, get_args(Rating)),
        ("method", wanted, get_args(WantedMethod)),
    ):
        if value not in allowed:
            raise unknown_choice(field, value, allowed)
    if not lora_ready:
        return
    if lora_base is None:
        raise InputError("a ready LoRA must name the base model it was trained on.", field="lora_base")
    if lora_base not in IDENTITY_METHODS:
        raise unknown_choice("lora_base", lora_base, IDENTITY_METHODS)


def _face_swap(wanted_base: str, why: str) -> Route:
    if "pulid" not in IDENTITY_METHODS[wanted_base]:
        why = f"{why}; {wanted_base} has no face-swap method, so {FACE_SWAP_BASE} is used"
    return Route("face_swap", FACE_SWAP_BASE, "pulid", why)


def _lora(lora_base: str, wanted_base: str) -> Route:
    why = "a LoRA is ready"
    if lora_base != wanted_base:
        why = f"{why}, and works on its own base {lora_base} only, so {wanted_base} is not used"
    return Route("lora", lora_base, "lora", why)
