"""How many graphs a stage becomes: a small cost model of workers, cold starts and shared loading.

Belongs here: the arithmetic. What the numbers are for a backend is the backend's to say; how frames are dealt to graphs
is `studio.plans`.

One graph of k images on one worker takes `shared_s + k * image_s`: models are loaded and the reference face is analysed
once a graph. A worker that is not warm starts in `cold_s` first, and is paid for while it does. Graphs wait in one
queue; a free worker takes the next. So more graphs end sooner, up to one a worker, and each costs another `shared_s`
and, where another worker must start, another `cold_s`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ryla_assets.domain.errors import InputError

# What a second of waiting may cost in GPU seconds: at 1.0 a second worker that halves a 60 s stage at 20 s of cold
# start is taken (30 s saved, 20 s paid), and one that saves less than it burns is not.
GPU_SECONDS_PER_SECOND_SAVED = 1.0


@dataclass(frozen=True)
class Capacity:
    """What a backend can do at once; seconds of a warm worker, bytes of one job's result."""

    workers: int
    image_s: float
    shared_s: float = 0.0
    cold_s: float = 0.0
    warm: int = 0  # workers that are up already
    max_result_bytes: int | None = None
    image_bytes: int = 2_000_000  # a 1-megapixel PNG is about 1.5 MB, and 4/3 of that in base64


@dataclass(frozen=True)
class Plan:
    """Sizes of the graphs, in order; what the model expects of them."""

    sizes: tuple[int, ...]
    makespan_s: float
    gpu_s: float


def plan(images: int, capacity: Capacity) -> Plan:
    """The plan whose time and GPU seconds together are least; of equal ones, the one with fewest graphs.

    Raises InputError where no plan exists: nothing to make, no worker, a picture larger than a result may be.
    """
    if images < 1:
        raise InputError(
            f"{images} images make no graph.", field="images", value=images, way_out="Ask for one or more."
        )
    fewest = math.ceil(images / _most_per_graph(capacity))
    plans = [expected(even(images, graphs), capacity) for graphs in range(fewest, images + 1)]
    return min(plans, key=lambda p: (round(p.makespan_s * GPU_SECONDS_PER_SECOND_SAVED + p.gpu_s, 6), len(p.sizes)))


def expected(sizes: tuple[int, ...], capacity: Capacity) -> Plan:
    """What the model expects of these graphs, all taken as large as their mean.

    A worker that is ready at `start` has finished floor((T - start) / d) graphs of d seconds by time T. The makespan is
    the first T by which all workers together have finished every graph.
    """
    each = capacity.shared_s + sum(sizes) / len(sizes) * capacity.image_s
    warm = min(capacity.warm, capacity.workers)
    starts = [0.0] * warm + [capacity.cold_s] * (capacity.workers - warm)
    ends = sorted(start + each * number for start in set(starts) for number in range(1, len(sizes) + 1))
    makespan = next(end for end in ends if sum(_finished(end, start, each) for start in starts) >= len(sizes))
    cold = min(len(sizes), sum(_finished(makespan, start, each) > 0 for start in starts[warm:]))
    paid = len(sizes) * capacity.shared_s + sum(sizes) * capacity.image_s + cold * capacity.cold_s
    return Plan(sizes, makespan, paid)


def even(images: int, graphs: int) -> tuple[int, ...]:
    """Sizes of `graphs` graphs that hold `images` pictures, as equal as can be, larger ones first."""
    small, larger = divmod(images, graphs)
    return (small + 1,) * larger + (small,) * (graphs - larger)


def _finished(end: float, start: float, each: float) -> int:
    return max(0, math.floor((end - start) / each + 1e-9))


def _most_per_graph(capacity: Capacity) -> int:
    if capacity.workers < 1:
        raise InputError("a backend without workers runs nothing.", field="workers", value=capacity.workers)
    if capacity.max_result_bytes is None:
        return 10_000
    most = capacity.max_result_bytes // capacity.image_bytes
    if most < 1:
        raise InputError(
            f"one picture ({capacity.image_bytes} bytes) is larger than a job's result may be "
            f"({capacity.max_result_bytes} bytes).",
            field="image_px",
            way_out="Make smaller pictures, or let the worker put its results into a store.",
        )
    return most
