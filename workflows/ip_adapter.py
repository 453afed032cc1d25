"""InstantX's IP-Adapter for Flux: the *style* of a reference picture, as an explicit option of `face_swap`.

Belongs here: the chain of Shakker-Labs/ComfyUI-IPAdapter-Flux. It is no replacement of PuLID: its own card says "not
for fine-grained style transfer or character consistency", so light, palette, clothes and mood come along, a person
does not. Nothing chooses it unasked, no stage of the pipeline uses it, and one graph never holds both methods (each
replaces Flux's forward function; PuLID was reported without effect beside it).

The pack's block classes run on ComfyUI up to 0.13.0; from 0.14.0 on its forward fails (`flipped_img_txt`).
"""

from typing import Final

from workflows.graph import Graph, Link

IP_ADAPTER_FILE: Final = "ip-adapter.bin"  # InstantX/FLUX.1-dev-IP-Adapter: FLUX non-commercial licence
VISION_ENCODER: Final = "google/siglip-so400m-patch14-384"  # the only one that the loader's list has
PROVIDER: Final = "cuda"  # the encoder has 0.4 billion parameters: unlike one face analysis, too many for the CPU


def apply_style(graph: Graph, model: Link, *, reference_image: str, weight: float, start_at: float) -> Link:
    """The Flux model under the style of `reference_image`; loader and reference are shared by the whole graph.

    `weight` is how strongly (the node takes -1..5, its default is 1), `start_at` from which share of the steps on.
    """
    adapter = graph.shared(
        "IPAdapterFluxLoader",
        title="IP-Adapter",
        ipadapter=IP_ADAPTER_FILE,
        clip_vision=VISION_ENCODER,
        provider=PROVIDER,
    )
    reference = graph.shared("LoadImage", title="Reference style", image=reference_image)
    applied = graph.shared(
        "ApplyIPAdapterFlux",
        title="Style",
        model=model,
        ipadapter_flux=adapter[0],
        image=reference[0],
        weight=float(weight),
        start_percent=float(start_at),
        end_percent=1.0,
    )
    return applied[0]
