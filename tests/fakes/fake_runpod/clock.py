"""The fake's time and everything that happens by it.

Belongs here: a heap of events in order of time, run by `advance` (virtual) or by a ticker thread (real, `speed` times
as fast as the wall). Does not belong here: what an event does. An event may wait for a thread's result (`ready`): the
virtual clock then stands still until it is there, so that what threads do has a definite place in time.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

VIRTUAL_START = 1_764_000_000.0  # any fixed moment will do; runs are equal to the second
READY_S = 120.0  # real seconds that `advance` waits for one thread's result


@dataclass(order=True)
class Event:
    """One thing that happens at `when` (epoch seconds of the fake), once `ready` is done."""

    when: float
    number: int
    act: Callable[[], None] = field(compare=False)
    ready: Future[Any] | None = field(compare=False, default=None)
    cancelled: bool = field(compare=False, default=False)


class Clock:
    """`speed` None: time moves by `advance` only. Otherwise real time, `speed` times as fast."""

    def __init__(self, speed: float | None = None, start: float | None = None) -> None:
        if speed is not None and speed <= 0:
            raise ValueError(f"speed is {speed}; it must be above 0, or None for a clock that is moved by hand")
        self.speed = speed
        self.lock = threading.RLock()  # guards the whole fake, not only the clock
        self.errors: list[str] = []  # tracebacks of events that raised under the ticker
        self._begun = time.monotonic()
        self._start = start if start is not None else (VIRTUAL_START if speed is None else time.time())
        self._now = self._start
        self._running: float | None = None  # the moment of the event that runs right now
        self._events: list[Event] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition(self.lock)
        self._stopped = False
        self._ticker: threading.Thread | None = None

    def now(self) -> float:
        """Epoch seconds of the fake."""
        if self._running is not None:
            return self._running
        return self._now if self.speed is None else self._start + (time.monotonic() - self._begun) * self.speed

    def at(self, when: float, act: Callable[[], None], *, ready: Future[Any] | None = None) -> Event:
        """Let `act` happen at `when`, or as soon after as `ready` is done. Events of one moment keep their order."""
        with self.lock:
            event = Event(max(when, self.now()), next(self._numbers), act, ready)
            heapq.heappush(self._events, event)
            self._changed.notify_all()
            return event

    def after(self, seconds: float, act: Callable[[], None], *, ready: Future[Any] | None = None) -> Event:
        """Let `act` happen in so many of the fake's seconds."""
        return self.at(self.now() + seconds, act, ready=ready)

    def advance(self, seconds: float = 0.0) -> None:
        """Move a virtual clock on, running what happens on the way in order; 0 runs what is due now."""
        if self.speed is not None:
            raise RuntimeError("this clock runs by itself: only a virtual one (speed=None) can be advanced")
        target = self._now + seconds
        while True:
            with self.lock:
                event = self._next(target)
                if event is not None and (event.ready is None or event.ready.done()):
                    heapq.heappop(self._events)
                    self._now = event.when
                    self._run(event)
                    continue
                if event is None:
                    self._now = target
                    return
            assert event.ready is not None
            event.ready.exception(READY_S)  # waits; the event itself looks at what came out

    def start(self) -> None:
        """Let a real clock tick."""
        if self.speed is not None and self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True, name="fake-runpod-clock")
            self._ticker.start()

    def stop(self) -> None:
        """End the ticker; events that are left never happen."""
        with self.lock:
            self._stopped = True
            self._changed.notify_all()
        if self._ticker is not None:
            self._ticker.join(5)

    def _next(self, until: float) -> Event | None:
        while self._events and self._events[0].cancelled:
            heapq.heappop(self._events)
        return self._events[0] if self._events and self._events[0].when <= until else None

    def _run(self, event: Event) -> None:
        before, self._running = self._running, event.when
        try:
            event.act()
        finally:
            self._running = before

    def _tick(self) -> None:
        assert self.speed is not None
        with self.lock:
            while not self._stopped:
                event = self._next(self.now())
                if event is None:
                    self._changed.wait(self._pause())
                    continue
                heapq.heappop(self._events)
                if event.ready is not None and not event.ready.done():
                    event.ready.add_done_callback(functools.partial(self._again, event))
                    continue
                try:
                    self._run(event)
                except Exception:  # noqa: BLE001  one bad event must not stop time; tests look at `errors`
                    self.errors.append(traceback.format_exc())

    def _again(self, event: Event, _: Future[Any]) -> None:
        with self.lock:
            event.when = max(event.when, self.now())
            heapq.heappush(self._events, event)
            self._changed.notify_all()

    def _pause(self) -> float | None:
        if not self._events:
            return None
        assert self.speed is not None
        return max(0.0, (self._events[0].when - self.now()) / self.speed)
