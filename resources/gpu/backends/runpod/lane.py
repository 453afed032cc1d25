"""One endpoint's open jobs: in which order they wait, how long they take, and when each is asked about next.

Belongs here: a heap of due times, a bounded number of questions under way, the pause while the endpoint wants quiet.
Lanes share nothing, so that an endpoint that is throttled or hangs keeps no other one's jobs waiting. The rules for a
single job are `watch`'s; whose jobs are followed, and what an answer changes, is `poller`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Awaitable, Callable

from resources.gpu.backends.runpod.watch import Cadence, Key, Watch
from resources.gpu.errors import BackendUnavailable

_LEARN = 0.3  # weight of the newest run in the expected run time


class Lane:
    """Asks about its jobs by `look_at`, one task for each question; `opened` returns once it may ask at all."""

    def __init__(
        self,
        cadence: Cadence,
        clock: Callable[[], float],
        look_at: Callable[[Watch], Awaitable[None]],
        opened: Callable[[], Awaitable[None]],
    ) -> None:
        self.queued: dict[Key, Watch] = {}  # in order of arrival
        self.running: dict[Key, Watch] = {}
        self.expected_s = 0.0  # how long a job runs here; 0: none has ended yet
        self.trouble: BackendUnavailable | None = None  # why the newest question has no answer, if it is nobody's own
        self._cadence = cadence
        self._clock = clock
        self._look_at = look_at
        self._opened = opened
        self._heap: list[tuple[float, int, Watch]] = []
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    # ---- its jobs

    def holds(self, watch: Watch) -> bool:
        """True while that job is one of its open ones."""
        return watch.key in self.queued or watch.key in self.running

    def put(self, watch: Watch, state: str) -> int:
        """Put a job where its state belongs; returns how many are in the same one."""
        here, there = (self.running, self.queued) if state == "running" else (self.queued, self.running)
        there.pop(watch.key, None)
        here.setdefault(watch.key, watch)
        return len(here)

    def drop(self, key: Key) -> None:
        """It is no longer followed."""
        self.queued.pop(key, None)
        self.running.pop(key, None)

    def is_head(self, key: Key) -> bool:
        """True for a waiting job that may start soon."""
        return key in itertools.islice(self.queued, self._head())

    def learn(self, exec_s: float) -> None:
        """A job ended after running that long."""
        if exec_s > 0:
            self.expected_s = exec_s if not self.expected_s else (1 - _LEARN) * self.expected_s + _LEARN * exec_s

    # ---- when they are asked about

    def schedule(self, watch: Watch, pause: float) -> None:
        """Ask about it after so many seconds, whatever was planned before."""
        watch.due = self._clock() + pause
        heapq.heappush(self._heap, (watch.due, next(self._count), watch))
        if self._heap[0][2] is watch:
            self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def advance_head(self) -> None:
        """It moved: ask sooner about those that start next."""
        soon = self._clock() + self._cadence.head_s
        for watch in itertools.islice(self.queued.values(), self._head()):
            if not watch.in_flight and not watch.failures and watch.due > soon:
                self.schedule(watch, self._cadence.head_s)

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = [task for task in (self._task, *self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _head(self) -> int:
        """How many of the waiting jobs may start soon."""
        return max(self._cadence.head_jobs, min(2 * len(self.running), self._cadence.head_most))

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._opened()
            pause = self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _start_due(self) -> float | None:
        """Ask about everything that is due; returns the seconds until something else is."""
        now = self._clock()
        while self._heap:
            due, _, watch = self._heap[0]
            if watch.ended or watch.in_flight or watch.due != due or not self.holds(watch):
                heapq.heappop(self._heap)  # out of date
                continue
            if due > now:
                return due - now
            if len(self._asking) >= self._cadence.at_once:
                return None  # the next answer wakes us
            heapq.heappop(self._heap)
            watch.in_flight = True
            task = asyncio.ensure_future(self._look_at(watch))
            self._asking.add(task)
            task.add_done_callback(self._asked)
        return None

    def _asked(self, task: asyncio.Future[None]) -> None:
        self._asking.discard(task)
        self._wake.set()
