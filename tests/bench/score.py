"""How long the face scorer looks at a picture: of which the first detector finds the face, and of others; and at many.

CPU time is the process's own; on a machine that others use too, it grows with their share of the caches.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from resources.face_pool import FacePool, cores
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, see
from tests.bench.row import Row, median

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT_S = 0.2  # CPU of a 1024 px picture
BATCH = 24


def scoring(pictures: dict[int, list[bytes]]) -> Iterator[Row]:
    """Decoding, hashing, detection, alignment and embedding, by size in pixels; loading is not counted."""
    scorer = DlibScorer()
    see(scorer, next(iter(pictures.values()))[0])
    for px, files in pictures.items():
        taken = [_cpu_s(scorer, data) for data in files for _ in range(3)]
        limit = (LIMIT_S, "limit", 1) if px == 1024 else (None, "", None)
        yield Row(f"face scorer, {px} x {px}, CPU of one core, best of {len(taken)}", min(taken), "s", *limit)
    yield from _fallbacks(scorer)
    yield from _many(next(iter(pictures.values())))


def _fallbacks(scorer: DlibScorer) -> Iterator[Row]:
    """Pictures of 1024 px on which the first detector finds nobody, by what does."""
    who = person(1, {"age": "34"})
    far = render(who, Look(seed=1), 1024, 1024).resize((112, 112))
    looks = {
        "a face of 60 px (second look)": _alone(far),
        "a profile (third look)": render(who, Look(seed=1, framing="medium", view="side-left"), 1024, 1024),
        "nobody (all three)": render(who, Look(seed=1, framing="medium", view="back"), 1024, 1024),
    }
    for what, image in looks.items():
        data = _png(image)
        found = len(see(scorer, data).faces)
        told = f"face scorer, 1024 x 1024, {what}, CPU, {found} found"
        yield Row(told, min(_cpu_s(scorer, data) for _ in range(2)), "s")


def _many(files: list[bytes]) -> Iterator[Row]:
    """A batch by one process and by one a core, both loaded."""
    batch = (files * BATCH)[:BATCH]
    taken = {}
    for size in sorted({1, cores()}):
        pool = FacePool(size)
        pool.see_all(batch[: 2 * size])
        taken[size] = median([_wall_s(pool, batch) for _ in range(3)])
        pool.close()
    most = max(taken)
    yield Row(f"{BATCH} pictures of 512 px by {most} processes", taken[most], "s", taken[1] / most, f"ideal of {most}")


def _alone(face: Image) -> Image:
    from PIL import Image

    scene = Image.new("RGB", (1024, 1024), "gray")
    scene.paste(face, (450, 300))
    return scene


def _png(image: Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _cpu_s(scorer: DlibScorer, data: bytes) -> float:
    begun = time.process_time()
    see(scorer, data)
    return time.process_time() - begun


def _wall_s(pool: FacePool, files: list[bytes]) -> float:
    begun = time.perf_counter()
    pool.see_all(files)
    return time.perf_counter() - begun
