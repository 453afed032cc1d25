"""Light on what is visible: materials, key and ambient light, soft shadows, and the tone curve.

Belongs here: colours of pixels. Does not belong here: shapes and what is painted on them.
Work is done in linear light; the tone curve keeps the palest skin below white.
"""

from __future__ import annotations

import numpy as np

from resources.gpu.backends.preview.clothes import Wardrobe
from resources.gpu.backends.preview.hair import comb, strands
from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.look import Light
from resources.gpu.backends.preview.paint import Array, Canvas, smoothstep, soft_blur
from resources.gpu.backends.preview.raster import Visible

SKIN_PARTS = ("head", "ear")
GAMMA = 2.2


class Studio:
    """Shades the visible parts of one picture."""

    def __init__(self, identity: Identity, light: Light, face: Canvas, wardrobe: Wardrobe) -> None:
        self.identity, self.light, self.face, self.wardrobe = identity, light, face, wardrobe
        self.table = strands(identity)
        azimuth, elevation = np.radians([light.azimuth, light.elevation])
        self.key = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], np.float32
        )
        half = self.key + np.array([0, 0, 1], np.float32)
        self.half = half / np.linalg.norm(half)

    def shade(self, seen: Visible, shadow: Array) -> Array:
        """Linear colours (n, 3) of one part, given the share of light (n,) that nearby surfaces leave."""
        albedo, shine, gloss = self._material(seen)
        normal = np.where(seen.normal[:, 2:] < -0.05, -seen.normal, seen.normal)
        facing = normal @ self.key
        soft = (
            np.array([0.34, 0.24, 0.20], np.float32)
            if seen.part.material in SKIN_PARTS
            else np.full(3, 0.22, np.float32)
        )
        wrapped = np.clip((facing[:, None] + soft) / (1 + soft), 0, 1)
        upward = (0.5 - 0.5 * normal[:, 1])[:, None]
        ambient = np.array(self.light.sky) * upward + np.array(self.light.ground) * (1 - upward)
        lit = (
            wrapped * np.array(self.light.key) * (0.25 + 0.75 * shadow)[:, None]
            + ambient * (0.45 + 0.55 * shadow)[:, None]
        )
        color = albedo**GAMMA * lit
        if seen.part.material == "hair":
            color = color + self._hair_shine(seen, normal) * shadow[:, None]
        else:
            color = color + (shine * np.clip(normal @ self.half, 0, 1) ** gloss * shadow)[:, None] * np.array(
                self.light.key
            )
        edge = np.clip(1 - normal[:, 2], 0, 1) ** 3 * np.clip(0.6 - normal[:, 1], 0, 1)
        return np.asarray((color + (0.30 * self.light.rim * edge)[:, None] * (0.3 + albedo)), np.float32)

    def _material(self, seen: Visible) -> tuple[Array, float, float]:
        kind, data = seen.part.material, seen.data
        if kind == "head":
            return self._head(data), 0.055, 22.0
        if kind == "ear":
            inner = (0.66 + 0.34 * smoothstep(0.35, 0.85, data[:, 0]))[:, None]
            return np.array(self.identity.skin) * np.array([1.0, 0.84, 0.80]) * inner, 0.03, 18.0
        if kind == "hair":
            return self._hair(data), 0.0, 1.0
        if kind == "torso":
            return self.wardrobe.torso(data), 0.02, 10.0
        if kind == "sleeve":
            return self.wardrobe.sleeve(data), 0.02, 10.0
        colors = {
            "trousers": self.wardrobe.lower,
            "shoe": np.array([0.16, 0.14, 0.14]),
            "stool": np.array([0.45, 0.36, 0.28]),
        }
        return np.broadcast_to(colors.get(kind, np.array([0.75, 0.72, 0.6])), (len(data), 3)), 0.03, 12.0

    def _head(self, data: Array) -> Array:
        scale, pixels = self.face.scale, self.face.pixels
        column = np.clip((data[:, 0] + self.face.reach) * scale - 0.5, 0, pixels.shape[1] - 1.001)
        row = np.clip((data[:, 1] + 1) * scale - 0.5, 0, pixels.shape[0] - 1.001)
        left, top = column.astype(np.int32), row.astype(np.int32)
        u, v = (column - left)[:, None], (row - top)[:, None]
        painted = (pixels[top, left] * (1 - u) + pixels[top, left + 1] * u) * (1 - v) + (
            pixels[top + 1, left] * (1 - u) + pixels[top + 1, left + 1] * u
        ) * v
        front = smoothstep(-0.02, 0.12, data[:, 2])[:, None]
        scalp = np.array(self.identity.skin) * np.array([0.97, 0.94, 0.93])
        return np.asarray((painted * front + scalp * (1 - front)), np.float32)

    def _hair(self, data: Array) -> Array:
        strand = comb(self.table, data[:, 2])
        lock = comb(self.table, data[:, 2], 55.0)
        tone = 0.62 + 0.42 * strand + 0.32 * lock
        tone = tone * (0.70 + 0.30 * smoothstep(0.0, 0.22, data[:, 3]))
        tone = tone * (1 - 0.22 * smoothstep(0.4, 1.5, data[:, 1]))
        return np.clip(np.array(self.identity.hair) * tone[:, None], 0.012, 1).astype(np.float32)

    def _hair_shine(self, seen: Visible, normal: Array) -> Array:
        """Two bands of light across the strands, as on hair: one of the light's colour, one of the hair's."""
        strand = comb(self.table, seen.data[:, 2]) - 0.5
        down = np.array([0, 1, 0], np.float32) - normal * normal[:, 1:2]
        tangent = down / (np.linalg.norm(down, axis=1, keepdims=True) + 1e-6)
        along = tangent @ self.half
        first = np.clip(1 - (along + 0.10 + 0.22 * strand) ** 2, 0, 1) ** 60
        second = np.clip(1 - (along - 0.12 + 0.30 * strand) ** 2, 0, 1) ** 22
        facing = np.clip(normal @ self.key + 0.3, 0, 1)
        color = np.array(self.identity.hair) ** 1.4
        glow = (0.10 * first * (0.5 + strand))[:, None] * np.array(self.light.key) + 0.42 * second[:, None] * color
        return np.asarray(glow * facing[:, None], np.float32)


def occlusion(depth: Array, hair: Array, scale: float, key: Array) -> Array:
    """The share of light (height, width) that reaches each pixel past what lies in front of it nearby.

    `depth` is -8 where nothing is; `hair` is 1 where hair is visible. Two soft terms: closeness to nearer surfaces in
    the direction of the light (a cast shadow), and closeness to nearer surfaces all around (a crease).
    """
    solid = depth > -7
    ground = np.where(solid, depth, -2.2).astype(np.float32)
    around = soft_blur(ground, int(0.11 * scale))
    wide = soft_blur(ground, int(0.26 * scale))
    dx, dy = round(-float(key[0]) * 0.20 * scale), round(-float(key[1]) * 0.28 * scale)
    cast = np.roll(wide, (dy, dx), (0, 1))
    crease = np.clip(around - ground - 0.03, 0, 0.6)
    shadow = np.clip(cast - ground - 0.06, 0, 0.9)
    hairy = np.roll(
        soft_blur(hair, int(0.05 * scale)), (int(0.05 * scale), round(-float(key[0]) * 0.05 * scale)), (0, 1)
    )
    light = (1 - 0.75 * crease) * (1 - 0.62 * shadow) * (1 - 0.30 * hairy * (hair < 0.5))
    return np.where(solid, np.clip(light, 0.25, 1), 1).astype(np.float32)


def develop(linear: Array, exposure: float) -> Array:
    """Linear light to sRGB in 0..1 with a shoulder: bright skin approaches, never reaches, white."""
    x = np.maximum(linear, 0) * (0.92 * exposure)
    knee = 0.55
    high = knee + (0.96 - knee) * (1 - np.exp(-(x - knee) / (0.96 - knee)))
    return (np.where(x < knee, x, high) ** (1 / GAMMA)).astype(np.float32)
