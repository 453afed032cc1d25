"""The head: skull, jaw, nose, sockets, lips and ears as surfaces.

Belongs here: shape. Does not belong here: what is painted on it (face) and hair (hair).
Proportions are those of adults: eyes at half the head's height, thirds between hairline, brow, nose and chin, a jaw.
"""

from __future__ import annotations

import numpy as np

from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.paint import Array, smoothstep
from resources.gpu.backends.preview.surfaces import grid, stack

DEPTH = 0.86  # half the depth of a head, in half head heights
ROWS, COLUMNS = 220, 260


def half_width(identity: Identity, y: Array) -> Array:
    """Half the head's width at height `y`."""
    wide = identity.face_width
    keys = [-0.2, -0.02, 0.18, 0.38, 0.56, 0.70, 0.80, 0.88, 0.94, 0.98, 1.0]
    jaw, chin = identity.jaw, identity.chin_width
    lower = [1, 1, 0.985, 0.5 + 0.46 * jaw + 0.04, 0.08 + 0.92 * jaw, 0.14 + 0.68 * jaw, 0.55 * jaw + 0.38 * chin,
             0.2 * jaw + 0.78 * chin, 0.90 * chin, 0.60 * chin, 0.0]  # fmt: skip
    below = np.interp(y, keys, lower)
    dome = np.sqrt(np.clip(1 - np.abs((y + 0.2) / 0.8) ** 2.3, 0, 1))
    temple = 1 + (identity.temple - 1) * np.exp(-(((y + 0.5) / 0.3) ** 2))
    return _smooth(np.where(y < -0.2, dome * temple, below) * wide, 0.06)


def half_depth(y: Array) -> Array:
    """The distance from the head's axis to the face at height `y`."""
    keys = [-1, -0.985, -0.94, -0.84, -0.65, -0.4, -0.1, 0.2, 0.5, 0.75, 0.88, 0.95, 0.985, 1.0]
    share = [0, 0.22, 0.46, 0.70, 0.885, 0.965, 0.97, 0.95, 0.93, 0.90, 0.84, 0.70, 0.45, 0.0]
    return _smooth(np.interp(y, keys, share) * DEPTH, 0.06)


def skull(identity: Identity, smile: float) -> tuple[Array, Array]:
    """Points (rows, columns, 3) of the bare head and the painter's coordinates (x, y, frontness)."""
    rows = np.cos(np.linspace(np.pi, 0, ROWS)).astype(np.float32) * 0.72 + np.linspace(-1, 1, ROWS) * 0.28
    y, turn = grid(rows, np.linspace(-np.pi, np.pi, COLUMNS))
    sine, cosine = np.sin(turn), np.cos(turn)
    x = half_width(identity, rows)[:, None] * np.sign(sine) * np.abs(sine) ** 0.93
    front = np.where(cosine > 0, np.abs(cosine) ** 0.80, -np.abs(cosine) * 1.02)
    z = half_depth(rows)[:, None] * front
    z = np.where(cosine < 0, z * (1 - 0.38 * smoothstep(0.15, 0.8, y)), z)
    lift = 0.42 * smoothstep(0.35, 1.0, y) * smoothstep(-0.25, 1.0, -cosine + 0.35)
    bumps = _features(identity, x, y, smile) * smoothstep(0.0, 0.3, cosine)
    skew = 1 + 0.012 * identity.asymmetry * np.sign(x) * smoothstep(0.0, 0.2, np.abs(x))
    return stack(x * skew, y - lift, z + bumps), np.stack([x, y, cosine], 2).astype(np.float32)


def _features(identity: Identity, x: Array, y: Array, smile: float) -> Array:
    def bump(cx: float, cy: float, sx: float, sy: float) -> Array:
        return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)

    wide, mouth = identity.nose_width, identity.mouth_height + 0.015 * smile
    cheek = identity.cheek
    depth = 0.195 * _nose(identity, x, y)
    tip = identity.nose_length - 0.045
    depth += 0.035 * identity.nose_height * bump(0, tip, 0.07 * wide, 0.05)
    for side in (-1, 1):
        eye = side * identity.eye_distance
        depth += 0.055 * bump(side * 0.105 * wide, identity.nose_length - 0.03, 0.042, 0.042)
        depth -= 0.075 * bump(eye, -0.06, 0.15, 0.075) - 0.052 * bump(eye, -0.01, 0.10, 0.06)
        depth -= 0.03 * bump(side * 0.13, -0.04, 0.05, 0.07)
        depth += 0.032 * bump(eye * 0.95, identity.brow_height + 0.02, 0.2, 0.06)
        depth += (0.014 + 0.034 * cheek) * bump(side * 0.42, 0.17, 0.15, 0.13) + 0.02 * smile * bump(
            side * 0.36, 0.22, 0.12, 0.1
        )
        depth -= (0.002 + 0.022 * cheek) * bump(side * 0.44, 0.48, 0.12, 0.16)
        depth -= (0.010 + 0.012 * smile) * bump(side * (0.22 + 0.1 * (float(mouth) - 0.45)), 0.43, 0.035, 0.11)
    depth += 0.03 * bump(0, mouth - 0.02, 0.22, 0.1)
    depth += 0.022 * identity.lip_upper * bump(0, mouth - 0.03, 0.13, 0.025)
    depth += 0.030 * identity.lip_lower * bump(0, mouth + 0.045, 0.13, 0.034)
    depth -= 0.022 * bump(0, mouth + 0.005, 0.2, 0.013)
    depth -= 0.032 * bump(0, mouth + 0.145, 0.17, 0.05)
    depth += 0.05 * bump(0, 0.87, 0.16, 0.1)
    depth -= 0.011 * bump(0, mouth - 0.11, 0.028, 0.05)
    return depth.astype(np.float32)


def _nose(identity: Identity, x: Array, y: Array) -> Array:
    """The nose's ridge: rises from between the eyes to the tip and falls off sharply below it."""
    end = identity.nose_length
    along = np.clip((y + 0.13) / (end + 0.08), 0, 1)
    below = 1 / (1 + np.exp(np.clip((y - end + 0.005) / 0.018, -30, 30)))
    width = 0.058 * identity.nose_width * (0.82 + 0.55 * along**2)
    bridge = 0.22 * np.exp(-(((y + 0.06) / 0.1) ** 2))
    height = 0.78 * along**1.15 * identity.nose_height + bridge * (0.6 + 0.4 * identity.nose_height)
    return (height * below * np.exp(-((x / width) ** 2))).astype(np.float32)


def ear(identity: Identity, side: int) -> tuple[Array, Array]:
    """One ear (side -1 or 1): points and (ring from rim 1 to centre 0, angle)."""
    ring, turn = grid(np.linspace(0.02, 1, 24), np.linspace(0, 2 * np.pi, 60))
    size = identity.ear_size
    height = 0.185 * size * ring * (1 - 0.18 * np.clip(np.sin(turn), 0, 1))
    out = 0.05 + 0.055 * np.sin(ring * np.pi * 0.95) + 0.03 * ring * np.cos(turn)
    x = side * (float(half_width(identity, np.linspace(-1, 1, ROWS))[ROWS // 2]) * 0.95 + out)
    y = 0.10 + height * np.sin(turn)
    z = -0.08 - 0.10 * size * ring * np.cos(turn) - 0.03 * np.sin(turn) * ring
    return stack(x, y, z), np.stack([ring, turn], 2)


def _smooth(values: Array, share: float) -> Array:
    width = int(len(values) * share) | 1
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), "valid").astype(np.float32)
