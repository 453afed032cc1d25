"""What goes wrong with files of many pieces: minutes of a decoder for a few megabytes, a warning for a broken tag."""

from __future__ import annotations

import io
import re
import struct
import sys
import warnings
import zlib
from typing import Any

import pytest
from PIL import Image

from resources import containers, content_credentials, images
from resources.containers import MAX_PARTS, MAX_SCANS
from tests.fakes.scripted_backend import picture


def encoded(**how: Any) -> bytes:
    """A small picture's bytes."""
    out = io.BytesIO()
    images.decode(picture(64, 48)).save(out, **how)
    return out.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(kind: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


PNG, JPEG, WEBP = encoded(format="PNG"), encoded(format="JPEG"), encoded(format="WEBP", lossless=True)
PROGRESSIVE = encoded(format="JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
MANY = MAX_PARTS + 1


@pytest.mark.parametrize(
    "data",
    [
        PNG[:33] + chunk(b"tEXt", b"a\0b") * MANY + PNG[33:],
        PNG[:33] + chunk(b"IDAT") * MANY + PNG[33:],
        JPEG[:2] + segment(0xFE, b"") * MANY + JPEG[2:],
        JPEG[:2] + b"\xff" * MANY + JPEG[2:],
        JPEG[:2] + b"\xff\xd9" + b"\1" * MANY + JPEG[2:],
        JPEG[:-2] + b"\xff" * 2 * MANY + JPEG[-2:],
        JPEG[:-2] + b"\xff" * 2 * MANY,
        PROGRESSIVE[:-2] + SCAN * MAX_SCANS + PROGRESSIVE[-2:],
        WEBP + b"aaaa\0\0\0\0" * MANY,
    ],
    ids=["texts", "empty pixels", "comments", "fill", "rubbish", "fill in a scan", "fill at the end", "scans", "webp"],
)
def test_file_of_too_many_pieces_reaches_no_decoder(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by their headers, and refused before Pillow opens it: it would read each by itself."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a decoder was asked"))
    for ask in (images.decode, images.describe, images.plain):
        with pytest.raises(images.ImageRejected, match="no more are read") as caught:
            ask(data)
        assert caught.value.reason == "too_large"
    images.salvaged(data)
    assert images.claimed_original(data) == ""


@pytest.mark.parametrize("extra", [chunk(b"aaAa"), chunk(b"caBX", b"jumbc2pa")], ids=["empty", "manifests"])
def test_file_of_too_many_pieces_reaches_no_verifier(extra: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever checks signatures looks at every piece, too."""
    monkeypatch.setitem(sys.modules, "c2pa", None)  # importing it fails
    found = content_credentials.read(PNG[:33] + chunk(b"tEXt", b"jumbc2pa\0x") + extra * MANY + PNG[33:])
    assert (found.state, "not looked at" in found.reason) == ("unchecked", True)


def test_pieces_that_encoders_write_are_read() -> None:
    """Progressive scans, an IDAT for 8 KB of noise, a picture behind the picture: ordinary files."""
    for data in (PNG, JPEG, PROGRESSIVE, WEBP, JPEG + b"\0" * MANY + JPEG):
        assert images.decode(data).size == (64, 48)
    assert len(re.findall(b"\xff\xda", PROGRESSIVE)) > 5
    assert containers.MAX_PARTS * 8192 > images.MAX_BYTES


def test_hostile_tags_are_not_read_at_all() -> None:
    """5,000 tags of 60 KB each would be copied one by one: a decoder is not shown them, and warns of nothing."""
    tags = b"".join(struct.pack("<HHII", number, 7, 60_000, 8) for number in range(1, 5001))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + tags
    data = JPEG[:2] + segment(0xE1, exif) + segment(0xE2, b"MPF\0rubbish") + JPEG[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = images.describe(data)
    assert "exif" in found.texts
    assert exif[:30] not in containers.opened(data).for_a_decoder()
    assert images.pixels_sha256(images.decode(data)) == images.pixels_sha256(images.decode(JPEG))


@pytest.mark.parametrize("key", ["transparency", "gamma", "dpi", "icc_profile", "exif", "chromaticity"])
def test_text_under_a_decoder_s_own_name_is_a_text(key: str) -> None:
    """Pillow keeps texts where it keeps numbers: a word in such a place breaks nothing, and changes no looks."""
    data = PNG[:33] + chunk(b"tEXt", key.encode() + b"\0word") + PNG[33:]
    assert images.describe(data).alters == ()
    assert images.plain(data).size == (64, 48)


def test_packet_is_found_in_every_format() -> None:
    """Where the marks are: plain or deflated text, a segment, a chunk; of a deflated megabyte a part is looked at."""
    for as_format in ("PNG", "JPEG", "WEBP"):
        data = images.mark(images.decode(PNG), source="algorithmicMedia", tool="t", as_format=as_format)  # type: ignore[arg-type]
        assert "algorithmicMedia" in containers.opened(data).packet
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 10_000_000)
    assert len(containers.opened(PNG[:33] + chunk(b"iTXt", packed) + PNG[33:]).packet) == containers.MAX_TEXT
    assert containers.opened(PNG[:33] + chunk(b"iTXt", packed[:22] + b"rubbish") + PNG[33:]).packet == ""
