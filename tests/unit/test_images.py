"""Bytes that pretend to be pictures, and the mark that says who made them."""

import io
import struct
import time
import zlib
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from resources import images
from resources.images import ImageRejected, decode, is_blank, mark, pixels_sha256, read_mark, thumbnail
from tests.fakes.scripted_backend import picture, png

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def saved(image: Image.Image, **how: Any) -> bytes:
    """A picture's bytes in any format."""
    out = io.BytesIO()
    image.save(out, **how)
    return out.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    """A picture with content."""
    return decode(picture(width, height))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a huge picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("how", [{"format": "PNG"}, {"format": "WEBP", "lossless": True}], ids=["png", "webp"])
def test_same_pixels_have_the_same_hash_in_every_container(how: dict[str, Any]) -> None:
    """Lineage goes by pixels, whatever a file was saved as."""
    assert pixels_sha256(decode(saved(noise(), **how))) == pixels_sha256(noise())
    assert pixels_sha256(noise(48, 64)) != pixels_sha256(noise(64, 48))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1", "P", "I;16", "CMYK"])
def test_every_kind_of_pixel_is_read_as_rgb(mode: str) -> None:
    """A worker may save with alpha or a palette; what is judged is always RGB."""
    image = Image.new("I;16", (64, 48)) if mode == "I;16" else noise().convert(mode)
    read = decode(saved(image, format="JPEG" if mode == "CMYK" else "PNG"))
    assert (read.mode, read.size) == ("RGB", (64, 48))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"<html>502 Bad Gateway</html>", "unreadable"),
        (saved(Image.new("RGB", (8, 8)), format="GIF"), "unreadable"),
        (saved(Image.new("RGB", (8, 8)), format="TIFF"), "unreadable"),
        (picture(64, 48)[:-40], "unreadable"),
        (saved(Image.new("RGB", (64, 64), "red"), format="JPEG")[:-300], "unreadable"),
        (bomb(64, 64), "unreadable"),
        (bomb(4097, 4096), "too_large"),
        (bomb(10_000, 10_000), "too_large"),
        (bomb(60_000, 60_000), "too_large"),
    ],
    ids=["empty", "html", "gif", "tiff", "cut png", "cut jpeg", "no pixels", "over", "pillow warns", "pillow refuses"],
)
def test_what_is_no_picture_of_ours_is_refused(data: bytes, reason: str) -> None:
    """Each with a stable reason, and never with another exception or a warning."""
    with pytest.raises(ImageRejected) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert read_mark(data) is None


def test_file_of_too_many_bytes_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit comes before the decoder."""
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(ImageRejected, match="at most 100 are read") as caught:
        decode(picture(64, 48))
    assert caught.value.reason == "too_large"


def test_damaged_bytes_never_raise_anything_else() -> None:
    """Six hundred ways to break a file: a picture or ImageRejected, nothing else."""
    rng = np.random.default_rng(3)
    for how in ("PNG", "JPEG", "WEBP"):
        good = np.frombuffer(saved(noise(), format=how), np.uint8)
        for number in range(200):
            broken = good.copy()
            where = rng.integers(0, min(len(broken), 120 if number % 2 else len(broken)), 4)
            broken[where] = rng.integers(0, 256, 4)
            data = broken.tobytes()[: rng.integers(1, len(broken)) if number % 3 == 0 else len(broken)]
            read_mark(data)
            try:
                decode(data)
            except ImageRejected as error:
                assert error.reason in ("unreadable", "too_large")  # noqa: PT017  most of them are refused


def test_other_size_than_asked_for_is_refused() -> None:
    """With both sizes in the message."""
    assert decode(picture(64, 48), size=(64, 48)).size == (64, 48)
    with pytest.raises(ImageRejected, match="64x48 came back, 48x64 was asked for") as caught:
        decode(picture(64, 48), size=(48, 64))
    assert caught.value.reason == "wrong_size"


def test_blank_pictures_are_recognised() -> None:
    """All black, all white, one colour with a whisper of noise; but not a dark picture with something in it."""
    for color in ("black", "white", (40, 80, 120)):
        assert is_blank(Image.new("RGB", (64, 64), color))
    whisper = np.full((64, 64, 3), 100) + np.random.default_rng(0).integers(-2, 3, (64, 64, 3))
    assert is_blank(Image.fromarray(whisper.astype(np.uint8)))
    dark = np.zeros((64, 64, 3), np.uint8)
    dark[20:40, 20:40] = 60
    assert not is_blank(Image.fromarray(dark))
    assert not is_blank(noise())


@pytest.mark.parametrize("source", ["algorithmicMedia", "trainedAlgorithmicMedia"])
def test_mark_is_read_back_from_png_and_thumbnail(source: images.SourceType) -> None:
    """The stored file and its thumbnail both say how they were made; the pixels stay."""
    marked = mark(noise(), source=source, tool='RYLA "Assets" <&>')
    assert read_mark(marked) == source
    assert pixels_sha256(decode(marked)) == pixels_sha256(noise())
    small = thumbnail(marked, px=32)
    assert read_mark(small) == source
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("WEBP", (32, 24))


@pytest.mark.parametrize("as_format", ["PNG", "JPEG", "WEBP"])
def test_mark_is_read_back_from_every_format(as_format: images.Format) -> None:
    """Written last and read from the bytes, with the name of the original; nothing else is in the file."""
    data = mark(noise(), source="trainedAlgorithmicMedia", tool="RYLA Assets", original="a1" * 32, as_format=as_format)
    found = images.describe(data)
    assert (read_mark(data), found.source) == ("trainedAlgorithmicMedia",) * 2
    assert (found.format, found.width, found.height) == (as_format, 64, 48)
    assert (found.tool, found.texts) == ("RYLA Assets", ())
    assert images.claimed_original(data) == "a1" * 32


def test_thumbnail_names_its_original() -> None:
    """Also where the original names none: an older file."""
    pixels = pixels_sha256(noise())
    for original in ("", pixels):
        data = mark(noise(), source="algorithmicMedia", tool="t", original=original)
        assert images.claimed_original(thumbnail(data, px=32)) == pixels


@pytest.mark.parametrize(
    "written",
    [
        '<D Iptc4xmpExt:DigitalSourceType="{}"/>',
        "<D Iptc4xmpExt:DigitalSourceType = '{}'/>",
        "<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>",
        '<Iptc4xmpExt:DigitalSourceType rdf:resource="{}"/>',
    ],
    ids=["attribute", "quotes", "element", "resource"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_other_peoples_spelling_of_the_mark_is_read(written: str, scheme: str) -> None:
    """XMP may say the same in several ways; a foreign file's mark is told as it is."""
    info = PngImagePlugin.PngInfo()
    uri = f"{scheme}://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    info.add_itxt("XML:com.adobe.xmp", written.format(uri))
    data = saved(noise(), format="PNG", pnginfo=info)
    assert images.describe(data).source == "compositeWithTrainedAlgorithmicMedia"
    assert read_mark(data) is None


def test_hostile_packet_takes_no_time() -> None:
    """A megabyte of almost-marks is searched in milliseconds."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", ("DigitalSourceType " + " " * 50) * 12_000)
    data = saved(noise(), format="PNG", pnginfo=info)
    begun = time.perf_counter()
    assert images.describe(data).source == ""
    assert time.perf_counter() - begun < 0.5


def test_png_with_damaged_text_is_decoded_again() -> None:
    """Only to recognise it: the pixels are those that were."""
    good = mark(noise(), source="algorithmicMedia", tool="t")
    damaged = good.replace(b"algorithmicMedia", b"algorithmicMedic")
    with pytest.raises(ImageRejected):
        decode(damaged)
    assert pixels_sha256(decode(images.salvaged(damaged))) == pixels_sha256(noise())
    for data in (b"", b"\x89PNG\r\n\x1a\n", good[:50], b"\x89PNG\r\n\x1a\n" + b"\xff" * 400, b"no png"):
        images.salvaged(data)


def test_mark_is_well_formed_xmp() -> None:
    """Other people's tools read it too: it is XML with the IPTC property."""
    with Image.open(io.BytesIO(mark(noise(), source="algorithmicMedia", tool='a "b" <c>'))) as image:
        [described] = ElementTree.fromstring(image.info["xmp"]).iter(RDF + "Description")
    source = described.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
    assert described.get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == 'a "b" <c>'


@pytest.mark.parametrize("as_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_shown_as_its_exif_says(as_format: str, orientation: int) -> None:
    """In all eight ways, as Pillow's own ImageOps turns it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(noise(), format=as_format, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    shown, mark = images.as_shown(data)
    assert images.pixels_sha256(shown) == images.pixels_sha256(expected)
    assert mark is None


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_turns_nothing(orientation: int) -> None:
    """And a broken EXIF block is no reason to refuse a picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for data in (saved(noise(), format="PNG", exif=exif), saved(noise(), format="PNG", exif=b"MM not a TIFF")):
        assert images.pixels_sha256(images.as_shown(data)[0]) == images.pixels_sha256(noise())


def test_what_is_shown_says_its_mark() -> None:
    """From the one reading of the file; and of ours it is the pixels that are stored."""
    data = images.mark(noise(), source="trainedAlgorithmicMedia", tool="x")
    shown, mark = images.as_shown(data)
    assert (images.pixels_sha256(shown), mark) == (images.pixels_sha256(noise()), "trainedAlgorithmicMedia")


def test_mark_is_gone_after_a_plain_save_again() -> None:
    """What re-encodes our files drops the mark: that is why a check re-reads stored bytes."""
    marked = mark(noise(), source="algorithmicMedia", tool="t")
    with Image.open(io.BytesIO(marked)) as image:
        image.load()
        for how in ("PNG", "JPEG", "WEBP"):
            assert read_mark(saved(image, format=how)) is None
    assert read_mark(png(decode(marked))) is None


@pytest.mark.parametrize("text", ["", "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture", "\x00", "%PDF"])
def test_unknown_mark_is_no_mark(text: str) -> None:
    """A camera's word for itself is not ours."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<x Iptc4xmpExt:DigitalSourceType="{text}"/>')
    assert read_mark(saved(noise(), format="PNG", pnginfo=info)) is None


def test_nothing_of_the_workers_file_but_its_pixels_is_kept() -> None:
    """Colour profile, prompt text, Exif and comments of a worker do not travel into our files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "secret words")
    theirs = saved(
        noise(), format="PNG", pnginfo=info, icc_profile=profile, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    )
    kept = mark(decode(theirs), source="algorithmicMedia", tool="t")
    for ours in (kept, thumbnail(kept)):
        assert not [word for word in (b"iCCP", b"ICCP", b"secret", b"prompt", b"xIf", b"EXIF") if word in ours]
    assert mark(decode(theirs), source="algorithmicMedia", tool="t") == mark(
        decode(picture(64, 48)), source="algorithmicMedia", tool="t"
    )


def test_picture_without_a_mark_has_no_thumbnail() -> None:
    """Nothing leaves without a mark, and none is guessed: a model's picture would be called a procedure's."""
    with pytest.raises(ImageRejected, match="no AI mark") as caught:
        thumbnail(picture(64, 48))
    assert caught.value.reason == "unmarked"
    with pytest.raises(ImageRejected):
        thumbnail(b"no picture")
