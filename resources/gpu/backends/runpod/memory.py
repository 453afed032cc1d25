"""What a process remembers of its RunPod jobs: for as long as it lives, not as long as one studio's backend does.

A backend is made anew with every studio (each sensor tick, each run), the conversation with RunPod is one a process:
what was learned on one end of a job must be there at its other end. Belongs here: the places. What is put there is
`backend`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from resources.gpu.backend import Diagnosis
from resources.gpu.backends.runpod.kept import Kept

T = TypeVar("T")
MOST = 4096  # jobs; the oldest are forgotten


class Notes(OrderedDict[str, T], Generic[T]):
    """Remote id -> something about that job."""

    def __setitem__(self, key: str, value: T) -> None:
        super().__setitem__(key, value)
        while len(self) > MOST:
            self.popitem(last=False)


@dataclass
class Memory:
    """One account's jobs."""

    expected: Notes[tuple[str, ...]] = field(default_factory=Notes)  # outputs that were asked for, if submitted here
    cancelled: Notes[bool] = field(default_factory=Notes)  # said so at least once
    warming: Notes[bool] = field(default_factory=Notes)  # was a worker coming when it was cancelled
    results: Kept = field(default_factory=Kept)
    verdicts: dict[str, tuple[float, Diagnosis]] = field(default_factory=dict)  # endpoint -> when, what
