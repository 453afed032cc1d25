"""Bytes of pictures: decode within limits, hash pixels, mark as AI-made, read the mark, make thumbnails.

Belongs here: what can be said about one picture from its bytes alone. Who is in it, whether it may be used and where
it is kept are questions for others. Worker output is hostile until `decode` returned.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from resources import containers, xmp
from resources.appearance import alterations, orientation
from resources.containers import PNG_MAGIC, Container, TooManyParts

if TYPE_CHECKING:
    from PIL.Image import Image

SourceType = Literal["algorithmicMedia", "trainedAlgorithmicMedia"]
Format = Literal["PNG", "JPEG", "WEBP"]

MAX_BYTES = 64 * 1024 * 1024  # a 4096x4096 RGB PNG of pure noise is 50 MB; nothing we ask for is near it
MAX_PIXELS = 4096 * 4096  # the largest picture any of our workflows can ask for
BLANK_STD = 3.0  # luma standard deviation; NaN latents come back all black (ComfyUI issues 9046, 4241, 14743)
BLANK_SPREAD = 8.0  # p99 - p1 of luma, same source
_XMP_KEY = "XML:com.adobe.xmp"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME"})  # what a PNG is recognised without, where it is damaged
_ENCODINGS: dict[Format, dict[str, Any]] = {
    "PNG": {"compress_level": 1},  # 4x faster than the default for 15 % more bytes on our pictures
    "JPEG": {"quality": 92},
    "WEBP": {"quality": 82},
}


@dataclass(frozen=True)
class Description:
    """What a readable file says of itself. Anyone can write any of it: claims, not proof."""

    format: str
    width: int  # pixels
    height: int
    source: str  # IPTC DigitalSourceType, the last word of its URI; empty: no mark
    tool: str  # xmp:CreatorTool
    texts: tuple[str, ...]  # names of what else travels in the file: prompt, workflow, exif, icc_profile, frames
    alters: tuple[str, ...]  # those that make it show something else than its decoded pixels


class ImageRejected(Exception):
    """Bytes that are not the picture that was asked for; `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def decode(data: bytes, *, size: tuple[int, int] | None = None) -> Image:
    """Return the RGB picture in `data` (PNG, JPEG or WebP), fully decoded and without any metadata.

    Raises ImageRejected: `too_large`, `unreadable` (not a picture, truncated), `wrong_size` (not `size`).
    """
    with _opened(data) as opened:
        image = _rgb(opened.image)
    if size is not None and image.size != size:
        raise ImageRejected("wrong_size", f"{image.width}x{image.height} came back, {size[0]}x{size[1]} was asked for")
    return image


def plain(data: bytes) -> Image:
    """As `decode`, of a file that shows these pixels and nothing else.

    Raises ImageRejected, `altered` for one with more frames, transparency, orientation or colours of its own.
    """
    with _opened(data) as opened:
        alters = alterations(opened.image, opened.file)
        image = _rgb(opened.image)
    if alters:
        raise ImageRejected("altered", f"the file shows something else than its pixels ({', '.join(alters)})")
    return image


def as_shown(data: bytes) -> tuple[Image, SourceType | None]:
    """The RGB picture as a viewer shows it, turned as its EXIF orientation says, and its AI mark. Raises ImageRejected.

    Of what we make it is what `decode` returns: we write no EXIF.
    """
    with _opened(data) as opened:
        return _rgb(_turned(opened)), _known(xmp.source_of(opened.file.packet))


def pixels_sha256(image: Image) -> str:
    """Hash of the decoded pixels: the same picture has it in every container, whatever its metadata."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def is_blank(image: Image) -> bool:
    """True for a picture without content (ComfyUI turns NaN latents into black and reports success)."""
    std, low, _, high = luma_spread(image.convert("L"))
    return std < BLANK_STD or high - low < BLANK_SPREAD


def luma_spread(grey: Image) -> tuple[float, int, int, int]:
    """Of a picture in mode L: standard deviation, first percentile, median and 99th, by its histogram alone."""
    import numpy as np

    counts = np.asarray(grey.histogram(), dtype=np.float64)
    share, values = counts / counts.sum(), np.arange(256)
    std = float(share @ (values - share @ values) ** 2) ** 0.5
    low, median, high = (int(value) for value in np.searchsorted(share.cumsum(), (0.01, 0.5, 0.99)))
    return std, low, median, high


def mark(image: Image, *, source: SourceType, tool: str, original: str = "", as_format: Format = "PNG") -> bytes:
    """Encode `image` with the IPTC DigitalSourceType in XMP; nothing else travels in the file.

    `original` is the pixels_sha256 of the picture that this is, or was made from: it names it after a re-encoding too.
    Whoever saves the file again drops the mark, so this is the last change of its pixels.
    """
    from PIL.PngImagePlugin import PngInfo

    text, how = xmp.packet(source, tool, original), dict(_ENCODINGS[as_format])
    if as_format == "PNG":  # Pillow ignores `xmp=` there
        info = PngInfo()
        info.add_itxt(_XMP_KEY, text)
        how["pnginfo"] = info
    else:
        how["xmp"] = text.encode()
    out = io.BytesIO()
    image.save(out, format=as_format, **how)
    return out.getvalue()


def describe(data: bytes) -> Description:
    """What the file says of itself. Raises ImageRejected."""
    with _opened(data) as opened:
        image, file = opened
        text, alters = file.packet, alterations(image, file)
        baggage = {_printable(str(key)) for key, value in image.info.items() if _is_baggage(key, value)}
        if file.exif:
            baggage.add("exif")
        return Description(
            format=image.format or "",
            width=image.width,
            height=image.height,
            source=xmp.source_of(text),
            tool=_printable(xmp.tool_of(text)),
            texts=(*alters, *sorted(baggage - set(alters)))[:20],
            alters=alters,
        )


def read_mark(data: bytes) -> SourceType | None:
    """The AI mark found in stored bytes, or None where there is no (known) mark."""
    try:
        source = describe(data).source
    except ImageRejected:
        return None
    return _known(source)


def claimed_original(data: bytes) -> str:
    """The pixels_sha256 that a file names as its original, in whatever spelling; a damaged file is searched too.

    Empty where there is none. It says what the file claims to be; whether it is, its pixels say.
    """
    with suppress(TooManyParts):
        if found := xmp.original_of(containers.opened(data).packet.encode()):
            return found
    return xmp.original_of(data)


def salvaged(data: bytes) -> bytes:
    """A PNG without its texts, every check sum made anew: damaged, it can be decoded, and so recognised, again.

    Other bytes come back as they are. Which bytes were damaged is not known: never store or serve what comes out.
    """
    if not data.startswith(PNG_MAGIC):
        return data
    kept = [PNG_MAGIC]
    with suppress(TooManyParts):
        for part in containers.opened(data).parts:
            if part.kind not in _TEXTS:
                named = part.kind + data[part.start : part.end]
                kept += [(len(named) - 4).to_bytes(4), named, zlib.crc32(named).to_bytes(4)]
    return b"".join(kept)


def thumbnail(data: bytes, *, px: int = 160) -> bytes:
    """A WebP of at most `px` x `px`, marked like its original.

    Raises ImageRejected, also for a picture without a mark (`unmarked`): what it would have to say is not known.
    """
    image, source = decode(data), read_mark(data)
    if source is None:
        raise ImageRejected("unmarked", "the picture carries no AI mark, so its thumbnail cannot")
    original = claimed_original(data) or pixels_sha256(image)
    image.thumbnail((px, px))
    return mark(image, source=source, tool="RYLA Assets thumbnail", original=original, as_format="WEBP")


class _Opened(NamedTuple):
    image: Image
    file: Container


@contextmanager
def _opened(data: bytes) -> Iterator[_Opened]:
    """The loaded picture in `data`, within our limits; raises ImageRejected, also for what fails inside the block."""
    from PIL import Image as pil

    if len(data) > MAX_BYTES:
        raise ImageRejected("too_large", f"{len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        file = containers.opened(data)
        with pil.open(io.BytesIO(file.for_a_decoder()), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRejected("too_large", f"{image.width}x{image.height}; at most {MAX_PIXELS} pixels are read")
            image.load()
            yield _Opened(image, file)
    except TooManyParts as error:
        raise ImageRejected("too_large", f"{error}; no more are read") from error
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise ImageRejected("too_large", f"at most {MAX_PIXELS} pixels are read: {error}") from error
    except (OSError, ValueError, SyntaxError, UserWarning) as error:
        raise ImageRejected("unreadable", f"not a readable PNG, JPEG or WebP ({type(error).__name__})") from error


def _rgb(image: Image) -> Image:
    image.info.pop("transparency", None)  # it changes no RGB, a text may claim it, and Pillow stumbles over its words
    made = image.convert("RGB")
    made.info.clear()  # else Pillow writes a worker's colour profile into every file made from this picture
    return made


def _turned(opened: _Opened) -> Image:
    """As the EXIF orientation says; a broken or unknown one says nothing."""
    from PIL.Image import Transpose as Turn

    turn = {
        2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
        6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
    }.get(orientation(opened.file.exif))  # fmt: skip
    return opened.image if turn is None else opened.image.transpose(turn)


def _known(source: str) -> SourceType | None:
    if source == "trainedAlgorithmicMedia":
        return "trainedAlgorithmicMedia"
    return "algorithmicMedia" if source == "algorithmicMedia" else None


def _printable(text: str) -> str:
    """A stranger's text, safe to show on a terminal."""
    return "".join(letter for letter in text[:200] if letter.isprintable())


def _is_baggage(key: object, value: object) -> bool:
    """Whether an entry of Pillow's info is something that somebody put into the file, beside pixels and XMP."""
    written = isinstance(value, str | bytes) and key not in ("xmp", _XMP_KEY, "jfif_version", "background")
    return written and isinstance(key, str)
