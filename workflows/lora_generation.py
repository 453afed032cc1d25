"""The LoRA workflow: a scene with the character's own trained weights.

Belongs here: a base model with one LoRA. LoraLoaderModelOnly serves both base models: AI Toolkit writes no
text-encoder keys, so for its files the classic LoraLoader would add a clip input that changes nothing. A LoRA from
elsewhere that was trained with its text encoder takes `clip_strength`. PuLID is never mixed in: two identities fight.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from workflows.base_models import BaseModelName, Loaded, base_model_of, check_sampling, encode, load, render, sampling
from workflows.graph import Graph, Link, Prompt
from workflows.requests import ImageRequest, Rating, check_images, check_lora_file, check_number

LORA_STRENGTH: Final = 1.0  # what it was trained at (alpha = rank); 0.6-1.0 is the usual range
MAX_LORA_STRENGTH: Final = 2.0  # the original product's API range; 0 is allowed to compare with no LoRA


def lora_generation(
    base_model: BaseModelName,
    images: Sequence[ImageRequest],
    *,
    lora_name: str,
    strength: float = LORA_STRENGTH,
    clip_strength: float | None = None,
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A graph in API format with `lora_name` (a file in the server's loras folder) on `base_model`.

    The server takes a LoRA of another base model without a word and without effect: verify the file first
    (`workflows.lora_file.verify`). `clip_strength` None leaves the text encoder alone; a number applies the LoRA to it
    too, by that strength. Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of(base_model, rating)
    check_images(images)
    check_sampling(base, steps, guidance)
    check_lora_file("lora_name", lora_name)
    check_number("strength", strength, 0.0, MAX_LORA_STRENGTH)
    if clip_strength is not None:
        check_number("clip_strength", clip_strength, 0.0, MAX_LORA_STRENGTH)
    graph = Graph()
    loaded = load(graph, base, rating)
    lora, clip = _with_lora(graph, loaded, lora_name, strength, clip_strength)
    model = sampling(graph, base, lora)
    for image in images:
        texts = encode(graph, base, clip, image, guidance)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=texts, steps=steps)
    return graph.prompt()


def _with_lora(
    graph: Graph, loaded: Loaded, lora_name: str, strength: float, clip_strength: float | None
) -> tuple[Link, Link]:
    """Model and text encoder with the LoRA on the model, or on both."""
    model, strength_model = loaded.model, float(strength)
    on_model = partial(
        graph.shared, title="Character LoRA", model=model, lora_name=lora_name, strength_model=strength_model
    )
    if clip_strength is None:
        return on_model("LoraLoaderModelOnly")[0], loaded.clip
    both = on_model("LoraLoader", clip=loaded.clip, strength_clip=float(clip_strength))
    return both[0], both[1]
