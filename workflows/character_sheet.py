"""The character-sheet workflow: one face, many views and poses.

Belongs here: Flux-dev with PuLID for the face and ControlNet Union Pro 2.0 for the pose. Which views a sheet has is the
domain's business; the pose pictures are drawn by `workflows.poses`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from workflows.base_models import Loaded, base_model_of, check_sampling, encode, load, render
from workflows.graph import Graph, Link, Prompt
from workflows.pulid import apply_identity, check_identity
from workflows.requests import ImageRequest, Rating, check_images, check_input_file

SHEET_STEPS: Final = 25  # as in the original product's character-sheet graph
CONTROLNET_FILE: Final = "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors"
POSE_STRENGTH: Final = 0.7  # its card says 0.9 alone; 0.6-0.8 together with PuLID
POSE_END: Final = 0.65  # share of the steps, by its card: later steps are left to the face


@dataclass(frozen=True)
class SheetImage(ImageRequest):
    """One view of a sheet.

    `pose` is the uploaded pose picture's file name (None: no pose net, so the head keeps the reference's angle).
    `identity_weight` 0.95 is the original product's. `start_at` is the share of steps before PuLID acts: above 0, or
    the angle of the reference wins over the pose.
    """

    pose: str | None = None
    identity_weight: float = 0.95
    start_at: float = 0.1


def character_sheet(
    images: Sequence[SheetImage],
    *,
    reference_image: str,
    rating: Rating = "sfw",
    steps: int | None = None,
    guidance: float | None = None,
) -> Prompt:
    """A Flux-dev graph in API format: one set of loaders and one face analysis, one SaveImage per view.

    `reference_image` is the uploaded base image's file name, `steps` defaults to 25.
    Raises `WorkflowError` for anything out of range.
    """
    base = base_model_of("flux-dev", rating)
    steps = SHEET_STEPS if steps is None else steps
    check_images(images)
    check_sampling(base, steps, guidance)
    for index, image in enumerate(images):
        check_identity(f"images[{index}].", reference_image, image.identity_weight, image.start_at)
        if image.pose is not None:
            check_input_file(f"images[{index}].pose", image.pose)
    graph = Graph()
    loaded = load(graph, base, rating)
    for image in images:
        texts = encode(graph, base, loaded.clip, image, guidance)
        model = apply_identity(
            graph,
            loaded.model,
            reference_image=reference_image,
            weight=image.identity_weight,
            start_at=image.start_at,
        )
        conditioning = _posed(graph, loaded, texts, image.pose)
        render(graph, base, image, model=model, vae=loaded.vae, conditioning=conditioning, steps=steps)
    return graph.prompt()


def _posed(graph: Graph, loaded: Loaded, texts: tuple[Link, Link], pose: str | None) -> tuple[Link, Link]:
    """The conditioning with the pose net in it. `vae` is optional in the schema, yet the sampler fails without it."""
    if pose is None:
        return texts
    net = graph.shared("ControlNetLoader", title="Pose net", control_net_name=CONTROLNET_FILE)
    picture = graph.shared("LoadImage", title="Pose", image=pose)
    applied = graph.shared(
        "ControlNetApplyAdvanced",
        title="Pose control",
        positive=texts[0],
        negative=texts[1],
        control_net=net[0],
        image=picture[0],
        strength=POSE_STRENGTH,
        start_percent=0.0,
        end_percent=POSE_END,
        vae=loaded.vae,
    )
    return applied[0], applied[1]
