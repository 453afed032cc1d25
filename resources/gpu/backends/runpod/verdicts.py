"""The verdicts on a RunPod endpoint that does not take a job, as one table: when each holds, its words, the way out.

Belongs here: what counts of workers, settings, stock and money mean, as pure functions of a `Case`. Not here: how a
case is found out, and for how long it has been the same (`diagnosis.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from resources.runpod.answers import Balance, Endpoint, Workers

FIRST_WORKER_S = 30.0  # a scaler looks at its queue every few seconds; before this, no worker is no news
PICKED_UP_S = 60.0  # an idle worker takes a job within seconds; after this, something keeps it from doing so

_IDLE_DAYS = "RunPod lowers it to 2 after 3 days without requests, to 0 after 7, and never raises it again"
_RAISE = (
    "Raise Max workers of {endpoint} in the RunPod console (Serverless, {endpoint}, Edit endpoint); then ryla doctor"
)
_CREDIT = "Add credit in the RunPod console (Billing); then ryla doctor"
_WIDEN = "Add GPU pools or data centres to {endpoint} in the RunPod console{or_fall_back}"
_WAIT = "ryla jobs list"


class Hope(Enum):
    """Whether a worker will come by itself."""

    YES = "yes"
    NO = "no"
    UNTIL_IT_LASTS = "until it lasts"  # diagnosis.LASTS_S


@dataclass(frozen=True)
class Case:
    """What is known of a job that waits; None where nobody said."""

    endpoint: str
    waited: float  # seconds
    settings: Endpoint | None = None
    workers: Workers | None = None
    balance: Balance | None = None
    queued: int | None = None
    stock: str = ""  # why no machine fits, where the catalogue says so
    never: bool = False  # and none ever will
    lasted: float = 0.0  # seconds for which the verdict has been the same
    trouble: str = ""  # why something is not known
    may_fall_back: bool = False  # its jobs could go to a fallback endpoint, and none is set
    gone: bool = False  # RunPod says that there is no such endpoint
    levels: dict[str, str] = field(default_factory=dict)  # GPU type -> its availability

    @property
    def most(self) -> int | None:
        """`workers.max`."""
        return self.settings.workers_max if self.settings else None

    @property
    def starved(self) -> bool:
        """True if no worker works, or is about to."""
        return self.workers is not None and not (self.up or self.workers.initializing)

    @property
    def up(self) -> int:
        """Workers that could work."""
        return self.workers.running + self.workers.idle if self.workers else 0

    def has(self, state: str) -> int:
        """How many workers are in that state."""
        return int(getattr(self.workers, state)) if self.workers else 0

    def words(self) -> dict[str, Any]:
        """What a rule's sentences may name."""
        counts = self.workers.counts() if self.workers else {}
        return {
            **counts,
            "endpoint": self.endpoint,
            "waited": f"{self.waited:.0f} s",
            "lasted": f"{self.lasted:.0f} s",
            "most": "an unknown number" if self.most is None else self.most,
            "usd": self.balance.usd if self.balance else 0.0,
            "queue": "" if self.queued is None else f"; jobs waiting: {self.queued}",
            "pools": ", ".join(self.settings.pools) if self.settings else "",
            "volumes": ", ".join(self.settings.volumes) if self.settings else "",
            "stock": self.stock,
            "or_fall_back": ", or set RUNPOD_FALLBACK_ENDPOINT_ID" if self.may_fall_back else "",
            "trouble": self.trouble or "its answers do not say why",
        }

    def evidence(self) -> dict[str, Any]:
        """The numbers, as the ledger keeps them."""
        found: dict[str, Any] = {"endpoint": self.endpoint, "waited_s": round(self.waited, 1)}
        if self.workers:
            found["workers"] = self.workers.counts()
        if self.settings:
            found |= {"workers_max": self.most, "pools": list(self.settings.pools)}
        optional = {
            "queued": self.queued,
            "balance_usd": self.balance.usd if self.balance else None,
            "gpu_availability": self.levels or None,
            "error": self.trouble or None,
            "lasted_s": round(self.lasted, 1) or None,
        }
        return found | {key: value for key, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Rule:
    """One verdict: when it holds, what a person reads, and what to do. Sentences name `Case.words`."""

    code: str
    when: Callable[[Case], bool]
    text: str
    command: str
    hope: Hope = Hope.YES


# The first that holds is the verdict. The first three hold before anything is sent, too: preflight.
RULES: tuple[Rule, ...] = (
    Rule(
        "unknown_endpoint",
        lambda case: case.gone,
        "RunPod knows no endpoint {endpoint}.",
        "Correct the RUNPOD_..._ENDPOINT_ID that is {endpoint}, or create the endpoint; then ryla doctor",
        Hope.NO,
    ),
    Rule(
        "balance_zero",
        lambda case: case.balance is not None and case.balance.usd <= 0,
        "The RunPod account is empty (balance ${usd:.2f}): no worker starts.",
        _CREDIT,
        Hope.NO,
    ),
    Rule(
        "workers_max_zero",
        lambda case: case.most == 0,
        "Endpoint {endpoint} may start no worker (workers.max is 0): " + _IDLE_DAYS + ".",
        _RAISE,
        Hope.NO,
    ),
    Rule(
        "crash_loop",
        lambda case: case.starved and case.has("unhealthy") > 0,
        "The workers of {endpoint} start and die: {unhealthy} of {total} unhealthy, none works or starts, "
        "after {waited}.",
        "Read a worker's logs in the RunPod console (Serverless, {endpoint}, Workers): a missing model, a driver older "
        "than the image's CUDA, or a crash at start",
        Hope.NO,
    ),
    Rule(
        "funnel",
        lambda case: (
            case.has("idle") > 0 and case.waited >= PICKED_UP_S and bool(case.settings and case.settings.volumes)
        ),
        "Workers of {endpoint} are idle ({idle} of {total}) while the job waits for {waited}: runpod 1.7.11 to 1.10.0 "
        "in a worker's image sends all jobs of an endpoint with a volume ({volumes}) to one worker.",
        "Rebuild the worker's image with runpod>=1.10.1 and deploy it to {endpoint}",
    ),
    Rule(
        "initializing",
        lambda case: case.has("initializing") > 0,
        "Workers of {endpoint} are starting ({initializing} of {total}; {unhealthy} unhealthy), after {waited}: a cold "
        "start, which is waited for.",
        _WAIT,
    ),
    Rule(
        "busy",
        lambda case: case.has("running") > 0,
        "Workers of {endpoint} work on other jobs ({running} of at most {most}; {throttled} throttled{queue}), "
        "after {waited}.",
        "Wait, or raise Max workers of {endpoint} in the RunPod console",
    ),
    Rule(
        "wrong_gpu_list",
        lambda case: case.starved and case.up == 0 and bool(case.stock),
        "No machine fits endpoint {endpoint}: {stock}, after {waited}.",
        _WIDEN,
        Hope.UNTIL_IT_LASTS,
    ),
    Rule(
        "throttled",
        lambda case: case.starved and case.has("throttled") > 0,
        "The workers of {endpoint} wait for a machine (throttled), {throttled} of {total}, in {pools}, after {waited}.",
        _WIDEN,
        Hope.UNTIL_IT_LASTS,
    ),
    Rule(
        "initializing",
        lambda case: case.has("total") == 0 and case.starved and case.waited < FIRST_WORKER_S,
        "Endpoint {endpoint} has no worker yet, after {waited}: the first is usually begun within 30 s.",
        _WAIT,
    ),
    Rule(
        "no_capacity",
        lambda case: case.has("total") == 0 and case.starved,
        "Endpoint {endpoint} has no worker (0 of at most {most}{queue}), after {waited}: there is no "
        "free machine in {pools}.",
        _WIDEN,
        Hope.UNTIL_IT_LASTS,
    ),
    Rule(
        "unknown",
        lambda case: case.has("idle") > 0,
        "Workers of {endpoint} are idle ({idle} of {total}) while the job waits for {waited}: nothing known says why.",
        _WAIT,
    ),
    Rule(
        "unknown",
        lambda _: True,
        "Why {endpoint} does not take the job after {waited} is unknown: {trouble}.",
        "ryla doctor",
    ),
)

IMPOSSIBLE = RULES[:3]
OF_ONE_ENDPOINT = frozenset({"unknown_endpoint", "workers_max_zero"})  # of those; another endpoint may work
