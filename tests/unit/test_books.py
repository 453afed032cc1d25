"""What goes wrong with questions to the ledger: money counted twice, an exposure forgotten, a prefix that fits two."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import metadata, open_engine, writing
from resources.gpu import tables
from resources.gpu.backend import Diagnosis
from resources.gpu.books import DAY_S, Books
from resources.gpu.budget import Budgets
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import HOUR_S, MIN_PREFIX, Attempt, Intent, Span

NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
OURS = [tables.jobs, tables.attempts, tables.events]
MOST = 0.05
Begin = Callable[..., Attempt]


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """The tables in a database of each kind: buckets, prefixes and JSON lengths are said differently in them."""
    folder = tmp_path_factory.mktemp("books")
    sqlite = request.param == "sqlite"
    engine = open_engine(f"sqlite:///{folder}/ledger.db" if sqlite else request.getfixturevalue("postgres"))
    metadata.create_all(engine, tables=OURS)
    yield engine
    with writing(engine) as db:
        for table in reversed(OURS):
            db.execute(sa.delete(table))
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def ledger(database: sa.Engine, clock: Clock) -> Ledger:
    """An empty ledger on that clock."""
    with writing(database) as db:
        for table in reversed(OURS):
            db.execute(sa.delete(table))
    return Ledger(database, clock=clock)


@pytest.fixture
def books(ledger: Ledger, clock: Clock) -> Books:
    """Its books."""
    return Books(ledger.engine, clock=clock)


@pytest.fixture
def begin(ledger: Ledger) -> Begin:
    """Begin an attempt of a job: `begin("a", owner="mara", run="r1", kind="training")`."""

    def made(
        name: str = "a", *, owner: str = "mara", run: str | None = "r1", kind: Any = "image", **more: Any
    ) -> Attempt:
        spec = OutputSpec(name, "image", 64, 64) if kind == "image" else OutputSpec(name, "lora")
        job = Job(
            kind, {"1": {"class_type": "X", "inputs": {"n": name}}}, (spec,), label=f"{owner}/{name}/1", owner=owner
        )
        row = ledger.open(job, backend="scripted", profile="p")
        endpoint = more.get("endpoint", "https://jobs.test/v2/ep1")
        intent = Intent("scripted", endpoint, "me", 60.0, run, 0.01, MOST, 900.0, 1800.0)
        attempt = ledger.begin(row.fingerprint, intent, Budgets(100.0))
        assert attempt is not None
        return attempt

    return made


def succeed(ledger: Ledger, attempt: Attempt, *, usd: float = 0.01, images: int = 1, **more: Any) -> None:
    """Accept a result of that many pictures."""
    now = ledger.move(attempt, "submitted", remote_id=f"r-{attempt.id}")
    result = [{"name": f"{n}", "media": "image", "sha256": "0" * 64} for n in range(images)]
    assert ledger.accept(now, result, cost_usd=usd, **more)


def test_newest_attempts_come_first_and_are_limited(books: Books, begin: Begin, clock: Clock) -> None:
    """What just happened is what people ask about."""
    for name in "abc":
        begin(name)
        clock.now += 1
    assert [entry.label for entry in books.entries(limit=2)] == ["mara/c/1", "mara/b/1"]


def test_filters_are_all_kept(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """State, character, run and time narrow together, never widen."""
    old = begin("a")
    clock.now += 10
    other = begin("b", owner="kofi", run="r2")
    mine = begin("c", run="r2")
    ledger.move(old, "failed", error="no")
    ids = {name: entry.attempt.id for name, entry in zip("cb", books.entries(since=NOW + 5), strict=True)}
    assert set(ids.values()) == {mine.id, other.id}
    assert [e.attempt.id for e in books.entries(character="mara", run_id="r2")] == [mine.id]
    assert [e.attempt.id for e in books.entries(states=["failed"])] == [old.id]
    assert books.entries(states=["failed"], character="kofi") == []
    assert books.entries(states=[]) == []


def test_attempt_is_found_by_its_beginning(books: Books, begin: Begin) -> None:
    """By the attempt's id and by its job's fingerprint; never by what stands in the middle, and no wildcard counts."""
    attempt = begin()
    for prefix in (attempt.id, attempt.id[:MIN_PREFIX], attempt.fingerprint[:MIN_PREFIX], attempt.fingerprint):
        assert [e.attempt.id for e in books.found(prefix)] == [attempt.id], prefix
    assert books.found(attempt.id[4:16]) == []
    assert books.found("%" * MIN_PREFIX) == books.found("_" * MIN_PREFIX) == []
    with pytest.raises(ValueError, match="shorter than 8"):
        books.found(attempt.id[:7])


def test_prefix_uses_the_index(books: Books, begin: Begin) -> None:
    """A ledger of years is not read from end to end for one id."""
    if books.engine.dialect.name != "sqlite":
        pytest.skip("the plan of a small table is no evidence there")
    begin()
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        asked.append((sql, values))

    sa.event.listen(books.engine, "before_cursor_execute", note)
    books.found("0123abcd")
    books.left_alone(limit=10)
    sa.event.remove(books.engine, "before_cursor_execute", note)
    for sql, values in [one for one in asked if one[0].startswith("SELECT")]:
        with books.engine.connect() as db:
            plan = [row[-1] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert not [line for line in plan if line.startswith("SCAN gpu_attempts")], plan


def test_spend_counts_every_dollar_once(books: Books, ledger: Ledger, begin: Begin) -> None:
    """Spent, reserved and unknown are three sums of different attempts, whichever way they are grouped."""
    succeed(ledger, begin("a"), usd=0.02)
    ledger.move(begin("b", owner="kofi", run="r2"), "failed", cost_usd=0.01)
    begin("c", run="r2")
    ledger.move(begin("d", run=None), "unknown")
    for by in ("day", "character", "run"):
        found = books.spend(by, since=NOW - DAY_S)  # type: ignore[arg-type]
        assert sum(row.spent_usd for row in found) == pytest.approx(0.03), by
        assert sum(row.reserved_usd for row in found) == pytest.approx(MOST), by
        assert sum(row.unknown_usd for row in found) == pytest.approx(MOST), by
        assert sum(row.attempts for row in found) == 4, by
    assert {row.key: round(row.spent_usd, 6) for row in books.spend("character", since=0)} == {
        "mara": 0.02,
        "kofi": 0.01,
    }
    assert {row.key for row in books.spend("run", since=0)} == {"r1", "r2", None}


def test_run_costs_all_that_it_ever_cost(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """Its budget has no window: of a run that goes on, yesterday's attempts count; one that is over is not told."""
    succeed(ledger, begin("a", run="long"), usd=1.0)
    succeed(ledger, begin("b", run="over"), usd=1.0)
    clock.now += 2 * DAY_S
    succeed(ledger, begin("c", run="long"), usd=0.5)
    assert [(row.key, row.usd) for row in books.spend("run", since=clock.now - DAY_S)] == [("long", 1.5)]
    assert [(row.key, row.usd) for row in books.spend("character", since=clock.now - DAY_S)] == [("mara", 0.5)]


def test_day_begins_at_midnight_utc(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """A cost of one second before midnight is that day's."""
    midnight = NOW // DAY_S * DAY_S + DAY_S
    for at, name in ((midnight - 1, "a"), (midnight, "b"), (midnight + DAY_S / 2 + 1, "c")):
        clock.now = at
        succeed(ledger, begin(name))
    days = books.spend("day", since=0.0)
    assert [(row.key, row.attempts) for row in days] == [(midnight, 2), (midnight - DAY_S, 1)]


def test_span_is_all_hours_that_an_attempt_may_be_billed_in(
    books: Books, ledger: Ledger, begin: Begin, clock: Clock
) -> None:
    """By endpoint, from the hour before its intent to the hour after its settlement; an open one has no end."""
    start = NOW // HOUR_S * HOUR_S

    def spans(since: float) -> list[Span]:
        return books.spans(backend="scripted", since=since, before_s=60.0, after_s=60.0)

    for at, name in ((start + 1800.9, "a"), (start + 2000.0, "b")):
        clock.now = at
        attempt = begin(name, endpoint="x")
        clock.now = start + 3570.0
        succeed(ledger, attempt, usd=0.01)
    clock.now = start + 3630.0
    ledger.move(ledger.move(begin("c", endpoint="y"), "unknown"), "lost", cost_usd=MOST, cost_basis="presumed")
    begin("open", endpoint="y")
    found = {(s.endpoint, s.first, s.last): (s.attempts, s.cost_usd, s.presumed_usd) for s in spans(start)}
    assert found == {
        ("x", start, start + HOUR_S): (2, pytest.approx(0.02), 0.0),  # with the minute after
        ("y", start, start + HOUR_S): (1, pytest.approx(MOST), pytest.approx(MOST)),  # and the minute before
        ("y", start, None): (1, 0.0, 0.0),
    }
    assert {span.endpoint for span in spans(start + 2 * HOUR_S)} == {"y"}, "what is open may be billed at any time"
    assert books.spans(backend="runpod", since=0.0, before_s=0.0, after_s=0.0) == []


def test_what_nobody_follows_is_found(books: Books, begin: Begin, ledger: Ledger, clock: Clock) -> None:
    """Open, and its lease ended; what has ended, and what is followed, is left alone."""
    gone, ended = begin("a"), begin("b")
    ledger.move(ended, "failed")
    clock.now += 61
    begin("c")
    assert [entry.attempt.id for entry in books.left_alone(limit=10)] == [gone.id]


def test_unseen_money_is_listed_with_its_most(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """Unknown outcomes, intents of dead processes, and costs that were presumed; nothing that is merely running."""
    unknown, dead, presumed = begin("a"), begin("b"), begin("c")
    ledger.move(unknown, "unknown")
    ledger.move(ledger.move(presumed, "unknown"), "lost", cost_usd=MOST, cost_basis="presumed")
    clock.now += 61
    ledger.move(begin("d"), "submitted", remote_id="r")
    begin("e")
    assert {entry.attempt.id for entry in books.exposed(since=NOW - 1)} == {unknown.id, dead.id, presumed.id}
    assert {entry.attempt.id for entry in books.exposed(since=clock.now)} == {unknown.id, dead.id}
    summary = books.summary()
    assert (summary.unknown_usd, summary.presumed_usd) == (pytest.approx(2 * MOST), pytest.approx(MOST))


def test_summary_of_an_empty_ledger_is_all_zeros(books: Books) -> None:
    """No division by nothing on a fresh deployment."""
    summary = books.summary()
    assert (summary.spent_usd, summary.images, summary.by_state) == (0.0, 0, {})
    assert summary.per_image_usd is None
    assert summary.wasted_share == 0.0
    assert summary.p50 == summary.p95 == {}


def test_price_of_an_image_holds_the_waste(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """What failed was paid for too; trainings are not images; what is older than the window is another day's."""
    succeed(ledger, begin("old"), usd=9.0)
    clock.now += DAY_S + 1
    succeed(ledger, begin("a"), usd=0.03, images=3, cold_usd=0.01, idle_usd=0.005)
    ledger.move(begin("b"), "failed", cost_usd=0.01)
    succeed(ledger, begin("t", kind="training"), usd=1.0)
    summary = books.summary()
    assert (summary.images, summary.per_image_usd) == (3, pytest.approx(0.04 / 3))
    assert summary.spent_usd == pytest.approx(1.04)
    assert summary.wasted_share == pytest.approx(0.01 / 1.04)
    assert (summary.cold_usd, summary.idle_usd) == (pytest.approx(0.01), pytest.approx(0.005))
    assert summary.by_state == {"succeeded": 2, "failed": 1}


def test_percentiles_are_of_what_succeeded(books: Books, ledger: Ledger, begin: Begin) -> None:
    """Nearest rank: of 1 to 20, the median is 10 and the 95th percentile 19; failures do not count."""
    for second in range(1, 21):
        succeed(ledger, begin(f"j{second}"), queue_s=float(second), exec_s=float(21 - second))
    ledger.move(begin("bad"), "failed", queue_s=1000.0)
    summary = books.summary()
    assert (summary.p50["queue_s"], summary.p95["queue_s"]) == (10.0, 19.0)
    assert (summary.p50["exec_s"], summary.p95["cold_s"]) == (10.0, 0.0)


def test_late_result_is_waste(books: Books, ledger: Ledger, begin: Begin) -> None:
    """Of two attempts that both succeeded, one result is the job's; the other was paid for nothing."""
    ledger.move(ledger.move(begin("a"), "unknown"), "lost", cost_usd=0.01)
    succeed(ledger, begin("a"), usd=0.01)
    assert books.summary().wasted_share == pytest.approx(0.5)
    assert [entry.accepted for entry in books.entries()] == [True, False]


def test_tokens_are_those_of_the_newest_attempts(books: Books, begin: Begin, clock: Clock) -> None:
    """Oldest first, so that whoever keeps only so many drops the oldest; nothing from before `since`."""
    made = []
    for name in "abc":
        made.append(begin(name))
        clock.now += 1
    assert list(books.tokens(since=NOW + 1, limit=10).items()) == [(a.id, a.webhook_token) for a in made[1:]]
    assert list(books.tokens(since=0.0, limit=2)) == [a.id for a in made[1:]]


def test_diagnoses_are_told_once(books: Books, ledger: Ledger, begin: Begin, clock: Clock) -> None:
    """The newest first; jobs without trouble say nothing."""
    for name, verdict in (("a", "no capacity"), ("b", "no capacity"), ("c", "crash loop")):
        ledger.diagnose(begin(name), Diagnosis("why", verdict))
        clock.now += 1
    quiet = begin("d")
    jobs = [entry.attempt.fingerprint for entry in books.entries()]
    assert books.diagnoses(jobs) == ["crash loop", "no capacity"]
    assert books.diagnoses([quiet.fingerprint]) == books.diagnoses([]) == []
