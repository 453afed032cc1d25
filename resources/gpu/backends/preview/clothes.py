"""Clothes as colours over the body: muted palettes, necklines, lapels and folds.

Belongs here: which point of a body part is skin, shirt or jacket, and its colour. Does not belong here: shape (body).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.look import Shot
from resources.gpu.backends.preview.paint import Array, smoothstep

PALETTE: dict[str, Sequence[tuple[float, float, float]]] = {  # (hue, saturation, value): calm, none brighter than 0.8
    "casual": ((0.60, 0.28, 0.46), (0.08, 0.20, 0.70), (0.42, 0.18, 0.44), (0.02, 0.34, 0.52), (0.0, 0.0, 0.34)),
    "formal": ((0.62, 0.32, 0.24), (0.0, 0.0, 0.22), (0.07, 0.16, 0.40), (0.60, 0.14, 0.40)),
    "sport": ((0.58, 0.42, 0.44), (0.0, 0.0, 0.28), (0.45, 0.34, 0.42), (0.98, 0.40, 0.50)),
    "summer": ((0.12, 0.18, 0.80), (0.52, 0.18, 0.70), (0.02, 0.26, 0.74), (0.30, 0.14, 0.68)),
    "cozy": ((0.09, 0.24, 0.74), (0.05, 0.34, 0.52), (0.30, 0.14, 0.46), (0.95, 0.18, 0.56)),
}


class Wardrobe:
    """The colours of one picture's clothes, sRGB, and the covering of each body part."""

    def __init__(self, identity: Identity, shot: Shot) -> None:
        rng = np.random.default_rng([shot.look.seed & 0xFFFFFFFF, 9])
        self.outfit, self.identity = shot.look.outfit, identity
        choices = PALETTE[self.outfit]
        hue, saturation, value = choices[int(rng.integers(len(choices)))]
        self.main = np.array(colorsys.hsv_to_rgb((hue + 0.03 * shot.hue) % 1, saturation, value), np.float32)
        self.shirt = np.array((0.84, 0.84, 0.83), np.float32)
        self.lower = np.array(
            ((0.24, 0.28, 0.36), (0.20, 0.20, 0.22), (0.46, 0.42, 0.36))[int(rng.integers(3))], np.float32
        )
        if self.outfit == "formal":
            self.lower = self.main * 0.95
        self.folds = rng.uniform(0, 6.28, 6)

    def torso(self, data: Array) -> Array:
        """Colours (n, 3) of neck and trunk at `data` = (x, y, frontness)."""
        x, y, front = data[:, 0], data[:, 1], data[:, 2]
        cut = self._neckline(np.abs(x), front)
        cloth = self._cloth(x, y)
        edge = np.clip((y - cut) / 0.035, 0, 1)
        cloth = cloth * (0.72 + 0.28 * edge)[:, None]
        if self.outfit == "cozy":
            cloth = cloth * (1 + 0.06 * np.sin(x * 60) * smoothstep(1.55, 1.3, y))[:, None]
        if self.outfit == "formal":
            cloth = self._jacket(x, y, front, cloth)
        below = y > 5.2
        cloth = np.where(below[:, None], self.lower, cloth)
        return np.where((y > cut)[:, None], cloth, self.skin(y)).astype(np.float32)

    def sleeve(self, data: Array) -> Array:
        """Colours of the arms at (x, y, share of the arm): short sleeves for sport and summer."""
        along = data[:, 2]
        end = {"sport": 0.30, "summer": 0.22}.get(self.outfit, 0.80)
        cloth = self._cloth(data[:, 0], data[:, 1])
        bands = np.exp(-(((along - 0.40) / 0.012) ** 2)) + np.exp(-(((along - 0.44) / 0.005) ** 2))
        ink = np.clip(bands, 0, 1) * min(1.0, 0.35 + self.identity.tattoos) * (self.identity.tattoos > 0)
        tattooed = np.array(self.identity.skin) * (1 - 0.75 * ink)[:, None]  # two bands around the upper arm
        return np.where((along < end)[:, None], cloth, tattooed).astype(np.float32)

    def skin(self, y: Array) -> Array:
        """The neck's colour, darker under the chin."""
        base = np.array(self.identity.skin) * np.array([0.96, 0.93, 0.92])
        return np.asarray(base * (1 - 0.16 * np.exp(-(((y - 0.9) / 0.25) ** 2)))[:, None], np.float32)

    def _neckline(self, away: Array, front: Array) -> Array:
        """The height where cloth begins: a shape in front, and a level at the back that it fades into."""
        shapes = {
            "cozy": (1.02 + 0 * away, 1.02),
            "formal": (1.20 + 0.75 * np.clip(0.36 - away, 0, 1), 1.16),
            "summer": (1.40 + 0.55 * np.sqrt(np.clip(0.62**2 - away**2, 0, 1)), 1.46),
            "sport": (1.28 + 0.22 * np.clip(0.45 - away, 0, 1), 1.24),
            "casual": (1.28 + 0.34 * np.sqrt(np.clip(0.52**2 - away**2, 0, 1)), 1.26),
        }
        ahead, behind = shapes[self.outfit]
        return behind + (ahead - behind) * smoothstep(-0.1, 0.45, front)

    def _cloth(self, x: Array, y: Array) -> Array:
        a, b, c, d = self.folds[:4]
        fold = np.sin(x * 5 + y * 2.2 + a) * np.sin(y * 3.1 - x * 2 + b) + 0.5 * np.sin(x * 11 - y * 6 + c) * np.sin(
            y * 4 + d
        )
        weave = 1 + 0.055 * fold
        if self.outfit == "cozy":
            weave = weave * (1 + 0.03 * np.sin(x * 55) * np.sin(y * 50))
        color = np.broadcast_to(self.main, (len(x), 3))
        if self.outfit == "sport":
            stripe = np.abs(y - 2.25 - 0.0 * x) < 0.09
            color = np.where(stripe[:, None], self.shirt * 0.92, color)
        return np.asarray((color * weave[:, None]), np.float32)

    def _jacket(self, x: Array, y: Array, front: Array, cloth: Array) -> Array:
        """An open blazer: shirt in the V, collar, lapels and a button."""
        away = np.abs(x)
        opening = np.clip((3.5 - y) / 2.2, 0, 1) * 0.62
        shirt = (away < opening) & (front > 0)
        out = np.where(
            shirt[:, None], self.shirt * (0.90 + 0.10 * smoothstep(0.0, 0.05, np.abs(away - 0.015)))[:, None], cloth
        )
        lapel = (
            (away >= opening)
            & (away < opening + 0.06 + 0.30 * np.clip((3.3 - y) / 1.6, 0, 1))
            & (front > 0)
            & (y < 3.4)
        )
        out = np.where(lapel[:, None], self.main * 1.16, out)
        seam = np.exp(-(((away - opening) / 0.018) ** 2)) * ((y < 3.5) & (front > 0))
        collar = (y < 1.52 + 0.3 * np.clip(away - 0.25, 0, 1)) & (away > 0.14) & shirt
        out = np.where(collar[:, None], self.shirt * 1.05, out)
        return out * (1 - 0.55 * seam)[:, None]
