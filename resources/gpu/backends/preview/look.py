"""What a picture shows besides the person: framing, view, light, place and clothes, and the camera that follows.

Belongs here: the words of a look and their numbers (angles, scales, light), with the seed's small jitter.
Does not belong here: geometry and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

CHOICES: Mapping[str, tuple[str, ...]] = {
    "framing": ("close-up", "medium", "full-body"),
    "view": ("front", "three-quarter-left", "three-quarter-right", "side-left", "side-right", "back"),
    "posture": ("standing", "sitting", "dynamic"),
    "expression": ("neutral", "smile", "confident", "relaxed", "energetic", "thoughtful"),
    "light": ("studio", "natural", "dramatic", "golden", "night", "backlit"),
    "background": ("studio", "bokeh", "outdoor", "indoor", "city", "beach", "dark"),
    "outfit": ("casual", "formal", "sport", "summer", "cozy"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """One way to picture a person; `seed` jitters angles, light and hues a little, so no two pictures are equal."""

    framing: str = "close-up"
    view: str = "front"
    posture: str = "standing"
    expression: str = "neutral"
    light: str = "studio"
    background: str = "studio"
    outfit: str = "casual"
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in CHOICES and value not in CHOICES[field.name]:
                raise ValueError(f"look {field.name} is {value!r}; choose one of {', '.join(CHOICES[field.name])}")


@dataclass(frozen=True, slots=True)
class Light:
    """Directional key light plus surroundings, linear colours; angles in degrees, `elevation` above the horizon."""

    azimuth: float
    elevation: float
    key: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    rim: float
    exposure: float


LIGHTS: Mapping[str, Light] = {
    "studio": Light(28, 34, (1.02, 0.99, 0.96), (0.46, 0.47, 0.50), (0.30, 0.28, 0.27), 0.25, 1.0),
    "natural": Light(-32, 42, (0.98, 0.97, 0.95), (0.52, 0.55, 0.60), (0.30, 0.29, 0.25), 0.15, 1.0),
    "dramatic": Light(38, 32, (1.15, 1.08, 1.00), (0.28, 0.29, 0.33), (0.20, 0.19, 0.19), 0.40, 1.0),
    "golden": Light(42, 18, (1.22, 0.95, 0.66), (0.42, 0.40, 0.42), (0.33, 0.26, 0.20), 0.45, 1.0),
    "night": Light(-30, 25, (0.86, 0.80, 0.82), (0.24, 0.28, 0.42), (0.20, 0.16, 0.18), 0.45, 0.92),
    "backlit": Light(20, 30, (0.72, 0.70, 0.68), (0.52, 0.50, 0.50), (0.36, 0.33, 0.30), 0.95, 1.0),
}
YAW: Mapping[str, float] = {
    "front": 0, "three-quarter-left": -20, "three-quarter-right": 20, "side-left": -80, "side-right": 80, "back": 180,
}  # fmt: skip
SMILE: Mapping[str, float] = {
    "neutral": 0.1, "smile": 0.66, "confident": 0.35, "relaxed": 0.3, "energetic": 0.74, "thoughtful": 0.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """A look with all its numbers: degrees for angles, 0..1 for smile, -1..1 for gaze and hue."""

    look: Look
    yaw: float
    pitch: float
    roll: float
    smile: float
    gaze: float
    hue: float
    light: Light
    shift: tuple[float, float]
    zoom: float


def shot(look: Look) -> Shot:
    """The numbers of `look`: fixed by its words, jittered by its seed."""
    rng = np.random.default_rng([look.seed & 0xFFFFFFFF, look.seed >> 32, 77])
    small = rng.uniform(-1, 1, 11).tolist()
    lively = 1.5 if look.posture == "dynamic" or look.expression == "energetic" else 1.0
    base = LIGHTS[look.light]
    light = Light(
        base.azimuth + 9 * small[0], base.elevation + 6 * small[1],
        base.key, base.sky, base.ground, base.rim, base.exposure * (1 + 0.05 * small[2]),
    )  # fmt: skip
    pitch = {"thoughtful": 3.0, "confident": -2.5}.get(look.expression, 0.0)
    gaze = 0.45 * np.sign(small[3]) if look.expression == "thoughtful" else 0.12 * small[3]
    return Shot(
        look=look,
        yaw=YAW[look.view] + 3.0 * small[4],
        pitch=pitch + 1.6 * small[5],
        roll=2.2 * lively * small[6],
        smile=float(np.clip(SMILE[look.expression] + 0.1 * small[7], 0, 1)),
        gaze=float(gaze),
        hue=small[8],
        light=light,
        shift=(0.06 * small[9], 0.03 * small[10]),
        zoom=1 + 0.04 * small[2],
    )
