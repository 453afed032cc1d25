"""`make bench`: measure, print, and rewrite docs/benchmarks.md, which nothing else writes.

`python -m tests.bench PART..` measures some parts anew and leaves the other rows as they are; one whose words changed
stays until everything is measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from tests.bench import load, margin, pictures, provenance, quality, queue_latency, runpod, score, screen
from tests.bench.jobs import COUNT, draw, open_studio, square_shots
from tests.bench.row import Row, machine, yardstick

TARGET = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
LARGE = 5  # pictures of 1024 px; each takes four times as long to draw
HEAD = """\
# Benchmarks

Written by `make bench` (`python -m tests.bench`) and by nothing else. Wall-clock times of an otherwise idle machine;
trust ratios more than seconds. A ratio is the number divided by its peer or limit. The yardstick says how fast the
machine was meanwhile: one whose cores others share is slower by half at times, and so are all numbers with it.

| what | number | unit | peer or limit | ratio | at most | machine |
| --- | --- | --- | --- | --- | --- | --- |
"""
TAIL = """
## What is not here

- Rows that were not measured: each says what is missing on this machine. BullMQ needs Node, npm and Redis
  (`apt-get install nodejs npm redis-server`).
- GPU time, cold starts and prices per picture: they need a GPU. The preview draws procedurally; its seconds say
  nothing about a model's. Targets are in `ryla_assets/domain/targets.py`, and the timing checks judge real runs.
- Whether a LoRA reaches 95 % and the face swap 80 % on real models: product targets without a published source. The
  identity checks measure them on every set; the lower bound says how much evidence there is.
"""


def main() -> int:
    """Measure everything once, or only the parts that are named; exit 1 if something is over its limit."""
    parts = sys.argv[1:]
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    lines: dict[str, str] = _published() if parts else {}
    here, over = machine(), False
    for part in parts or PARTS:
        for row in chain([yardstick(f"before {part}")], PARTS[part]()):
            lines[row.what] = _line(row, here)
            over |= row.verdict == "over"
            print(_line(row, "this machine"), file=sys.stderr)  # noqa: T201
    day = time.strftime("%Y-%m-%d", time.gmtime())
    TARGET.write_text(HEAD + "\n".join(lines.values()) + f"\n\nMeasured on {day}.\n" + TAIL)
    return 1 if over else 0


def _published() -> dict[str, str]:
    """What is measured -> its line, of the page as it stands."""
    table = TARGET.read_text().removeprefix(HEAD).partition("\n\n")[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}


def _on_pictures() -> Iterator[Row]:
    """Everything that is measured on drawn pictures."""
    with tempfile.TemporaryDirectory() as folder, open_studio(Path(folder)) as studio:
        small = draw(studio, square_shots(COUNT), 512)
        large = draw(studio, square_shots(LARGE), 1024)
        yield from pictures.rendering(small)
        yield from score.scoring({512: [one.png for one in small], 1024: [one.png for one in large]})
        yield from quality.gates([one.png for one in large], 1024)
        yield from provenance.provenance([one.png for one in large], 1024)
        yield from pictures.overhead(small)


def _queue() -> Iterator[Row]:
    """What Dagster's queue adds to a run."""
    with tempfile.TemporaryDirectory() as folder:
        yield from queue_latency.measure(Path(folder))


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "load": load.measure,
    "screen": screen.screening,
    "margin": margin.margin,
    "pictures": _on_pictures,
    "queue": _queue,
    "runpod": runpod.measure,
}


def _line(row: Row, where: str) -> str:
    against = f"{row.against:.3g} {row.unit} ({row.named})" if row.against is not None else ""
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    most = f"{row.limit:g}: {row.verdict}" if row.limit is not None else ""
    number = "" if row.number is None else f"{row.number:.3g}"
    return f"| {row.what} | {number} | {row.unit} | {against} | {ratio} | {most} | {where} |"


if __name__ == "__main__":
    sys.exit(main())
