"""One picture of one person: places the camera, collects the surfaces, lights them and writes the caption.

Belongs here: composition. Does not belong here: any single part (head, hair, body, background, shading).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resources.gpu.backends.preview import body, face, hair, head
from resources.gpu.backends.preview.background import background
from resources.gpu.backends.preview.clothes import Wardrobe
from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.look import Look, Shot, shot
from resources.gpu.backends.preview.paint import Array
from resources.gpu.backends.preview.raster import View, visible
from resources.gpu.backends.preview.shading import SKIN_PARTS, Studio, develop, occlusion
from resources.gpu.backends.preview.surfaces import Part, rotation

CAPTION = "procedural preview"
MIN_SIDE, MAX_SIDE = 256, 2048


def render(identity: Identity, look: Look, width: int, height: int) -> Image.Image:
    """An RGB picture of `identity`, `width` x `height` pixels, each a multiple of 8 from 256 to 2048.

    The same arguments give the same pixels, in any process. ValueError names a side that does not fit.
    """
    for name, side in (("width", width), ("height", height)):
        if side % 8 or not MIN_SIDE <= side <= MAX_SIDE:
            raise ValueError(f"{name} is {side}; it must be a multiple of 8 from {MIN_SIDE} to {MAX_SIDE}")
    scene = shot(look)
    sampling = _oversampling(width, height)
    view = _view(scene, int(width * sampling), int(height * sampling))
    pixels = _draw(identity, scene, view)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    _caption(image)
    return image


def _oversampling(width: int, height: int) -> float:
    """More samples a pixel for small pictures, so that each costs about the same."""
    return float(np.clip(np.sqrt(520_000 / (width * height)), 1.0, 1.5))


def _view(scene: Shot, width: int, height: int) -> View:
    framing = scene.look.framing
    if framing == "full-body":
        tall = 13.6 if scene.look.posture == "sitting" else 15.0
        scale = 0.90 * min(height / tall, width / 5.6) * scene.zoom
        return View(width, height, scale, width * 0.5, height * 0.5 - scale * (tall / 2 - 1.25))
    short = min(width, height * 0.84)
    scale = (0.285 if framing == "close-up" else 0.205) * short * scene.zoom
    top = 0.42 if framing == "close-up" else 0.33
    if height > 1.25 * width:
        top -= 0.05
    return View(width, height, scale, width * 0.5 + scene.shift[0] * scale, height * top + scene.shift[1] * scale)


def _draw(identity: Identity, scene: Shot, view: View) -> Array:
    face_scale = int(np.clip(np.ceil(view.scale * 1.25 / 32) * 32, 64, 512))
    canvas = face.texture(identity, scene.smile, scene.gaze, face_scale)
    wardrobe = Wardrobe(identity, scene)
    studio = Studio(identity, scene.light, canvas, wardrobe)
    seen, depth = visible(_parts(identity, scene), view)
    hairy = np.zeros(depth.size, np.float32)
    for one in seen:
        if one.part.material == "hair":
            hairy[one.pixels] = 1
    shadow = occlusion(depth, hairy.reshape(depth.shape), view.scale, studio.key).ravel()
    out = background(scene, view.width, view.height).reshape(-1, 3)
    for one in seen:
        out[one.pixels] = develop(studio.shade(one, shadow[one.pixels]), scene.light.exposure)
    return out.reshape(view.height, view.width, 3)


def _parts(identity: Identity, scene: Shot) -> list[Part]:
    turn = rotation(scene.yaw, scene.pitch, scene.roll)
    follow = 0.35 if abs(scene.yaw) < 45 else 0.92
    stand = rotation(scene.yaw * follow, 0, scene.roll * 0.2)
    parts = [_turned(part, turn) for part in _head_parts(identity, round(scene.smile, 3))]
    figure = [body.torso(identity), *body.arms(identity, scene.look.posture)]
    if scene.look.framing == "full-body":
        figure += body.legs(identity, scene.look.posture)
        if scene.look.posture == "sitting":
            figure.append(body.stool())
    return parts + [_turned(part, stand) for part in figure]


@lru_cache(maxsize=4)
def _head_parts(identity: Identity, smile: float) -> tuple[Part, ...]:
    points, data = head.skull(identity, smile)
    ears = []
    for side in (-1, 1):
        shape, ring = head.ear(identity, side)
        ears.append(Part("ear", shape, ring))
        if identity.piercings[0] >= 0.5:
            ears.append(_earring(shape))
    return (Part(SKIN_PARTS[0], points, data), *ears, *hair.parts(identity))


def _earring(ear: Array) -> Part:
    from resources.gpu.backends.preview.surfaces import ball

    x, y, z = (float(v) for v in (ear[..., 0].mean(), ear[..., 1].max(), ear[..., 2].mean()))
    points, data = ball((x, y + 0.03, z + 0.06), (0.035, 0.045, 0.035))
    return Part("earring", points, data)


def _turned(part: Part, turn: Array) -> Part:
    return Part(part.material, (part.points @ turn.T).astype(np.float32), part.data, part.mask)


def _caption(image: Image.Image) -> None:
    """Write the caption into the lower left corner, small, on a dark strip of its own."""
    size = max(9, round(min(image.size) * 0.021))
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(CAPTION)
    pad = max(2, size // 3)
    wide, tall = int(right - left) + 2 * pad, int(bottom - top) + 2 * pad
    y = image.height - tall
    strip = image.crop((0, y, wide, image.height)).point([v * 2 // 5 for v in range(256)] * 3)
    image.paste(strip, (0, y))
    ImageDraw.Draw(image).text((pad - left, y + pad - top), CAPTION, font=font, fill=(225, 225, 225))
