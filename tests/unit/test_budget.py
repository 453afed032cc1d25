"""What goes wrong with money: more is promised than a day, a character or a run may cost; on SQLite and on Postgres."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from resources.database import metadata, open_engine, writing
from resources.gpu import tables
from resources.gpu.budget import DAY_S, Budgets
from resources.gpu.errors import OverBudget
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt, Intent

OURS = [tables.jobs, tables.attempts, tables.events]


class Clock:
    """Time that moves when it is told to."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """The tables in a database of each kind."""
    sqlite = request.param == "sqlite"
    folder = tmp_path_factory.mktemp("budget")
    engine = open_engine(f"sqlite:///{folder}/ledger.db" if sqlite else request.getfixturevalue("postgres"))
    metadata.create_all(engine, tables=OURS)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(database: sa.Engine) -> Iterator[Ledger]:
    """An empty ledger on a clock of its own."""
    yield Ledger(database, clock=Clock())
    with writing(database) as db:
        for table in reversed(OURS):
            db.execute(sa.delete(table))


def begin(
    ledger: Ledger, name: str, budgets: Budgets, *, owner: str = "mara", run_id: str | None = "run-1", usd: float = 0.05
) -> Attempt:
    """A new attempt of a job of that name, which can cost `usd`."""
    job = Job(
        "image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (OutputSpec("a", "image", 8, 8),), owner=owner
    )
    row = ledger.open(job, backend="scripted", profile="p")
    attempt = ledger.begin(
        row.fingerprint, Intent("scripted", "memory", "me", 60.0, run_id, usd / 5, usd, 900.0, 1800.0), budgets
    )
    assert attempt is not None
    return attempt


def ended(ledger: Ledger, attempt: Attempt, usd: float) -> None:
    """It failed, and cost that."""
    ledger.move(ledger.move(attempt, "submitted"), "failed", cost_usd=usd)


def test_character_cannot_spend_the_others_day(ledger: Ledger) -> None:
    """Her own limit holds while the day has room; the message names her, the sums and the setting."""
    budgets = Budgets(10.0, character_usd=0.10)
    ended(ledger, begin(ledger, "a", budgets), 0.03)
    begin(ledger, "b", budgets, usd=0.05)
    with pytest.raises(
        OverBudget,
        match=r"can cost \$0\.0400; of the daily budget of mara of \$0\.10, \$0\.0300 is spent and \$0\.0500",
    ) as caught:
        begin(ledger, "c", budgets, usd=0.04)
    assert "RYLA_CHARACTER_BUDGET_USD" in caught.value.way_out
    begin(ledger, "kofi's", budgets, owner="kofi", usd=0.04)
    begin(ledger, "nobody's", budgets, owner="", usd=5.0)


def test_characters_budget_is_of_the_last_day(ledger: Ledger) -> None:
    """Yesterday's bill is forgotten, yesterday's open job is not."""
    budgets = Budgets(10.0, character_usd=0.10)
    ended(ledger, begin(ledger, "a", budgets), 0.09)
    ledger.clock.now += DAY_S + 1  # type: ignore[attr-defined]
    begin(ledger, "b", budgets, usd=0.08)
    ledger.clock.now += DAY_S + 1  # type: ignore[attr-defined]
    with pytest.raises(OverBudget):
        begin(ledger, "c", budgets, usd=0.05)


def test_run_budget_has_no_window(ledger: Ledger) -> None:
    """A run that is executed again next week goes on counting; another run, and work of no run, do not."""
    budgets = Budgets(10.0, run_usd=0.10)
    ended(ledger, begin(ledger, "a", budgets), 0.08)
    ledger.clock.now += 7 * DAY_S  # type: ignore[attr-defined]
    with pytest.raises(OverBudget, match=r"budget of run run-1 of \$0\.10, \$0\.0800 is spent") as caught:
        begin(ledger, "b", budgets)
    assert "RYLA_RUN_BUDGET_USD" in caught.value.way_out
    begin(ledger, "b", budgets, run_id="run-2")
    begin(ledger, "c", budgets, run_id=None, usd=1.0)


def test_day_is_asked_first(ledger: Ledger) -> None:
    """What no setting of a character can cure is not blamed on her."""
    with pytest.raises(OverBudget, match=r"of the daily budget of \$0\.01"):
        begin(ledger, "a", Budgets(0.01, character_usd=0.01, run_usd=0.01))


@pytest.mark.parametrize("budgets", [Budgets(0.12), Budgets(9.0, character_usd=0.12), Budgets(9.0, run_usd=0.12)])
def test_no_budget_is_spent_twice_at_once(ledger: Ledger, budgets: Budgets) -> None:
    """Six reservations that start together: two fit, whichever limit it is."""
    barrier = threading.Barrier(6)

    def one(number: int) -> str:
        barrier.wait()
        try:
            return begin(ledger, f"job-{number}", budgets).state
        except OverBudget:
            return "refused"

    with ThreadPoolExecutor(6) as pool:
        got = sorted(pool.map(one, range(6)))
    assert got == ["intended"] * 2 + ["refused"] * 4
    assert ledger.committed_usd() == pytest.approx(0.10)


def test_presumed_cost_counts_like_any_other(ledger: Ledger) -> None:
    """What nobody can tell is booked at its exposure, and is gone from the budget."""
    attempt = ledger.move(begin(ledger, "a", Budgets(1.0)), "unknown")
    lost = ledger.move(attempt, "lost", cost_usd=attempt.exposure_usd, cost_basis="presumed")
    assert (lost.cost_usd, lost.cost_basis, lost.reserved_usd) == (0.05, "presumed", 0.0)
    with pytest.raises(OverBudget):
        begin(ledger, "a", Budgets(0.09))
