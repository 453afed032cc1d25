"""The work that contestants are measured on: the jobs, how long each takes, and the best that a schedule can do.

Belongs here: seeded numbers, the same for everybody. A contestant's own work is in its program.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from resources.gpu.job import Job, OutputSpec
from workflows.base_image import base_image
from workflows.requests import ImageRequest

PX = 1024  # what a model draws (ryla_assets.domain.shots.MODEL_IMAGE_PX)
MEAN_S = 15.0  # of a picture on a warm GPU
COLD_S = 30.0  # until a new worker takes its first job
_SIGMA = 0.35  # of the logarithm: nine in ten lie between 8 and 25 s


def picture_job(number: int, px: int = PX) -> Job:
    """One graph that saves one picture."""
    prompt = "photo of a 30 year old woman in a park"
    graph = base_image("zimage-turbo", [ImageRequest("option", prompt, "blurry", number, px, px)])
    return Job("image", graph, (OutputSpec("option", "image", px, px),), label=f"job {number}", owner="bench")


def durations(count: int, mean_s: float = MEAN_S, seed: int = 4) -> list[float]:
    """How long each job runs, in seconds: log-normal around `mean_s`."""
    draw = random.Random(seed)
    drawn = [draw.lognormvariate(0.0, _SIGMA) for _ in range(count)]
    return [round(mean_s * one * count / sum(drawn), 3) for one in drawn]


def ideal_s(taken: Sequence[float], workers: int, cold_s: float) -> float:
    """When the last job ends if all are queued at once, in order, and every worker starts cold at that moment."""
    free = [cold_s] * workers
    for seconds in taken:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
