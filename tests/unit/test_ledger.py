"""The ledger's rows keep their promises whatever two processes do at once; on SQLite and on Postgres alike."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import lock, metadata, open_engine, reading, writing
from resources.gpu import tables
from resources.gpu.backend import Diagnosis, Submission
from resources.gpu.budget import DAY_S, Budgets
from resources.gpu.errors import OverBudget
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import MAX_TEXT, Ledger, LedgerConflict
from resources.gpu.records import TERMINAL_STATES, Attempt, Intent
from resources.gpu.runner import Policy, Runner
from resources.storage import FileStore
from tests.fakes.scripted_backend import ScriptedBackend

NOBODY = 65534  # Postgres refuses to run as root
RESULT = [{"name": "a", "media": "image", "sha256": "0" * 64}]
OURS = [tables.jobs, tables.attempts, tables.events]
ENDS = sorted(TERMINAL_STATES - {"succeeded"})


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """What time it is, in seconds since the epoch."""
        return self.now


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """The tables in a database of each kind."""
    sqlite = request.param == "sqlite"
    folder = tmp_path_factory.mktemp("ledger")
    engine = open_engine(f"sqlite:///{folder}/ledger.db" if sqlite else request.getfixturevalue("postgres"))
    metadata.create_all(engine, tables=OURS)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database: sa.Engine) -> Iterator[sa.Engine]:
    """An empty ledger."""
    yield database
    with writing(database) as db:
        for table in reversed(OURS):
            db.execute(sa.delete(table))


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def ledger(engine: sa.Engine, clock: Clock) -> Ledger:
    """A ledger on that clock."""
    return Ledger(engine, clock=clock)


def job(name: str = "a") -> Job:
    """A small job."""
    return Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (OutputSpec(name, "image", 64, 64),))


def opened(ledger: Ledger, name: str = "a") -> str:
    """The fingerprint of a job that has its row."""
    return ledger.open(job(name), backend="scripted", profile="p").fingerprint


def intent(owner: str = "me", *, most: float = 0.05) -> Intent:
    """What an attempt may take."""
    return Intent("scripted", "memory", owner, 60.0, "run", 0.01, most, 900.0, 1800.0)


def begun(ledger: Ledger, name: str = "a", *, owner: str = "me", most: float = 0.05, budget: float = 1.0) -> Attempt:
    """A new attempt of a job."""
    attempt = ledger.begin(opened(ledger, name), intent(owner, most=most), Budgets(budget))
    assert attempt is not None
    return attempt


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results of `count` threads that start together; an exception is a result."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001  the test looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_open_job_gets_no_second_attempt(ledger: Ledger) -> None:
    """While one attempt is open there is no other, whoever asks."""
    first = begun(ledger)
    assert ledger.begin(first.fingerprint, intent("you"), Budgets(1.0)) is None
    assert [a.id for a in ledger.attempts(first.fingerprint)] == [first.id]
    assert ledger.open_attempt(first.fingerprint) == first


def test_many_that_begin_at_once_open_one_attempt(ledger: Ledger) -> None:
    """Six threads, one job: one of them may pay."""
    fingerprint = opened(ledger)
    got = at_once(6, lambda n: ledger.begin(fingerprint, intent(f"owner-{n}"), Budgets(1.0)))
    assert [g for g in got if isinstance(g, Exception)] == []
    assert len([g for g in got if g is not None]) == 1
    assert len(ledger.open_attempts()) == 1


def test_second_open_attempt_is_refused_by_the_database_itself(ledger: Ledger, engine: sa.Engine) -> None:
    """The promise is an index, not only code."""
    first = begun(ledger)
    row = {name: getattr(first, name) for name in Attempt.__dataclass_fields__}
    forged = {**row, "id": "x", "number": 2, "open_fingerprint": first.fingerprint}
    with pytest.raises(sa.exc.IntegrityError), writing(engine) as db:
        db.execute(sa.insert(tables.attempts).values(forged))


def test_job_seen_first_by_many_at_once_is_one_row(ledger: Ledger, engine: sa.Engine) -> None:
    """Opening the same job twice at the same moment is no error."""
    got = at_once(6, lambda _: ledger.open(job(), backend="scripted", profile="p"))
    assert [g for g in got if isinstance(g, Exception)] == []
    assert _rows(engine) == [1, 0, 0]


def test_accepted_job_is_never_begun_again(ledger: Ledger) -> None:
    """Somebody who looked before the result was accepted, and begins after it, pays nothing."""
    attempt = begun(ledger)
    assert ledger.accept(_at(ledger, attempt, "running"), RESULT, cost_usd=0.02)
    assert ledger.open_attempt(attempt.fingerprint) is None
    assert ledger.begin(attempt.fingerprint, intent("late"), Budgets(1.0)) is None


@pytest.mark.parametrize("state", ENDS)
def test_terminal_is_sticky(ledger: Ledger, state: str) -> None:
    """What ended stays ended: no move, no lease, no late result."""
    before = _at(ledger, begun(ledger), "running")
    ended = ledger.move(before, state, cost_usd=0.02, error="why")
    for later in ("running", "unknown", *sorted(TERMINAL_STATES - {state})):
        for view in (before, ended):
            with pytest.raises(LedgerConflict):
                ledger.move(view if view.state != later else ended, later)
    assert ledger.take_lease(ended, "me", 60.0) is None
    assert not ledger.accept(before, RESULT, cost_usd=0.5)
    assert ledger.attempt(ended.id) == ended
    assert ledger.job(ended.fingerprint).result is None  # type: ignore[union-attr]


def test_accepted_attempt_is_not_ended_by_who_looks_later(ledger: Ledger) -> None:
    """A runner that still believes it runs cannot call it lost."""
    stale = _at(ledger, begun(ledger), "running")
    assert ledger.accept(stale, RESULT, cost_usd=0.02)
    assert not ledger.accept(stale, [], cost_usd=0.9)
    with pytest.raises(LedgerConflict, match="no longer running"):
        ledger.move(stale, "lost")
    now = ledger.attempt(stale.id)
    assert (now.state, now.cost_usd) == ("succeeded", 0.02)


def test_one_result_is_accepted_by_many_at_once(ledger: Ledger) -> None:
    """Several waiters fetch the same result; one records it, and it is noted once."""
    attempt = _at(ledger, begun(ledger), "running")
    got = at_once(4, lambda n: ledger.accept(attempt, RESULT, cost_usd=0.01 * (n + 1)))
    assert sorted(got) == [False, False, False, True]
    assert [state for _, state, _ in ledger.history(attempt.id)].count("succeeded") == 1
    assert ledger.attempt(attempt.id).cost_usd == pytest.approx(0.01 * (got.index(True) + 1))


def test_stale_lease_token_cannot_move_a_row(ledger: Ledger, clock: Clock) -> None:
    """Who lost its lease and sleeps on may wake up and write: it is refused."""
    mine = _at(ledger, begun(ledger, owner="me"), "submitted")
    clock.now += 61
    theirs = ledger.take_lease(mine, "you", 60.0)
    assert theirs is not None
    assert theirs.lease_token == mine.lease_token + 1
    with pytest.raises(LedgerConflict, match="lease was taken over"):
        ledger.move(mine, "running")
    assert ledger.move(theirs, "running").state == "running"


def test_lease_is_taken_only_when_it_ran_out(ledger: Ledger, clock: Clock) -> None:
    """A live owner keeps it, and may renew it without becoming a stranger to its own row."""
    mine = begun(ledger, owner="me")
    clock.now += 59
    assert ledger.take_lease(mine, "you", 60.0) is None
    renewed = ledger.take_lease(mine, "me", 60.0)
    assert renewed is not None
    assert (renewed.lease_token, renewed.lease_until) == (mine.lease_token, clock.now + 60)
    clock.now += 30
    assert ledger.take_lease(mine, "you", 60.0) is None
    assert ledger.move(mine, "submitted").state == "submitted"


def test_lease_that_ran_out_goes_to_one_of_many(ledger: Ledger, clock: Clock) -> None:
    """Five that find a dead owner's attempt at once: one takes over."""
    attempt = begun(ledger)
    clock.now += 61
    got = at_once(5, lambda n: ledger.take_lease(attempt, f"owner-{n}", 60.0))
    assert len([g for g in got if g is not None]) == 1
    assert ledger.attempt(attempt.id).lease_token == 2


@pytest.mark.parametrize(
    ("state", "later"), [("queued", "intended"), ("submitted", "intended"), ("running", "sleeping")]
)
def test_move_that_makes_no_sense_is_refused(ledger: Ledger, state: str, later: str) -> None:
    """States have an order; the message says both."""
    attempt = _at(ledger, begun(ledger), state)
    with pytest.raises(LedgerConflict, match=f"is {state}; it cannot become {later}"):
        ledger.move(attempt, later)


def test_over_budget_writes_nothing_and_says_where_the_money_is(ledger: Ledger, engine: sa.Engine) -> None:
    """Spent, reserved and asked for: a person can tell which of them to wait for."""
    ledger.move(_at(ledger, begun(ledger, "spent"), "running"), "failed", cost_usd=0.03)
    begun(ledger, "open", most=0.05)
    fingerprint = opened(ledger, "asked")
    before = _rows(engine)
    with pytest.raises(OverBudget) as caught:
        ledger.begin(fingerprint, intent(most=0.04), Budgets(0.10))
    assert str(caught.value).startswith(
        "This job can cost $0.0400; of the daily budget of $0.10, $0.0300 is spent and $0.0500 is reserved"
    )
    assert "RYLA_DAILY_BUDGET_USD" in str(caught.value)
    assert ledger.attempts(fingerprint) == []
    assert _rows(engine) == before


def test_open_exposure_counts_against_the_budget(ledger: Ledger) -> None:
    """Not what a job should cost is held back, but the most that it can, until it is settled."""
    attempt = begun(ledger, "first", most=0.06, budget=0.10)
    assert attempt.reserved_usd == 0.01
    assert ledger.committed_usd() == pytest.approx(0.06)
    with pytest.raises(OverBudget):
        begun(ledger, "second", most=0.06, budget=0.10)
    unknown = ledger.move(attempt, "unknown")
    assert ledger.committed_usd() == pytest.approx(0.06), "an unknown outcome may still cost it all"
    ended = ledger.move(unknown, "failed", cost_usd=0.01)
    assert ended.settled_at is not None
    assert ended.reserved_usd == 0.0
    assert ledger.committed_usd() == pytest.approx(0.01)
    begun(ledger, "second", most=0.06, budget=0.10)


def test_accepting_gives_the_reservation_back(ledger: Ledger) -> None:
    """After the bill is known, only the bill counts."""
    attempt = _at(ledger, begun(ledger, most=0.9), "running")
    ledger.accept(attempt, RESULT, cost_usd=0.02, exec_s=3.0)
    now = ledger.attempt(attempt.id)
    assert (now.reserved_usd, now.cost_usd, now.exec_s) == (0.0, 0.02, 3.0)
    assert now.settled_at is not None
    assert ledger.committed_usd() == pytest.approx(0.02)


def test_budget_counts_the_last_day_only_but_all_that_is_open(ledger: Ledger, clock: Clock) -> None:
    """Yesterday's bill is forgotten, yesterday's open job is not."""
    ledger.move(_at(ledger, begun(ledger, "old"), "running"), "failed", cost_usd=0.5)
    begun(ledger, "open", most=0.2)
    clock.now += DAY_S + 1
    assert ledger.committed_usd() == pytest.approx(0.2)


def test_budget_of_ten_jobs_holds_ten_jobs(ledger: Ledger) -> None:
    """Ten times ten cents are a dollar, whatever floats say."""
    for number in range(10):
        begun(ledger, f"job-{number}", most=0.1, budget=1.0)
    with pytest.raises(OverBudget):
        begun(ledger, "job-10", most=0.1, budget=1.0)


def test_budget_for_one_is_not_spent_by_two_at_once(ledger: Ledger) -> None:
    """Reservations of different jobs do not slip past each other."""
    prints = [opened(ledger, f"job-{n}") for n in range(5)]
    got = at_once(5, lambda n: ledger.begin(prints[n], intent(most=0.06), Budgets(0.10)))
    assert sorted(type(g).__name__ for g in got) == ["Attempt", *["OverBudget"] * 4]
    assert ledger.committed_usd() == pytest.approx(0.06)


def test_failed_attempts_cost_too(ledger: Ledger) -> None:
    """A job's cost is that of all its attempts."""
    first = ledger.move(_at(ledger, begun(ledger), "running"), "lost", cost_usd=0.03)
    ledger.accept(_at(ledger, begun(ledger), "running"), RESULT, cost_usd=0.02)
    assert [a.number for a in ledger.attempts(first.fingerprint)] == [1, 2]
    assert ledger.cost_usd([first.fingerprint, "f" * 64]) == pytest.approx(0.05)


def test_take_over_after_a_crash_is_by_one_of_many(ledger: Ledger, clock: Clock) -> None:
    """Five processes find a dead owner's attempts at once: each goes to one of them, the dead write no more."""
    dead = [_at(ledger, begun(ledger, f"job-{n}", owner="dead"), "submitted") for n in range(3)]
    clock.now += 61
    got = at_once(5, lambda n: [ledger.take_lease(attempt, f"owner-{n}", 60.0) for attempt in dead])
    assert [sum(row[n] is not None for row in got) for n in range(3)] == [1, 1, 1]
    for attempt in dead:
        with pytest.raises(LedgerConflict, match="taken over"):
            ledger.move(attempt, "running")


def test_leases_of_an_owner_are_renewed_together(ledger: Ledger, clock: Clock) -> None:
    """One statement for all that it holds: not what ended, not what another has, and no token changes."""
    mine = [begun(ledger, f"job-{n}", owner="me") for n in range(3)]
    ledger.move(_at(ledger, mine[2], "running"), "failed")
    other = begun(ledger, "other", owner="you")
    clock.now += 50
    assert ledger.renew("me", 60.0) == 2
    now = ledger.read(a.id for a in (*mine, other))
    assert [now[a.id].lease_until - clock.now for a in (*mine, other)] == [60.0, 60.0, 10.0, 10.0]
    assert {a.lease_token for a in now.values()} == {1}
    assert ledger.release("me") == 2
    assert ledger.take_lease(mine[0], "you", 60.0) is not None
    assert ledger.renew("me", 60.0) == 1, "what was taken over is not renewed by who had it"


def test_lease_is_not_renewed_and_taken_at_once(ledger: Ledger, clock: Clock) -> None:
    """It ran out; its owner wakes up just as others come: whoever wins, there is one owner and one valid token."""
    attempt = begun(ledger, owner="me")
    clock.now += 61
    got = at_once(4, lambda n: ledger.renew("me", 60.0) if n == 0 else ledger.take_lease(attempt, f"owner-{n}", 60.0))
    takers = [g for g in got[1:] if g is not None]
    now = ledger.attempt(attempt.id)
    assert len(takers) + got[0] == 1
    assert (now.lease_owner == "me", now.lease_token) == (not takers, 1 + len(takers))


def test_many_attempts_are_read_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of ids are more than one statement takes."""
    monkeypatch.setattr("resources.gpu.ledger.IDS_A_QUERY", 2)
    ids = [begun(ledger, f"job-{n}").id for n in range(5)]
    assert set(ledger.read([*ids, "nobody"])) == set(ids)
    assert ledger.read([]) == {}


def test_wake_is_heard_and_repeats_itself_without_harm(ledger: Ledger, clock: Clock) -> None:
    """By attempt, with the time of the last call; what ended is not listed."""
    attempt = begun(ledger)
    token = attempt.webhook_token or ""
    assert ledger.wake(attempt.id, token, "job-1")
    clock.now += 10
    assert ledger.wake(attempt.id, token, "x" * 1000)
    assert ledger.woken() == {attempt.id: clock.now}
    assert ledger.attempt(attempt.id).claimed_id == "x" * 200
    assert ledger.wake(attempt.id, token)
    assert ledger.attempt(attempt.id).claimed_id == "x" * 200
    ledger.move(attempt, "failed")
    assert ledger.woken() == {}


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9"])
def test_wrong_token_writes_nothing_and_waits_for_nobody(ledger: Ledger, token: str) -> None:
    """Anybody may knock: while paid work holds the database's write lock, a stranger is turned away at once."""
    attempt = begun(ledger)
    with ThreadPoolExecutor(1) as pool, writing(ledger.engine) as db:
        lock(db, "gpu_budget")
        db.execute(sa.update(tables.attempts).values(worker="busy"))  # on Postgres, the row's lock
        knocks = [pool.submit(ledger.wake, who, token, "job-1") for who in (attempt.id, "nobody")]
        assert [knock.result(timeout=2.0) for knock in knocks] == [False, False]
    assert (ledger.woken(), ledger.attempt(attempt.id).claimed_id) == ({}, None)


def test_diagnosis_is_noted_while_it_waits_and_not_after(ledger: Ledger) -> None:
    """The verdict on an open attempt is no move; it stays with its evidence; an ended one keeps what it ended with."""
    attempt = _at(ledger, begun(ledger), "queued")
    evidence = {"workers": {"idle": 0}, "gpu": "\ud83d"}
    ledger.diagnose(attempt, Diagnosis("no_room", "no worker\x00 has room", False, "ryla doctor", evidence))
    noted = ledger.attempt(attempt.id)
    assert (noted.diagnosis, noted.way_out) == ("no worker has room", "ryla doctor")
    assert noted.evidence is not None
    assert noted.evidence | {"at": 0} == {"workers": {"idle": 0}, "gpu": "\ud83d", "code": "no_room", "at": 0}
    ledger.move(attempt, "timed_out", diagnosis="why", way_out="this way")
    ledger.diagnose(attempt, Diagnosis("late", "late"))
    assert (ledger.attempt(attempt.id).diagnosis, ledger.attempt(attempt.id).way_out) == ("why", "this way")


def test_where_a_submission_arrived_is_written_whoever_holds_the_lease(ledger: Ledger) -> None:
    """An id that the far side answered with is a fact: only an attempt that was ended has no use for it."""
    attempt = begun(ledger)
    doubted = ledger.move(attempt, "unknown")
    ledger.release(str(doubted.lease_owner))
    taken = ledger.take_lease(doubted, "another", 60.0)
    known = ledger.learned(attempt, "r-1", "r-1")
    assert taken is not None
    assert known is not None
    assert (known.state, known.remote_id, known.lease_owner) == ("submitted", "r-1", "another")
    again = ledger.learned(attempt, "r-2", "r-2")
    assert again is not None
    assert again.remote_id == "r-1", "the first one stays"
    ledger.move(known, "failed", error="no")
    assert ledger.learned(attempt, "r-1", "r-1") is None


def test_a_workers_words_never_block_the_books(ledger: Ledger) -> None:
    """NUL, half a character, ten megabytes: none of it is a reason not to book what an attempt cost."""
    attempt = _at(ledger, begun(ledger), "running")
    words = "Traceback\x00 \ud83d " + "x" * 10_000_000
    ended = ledger.move(
        attempt, "failed", note=words, error_code="e" * 500, error=words, diagnosis="d\x00", cost_usd=0.02
    )
    assert ended.error is not None
    assert ended.error.startswith("Traceback ? xxx")
    assert len(ended.error) == MAX_TEXT
    assert (ended.error_code, ended.diagnosis, ended.cost_usd) == ("e" * 64, "d", 0.02)


def test_label_of_any_length_is_taken(ledger: Ledger) -> None:
    """A label is for people; it never stops a job."""
    long = Job("image", {}, (OutputSpec("a", "image", 8, 8),), label="l" * 1000, owner="o" * 100)
    row = ledger.open(long, backend="scripted", profile="p")
    assert ledger.job(row.fingerprint).job == long  # type: ignore[union-attr]


def test_lost_result_is_replaced_by_who_made_it_only(ledger: Ledger) -> None:
    """Who finds the first result's bytes gone cannot throw away the second, accepted meanwhile."""
    first = _at(ledger, begun(ledger), "running")
    ledger.accept(first, RESULT, cost_usd=0.01)
    ledger.replace_result(first, [])
    assert ledger.job(first.fingerprint).result == []  # type: ignore[union-attr]
    ledger.replace_result(first, None)
    assert ledger.job(first.fingerprint).result is None  # type: ignore[union-attr]
    second = _at(ledger, begun(ledger), "running")
    assert ledger.accept(second, RESULT, cost_usd=0.01)
    ledger.replace_result(first, None)
    row = ledger.job(first.fingerprint)
    assert row is not None
    assert (row.result, row.accepted_attempt) == (RESULT, second.id)


def test_open_attempts_are_listed_by_kind(ledger: Ledger) -> None:
    """A sensor that looks after trainings is not shown pictures."""
    picture = begun(ledger)
    training = Job("training", {"base_model": "x"}, (OutputSpec("l", "lora"),))
    fingerprint = ledger.open(training, backend="scripted", profile="p").fingerprint
    attempt = ledger.begin(fingerprint, intent(), Budgets(1.0))
    assert ledger.open_attempts("training") == [attempt]
    assert {a.id for a in ledger.open_attempts()} == {picture.id, attempt.id if attempt else ""}


def test_history_tells_every_move_with_its_reason(ledger: Ledger, clock: Clock) -> None:
    """What happened when, in words."""
    attempt = ledger.move(begun(ledger), "submitted", note="r-1", remote_id="r-1")
    clock.now += 5
    ledger.move(attempt, "lost", note="the worker died")
    assert [(state, note) for _, state, note in ledger.history(attempt.id)] == [
        ("intended", "reserved $0.0100"),
        ("submitted", "r-1"),
        ("lost", "the worker died"),
    ]
    assert ledger.history(attempt.id)[-1][0] == clock.now


def test_unknown_attempt_is_a_key_error(ledger: Ledger) -> None:
    """No row, no guess."""
    with pytest.raises(KeyError):
        ledger.attempt("nobody")
    assert ledger.job("f" * 64) is None


def test_two_runners_on_one_ledger_execute_once(engine: sa.Engine, tmp_path: Path) -> None:
    """The same jobs asked for by four runners at once, on either database: each is sent once, all get the result."""
    backend = ScriptedBackend()
    store = FileStore(tmp_path / "store")
    quick = Policy(poll_min_s=0.005, poll_max_s=0.02)
    wanted = [job("a"), job("b")]

    def run(_: int) -> list[str]:
        runner = Runner(Ledger(engine), backend, store, Budgets(1.0), policy=quick)
        return [result.outputs[0]["sha256"] for result in runner.run(wanted)]

    got = at_once(4, run)
    assert [g for g in got if isinstance(g, Exception)] == []
    assert all(g == got[0] for g in got)
    assert list(backend.submitted.values()) == [1, 1]
    assert len(backend.sent) == 2


def test_dead_process_is_succeeded_by_one_of_many(engine: sa.Engine, tmp_path: Path) -> None:
    """One job of a dead machine had arrived, one had not: four others take over at once, each job is sent once."""
    backend, store, ledger = ScriptedBackend(), FileStore(tmp_path / "store"), Ledger(engine)
    wanted = [job("arrived"), job("gone")]
    for number, one in enumerate(wanted):
        row = ledger.open(one, backend="scripted", profile=backend.profile(one))
        dead = Intent("scripted", "memory", "dead", 0.0, None, 0.01, 0.05, 900.0, 1800.0)
        attempt = ledger.begin(row.fingerprint, dead, Budgets(1.0))
        assert attempt is not None
        if number == 0:
            asyncio.run(backend.submit(Submission(attempt.id, row.fingerprint, one, lambda _: b"")))
    quick = Policy(poll_min_s=0.005, poll_max_s=0.02, retry_pause_s=0.0, lease_s=1.0)

    def run(_: int) -> list[str]:
        runner = Runner(Ledger(engine), backend, store, Budgets(1.0), policy=quick)
        return [result.outputs[0]["sha256"] for result in runner.run(wanted)]

    got = at_once(4, run)
    assert [g for g in got if isinstance(g, Exception)] == []
    assert list(backend.submitted.values()) == [1, 1]
    assert ledger.open_attempts() == []


def test_commits_of_the_ledger_survive_a_power_cut(tmp_path: Path) -> None:
    """SQLite writes ahead and syncs each commit: an intent lies on the disk before anything is sent."""
    engine = open_engine(f"sqlite:///{tmp_path}/deep/folder/ryla.db")
    with reading(engine) as db:
        assert db.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert db.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    engine.dispose()


def test_reader_is_not_blocked_by_a_writer(tmp_path: Path) -> None:
    """A report reads on while a write transaction is open, and sees what was committed."""
    engine = open_engine(f"sqlite:///{tmp_path}/ryla.db")
    metadata.create_all(engine, tables=OURS)
    ledger = Ledger(engine)
    attempt = begun(ledger)
    with writing(engine) as db:
        db.execute(sa.update(tables.attempts).values(cost_usd=9.0))
        assert ledger.attempt(attempt.id).cost_usd == 0.0
    assert ledger.attempt(attempt.id).cost_usd == 9.0
    engine.dispose()


def _rows(engine: sa.Engine) -> list[int]:
    with reading(engine) as db:
        return [db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in OURS]


def _at(ledger: Ledger, attempt: Attempt, state: str) -> Attempt:
    for step in ("submitted", "queued", "running"):
        attempt = ledger.move(attempt, step)
        if step == state:
            break
    return attempt
