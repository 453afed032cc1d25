"""The base-image workflow: a character seen for the first time, in several options to pick from.

Belongs here: text to image without any identity. Many seeds go into one graph, so that loaders and texts are paid once.
"""

from collections.abc import Sequence

from workflows.base_models import BaseModelName, base_model_of, check_sampling, encode, load, render, sampling
from workflows.graph import Graph, Prompt
from workflows.requests import ImageRequest, Rating, check_images

__all__ = ["ImageRequest", "base_image"]


def base_image(
    base_model: BaseModelName,
    images: Sequence[ImageRequest],
    *,
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A graph in API format with one sampler and one SaveImage per request, mapped by `filename_prefix`.

    `steps` and `guidance` default to the base model's own. Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of(base_model, rating)
    check_images(images)
    check_sampling(base, steps, guidance)
    graph = Graph()
    loaded = load(graph, base, rating)
    model = sampling(graph, base, loaded.model)
    for image in images:
        texts = encode(graph, base, loaded.clip, image, guidance)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=texts, steps=steps)
    return graph.prompt()
