"""What goes wrong in routing: a method that cannot run, a silent fallback, a rating without permission."""

from itertools import product
from typing import Any

import pytest

from ryla_assets.domain.errors import InputError, Refused, RylaError, TooEarly
from ryla_assets.domain.routing import IDENTITY_METHODS, Route, route

FLUX, ZIMAGE = "flux-dev", "zimage-turbo"
ALL = {"character_nsfw": True, "deployment_nsfw": True, "self_run_backend": True}


def routed(lora_base: str | None, rating: str, wanted_base: str, wanted: str = "auto", **changes: Any) -> Route:
    """A route with every permission; `lora_base` None means no LoRA is ready."""
    choice: dict[str, Any] = {"lora_ready": lora_base is not None, "lora_base": lora_base, "wanted_base": wanted_base}
    return route(**choice | {"rating": rating, "wanted": wanted} | ALL | changes)


@pytest.mark.parametrize(
    ("lora_base", "rating", "wanted_base", "wanted", "method", "base", "identity"),
    [
        (None, "sfw", FLUX, "auto", "face_swap", FLUX, "pulid"),
        (None, "sfw", ZIMAGE, "auto", "face_swap", FLUX, "pulid"),
        (None, "nsfw", FLUX, "auto", "face_swap", FLUX, "pulid"),
        (None, "nsfw", ZIMAGE, "auto", "face_swap", FLUX, "pulid"),
        (FLUX, "sfw", FLUX, "auto", "lora", FLUX, "lora"),
        (FLUX, "nsfw", FLUX, "auto", "lora", FLUX, "lora"),
        (FLUX, "nsfw", FLUX, "lora", "lora", FLUX, "lora"),
        (FLUX, "sfw", ZIMAGE, "auto", "lora", FLUX, "lora"),
        (FLUX, "sfw", FLUX, "face_swap", "face_swap", FLUX, "pulid"),
        (ZIMAGE, "sfw", ZIMAGE, "auto", "lora", ZIMAGE, "lora"),
        (ZIMAGE, "sfw", ZIMAGE, "lora", "lora", ZIMAGE, "lora"),
        (ZIMAGE, "nsfw", ZIMAGE, "auto", "face_swap", FLUX, "pulid"),
        (ZIMAGE, "sfw", FLUX, "auto", "lora", ZIMAGE, "lora"),
        (ZIMAGE, "sfw", ZIMAGE, "face_swap", "face_swap", FLUX, "pulid"),
    ],
)
def test_truth_table(
    lora_base: str | None, rating: str, wanted_base: str, wanted: str, method: str, base: str, identity: str
) -> None:
    """Each line of the routing table gives its method, base model and identity method."""
    found = routed(lora_base, rating, wanted_base, wanted)
    assert (found.method, found.base_model, found.identity_method) == (method, base, identity)


def test_no_route_is_ever_illegal_or_unexplained() -> None:
    """Over all inputs: a legal method on its base with a reason, or an error with a way out; never anything else."""
    flags = (True, False)
    for ready, lora, wanted_base, rating, wanted in product(
        flags, (FLUX, ZIMAGE, None), (FLUX, ZIMAGE), ("sfw", "nsfw"), ("auto", "lora", "face_swap")
    ):
        for permitted in product(flags, flags, flags):
            permissions = dict(zip(ALL, permitted, strict=True))
            try:
                found = route(
                    lora_ready=ready,
                    lora_base=lora,
                    wanted_base=wanted_base,
                    rating=rating,
                    wanted=wanted,
                    **permissions,
                )
            except RylaError as error:
                assert error.field  # noqa: PT017
                continue
            assert found.identity_method in IDENTITY_METHODS[found.base_model]
            assert found.reason
            assert rating == "sfw" or all(permitted)
            assert found.method != "lora" or (ready and found.base_model == lora)
            assert wanted in ("auto", found.method)


@pytest.mark.parametrize("missing", ["character_nsfw", "deployment_nsfw", "self_run_backend"])
def test_nsfw_needs_every_permission(missing: str) -> None:
    """One flag short and the request is refused, naming the flag; sfw does not need it."""
    with pytest.raises(Refused, match="nsfw") as caught:
        routed(FLUX, "nsfw", FLUX, **{missing: False})
    assert missing.split("_", maxsplit=1)[0] in caught.value.message
    assert routed(FLUX, "sfw", FLUX, **{missing: False}).method == "lora"


def test_lora_before_training_is_too_early() -> None:
    """Asking for the LoRA before it exists is no silent face swap."""
    with pytest.raises(TooEarly, match="not ready"):
        routed(None, "sfw", FLUX, "lora")


def test_unverified_nsfw_lora_is_refused_when_asked_for() -> None:
    """Z-Image LoRA is unverified for nsfw: automatic routing swaps the face, an explicit wish is refused."""
    with pytest.raises(Refused, match="not verified"):
        routed(ZIMAGE, "nsfw", ZIMAGE, "lora")
    assert "not verified" in routed(ZIMAGE, "nsfw", ZIMAGE).reason


@pytest.mark.parametrize(
    ("lora_base", "wanted_base", "wanted", "words"),
    [
        (None, ZIMAGE, "auto", "no face-swap method"),
        (FLUX, ZIMAGE, "auto", "zimage-turbo is not used"),
        (ZIMAGE, FLUX, "lora", "flux-dev is not used"),
    ],
)
def test_reroute_is_never_silent(lora_base: str | None, wanted_base: str, wanted: str, words: str) -> None:
    """When another base model runs than was wanted, the reason says so."""
    assert words in routed(lora_base, "sfw", wanted_base, wanted).reason


@pytest.mark.parametrize(
    "change", [{"wanted_base": "sdxl"}, {"rating": "adult"}, {"wanted": "ipadapter"}, {"lora_base": "sdxl"}]
)
def test_unknown_value_is_an_error_with_choices(change: dict[str, str]) -> None:
    """A misspelled base, rating or method is never a default."""
    choice: dict[str, Any] = {"lora_ready": True, "lora_base": FLUX, "wanted_base": FLUX, "rating": "sfw"}
    with pytest.raises(InputError, match="Choose one of"):
        route(**choice | {"wanted": "auto"} | ALL | change)


def test_ready_lora_without_a_base_is_an_error() -> None:
    """A LoRA whose base nobody recorded is not loaded anywhere."""
    with pytest.raises(InputError, match="base model"):
        routed(None, "sfw", FLUX, lora_ready=True)


def test_zimage_has_no_face_swap() -> None:
    """The compatibility table holds what the original product found out at run time."""
    assert {FLUX: {"pulid", "lora"}, ZIMAGE: {"lora"}} == IDENTITY_METHODS
