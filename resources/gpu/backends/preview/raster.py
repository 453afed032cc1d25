"""From surfaces to pixels: a depth buffer of points, and the attributes of the nearest one.

Belongs here: visibility. Does not belong here: colours and light (shading).
Each surface is sampled denser than the pixels (its grid is enlarged by interpolation), every sample writes its depth
and number into the buffer, and only the winners are looked up: shading costs one pass over visible pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resources.gpu.backends.preview.paint import Array
from resources.gpu.backends.preview.surfaces import Part, normals

PERSPECTIVE = 0.055  # growth of a thing one unit nearer to the viewer
_DEPTH_STEPS = 1 << 20


@dataclass(frozen=True, slots=True)
class View:
    """Where the scene lies in the picture: size in pixels, pixels a unit, and the pixel of the head's centre."""

    width: int
    height: int
    scale: float
    center_x: float
    center_y: float


@dataclass(frozen=True, slots=True)
class Visible:
    """What can be seen of one part: flat pixel numbers and, for each, normal (n, 3), data (n, k) and point (n, 3)."""

    part: Part
    pixels: NDArray[np.int64]
    normal: Array
    data: Array
    point: Array


def visible(parts: Sequence[Part], view: View) -> tuple[list[Visible], Array]:
    """The visible samples of each part, and the depth image (height, width; -8 where there is nothing)."""
    buffer = np.full(view.width * view.height, -1, np.int64)
    sizes, offset = [], 0
    for part in parts:
        rows, columns = _dense_size(part, view)
        sizes.append((offset, rows, columns))
        if rows:
            _scatter(buffer, part, view, offset, rows, columns)
        offset += rows * columns
    buffer = _grow(buffer.reshape(view.height, view.width)).ravel()
    seen = np.flatnonzero(buffer >= 0)
    winner = buffer[seen] & 0xFFFFFFFF
    depth = np.full(buffer.shape, -8, np.float32)
    depth[seen] = ((buffer[seen] >> 32) / _DEPTH_STEPS - 8).astype(np.float32)
    found = []
    for part, (start, rows, columns) in zip(parts, sizes, strict=True):
        mine = (winner >= start) & (winner < start + rows * columns)
        if mine.any():
            found.append(_look_up(part, seen[mine], winner[mine] - start, rows, columns))
    return found, depth.reshape(view.height, view.width)


def _project(points: Array, view: View) -> tuple[Array, Array]:
    near = view.scale * (1 + PERSPECTIVE * points[..., 2])
    return view.center_x + points[..., 0] * near, view.center_y + points[..., 1] * near


def _dense_size(part: Part, view: View) -> tuple[int, int]:
    x, y = _project(part.points, view)
    inside = (x > -40) & (x < view.width + 40) & (y > -40) & (y < view.height + 40)
    if not inside.any():
        return 0, 0
    down = np.hypot(np.diff(x, axis=0), np.diff(y, axis=0))
    across = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    rows = int(np.percentile(down[inside[1:]], 97) * (len(x) - 1) * 1.05) if inside[1:].any() else 2
    columns = int(np.percentile(across[inside[:, 1:]], 97) * (x.shape[1] - 1) * 1.05) if inside[:, 1:].any() else 2
    return min(max(rows, 8), 2200), min(max(columns, 8), 3000)


def _enlarge(values: Array, rows: int, columns: int) -> Array:
    height, width = values.shape
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(
        image.resize((columns, rows), Image.Resampling.BILINEAR, box=(0.5, 0.5, width - 0.5, height - 0.5)), np.float32
    )


def _scatter(buffer: NDArray[np.int64], part: Part, view: View, offset: int, rows: int, columns: int) -> None:
    x, y = _project(part.points, view)
    px = np.rint(_enlarge(x, rows, columns)).astype(np.int32)
    py = np.rint(_enlarge(y, rows, columns)).astype(np.int32)
    keep = (px >= 0) & (px < view.width) & (py >= 0) & (py < view.height)
    if part.mask is not None:
        down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
        keep &= part.mask(down, np.linspace(0, 1, columns, dtype=np.float32)[None])
    chosen = np.flatnonzero(keep)
    depth = _enlarge(part.points[..., 2], rows, columns).ravel()[chosen]
    key = (((depth + 8) * _DEPTH_STEPS).astype(np.int64) << 32) | (chosen + offset)
    np.maximum.at(buffer, py.ravel()[chosen] * view.width + px.ravel()[chosen], key)


def _grow(buffer: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each sample covers two by two pixels, which closes the gaps between neighbouring samples."""
    out = buffer.copy()
    np.maximum(out[:, 1:], buffer[:, :-1], out=out[:, 1:])
    grown = out.copy()
    np.maximum(grown[1:], out[:-1], out=grown[1:])
    return grown


def _look_up(part: Part, pixels: NDArray[np.int64], winner: NDArray[np.int64], rows: int, columns: int) -> Visible:
    row = (winner // columns) * np.float32((part.points.shape[0] - 1) / max(rows - 1, 1))
    column = (winner % columns) * np.float32((part.points.shape[1] - 1) / max(columns - 1, 1))
    every = np.concatenate([normals(part.points), part.data, part.points], 2)
    values = _bilinear(every, row.astype(np.float32), column.astype(np.float32))
    size = part.data.shape[2]
    normal = values[:, :3] / (np.linalg.norm(values[:, :3], axis=1, keepdims=True) + 1e-9)
    return Visible(part, pixels, normal, values[:, 3 : 3 + size], values[:, 3 + size :])


def _bilinear(values: Array, row: Array, column: Array) -> Array:
    top, left = (
        np.minimum(row.astype(np.int32), len(values) - 2),
        np.minimum(column.astype(np.int32), values.shape[1] - 2),
    )
    v, u = (row - top)[:, None], (column - left)[:, None]
    flat, width = values.reshape(-1, values.shape[2]), values.shape[1]
    at = top * width + left
    upper = flat[at] * (1 - u) + flat[at + 1] * u
    lower = flat[at + width] * (1 - u) + flat[at + width + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)
