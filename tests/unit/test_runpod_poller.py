"""What goes wrong while thousands of jobs are followed: regressions, false 404s, one slow answer, memory that grows."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from resources.gpu.backends.runpod import poller as module
from resources.gpu.backends.runpod.limits import Limits
from resources.gpu.backends.runpod.poller import Poller
from resources.gpu.backends.runpod.service import Service, close_all, shared
from resources.gpu.backends.runpod.states import read_status
from resources.gpu.backends.runpod.watch import Cadence, Key, Look, Watch, WorkerBook
from resources.gpu.errors import BackendUnavailable, Retry

FAST = Cadence(
    queued_s=0.01,
    queued_max_s=0.05,
    head_s=0.01,
    running_min_s=0.005,
    running_max_s=0.02,
    trouble_max_s=0.02,
    grace_s=0.1,
    missing_s=0.01,
    answer_s=0.3,
    stale_s=0.5,
)
A, B = ("ep1", "a"), ("ep1", "b")
Body = dict[str, Any] | None


def body(word: str, **more: Any) -> dict[str, Any]:
    """A status body."""
    return {"status": word, **more}


class Script:
    """The far side: for each job its answers in order, the last one again and again."""

    def __init__(self, **answers: Sequence[Body | Exception | float]) -> None:
        self.answers = {job: list(given) for job, given in answers.items()}
        self.asked: Counter[str] = Counter()

    async def __call__(self, endpoint: str, job: str) -> Body:
        """One answer; a number is a silence of so many seconds before the next one."""
        self.asked[job] += 1
        given = self.answers[job]
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return await self(endpoint, job)
        if isinstance(answer, Exception):
            raise answer
        return answer


def follow(script: Script, test: Callable[[Poller], Awaitable[Any]], cadence: Cadence = FAST) -> Any:
    """Run a test with a poller over the script."""

    async def run() -> Any:
        poller = Poller(script, cadence=cadence)
        try:
            return await test(poller)
        finally:
            await poller.aclose()

    return asyncio.run(run())


async def look(poller: Poller, *keys: Key) -> dict[Key, Look]:
    """The newest answers."""
    return await poller.look(keys, lambda _: read_status)


async def until(poller: Poller, key: Key, state: str) -> Look:
    """Look until the job is in that state."""
    for _ in range(200):
        try:
            found = (await look(poller, key)).get(key)
        except BackendUnavailable:
            found = None
        if found and found.status.state == state:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{key} never became {state}")


def test_end_is_an_end_whatever_is_said_later() -> None:
    """COMPLETED, then IN_PROGRESS from a late progress update: the job is not asked about again."""
    script = Script(a=[body("COMPLETED"), body("IN_PROGRESS")])

    async def test(poller: Poller) -> None:
        await until(poller, A, "succeeded")
        poller.hurry([A])
        await asyncio.sleep(0.05)
        assert (await look(poller, A))[A].status.state == "succeeded"
        assert poller.open == 0

    follow(script, test)
    assert script.asked["a"] == 1


def test_requeued_job_waits_again_and_is_counted() -> None:
    """A lost worker's job goes back to its queue; that is no failure."""
    steps = ["IN_QUEUE", "IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "IN_QUEUE", "COMPLETED"]
    found = follow(Script(a=[body(word) for word in steps]), lambda poller: until(poller, A, "succeeded"))
    assert found.requeues == 2
    assert found.status.detail["requeues"] == 2
    assert found.ran


def test_404_right_after_submission_says_nothing() -> None:
    """It was submitted here: until the grace is over it counts as queued."""

    async def test(poller: Poller) -> None:
        poller.submitted(A, read_status)
        assert (await look(poller, A))[A].status.state == "queued"
        assert (await until(poller, A, "succeeded")).elapsed_s is not None

    follow(Script(a=[None, None, None, body("COMPLETED")]), test)


def test_404_of_a_job_submitted_elsewhere_waits_for_certainty() -> None:
    """Another process may have submitted it a second ago: no answer before the grace is over, then lost."""

    async def test(poller: Poller) -> None:
        with pytest.raises(BackendUnavailable, match="404"):
            await look(poller, A)
        assert "ttl" in (await until(poller, A, "lost")).status.error

    follow(Script(a=[None]), test)


def test_one_404_among_answers_loses_no_job() -> None:
    """Three in a row are needed after the grace."""
    script = Script(a=[body("IN_PROGRESS"), 0.15, None, None, body("IN_PROGRESS"), None, None, body("COMPLETED")])
    assert follow(script, lambda poller: until(poller, A, "succeeded")).status.state == "succeeded"
    found = follow(Script(a=[body("IN_PROGRESS", workerId="w1"), None]), lambda poller: until(poller, A, "lost"))
    assert (found.status.worker, found.status.error_code, found.status.cost_usd) == ("w1", "unknown_job", None)


def test_dropped_polls_do_not_end_a_wait() -> None:
    """Trouble is retried; what was known before stays known."""
    trouble = [BackendUnavailable("reset")] * 5
    script = Script(a=[*trouble, body("IN_PROGRESS"), *trouble, body("COMPLETED")])
    assert follow(script, lambda poller: until(poller, A, "succeeded")).status.state == "succeeded"


def test_unexpected_error_of_one_job_stops_no_other() -> None:
    """A bug in reading one answer is that job's trouble."""
    script = Script(a=[KeyError("boom")], b=[body("COMPLETED")])

    async def test(poller: Poller) -> None:
        found = await look(poller, A, B)
        assert list(found) == [B]
        with pytest.raises(BackendUnavailable, match="KeyError"):
            await look(poller, A)

    follow(script, test)


def test_silence_is_told_in_the_end() -> None:
    """An answer that is older than the limit is none."""

    async def test(poller: Poller) -> None:
        assert (await look(poller, A))[A].status.state == "running"
        await asyncio.sleep(0.6)
        with pytest.raises(BackendUnavailable, match="reset"):
            await look(poller, A)

    follow(Script(a=[body("IN_PROGRESS"), BackendUnavailable("reset")]), test)


def test_crowd_that_is_asked_about_rarely_is_known_all_the_same() -> None:
    """Where the next look is due later than an answer's age allows, nothing was asked in vain."""
    jobs = [("ep1", name) for name in "abcdef"]
    script = Script(**{name: [body("IN_QUEUE")] for _, name in jobs})

    async def test(poller: Poller) -> int:
        await look(poller, *jobs)
        await asyncio.sleep(2 * cadence.stale_s)
        return len(await look(poller, *jobs))

    cadence = replace(FAST, stale_s=0.1, per_s=0.5, head_jobs=1, head_most=1)
    assert follow(script, test, cadence) == len(jobs)


def test_refused_key_is_told_at_once() -> None:
    """What only a person can mend is not waited for."""
    fatal = BackendUnavailable("401", retry=Retry.FATAL)

    async def test(poller: Poller) -> None:
        with pytest.raises(BackendUnavailable, match="401"):
            await asyncio.wait_for(look(poller, A), 2.0)

    follow(Script(a=[fatal]), test, replace(FAST, answer_s=30.0))


def test_slow_answer_blocks_no_other_job() -> None:
    """One job's poll hangs; another one is followed to its end meanwhile."""

    async def test(poller: Poller) -> None:
        begun = time.monotonic()
        assert list(await look(poller, A, B)) == [B]
        await until(poller, B, "succeeded")
        assert time.monotonic() - begun < 1.5

    follow(Script(a=[30.0, body("COMPLETED")], b=[body("IN_PROGRESS"), body("COMPLETED")]), test)


def test_endpoint_that_hangs_keeps_no_other_one_waiting() -> None:
    """More of its questions hang than it may have under way; another endpoint's job is followed to its end."""
    hung = [("ep1", f"j{n}") for n in range(20)]
    other = ("ep2", "b")
    script = Script(**{name: [60.0, body("COMPLETED")] for _, name in hung}, b=[body("IN_PROGRESS"), body("COMPLETED")])

    async def test(poller: Poller) -> None:
        for key in hung:
            poller.submitted(key, read_status)
        await until(poller, other, "succeeded")

    follow(script, test, replace(FAST, at_once=4))
    assert sum(script.asked[name] for _, name in hung) == 4


def test_endpoint_that_wants_quiet_is_not_asked_and_keeps_no_other_one_waiting() -> None:
    """429 with a long Retry-After: its questions wait in no gate, whoever hurries; the error says why."""
    asked: Counter[str] = Counter()

    def far(request: httpx.Request) -> httpx.Response:
        endpoint = request.url.path.split("/")[2]
        asked[endpoint] += 1
        if endpoint == "ep1":
            return httpx.Response(429, headers={"Retry-After": "600"})
        return httpx.Response(200, json=body("COMPLETED"))

    cadence = replace(FAST, at_once=4, answer_s=0.05)
    service = Service("http://far.example/v2", "key", transport=lambda: httpx.MockTransport(far), cadence=cadence)
    quiet = [("ep1", f"j{n}") for n in range(20)]

    async def talk() -> None:
        for key in quiet:
            await service.submitted(key, read_status)
        found = await service.look([("ep2", "b")], lambda _: read_status)
        assert found["ep2", "b"].status.state == "succeeded"
        service.hurry(quiet)
        with pytest.raises(BackendUnavailable, match="429: asked too often; quiet for 600 s"):
            await service.look(quiet[-1:], lambda _: read_status)

    try:
        ask(talk())
    finally:
        service.close()
    assert (asked["ep1"] <= cadence.at_once, asked["ep2"]) == (True, 1)


def test_quiet_endpoint_is_asked_again_when_its_pause_is_over() -> None:
    """By the limits' clock, which may be another than the poller's."""
    answers = [httpx.Response(429, headers={"Retry-After": "100"}), httpx.Response(200, json=body("COMPLETED"))]
    service = Service(
        "http://far.example/v2",
        "key",
        transport=lambda: httpx.MockTransport(lambda _: answers.pop(0)),
        cadence=replace(FAST, answer_s=5.0),
        limits=lambda: Limits(clock=lambda: time.monotonic() * 1e4, sleep=lambda s: asyncio.sleep(s / 1e4)),
    )
    try:
        assert ask(service.look([A], lambda _: read_status))[A].status.state == "succeeded"
    finally:
        service.close()


def test_hurried_job_is_asked_about_now() -> None:
    """A webhook moves the next look to now, and the next question waits for its answer."""
    slow = replace(FAST, queued_s=60.0, queued_max_s=60.0, head_s=60.0, answer_s=5.0)

    async def test(poller: Poller) -> None:
        assert (await look(poller, A))[A].status.state == "queued"
        assert (await look(poller, A))[A].status.state == "queued"
        poller.hurry([A, B])
        assert (await asyncio.wait_for(look(poller, A), 2.0))[A].status.state == "succeeded"

    follow(Script(a=[body("IN_QUEUE"), body("COMPLETED")]), test, slow)


def test_next_in_line_is_watched_when_the_lane_moves() -> None:
    """The end of one job brings forward the look at the next, which would be far away."""
    slow = replace(FAST, queued_s=60.0, queued_max_s=60.0, head_jobs=1)
    script = Script(
        a=[body("IN_PROGRESS"), body("IN_PROGRESS"), body("COMPLETED")], b=[body("IN_QUEUE"), body("COMPLETED")]
    )

    async def test(poller: Poller) -> None:
        await look(poller, A, B)
        await asyncio.wait_for(until(poller, B, "succeeded"), 2.0)

    follow(script, test, slow)


def test_questions_under_way_are_bounded() -> None:
    """Two hundred jobs due at once are asked about a few at a time."""
    now = most = 0

    async def ask(_: str, __: str) -> dict[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return body("COMPLETED")

    async def test(poller: Poller) -> None:
        keys = [("ep1", f"j{n}") for n in range(200)]
        for _ in range(20):
            if len(await look(poller, *keys)) == 200:
                break
        assert poller.open == 0

    follow(ask, test, replace(FAST, at_once=8))  # type: ignore[arg-type]
    assert most == 8


def test_ended_and_forgotten_jobs_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends are remembered up to a number; a job that nobody asks about any more is dropped."""
    monkeypatch.setattr(module, "ENDED_KEPT", 3)
    script = Script(**{f"j{n}": [body("COMPLETED")] for n in range(10)}, a=[body("IN_QUEUE")])

    async def test(poller: Poller) -> None:
        for n in range(10):
            await look(poller, ("ep1", f"j{n}"))
        assert len(poller._ended) == 3
        await look(poller, A)
        await asyncio.sleep(0.15)
        assert poller.open == 0

    follow(script, test, replace(FAST, unasked_s=0.05))


def watch(**more: Any) -> Watch:
    """A job's history at second 100."""
    return Watch(A, read_status, 100.0, submitted_here=True, **more)


def test_404_is_believed_when_it_was_the_answer_for_long_enough() -> None:
    """However often it is asked meanwhile: a router's short fault loses no job."""
    job = watch(status=read_status(body("IN_PROGRESS")))
    for now in (200.0, 200.1, 200.2, 207.5, 214.9):
        job.observe(None, now, now, Cadence())
        assert not job.ended
    job.observe(body("IN_PROGRESS"), 215.0, 215.0, Cadence())
    for now in (216.0, 223.5):
        job.observe(None, now, now, Cadence())
        assert pause(job, now) == 7.5
    job.observe(None, 231.0, 231.0, Cadence())
    assert (job.ended, job.status and job.status.state) == (True, "lost")


def pause(job: Watch, now: float, *, expected_s: float = 0.0, head: bool = False, crowd: int = 1) -> float:
    """Its next pause under the real cadence."""
    return job.pause_s(now, Cadence(), expected_s=expected_s, head=head, crowd=crowd)


def test_pauses_grow_in_the_queue_and_follow_the_run() -> None:
    """1 s times 1.5 up to 10 s (give or take); running: a fiftieth of the expected run, less often when overdue."""
    job = watch()
    waits = [pause(job, 100.0) for _ in range(12)]
    assert all(
        0.85 * nominal <= wait <= 1.15 * nominal for wait, nominal in zip(waits, (1, 1.5, 2.25, 3.375), strict=False)
    )
    assert 8.5 <= waits[-1] <= 11.5
    assert pause(job, 100.0, head=True) == 1.0
    assert pause(watch(), 100.0, crowd=6000) > 50, "a crowd shares what asking may cost"
    running = watch(running_since=100.0)
    assert pause(running, 106.0, expected_s=15.0) == 0.3
    assert pause(running, 100.0, expected_s=600.0) == 5.0
    assert pause(running, 106.0, expected_s=5.0) == 0.2
    assert pause(running, 118.0, expected_s=5.0) == 2.0, "a quarter of what it ran beyond twice the expected"
    assert pause(running, 106.0, expected_s=15.0, crowd=60) == 0.5, "a crowd of running jobs has its share, too"
    assert pause(running, 108.0) == 2.0, "without experience a quarter of what it ran"
    assert 0.2 <= pause(watch(failures=9), 100.0) <= 15.0


def test_expected_run_time_is_learned() -> None:
    """From what has ended on that endpoint; an end without a time teaches nothing."""
    lane = Poller(Script())._lane(A)
    for exec_s in (10.0, 0.0, 20.0):
        lane.learn(exec_s)
    assert lane.expected_s == pytest.approx(13.0)


def test_workers_are_known_by_their_ends() -> None:
    """A new worker's gap is endless; a known one's is its idle time; failures in a row are counted."""
    book = WorkerBook()
    done = replace(read_status(body("COMPLETED", workerId="w1", executionTime=5000)))
    broken = replace(done, state="failed", error_code="out_of_memory")
    assert book.met(done, 100.0) == (float("inf"), 0)
    assert book.met(broken, 112.0) == (7.0, 1)
    assert [book.met(broken, 120.0)[1], book.met(broken, 130.0)[1]] == [2, 3]
    assert book.met(done, 140.0)[1] == 0
    assert book.met(read_status(body("COMPLETED")), 140.0) == (float("inf"), 0)


# ---- the service


def answering(word: str) -> Callable[[], httpx.AsyncBaseTransport]:
    """A far side that always says the same."""
    return lambda: httpx.MockTransport(lambda _: httpx.Response(200, json=body(word)))


def ask(question: Coroutine[Any, Any, Any]) -> Any:
    """An answer, from a loop of its own."""
    return asyncio.run(question)


def test_callers_with_loops_of_their_own_share_one_conversation() -> None:
    """Each asset runs its own event loop; the poller outlives them all."""
    service = Service("http://far.example/v2", "key", transport=answering("COMPLETED"), cadence=FAST)
    try:
        for _ in range(3):
            found = ask(service.look([A], lambda _: read_status))
            assert found[A].status.state == "succeeded"
        service.hurry([A])
        assert ask(service.ask(lambda client: client.health("ep1"))) == body("COMPLETED")
    finally:
        service.close()
        service.close()


def test_part_of_a_process_is_made_once() -> None:
    """Whoever comes first makes it; it is closed with the conversation where it can be."""

    class Part:
        closed = False

        async def aclose(self) -> None:
            """Remember that."""
            self.closed = True

    service = Service("http://far.example/v2", "key", transport=answering("COMPLETED"))
    made: list[Part] = []

    def make() -> Part:
        made.append(Part())
        return made[-1]

    first = service.keep("part", make)
    assert (service.keep("part", make), service.keep("part", make), made) == (first, first, [first])
    assert service.keep("note", dict) == {}
    ask(service.ask(lambda client: client.health("ep1")))
    service.close()
    assert first.closed


def test_answer_about_another_job_is_no_answer() -> None:
    """A mixed-up body is trouble, not news."""
    mixed = httpx.MockTransport(lambda _: httpx.Response(200, json={"id": "other", "status": "COMPLETED"}))
    service = Service("http://far.example/v2", "key", transport=lambda: mixed, cadence=FAST)
    try:
        with pytest.raises(BackendUnavailable, match="another one"):
            ask(service.look([A], lambda _: read_status))
    finally:
        service.close()


def test_one_service_for_each_account() -> None:
    """Same URL and key: the same limits; a key in no repr."""
    one, same = shared("http://far.example/v2", "key-one"), shared("http://far.example/v2/", "key-one")
    other = shared("http://far.example/v2", "key-two")
    assert one is same
    assert one is not other
    assert "key-one" not in repr(one)
    close_all()
    assert shared("http://far.example/v2", "key-one") is not one
    close_all()
