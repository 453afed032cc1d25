"""Hair: a shell around the skull, cut out along a hairline and combed in strands, plus tails, buns and braids.

Belongs here: shape, cut and strand direction of each style. Does not belong here: colour and shine (shading).

A cut is a function `inside(turn, y)` in radians: positive where there is hair, zero at its edge. Two families exist:
`curtain` falls from a part to both sides of the face, `swept` is combed back or up from a hairline.
Strands run along lines of equal `strand`: parallel to the curtain's edge, or across the hairline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resources.gpu.backends.preview.head import half_depth, half_width
from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.paint import Array, box_blur, smoothstep
from resources.gpu.backends.preview.surfaces import Part, ball, grid, stack, tube

TABLE = 4096  # entries of the strand noise, which wraps around
Field = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Style:
    """How a style is cut: family, lower end at the sides and back, factor on volume, waviness, height at the front."""

    family: str
    bottom: float
    volume: float = 1.0
    wave: float = 0.0
    quiff: float = 0.0
    sweep: float = 0.0


FEMALE = {
    "long": Style("curtain", 1.75),
    "wavy": Style("curtain", 1.65, 1.25, 0.055),
    "short": Style("curtain", 0.72, 1.15),
    "bangs": Style("curtain", 1.5, 1.0, 0.015, sweep=1.0),
    "bun": Style("swept", 0.42, 0.6),
    "ponytail": Style("swept", 0.42, 0.65),
    "braids": Style("swept", 0.5, 0.7, sweep=0.6),
}
MALE = {
    "long": Style("curtain", 1.25, 1.0, 0.02),
    "short": Style("swept", 0.42, 0.9, sweep=0.8),
    "crew-cut": Style("swept", 0.36, 0.35, sweep=0.2),
    "wavy": Style("swept", 0.50, 1.2, 0.03, 0.04, sweep=1.2),
    "pompadour": Style("swept", 0.40, 0.9, 0.0, 0.14, sweep=0.2),
    "layered-cut": Style("swept", 0.55, 1.1, 0.012, 0.04, sweep=1.6),
}


def strands(identity: Identity) -> Array:
    """Noise over `TABLE` entries in 0..1: fine strands upon locks; read it at `strand` times a scale."""
    rng = np.random.default_rng(int(identity.detail_seed * 1e6) + 11)
    total = np.zeros(TABLE, np.float32)
    for cell, weight in ((3, 0.30), (9, 0.30), (40, 0.40)):
        knots = rng.random(TABLE // cell + 2)
        total += weight * np.interp(np.arange(TABLE) / cell, np.arange(len(knots)), knots).astype(np.float32)
    return np.asarray((total - total.min()) / (total.max() - total.min()), np.float32)


def comb(table: Array, strand: Array, scale: float = 420.0) -> Array:
    """The strand noise at coordinates `strand`."""
    at = np.asarray(strand * scale + 40_000.0, np.float32)
    low = at.astype(np.int32)
    part = at - low
    return np.asarray(table[low % TABLE] * (1 - part) + table[(low + 1) % TABLE] * part, np.float32)


def parts(identity: Identity) -> list[Part]:
    """All surfaces of the hair, in head space; none for a bald head."""
    styles = FEMALE if identity.is_female else MALE
    if identity.style == "bald":
        return []
    style = styles.get(identity.style, styles["short"])
    shell = _shell(identity, style)
    extras = {"bun": _bun, "ponytail": _ponytail, "braids": _braids}
    extra = extras.get(identity.style) if identity.is_female else None
    return [shell, *(extra(identity) if extra else [])]


def _cut(identity: Identity, style: Style) -> tuple[Field, Field]:
    """(inside, strand) of a style, both functions of (turn, y)."""
    return _curtain(identity, style) if style.family == "curtain" else _swept(identity, style)


def _curtain(identity: Identity, style: Style) -> tuple[Field, Field]:
    line, part = identity.hairline, identity.part * (0.6 if not style.sweep else 0.9)
    if style.sweep:
        part = 0.42 if identity.part >= 0 else -0.42

    def full(turn: Array) -> Array:
        return np.asarray(1.24 + np.where(turn > part, -part, part))

    def edge(turn: Array, y: Array) -> Array:
        away = np.sign(part) * (turn - part) < 0  # the side with more hair, which falls over the brow when swept
        fall = np.clip((y - line) / 0.62, 0, 1) ** (np.where(away, 0.9, 0.55) if style.sweep else 0.58)
        close = 0.26 * smoothstep(0.25, 0.85, y) + 0.30 * smoothstep(0.9, 1.5, y)
        return np.maximum(full(turn) * fall - close, 0)

    def inside(turn: Array, y: Array) -> Array:
        return np.abs(turn - part) - edge(turn, y)

    def strand(turn: Array, y: Array) -> Array:
        away = np.abs(turn - part)
        fall = np.tanh(1.25 * np.clip(y - line + 0.42, 0, None))  # parallel to the edge, from the crown on
        spread = full(turn) * fall * smoothstep(2.6, 1.2, away)
        wave = style.wave * 0.6 * np.sin(y * 8 + 2 * turn) * smoothstep(-0.4, 0.4, y)
        return np.asarray(np.sign(turn - part) * (away - 0.80 * spread + 2.0) + wave, np.float32)

    return inside, strand


def _swept(identity: Identity, style: Style) -> tuple[Field, Field]:
    line = identity.hairline
    if identity.is_female:
        turns = [0, 0.3, 0.6, 0.85, 1.1, 1.32, 1.45, 1.62, 1.95, 2.2, np.pi]
        heights = [line - 0.04, line - 0.01, line + 0.07, line + 0.19, line + 0.42, 0.0, 0.06, -0.10, -0.04, 0.36, 0.46]
    else:
        temple = 0.02 * (identity.age > 40)
        turns = [0, 0.4, 0.72, 0.95, 1.1, 1.22, 1.42, 1.5, 1.92, 2.1, np.pi]
        heights = [line, line + 0.005, line - 0.03 - temple, line + 0.22, -0.12, 0.14, 0.17, -0.11, -0.07, 0.30, 0.44]

    def inside(turn: Array, y: Array) -> Array:
        return np.interp(np.abs(turn), turns, heights).astype(np.float32) - y

    lean = style.sweep * (1 if identity.part >= 0 else -1)

    def strand(turn: Array, y: Array) -> Array:
        front = smoothstep(1.5, 0.4, np.abs(turn))
        wave = style.wave * 2.0 * np.sin(y * 11 + 3 * turn)
        return np.asarray(turn + lean * 0.75 * (y + 1) * front + wave, np.float32)

    return inside, strand


def _shell(identity: Identity, style: Style) -> Part:
    inside, strand = _cut(identity, style)
    table = strands(identity)
    thick = identity.hair_volume * style.volume
    top = -1.0 - 0.75 * thick - 0.5 * style.quiff
    bottom = style.bottom + (
        0.35 * (identity.hair_length - 0.5) if style.family == "curtain" and style.bottom > 1 else 0
    )
    share = np.linspace(0, 1, 230, dtype=np.float32)
    y, turn = grid(top + (bottom - top) * share**1.8, np.linspace(-np.pi, np.pi, 300))
    depth = inside(turn, y) if style.family == "swept" else box_blur(inside(turn, y), 8)
    lock = comb(table, strand(turn, y), 60.0) - 0.5
    rise = smoothstep(0.0, 0.40 if style.family == "swept" else 0.55, depth)
    body = 0.018 + (thick - 0.018) * (rise if style.family == "swept" else 0.30 + 0.70 * rise)
    body = body + style.quiff * np.exp(-(((y + 0.95) / 0.25) ** 2)) * smoothstep(1.3, 0.2, np.abs(turn))
    body = body + 0.07 * thick / 0.1 * lock * rise
    body = body + style.wave * np.sin(y * 8.5 + 5 * lock + 2 * turn) * smoothstep(-0.5, 0.3, y)
    below = smoothstep(0.1, 1.1, y)
    body = body * np.sqrt(np.clip((y - top) / 0.16, 0, 1))
    width, front, behind = _skull_radii(identity, y, top)
    sine, cosine = np.sin(turn), np.cos(turn)
    nape = 0.34 * smoothstep(0.1, 0.75, y) if style.family == "swept" else 0.18 * below
    x = (width + body * np.sign(width)) * (1 + 0.05 * below) * np.sign(sine) * np.abs(sine) ** 0.93
    z = np.where(cosine > 0, (front + body) * np.abs(cosine) ** 0.80, (behind + body) * cosine * (1 - nape)) - 0.005
    z = z + 0.13 * smoothstep(0.9, 1.5, y) * smoothstep(2.4, 1.3, np.abs(turn))
    part = Part("hair", stack(x, y, z), np.stack([turn, y, strand(turn, y), depth], 2).astype(np.float32))
    return Part(part.material, part.points, part.data, _shell_mask(style, inside, strand, table, (top, bottom)))


def _skull_radii(identity: Identity, y: Array, top: float) -> tuple[Array, Array, Array]:
    """Half width, depth to the front and to the back of the head under the hair, for hair that starts at `top`."""
    heights = np.linspace(-1, 1, 401)
    level = np.clip(np.where(y < 0, y / -top, y), -1, 0)
    width = np.interp(level, heights, half_width(identity, heights))
    depth = np.interp(level, heights, half_depth(heights))
    return width.astype(np.float32), depth.astype(np.float32), (depth * 1.02).astype(np.float32)


def _shell_mask(
    style: Style, inside: Field, strand: Field, table: Array, ends: tuple[float, float]
) -> Callable[[Array, Array], Array]:
    top, bottom = ends

    def mask(row: Array, column: Array) -> Array:
        y, turn = top + (bottom - top) * row**1.8, (column * 2 - 1) * np.float32(np.pi)
        jag = comb(table, strand(turn, y), 200.0) - 0.5
        edge = inside(turn, y) + (0.06 if style.family == "swept" else 0.12) * jag
        tip = 0.30 if style.family == "curtain" else 0.05
        return np.asarray((edge > 0) & (y < bottom - tip * (0.5 + jag) * smoothstep(-0.1, 0.6, y + 0 * turn)))

    return mask


def _bun(_: Identity) -> list[Part]:
    points, data = ball((0.0, -1.10, -0.36), (0.30, 0.27, 0.30))
    return [Part("hair", points, _wound(data, 0.5))]


def _ponytail(identity: Identity) -> list[Part]:
    side = 1 if identity.part >= 0 else -1
    path = np.array([[0, -0.62, -0.92], [side * 0.15, -0.45, -1.12], [side * 0.45, 0.2, -0.95],
                     [side * 0.62, 0.9, -0.45], [side * 0.66, 1.35, 0.12], [side * 0.60, 1.9, 0.42]])  # fmt: skip
    points, data = tube(path, np.array([0.14, 0.2, 0.24, 0.22, 0.17, 0.05]), rows=90)
    return [Part("hair", points, _wound(data, 0.15))]


def _braids(identity: Identity) -> list[Part]:
    out = []
    for side in (-1, 1):
        x = side * (identity.face_width + 0.04)
        path = np.array(
            [
                [x * 0.95, 0.18, -0.30],
                [x * 1.05, 0.6, -0.22],
                [x * 1.02, 1.05, 0.05],
                [x * 0.92, 1.5, 0.42],
                [x * 0.85, 2.1, 0.58],
            ]
        )
        points, data = tube(path, np.array([0.10, 0.13, 0.13, 0.12, 0.07]), rows=160)
        plait = 1 + 0.16 * np.abs(np.sin(data[..., 0] * 30 + side * data[..., 1]))
        center = points.mean(axis=1, keepdims=True)
        out.append(Part("hair", (center + (points - center) * plait[..., None]).astype(np.float32), _wound(data, 1.2)))
    return out


def _wound(data: Array, twist: float) -> Array:
    """Material coordinates of hair wound around a tube or ball."""
    along, turn = data[..., 0], data[..., 1]
    return np.stack([turn, along, turn * 0.4 + twist * along * 2.5, np.full_like(turn, 0.5)], 2).astype(np.float32)
