"""What goes wrong with files that share our pixels or our name: vouched for though they show another, or denied."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from resources import images
from ryla_assets.studio.studio import Studio
from tests.unit.test_inspect import MARA, Makes, Opens, drawn, made, seen, stored


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio with one character; no job is run here."""
    opened = open_studio()
    make_character(opened, MARA)
    return opened


def other_frame(as_format: str) -> Callable[[Image.Image], bytes]:
    """Our picture first, and somebody else's after it."""

    def make(image: Image.Image) -> bytes:
        how = {"lossless": True} if as_format == "WEBP" else {}
        return encoded(image, format=as_format, save_all=True, append_images=[drawn(77)], duration=40, **how)

    return make


def behind(alpha: int) -> Callable[[Image.Image], bytes]:
    """Our pixels, seen through: what lies behind the file is shown."""

    def make(image: Image.Image) -> bytes:
        image = image.convert("RGBA")
        image.putalpha(alpha)
        return encoded(image, format="PNG")

    return make


def with_chunk(kind: bytes, body: bytes) -> Callable[[Image.Image], bytes]:
    """Our pixels under a chunk that tells a viewer what to make of them."""
    return lambda image: inserted(encoded(image, format="PNG"), kind, body)


def inserted(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]


def encoded(image: Image.Image, **how: Any) -> bytes:
    """A picture's bytes."""
    out = io.BytesIO()
    image.save(out, **how)
    return out.getvalue()


def turned(as_format: str) -> Callable[[Image.Image], bytes]:
    """Our pixels, to be shown upside down."""

    def make(image: Image.Image) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = 3
        return encoded(
            image, format=as_format, exif=exif.tobytes(), **({"lossless": True} if as_format == "WEBP" else {})
        )

    return make


def profiled(image: Image.Image) -> bytes:
    """Our pixels, to be read as another colour space's."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    return encoded(image, format="PNG", icc_profile=profile)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (other_frame("PNG"), "frames"),
        (other_frame("WEBP"), "frames"),
        (with_chunk(b"acTL", struct.pack(">II", 1, 0)), "frames"),
        (behind(0), "transparency"),
        (behind(200), "transparency"),
        (with_chunk(b"tRNS", struct.pack(">HHH", 0, 0, 0)), "transparency"),
        (turned("PNG"), "orientation"),
        (turned("WEBP"), "orientation"),
        (with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<D tiff:Orientation='6'/>"), "orientation"),
        (with_chunk(b"gAMA", struct.pack(">I", 1_000_000)), "gamma"),
        (with_chunk(b"cHRM", struct.pack(">8I", *[30_000] * 8)), "chromaticities"),
        (with_chunk(b"pHYs", struct.pack(">IIB", 1, 9, 0)), "pixel aspect"),
        (with_chunk(b"cICP", bytes([9, 16, 0, 1])), "colour space"),
        (profiled, "colour profile"),
    ],
    ids=["apng", "webp frames", "one frame apart", "clear", "half clear", "colour key", "turned png", "turned webp",
         "turned by xmp", "gamma 10", "primaries", "aspect", "hdr", "profile"],
)  # fmt: skip
def test_file_that_shows_something_else_is_not_vouched_for(
    studio: Studio, make: Callable[[Image.Image], bytes], named: str
) -> None:
    """Its first frame has our pixels: it is ours by its own word only, and what changes its looks is named."""
    manifest = made(studio, 1)
    data = make(images.decode(stored(studio, manifest)))
    assert images.pixels_sha256(images.decode(data)) == manifest.images[0].pixels_sha256, "the trick is on the pixels"
    found = seen(studio, data)
    assert (found.verdict, found.ours, found.intact, found.looks_alike) == ("changed", "claimed", False, None)
    assert f"shows something else by its {named}" in found.reason
    assert named in found.texts
    assert found.origin is not None
    with pytest.raises(images.ImageRejected, match=named):
        images.plain(data)


@pytest.mark.parametrize(
    "make",
    [
        behind(255),
        with_chunk(b"gAMA", struct.pack(">I", 45_455)),
        with_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        with_chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        with_chunk(b"sRGB", b"\0"),
        lambda image: encoded(
            image, format="PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        ),
        lambda image: encoded(image.convert("RGBA"), format="WEBP", lossless=True),
    ],
    ids=["opaque", "sRGB's gamma", "72 dpi", "sRGB's primaries", "sRGB", "sRGB's profile", "webp"],
)
def test_what_changes_no_looks_is_re_saved(studio: Studio, make: Callable[[Image.Image], bytes]) -> None:
    """Editors write these into every file that they save."""
    found = seen(studio, make(images.decode(stored(studio, made(studio, 1)))))
    assert (found.verdict, found.ours) == ("re-saved", "yes"), found.reason


def test_damaged_text_hides_no_second_frame(studio: Studio) -> None:
    """A file that must be salvaged is asked for frames too: browsers show it all the same."""
    two = other_frame("PNG")(images.decode(stored(studio, made(studio, 1))))
    broken = inserted(two, b"tEXt", b"a\0b").replace(b"tEXta\0b", b"tEXta\0c")
    found = seen(studio, broken)
    assert (found.verdict, found.ours) == ("changed", "claimed")
    assert "frames" in found.reason


# ---- what others write


def restated(studio: Studio, spell: Callable[[str], str], *, compressed: bool = False) -> bytes:
    """Another picture's pixels under the mark of ours, spelled otherwise."""
    info = PngImagePlugin.PngInfo()
    original = f"xmp.did:{made(studio, 1).images[0].pixels_sha256}"
    info.add_itxt("XML:com.adobe.xmp", f"<rdf:Description>{spell(original)}</rdf:Description>", zip=compressed)
    return encoded(drawn(3), format="PNG", pnginfo=info)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    "spell",
    [
        lambda name: f'<D xmpMM:OriginalDocumentID="{name}"/>',
        lambda name: f"<D xmpMM:OriginalDocumentID = '{name}'/>",
        lambda name: f"<xmpMM:OriginalDocumentID>{name}</xmpMM:OriginalDocumentID>",
        lambda name: f"<x:OriginalDocumentID>\n  {name}\n</x:OriginalDocumentID>",
    ],
    ids=["attribute", "single quotes", "element", "element on lines"],
)
def test_name_of_its_original_is_read_in_every_spelling(
    studio: Studio, spell: Callable[[str], str], compressed: bool
) -> None:
    """exiftool and Adobe write elements, others single quotes or a compressed packet: the claim is the same."""
    found = seen(studio, restated(studio, spell, compressed=compressed))
    assert (found.verdict, found.ours) == ("changed", "claimed")
