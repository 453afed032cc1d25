"""Time that passes faster for one process, for all that waits in it: the same waits as in production, sooner over.

The fake's clock and the killed process run at the same speed from the same moment, so what one writes down and what
the other bills can be compared to the second, and no pause of the product is changed for the test.

`install` must come before the product's modules are imported: some of them take `time.monotonic` as a default.
"""

from __future__ import annotations

import selectors
import sys
import time
from dataclasses import dataclass

_monotonic, _sleep, _wall = time.monotonic, time.sleep, time.time
_SHORTEST_S = 0.0005  # real seconds; a busy loop would be the alternative


@dataclass(frozen=True)
class Pace:
    """`speed` seconds pass in a real one, since the real monotonic moment `begun`, which was `wall` by the clock."""

    speed: float
    begun: float
    wall: float

    def elapsed(self) -> float:
        """Dilated seconds since it began."""
        return (_monotonic() - self.begun) * self.speed


_pace: Pace | None = None


def install() -> None:
    """Put clocks, sleep and the event loops' selector under this module's rule; without a pace they are as ever."""
    early = [name for name in sys.modules if name.startswith(("resources", "asyncio", "httpx"))]
    if early:
        raise RuntimeError(f"{early[0]} was imported before time was dilated: it may hold the real clock")
    time.monotonic, time.time, time.sleep = _dilated_monotonic, _dilated_wall, _dilated_sleep  # type: ignore[assignment]
    selectors.DefaultSelector = _DilatedSelector  # type: ignore[misc]


def start(pace: Pace) -> None:
    """From now on this process lives at that pace."""
    global _pace  # noqa: PLW0603  a process has one time
    _pace = pace


def real() -> float:
    """The machine's own monotonic clock."""
    return _monotonic()


def really_sleep(seconds: float) -> None:
    """Sleep by the machine's own clock."""
    _sleep(seconds)


def _dilated_monotonic() -> float:
    return _monotonic() if _pace is None else _pace.begun + _pace.elapsed()


def _dilated_wall() -> float:
    return _wall() if _pace is None else _pace.wall + _pace.elapsed()


def _dilated_sleep(seconds: float) -> None:
    _sleep(seconds if _pace is None else max(_SHORTEST_S, seconds / _pace.speed))


class _DilatedSelector(selectors.DefaultSelector):
    """An event loop's waiting."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait so much shorter."""
        if _pace is not None and timeout is not None and timeout > 0:
            timeout = max(_SHORTEST_S, timeout / _pace.speed)
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found
