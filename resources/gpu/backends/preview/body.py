"""Neck, torso, arms and legs, dressed.

Belongs here: the figure's shape and which cloth covers which part. Does not belong here: light and the head.
"""

from __future__ import annotations

import numpy as np

from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.paint import Array, smoothstep
from resources.gpu.backends.preview.surfaces import Part, grid, stack, tube

SOLE = 13.3  # an adult is about seven and a half heads tall: 15 half heads, of which 1 lies above the eyes


def torso(identity: Identity) -> Part:
    """Neck and trunk down to the hips; data is (x, y, frontness)."""
    female, build, muscle = identity.female, identity.build, identity.muscle
    neck = (0.50 - 0.10 * female) * (1 + 0.10 * build + 0.08 * muscle) * (0.75 + 0.38 * identity.face_width)
    shoulder = 1.42 - 0.24 * female + 0.14 * muscle + 0.05 * build
    waist = (1.02 - 0.20 * female) * (0.88 + 0.32 * build)
    hip = (1.02 + 0.06 * female) * (0.92 + 0.25 * build)
    keys = [0.40, 0.8, 1.10, 1.24, 1.38, 1.56, 1.80, 2.2, 3.0, 4.3, 5.5, 6.3]
    wide = [neck, neck * 0.96, neck, neck * 1.22, neck * 1.75, shoulder * 0.80, shoulder * 0.94, shoulder * 0.92,
            shoulder * 0.86, waist, hip, hip * 0.94]  # fmt: skip
    deep = [neck * 0.95, neck * 0.92, neck * 0.95, neck * 1.02, neck * 1.15, 0.52, 0.60, 0.66, 0.70, 0.58, 0.66, 0.6]
    rows = np.concatenate([np.linspace(0.40, 2.2, 150), np.linspace(2.22, 6.3, 70)]).astype(np.float32)
    y, turn = grid(rows, np.linspace(-np.pi, np.pi, 200))
    kernel = np.hanning(13)[1:-1]
    kernel /= kernel.sum()
    width, depth = (
        np.convolve(np.pad(np.interp(rows, keys, k), 5, mode="edge"), kernel, "valid") for k in (wide, deep)
    )
    sine, cosine = np.sin(turn), np.cos(turn)
    x = width[:, None] * np.sign(sine) * np.abs(sine) ** 0.9
    z = depth[:, None] * np.sign(cosine) * np.abs(cosine) ** 0.85 - 0.20
    chest = np.exp(-(((y - 3.0) / 0.55) ** 2)) * np.clip(cosine, 0, 1) * np.clip(np.abs(sine) * 2, 0, 1)
    z += 0.10 * (0.4 + female) * chest
    for side in (-1, 1):
        collarbone = np.exp(-(((x - side * 0.45) / 0.35) ** 2) - ((y - 1.52) / 0.06) ** 2)
        tendon = np.exp(-(((x - side * (0.13 + 0.16 * (1.4 - y))) / 0.06) ** 2)) * smoothstep(1.40, 1.10, y)
        z += (0.035 * collarbone + 0.040 * tendon) * (cosine > 0)
    return Part("torso", stack(x, y, z), np.stack([x, y, cosine], 2).astype(np.float32))


def arms(identity: Identity, posture: str) -> list[Part]:
    """Upper and lower arms with hands, hanging or, for a lively posture, one hand on the hip."""
    shoulder = 1.42 - 0.24 * identity.female + 0.14 * identity.muscle + 0.05 * identity.build
    thick = (0.34 - 0.08 * identity.female) * (0.9 + 0.22 * identity.build + 0.15 * identity.muscle)
    parts = []
    for side in (-1, 1):
        elbow, wrist = (1.08, 4.3, -0.25), (1.05, 6.2, 0.1)
        if posture == "dynamic" and side > 0:
            elbow, wrist = (1.55, 3.9, -0.1), (0.88, 5.2, 0.35)
        if posture == "sitting":
            elbow, wrist = (1.10, 4.2, 0.0), (0.70, 5.4, 1.5)
        x = side * shoulder
        path = np.array(
            [
                [x * 0.60, 1.66, -0.20],
                [x * 0.84, 1.88, -0.20],
                [x * 0.94, 2.35, -0.22],
                [x * elbow[0], elbow[1], elbow[2]],
                [x * wrist[0], wrist[1], wrist[2]],
                [x * wrist[0], wrist[1] + 0.75, wrist[2] + 0.1],
            ]
        )
        radii = thick * np.array([0.45, 0.88, 1.02, 0.80, 0.55, 0.50])
        points, data = tube(path, radii, rows=110, columns=48)
        parts.append(Part("sleeve", points, _covered(points, data)))
    return parts


def legs(identity: Identity, posture: str) -> list[Part]:
    """Legs and shoes for a full figure."""
    thick = (0.50 + 0.02 * identity.female) * (0.9 + 0.25 * identity.build)
    parts = []
    for side in (-1, 1):
        hip = np.array([side * 0.52, 6.0, -0.15])
        knee, ankle = [side * 0.56, 9.5, -0.05], [side * 0.56, 12.7, -0.25]
        if posture == "dynamic":
            knee = [side * 0.62, 9.4, 0.45 * side]
            ankle = [side * 0.82, 12.6, -0.1 - 0.75 * side]
        if posture == "sitting":
            knee, ankle = [side * 0.75, 6.9, 2.6], [side * 0.72, 10.2, 2.3]
        foot = [ankle[0], ankle[1] + 0.35, ankle[2] + 0.2]
        path = np.array([hip, (hip + np.array(knee)) / 2, knee, (np.array(knee) + np.array(ankle)) / 2, ankle])
        points, data = tube(path, thick * np.array([1.0, 0.92, 0.66, 0.62, 0.42]), rows=120, columns=48)
        parts.append(Part("trousers", points, _covered(points, data)))
        heel, toe = [foot[0], foot[1] - 0.15, foot[2] - 0.45], [foot[0] * 1.08, foot[1] + 0.12, foot[2] + 0.75]
        shoe, shape = tube(np.array([heel, foot, toe]), np.array([0.24, 0.28, 0.2]), rows=30)
        parts.append(Part("shoe", shoe, _covered(shoe, shape)))
    return parts


def stool() -> Part:
    """Something to sit on."""
    path = np.array([[0, 6.75, 0.3], [0, 8.6, 0.3], [0, 10.55, 0.3]])
    points, data = tube(path, np.array([1.25, 1.1, 1.2]), rows=40)
    return Part("stool", points, _covered(points, data))


def _covered(points: Array, data: Array) -> Array:
    return np.concatenate([points[..., :2], data[..., :1]], 2).astype(np.float32)
