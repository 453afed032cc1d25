"""How long the face scorer looks at a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator

from resources.identity import DlibScorer
from resources.images import decode
from tests.bench.row import Row, median


def scoring(pictures: dict[int, list[bytes]]) -> Iterator[Row]:
    """Detection, alignment and embedding of decoded pictures, by their size in pixels; loading is not counted."""
    scorer = DlibScorer()
    scorer.faces(decode(next(iter(pictures.values()))[0]))
    for px, files in pictures.items():
        taken = []
        for data in files:
            image = decode(data)
            begun = time.perf_counter()
            scorer.faces(image)
            taken.append((time.perf_counter() - begun) * 1000)
        yield Row(f"face scorer, {px} x {px}, median of {len(files)}", median(taken), "ms")
