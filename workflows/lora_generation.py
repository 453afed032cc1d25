"""The LoRA workflow: a scene with the character's own trained weights.

Belongs here: a base model with one LoRA. LoraLoaderModelOnly serves both base models: AI Toolkit writes no
text-encoder keys, so the classic LoraLoader would add a clip input that changes nothing. PuLID is never mixed in: two
identities fight.
"""

from collections.abc import Sequence
from typing import Final

from workflows.base_models import BaseModelName, base_model_of, check_sampling, encode, load, render, sampling
from workflows.graph import Graph, Prompt
from workflows.requests import ImageRequest, Rating, check_images, check_lora_file, check_number

LORA_STRENGTH: Final = 1.0  # what it was trained at (alpha = rank); 0.6-1.0 is the usual range
MAX_LORA_STRENGTH: Final = 2.0  # the original product's API range; 0 is allowed to compare with no LoRA


def lora_generation(
    base_model: BaseModelName,
    images: Sequence[ImageRequest],
    *,
    lora_name: str,
    strength: float = LORA_STRENGTH,
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A graph in API format with `lora_name` (a file in the server's loras folder) on `base_model`.

    The server takes a LoRA of another base model without a word and without effect: verify the file first
    (`workflows.lora_file.verify`). Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of(base_model, rating)
    check_images(images)
    check_sampling(base, steps, guidance)
    check_lora_file("lora_name", lora_name)
    check_number("strength", strength, 0.0, MAX_LORA_STRENGTH)
    graph = Graph()
    loaded = load(graph, base, rating)
    lora = graph.shared(
        "LoraLoaderModelOnly",
        title="Character LoRA",
        model=loaded.model,
        lora_name=lora_name,
        strength_model=float(strength),
    )
    model = sampling(graph, base, lora[0])
    for image in images:
        texts = encode(graph, base, loaded.clip, image, guidance)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=texts, steps=steps)
    return graph.prompt()
