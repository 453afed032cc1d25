"""What the numbers of the RunPod benchmark must be able to show: waste, silence, and jobs that were left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.runpod import _finish, _unexplained, _wasted

ONE, TWO, THREE = (f"{digit}" * 8 + "-0000-4000-a000-000000000000" for digit in "123")


def attempt(key: str, job: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    """An attempt as our contestant tells of it."""
    told = {"id": key, "fingerprint": job, "number": number, "accepted": True, "state": "succeeded"}
    return {**told, "error_code": None, "error": None, **changes}


def bad(key: str, job: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    """One that ended without a result."""
    why = {"error_code": "lost", "error": "job 1: nobody knows of it any more."}
    return attempt(key, job, number, **{"accepted": False, "state": "lost", **why, **changes})


def executed(*jobs: tuple[str, str, float], endpoint: str = "faults") -> dict[str, Any]:
    """The fake's state: (job id, attempt or its first digits, USD of its execution)."""
    return {
        "accepted": [{"job_id": name, "attempt": sender, "endpoint": endpoint} for name, sender, _ in jobs],
        "bill_by_job": {name: usd for name, _, usd in jobs},
    }


def test_one_run_for_each_result_is_no_waste() -> None:
    """Whatever it cost."""
    state = executed(("a", ONE, 0.3), ("b", TWO, 0.1))
    assert _wasted(state, [attempt(ONE, "x"), attempt(TWO, "y")], "faults") == 0.0


@pytest.mark.parametrize("sender", [ONE, "1" * 8 + "0000"], ids=["our worker", "worker-comfyui"])
def test_second_run_of_a_job_is_waste(sender: str) -> None:
    """It was lost, sent again, and both ran: the cheaper of the two was for nothing, whoever tells the attempt."""
    state = executed(("a", sender, 0.1), ("b", TWO, 0.3), endpoint="faults")
    assert _wasted(state, [bad(ONE, "x"), attempt(TWO, "x", 2)], "faults") == pytest.approx(0.25)


def test_run_without_a_result_is_waste() -> None:
    """And so is one that nobody sent; what ran elsewhere is not counted."""
    state = executed(("a", ONE, 0.1), ("b", TWO, 0.1), ("c", "", 0.1))
    state["accepted"].append({"job_id": "d", "attempt": THREE, "endpoint": "open"})
    assert _wasted(state, [attempt(ONE, "x"), bad(TWO, "y")], "faults") == pytest.approx(2 / 3)


def test_explained_is_a_code_and_a_sentence() -> None:
    """Of the last attempt: a code alone, a word, an open one and none at all are silence."""
    told = [attempt(ONE, "accepted"), bad(TWO, "explained")]
    assert _unexplained(told, 2) == 0
    silent = [bad(THREE, "x", error=""), bad(THREE, "y", error="lost"), bad(THREE, "z", error_code=None)]
    silent += [bad(THREE, "open", state="running"), bad(ONE, "again"), bad(TWO, "again", 2, state="queued")]
    assert _unexplained(told + silent, 8) == 6


def test_our_jobs_may_not_be_left_out() -> None:
    """Fast by storing 399 of 400 is no result; a peer's row says so in its title."""
    told = {"stored": 399, "seconds": 9.0, "errors": ["boom"]}
    with pytest.raises(RuntimeError, match=r"399 of 400 jobs were stored.*boom"):
        _finish("ours", told, 400, "makespan", 10.0)
    assert "399 stored" in _finish("sdk-threads", told, 400, "makespan", 10.0).what
    assert _finish("ours", {**told, "stored": 400}, 400, "makespan", 10.0).verdict == "ok"
