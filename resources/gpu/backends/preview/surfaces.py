"""Grids of points in space: the shape language of head, hair and body.

Belongs here: the `Part` that the rasterizer draws, normals, rotations, tubes and balls.
Does not belong here: any human measure.

Axes: x to the right of the picture, y down, z towards the viewer. One unit is half a head height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resources.gpu.backends.preview.paint import Array

Mask = Callable[[Array, Array], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Part:
    """A surface to draw: `points` (rows, columns, 3) in camera space, and what the shader needs at each point.

    `data` (rows, columns, k) holds material coordinates; `mask(row, column)`, given fractions of the grid in 0..1,
    says where the surface exists.
    """

    material: str
    points: Array
    data: Array
    mask: Mask | None = None
    extra: dict[str, object] = field(default_factory=dict)


def grid(rows: Array, columns: Array) -> tuple[Array, Array]:
    """Row and column parameters as two arrays of shape (len(rows), len(columns))."""
    across, down = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return down, across


def stack(x: Array, y: Array, z: Array) -> Array:
    """Three coordinate grids as one grid of points."""
    return np.stack(np.broadcast_arrays(x, y, z), 2).astype(np.float32)


def normals(points: Array) -> Array:
    """Unit normals of a grid of points; zero-length ones stay zero."""
    out = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    return np.asarray((out / (np.linalg.norm(out, axis=2, keepdims=True) + 1e-9)), np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """The matrix that turns the head: angles in degrees, positive yaw towards the picture's right."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in np.radians([yaw, pitch, roll]))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray((tilt @ nod @ turn), np.float32)


def tube(path: Array, radii: Array, *, flat: float = 1.0, rows: int = 40, columns: int = 40) -> tuple[Array, Array]:
    """A round tube along `path` (n, 3) with `radii` (n,), its depth scaled by `flat`; returns points and (s, angle)."""
    at = np.linspace(0, 1, len(path))
    fine = np.linspace(0, 1, rows)
    center = np.stack([np.interp(fine, at, path[:, axis]) for axis in range(3)], 1)
    radius = np.interp(fine, at, radii)
    radius *= np.sqrt(np.clip(1 - np.clip(1 - fine / 0.03, 0, 1) ** 2, 0, 1))
    radius *= np.sqrt(np.clip(1 - np.clip((fine - 0.94) / 0.06, 0, 1) ** 2, 0, 1))
    along = np.gradient(center, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.cross(along, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    front = np.cross(side, along)
    down, turn = grid(fine, np.linspace(-np.pi, np.pi, columns))
    points = center[:, None] + radius[:, None, None] * (
        np.sin(turn)[..., None] * side[:, None] + flat * np.cos(turn)[..., None] * front[:, None]
    )
    return points.astype(np.float32), np.stack([down, turn], 2)


def ball(center: tuple[float, float, float], radii: tuple[float, float, float]) -> tuple[Array, Array]:
    """An ellipsoid; returns points and (polar, angle)."""
    polar, turn = grid(np.linspace(0.02, np.pi - 0.02, 40), np.linspace(-np.pi, np.pi, 60))
    x, y, z = center
    points = stack(
        x + radii[0] * np.sin(polar) * np.sin(turn),
        y - radii[1] * np.cos(polar),
        z + radii[2] * np.sin(polar) * np.cos(turn),
    )
    return points, np.stack([polar / np.pi, turn], 2)
