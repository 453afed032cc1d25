"""PuLID for Flux: the face of a reference picture, kept without training.

Belongs here: the chain of lldacing/ComfyUI_PuLID_Flux_ll that `character_sheet` and `face_swap` share. There is no
PuLID for Z-Image (other text encoder), and "IPAdapter FaceID" exists for SD1.5 and SDXL only.

The chain is three loaders and ApplyPulidFlux. FixPulidFluxPatch is left out on purpose: it swaps the wrapper that
makes PuLID act for one that only acts together with TeaCache's forward override (its README calls it deprecated); what
it was once used for, the `latent_shapes` error, is cured by pinning the pack at or after its pull request 87.
"""

from typing import Final

from workflows.graph import Graph, Link
from workflows.requests import check_input_file, check_number

PULID_FILE: Final = "pulid_flux_v0.9.1.safetensors"  # about five points more alike than 0.9.0, by its authors
MAX_IDENTITY_WEIGHT: Final = 1.5  # the node takes 5; above 1 the reference picture's light and angle come along
FACE_PROVIDER: Final = "CPU"  # one face per graph: not worth the onnxruntime-gpu that breaks so often


def check_identity(field: str, reference_image: str, weight: float, start_at: float) -> None:
    """Raise `WorkflowError` for a reference name, weight (0..1.5) or start (0..0.9) out of range."""
    check_input_file("reference_image", reference_image)
    check_number(f"{field}identity_weight", weight, 0.0, MAX_IDENTITY_WEIGHT)
    check_number(f"{field}start_at", start_at, 0.0, 0.9)


def apply_identity(graph: Graph, model: Link, *, reference_image: str, weight: float, start_at: float) -> Link:
    """The Flux model with the face of `reference_image`; loaders and face analysis are shared by the whole graph.

    `weight` is how strongly, `start_at` from which share of the steps on (0 most alike, 0.2 most editable).
    """
    pulid = graph.shared("PulidFluxModelLoader", title="PuLID", pulid_file=PULID_FILE)
    eva = graph.shared("PulidFluxEvaClipLoader", title="PuLID vision encoder")
    faces = graph.shared("PulidFluxInsightFaceLoader", title="Face analysis", provider=FACE_PROVIDER)
    reference = graph.shared("LoadImage", title="Reference face", image=reference_image)
    applied = graph.shared(
        "ApplyPulidFlux",
        title="Identity",
        model=model,
        pulid_flux=pulid[0],
        eva_clip=eva[0],
        face_analysis=faces[0],
        image=reference[0],
        weight=float(weight),
        start_at=float(start_at),
        end_at=1.0,
    )
    return applied[0]
