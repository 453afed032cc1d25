"""What the quality gates cost a picture, besides finding its face."""

from __future__ import annotations

import time
from collections.abc import Iterator

from resources.images import decode
from resources.quality import bits_apart, measure
from ryla_assets.domain.quality import duplicates, findings
from tests.bench.row import Row, median

LIMIT_MS = 50.0  # issue 5: all gates together under 50 ms a megapixel, besides the face


def gates(pictures: list[bytes], px: int) -> Iterator[Row]:
    """Measuring a decoded picture with its face box, judging the numbers, comparing it with nine others."""
    box = (px // 3, px // 4, 2 * px // 3, 2 * px // 3)
    hashes = [measure(decode(data)).phash for data in pictures]
    others = [hashes[n % len(hashes)] for n in range(9)]
    taken = []
    for data in pictures:
        image = decode(data)
        begun = time.perf_counter()
        numbers = measure(image, face=box).as_dict()
        own = str(numbers.pop("phash"))
        findings(**numbers, faces=1, expects_face=True)
        duplicates({(str(n), "this"): bits_apart(own, other) for n, other in enumerate(others)})
        taken.append((time.perf_counter() - begun) * 1000 / (px * px / 1e6))
    yield Row(
        f"quality gates a megapixel, {px} x {px}, median of {len(pictures)}",
        median(taken),
        "ms",
        LIMIT_MS,
        "limit",
        1.0,
    )
