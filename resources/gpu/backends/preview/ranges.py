"""The tables behind a person: adult ranges of every length, colours by name, and what traits mean for them.

Belongs here: numbers. Does not belong here: code (identity) and how a number is drawn (head, face, hair, body).

Lengths are in half head heights: the crown lies at y = -1, the chin at y = +1, and the eyes half way. Every range is
that of a grown person; no trait and no mix of persons leaves it (a mix is a convex combination).
"""

from __future__ import annotations

from collections.abc import Mapping

Rgb = tuple[float, float, float]

HAIR_STYLES = (
    "long", "short", "braids", "ponytail", "bangs", "bun", "wavy",
    "crew-cut", "pompadour", "layered-cut", "bald",
)  # fmt: skip
FEMALE_STYLES = ("long", "short", "braids", "ponytail", "bangs", "bun", "wavy")
MALE_STYLES = ("short", "short", "crew-cut", "wavy", "pompadour", "layered-cut", "bald")
MIN_AGE, MAX_AGE = 18, 80

SKIN_TONES: Mapping[str, tuple[Rgb, Rgb]] = {
    "light": ((0.92, 0.77, 0.68), (0.87, 0.70, 0.59)),
    "medium": ((0.85, 0.66, 0.53), (0.79, 0.59, 0.45)),
    "tan": ((0.74, 0.54, 0.40), (0.64, 0.44, 0.31)),
    "dark": ((0.50, 0.33, 0.24), (0.35, 0.22, 0.16)),
}
ETHNIC_SKIN: Mapping[str, tuple[str, ...]] = {
    "asian": ("light", "medium"),
    "black": ("dark", "dark", "tan"),
    "caucasian": ("light", "light", "medium"),
    "latina": ("medium", "tan"),
    "arabian": ("medium", "tan"),
    "indian": ("tan", "tan", "dark"),
    "mixed": ("medium", "tan"),
}
HAIR_COLORS: Mapping[str, Rgb] = {
    "black": (0.10, 0.085, 0.085),
    "brown": (0.29, 0.18, 0.115),
    "blonde": (0.76, 0.60, 0.38),
    "auburn": (0.40, 0.19, 0.12),
    "red": (0.58, 0.25, 0.13),
    "gray": (0.56, 0.56, 0.57),
    "white": (0.84, 0.84, 0.84),
}
EYE_COLORS: Mapping[str, Rgb] = {
    "brown": (0.30, 0.18, 0.10),
    "blue": (0.30, 0.48, 0.66),
    "green": (0.30, 0.46, 0.30),
    "hazel": (0.44, 0.36, 0.18),
    "gray": (0.47, 0.52, 0.56),
    "amber": (0.58, 0.37, 0.13),
}
AMOUNTS: Mapping[str, float] = {
    "none": 0.0, "light": 0.35, "medium": 0.65, "heavy": 1.0,
    "single": 0.5, "multiple": 1.0, "small": 0.35, "large": 0.85, "full-body": 1.0,
}  # fmt: skip
BODY_TYPES: Mapping[str, tuple[float, float]] = {  # (build: narrow to broad, muscle)
    "slim": (0.1, 0.2), "athletic": (0.4, 0.8), "curvy": (0.6, 0.2), "voluptuous": (0.75, 0.2),
    "muscular": (0.7, 1.0), "chubby": (1.0, 0.1),
}  # fmt: skip
FACE_SHAPES: Mapping[str, Mapping[str, tuple[float, float]]] = {  # fractions of the whole range, per parameter
    "oval": {"face_width": (0.2, 0.6), "jaw": (0.3, 0.65), "chin_width": (0.3, 0.7), "temple": (0.4, 0.8)},
    "round": {"face_width": (0.65, 1.0), "jaw": (0.6, 0.9), "chin_width": (0.6, 1.0), "cheek": (0.5, 1.0)},
    "square": {"face_width": (0.4, 0.9), "jaw": (0.8, 1.0), "chin_width": (0.7, 1.0), "temple": (0.5, 1.0)},
    "heart": {"face_width": (0.3, 0.8), "jaw": (0.1, 0.45), "chin_width": (0.0, 0.35), "temple": (0.8, 1.0)},
    "diamond": {"face_width": (0.3, 0.7), "jaw": (0.15, 0.5), "chin_width": (0.0, 0.4), "temple": (0.0, 0.3)},
}
# (female low, female high, male low, male high); the widths of the prototype that separates identities.
RANGES: Mapping[str, tuple[float, float, float, float]] = {
    "face_width": (0.57, 0.72, 0.60, 0.755),
    "jaw": (0.66, 0.90, 0.76, 1.0),
    "chin_width": (0.26, 0.48, 0.36, 0.60),
    "temple": (0.88, 1.02, 0.88, 1.02),
    "cheek": (0.1, 2.0, 0.1, 1.7),
    "eye_distance": (0.232, 0.36, 0.235, 0.368),
    "eye_size": (0.75, 1.28, 0.70, 1.18),
    "eye_open": (0.80, 1.25, 0.76, 1.15),
    "eye_tilt": (-0.03, 0.075, -0.04, 0.065),
    "brow_weight": (0.55, 1.7, 1.0, 2.5),
    "brow_height": (-0.295, -0.18, -0.28, -0.165),
    "brow_arch": (-0.01, 0.075, -0.02, 0.05),
    "nose_width": (0.62, 1.55, 0.72, 1.75),
    "nose_length": (0.245, 0.405, 0.25, 0.42),
    "nose_height": (0.65, 1.35, 0.75, 1.45),
    "mouth_width": (0.16, 0.305, 0.175, 0.325),
    "mouth_height": (0.525, 0.65, 0.53, 0.66),
    "lip_upper": (0.45, 1.75, 0.35, 1.3),
    "lip_lower": (0.55, 1.7, 0.45, 1.3),
    "hairline": (-0.68, -0.58, -0.69, -0.58),
    "part": (-0.5, 0.5, -0.4, 0.4),
    "hair_volume": (0.08, 0.17, 0.05, 0.13),
    "hair_length": (0.0, 1.0, 0.0, 1.0),
    "ear_size": (0.85, 1.1, 0.9, 1.2),
    "asymmetry": (-1.0, 1.0, -1.0, 1.0),
    "mark_x": (-0.42, 0.42, -0.42, 0.42),
    "mark_y": (0.12, 0.66, 0.12, 0.66),
}
PIERCINGS = ("ear", "nose", "lip", "eyebrow")
# How the average of a face moves with ethnicity, in parts of the parameter's range.
ETHNIC_SHAPE: Mapping[str, Mapping[str, float]] = {
    "asian": {"eye_open": -0.25, "nose_height": -0.25, "eye_tilt": 0.2, "cheek": 0.15},
    "black": {"nose_width": 0.3, "lip_upper": 0.3, "lip_lower": 0.3},
    "caucasian": {"nose_width": -0.15, "nose_height": 0.1, "lip_upper": -0.1},
    "latina": {"lip_upper": 0.1, "brow_weight": 0.1},
    "arabian": {"nose_height": 0.25, "brow_weight": 0.25, "nose_length": 0.1},
    "indian": {"eye_size": 0.15, "brow_weight": 0.15},
    "mixed": {},
}
DARK_HAIRED = ("asian", "black", "latina", "arabian", "indian")
