"""What keeps us under the control API's 60 requests a minute: its own word on the quota, and answers that are shared.

Belongs here: when we may ask again, and what need not be asked twice. Both live as long as their client, in one event
loop, and serve all jobs of the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from resources.gpu.errors import BackendUnavailable, NotSent
from resources.runpod.headers import exhausted_s, retry_after_s

MOST_PAUSE_S = 86_400.0  # the longest window that the specification has
BLIND_PAUSE_S = 5.0  # after a 429 that does not say for how long


def pause_of(status: int, headers: Mapping[str, str]) -> float:
    """Seconds for which an answer asks us to wait: the longest of `Retry-After` and every window that is used up."""
    asked = max(retry_after_s(headers, time.time()), exhausted_s(headers))
    return min(MOST_PAUSE_S, asked or (BLIND_PAUSE_S if status == 429 else 0.0))


@dataclass
class Quota:
    """The moment until which nobody of this process asks; seconds of a monotonic clock."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    until: float = 0.0

    def note(self, status: int, headers: Mapping[str, str]) -> None:
        """Hear what an answer says of the quota."""
        if (pause := pause_of(status, headers)) > 0:
            self.until = max(self.until, self.clock() + pause)

    async def wait(self, give_up: float) -> None:
        """Wait for our turn. Raises NotSent at once if it comes later than `give_up`."""
        while (left := self.until - self.clock()) > 0:
            if self.until > give_up:
                raise NotSent(
                    f"RunPod's control API is asked too often: its quota is used up for another {left:.0f} s.",
                    code="rate_limited",
                    way_out="Wait; nothing was concluded meanwhile.",
                )
            await self.sleep(left)


@dataclass
class Shared:
    """One answer a key, asked once and shared by everybody until it is too old; a failure is an answer too."""

    clock: Callable[[], float]
    _known: dict[str, tuple[float, Any]] = field(default_factory=dict)  # key -> asked when, answer or error
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def get(self, key: str, max_age_s: float, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, at most that old. Raises the BackendUnavailable that asking raised."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            asked, answer = self._known.get(key, (0.0, None))
            if key not in self._known or self.clock() - asked >= max_age_s:
                try:
                    answer = await ask()
                except BackendUnavailable as error:
                    answer = error
                self._known[key] = (self.clock(), answer)
        if isinstance(answer, BackendUnavailable):
            raise copy(answer)  # each caller gets its own traceback
        return answer
