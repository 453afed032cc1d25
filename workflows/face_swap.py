"""The face-swap workflow: a scene with the character's face while no LoRA exists.

Belongs here: Flux-dev with PuLID. The route is called face swap, but no pixel is pasted: the picture is generated with
the identity of the reference ("IPAdapter FaceID" does not exist for Flux or Z-Image).
"""

from collections.abc import Sequence
from typing import Final

from workflows.base_models import base_model_of, check_sampling, encode, load, render
from workflows.graph import Graph, Prompt
from workflows.pulid import apply_identity, check_identity
from workflows.requests import ImageRequest, Rating, check_images

IDENTITY_WEIGHT: Final = 0.8  # the original product's flux-pulid graph; 0.8-1.0 is the usual range
START_AT: Final = 0.0  # share of the steps: scenes want likeness, and no pose net competes


def face_swap(
    images: Sequence[ImageRequest],
    *,
    reference_image: str,
    identity_weight: float = IDENTITY_WEIGHT,
    start_at: float = START_AT,
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A Flux-dev graph in API format with the face of `reference_image` (an uploaded file's name) in every image.

    Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of("flux-dev", rating)
    check_images(images)
    check_sampling(base, steps, guidance)
    check_identity("", reference_image, identity_weight, start_at)
    graph = Graph()
    loaded = load(graph, base, rating)
    model = apply_identity(
        graph, loaded.model, reference_image=reference_image, weight=identity_weight, start_at=start_at
    )
    for image in images:
        texts = encode(graph, base, loaded.clip, image, guidance)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=texts, steps=steps)
    return graph.prompt()
