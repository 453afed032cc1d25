"""The conversation of one call with its backend: who is asked when, and how much happens at once.

Rounds: one poll for all jobs that are on their way, then one step for each. What takes long (sending, fetching,
asking why) is done beside the rounds, a bounded number at a time, and no job waits for another one's. A round in
which nothing moved costs no query; the pause after it grows, and is never shorter than four times what it cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from resources.database import AWAY
from resources.gpu import errors
from resources.gpu.faultpoints import Death
from resources.gpu.ledger import LedgerConflict
from resources.gpu.life import Life
from resources.gpu.records import Attempt
from resources.gpu.refused import earlier_refusal
from resources.gpu.settlement import NEVER_SUBMITTED, ended_elsewhere
from resources.gpu.stuck import Patience
from resources.gpu.tracked import Look, Tracked
from resources.storage import StorageError

IDLE_SHARE = 4.0  # seconds of pause for each second that a round computed: polling stays under a fifth of one core
DIAGNOSES_AT_ONCE = 8


@dataclass(frozen=True)
class Progress:
    """What `on_progress` hears: how many jobs of this call are done, and the fraction of all their work."""

    done: int
    total: int
    fraction: float


@dataclass
class Conversation:
    """One call's jobs, each tracked once."""

    life: Life
    items: Sequence[Tracked]
    tell: Callable[[Progress], None] = lambda _: None
    _moved: bool = False
    _curious: deque[Tracked] = field(default_factory=deque)  # those that wait so long that somebody should ask why
    _asking: int = 0
    _seen: dict[str, float] = field(default_factory=dict)  # attempt -> its last wake that we acted on
    _seen_at: float = float("-inf")
    _fatal: errors.GpuError | None = None  # nothing more is sent after it
    _failure: BaseException | None = None  # what nobody expected: it ends the call

    def __post_init__(self) -> None:
        self.policy, self.ledger = self.life.policy, self.life.ledger
        self.patience = Patience(self.life)
        self._sends = asyncio.Semaphore(self.policy.sends_at_once)
        self._fetches = asyncio.Semaphore(self.policy.fetches_at_once)
        self._stir = asyncio.Event()

    # ---- the three ways to hold it

    async def to_the_end(self) -> None:
        """Until every job has its result or its error."""
        async with self._holding():
            await self._prepare()
            await self._follow()
            self._release_if(any(item.attempt and item.attempt.is_open for item in self.items))

    async def until_sent(self) -> None:
        """Until every job is on its way, found so, or done; what is unknown is asked after, not waited for."""
        async with self._holding():
            await self._prepare()
            for _ in range(2 * self.policy.max_attempts):  # settle what is unknown, start anew
                await self._works()
                waiting = [i for i in self.items if not i.ended and not (i.attempt and i.attempt.remote_id)]
                if not waiting:
                    break
                await asyncio.sleep(max(0.0, min(item.rest_until for item in waiting) - time.monotonic()))
                self._reread(waiting)
                for item in waiting:
                    self._step(item, Look())
            await self._works()
            self._release_if(True)  # nobody follows it from here: who comes next need not wait

    async def once(self, within_s: float | None = None) -> None:
        """One look at every job, and what follows from it (`within_s`); nothing is sent, for their tries are used up.

        Interrupted, or out of time, it lets go of them: whoever looks at other people's work does not stop it.
        """
        async with self._holding(stops=False):
            look = await self.life.look([item.attempt for item in self.items if item.attempt])
            for item in self.items:
                self._step(item, look)
            self._ask_why()
            await self._works(within_s)
            await self._stop_works()
            self._release_if(True)

    @contextlib.asynccontextmanager
    async def _holding(self, *, stops: bool = True) -> AsyncIterator[None]:
        """Our leases are kept meanwhile; terminated, what is ours is stopped (if it `stops`); failed, let go of."""
        beat = asyncio.ensure_future(self._beat())
        try:
            yield
        except Death:
            raise
        except Exception:
            await self._stop_works()
            self._release_if(True)
            raise
        except BaseException:  # terminated; what cannot be stopped now stays open in the ledger
            await self._stop_works()
            if stops:
                await asyncio.gather(*(self.patience.abandon(item) for item in self.items), return_exceptions=True)
            self._release_if(True)
            raise
        finally:
            beat.cancel()

    # ---- rounds

    async def _prepare(self) -> None:
        """Adopt and attach; then validate everything that would be sent, before anything is."""
        done = [item for item in self.items if item.row.result is not None]
        await asyncio.gather(*(self._work(item, self._fetches, partial(self.life.adopt, item)) for item in done))
        fresh = []
        for item in self.items:
            if not item.ended:
                with self._minding(item):
                    item.now_at(self.ledger.open_attempt(item.row.fingerprint))
                    if item.attempt is None:
                        item.error = earlier_refusal(self.ledger, item.row)
                if item.attempt is None and not item.ended:
                    fresh.append(item)
        self.life.gate.check([item.row.job for item in fresh])
        if len(fresh) > 1:  # one question for all; if it is refused, each job hears of its own endpoint
            with contextlib.suppress(errors.BackendUnavailable):
                await self.life.gate.pass_through(self.life.backend.endpoint_for(item.row.job) for item in fresh)
        for item in fresh:
            self._spawn(item, self._sends, partial(self._start, item))
        await asyncio.sleep(0)  # the first of them commit their intents

    async def _follow(self) -> None:
        pause = self.policy.poll_min_s
        while any(not item.ended for item in self.items):
            begun = time.thread_time()
            now = time.monotonic()
            idle = [i for i in self.items if not i.ended and i.work is None and i.rest_until <= now]
            self._reread(idle)
            look = await self.life.look([item.attempt for item in idle if item.attempt])
            self._curious.clear()
            for item in idle:
                before = item.attempt
                self._step(item, look)
                self._moved |= item.ended or item.attempt is not before
            self._ask_why()
            self._tell()
            pause = self.policy.poll_min_s if self._moved else min(pause * 1.5, self.policy.poll_max_s)
            self._moved = False
            await self._rest(pause, IDLE_SHARE * (time.thread_time() - begun))
            if self._failure is not None:
                raise self._failure
        self._tell()

    def _step(self, item: Tracked, look: Look) -> None:
        """Bring one job forward from whatever state its attempt is in, or begin the work that will."""
        with self._minding(item):
            self._next(item, look)

    def _next(self, item: Tracked, look: Look) -> None:
        attempt = item.attempt
        if attempt is None or attempt.state == "succeeded":
            self._spawn(item, self._sends, partial(self._adopt_or_start, item))
            return
        if not attempt.is_open:
            raise ended_elsewhere(item.row, attempt)
        self.life.check_here(item.row, attempt)
        if attempt.state in ("intended", "unknown"):
            if self.patience.ours(attempt):
                waited = self.patience.elapsed(item, attempt)
                self._spawn(item, self._sends, partial(self.life.settle_unknown, item, attempt, waited))
            return
        status = look.at(attempt)
        if status.state not in ("queued", "running"):
            self._spawn(item, self._fetches, partial(self.life.finish, item, attempt, status))
            return
        self.life.observe(item, attempt, status)
        attempt = item.attempt or attempt
        if not attempt.is_open:
            return
        if self.patience.overdue(item, attempt):
            self._spawn(item, None, partial(self.patience.time_out, item, attempt))
        elif self.patience.curious(item, attempt):
            self._curious.append(item)
        else:
            item.calm()

    async def _adopt_or_start(self, item: Tracked) -> None:
        if await self.life.adopt(item):
            return
        item.now_at(self.ledger.open_attempt(item.row.fingerprint))
        if item.attempt is None:
            self.life.gate.check([item.row.job])
            await self._start(item)

    async def _start(self, item: Tracked) -> None:
        if self._fatal is not None:
            item.error = self._fatal
            return
        try:
            await self.life.start(item)
        except errors.GpuError as error:
            if error.retry is errors.Retry.FATAL:
                self._fatal = self._fatal or error
            raise

    def _ask_why(self) -> None:
        """A few at a time; those whose turn has not come are followed meanwhile."""
        while self._curious and self._asking < DIAGNOSES_AT_ONCE:
            item = self._curious.popleft()
            if item.work is None and item.attempt is not None and self.patience.curious(item, item.attempt):
                self._asking += 1
                self._spawn(item, None, partial(self._diagnose, item, item.attempt))

    async def _diagnose(self, item: Tracked, attempt: Attempt) -> None:
        try:
            await self.patience.diagnose(item, attempt)
        finally:
            self._asking -= 1
            self._ask_why()

    # ---- trouble

    @contextlib.contextmanager
    def _minding(self, item: Tracked) -> Iterator[None]:
        """Whatever goes wrong for one job never touches the other jobs of the call."""
        try:
            try:
                yield
            except LedgerConflict:  # somebody else moved the row: read it again and go on from there
                item.now_at(item.attempt and self.ledger.attempt(item.attempt.id))
            except errors.NotSent as error:
                self._failed(item, error, arrived=False)
            except (errors.BackendUnavailable, StorageError) as error:
                self._note_trouble(item, error)
            except errors.GpuError as error:
                self._failed(item, error, arrived=error.code != NEVER_SUBMITTED)
        except AWAY as error:
            self._note_trouble(item, _ledger_away(item, error))

    def _failed(self, item: Tracked, error: errors.GpuError, *, arrived: bool) -> None:
        """The attempt is over: another one, or the caller hears of it."""
        error.cost_usd = self.ledger.cost_usd([item.row.fingerprint])
        if error.retry is errors.Retry.ELSEWHERE and item.attempt is not None:
            item.tried.append(item.attempt.endpoint)
        if not arrived:
            item.rest(self.policy.retry_pause_s * 2**item.refused)
            item.refused += 1
        again = error.retry in (errors.Retry.TRANSIENT, errors.Retry.ELSEWHERE)
        if not again or item.tries >= self.policy.max_attempts:
            item.error = error
        if error.retry is errors.Retry.FATAL:
            self._fatal = self._fatal or error
        item.now_at(None)

    def _note_trouble(self, item: Tracked, error: Exception) -> None:
        """The attempt stays open and what it made stays fetchable: by a later step, or by the next run."""
        now = time.monotonic()
        item.trouble = error
        item.silent_since = now if item.silent_since is None else item.silent_since
        passing = isinstance(error, errors.BackendUnavailable) and error.retry is errors.Retry.TRANSIENT
        if not passing or now - item.silent_since >= self.policy.silence_limit_s:
            item.error = error
        if item.attempt is None:
            item.rest(self.policy.poll_max_s)

    # ---- work beside the rounds

    def _spawn(self, item: Tracked, limit: asyncio.Semaphore | None, do: Callable[[], Awaitable[object]]) -> None:
        item.work = asyncio.ensure_future(self._work(item, limit, do))
        item.work.add_done_callback(partial(self._done, item, item.attempt))

    async def _work(self, item: Tracked, limit: asyncio.Semaphore | None, do: Callable[[], Awaitable[object]]) -> None:
        async with limit or contextlib.nullcontext():
            with self._minding(item):
                await do()
                item.calm()

    def _done(self, item: Tracked, before: Attempt | None, task: asyncio.Task[None]) -> None:
        item.work = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
        if item.ended or before is None or item.attempt is not before or self._failure is not None:
            self._moved = True  # else there is nothing new for a round
            self._stir.set()

    async def _works(self, within_s: float | None = None) -> None:
        """Wait for all of it, or so long."""
        works = [item.work for item in self.items if item.work]
        if works:
            await asyncio.wait(works, timeout=within_s)
            await asyncio.sleep(0)  # their callbacks run
        if self._failure is not None:
            raise self._failure

    async def _stop_works(self) -> None:
        self._curious.clear()
        works = [item.work for item in self.items if item.work]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _beat(self) -> None:
        """Renew our leases, so that nobody takes a slow upload or a long fetch for a crash."""
        while True:
            await asyncio.sleep(self.policy.lease_s / 3)
            with contextlib.suppress(*AWAY):  # for a moment: the next beat
                self.ledger.renew(self.life.owner, self.policy.lease_s)

    # ---- small parts

    def _reread(self, items: Sequence[Tracked]) -> None:
        """One query for all whose submission is under way or unknown: another process may know more by now."""
        found = {i.attempt.id: i for i in items if i.attempt and i.attempt.state in ("intended", "unknown")}
        with contextlib.suppress(*AWAY):  # their steps will tell
            for attempt_id, attempt in (self.ledger.read(found) if found else {}).items():
                found[attempt_id].now_at(attempt)

    async def _rest(self, pause: float, at_least: float) -> None:
        """Wait that long, or until something was done or a webhook came; but never less than `at_least`."""
        floor = min(max(at_least, self.policy.poll_min_s), self.policy.poll_max_s)
        await asyncio.sleep(floor)
        left = pause - floor
        while not self._woken() and left > 0 and not self._stir.is_set():
            step = min(left, self.policy.wake_s)
            left -= step
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step):  # wait_for (3.11) loses a termination that comes with the stir
                    await self._stir.wait()
        self._stir.clear()

    def _woken(self) -> bool:
        """True if a webhook came for one of our jobs: the backend is told to hurry with it."""
        now = time.monotonic()
        if not self.life.webhook_url or now - self._seen_at < self.policy.wake_s:
            return False
        self._seen_at = now
        news: dict[str, float] = {}
        with contextlib.suppress(*AWAY):
            news = {key: at for key, at in self.ledger.woken().items() if self._seen.get(key) != at}
        self._seen |= news
        moved = [item for item in self.items if item.attempt and item.attempt.id in news] if news else []
        for item in moved:
            item.rest_until = float("-inf")
        self.life.backend.hurry([i.attempt.remote_id for i in moved if i.attempt and i.attempt.remote_id])
        return bool(moved)

    def _release_if(self, left: bool) -> None:
        """Who comes next need not wait for our leases to run out."""
        if left:
            with contextlib.suppress(*AWAY):  # they run out
                self.ledger.release(self.life.owner)

    def _tell(self) -> None:
        done = sum(item.ended for item in self.items)
        work = sum(1.0 if item.ended else item.fraction for item in self.items)
        self.tell(Progress(done, len(self.items), work / len(self.items)))


def _ledger_away(item: Tracked, error: Exception) -> errors.BackendUnavailable:
    """A database that does not answer, without its words: they hold statements and values."""
    return errors.BackendUnavailable(
        f"{item.row.job.label}: the ledger's database does not answer ({type(error).__name__}).",
        code="ledger_away",
        way_out="Check the database of RYLA_DATABASE_URL; what was sent is in it, and the next run takes it.",
    )
