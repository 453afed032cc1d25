"""What a PNG, JPEG or WebP file is made of: walked from header to header, nothing decoded.

Belongs here: where a file's pieces begin and end, how many there may be, and the pieces that are read without a decoder
(XMP packet, Exif, colour profile). A decoder's work grows with pieces as well as with pixels: a file of two million
empty chunks, or of ten thousand scans, is small and keeps it busy for minutes. Input is hostile: any bytes are walked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

MAX_PARTS = 10_000  # libpng writes an IDAT for 8 KB: 8,192 of them are 64 MB
MAX_SCANS = 100  # of a JPEG; progressive encoders write about ten, and each is another pass over all its pixels
MAX_TEXT = 256 * 1024  # bytes of an XMP packet or a profile that are looked at; ours have 700 and none
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_AFTER_A_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # restarts belong to the scan that they are in
_BARE = frozenset(range(0xD0, 0xDA)) | {0x01}  # markers without a length
_FILL = b"\xff\xff"
_EOI, _SOS, _APP1, _APP2 = b"\xd9", b"\xda", b"\xe1", b"\xe2"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"  # how these segments and chunks begin
_XMP_TEXT = b"XML:com.adobe.xmp\0"
_EXIF = b"Exif\0\0"
_PROFILE = b"ICC_PROFILE\0"
_SEVERAL = b"MPF\0"  # more pictures in one file


class Part(NamedTuple):
    """One piece: its kind (a PNG or WebP chunk's four letters, a JPEG marker's second byte) and where its body lies."""

    kind: bytes
    start: int
    end: int


class TooManyParts(Exception):
    """More pieces than any encoder writes; the message says how many are walked."""


@dataclass(frozen=True)
class Container:
    """A file and its pieces, in order; none of what is no PNG, JPEG or WebP."""

    data: bytes
    parts: tuple[Part, ...]

    @property
    def kinds(self) -> frozenset[bytes]:
        """The kinds of its pieces."""
        return frozenset(part.kind for part in self.parts)

    def bodies(self, *kinds: bytes) -> Iterator[bytes]:
        """The bodies of all pieces of these kinds."""
        return (self.data[part.start : part.end] for part in self.parts if part.kind in kinds)

    def body(self, *kinds: bytes) -> bytes:
        """The first of them; empty without one."""
        return next(self.bodies(*kinds), b"")

    @property
    def packet(self) -> str:
        """The XMP packet, as far as it is looked at; empty without one."""
        return next(self._packets(), b"")[:MAX_TEXT].decode("utf-8", "replace")

    @property
    def exif(self) -> bytes:
        """The Exif block, with or without its name; empty without one."""
        segments = (body for body in self.bodies(_APP1) if body.startswith(_EXIF))
        return self.body(b"eXIf", b"EXIF") or next(segments, b"")

    @property
    def profile(self) -> bytes:
        """The ICC profile, as far as it is looked at; empty without one, or where it cannot be unpacked."""
        if packed := self.body(b"iCCP"):
            return _inflated(packed.partition(b"\0")[2][1:])
        segments = (body[len(_PROFILE) + 2 :] for body in self.bodies(_APP2) if body.startswith(_PROFILE))
        return (self.body(b"ICCP") or b"".join(segments))[:MAX_TEXT]

    def _packets(self) -> Iterator[bytes]:
        for body in self.bodies(b"iTXt", _APP1):
            if body.startswith(_XMP_TEXT):
                yield _international(body.removeprefix(_XMP_TEXT))
            elif body.startswith(_XMP):
                yield body.removeprefix(_XMP)
        yield from self.bodies(b"XMP ")

    def for_a_decoder(self) -> bytes:
        """The file; a JPEG without its Exif and multi-picture segments.

        Pillow reads both tag by tag while it opens a file, and makes hundreds of megabytes of 64 KB.
        """
        kept, at = [], 0
        for part in self.parts:
            body = self.data[part.start : part.start + len(_EXIF)]
            if (part.kind == _APP1 and body == _EXIF) or (part.kind == _APP2 and body.startswith(_SEVERAL)):
                kept.append(self.data[at : part.start - 4])
                at = part.end
        return b"".join([*kept, self.data[at:]]) if kept else self.data


def opened(data: bytes) -> Container:
    """Walk a file. Raises TooManyParts."""
    found = tuple(islice(_walk(data), MAX_PARTS + 1))
    if len(found) > MAX_PARTS:
        raise TooManyParts(f"more than {MAX_PARTS} chunks or segments")
    if sum(part.kind == _SOS for part in found) > MAX_SCANS:
        raise TooManyParts(f"more than {MAX_SCANS} scans")
    return Container(data, found)


def _walk(data: bytes) -> Iterator[Part]:
    if data.startswith(PNG_MAGIC):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return iter(())


def _png(data: bytes) -> Iterator[Part]:
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        yield Part(data[at + 4 : at + 8], at + 8, min(end, len(data)))
        at = end + 4  # the check sum


def _webp(data: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Part(data[at : at + 4], at + 8, min(at + 8 + size, len(data)))
        at += 8 + size + size % 2


def _jpeg(data: bytes) -> Iterator[Part]:
    """Segments, and scans with their pixels.

    Rubbish between segments, and fill bytes inside a scan, are read one by one by a decoder: each byte is a piece.
    """
    at, in_scan, scanned = 2, False, False
    while True:
        found = (_AFTER_A_SCAN if in_scan else _MARKER).search(data, at)
        end = found.start() if found else len(data)
        rubbish = data.count(_FILL, at, end + 1) if in_scan else end - at
        yield from (Part(b"", at, at) for _ in range(rubbish))
        if found is None:
            return
        kind, start = found[0][1:], found.end()
        if kind == _EOI and scanned:  # what follows is nobody's picture
            return
        body = at = start
        if kind[0] not in _BARE:
            body, at = start + 2, start + max(2, int.from_bytes(data[start : start + 2]))
        yield Part(kind, min(body, len(data)), min(at, len(data)))
        in_scan = kind == _SOS
        scanned = scanned or in_scan


def _international(body: bytes) -> bytes:
    """The text of an iTXt chunk behind its keyword: flag, method, language, translated keyword, text."""
    *names, text = body[2:].split(b"\0", 2)
    if len(names) < 2:
        return b""
    return _inflated(text) if body[:1] == b"\x01" else text


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, MAX_TEXT)
    except zlib.error:
        return b""
