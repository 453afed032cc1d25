"""How often a process may ask RunPod, and how long everybody waits after a 429.

One gate an (endpoint, operation), shared by all jobs of the process: at most the documented number of requests in any
ten seconds, at most the documented number at once, and none at all while the far side wants quiet. What is asked is
not known here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from resources.runpod.headers import exhausted_s, retry_after_s

WINDOW_S = 10.0
MARGIN = 0.95  # of a quota: their window and ours do not begin together
BACKOFF_MIN_S = 1.0  # after a 429 that names no time: full jitter between these
BACKOFF_MAX_S = 15.0
PAUSE_MAX_S = 600.0  # a longer wish is an error, or no friend's


@dataclass(frozen=True)
class Quota:
    """Requests in ten seconds, and at once, for one user and one endpoint."""

    per_window: int
    at_once: int


# RunPod docs, operation reference, "Rate limits": more workers only raise them. The last two are not in its table and
# are held to the smallest quota that is.
QUOTAS: Mapping[str, Quota] = {
    "run": Quota(1000, 200),
    "runsync": Quota(2000, 400),
    "status": Quota(2000, 400),
    "stream": Quota(2000, 400),
    "cancel": Quota(100, 20),
    "retry": Quota(100, 20),
    "health": Quota(100, 20),
}


@dataclass
class Gate:
    """One operation of one endpoint."""

    quota: Quota
    slots: asyncio.Semaphore
    line: asyncio.Lock = field(default_factory=asyncio.Lock)  # who waits for the window waits in order
    granted: deque[float] = field(default_factory=deque)  # when, of the last window
    quiet_until: float = 0.0
    quiet_since: float = float("-inf")
    refusals: int = 0  # 429s in a row

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may go; 0: now."""
        while self.granted and self.granted[0] <= now - WINDOW_S:
            self.granted.popleft()
        full = len(self.granted) >= max(1, int(self.quota.per_window * MARGIN))
        window = self.granted[0] + WINDOW_S - now if full else 0.0
        return max(0.0, window, self.quiet_until - now)


@dataclass(frozen=True)
class Turn:
    """One request's permission."""

    gate: Gate
    granted_at: float


@dataclass
class Limits:
    """The gates of one process towards one account. Lives in one event loop."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # only to read a date in Retry-After
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    quotas: Mapping[str, Quota] = field(default_factory=lambda: QUOTAS)
    gates: dict[tuple[str, str], Gate] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, endpoint: str, operation: str) -> AsyncIterator[Turn]:
        """Wait for permission; hold it while the request is under way."""
        gate = self._gate(endpoint, operation)
        async with gate.slots:
            async with gate.line:
                while (wait := gate.wait_s(self.clock())) > 0:
                    await self.sleep(wait)
                turn = Turn(gate, self.clock())
                gate.granted.append(turn.granted_at)
            yield turn

    async def opened(self, endpoint: str, operation: str) -> None:
        """Return once a request would not have to wait for the window or for the far side's quiet; holds nothing."""
        gate = self._gate(endpoint, operation)
        while (wait := gate.wait_s(self.clock())) > 0:
            await self.sleep(wait)

    def answered(self, turn: Turn, status: int, headers: Mapping[str, str]) -> float:
        """Take note of an answer; returns for how many seconds nothing of the kind is asked now."""
        gate, now = turn.gate, self.clock()
        asked = max(retry_after_s(headers, self.wall()), exhausted_s(headers))
        if status == 429:
            if turn.granted_at >= gate.quiet_since:  # of a burst of refusals the first one counts
                gate.refusals += 1
                gate.quiet_since = now
            top = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2**gate.refusals)
            asked = asked or BACKOFF_MIN_S + (top - BACKOFF_MIN_S) * self.chance()
        elif status < 400:
            gate.refusals = 0
        if asked > 0:
            gate.quiet_until = max(gate.quiet_until, now + min(asked, PAUSE_MAX_S))
        return max(0.0, gate.quiet_until - now)

    def _gate(self, endpoint: str, operation: str) -> Gate:
        key = (endpoint, operation)
        if key not in self.gates:
            quota = self.quotas[operation]
            self.gates[key] = Gate(quota, asyncio.Semaphore(quota.at_once))
        return self.gates[key]
