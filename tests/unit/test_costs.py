"""The planner's cost model, held against a simulation of workers that take graphs from one queue."""

import heapq
import itertools

import pytest

from ryla_assets.domain.costs import Capacity, even, expected, plan
from ryla_assets.domain.errors import InputError

CAPACITIES = [
    Capacity(workers, image_s=image_s, shared_s=shared_s, cold_s=cold_s, warm=warm)
    for workers, image_s, shared_s, cold_s in itertools.product((1, 2, 3, 8), (7.0, 24.0), (0.0, 12.0), (0.0, 90.0))
    for warm in {0, 1, workers}
]


def simulate(sizes: tuple[int, ...], capacity: Capacity) -> float:
    """The makespan, event by event: each graph goes to the worker that would finish it first."""
    warm = min(capacity.warm, capacity.workers)
    ready = [0.0] * warm + [capacity.cold_s] * (capacity.workers - warm)
    heapq.heapify(ready)
    ends = []
    for size in sizes:
        ends.append(heapq.heappop(ready) + capacity.shared_s + size * capacity.image_s)
        heapq.heappush(ready, ends[-1])
    return max(ends)


@pytest.mark.parametrize("images", [1, 3, 8, 10])
def test_the_model_is_within_a_picture_a_round_of_the_simulation(images: int) -> None:
    """For every number of graphs, workers, cold start and loading time."""
    for capacity in CAPACITIES:
        for graphs in range(1, images + 1):
            sizes = even(images, graphs)
            promised, passes = expected(sizes, capacity).makespan_s, simulate(sizes, capacity)
            most = 1 if capacity.workers >= graphs else -(-graphs // capacity.workers)
            assert abs(promised - passes) <= most * capacity.image_s + 1e-6


@pytest.mark.parametrize("images", [3, 8, 10])
def test_the_chosen_plan_is_as_good_as_any_in_the_simulation(images: int) -> None:
    """No other number of graphs is better by more than one picture's time, when really run."""
    for capacity in CAPACITIES:
        chosen = plan(images, capacity)

        def price(sizes: tuple[int, ...], capacity: Capacity = capacity) -> float:
            return simulate(sizes, capacity) + expected(sizes, capacity).gpu_s

        best = min(price(even(images, graphs)) for graphs in range(1, images + 1))
        assert price(chosen.sizes) <= best + capacity.image_s + 1e-6


def test_one_warm_worker_gets_one_graph() -> None:
    """With nobody to share with, every further graph only loads the models again."""
    assert plan(8, Capacity(1, image_s=10, shared_s=20, warm=1)).sizes == (8,)


def test_warm_workers_share_the_sheet() -> None:
    """Four warm workers draw a sheet of eight in two pictures each."""
    assert plan(8, Capacity(4, image_s=24, shared_s=5, warm=4)).sizes == (2, 2, 2, 2)


def test_a_cold_worker_that_saves_less_than_it_burns_is_not_started() -> None:
    """Three quick pictures are not worth waking a second worker for 498 s (a measured RunPod cold start)."""
    assert plan(3, Capacity(2, image_s=7, shared_s=10, cold_s=498, warm=1)).sizes == (3,)


def test_a_result_stays_within_the_backends_limit() -> None:
    """Ten pictures of 2 MB in results of at most 7 MB are four graphs, however few workers there are."""
    assert plan(10, Capacity(1, image_s=7, warm=1, max_result_bytes=7_000_000)).sizes == (3, 3, 2, 2)


def test_a_picture_that_fits_no_result_is_refused() -> None:
    """Told before anything is sent, with the way out."""
    with pytest.raises(InputError, match="larger than a job's result") as caught:
        plan(1, Capacity(1, image_s=7, max_result_bytes=1_000_000))
    assert caught.value.way_out
