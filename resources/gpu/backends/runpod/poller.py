"""Who is asked about next: one scheduler for all open jobs of a process, on all endpoints.

A heap of due times, a bounded number of questions under way, and a lane for each endpoint that knows which of its jobs
wait (in order) and how long its jobs take. When a lane moves, those that will start next are asked about sooner. The
rules for a single job are `watch`'s; what is asked, and how, is the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from resources.gpu.backends.runpod.watch import Cadence, Key, Look, Reader, Watch, WorkerBook
from resources.gpu.errors import BackendUnavailable, Retry

NO_AGES: Mapping[Key, float] = MappingProxyType({})
Ask = Callable[[str, str], Awaitable[dict[str, Any] | None]]  # endpoint id, job id -> status body; None: 404

ENDED_KEPT = 4096  # ends that are remembered, so that a late progress update revives nothing
_LEARN = 0.3  # weight of the newest run in the expected run time


@dataclass
class Lane:
    """One endpoint's open jobs."""

    queued: dict[Key, Watch] = field(default_factory=dict)  # in order of arrival
    running: dict[Key, Watch] = field(default_factory=dict)
    expected_s: float = 0.0  # how long a job runs here; 0: none has ended yet

    def head(self, cadence: Cadence) -> int:
        """How many of the waiting jobs may start soon."""
        return max(cadence.head_jobs, min(2 * len(self.running), cadence.head_most))

    def is_head(self, key: Key, cadence: Cadence) -> bool:
        """True for one of those."""
        return key in itertools.islice(self.queued, self.head(cadence))

    def learn(self, exec_s: float) -> None:
        """A job ended after running that long."""
        if exec_s > 0:
            self.expected_s = exec_s if not self.expected_s else (1 - _LEARN) * self.expected_s + _LEARN * exec_s


class Poller:
    """Follows jobs until they end. Lives in one event loop."""

    def __init__(
        self, ask: Ask, *, cadence: Cadence | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._cadence = cadence or Cadence()
        self._clock = clock
        self._watches: dict[Key, Watch] = {}
        self._ended: OrderedDict[Key, Watch] = OrderedDict()
        self._lanes: dict[str, Lane] = {}
        self._workers = WorkerBook()
        self._heap: list[tuple[float, int, Watch]] = []
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many jobs are followed."""
        return len(self._watches)

    def submitted(self, key: Key, read: Reader) -> None:
        """This process has just submitted it: follow it from now on."""
        self._register(key, read, submitted_here=True, age_s=0.0)

    async def look(
        self, keys: Sequence[Key], reader: Callable[[Key], Reader], ages_s: Mapping[Key, float] = NO_AGES
    ) -> dict[Key, Look]:
        """The newest answer about each job; one that was never asked about, or hurried since, is waited for shortly.

        `reader` gives the eyes for a job that is not followed yet, `ages_s` says how long ago it was submitted. A job
        without a fresh answer is left out; raises BackendUnavailable where that leaves none.
        """
        now = self._clock()
        watches = [self._known(key) or self._register(key, reader(key), age_s=ages_s.get(key)) for key in keys]
        for watch in watches:
            watch.asked_at = now
        await self._answers([watch for watch in watches if not watch.ended and watch.seen_at < watch.wanted_at])
        now = self._clock()
        found = {w.key: look for w in watches if (look := w.look(now)) is not None and self._is_fresh(w, now)}
        if watches and not found:
            trouble = next((watch.trouble for watch in watches if watch.trouble), None)
            said = "answers 404, which is believed later" if watches[0].missing else "has not answered yet"
            raise trouble or BackendUnavailable(f"RunPod {said}, about job {watches[0].key[1]}.")
        return found

    def hurry(self, keys: Iterable[Key]) -> None:
        """Ask about these now; the next `look` waits for the answer."""
        for watch in (self._watches[key] for key in keys if key in self._watches):
            watch.wanted_at = self._clock()
            self._schedule(watch, 0.0)

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = [task for task in (self._task, *self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- who is followed

    def _known(self, key: Key) -> Watch | None:
        return self._ended.get(key) or self._watches.get(key)

    def _register(self, key: Key, read: Reader, *, submitted_here: bool = False, age_s: float | None = None) -> Watch:
        now = self._clock()
        since = now - (age_s or 0.0)
        watch = Watch(key, read, since, submitted_here, dated=age_s is not None, wanted_at=now, asked_at=now)
        self._watches[key] = watch
        self._lane(key).queued[key] = watch
        self._schedule(watch, 0.0)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return watch

    def _lane(self, key: Key) -> Lane:
        return self._lanes.setdefault(key[0], Lane())

    def _is_fresh(self, watch: Watch, now: float) -> bool:
        """Old is not stale: in a crowd the next look may be due in a minute. What is stale was asked for in vain."""
        since = watch.seen_at if watch.failures else max(watch.seen_at, watch.due)
        return watch.ended or now - since < self._cadence.stale_s

    async def _answers(self, watches: list[Watch]) -> None:
        """Wait until each of them was answered, or failed for good; not for long."""
        if not watches:
            return
        loop = asyncio.get_running_loop()
        waiting = []
        for watch in watches:
            waiter = loop.create_future()
            watch.waiters.append(waiter)
            waiting.append(waiter)
        await asyncio.wait(waiting, timeout=self._cadence.answer_s)
        for watch, waiter in zip(watches, waiting, strict=True):
            with contextlib.suppress(ValueError):
                watch.waiters.remove(waiter)

    # ---- the schedule

    def _schedule(self, watch: Watch, pause: float) -> None:
        watch.due = self._clock() + pause
        heapq.heappush(self._heap, (watch.due, next(self._count), watch))
        if self._heap[0][2] is watch:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _start_due(self) -> float | None:
        """Ask about everything that is due; returns the seconds until something else is."""
        now = self._clock()
        while self._heap:
            due, _, watch = self._heap[0]
            if watch.ended or watch.in_flight or watch.due != due or watch.key not in self._watches:
                heapq.heappop(self._heap)  # out of date
                continue
            if due > now:
                return due - now
            if len(self._asking) >= self._cadence.at_once:
                return None  # the next answer wakes us
            heapq.heappop(self._heap)
            watch.in_flight = True
            task = asyncio.get_running_loop().create_task(self._look_at(watch))
            self._asking.add(task)
            task.add_done_callback(self._asked)
        return None

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._wake.set()

    async def _look_at(self, watch: Watch) -> None:
        sent_at = self._clock()
        before = watch.status.state if watch.status else None
        try:
            body = await self._ask(*watch.key)
        except BackendUnavailable as error:
            watch.stumble(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the other jobs are still followed
            watch.stumble(BackendUnavailable(f"Asking about {watch.key[1]} failed ({type(error).__name__}: {error})."))
        else:
            watch.observe(body, sent_at, self._clock(), self._cadence)
        watch.in_flight = False
        self._settle(watch, before)
        self._tell(watch)

    def _settle(self, watch: Watch, before: str | None) -> None:
        """Put the job where it belongs now, and decide when it is asked about next."""
        lane, now, key = self._lane(watch.key), self._clock(), watch.key
        state = watch.status.state if watch.status else "queued"
        if watch.ended or now - watch.asked_at > self._cadence.unasked_s:
            self._leave(watch, lane)
        else:
            here, there = (lane.running, lane.queued) if state == "running" else (lane.queued, lane.running)
            there.pop(key, None)
            here.setdefault(key, watch)
            crowd = len(here)
            head = state == "queued" and lane.is_head(key, self._cadence)
            pause = watch.pause_s(now, self._cadence, expected_s=lane.expected_s, head=head, crowd=crowd)
            self._schedule(watch, 0.0 if watch.seen_at < watch.wanted_at and not watch.failures else pause)
        if state != before:
            self._advance_head(lane, now)

    def _leave(self, watch: Watch, lane: Lane) -> None:
        for place in (lane.queued, lane.running, self._watches):
            place.pop(watch.key, None)
        if watch.ended and watch.status is not None:
            lane.learn(watch.status.exec_s)
            gap_s, watch.worker_failures = self._workers.met(watch.status, self._clock())
            # Jobs that ended before this process saw them come in no order: any of them may have had the cold start.
            watch.gap_s = gap_s if watch.submitted_here or watch.ran else float("inf")
            self._ended[watch.key] = watch
            while len(self._ended) > ENDED_KEPT:
                self._ended.popitem(last=False)

    def _advance_head(self, lane: Lane, now: float) -> None:
        """The lane moved: ask sooner about those that start next."""
        for watch in itertools.islice(lane.queued.values(), lane.head(self._cadence)):
            if not watch.in_flight and not watch.failures and watch.due > now + self._cadence.head_s:
                self._schedule(watch, self._cadence.head_s)

    def _tell(self, watch: Watch) -> None:
        """Wake who waits, if the answer is new enough or there will be none."""
        hopeless = watch.trouble is not None and watch.trouble.retry is Retry.FATAL
        if watch.ended or hopeless or watch.seen_at >= watch.wanted_at:
            for waiter in watch.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            watch.waiters.clear()
