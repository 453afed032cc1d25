"""What a process knows of the pods that it saw: how old they are, and what they cost.

A pod tells its price only while it lives, and trainings are followed by backends that are made anew each minute: what
one of them saw must be known to the next. Belongs here: sightings, and the arithmetic on them. Nothing is asked here;
times are the monotonic seconds, or RunPod's own, that a caller gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from resources.gpu.backend import RemoteStatus
from resources.runpod.answers import Pod

DATE_S = 1.0  # what a date in whole seconds hides of an age; a second begun is billed whole
LONG_AGO_S = 60.0  # past its deadline a pod is gone: its age says no more what it billed


@dataclass
class Seen:
    """What was learned of a pod."""

    since: float  # first seen
    born: float | None = None  # just before it was created, if it was by this process
    usd_h: float = 0.0
    list_usd_h: float = 0.0  # of its GPUs, where its own price was never seen
    created_at: datetime | None = None
    limit_s: float | None = None


@dataclass
class PodMemory:
    """The pods of one account."""

    seen: dict[str, Seen] = field(default_factory=dict)
    looks: dict[str, tuple[float, RemoteStatus]] = field(
        default_factory=dict
    )  # remote id -> looked when, what was seen
    cancelled: set[str] = field(default_factory=set)  # pods that were terminated here, on demand
    hurried: float = -math.inf  # when a fresh look was last asked for

    def note(self, pod: Pod, now: float, list_usd_h: float | None = None) -> None:
        """It was seen now; `list_usd_h` is the list price of its GPU type."""
        seen = self.seen.setdefault(pod.id, Seen(now))
        seen.usd_h = max(seen.usd_h, pod.usd_h or 0.0)  # RunPod says 0 once it has ended
        seen.list_usd_h = (list_usd_h or 0.0) * pod.gpu_count or seen.list_usd_h
        seen.created_at = pod.created_at or seen.created_at
        seen.limit_s = pod.limit_s or seen.limit_s

    def age_s(self, pod_id: str, now: float, far_now: float | None) -> float | None:
        """Seconds since it was created, by RunPod's own dates and by ours; None where nobody can say."""
        if (seen := self.seen.get(pod_id)) is None:
            return None
        ages = [now - seen.born] if seen.born is not None else []
        if far_now is not None and seen.created_at is not None:
            ages.append(far_now - seen.created_at.timestamp())
        return max(ages, default=None)

    def cost_usd(self, pod_id: str, age_s: float | None) -> float | None:
        """The most that it can have cost by that age; None where its price is unknown, or its end was long ago."""
        seen = self.seen.get(pod_id)
        usd_h = (seen.usd_h or seen.list_usd_h) if seen else 0.0
        if seen is None or age_s is None or not usd_h or (seen.limit_s and age_s > seen.limit_s + LONG_AGO_S):
            return None
        return usd_h * math.ceil(age_s + DATE_S) / 3600
