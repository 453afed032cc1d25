"""Whether a file shows what its pixels say: what a viewer does to them that a decoder leaves out.

Belongs here: frames, transparency, orientation and colour, read from the file's own pieces (a text may claim any of
them in a decoder's notes). `images.decode` gives the first frame as opaque RGB, as it lies and as it is numbered; a
file with those pixels may show another picture, and then it is not that one.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from resources.containers import Container
from resources.xmp import turns

if TYPE_CHECKING:
    from PIL.Image import Image

_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})  # one frame is one too many: it may stand for the still picture
_SCALE = 100_000  # PNG writes gamma and chromaticities as whole numbers of this
_GAMMA, _GAMMA_STEP = 1 / 2.2, 0.005  # sRGB's
_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # sRGB's white, red, green, blue, as in PNG's cHRM
_PRIMARIES_STEP = 0.005
_ASPECT_STEP = 0.01
_MAX_PROFILE = 64 * 1024  # bytes; sRGB's largest official profile has 61 KB
_PROFILE_STEP = 3  # of 255: how far the sRGB profiles of different makers are apart
_LEVELS = (0, 51, 102, 153, 204, 255)
_ORIENTATION = 0x0112
_PROFILES = frozenset({b"iCCP", b"ICCP"})  # PNG's and WebP's; of a JPEG no pixel is ever ours
_EXIF_TEXT = b"Raw profile type exif\0"  # ImageMagick's place for it in a PNG


def alterations(image: Image, file: Container) -> tuple[str, ...]:
    """What makes a viewer show something else than the first frame's RGB pixels; empty for a plain picture."""
    kinds = file.kinds
    there = {
        "frames": getattr(image, "n_frames", 1) > 1 or not _ANIMATION.isdisjoint(kinds),
        "transparency": b"tRNS" in kinds or _transparent(image),
        "orientation": _turned(file),
        "pixel aspect": _stretched(file.body(b"pHYs")),
        "gamma": _far(file.body(b"gAMA"), (_GAMMA,), _GAMMA_STEP),
        "chromaticities": _far(file.body(b"cHRM"), _PRIMARIES, _PRIMARIES_STEP),
        "colour space": b"cICP" in kinds,  # of PNG's third edition; it overrides every other word on colour
        "colour profile": not kinds.isdisjoint(_PROFILES) and not _is_srgb(file.profile),
    }
    return tuple(name for name, is_there in there.items() if is_there)


def orientation(exif: bytes) -> int:
    """How an Exif block asks viewers to turn the picture: 2 to 8; 1, or any other number, is as it lies."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 10:
        return 1
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    count = struct.unpack_from(f"{order}H", block, first)[0] if first + 2 <= len(block) else 0
    table = block[first + 2 : first + 2 + 12 * count]
    for tag, kind, _, value in struct.iter_unpack(f"{order}HHI4s", table[: len(table) // 12 * 12]):
        if tag == _ORIENTATION:
            return int(struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", value)[0])
    return 1


def _transparent(image: Image) -> bool:
    return "A" in image.getbands() and image.getchannel("A").histogram()[255] < image.width * image.height


def _turned(file: Container) -> bool:
    in_text = any(body.startswith(_EXIF_TEXT) for body in file.bodies(b"tEXt", b"zTXt", b"iTXt"))
    return in_text or orientation(file.exif) in range(2, 9) or turns(file.packet)


def _stretched(body: bytes) -> bool:
    if len(body) < 8:
        return False
    across, down = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
    return abs(across - down) > _ASPECT_STEP * max(across, down)


def _far(body: bytes, wanted: tuple[float, ...], step: float) -> bool:
    if len(body) != 4 * len(wanted):
        return bool(body)
    numbers = struct.unpack(f">{len(wanted)}I", body)
    return any(abs(number / _SCALE - one) > step for number, one in zip(numbers, wanted, strict=True))


def _is_srgb(profile: bytes) -> bool:
    """Whether colours come out of it as they went in; what cannot be told is no."""
    from PIL import Image as pil
    from PIL import ImageCms

    if len(profile) > _MAX_PROFILE:
        return False
    colours = bytes(level for r in _LEVELS for g in _LEVELS for b in _LEVELS for level in (r, g, b))
    before = pil.frombytes("RGB", (len(_LEVELS) ** 3, 1), colours)
    try:
        after = ImageCms.profileToProfile(
            before,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return after is not None and max(abs(a - b) for a, b in zip(after.tobytes(), colours, strict=True)) <= _PROFILE_STEP
