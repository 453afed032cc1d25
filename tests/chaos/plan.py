"""A seed's plan: what is asked for, what goes wrong, and when the process dies. Pure: the same seed, the same plan.

Belongs here: chances and numbers. Times are dilated seconds (see dilation); who acts on the plan is in harness,
account and worker.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resources.gpu import faultpoints as points
from resources.gpu.backends.runpod.envelope import TTL_SLACK_S
from resources.gpu.budget import Budgets
from resources.gpu.policy import Policy

SPEED = 40.0
MAX_JOBS = 6
POD_SHARE = 0.15  # of seeds
NO_LIMIT_USD = 1_000.0
EXPOSURE_USD = (60.0 + 60.0 + TTL_SLACK_S + 5.0) * 0.00031  # of a picture: its ttl and the idle time, at our rate
Contract = Literal["official", "ours"]
Ask = Literal["run", "submit", "settle", "resume"]
Rules = list[tuple[str, str, dict[str, Any]]]  # operation, action, options of a fault rule

RUN_ID = "chaos-run"  # of every life: one run, taken up again and again
POLICY = Policy(
    queue_limit_s=60.0,
    run_limit_s=60.0,
    training_run_limit_s=90.0,
    lease_s=10.0,
    silence_limit_s=60.0,
    unknown_wait_s=20.0,
    diagnose_after_s=10.0,
    poll_min_s=0.25,
)


POD_POLICY = replace(POLICY, unknown_wait_s=80.0)  # as in production, longer than a pod's name may stay unlisted


@dataclass(frozen=True)
class Life:
    """One process: what it does, with which jobs, and how it ends early."""

    ask: Ask
    jobs: tuple[int, ...] = ()
    kill_at: str = ""  # a fault point's name; empty: not at one
    nth: int = 1  # the hit of that point at which it dies
    late_s: float = 0.0  # so long after that hit, so that something is under way; 0: at once
    kill_after_s: float | None = None  # or so long after its start
    interrupt_after_s: float | None = None  # SIGINT, as when a run is terminated
    beside: bool = False  # starts while the life before it still goes on
    bereft: bool = False  # before it starts, the store loses the bytes of an accepted result


@dataclass(frozen=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    contract: Contract
    postgres: bool
    webhook: bool
    jobs: int
    training: bool  # the last job trains a LoRA
    pods: bool  # on a pod of its own
    budgets: Budgets
    lives: tuple[Life, ...]
    rules: Rules
    mode: str  # how workers come up until faults end
    settle_first: bool  # reconciled before the jobs are asked for again
    settings: dict[str, Any] = field(default_factory=dict)  # of the endpoints
    pod_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """The runner's."""
        return POD_POLICY if self.pods else POLICY


# What must go wrong for a point to be reached at all. Scripts belong to jobs, the others to calls.
_LOST_ANSWER: tuple[str, str, dict[str, Any]] = ("run", "drop_response", {"probability": 0.6})
RECIPES: dict[str, Rules] = {
    points.OUTCOME_UNKNOWN: [_LOST_ANSWER],
    points.FOUND: [_LOST_ANSWER],
    points.PRESUMED_LOST: [_LOST_ANSWER],
    points.OBSERVED_FAILED: [("job", "script", {"error": "CUDA out of memory", "deliver": False, "probability": 0.6})],
    points.OBSERVED_CANCELLED: [("job", "script", {"cancel_after_s": 4.0, "probability": 0.6})],
    points.OBSERVED_LOST: [("job", "script", {"lose_after_s": 0.1, "deliver": False, "probability": 0.6})],
    points.CANCEL_SENT: [("job", "script", {"stuck": True, "probability": 0.5})],
    points.ENDED: [("job", "script", {"error": "boom", "deliver": False, "probability": 0.6})],
    points.OBSERVED_QUEUED: [],
    points.AFTER_FETCH: [("job", "script", {"damage": "truncated", "probability": 0.4})],
}
_RARE = (
    points.FOUND,
    points.PRESUMED_LOST,
    points.OBSERVED_LOST,
    points.OBSERVED_CANCELLED,
    points.CANCEL_SENT,
    points.BEFORE_REPLACE,
    points.REPLACED,
)
_REPLACING = (points.BEFORE_REPLACE, points.REPLACED)
_LOST_POD: Rules = [("pods.create", "drop_response", {"probability": 0.7})]
POD_RECIPES: dict[str, Rules] = {  # a pod in doubt is looked for by name: only a list that fails leaves the doubt
    points.OUTCOME_UNKNOWN: [*_LOST_POD, ("pods.list", "answer", {"status": 503, "body": {}, "times": 12})],
    points.FOUND: [*_LOST_POD, ("pods.list", "answer", {"status": 503, "body": {}, "times": 12})],
}
POD_FATES: dict[str, dict[str, float]] = {  # shares of pods
    points.OBSERVED_FAILED: {"crash": 0.7},
    points.ENDED: {"crash": 0.7},
    points.OBSERVED_LOST: {"vanish": 0.7},
    points.CANCEL_SENT: {"stick": 0.7},
}

_SECONDS = 1.0 / SPEED  # rules wait in real seconds
CALL_FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("run", "drop_request", {}),
    ("run", "drop_response", {}),
    ("run", "cut_response", {}),
    ("run", "answer", {"status": 500, "body": {"error": "no"}}),
    ("run", "answer", {"status": 429, "headers": {"retry-after": "3"}, "body": {"error": "rate limit exceeded"}}),
    ("run", "answer", {"status": 404, "body": {"error": "endpoint not found"}, "times": 1}),
    ("run", "answer", {"status": 400, "body": {"error": "input is required"}, "times": 1}),
    ("run", "done_but", {"status": 502, "body": "<html>bad gateway</html>", "content_type": "text/html"}),
    ("run", "done_but", {"status": 200, "body": ""}),
    ("run", "delay", {"seconds": 40 * _SECONDS, "after": True, "times": 2}),
    ("run", "delay", {"seconds": 5 * _SECONDS}),
    ("status", "drop_request", {}),
    ("status", "drop_response", {}),
    ("status", "answer", {"status": 503, "body": {"error": "no"}}),
    ("status", "answer", {"status": 404, "body": {"error": "job not found"}}),
    ("status", "answer", {"status": 429, "body": {"error": "rate limit exceeded"}}),
    ("status", "truncate", {"keep": 12}),
    ("status", "delay", {"seconds": 10 * _SECONDS}),
    ("cancel", "answer", {"status": 500, "body": {"error": "no"}}),
    ("cancel", "drop_response", {}),
    ("health", "answer", {"status": 500, "body": {"error": "no"}}),
    ("*.*", "answer", {"status": 503, "body": {"title": "unavailable", "status": 503}}),
    ("files", "answer", {"status": 503, "body": "<Error/>", "content_type": "application/xml"}),
    ("files", "drop_response", {}),
)
POD_FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("pods.create", "done_but", {"status": 500, "body": {"title": "unexpected error", "status": 500}}),
    ("pods.create", "drop_response", {}),
    ("pods.create", "cut_response", {}),
    ("pods.create", "drop_request", {}),
    ("pods.create", "answer", {"status": 503, "body": {"title": "unavailable", "status": 503}}),
    ("pods.create", "answer", {"status": 400, "body": {"title": "no instances", "status": 400}, "times": 2}),
    ("pods.list", "answer", {"status": 503, "body": {"title": "unavailable", "status": 503}}),
    ("pods.list", "drop_response", {}),
    ("pods.list", "truncate", {"keep": 12}),
    ("pods.get", "answer", {"status": 500, "body": {"title": "unexpected error", "status": 500}}),
    ("pods.delete", "answer", {"status": 500, "body": {"title": "unexpected error", "status": 500}, "times": 8}),
    ("pods.delete", "done_but", {"status": 502, "body": "<html>bad gateway</html>", "content_type": "text/html"}),
    ("pods.delete", "drop_response", {}),
)
JOB_FAULTS: tuple[dict[str, Any], ...] = (
    {"kill_at_s": [0.5]},
    {"kill_at_s": [0.3, 0.4]},
    {"lose_after_s": 0.2},
    {"lose_after_s": 0.2, "deliver": False},
    {"duplicate": True},
    {"stuck": True},
    {"end": "TIMED_OUT"},
    {"end": "TIMED_OUT", "deliver": False},
    {"drop_output": True},
    {"damage": "truncated"},
    {"damage": "blank"},
    {"damage": "missing"},
    {"error": "CUDA out of memory", "deliver": False},
    {"cancel_after_s": 3.0},
    {"hidden_s": 3.0},
    {"regress": True},
    {"webhook": "forged"},
    {"webhook": "thrice"},
    {"webhook": "never"},
    {"show": "RUNNING"},
    {"duration_s": 70.0},
)


def plan_of(seed: int) -> Plan:
    """The plan of a seed. Each seed aims its first kill at one fault point; as many seeds in a row aim at all."""
    draw = random.Random(f"chaos {seed}")
    aim = points.POINTS[seed % len(points.POINTS)]
    pods = draw.random() < POD_SHARE and aim != points.PRESUMED_LOST  # whether a name was created can be found out
    contract: Contract = "ours" if pods or aim == points.FOUND or draw.random() < 0.5 else "official"
    if aim == points.PRESUMED_LOST:
        contract = "official"
    jobs = draw.randint(2, 3) if pods else draw.randint(3, MAX_JOBS)
    rules: Rules = list((POD_RECIPES if pods else RECIPES).get(aim, []))
    for fault in draw.sample(CALL_FAULTS, draw.randint(1, 4)):
        rules.append((fault[0], fault[1], {"probability": draw.choice((0.1, 0.3)), **fault[2]}))
    for fault in draw.sample(POD_FAULTS, draw.randint(1, 3)) if pods else ():
        rules.append((fault[0], fault[1], {"probability": draw.choice((0.2, 0.5)), **fault[2]}))
    for fate in draw.sample(JOB_FAULTS, draw.randint(0, 3)):
        rules.append(("job", "script", {"probability": draw.choice((0.15, 0.4)), **fate}))
    return Plan(
        seed=seed,
        contract=contract,
        postgres=draw.random() < 0.15,
        webhook=aim != points.PRESUMED_LOST and draw.random() < 0.3,
        jobs=jobs,
        training=pods or (contract == "ours" and draw.random() < 0.3),
        pods=pods,
        budgets=_budgets(draw, aim, pods=pods),
        lives=tuple(_lives(draw, aim, jobs, pods=pods)),
        rules=rules,
        mode=draw.choice(("ok",) * 8 + ("no_capacity", "throttled")) if aim in _EARLY else "ok",
        settle_first=draw.random() < 0.5,
        settings={
            "workers_max": draw.randint(1, 4),
            "cold_s": draw.choice((0.5, 3.0, 8.0)),
            "idle_s": draw.choice((1.0, 5.0)),
            "pull_s": draw.choice((0.0, 2.0)),
            "exec_s": draw.choice(((0.3, 1.0), (1.0, 4.0))),
        },
        pod_settings={
            "provision_s": draw.choice((1.0, 4.0)),
            "start_s": draw.choice((2.0, 8.0)),
            "exec_s": draw.choice(((2.0, 5.0), (5.0, 15.0))),
            "exits_after": draw.random() < 0.5,
            **POD_FATES.get(aim, draw.choice(({}, {}, {"crash": 0.3}, {"vanish": 0.3}, {"stick": 0.3}))),
        },
    )


_EARLY = (points.INTENT_COMMITTED, points.BEFORE_SUBMIT, points.AFTER_SUBMIT, points.REMOTE_ID_RECORDED)


def _budgets(draw: random.Random, aim: str, *, pods: bool) -> Budgets:
    """Mostly roomy; sometimes too small for all jobs at once, by day, by character or by run."""
    tight = draw.choice((2.5, 4.5)) * EXPOSURE_USD
    which = draw.random() if aim in _EARLY and not pods else 1.0
    return Budgets(
        daily_usd=tight if which < 0.2 else NO_LIMIT_USD,
        character_usd=tight if 0.2 <= which < 0.3 else None,
        run_usd=tight if 0.3 <= which < 0.4 else None,
    )


def _lives(draw: random.Random, aim: str, jobs: int, *, pods: bool) -> list[Life]:
    """The first life dies at `aim`; with pods it is about the training alone, so that a pod is what is killed there."""
    mine = (jobs - 1,) if pods else tuple(range(jobs))
    late_s = draw.choice((0.0, draw.uniform(0.1, 2.0))) if aim == points.BEFORE_SUBMIT else 0.0
    nth = 1 if pods or aim in _RARE else draw.randint(1, 3)
    first = Life("run", mine, kill_at=aim, nth=nth, late_s=late_s, bereft=aim in _REPLACING)
    if aim == points.LEASE_TAKEN:  # somebody must have begun it before
        before = Life("run", mine, kill_at=draw.choice(_EARLY[:3]))
        return [before, first, *_more(draw, jobs)]
    if aim in _REPLACING:  # and have ended it
        return [Life("run", mine), first, *_more(draw, jobs)]
    return [first, *_more(draw, jobs)]


def _more(draw: random.Random, jobs: int) -> list[Life]:
    """Lives after the aimed one: killed at some point, at some moment, terminated, or two at once."""
    found = []
    for _ in range(draw.randint(0, 2)):
        some = tuple(sorted(draw.sample(range(jobs), draw.randint(1, jobs))))
        kind = draw.random()
        ask: Ask = draw.choice(("run", "run", "run", "submit", "settle"))
        if kind < 0.4:
            found.append(Life(ask, some, kill_after_s=draw.uniform(0.5, 20.0), beside=draw.random() < 0.3))
        elif kind < 0.75:
            point = draw.choice(points.POINTS)
            found.append(Life(ask, some, kill_at=point, nth=draw.randint(1, 2), kill_after_s=40.0))
        else:
            found.append(Life("run", some, interrupt_after_s=draw.uniform(1.0, 12.0), beside=draw.random() < 0.3))
    return found
