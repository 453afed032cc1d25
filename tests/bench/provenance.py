"""What the AI mark and the signature add to a picture: milliseconds and bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from resources.content_credentials import Signer, read
from resources.development_certificate import make_development_certificate
from resources.images import ImageRejected, decode, mark
from tests.bench.row import Row, median

LIMIT_MS, LIMIT_KB = 40.0, 10.0  # issue 5: marking and C2PA under 40 ms and 10 KB an image
SOURCE, TOOL, ORIGINAL = "algorithmicMedia", "RYLA Assets (procedural preview)", "0" * 64


def provenance(pictures: list[bytes], px: int) -> Iterator[Row]:
    """Marking is what `mark` takes longer than saving the same PNG; signing and reading are counted whole."""
    with tempfile.TemporaryDirectory() as folder:
        signer = Signer(*make_development_certificate(Path(folder)))
        signer.ready()
        added_ms, added_kb, read_ms = [], [], []
        for data in pictures:
            image = decode(data)
            plain_ms, plain = _timed(lambda image=image: _plain(image))
            mark_ms, marked = _timed(lambda image=image: mark(image, source=SOURCE, tool=TOOL, original=ORIGINAL))
            sign_ms, signed = _timed(lambda marked=marked: signer.sign(marked, source=SOURCE, tool=TOOL))
            added_ms.append(max(0.0, mark_ms - plain_ms) + sign_ms)
            added_kb.append((len(signed) - len(plain)) / 1024)
            read_ms.append(_timed(lambda signed=signed: read(signed, anchors=signer.anchors))[0])
    of = f"{px} x {px}, median of {len(pictures)}"
    yield Row(f"AI mark and C2PA signature, {of}", median(added_ms), "ms", LIMIT_MS, "limit", 1.0)
    yield Row(f"bytes they add, {of}", median(added_kb), "KB", LIMIT_KB, "limit", 1.0)
    yield Row(f"reading the signature, {of}", median(read_ms), "ms")
    yield Row("refusing a 23 MB PNG of 2,000,000 empty chunks", _refusal_ms(pictures[0]), "ms", 1000.0, "limit", 1.0)


def _refusal_ms(picture: bytes) -> float:
    """Milliseconds until such a file is called too large; Pillow reads its chunks for half a minute."""
    at = 33  # behind signature and header
    data = picture[:at] + b"\0\0\0\0aaAa\x8f\x1f\x1e\x0c" * 2_000_000 + picture[at:]
    took, answer = _timed(lambda: _reason(data), times=1)
    if answer != "too_large":
        raise AssertionError(answer)
    return took


def _reason(data: bytes) -> str:
    try:
        decode(data)
    except ImageRejected as error:
        return error.reason
    return ""


def _plain(image: Any) -> bytes:
    """The picture as `mark` encodes it, without the mark."""
    out = BytesIO()
    image.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _timed(work: Callable[[], Any], *, times: int = 5) -> tuple[float, Any]:
    """The fastest of a few runs in milliseconds, and the result: noise of a busy machine only adds."""
    best, result = float("inf"), None
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
        best = min(best, (time.perf_counter() - begun) * 1000)
    return best, result
