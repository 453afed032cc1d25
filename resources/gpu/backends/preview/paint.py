"""Soft polygons on a small floating-point canvas.

Belongs here: masks, blurs and noise that face, clothes and backgrounds share.
Does not belong here: what is painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[Any]  # numbers of any width: what comes in may be float64, what is kept is float32
Points = Sequence[tuple[float, float]] | Array
Color = Sequence[float] | Array


class Canvas:
    """An RGB texture over x in [-reach, reach], y in [-1, 1]; `scale` is pixels a unit, colours are sRGB in 0..1."""

    def __init__(self, scale: int, color: Color, reach: float = 0.85) -> None:
        self.scale, self.reach = scale, reach
        self.pixels: Array = np.empty((2 * scale, int(2 * reach * scale), 3), np.float32)
        self.pixels[:] = np.asarray(color, np.float32)

    def copy(self) -> Canvas:
        """A canvas with the same pixels that can be painted on independently."""
        twin = Canvas.__new__(Canvas)
        twin.scale, twin.reach, twin.pixels = self.scale, self.reach, self.pixels.copy()
        return twin

    def fill(self, points: Points, color: Color, alpha: float, blur: float = 0.004) -> None:
        """Lay a polygon of `color` over the canvas with soft edges; `points` and `blur` in units."""
        where = np.asarray(points, np.float32) + np.array([self.reach, 1.0], np.float32)
        mask, box = _soft_mask(where * self.scale, blur * self.scale, self.pixels.shape)
        if mask is not None:
            left, top, right, bottom = box
            region = self.pixels[top:bottom, left:right]
            region += (np.asarray(color, np.float32) - region) * (mask * np.float32(alpha))[..., None]

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, color: Color, alpha: float, blur: float = 0.004
    ) -> None:
        """Lay a soft ellipse over the canvas."""
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        self.fill(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1).astype(np.float32), color, alpha, blur)

    def stroke(self, points: Points, width: float | Array, color: Color, alpha: float, blur: float) -> None:
        """Lay a soft line through `points`; `width` in units, one number or one for each point."""
        line = np.asarray(points, np.float32)
        along = np.gradient(line, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
        half = np.broadcast_to(np.asarray(width, np.float32) / 2, (len(line),))[:, None]
        self.fill(np.concatenate([line + across * half, (line - across * half)[::-1]]), color, alpha, blur)


def _soft_mask(points: Array, blur: float, shape: tuple[int, ...]) -> tuple[Array | None, tuple[int, int, int, int]]:
    margin = int(blur * 2.5) + 2
    left, top = (int(v) - margin for v in points.min(axis=0))
    right, bottom = (int(v) + margin + 1 for v in points.max(axis=0))
    clipped = max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0])
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        return None, clipped
    image = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    ImageDraw.Draw(image).polygon([((x - left) * 2, (y - top) * 2) for x, y in points.tolist()], fill=255)
    image = image.resize((right - left, bottom - top), Image.Resampling.BOX)
    if blur > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    mask = np.asarray(image, np.float32) / 255
    inside = mask[clipped[1] - top : clipped[3] - top, clipped[0] - left : clipped[2] - left]
    return inside, clipped


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Array:
    """Smooth noise in about 0..1, shape (height, width), with features about `cell` pixels large."""
    coarse = rng.random((max(2, int(height / cell) + 2), max(2, int(width / cell) + 2)), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def box_blur(values: Array, radius: int) -> Array:
    """A two-pass box blur of a 2-D array with clamped edges: close enough to a Gaussian for soft shadows."""
    out = values
    for _ in range(2):
        for axis in (0, 1):
            pad = [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]
            total = np.cumsum(np.pad(out, pad, mode="edge"), axis=axis, dtype=np.float64)
            size = out.shape[axis]
            high, low = total.take(range(2 * radius + 1, 2 * radius + 1 + size), axis), total.take(range(size), axis)
            out = ((high - low) / (2 * radius + 1)).astype(np.float32)
    return out


def soft_blur(values: Array, radius: int) -> Array:
    """`box_blur` worked out on every second row and column, for radii of several pixels."""
    small = box_blur(values[::2, ::2], max(1, radius // 2))
    size = (values.shape[1], values.shape[0])
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BILINEAR), np.float32)


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, and a smooth step in between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
