"""Kill the runner at every ledger transition and under load, 200 times, and look what is left.

The seeds run in processes of their own, which import no Dagster; a seed that fails is printed with its number, and
`python -m tests.chaos --seed N -v` runs it again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.gpu.faultpoints import OBSERVED_RUNNING, POINTS
from tests.chaos.plan import plan_of

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 200
LIMIT_S = 150.0  # real seconds on two cores


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What 200 seeds and all bugs came to; the command's own words where it failed."""
    path = tmp_path_factory.mktemp("chaos") / "numbers.json"
    command = [sys.executable, "-W", "error", "-m", "tests.chaos", "--seeds", str(SEEDS), "--bugs", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)  # the seeds, wherever one failed
    assert path.exists(), f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_promise_is_kept_by_every_seed(numbers: dict[str, Any]) -> None:
    """No job lost, doubled or unexplained, no money unbooked: whatever failed and whenever the process died."""
    assert (numbers["failed"], numbers["breaches"]) == ([], {})
    assert numbers["seeds"] == SEEDS
    assert numbers["sums"]["accepted"] + numbers["sums"]["refused"] == numbers["sums"]["jobs"]


def test_every_fault_point_killed_somebody(numbers: dict[str, Any]) -> None:
    """A point that no seed dies at is a point that nobody tests; each is aimed at by one seed in twenty.

    On a busy machine most jobs have ended before they are seen running: there it is enough to have come by.
    """
    kills = {point: numbers["kills"].get(point, 0) for point in POINTS}
    assert {point: count for point, count in kills.items() if count < 2 and point != OBSERVED_RUNNING} == {}
    assert numbers["hits"][OBSERVED_RUNNING] > 0
    assert numbers["kills"]["at a random moment"] > SEEDS / 5


def test_each_bug_that_is_put_in_is_caught(numbers: dict[str, Any]) -> None:
    """A harness that lets a broken runner pass would pass any runner."""
    assert numbers["caught"]
    assert {bug: seeds for bug, seeds in numbers["caught"].items() if seeds is None} == {}


def test_seeds_take_their_time_and_no_more(numbers: dict[str, Any]) -> None:
    """Two hundred seeds belong to the normal tests as long as nobody has to wait for them."""
    if numbers["sums"]["cpu_s"] > 2 * LIMIT_S:
        pytest.fail(f"{SEEDS} seeds used {numbers['sums']['cpu_s']:.0f} s of CPU: two cores need more than {LIMIT_S} s")


def test_plan_is_the_seeds_alone() -> None:
    """The same seed, the same plan: else no seed could be replayed."""
    assert [plan_of(seed) for seed in range(40)] == [plan_of(seed) for seed in range(40)]
