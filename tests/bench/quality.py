"""What the quality gates cost a picture from its arrival to its checks, besides decoding it and finding its face."""

from __future__ import annotations

import time
from collections.abc import Iterator

from resources.images import decode, is_blank
from resources.quality import bits_apart, measure
from ryla_assets.domain.quality import duplicates, findings
from tests.bench.row import Row, median

LIMIT_MS = 50.0  # issue 5: all gates together under 50 ms a megapixel, besides the face


def gates(pictures: list[bytes], px: int) -> Iterator[Row]:
    """All of them together, in the order in which a picture meets them.

    At its arrival (`accept`): blank. In `quality`: its numbers, its face's too, what they say, and the comparison with
    nine others. In `integrity`: blank, in the stored pixels.
    """
    box = (px // 3, px // 4, 2 * px // 3, 2 * px // 3)
    hashes = [measure(decode(data)).phash for data in pictures]
    others = [hashes[n % len(hashes)] for n in range(9)]
    taken = []
    for data in pictures:
        image = decode(data)
        begun = time.perf_counter()
        is_blank(image)
        numbers = measure(image, face=box).as_dict()
        own = str(numbers.pop("phash"))
        findings(**numbers, asked=image.size, faces=1, expects_face=True)
        duplicates({(str(n), "this"): bits_apart(own, other) for n, other in enumerate(others)})
        is_blank(image)
        taken.append((time.perf_counter() - begun) * 1000 / (px * px / 1e6))
    yield Row(
        f"all quality gates a megapixel, {px} x {px}, median of {len(pictures)}",
        median(taken),
        "ms",
        LIMIT_MS,
        "limit",
        1.0,
    )
