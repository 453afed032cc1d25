"""Who is followed: all open jobs of a process on all endpoints, and what each answer changes.

Every endpoint has a lane of its own (`lane`), which decides who of it is asked about next. The rules for a single job
are `watch`'s; what is asked, and how, is the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from resources.gpu.backends.runpod.lane import Lane
from resources.gpu.backends.runpod.watch import Cadence, Key, Look, Reader, Watch, WorkerBook
from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod.redaction import shown

NO_AGES: Mapping[Key, float] = MappingProxyType({})
Ask = Callable[[str, str], Awaitable[dict[str, Any] | None]]  # endpoint id, job id -> status body; None: 404

ENDED_KEPT = 4096  # ends that are remembered, so that a late progress update revives nothing


async def _at_once(_: str) -> None:
    """No endpoint ever wants quiet."""


class Poller:
    """Follows jobs until they end. Lives in one event loop.

    `opened` returns once RunPod takes questions about an endpoint's jobs: until then nothing is asked there.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        cadence: Cadence | None = None,
        clock: Callable[[], float] = time.monotonic,
        opened: Callable[[str], Awaitable[None]] = _at_once,
    ) -> None:
        self._ask = ask
        self._opened = opened
        self._cadence = cadence or Cadence()
        self._clock = clock
        self._watches: dict[Key, Watch] = {}
        self._ended: OrderedDict[Key, Watch] = OrderedDict()
        self._lanes: dict[str, Lane] = {}
        self._workers = WorkerBook()

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
            troubles = [trouble for w in watches if (trouble := w.trouble or self._lane(w.key).trouble)]
            trouble = troubles[0] if troubles else None
            said = "answers 404, which is believed later" if watches[0].missing else "has not answered yet"
            raise trouble or BackendUnavailable(f"RunPod {said}, about job {watches[0].key[1]}.")
        return found

    def hurry(self, keys: Iterable[Key]) -> None:
        """Ask about these now; the next `look` waits for the answer."""
        for watch in (self._watches[key] for key in keys if key in self._watches):
            watch.wanted_at = self._clock()
            self._lane(watch.key).schedule(watch, 0.0)

    async def aclose(self) -> None:
        """Stop asking."""
        await asyncio.gather(*(lane.aclose() for lane in self._lanes.values()))

    # ---- who is followed

    def _known(self, key: Key) -> Watch | None:
        return self._ended.get(key) or self._watches.get(key)

    def _register(self, key: Key, read: Reader, *, submitted_here: bool = False, age_s: float | None = None) -> Watch:
        now = self._clock()
        since = now - (age_s or 0.0)
        watch = Watch(key, read, since, submitted_here, dated=age_s is not None, wanted_at=now, asked_at=now)
        self._watches[key] = watch
        lane = self._lane(key)
        lane.put(watch, "queued")
        lane.schedule(watch, 0.0)
        return watch

    def _lane(self, key: Key) -> Lane:
        endpoint = key[0]
        if endpoint not in self._lanes:
            opened = partial(self._opened, endpoint)
            self._lanes[endpoint] = Lane(self._cadence, self._clock, self._look_at, opened)
        return self._lanes[endpoint]

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

    # ---- one question

    async def _look_at(self, watch: Watch) -> None:
        sent_at = self._clock()
        before = watch.status.state if watch.status else None
        lane = self._lane(watch.key)
        try:
            body = await self._ask(*watch.key)
        except BackendUnavailable as error:
            watch.stumble(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the other jobs are still followed
            said = f"{type(error).__name__}: {shown(error, 200)}"
            watch.stumble(BackendUnavailable(f"Asking about {watch.key[1]} failed ({said})."))
        else:
            watch.observe(body, sent_at, self._clock(), self._cadence)
        watch.in_flight = False
        lane.trouble = watch.trouble if watch.trouble and watch.trouble.retry is Retry.TRANSIENT else None
        self._settle(watch, lane, before)
        self._tell(watch)

    def _settle(self, watch: Watch, lane: Lane, before: str | None) -> None:
        """Put the job where it belongs now, and decide when it is asked about next."""
        now = self._clock()
        state = watch.status.state if watch.status else "queued"
        if watch.ended or now - watch.asked_at > self._cadence.unasked_s:
            self._leave(watch, lane)
        else:
            crowd = lane.put(watch, state)
            head = state == "queued" and lane.is_head(watch.key)
            pause = watch.pause_s(now, self._cadence, expected_s=lane.expected_s, head=head, crowd=crowd)
            lane.schedule(watch, 0.0 if watch.seen_at < watch.wanted_at and not watch.failures else pause)
        if state != before:
            lane.advance_head()

    def _leave(self, watch: Watch, lane: Lane) -> None:
        lane.drop(watch.key)
        self._watches.pop(watch.key, None)
        if watch.ended and watch.status is not None:
            lane.learn(watch.status.exec_s)
            gap_s, watch.worker_failures = self._workers.met(watch.status, self._clock())
            # Jobs that ended before this process saw them come in no order: any of them may have had the cold start.
            watch.gap_s = gap_s if watch.submitted_here or watch.ran else float("inf")
            self._ended[watch.key] = watch
            while len(self._ended) > ENDED_KEPT:
                self._ended.popitem(last=False)

    def _tell(self, watch: Watch) -> None:
        """Wake who waits, if the answer is new enough or there will be none."""
        hopeless = watch.trouble is not None and watch.trouble.retry is not Retry.TRANSIENT
        if watch.ended or hopeless or watch.seen_at >= watch.wanted_at:
            for waiter in watch.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            watch.waiters.clear()
