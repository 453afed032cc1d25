"""What goes wrong while paid work is looked after: the ledger is away, a lease gets lost, a look is interrupted.

None of it may stop somebody else's work, lose an id that the far side has answered with, or pay for anything twice.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import clock_of, open_engine
from resources.gpu import life
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import BackendUnavailable, JobTimedOut, OutcomeUnknown, OutputRejected, OverBudget, Retry
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt
from resources.gpu.runner import Runner
from tests.fakes.house import RUNS_ON, WAITS_ON, House, emptied, house_on, job, ledger_in, states, training
from tests.fakes.scripted_backend import MOST_USD, USD, Script

AWAY = sa.exc.OperationalError("UPDATE gpu_attempts", {}, Exception("server closed the connection unexpectedly"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """One for all tests here."""
    engine = ledger_in(tmp_path_factory.mktemp("ledger"))
    yield engine
    engine.dispose()


@pytest.fixture
def house(engine: sa.Engine, tmp_path: Path) -> Iterator[House]:
    """An empty one."""
    yield house_on(engine, tmp_path)
    emptied(engine)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing an id down is tried again at once."""
    monkeypatch.setattr(life, "KEEP_PAUSES_S", (0.0, 0.0, 0.0))


def away(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, method: str, times: int, *, after: bool = False) -> None:
    """The database is away for the next `times` calls of that method; `after`: it commits, and its answer is lost."""
    real, left = getattr(ledger, method), [times]

    def call(*words: Any, **more: Any) -> Any:
        if not left[0]:
            return real(*words, **more)
        left[0] -= 1
        if after:
            real(*words, **more)
        raise AWAY

    monkeypatch.setattr(ledger, method, call)


def test_termination_is_not_lost_where_something_happens_at_once(house: House) -> None:
    """Python 3.11's wait_for takes the happening and drops the cancel: the run would go on to its end."""

    async def main() -> None:
        talk = house.runner()._conversation([], None)
        resting = asyncio.create_task(talk._rest(60.0, 0.0))
        await asyncio.sleep(0.05)
        talk._stir.set()
        resting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resting

    asyncio.run(asyncio.wait_for(main(), 10))


# ---- looking after other people's work


def interrupted(runner: Runner, house: House) -> None:
    """A look at all trainings is terminated while one's result is being fetched."""
    fetching = asyncio.Event()

    async def hangs(_: str) -> list[RemoteOutput]:
        fetching.set()
        await asyncio.sleep(3600)
        return []

    async def main() -> None:
        house.backend.fetch = hangs  # type: ignore[method-assign]
        task = asyncio.create_task(runner._look_after(runner.ledger.open_attempts("training")))
        await fetching.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 10))


def test_interrupted_look_stops_nobodys_training(house: House) -> None:
    """Ctrl-C in `ryla jobs reconcile`, or one character's run terminated: the others' trainings go on."""
    house.backend.scripts = [Script(states=("succeeded",)), RUNS_ON]
    for who in ("anna", "bella"):
        house.runner().submit(training(who))
    interrupted(house.runner(), house)
    assert house.backend.cancels == []
    assert all(attempt.is_open and not attempt.lease_until for attempt in house.ledger.open_attempts())
    assert len(house.ledger.open_attempts()) == 2


def test_look_that_runs_out_of_time_leaves_the_rest_to_the_next(house: House) -> None:
    """Results that take long keep a sensor no longer than it has: they stay open, and the next look takes them."""
    house.backend.scripts = [Script(states=("succeeded",))]
    for who in ("anna", "bella"):
        house.runner().submit(training(who))
    fetch = house.backend.fetch

    async def hangs(_: str) -> list[RemoteOutput]:
        await asyncio.sleep(3600)
        return []

    house.backend.fetch = hangs  # type: ignore[method-assign]
    assert house.runner().settle_open(within_s=0.05) == []
    assert [attempt.lease_until for attempt in house.ledger.open_attempts()] == [0.0, 0.0]
    house.backend.fetch = fetch  # type: ignore[method-assign]
    assert states(house.runner().settle_open()) == ["succeeded", "succeeded"]


def test_leftovers_of_another_backend_are_in_nobodys_way(house: House) -> None:
    """However many attempts cannot be followed from here: what can is settled at the first look."""
    foreign = house_on(house.ledger.engine, house.store.root)
    foreign.backend.name = foreign.backend.endpoint = "elsewhere"
    foreign.backend.scripts = [RUNS_ON]
    dead = house.intend(job())
    house.clock.ahead = 61
    for number in range(30):
        foreign.runner(budget=9.0).submit(training(f"t{number}"))
    house.runner().settle_open()
    assert house.ledger.attempt(dead.id).state == "failed", "it never arrived"


def test_first_half_tells_why_nothing_was_sent(house: House) -> None:
    """An endpoint that cannot be asked is no submission of unknown outcome."""
    house.backend.closed["memory"] = BackendUnavailable("the control API answers 503", way_out="Try later.")
    with pytest.raises(BackendUnavailable, match="the control API answers 503"):
        house.runner().submit(training())
    assert house.attempts(training()) == []


# ---- ids that must not get lost


def test_id_is_kept_though_the_ledger_was_away_when_it_came(
    house: House, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """The database restarts at the worst moment: the id is written as soon as it is back."""
    away(house.ledger, monkeypatch, "learned", 2)
    [result] = house.runner().run([job()])
    assert result.attempt.remote_id == f"r-{result.attempt.id}"
    assert (states(house.attempts(job())), house.backend.sent) == (["succeeded"], ["a"])


def test_what_cannot_be_written_down_is_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger stays away: nobody would ever own what was sent, so it is stopped; a person reads its name."""
    house.backend.scripts = [RUNS_ON]
    away(house.ledger, monkeypatch, "learned", 10**6)
    with pytest.raises(BackendUnavailable, match="ledger does not answer") as caught:
        house.runner(silence_limit_s=0.0).run([job()])
    assert caught.value.code == "ledger_away"
    [attempt] = house.attempts(job())
    assert house.backend.cancels == [f"r-{attempt.id}"]
    assert f"attempt {attempt.id} is r-{attempt.id}" in caplog.text


def test_id_that_comes_after_the_lease_was_lost_is_kept(house: House) -> None:
    """Suspended in the middle of the call: another run doubts the submission by now, and waits for exactly this id."""
    house.backend.scripts = [Script(states=("running", "succeeded"), submit_s=0.3), Script()]

    async def nobody_knows(*_: object, **__: object) -> str | None:
        raise OutcomeUnknown("cannot be looked up")

    house.backend.find = nobody_knows  # type: ignore[method-assign]
    results: list[Any] = []
    runners = (house.runner(lease_s=1000.0), house.runner(unknown_wait_s=30.0))
    threads = [threading.Thread(target=lambda one: results.extend(one.run([job()])), args=(one,)) for one in runners]
    threads[0].start()
    while not house.backend.sent:
        time.sleep(0.001)
    house.clock.ahead = 1001
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert [result.attempt.state for result in results] == ["succeeded", "succeeded"]
    assert (house.backend.sent, house.backend.cancels) == (["a"], [])


# ---- results that were given up too early


def test_result_that_comes_after_its_attempt_was_given_up_is_taken(house: House) -> None:
    """A cold worker answered after the wait for it was over: it is paid for, so nothing is sent again."""
    house.backend.scripts = [Script(states=("succeeded",), arrival="arrives unseen")]
    with pytest.raises(Exception, match="could not be found out"):
        house.runner(unknown_wait_s=0.0, max_attempts=1).run([job()])
    [lost] = house.attempts(job())
    house.backend.leftovers[lost.fingerprint] = f"r-{lost.id}"

    [result] = house.runner().run([job()])

    assert result.adopted
    assert (house.backend.sent, states(house.attempts(job()))) == (["a"], ["lost", "succeeded"])
    assert [attempt.cost_usd for attempt in house.attempts(job())] == [MOST_USD, 0.0], "booked once"
    assert "nothing was sent" in house.ledger.history(result.attempt.id)[1][2]


def test_training_of_unknown_outcome_is_waited_for_longer_than_a_picture(house: House) -> None:
    """It shows itself after an hour, not after minutes: until then nothing is sent again."""
    house.backend.scripts = [Script(arrival="arrives unseen")]
    runner = house.runner(unknown_wait_s=0.0, training_unknown_wait_s=600.0)
    for wanted in (training(), job()):
        house.runner().submit(wanted)
    runner.settle_open()
    assert [states(house.attempts(wanted)) for wanted in (training(), job())] == [["unknown"], ["lost"]]


def test_leftover_that_is_damaged_is_made_again(house: House) -> None:
    """What lies there is not what was asked for: it is discarded, and another attempt is sent."""
    house.backend.scripts = [Script(states=("succeeded",), arrival="arrives unseen", damage="truncated"), Script()]
    with pytest.raises(Exception, match="could not be found out"):
        house.runner(unknown_wait_s=0.0, max_attempts=1).run([job()])
    [lost] = house.attempts(job())
    house.backend.leftovers[lost.fingerprint] = f"r-{lost.id}"
    discard = house.backend.discard

    async def discarded(remote_id: str) -> None:
        house.backend.leftovers.clear()
        await discard(remote_id)

    house.backend.discard = discarded  # type: ignore[method-assign]
    [result] = house.runner().run([job()])
    assert not result.adopted
    assert (house.backend.sent, states(house.attempts(job()))) == (["a", "a"], ["lost", "failed", "succeeded"])


def test_damaged_leftover_that_cannot_be_discarded_ends_the_call(house: House) -> None:
    """The store gives it back whatever is done: that is an error after as many tries as any other, not a loop."""
    house.backend.scripts = [Script(states=("succeeded",), arrival="arrives unseen", damage="missing")]
    with pytest.raises(Exception, match="could not be found out"):
        house.runner(unknown_wait_s=0.0, max_attempts=1).run([job()])
    [lost] = house.attempts(job())
    house.backend.leftovers[lost.fingerprint] = f"r-{lost.id}"
    with pytest.raises(OutputRejected):
        house.runner(max_attempts=2).run([job()])
    assert states(house.attempts(job())) == ["lost", "failed", "failed"]
    assert house.backend.sent == ["a"]


# ---- the ledger is away for a moment


@pytest.mark.parametrize("method", ["move", "accept", "read", "attempt", "open_attempt", "cost_usd", "take_lease"])
def test_moment_without_the_ledger_ends_no_call(house: House, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """One statement of one job fails: every job still ends with its one result."""
    house.backend.scripts = [Script(states=("queued", "running", "running", "succeeded"))]
    wanted = [job(name) for name in "abc"]
    runner = house.runner(silence_limit_s=5.0, lease_s=0.05)
    left = [0]
    real = getattr(house.ledger, method)

    def sometimes(*words: Any, **more: Any) -> Any:
        left[0] += 1
        if left[0] in (2, 5):
            raise AWAY
        return real(*words, **more)

    monkeypatch.setattr(house.ledger, method, sometimes)
    results = runner.run(wanted)
    assert len(results) == 3
    assert sorted(house.backend.sent) == ["a", "b", "c"]


def test_intent_whose_commit_was_not_confirmed_is_sent_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row stands, and we know that nothing was sent for it: it is sent, not booked as if it might have been."""
    house.backend.scripts = [Script(arrival="arrives")]
    away(house.ledger, monkeypatch, "begin", 1, after=True)
    [result] = house.runner(silence_limit_s=5.0).run([job()])
    assert (result.attempt.number, result.attempt.cost_usd) == (1, USD)
    assert house.backend.sent == ["a"]


def test_ledger_that_stays_away_ends_the_wait_and_names_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the caller hears which part is missing, without a statement or a value of it."""
    house.backend.scripts = [Script(states=("running", "succeeded"))]
    away(house.ledger, monkeypatch, "accept", 10**6)
    with pytest.raises(BackendUnavailable, match="ledger's database does not answer") as caught:
        house.runner(silence_limit_s=0.02).run([job()])
    assert (caught.value.code, "RYLA_DATABASE_URL" in caught.value.way_out) == ("ledger_away", True)
    assert "UPDATE" not in str(caught.value)
    assert house.ledger.open_attempts()


def test_leases_are_renewed_after_a_moment_without_the_ledger(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One beat fails: the next keeps the lease, so nobody takes the job for abandoned."""
    house.backend.scripts = [Script(states=("running",) * 200 + ("succeeded",))]
    monkeypatch.setattr(house.ledger, "renew", fails_once(house.ledger.renew))
    [result] = house.runner(lease_s=0.15).run([job()])
    assert result.attempt.lease_token == 1


def fails_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """It, after one pool timeout."""
    first = [True]

    def call(*words: Any) -> Any:
        if first.pop() if first else False:
            raise sa.exc.TimeoutError("QueuePool limit reached")
        return real(*words)

    return call


# ---- clocks that differ


def test_wall_clock_that_jumps_right_after_a_submission_ends_nothing(house: House) -> None:
    """An hour ahead before the first look: the job is milliseconds old."""
    house.backend.scripts = [Script(states=("queued", "running", "succeeded"))]
    real = house.ledger.learned

    def then_it_jumps(*words: Any) -> Attempt | None:
        known = real(*words)
        house.clock.ahead = 3600.0
        return known

    house.ledger.learned = then_it_jumps  # type: ignore[method-assign]
    [result] = house.runner(queue_limit_s=900.0).run([job()])
    assert (result.attempt.number, house.backend.cancels) == (1, [])


def test_machines_on_one_postgres_share_its_clock(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose own clock is an hour ahead takes nobody's lease for run out; SQLite's are on one machine."""
    engine = open_engine(postgres)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda now=time.time: now() + 3600.0)
            assert abs(clock_of(engine)() - (time.time() - 3600.0)) < 5.0
        assert clock_of(sa.create_engine("sqlite://")) is time.time
    finally:
        engine.dispose()


def test_clock_goes_on_while_the_server_is_away(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last word is carried on; one that never answered leaves us our own."""
    engine = open_engine(postgres)
    clock: Any = clock_of(engine)
    first = clock()
    monkeypatch.setattr(engine, "connect", lambda: (_ for _ in ()).throw(AWAY))
    clock._read_at = float("-inf")
    assert 0 <= clock() - first < 5.0
    engine.dispose()
    nowhere = clock_of(open_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none"))
    assert abs(nowhere() - time.time()) < 1.0


# ---- an endpoint that cannot work


CLOSED = BackendUnavailable("Endpoint memory may start no worker.", code="workers_max_zero", retry=Retry.ELSEWHERE)


def test_endpoint_that_cannot_work_is_passed_over(house: House) -> None:
    """Scaled down to nothing over the holidays: the job goes to the fallback at once, and the ledger says why."""
    house.backend.others = ("fallback",)
    house.backend.closed["memory"] = CLOSED
    results = house.runner(when_stuck="fallback").run([job("a"), job("b")])
    assert {result.attempt.endpoint for result in results} == {"fallback"}
    note = house.ledger.history(results[0].attempt.id)[0][2]
    assert note.endswith("; not to memory: Endpoint memory may start no worker.")


@pytest.mark.parametrize(
    ("policy", "refusal"),
    [("fail", CLOSED), ("wait", CLOSED), ("fallback", BackendUnavailable("empty account", retry=Retry.FATAL))],
)
def test_refusal_that_another_endpoint_would_not_mend_is_told(house: House, policy: Any, refusal: Any) -> None:
    """Where policy does not fall back, or the account is the trouble, nothing is sent anywhere."""
    house.backend.others = ("fallback",)
    house.backend.closed["memory"] = refusal
    with pytest.raises(BackendUnavailable, match=refusal.message):
        house.runner(when_stuck=policy).run([job()])
    assert house.backend.sent == []


def test_last_endpoint_that_cannot_work_is_an_error(house: House) -> None:
    """Neither can: nothing is sent, and nobody goes round in circles."""
    house.backend.others = ("fallback",)
    house.backend.closed = {"memory": CLOSED, "fallback": BackendUnavailable("none here", retry=Retry.ELSEWHERE)}
    with pytest.raises(BackendUnavailable, match="none here"):
        house.runner(when_stuck="fallback").run([job()])
    assert (house.backend.sent, house.attempts(job())) == ([], [])


# ---- what is known stays known


def test_verdict_stays_with_the_attempt_and_its_error(house: House) -> None:
    """Why it waited, what that rests on, and the way out: in the ledger, and with the error that the run shows."""
    from resources.gpu.backend import Diagnosis

    evidence = {"workers": {"idle": 0, "throttled": 3}}
    verdict = Diagnosis("throttled", "Its workers wait for a machine.", True, "Add GPU pools.", evidence)
    house.backend.scripts = [Script(states=WAITS_ON.states, cost_usd=0.0, verdict=verdict)]
    with pytest.raises(JobTimedOut) as caught:
        house.runner(diagnose_after_s=0.01, when_stuck="fail").run([job()])
    [attempt] = house.attempts(job())
    assert attempt.way_out == caught.value.way_out == "Add GPU pools."
    assert attempt.evidence is not None
    assert (attempt.evidence["workers"], attempt.evidence["code"]) == (evidence["workers"], "throttled")
    assert caught.value.evidence == evidence


def test_way_out_of_any_end_is_kept(house: House) -> None:
    """Whatever ended it: what a person may do is told as long as the row is there."""
    with pytest.raises(OverBudget):
        house.runner(budget=0.001).run([job()])
    house.backend.scripts = [Script(arrival="not sent", retry="fatal")]
    with pytest.raises(BackendUnavailable):
        house.runner().run([job("b")])
    [attempt] = house.attempts(job("b"))
    assert attempt.error_code == "never_submitted"
