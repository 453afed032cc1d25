"""The place behind a person: soft, calm, and out of focus.

Belongs here: backgrounds as pictures in linear colours. Does not belong here: anything in front of them.
"""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from resources.gpu.backends.preview.look import Shot
from resources.gpu.backends.preview.paint import Array, noise, smoothstep

HUES = {"studio": 0.58, "bokeh": 0.09, "outdoor": 0.55, "indoor": 0.09, "city": 0.60, "beach": 0.54, "dark": 0.62}
TINTS = {  # how the light colours the place, sRGB factors
    "studio": (1.0, 1.0, 1.0), "natural": (1.0, 1.0, 1.0), "dramatic": (0.52, 0.52, 0.56), "golden": (1.08, 0.92, 0.74),
    "night": (0.30, 0.34, 0.50), "backlit": (1.08, 1.05, 1.0),
}  # fmt: skip


def background(shot: Shot, width: int, height: int) -> Array:
    """The backdrop, shape (height, width, 3), sRGB in 0..1."""
    small = (max(96, width // 3), max(96, height // 3))
    rng = np.random.default_rng([shot.look.seed & 0xFFFFFFFF, 5])
    painters = {
        "studio": _studio,
        "dark": _studio,
        "bokeh": _bokeh,
        "outdoor": _outdoor,
        "indoor": _indoor,
        "city": _city,
        "beach": _beach,
    }
    free = 0.07 if shot.look.background in ("studio", "bokeh", "dark") else 0.012  # skies keep their blue
    hue = HUES[shot.look.background] + free * shot.hue
    image = painters[shot.look.background](rng, small, hue, shot.look.background == "dark")
    full = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(full, np.float32) / 255 * np.array(TINTS[shot.look.light], np.float32)
    if shot.look.light == "backlit":
        pixels = pixels + 0.25 * _glow(width, height, 0.62, 0.25, 0.55)[..., None] * np.array([1, 0.95, 0.85])
    grain = rng.normal(0, 0.006, (height, width, 1)).astype(np.float32)
    return np.clip(pixels + grain, 0, 0.97).astype(np.float32)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, min(value, 1.0))
    return int(red * 255), int(green * 255), int(blue * 255)


def _glow(width: int, height: int, x: float, y: float, size: float) -> Array:
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((across / width - x), (down / height - y)) / size
    return np.asarray(np.exp(-(away**2)), np.float32)


def _gradient(size: tuple[int, int], stops: list[tuple[float, tuple[int, int, int]]]) -> Image.Image:
    at = np.linspace(0, 1, size[1])
    column = np.stack([np.interp(at, [s for s, _ in stops], [c[k] for _, c in stops]) for k in range(3)], 1)
    return Image.fromarray(np.repeat(column[:, None], size[0], 1).astype(np.uint8), "RGB")


def _blurred(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * min(image.size)))


def _studio(rng: np.random.Generator, size: tuple[int, int], hue: float, dark: bool) -> Image.Image:
    glow = _glow(*size, 0.5 + rng.uniform(-0.12, 0.12), 0.36, 0.62)[..., None]
    near, far = np.array(_rgb(hue, 0.10, 0.80)), np.array(_rgb(hue, 0.20, 0.42))
    if dark:
        near, far = np.array(_rgb(hue, 0.30, 0.30)), np.array(_rgb(hue, 0.40, 0.10))
    return Image.fromarray((near * glow + far * (1 - glow)).astype(np.uint8), "RGB")


def _lights(
    image: Image.Image,
    rng: np.random.Generator,
    count: int,
    hue: float,
    box: tuple[float, float],
    largest: float = 0.11,
) -> Image.Image:
    width, height = image.size
    for _ in range(count):
        layer = Image.new("L", image.size)
        x, y = rng.uniform(0, width), rng.uniform(box[0], box[1]) * height
        radius = rng.uniform(0.03, largest) * min(width, height)
        ImageDraw.Draw(layer).ellipse([x - radius, y - radius, x + radius, y + radius], fill=int(rng.uniform(40, 120)))
        color = _rgb(hue + rng.uniform(-0.08, 0.08), rng.uniform(0.1, 0.4), 1.0)
        image.paste(color, (0, 0), layer.filter(ImageFilter.GaussianBlur(1.2)))
    return image


def _bokeh(rng: np.random.Generator, size: tuple[int, int], hue: float, _: bool) -> Image.Image:
    base = _gradient(
        size, [(0, _rgb(hue, 0.35, 0.46)), (0.6, _rgb(hue - 0.03, 0.40, 0.34)), (1, _rgb(hue - 0.05, 0.45, 0.20))]
    )
    return _lights(base, rng, 26, hue, (0.02, 0.8))


def _outdoor(rng: np.random.Generator, size: tuple[int, int], hue: float, _: bool) -> Image.Image:
    width, height = size
    image = _gradient(size, [(0, _rgb(hue, 0.38, 0.84)), (0.55, _rgb(hue, 0.12, 0.93)), (1, (220, 220, 205))])
    draw = ImageDraw.Draw(image)
    for k, (level, color) in enumerate(
        ((0.46, (138, 160, 168)), (0.55, (112, 140, 118)), (0.66, (92, 120, 78)), (0.82, (104, 126, 74)))
    ):
        ridge = noise(rng, 2, width, width * (0.32 - 0.05 * k))[0]
        top = (level + 0.13 * (ridge - 0.5)) * height
        draw.polygon([(0, height), *zip(range(width), top.tolist(), strict=True), (width, height)], fill=color)
    return _blurred(image, 0.012)


def _indoor(rng: np.random.Generator, size: tuple[int, int], hue: float, _: bool) -> Image.Image:
    width, height = size
    image = _gradient(
        size,
        [
            (0, _rgb(hue, 0.16, 0.66)),
            (0.75, _rgb(hue, 0.20, 0.56)),
            (0.78, _rgb(hue, 0.36, 0.34)),
            (1, _rgb(hue, 0.36, 0.28)),
        ],
    )
    draw = ImageDraw.Draw(image)
    left = rng.uniform(0.02, 0.10) if rng.random() < 0.5 else rng.uniform(0.62, 0.70)
    x0, x1, y0, y1 = left * width, (left + 0.28) * width, 0.06 * height, 0.58 * height
    draw.rectangle([x0, y0, x1, y1], fill=(238, 242, 244))
    for bar in (0.0, 0.5, 1.0):
        x = x0 + bar * (x1 - x0)
        draw.rectangle([x - 0.008 * width, y0, x + 0.008 * width, y1], fill=(176, 164, 150))
    draw.rectangle([x0, y0 + 0.24 * height, x1, y0 + 0.252 * height], fill=(176, 164, 150))
    shelf = (0.68 if left < 0.4 else 0.08) * width
    for k in range(3):
        y = (0.22 + 0.14 * k) * height
        draw.rectangle([shelf, y, shelf + 0.26 * width, y + 0.012 * height], fill=_rgb(hue, 0.45, 0.34))
        for j in range(5):
            x = shelf + (0.015 + 0.048 * j) * width
            draw.rectangle(
                [x, y - rng.uniform(0.05, 0.09) * height, x + 0.03 * width, y],
                fill=_rgb(rng.uniform(0, 1), 0.28, rng.uniform(0.4, 0.7)),
            )
    return _blurred(image, 0.022)


def _city(rng: np.random.Generator, size: tuple[int, int], hue: float, _: bool) -> Image.Image:
    width, height = size
    image = _gradient(
        size, [(0, _rgb(hue, 0.26, 0.72)), (0.6, _rgb(hue + 0.4, 0.10, 0.80)), (1, _rgb(hue, 0.12, 0.42))]
    )
    draw = ImageDraw.Draw(image)
    for depth in range(2):
        x = -0.02 * width
        while x < width:
            wide, tall = rng.uniform(0.08, 0.16) * width, rng.uniform(0.35, 0.72) * (1 - 0.18 * depth) * height
            draw.rectangle(
                [x, height - tall, x + wide, height], fill=_rgb(hue, 0.14 + 0.06 * depth, 0.58 - 0.18 * depth)
            )
            for _row in range(9):
                wx, wy = x + rng.uniform(0.1, 0.8) * wide, height - rng.uniform(0.1, 0.95) * tall
                draw.rectangle([wx, wy, wx + 0.012 * width, wy + 0.012 * height], fill=(236, 212, 160))
            x += wide * rng.uniform(1.0, 1.25)
    return _lights(_blurred(image, 0.02), rng, 8, 0.1, (0.55, 0.95), 0.06)


def _beach(rng: np.random.Generator, size: tuple[int, int], hue: float, _: bool) -> Image.Image:
    width, height = size
    sky = [(0.0, _rgb(hue, 0.40, 0.86)), (0.44, _rgb(hue, 0.10, 0.95))]
    sea = [(0.445, _rgb(hue - 0.01, 0.46, 0.66)), (0.66, _rgb(hue - 0.05, 0.34, 0.76))]
    image = _gradient(size, [*sky, *sea, (0.68, (236, 226, 204)), (1.0, (206, 184, 146))])
    shine = _glow(width, height, 0.5, 0.52, 0.4) * smoothstep(0.5, 0.8, noise(rng, height, width, 6.0))
    pixels = np.asarray(image, np.float32) + 26 * shine[..., None]
    return _blurred(Image.fromarray(np.clip(pixels, 0, 250).astype(np.uint8), "RGB"), 0.012)
