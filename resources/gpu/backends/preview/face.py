"""What is painted on the head: eyes, brows, lips, shading, marks and age.

Belongs here: the face as a texture in (x, y) seen from the front. Does not belong here: shape (head), light (shading).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.paint import Array, Canvas, noise, smoothstep

WHITE = (0.90, 0.885, 0.87)
INK = (0.07, 0.05, 0.05)


def texture(identity: Identity, smile: float, gaze: float, scale: int) -> Canvas:
    """The painted face, `scale` pixels a unit; the parts that no expression moves are remembered per identity."""
    canvas = _base(identity, scale).copy()
    _mouth(canvas, identity, smile)
    for side in (-1, 1):
        _smile_lines(canvas, identity, side, smile)
        _eye(canvas, identity, side, smile, gaze)
    return canvas


@lru_cache(maxsize=4)
def _base(identity: Identity, scale: int) -> Canvas:
    rng = np.random.default_rng(int(identity.detail_seed * 1e6))
    canvas = Canvas(scale, identity.skin)
    height, width = canvas.pixels.shape[:2]
    rough = 0.4 if identity.anime >= 0.5 else 1.0
    tone = noise(rng, height, width, scale * 0.16) - 0.5
    pores = noise(rng, height, width, max(2.0, scale * 0.011)) - 0.5
    canvas.pixels *= (1 + rough * (0.045 * tone + 0.03 * pores))[..., None]
    _blush(canvas, identity)
    _age_lines(canvas, identity)
    _freckles(canvas, identity, rng)
    _beard(canvas, identity, rng)
    for side in (-1, 1):
        _brow(canvas, identity, side)
    _nose(canvas, identity)
    _marks(canvas, identity)
    return canvas


def shade(identity: Identity, red: float, green: float, blue: float) -> Array:
    """The skin's colour, multiplied channel by channel."""
    return np.asarray(np.clip(np.array(identity.skin) * np.array([red, green, blue]), 0, 1), np.float32)


def _blush(canvas: Canvas, identity: Identity) -> None:
    warm = shade(identity, 1.0, 0.76, 0.74)
    for side in (-1, 1):
        eye = side * identity.eye_distance
        canvas.ellipse(side * 0.40, 0.20, 0.16, 0.12, warm, 0.28 + 0.22 * identity.makeup, 0.07)
        canvas.ellipse(side * 0.5, 0.5, 0.1, 0.2, shade(identity, 0.80, 0.75, 0.73), 0.10 + 0.25 * identity.cheek, 0.08)
        canvas.ellipse(eye, -0.085, 0.16, 0.075, shade(identity, 0.70, 0.60, 0.58), 0.45, 0.035)
        canvas.ellipse(eye, 0.075, 0.11, 0.02, shade(identity, 0.82, 0.72, 0.70), 0.35, 0.02)
    canvas.ellipse(0, 0.9, 0.2, 0.07, warm, 0.15, 0.06)


def _nose(canvas: Canvas, identity: Identity) -> None:
    end, wide = identity.nose_length, identity.nose_width
    canvas.ellipse(0, end - 0.05, 0.06, 0.05, shade(identity, 1.0, 0.82, 0.80), 0.35, 0.03)
    canvas.ellipse(0, end + 0.045, 0.10 * wide, 0.018, shade(identity, 0.62, 0.52, 0.50), 0.45, 0.02)
    for side in (-1, 1):
        canvas.ellipse(side * 0.135 * wide, end - 0.025, 0.016, 0.045, shade(identity, 0.66, 0.55, 0.52), 0.5, 0.015)
        canvas.ellipse(
            side * 0.062 * wide, end + 0.006, 0.032 * wide, 0.013, shade(identity, 0.30, 0.20, 0.19), 0.85, 0.006
        )
        line = [(side * 0.085, -0.10), (side * 0.075, 0.05), (side * 0.095 * wide, end - 0.1)]
        canvas.stroke(line, 0.03, shade(identity, 0.72, 0.63, 0.61), 0.05 + 0.32 * (identity.nose_height - 0.5), 0.022)


def _brow(canvas: Canvas, identity: Identity, side: int) -> None:
    q = np.linspace(0, 1, 30)
    x = side * (identity.eye_distance - 0.135 + 0.30 * q)
    rise = 0.008 * side * identity.asymmetry
    y = identity.brow_height + rise - identity.brow_arch * np.sin(q * 2.4) + 0.010 * q**2 + 0.018 * q**3
    thick = 0.036 * identity.brow_weight * (1 - 0.8 * q**1.8) * np.minimum(0.55 + q * 3, 1)
    color = np.array(identity.hair) * 0.55 + np.array(identity.skin) * 0.06
    if identity.hair[0] > 0.5:
        color = np.array(identity.hair) * 0.42 + np.array([0.06, 0.04, 0.03])
    canvas.stroke(np.stack([x, y], 1), thick * 1.25, color, 0.35, 0.014)
    canvas.stroke(np.stack([x, y], 1), thick * 0.9, color, 0.8, 0.006)
    for k in range(2, 28, 2):
        hair = [(x[k], y[k] + thick[k] * 0.5), (x[k] + side * 0.022, y[k] - thick[k] * 0.55)]
        canvas.stroke(hair, 0.004, color * 0.6, 0.25, 0.004)


def _eye(canvas: Canvas, identity: Identity, side: int, smile: float, gaze: float) -> None:
    center, height = side * identity.eye_distance, -0.015 + 0.006 * side * identity.asymmetry
    half = 0.122 * identity.eye_size
    tall = 0.054 * identity.eye_size * identity.eye_open * (1 - 0.16 * smile)
    q = np.linspace(-1, 1, 33)  # inner corner to outer corner
    x = center + side * q * half
    tilt = identity.eye_tilt * q
    peak = (1 - np.abs(q) ** 2.1) ** 0.75
    upper = height - tall * peak * (1 - 0.08 * q) - tilt
    lower = height + tall * 0.62 * (1 - np.abs(q) ** 2.4) * (1 + 0.1 * q) - tilt
    almond = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
    inside = canvas.copy()
    inside.fill(almond, WHITE, 1.0, 0.004)
    _iris(inside, identity, center + 0.05 * gaze, height - 0.006 * identity.eye_open)
    inside.stroke(np.stack([x, upper + 0.008], 1), 0.030, (0.25, 0.19, 0.18), 0.5, 0.012)
    inside.ellipse(
        center - side * half * 0.93, height - tilt[0], 0.016, 0.012, shade(identity, 0.95, 0.62, 0.6), 0.8, 0.006
    )
    opening = Canvas(canvas.scale, (0.0, 0.0, 0.0))
    opening.fill(almond, (1.0, 1.0, 1.0), 1.0, 0.003)
    region = slice(int((0.75 + height) * canvas.scale), int((1.25 + height) * canvas.scale))
    canvas.pixels[region] += (inside.pixels[region] - canvas.pixels[region]) * opening.pixels[region]
    _lids(canvas, identity, side, np.stack([x, upper], 1), np.stack([x, lower], 1))


def _iris(canvas: Canvas, identity: Identity, x: float, y: float) -> None:
    radius = 0.056 * identity.eye_size**0.5 * (1.2 if identity.anime >= 0.5 else 1.0)
    color = np.array(identity.eyes)
    for share, tint, blur in (
        (1.0, color * 0.35, 0.003),
        (0.88, color * 0.85, 0.006),
        (0.60, color * 1.2 + 0.03, 0.012),
    ):
        canvas.ellipse(x, y, radius * share, radius * share, np.clip(tint, 0, 1), 1.0, blur)
    canvas.ellipse(x, y, radius * 0.42, radius * 0.42, (0.03, 0.025, 0.03), 1.0, 0.004)
    canvas.ellipse(x - 0.017, y - 0.021, 0.012, 0.012, (1.0, 1.0, 1.0), 0.95, 0.003)
    canvas.ellipse(x + 0.02, y + 0.02, 0.01, 0.008, (0.9, 0.93, 1.0), 0.35, 0.004)


def _lids(canvas: Canvas, identity: Identity, side: int, upper: Array, lower: Array) -> None:
    lash = np.array(INK) if identity.is_female else np.array(identity.skin) * 0.16
    thick = np.linspace(0.010, 0.020 + 0.008 * identity.makeup, len(upper))
    canvas.stroke(upper - [0, 0.003], thick if identity.is_female else 0.011, lash, 0.92, 0.003)
    canvas.stroke(lower, 0.006, shade(identity, 0.45, 0.33, 0.31), 0.65, 0.004)
    crease = upper - [0, 0.008 + 0.05 * (identity.eye_open - 0.6)]
    canvas.stroke(crease[3:], 0.011, shade(identity, 0.50, 0.38, 0.36), 0.6, 0.006)
    if identity.is_female:
        if identity.makeup > 0.4:
            canvas.stroke(upper - [0, 0.022], 0.035, shade(identity, 0.62, 0.48, 0.48), 0.4, 0.014)
        for k in range(12, len(upper), 3):
            x, y = upper[k]
            reach = 0.010 + 0.018 * k / len(upper)
            canvas.stroke([(x, y), (x + side * reach * 0.8, y - reach)], 0.0045, lash, 0.8, 0.002)


def _mouth(canvas: Canvas, identity: Identity, smile: float) -> None:
    half = identity.mouth_width * (1 + 0.15 * smile)
    q = np.linspace(-1, 1, 41)
    curl = 0.001 - 0.055 * smile
    middle = (
        identity.mouth_height
        + 0.006 * smile
        + curl * q**2
        - 0.005 * np.cos(q * np.pi * 2)
        + 0.004 * identity.asymmetry * q
    )
    bow = 1 - 0.26 * np.exp(-((q / 0.15) ** 2))
    upper = middle - 0.044 * identity.lip_upper * (1 - np.abs(q) ** 1.7) * bow * (1 - 0.2 * smile)
    lower = middle + 0.066 * identity.lip_lower * (1 - np.abs(q) ** 2.3) * (1 - 0.12 * smile)
    rosy = np.array([0.80, 0.50, 0.50]) * (1 - 0.1 * identity.makeup)
    color = np.clip(np.array(identity.skin) * rosy + np.array([0.07 * identity.makeup, 0, 0.01]), 0, 1)
    if not identity.is_female:
        color = np.array(identity.skin) * np.array([0.83, 0.64, 0.62])
    x = q * half

    def between(top: Array, bottom: Array) -> Array:
        return np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]]).astype(np.float32)

    canvas.fill(between(upper, middle), color * 0.82, 0.92, 0.007)
    canvas.fill(between(middle, lower), color, 0.92, 0.007)
    canvas.ellipse(
        0,
        identity.mouth_height + 0.036 * identity.lip_lower,
        half * 0.4,
        0.010,
        np.clip(color * 1.2 + 0.06, 0, 1),
        0.45,
        0.012,
    )
    if smile > 0.5:
        _teeth(canvas, q * half * 0.84, middle, 0.075 * (smile - 0.3))
    canvas.stroke(np.stack([x * 1.02, middle], 1), 0.012, color * 0.32, 0.9, 0.004)
    canvas.ellipse(
        0,
        identity.mouth_height + 0.105 + 0.02 * identity.lip_lower,
        0.12,
        0.014,
        shade(identity, 0.72, 0.62, 0.60),
        0.45,
        0.02,
    )
    for side in (-1, 1):
        canvas.ellipse(side * half * 1.05, middle[0], 0.016, 0.018, shade(identity, 0.55, 0.43, 0.42), 0.5, 0.010)


def _teeth(canvas: Canvas, x: Array, middle: Array, opening: float) -> None:
    arch = 1 - np.linspace(-1, 1, len(x)) ** 2
    top, bottom = middle - 0.1 * opening * arch, middle + 1.25 * opening * arch
    gap = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    canvas.fill(gap, (0.25, 0.12, 0.12), 1.0, 0.003)
    inner = np.concatenate([np.stack([x * 0.93, top + 0.002], 1), np.stack([x * 0.93, bottom - 0.006], 1)[::-1]])
    canvas.fill(inner, (0.74, 0.71, 0.67), 1.0, 0.004)


def _smile_lines(canvas: Canvas, identity: Identity, side: int, smile: float) -> None:
    years = float(np.clip((identity.age - 28) / 40, 0, 1))
    strength = 0.06 + 0.22 * smile + 0.34 * years
    q = np.linspace(0, 1, 12)
    start, stop = 0.14 * identity.nose_width, identity.mouth_width * 1.25
    x = side * (start + (stop - start) * q**0.8 + 0.03 * np.sin(q * np.pi))
    y = identity.nose_length - 0.02 + (identity.mouth_height + 0.03 - identity.nose_length) * q
    canvas.stroke(np.stack([x, y], 1), 0.016, shade(identity, 0.62, 0.50, 0.48), min(strength, 0.75), 0.012)


def _age_lines(canvas: Canvas, identity: Identity) -> None:
    years = float(np.clip((identity.age - 30) / 35, 0, 1))
    if years <= 0 or identity.anime >= 0.5:
        return
    dark = shade(identity, 0.62, 0.51, 0.49)
    q = np.linspace(-1, 1, 20)
    for k in range(3):
        line = np.stack([q * (0.36 - 0.03 * k), -0.36 - 0.075 * k + 0.02 * q**2], 1)
        canvas.stroke(line, 0.008, dark, 0.45 * years, 0.006)
    for side in (-1, 1):
        eye = identity.eye_distance
        canvas.stroke(np.stack([side * eye + q * 0.1, 0.075 + 0.03 * (1 - q**2)], 1), 0.012, dark, 0.5 * years, 0.008)
        for k in (-1, 0, 1):
            crow = [(side * (eye + 0.15), -0.005 + 0.02 * k), (side * (eye + 0.215), -0.005 + 0.05 * k)]
            canvas.stroke(crow, 0.006, dark, 0.5 * years, 0.005)
        canvas.stroke([(side * 0.035, -0.17), (side * 0.04, -0.235)], 0.01, dark, 0.35 * years, 0.007)


def _freckles(canvas: Canvas, identity: Identity, rng: np.random.Generator) -> None:
    for _ in range(int(170 * identity.freckles)):
        x, y = rng.normal(0, 0.26), rng.normal(0.14, 0.085)
        size = rng.uniform(0.005, 0.011)
        if abs(x) < identity.face_width * 0.85:
            canvas.ellipse(x, y, size, size, shade(identity, 0.72, 0.58, 0.50), 0.55, 0.003)


def _beard(canvas: Canvas, identity: Identity, rng: np.random.Generator) -> None:
    if identity.beard < 0.15:
        return
    height, width = canvas.pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / canvas.scale
    x, y = np.abs(x - canvas.reach), y - 1
    edge = np.interp(x, [0, 0.2, 0.32, 0.45, 0.62, 0.85], [0.43, 0.47, 0.58, 0.55, 0.12, -0.05])
    mouth = np.exp(-((x / (identity.mouth_width * 1.02)) ** 4) - ((y - identity.mouth_height - 0.01) / 0.085) ** 4)
    stubble = 0.55 + 0.9 * (noise(rng, height, width, max(2.0, canvas.scale * 0.012)) - 0.35)
    cover = smoothstep(-0.04, 0.10, (y - edge).astype(np.float32)) * (1 - mouth) * np.clip(stubble, 0, 1)
    canvas.pixels += (np.array(identity.hair) * 0.8 - canvas.pixels) * (cover * 0.75 * identity.beard)[
        ..., None
    ].astype(np.float32)


def _marks(canvas: Canvas, identity: Identity) -> None:
    dark = shade(identity, 0.38, 0.28, 0.25)
    spots = [
        (identity.mark_x, identity.mark_y),
        (-identity.mark_x * 0.7, identity.mark_y * 0.6 + 0.2),
        (identity.mark_x * 0.5 + 0.2, 0.74),
    ]
    for x, y in spots[: round(identity.beauty_marks * 2 + 0.2)]:
        canvas.ellipse(x, y, 0.013, 0.013, dark, 0.85, 0.003)
    if identity.scars > 0.2:
        x, y, size = -np.sign(identity.mark_x) * 0.40, 0.12, 0.08 + 0.14 * identity.scars
        canvas.stroke(
            [(x, y), (x + 0.02, y + size * 0.5), (x + 0.05, y + size)],
            0.014,
            shade(identity, 1.1, 0.95, 0.93),
            0.7,
            0.004,
        )
    metal = (0.80, 0.80, 0.82)
    _, nose, lip, brow = (weight >= 0.5 for weight in identity.piercings)
    studs = [
        (nose, 0.125 * identity.nose_width, identity.nose_length - 0.03),
        (lip, 0.10, identity.mouth_height + 0.10),
        (brow, identity.eye_distance + 0.12, identity.brow_height - 0.05),
    ]
    for worn, x, y in studs:
        if worn:
            canvas.ellipse(x, y, 0.017, 0.017, (0.3, 0.3, 0.32), 0.9, 0.003)
            canvas.ellipse(x - 0.003, y - 0.004, 0.011, 0.011, metal, 1.0, 0.003)
