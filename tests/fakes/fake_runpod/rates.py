"""Rate limits, counted in the fake's time.

Belongs here: the jobs host's windows (ten seconds, and requests at once) and the control host's three with their
headers. # runpod facts 1 [doc] [spec]
"""

from __future__ import annotations

from collections import defaultdict, deque

from tests.fakes.fake_runpod.config import CONTROL_RATES, RATES
from tests.fakes.fake_runpod.world import World

WINDOW_S = 10.0


class JobRates:
    """Sliding windows an endpoint and operation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._seen: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self.refusals = 0
        self.open: dict[tuple[str, str], int] = defaultdict(int)  # requests that are being answered

    def refused(self, endpoint: str, operation: str) -> dict[str, str] | None:
        """None if the request may pass (and is counted), else the headers of its 429."""
        if not self.world.config.switches.rate_limits or operation not in RATES:
            return None
        most, at_once = RATES[operation]
        pool = self.world.pools.get(endpoint)
        if pool is not None:
            most = max(most, pool.counts()["busy"] * pool.config.requests_per_worker)
        seen, now = self._seen[endpoint, operation], self.world.clock.now()
        while seen and seen[0] <= now - WINDOW_S:
            seen.popleft()
        if len(seen) >= most or self.open[endpoint, operation] > at_once:
            self.refusals += 1
            wait = str(max(1, round(seen[0] + WINDOW_S - now))) if seen else "1"
            return {"retry-after": wait} if self.world.config.switches.rate_headers else {}
        seen.append(now)
        return None


class ControlRates:
    """Fixed windows of a minute, an hour and a day over the whole account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._used: dict[tuple[str, int], int] = defaultdict(int)

    def count(self) -> tuple[dict[str, str], bool]:
        """(headers, refused) of one more request."""
        now = self.world.clock.now()
        refused, waits, states = False, [], []
        for name, most, seconds in CONTROL_RATES:
            at = (name, int(now // seconds))
            left = seconds - int(now % seconds)
            if self._used[at] >= most:
                refused = refused or self.world.config.switches.rate_limits
                waits.append(left)
            else:
                self._used[at] += 1
            states.append(f'"{name}";r={max(0, most - self._used[at])};t={left}')
        headers = {
            "RateLimit": ", ".join(states),
            "RateLimit-Policy": ", ".join(f'"{name}";q={most};w={seconds}' for name, most, seconds in CONTROL_RATES),
        }
        if refused:
            headers["Retry-After"] = str(max(waits))
        return headers, refused
