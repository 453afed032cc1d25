"""The face-swap workflow: a scene with the character's face while no LoRA exists.

Belongs here: Flux-dev with PuLID. The route is called face swap, but no pixel is pasted: the picture is generated with
the identity of the reference ("IPAdapter FaceID" does not exist for Flux or Z-Image). InstantX's IP-Adapter can be
asked for by name: it brings the reference's style, not the person (`ip_adapter`).
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

from workflows.base_models import base_model_of, check_sampling, encode, load, render
from workflows.errors import WorkflowError
from workflows.graph import Graph, Prompt
from workflows.ip_adapter import apply_style
from workflows.pulid import apply_identity, check_identity
from workflows.requests import ImageRequest, Rating, check_images

IdentityMethod: TypeAlias = Literal["pulid", "ip_adapter"]

IDENTITY_WEIGHT: Final = 0.8  # the original product's flux-pulid graph; 0.8-1.0 is the usual range
START_AT: Final = 0.0  # share of the steps: scenes want likeness, and no pose net competes


def face_swap(
    images: Sequence[ImageRequest],
    *,
    reference_image: str,
    identity_weight: float = IDENTITY_WEIGHT,
    start_at: float = START_AT,
    identity_method: IdentityMethod = "pulid",
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A Flux-dev graph in API format with the face of `reference_image` (an uploaded file's name) in every image.

    With `identity_method="ip_adapter"` it is the reference's style instead of the face: whoever records these pictures
    must not call them the character's. Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of("flux-dev", rating)
    check_images(images)
    check_sampling(base, steps, guidance)
    check_identity("", reference_image, identity_weight, start_at)
    if identity_method not in get_args(IdentityMethod):
        raise WorkflowError(
            f"{identity_method!r} is unknown.",
            field="identity_method",
            value=identity_method,
            way_out="Use pulid (identity) or ip_adapter (style).",
        )
    graph = Graph()
    loaded = load(graph, base, rating)
    apply = apply_identity if identity_method == "pulid" else apply_style
    model = apply(graph, loaded.model, reference_image=reference_image, weight=identity_weight, start_at=start_at)
    for image in images:
        texts = encode(graph, base, loaded.clip, image, guidance)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=texts, steps=steps)
    return graph.prompt()
