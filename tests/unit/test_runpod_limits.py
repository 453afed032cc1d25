"""What goes wrong when many jobs ask one API: quotas overrun, 429s ignored, one endpoint's silence kept for all."""

import asyncio

import pytest

from resources.gpu.backends.runpod.limits import BACKOFF_MAX_S, QUOTAS, Limits, Quota
from resources.runpod.headers import exhausted_s, retry_after_s


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Now, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let that time pass at once."""
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    """The test's clock."""
    return Time()


@pytest.fixture
def limits(time: Time) -> Limits:
    """Ten requests a window, two at once, on the test's clock."""
    return Limits(
        clock=time, wall=lambda: 1_000_000.0, sleep=time.sleep, quotas={"status": Quota(10, 2), "run": Quota(10, 2)}
    )


def ask(
    limits: Limits, time: Time, times: int, *, status: int = 200, headers: dict[str, str] | None = None
) -> list[float]:
    """When each of so many requests in a row went."""

    async def asked() -> list[float]:
        went = []
        for _ in range(times):
            async with limits.turn("ep1", "status") as turn:
                went.append(time.now)
                limits.answered(turn, status, headers or {})
        return went

    return asyncio.run(asked())


def test_no_window_holds_more_than_its_quota(limits: Limits, time: Time) -> None:
    """In any ten seconds at most the quota, with a margin, goes; however they fall."""
    went = ask(limits, time, 40)
    assert max(sum(1 for other in went if at <= other < at + 10) for at in went) == 9


def test_no_more_at_once_than_allowed(limits: Limits) -> None:
    """Requests under way are counted too."""
    now = most = 0

    async def one() -> None:
        nonlocal now, most
        async with limits.turn("ep1", "status"):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(all_of_them())
    assert most == 2


def test_refusal_is_waited_out_by_everybody(limits: Limits, time: Time) -> None:
    """After a 429 with Retry-After 3 no job of the process asks for three seconds."""
    ask(limits, time, 1, status=429, headers={"retry-after": "3"})
    refused_at = time.now
    [next_at] = ask(limits, time, 1)
    assert next_at >= refused_at + 3


def test_refusal_of_one_operation_stops_no_other(limits: Limits, time: Time) -> None:
    """Each operation of each endpoint has a quota of its own."""
    ask(limits, time, 1, status=429, headers={"retry-after": "300"})

    async def others() -> None:
        async with limits.turn("ep1", "run"):
            pass
        async with limits.turn("ep2", "status"):
            pass

    asyncio.run(others())
    assert time.now == 100.0


def test_refusals_without_a_time_back_off(limits: Limits, time: Time) -> None:
    """Full jitter between 1 s and a top that doubles to 15 s; one success forgets it."""
    limits.chance = lambda: 1.0
    waits = []
    for _ in range(6):
        before = time.now
        ask(limits, time, 1, status=429)
        waits.append(time.now - before)
    assert waits == [0, 2, 4, 8, BACKOFF_MAX_S, BACKOFF_MAX_S]
    ask(limits, time, 1)
    limits.chance = lambda: 0.0
    ask(limits, time, 1, status=429)
    before = time.now
    ask(limits, time, 1)
    assert time.now - before == 1.0


def test_burst_of_refusals_counts_once(limits: Limits, time: Time) -> None:
    """Two requests under way that are both refused are one sign, not two."""

    async def burst() -> None:
        async with limits.turn("ep1", "status") as one, limits.turn("ep1", "status") as two:
            time.now += 1
            for turn in (one, two):
                limits.answered(turn, 429, {})

    asyncio.run(burst())
    assert limits.gates["ep1", "status"].refusals == 1


def test_absurd_wish_is_cut(limits: Limits, time: Time) -> None:
    """A Retry-After of a year does not stop a process for a year."""
    ask(limits, time, 1, status=429, headers={"retry-after": "31536000"})
    ask(limits, time, 1)
    assert time.now == 700.0


def test_spent_budget_is_believed_before_the_refusal(limits: Limits, time: Time) -> None:
    """RateLimit with nothing remaining on a 200 stops the next request."""
    ask(limits, time, 1, headers={"ratelimit": '"minute";r=0;t=12, "hour";r=2000;t=900'})
    ask(limits, time, 1)
    assert time.now == 112.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("Mon, 12 Jan 1970 13:46:50 GMT", 10.0), ("Mon, 12 Jan 1970 13:46:00 GMT", 0.0),
     ("soon", 0.0), ("", 0.0), ("-1", 0.0), ("Mon, 99 Jan 1970 13:46:50 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_in_all_its_forms(value: str, seconds: float) -> None:
    """Seconds, an HTTP date, or nonsense."""
    assert retry_after_s({"retry-after": value}, 1_000_000.0) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [('"minute";r=0;t=12', 12.0), ('"minute";r=0;t=12, "hour";r=0;t=900', 900.0), ('"minute";r=1;t=12', 0.0),
     ("r=0", 0.0), ("", 0.0), ('"minute";q=60;w=60', 0.0)],
)  # fmt: skip
def test_spent_budgets_in_all_their_forms(value: str, seconds: float) -> None:
    """The longest spent window decides."""
    assert exhausted_s({"ratelimit": value}) == seconds


def test_quotas_are_the_documented_ones() -> None:
    """RunPod docs, operation reference, rate limits."""
    assert (QUOTAS["run"], QUOTAS["status"], QUOTAS["cancel"]) == (Quota(1000, 200), Quota(2000, 400), Quota(100, 20))
