"""The numbers that the product promises, each with its source.

Belongs here: time targets, identity gates and thresholds. Does not belong here: prices (`costs`) or how a number is
measured (`identity`, `resources/identity.py`).
"""

from typing import Final, Literal

RenderDomain = Literal["model", "preview"]  # distances of one are never compared with those of the other

# --- time, seconds of wall clock on a warm worker -------------------------------------------------------------------
BASE_IMAGES_SECONDS: Final = 30.0  # original flow, step 1: three options in under 30 s
CHARACTER_SHEET_SECONDS: Final = 300.0  # original flow, step 3: 7-10 images in under 5 min
LORA_TRAINING_SECONDS: Final = 45 * 60.0  # original flow, step 4: 15-45 min; "T+45 min LoRA ready"
GENERATED_IMAGE_SECONDS: Final = 15.0  # original flow, steps 5 and 6a: under 15 s for each image

# --- identity: least share of declared shots that must verify -------------------------------------------------------
LORA_GATE: Final = 0.95  # product target of the LoRA route; no published source, see docs/benchmarks.md
FACE_SWAP_GATE: Final = 0.80  # product target of the PuLID route
SHEET_GATE: Final = 0.90  # ours: the sheet is the training set and the template, so stricter than face swap

# Largest L2 distance of dlib embeddings that counts as the same person, by render domain.
IDENTITY_THRESHOLDS: Final[dict[RenderDomain, float]] = {
    "model": 0.60,  # dlib's published line; measured FAR 0.1-0.3 % between unrelated people, AI images alike
    "preview": 0.45,  # drawn faces lie closer together: at 0.60 FAR is 56 %, at 0.45 8.7 %
}

# --- faces: width of the face box in pixels ------------------------------------------------------------------------
MIN_FACE_PX: Final = 64.0  # dlib aligns and embeds 64 px faces with 0.12 mean drift; 48 px are found in 4 of 14
MIN_DECLARED_FACE_PX: Final = 80.0  # a shot is declared scorable from here: the HOG detector's own smallest face
