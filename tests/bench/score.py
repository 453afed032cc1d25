"""How long the face scorer looks at a picture: of which the first detector finds the face, and of others; and at many.

CPU time is the process's own; on a machine that others use too, it grows with their share of the caches.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.face_pool import FILES_A_START, FacePool, cores
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, Face, Seen, see
from ryla_assets.studio.scoring import score_files
from tests.bench.row import Row, median

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT_S = 0.2  # CPU of a 1024 px picture
ROUNDS = 3
FEW_ROUNDS = 21  # of what takes a third of a second: one busy moment is as long
BATCH = 24
SET = 4  # pictures of a content request by default: what the daily batch asks for at once
LINEAR = 1.25  # of the ideal: all files shared out over the cores, and nothing else to do


@dataclass
class Pooled:
    """The scorer with a pool of its own: as many processes as asked for, whatever the machine has."""

    pool: FacePool
    scorer_id: str = "bench"

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """By the pool."""
        return self.pool.see_all(files)

    def faces(self, image: Image) -> list[Face]:
        """Nobody asks for one picture here."""
        raise NotImplementedError


def scoring(pictures: dict[int, list[bytes]]) -> Iterator[Row]:
    """Decoding, hashing, detection, alignment and embedding, by size in pixels; loading is not counted."""
    scorer = DlibScorer()
    see(scorer, next(iter(pictures.values()))[0])
    for px, files in pictures.items():
        taken = [_cpu_s(scorer, data) for _ in range(ROUNDS) for data in files]
        limit = (LIMIT_S, "limit", 1) if px == 1024 else (None, "", None)
        yield Row(f"face scorer, {px} x {px}, CPU of one core, median of {len(taken)}", median(taken), "s", *limit)
    yield from _fallbacks(scorer)
    yield from _many(pictures[max(pictures)], max(pictures))


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
        yield Row(told, median([_cpu_s(scorer, data) for _ in range(ROUNDS)]), "s")


def _many(pictures: list[bytes], px: int) -> Iterator[Row]:
    """A batch as `ryla images score` takes it from files, and a set as checks do: by one process, by one a core."""
    batch, most = (pictures * BATCH)[:BATCH], cores()
    alone, together = FacePool(1), FacePool(most)
    cold = _wall_s(lambda: alone.see_all(batch[:SET]))
    while len(together._started) < most:
        together.see_all(batch[: FILES_A_START * most])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(BATCH)]
        for file, data in zip(files, batch, strict=True):
            file.write_bytes(data)
        whole = _in_turns(alone, together, lambda pool: score_files(Pooled(pool), files[:1], files))
    few = _in_turns(alone, together, lambda pool: pool.see_all(batch[:SET]), rounds=FEW_ROUNDS)
    for pool in (alone, together):
        pool.close()
    yield _shared(f"{BATCH} pictures of {px} px scored from their files", whole, most)
    yield _shared(f"a set of {SET} pictures of {px} px", few, min(most, SET))
    yield Row(f"the first {SET} pictures of {px} px of a run: a process starts", cold, "s", few[0], "when warm")


def _in_turns(
    alone: FacePool, together: FacePool, ask: Callable[[FacePool], object], rounds: int = ROUNDS
) -> tuple[float, float]:
    """Wall-clock seconds by either pool; a busy moment hits both."""
    taken = [(_wall_s(lambda: ask(alone)), _wall_s(lambda: ask(together))) for _ in range(rounds)]
    return median([one for one, _ in taken]), median([all_ for _, all_ in taken])


def _shared(what: str, taken: tuple[float, float], by: int) -> Row:
    return Row(f"{what}, by {by} processes", taken[1], "s", taken[0] / by, f"ideal of {by}", LINEAR)


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


def _wall_s(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return time.perf_counter() - begun
