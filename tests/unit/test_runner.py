"""The promise on paid work, test by test: nothing is paid twice, nothing paid is lost, every attempt is settled."""

import asyncio
import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources import images
from resources.gpu.backend import Diagnosis, RemoteOutput, RemoteStatus
from resources.gpu.errors import (
    BackendUnavailable,
    InvalidJob,
    JobCancelled,
    JobFailed,
    JobLost,
    JobTimedOut,
    OutputRejected,
    OverBudget,
)
from resources.gpu.job import InputFile, Job
from resources.gpu.records import Attempt
from resources.gpu.runner import JobResult, Progress, Runner
from resources.gpu.tracked import Tracked
from resources.storage import StorageFull
from tests.fakes.house import (
    QUICK,
    RUNS_ON,
    WAITS_ON,
    House,
    Killed,
    emptied,
    house_on,
    job,
    ledger_in,
    states,
    training,
)  # fmt: skip
from tests.fakes.scripted_backend import MOST_USD, USD, Damage, Script, ScriptedBackend


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


# ---- adoption


def test_paid_result_is_adopted(house: House) -> None:
    """The second run of the same job, in another process, sends nothing and pays nothing."""
    [first] = house.runner().run([job()])
    [second] = house.runner().run([job(label="another word", owner="somebody")])
    assert (first.adopted, second.adopted) == (False, True)
    assert second.outputs == first.outputs
    assert second.attempt == first.attempt
    assert house.backend.sent == ["a"]
    assert house.ledger.committed_usd() == pytest.approx(USD)


def test_results_come_in_the_order_of_the_jobs(house: House) -> None:
    """Whichever ends first; and what was paid for earlier stands among the new ones."""
    house.runner().run([job("b")])
    house.backend.scripts = [Script(states=("running",) * 20 + ("succeeded",)), Script(states=("succeeded",))]
    results = house.runner().run([job("a"), job("b"), job("c")])
    assert [result.outputs[0]["name"] for result in results] == ["a", "b", "c"]
    assert [result.adopted for result in results] == [False, True, False]
    assert house.backend.sent == ["b", "a", "c"]


def test_nothing_wanted_is_nothing_done(house: House) -> None:
    """No jobs, no event loop, no poll."""
    assert house.runner().run([]) == []


def test_same_job_twice_in_one_call_is_paid_once(house: House) -> None:
    """Both places get the one result."""
    one, two = house.runner().run([job(), job()])
    assert one.outputs == two.outputs
    assert (one.adopted, two.adopted) == (False, True)
    assert house.backend.sent == ["a"]


def test_booked_times_and_costs_are_the_backends(house: House) -> None:
    """And what is neither queue nor cold start nor execution is overhead."""
    [result] = house.runner().run([job()], run_id="run-7")
    attempt = result.attempt
    assert (attempt.queue_s, attempt.cold_s, attempt.exec_s, attempt.cost_usd) == (0.25, 0.5, 2.0, USD)
    assert (attempt.state, attempt.run_id, attempt.reserved_usd, attempt.exposure_usd) == (
        "succeeded",
        "run-7",
        0,
        0.05,
    )
    assert attempt.settled_at is not None
    assert attempt.overhead_s >= 0
    moves = [state for _, state, _ in house.ledger.history(attempt.id)]
    assert moves == ["intended", "submitted", "queued", "running", "succeeded"]


@pytest.mark.parametrize(("domain", "source"), [("model", "trainedAlgorithmicMedia"), ("preview", "algorithmicMedia")])
def test_stored_picture_says_what_made_it(house: House, domain: str, source: str) -> None:
    """A procedural preview never passes for a model's output."""
    house.backend.render_domain = domain  # type: ignore[assignment]
    [result] = house.runner().run([job()])
    data = house.store.get("images", result.outputs[0]["sha256"])
    assert images.read_mark(data) == source
    assert (b"procedural preview" in data) == (domain == "preview")


def test_sweep_costs_nothing_where_nothing_is_rented(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor asks every minute: no query, no thread for a backend without machines of its own."""
    runner = house.runner()
    monkeypatch.setattr(runner, "ledger", None)
    monkeypatch.setattr("resources.gpu.runner.Thread", None)
    assert runner.sweep() == []


def test_sweep_asks_who_rents_and_tells_what_is_open(house: House) -> None:
    """Machines are given back by attempts: open ones with their ids, and whether one has ended."""
    house.backend.scripts = [Script(states=("queued",))]
    attempt = house.runner().submit(job())
    assert isinstance(attempt, Attempt)
    seen: list[object] = []

    async def sweep(open_attempts: Mapping[str, str], ended: Callable[[str], bool]) -> list[str]:
        seen.extend([dict(open_attempts), ended(attempt.id), ended("nobody's")])
        return ["machine"]

    house.backend.sweep = sweep  # type: ignore[attr-defined]
    house.backend.rents = "elsewhere"  # type: ignore[attr-defined]
    assert house.runner().sweep() == seen == [], "no attempt was ever sent there"
    house.backend.rents = house.backend.endpoint  # type: ignore[attr-defined]
    assert house.runner().sweep() == ["machine"]
    assert seen == [{attempt.id: attempt.remote_id}, False, False]


def test_progress_goes_from_nothing_to_all(house: House) -> None:
    """Never backwards, and done is done."""
    heard: list[Progress] = []
    house.runner().run([job("a"), job("b")], on_progress=heard.append)
    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions)
    assert 0.5 in fractions
    assert heard[-1] == Progress(2, 2, 1.0)


# ---- several processes


def test_two_runners_never_have_two_open_attempts(house: House) -> None:
    """Even while the first attempts fail and both want to try again: one at a time, one accepted result."""
    house.backend.scripts = [Script(states=("running", "lost")), Script(states=("running", "lost")), Script()]
    barrier = threading.Barrier(2)
    got: list[str] = []

    def run() -> None:
        barrier.wait()
        [result] = house.runner(max_attempts=3).run([job()])
        got.append(result.outputs[0]["sha256"])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(got) == 2
    assert len(set(got)) == 1
    attempts = house.attempts(job())
    assert states(attempts) == ["lost", "lost", "succeeded"]
    for before, after in itertools.pairwise(attempts):
        assert before.finished_at is not None
        assert before.finished_at <= after.intended_at
    assert house.backend.submitted[house.print(job())] == 3


def test_waiting_for_anothers_job_sends_nothing(house: House) -> None:
    """Its attempt is awaited, and its result adopted."""
    started = house.runner().submit(job())
    assert isinstance(started, Attempt)
    [result] = house.runner().run([job()])
    assert result.adopted
    assert result.attempt.id == started.id
    assert house.backend.sent == ["a"]


def test_job_that_somebody_cancelled_is_not_started_again(house: House) -> None:
    """A person said stop while we waited: we stop, and say so."""
    house.backend.scripts = [RUNS_ON]
    started = house.runner().submit(job())
    assert isinstance(started, Attempt)
    runner = house.runner()

    def cancel_elsewhere(_: Progress) -> None:
        now = house.ledger.attempt(started.id)
        if now.state == "running":
            house.ledger.move(now, "cancelled", error="a person cancelled it", error_code="cancelled", cost_usd=0.004)
            house.backend.remotes[f"r-{started.id}"].cancelled = True

    with pytest.raises(JobCancelled, match="cancelled") as caught:
        runner.run([job()], on_progress=cancel_elsewhere)
    assert caught.value.cost_usd == pytest.approx(0.004)
    assert house.backend.sent == ["a"]


def test_job_that_another_gave_up_for_late_is_started_again(house: House) -> None:
    """Its time-out is ours too, and worth another attempt."""
    house.backend.scripts = [RUNS_ON, Script()]
    started = house.runner().submit(job())
    assert isinstance(started, Attempt)

    def time_out_elsewhere(_: Progress) -> None:
        now = house.ledger.attempt(started.id)
        if now.state == "running":
            house.ledger.move(now, "timed_out", error="late", error_code="timed_out", cost_usd=MOST_USD)
            house.backend.remotes[f"r-{started.id}"].script = Script(states=("queued",))

    [result] = house.runner().run([job()], on_progress=time_out_elsewhere)
    assert states(house.attempts(job())) == ["timed_out", "succeeded"]
    assert not result.adopted


def test_result_accepted_between_look_and_intent_is_adopted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process finishes just after we saw that there is nothing: we must not pay for it again."""
    open_attempt, late = house.ledger.open_attempt, [True]

    def somebody_finishes_first(fingerprint: str) -> Attempt | None:
        if not late:
            return open_attempt(fingerprint)
        late.clear()
        elsewhere = threading.Thread(target=lambda: house.runner().run([job()]))
        elsewhere.start()
        elsewhere.join(timeout=10)
        return None

    monkeypatch.setattr(house.ledger, "open_attempt", somebody_finishes_first)
    [result] = house.runner().run([job()])
    assert result.adopted
    assert house.backend.sent == ["a"]


# ---- crashes


def test_crash_between_intent_and_submission_costs_nothing(house: House) -> None:
    """A later process waits for the dead one's lease, finds that nothing arrived, books 0, and starts anew."""
    dead = house.intend(job())
    house.clock.ahead = 61
    [result] = house.runner().run([job()])
    first, second = house.attempts(job())
    assert (first.id, first.state, first.error_code, first.cost_usd) == (dead.id, "failed", "never_submitted", 0.0)
    assert first.settled_at is not None
    assert second.id == result.attempt.id
    assert house.backend.sent == ["a"]
    assert house.ledger.committed_usd() == pytest.approx(USD)


def test_intent_of_a_live_process_is_left_alone(house: House) -> None:
    """While its lease runs, its submission may be under way: nobody settles it, nobody sends another."""
    alive = house.intend(job(), owner="alive")
    runner = house.runner()

    async def wait_a_little() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner._run([job()], None, None), 0.1)

    asyncio.run(wait_a_little())
    assert house.ledger.attempt(alive.id) == alive
    assert house.backend.sent == []


def test_crash_after_arrival_before_the_id_is_recorded_is_attached(house: House) -> None:
    """The job runs, its id is nowhere: the next process finds it by its attempt and sends nothing."""

    def die() -> None:
        raise Killed

    house.backend.on_submit = die
    with pytest.raises(Killed):
        house.runner().run([job()])
    [left] = house.attempts(job())
    assert (left.state, left.remote_id) == ("intended", None)
    house.clock.ahead = 61
    house.backend.on_submit = lambda: None
    [result] = house.runner().run([job()])
    assert result.attempt.id == left.id
    assert result.attempt.remote_id == f"r-{left.id}"
    assert house.backend.submitted[result.fingerprint] == 1
    assert house.backend.sent == ["a"]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_crash_while_the_job_is_on_its_way_is_reattached(house: House, state: str) -> None:
    """Wherever it was remotely when we died, the next process follows the stored id."""
    house.backend.scripts = [Script(states=("queued", "running", "running", "succeeded"))]
    runner = house.runner()

    def die(_: Progress) -> None:
        [attempt] = house.attempts(job())
        remote = house.backend.remotes.get(attempt.remote_id or "")
        if remote is not None and state in (attempt.state, remote.state()):
            raise Killed

    with pytest.raises(Killed):
        runner.run([job()], on_progress=die)
    [result] = house.runner().run([job()])
    assert result.adopted
    assert house.backend.sent == ["a"]
    assert states(house.attempts(job())) == ["succeeded"]


def test_unclear_answer_is_settled_before_anything_is_sent_again(house: House) -> None:
    """The connection broke, the job had arrived: it is found, not sent a second time."""
    house.backend.scripts = [Script(arrival="arrives unanswered")]
    [result] = house.runner().run([job()])
    moves = [(state, note) for _, state, note in house.ledger.history(result.attempt.id)]
    assert moves[1:3] == [("unknown", "TimeoutError: no answer"), ("submitted", f"found r-{result.attempt.id}")]
    assert house.backend.sent == ["a"]


def test_submission_that_never_arrived_is_settled_with_nothing_and_sent_again(house: House) -> None:
    """Unknown first; then certain; then anew."""
    house.backend.scripts = [Script(arrival="lost on the way"), Script()]
    house.runner().run([job()])
    first, second = house.attempts(job())
    assert (first.state, first.cost_usd, first.error_code) == ("failed", 0.0, "never_submitted")
    assert [state for _, state, _ in house.ledger.history(first.id)] == ["intended", "unknown", "failed"]
    assert first.settled_at is not None
    assert first.settled_at <= second.intended_at


def test_backend_that_never_takes_a_job_is_not_asked_for_ever(house: House) -> None:
    """After max_attempts the caller hears what happened to the submission."""
    house.backend.scripts = [Script(arrival="lost on the way")]
    with pytest.raises(JobFailed, match=r"never arrived \(ConnectionError: connection refused\)") as caught:
        house.runner(max_attempts=2).run([job()])
    assert caught.value.code == "never_submitted"
    assert house.backend.sent == ["a", "a"]
    assert house.ledger.committed_usd() == 0.0


def test_slow_submission_is_not_taken_for_a_crash(house: House) -> None:
    """An upload may take longer than a lease: it is renewed meanwhile, so no other process settles it as lost."""
    house.backend.scripts = [Script(submit_s=0.8, states=("succeeded",)), Script()]
    slow, other = house.runner(lease_s=0.5), house.runner(lease_s=0.5)
    got: list[JobResult] = []
    thread = threading.Thread(target=lambda: got.extend(slow.run([job()])))
    thread.start()
    while not house.attempts(job()):
        time.sleep(0.005)
    got.extend(other.run([job()]))
    thread.join(timeout=10)
    assert len(got) == 2
    assert house.backend.sent == ["a"]
    assert states(house.attempts(job())) == ["succeeded"]


def test_submission_of_one_given_up_for_dead_is_cancelled(house: House) -> None:
    """We slept past our lease, another settled us as never arrived; then our submission went out after all."""

    def meanwhile() -> None:
        house.backend.on_submit = lambda: None
        [mine] = house.attempts(job())
        house.clock.ahead = 61
        theirs = house.ledger.take_lease(mine, "another", 60.0)
        assert theirs is not None
        house.ledger.move(theirs, "failed", error="never arrived", error_code="never_submitted")

    house.backend.on_submit = meanwhile
    [result] = house.runner().run([job()])
    first, second = house.attempts(job())
    assert house.backend.cancels == [f"r-{first.id}"]
    assert (first.state, second.id) == ("failed", result.attempt.id)


# ---- money


def test_over_budget_writes_nothing_and_sends_nothing(house: House) -> None:
    """And says what is spent, what is reserved, and what was asked for."""
    house.runner().run([job("spent")])
    house.backend.scripts = [RUNS_ON]
    house.runner().submit(job("open"))
    with pytest.raises(OverBudget, match=r"can cost \$0\.0500.*\$0\.10, \$0\.0100 is spent and \$0\.0500 is reserved"):
        house.runner(budget=0.10).run([job("more")])
    assert house.attempts(job("more")) == []
    assert house.backend.sent == ["spent", "open"]


def test_what_fits_the_budget_is_finished_and_kept(house: House) -> None:
    """Four jobs, money for two: two are paid and accepted, then the error; with more money the rest is added."""
    wanted = [job(name) for name in "abcd"]
    with pytest.raises(OverBudget):
        house.runner(budget=2 * MOST_USD).run(wanted)
    assert house.backend.sent == ["a", "b"]
    assert [states(house.attempts(w)) for w in wanted] == [["succeeded"], ["succeeded"], [], []]
    results = house.runner().run(wanted)
    assert [result.adopted for result in results] == [True, True, False, False]


def test_failed_attempts_are_booked_and_told(house: House) -> None:
    """The error's cost is that of all attempts so far."""
    house.backend.scripts = [
        Script(states=("failed",), cost_usd=0.01, retry="transient"),
        Script(states=("lost",), cost_usd=0.03),
    ]
    with pytest.raises(JobLost) as caught:
        house.runner().run([job()])
    assert [attempt.cost_usd for attempt in house.attempts(job())] == [0.01, 0.03]
    assert caught.value.cost_usd == pytest.approx(0.04)
    assert "Cost so far: $0.0400" in str(caught.value)
    assert house.ledger.committed_usd() == pytest.approx(0.04)


# ---- before anything is sent


def test_invalid_job_is_refused_before_any_row_of_an_attempt(house: House) -> None:
    """With the node and the reason, in the backend's words."""
    house.backend.invalid = frozenset({"bad"})
    with pytest.raises(InvalidJob, match="node 7: no: such") as caught:
        house.runner().run([job("bad")])
    assert caught.value.problems[0]["type"] == "value_not_in_list"
    assert house.attempts(job("bad")) == []


def test_all_jobs_are_validated_before_the_first_is_sent(house: House) -> None:
    """The last of three is invalid: nothing was paid for the first two."""
    house.backend.invalid = frozenset({"bad"})
    with pytest.raises(InvalidJob):
        house.runner().run([job("a"), job("b"), job("bad")])
    assert house.backend.sent == []
    assert house.ledger.open_attempts() == []


def test_job_that_the_server_refuses_after_all_costs_nothing(house: House) -> None:
    """Its refusal is certain: nothing arrived. The other job of the call is finished."""
    house.backend.scripts = [Script(arrival="refused"), Script()]
    with pytest.raises(InvalidJob, match="the server says no"):
        house.runner().run([job("a"), job("b")])
    [refused] = house.attempts(job("a"))
    assert (refused.state, refused.cost_usd, refused.error_code) == ("failed", 0.0, "invalid_job")
    assert states(house.attempts(job("b"))) == ["succeeded"]


def test_missing_input_is_noticed_before_anything_is_sent(house: House) -> None:
    """The store lost a reference picture: said with its hash, nothing paid, nothing unknown."""
    wanted = job(inputs=(InputFile("input", "ref.png", "images", "a" * 64),))
    with pytest.raises(InvalidJob, match="images object aaaa"):
        house.runner().run([wanted])
    [attempt] = house.attempts(wanted)
    assert (attempt.state, attempt.error_code, attempt.cost_usd) == ("failed", "input_missing", 0.0)
    assert house.backend.remotes == {}


def test_job_is_validated_again_before_it_is_started_again(house: House) -> None:
    """A dead process had found it valid; meanwhile a model file is gone."""
    house.intend(job())
    house.clock.ahead = 61
    house.backend.invalid = frozenset({"a"})
    with pytest.raises(InvalidJob):
        house.runner().run([job()])
    assert house.backend.sent == []


# ---- failures


@pytest.mark.parametrize("most", [1, 2, 3])
def test_passing_failure_is_tried_again_so_often(house: House, most: int) -> None:
    """Then the caller gets the error."""
    house.backend.scripts = [Script(states=("running", "failed"), retry="transient", error="CUDA hiccup")]
    with pytest.raises(JobFailed, match="CUDA hiccup"):
        house.runner(max_attempts=most).run([job()])
    assert states(house.attempts(job())) == ["failed"] * most


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(states=("failed",), error="no such node", error_code="execution_error"), JobFailed),
        (Script(states=("running", "cancelled")), JobCancelled),
        (Script(states=("failed",), retry="fatal"), JobFailed),
    ],
    ids=["failed", "cancelled by hand", "fatal"],
)
def test_lasting_failure_is_not_tried_again(house: House, script: Script, error: type[JobFailed]) -> None:
    """The same job fails the same way: once is enough, and it is booked."""
    house.backend.scripts = [script]
    with pytest.raises(error):
        house.runner(max_attempts=3).run([job()])
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.cost_usd) == (script.states[-1], USD)
    assert attempt.error_code == (script.error_code or error.code)


def test_failure_of_one_job_does_not_stop_the_others(house: House) -> None:
    """What is paid is finished and kept; the first error comes after."""
    house.backend.scripts = [
        Script(states=("failed",), error="broken"),
        Script(states=("running",) * 10 + ("succeeded",)),
    ]
    with pytest.raises(JobFailed, match="broken"):
        house.runner().run([job("a"), job("b")])
    assert states(house.attempts(job("b"))) == ["succeeded"]
    assert house.runner().run([job("b")])[0].adopted


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("truncated", "unreadable"),
        ("extra", "extra_output"),
        ("missing", "missing_output"),
    ],
)
def test_bad_output_is_rejected_with_its_reason_and_its_cost(house: House, damage: Damage, code: str) -> None:
    """It was paid for, so it is booked; another attempt may do better."""
    house.backend.scripts = [Script(damage=damage), Script()]
    [result] = house.runner().run([job()])
    bad, good = house.attempts(job())
    assert (bad.state, bad.error_code, bad.cost_usd, bad.exec_s) == ("failed", code, USD, 2.0)
    assert good.id == result.attempt.id
    house.backend.scripts = [Script(damage=damage)]
    with pytest.raises(OutputRejected) as caught:
        house.runner().run([job("b")])
    assert caught.value.code == code
    assert caught.value.cost_usd == pytest.approx(2 * USD)


def test_output_that_is_gone_when_we_fetch_it_is_a_lost_job(house: House) -> None:
    """The service kept it for half an hour only: booked, and made again."""
    house.backend.scripts = [Script(damage="gone"), Script()]
    house.runner().run([job()])
    first, second = house.attempts(job())
    assert (first.state, first.cost_usd, second.state) == ("lost", USD, "succeeded")


# ---- deadlines


def test_job_stuck_in_the_queue_is_diagnosed_cancelled_and_timed_out(house: House) -> None:
    """It never ran, so it costs nothing; the caller reads why."""
    house.backend.scripts = [WAITS_ON]
    with pytest.raises(
        JobTimedOut, match=r"waited in the queue for more than 0 s\. r-.*: no worker has room"
    ) as caught:
        house.runner(queue_limit_s=0.02, max_attempts=1).run([job()])
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.cost_usd, attempt.error_code) == ("timed_out", 0.0, "timed_out")
    assert attempt.diagnosis is not None
    assert "no worker has room" in attempt.diagnosis
    assert house.backend.cancels == [attempt.remote_id]
    assert caught.value.way_out == f"ryla jobs show {attempt.id}"


def test_job_that_runs_too_long_is_stopped(house: House) -> None:
    """The queue's deadline does not count while it runs, its own does; another attempt may do better."""
    house.backend.scripts = [RUNS_ON, Script(states=("succeeded",))]
    [result] = house.runner(run_limit_s=0.03).run([job()])
    late, good = house.attempts(job())
    assert late.cost_usd == USD
    assert (late.state, good.id) == ("timed_out", result.attempt.id)
    assert "ran for more than" in (late.error or "")
    assert house.backend.cancels == [late.remote_id]


def test_deadlines_are_the_attempts_own(house: House) -> None:
    """Who awaits it later, in another process, counts from when it was submitted."""
    house.backend.scripts = [WAITS_ON]
    started = house.runner(queue_limit_s=900.0).submit(job())
    house.clock.ahead = 901
    with pytest.raises(JobTimedOut, match="more than 900 s"):
        house.runner(queue_limit_s=5000.0, max_attempts=0).run([job()])
    assert isinstance(started, Attempt)
    assert house.ledger.attempt(started.id).state == "timed_out"


def test_jump_of_the_wall_clock_ends_no_job(house: House) -> None:
    """Somebody sets the clock while we wait: a job that waits for milliseconds is not late."""
    house.backend.scripts = [Script(states=("queued",) * 5 + ("running",) * 5 + ("succeeded",))]
    polls = iter(range(100))

    def jump(_: Progress) -> None:
        if next(polls) == 3:
            house.clock.ahead = 7200

    house.runner().run([job()], on_progress=jump)
    assert states(house.attempts(job())) == ["succeeded"]


def test_job_put_back_into_the_queue_waits_anew(house: House) -> None:
    """A platform took its worker away after a long run: that run is not waiting time."""
    house.backend.scripts = [Script(states=("queued", "running", "queued", "queued", "running", "succeeded"))]

    def time_passes(_: Progress) -> None:
        [attempt] = house.attempts(job())
        if attempt.state == "running" and house.clock.ahead == 0.0:
            house.clock.ahead = 1000.0

    house.runner().run([job()], on_progress=time_passes)
    [attempt] = house.attempts(job())
    assert attempt.state == "succeeded"
    assert [s for _, s, _ in house.ledger.history(attempt.id)][2:6] == ["queued", "running", "queued", "running"]


def test_result_that_comes_while_we_give_up_is_taken(house: House) -> None:
    """It ended between our last look and our cancel: it is paid for, so it is kept."""
    house.backend.scripts = [Script(states=("running",) * 3)]
    runner = house.runner(run_limit_s=0.03)
    diagnose = house.backend.diagnose

    async def it_ends(remote_id: str, waited_s: float) -> Diagnosis:
        house.backend.remotes[remote_id].script = Script(states=("succeeded",))
        return await diagnose(remote_id, waited_s)

    house.backend.diagnose = it_ends  # type: ignore[method-assign]
    [result] = runner.run([job()])
    assert result.attempt.state == "succeeded"
    assert states(house.attempts(job())) == ["succeeded"]


# ---- termination


def terminated(runner: Runner, wanted: list[Job], ready: Callable[[], bool]) -> None:
    """Run until `ready`, then terminate as Dagster does: CancelledError inside asyncio.run."""

    async def main() -> None:
        task = asyncio.create_task(runner._run(wanted, None, None))
        while not ready():
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 10))


def test_termination_cancels_remotely_and_settles(house: House) -> None:
    """Both jobs are stopped and billed; nothing burns unseen."""
    house.backend.scripts = [RUNS_ON]
    wanted = [job("a"), job("b")]
    terminated(house.runner(), wanted, lambda: all(states(house.attempts(w)) == ["running"] for w in wanted))
    attempts = [house.attempts(w)[0] for w in wanted]
    assert [(a.state, a.cost_usd, a.settled_at is not None) for a in attempts] == [("cancelled", USD, True)] * 2
    assert sorted(house.backend.cancels) == sorted(a.remote_id or "" for a in attempts)
    assert house.ledger.open_attempts() == []


def test_job_that_cannot_be_stopped_does_not_keep_the_others_running(house: House) -> None:
    """One cancel fails: that attempt stays open in the ledger, the others are stopped all the same."""
    house.backend.scripts = [RUNS_ON]
    wanted = [job("a"), job("b"), job("c")]
    cancel = house.backend.cancel

    async def fails_for_a(remote_id: str) -> None:
        if house.backend.remotes[remote_id].submission.job.label == "a":
            raise BackendUnavailable("connection refused")
        await cancel(remote_id)

    house.backend.cancel = fails_for_a  # type: ignore[method-assign]
    terminated(house.runner(), wanted, lambda: all(states(house.attempts(w)) == ["running"] for w in wanted))
    assert [states(house.attempts(w)) for w in wanted] == [["running"], ["cancelled"], ["cancelled"]]
    assert house.ledger.committed_usd() == pytest.approx(MOST_USD + 2 * USD)


def test_worker_that_does_not_say_what_it_cost_is_booked_with_the_most(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran, it was told to stop, no bill yet: the budget must not forget it."""
    monkeypatch.setattr("resources.gpu.stuck.STOP_LOOKS_S", (0.0, 0.01))
    house.backend.scripts = [RUNS_ON]

    async def ignored(remote_id: str) -> None:
        return None

    house.backend.cancel = ignored  # type: ignore[method-assign]
    terminated(house.runner(), [job()], lambda: states(house.attempts(job())) == ["running"])
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.cost_usd, attempt.cost_basis) == ("cancelled", MOST_USD, "presumed")


def test_termination_during_the_submission_leaves_it_unknown(house: House) -> None:
    """It may have arrived: listed with its largest cost, and found by the next run."""
    house.backend.scripts = [Script(arrival="stuck")]
    terminated(house.runner(), [job()], lambda: bool(house.backend.remotes))
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.remote_id) == ("unknown", None)
    assert house.ledger.committed_usd() == pytest.approx(MOST_USD)
    house.clock.ahead = 61
    [result] = house.runner().run([job()])
    assert result.attempt.id == attempt.id
    assert house.backend.sent == ["a"]


def test_result_that_is_there_when_we_are_terminated_is_taken(house: House) -> None:
    """Cancelling a finished job gives nothing back: its result is kept."""
    house.backend.scripts = [RUNS_ON]

    def ready() -> bool:
        if states(house.attempts(job())) != ["running"]:
            return False
        for remote in house.backend.remotes.values():
            remote.script = Script(states=("running", "running", "succeeded"))
            remote.polls = 2
        return True

    terminated(house.runner(), [job()], ready)
    assert house.runner().run([job()])[0].adopted
    assert house.backend.sent == ["a"]


def test_waiter_that_is_terminated_leaves_anothers_job_running(house: House) -> None:
    """Only the holder of the lease may cancel."""
    house.backend.scripts = [RUNS_ON]
    started = house.runner().submit(job())
    assert isinstance(started, Attempt)
    house.ledger.take_lease(started, "a living run", 60.0)
    terminated(house.runner(), [job()], lambda: states(house.attempts(job())) == ["running"])
    assert house.backend.cancels == []
    assert states(house.attempts(job())) == ["running"]


# ---- raw results


def test_raw_result_is_discarded_once_it_is_accepted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a moment earlier: the row names the stored copies by then; adopting it later asks for nothing."""
    accepted: list[object] = []

    async def discard(remote_id: str) -> None:
        house.backend.discarded.append(remote_id)
        row = house.ledger.job(house.print(job()))
        accepted.append(row and row.result)

    monkeypatch.setattr(house.backend, "discard", discard)
    [result] = house.runner().run([job()])
    house.runner().run([job()])
    assert house.backend.discarded == [result.attempt.remote_id]
    assert accepted == [result.outputs]


@pytest.mark.parametrize("trouble", [StorageFull("no"), BackendUnavailable("no"), Killed()])
def test_raw_result_that_cannot_be_discarded_costs_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    """The store is away, or the process dies between accepting and discarding: the result is there all the same."""

    async def discard(_: str) -> None:
        raise trouble

    monkeypatch.setattr(house.backend, "discard", discard)
    with contextlib.suppress(Killed):
        house.runner().run([job()])
    [result] = house.runner().run([job()])
    assert (result.adopted, house.backend.sent) == (True, ["a"])


def test_raw_result_that_another_accepted_and_discarded_is_adopted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two follow one attempt; the slower one finds the files gone: no loss, no bad end, and no second discard."""
    house.runner().submit(job())
    quick, fetched = house.runner(), house.backend.fetch

    async def fetch(remote_id: str) -> list[RemoteOutput]:
        monkeypatch.setattr(house.backend, "fetch", fetched)
        await asyncio.to_thread(quick.run, [job()])
        raise JobLost("the files are gone")

    monkeypatch.setattr(house.backend, "fetch", fetch)
    [result] = house.runner(max_attempts=1).run([job()])
    assert (result.adopted, states(house.attempts(job()))) == (True, ["succeeded"])
    assert house.backend.discarded == [result.attempt.remote_id]


def test_late_result_is_not_discarded(house: House) -> None:
    """Its attempt was settled by others: what lies there under the fingerprint may be the next attempt's."""
    attempt = house.runner().submit(job())
    assert isinstance(attempt, Attempt)
    house.backend.scripts = [RUNS_ON]
    house.backend.remotes[attempt.remote_id or ""].script = Script(states=("succeeded",))
    house.ledger.move(attempt, "lost")
    life = house.runner()._life(None)
    item = Tracked(life.ledger.open(job(), backend="scripted", profile=house.backend.profile(job())), attempt=attempt)
    asyncio.run(life.take_result(item, attempt, RemoteStatus("succeeded")))
    assert (item.result, house.backend.discarded) == (None, [])


# ---- what a run says


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(arrival="not sent", retry="fatal"), BackendUnavailable),
        (Script(arrival="refused"), InvalidJob),
        (Script(states=("failed",), error="out of memory", retry="permanent"), JobFailed),
        (Script(damage="gone"), JobLost),
        (Script(damage="blank"), OutputRejected),
    ],
)
def test_error_names_its_job_once(house: House, script: Script, error: type[Exception]) -> None:
    """A backend knows a job by an id of its own; a person knows it by its label: in the error and in the ledger."""
    house.backend.scripts = [script]
    wanted = job("mara/front")
    with pytest.raises(error) as caught:
        house.runner(max_attempts=1).run([wanted])
    [attempt] = house.attempts(wanted)
    for said in (str(caught.value), attempt.error or ""):
        assert said.startswith("mara/front: ")
        assert said.count("mara/front: ") == 1


# ---- stored bytes


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_lost_bytes_are_fetched_anew_without_paying(house: House, damage: str) -> None:
    """The backend still has them: the same object lies in the store again."""
    [first] = house.runner().run([job()])
    path = house.object_of(first)
    whole = path.read_bytes()
    path.unlink() if damage == "deleted" else path.write_bytes(whole[:-100])
    [second] = house.runner().run([job()])
    assert (second.adopted, second.outputs) == (True, first.outputs)
    assert path.read_bytes() == whole
    assert house.backend.sent == ["a"]
    assert len(house.backend.fetches) == 2


@pytest.mark.parametrize("why", ["forgotten", "gone", "damaged"])
def test_lost_bytes_that_the_backend_lost_too_are_made_again(house: House, why: str) -> None:
    """A new attempt, and its result in the place of the old one."""
    [first] = house.runner().run([job()])
    house.object_of(first).unlink()
    remote = house.backend.remotes[first.attempt.remote_id or ""]
    if why == "forgotten":
        remote.forgotten = True
    else:
        remote.script = Script(damage="gone" if why == "gone" else "truncated")
    house.backend.scripts = [Script()]
    [second] = house.runner().run([job()])
    assert not second.adopted
    assert house.object_of(second).exists()
    assert states(house.attempts(job())) == ["succeeded", "succeeded"]
    assert house.runner().run([job()])[0].attempt.id == second.attempt.id


def test_lost_bytes_are_not_paid_again_because_the_backend_is_silent(house: House) -> None:
    """Silence is no proof that they are gone."""
    [first] = house.runner().run([job()])
    house.object_of(first).unlink()
    house.backend.unreachable = True
    with pytest.raises(BackendUnavailable):
        house.runner().run([job()])
    house.backend.unreachable = False
    assert house.runner().run([job()])[0].adopted
    assert house.backend.sent == ["a"]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_full_disk_loses_no_paid_job(house: House, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The attempt stays open; with room again the next run fetches it, settles it, and pays nothing."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(StorageFull, match="free space and run the same command again"):
            house.runner().run([job("a"), job("b")])
    assert [path for path in house.store.root.rglob("*") if path.is_file()] == []
    for wanted in (job("a"), job("b")):
        [attempt] = house.attempts(wanted)
        assert (attempt.is_open, attempt.settled_at) == (True, None)
    results = house.runner().run([job("a"), job("b")])
    assert [result.adopted for result in results] == [True, True]
    assert house.backend.sent == ["a", "b"]
    assert house.ledger.open_attempts() == []
    assert house.ledger.committed_usd() == pytest.approx(2 * USD)


# ---- silence


def test_backend_that_is_silent_for_a_moment_is_waited_for(house: House) -> None:
    """A broken poll is no answer about the job."""
    house.backend.scripts = [Script(states=("running",) * 3 + ("succeeded",))]
    polls = iter(range(100))

    def flicker(_: Progress) -> None:
        house.backend.unreachable = next(polls) in (1, 2, 3)

    house.runner(silence_limit_s=5.0).run([job()], on_progress=flicker)
    assert states(house.attempts(job())) == ["succeeded"]


@pytest.mark.parametrize("phase", ["poll", "find", "fetch"])
def test_backend_that_stays_silent_ends_the_wait_and_not_the_attempt(house: House, phase: str) -> None:
    """The caller hears it; the attempt stays open, its exposure counts, and the next run goes on from there."""
    arrival = Script(arrival="arrives unanswered") if phase == "find" else Script()
    house.backend.scripts = [arrival]

    def fall_silent() -> None:
        house.backend.unreachable = True

    fetch = house.backend.fetch

    async def fetch_fails(remote_id: str) -> list[RemoteOutput]:
        raise BackendUnavailable("read timeout")

    if phase == "fetch":
        house.backend.fetch = fetch_fails  # type: ignore[method-assign]
    else:
        house.backend.on_submit = fall_silent
    with pytest.raises(BackendUnavailable):
        house.runner().run([job()])
    [attempt] = house.attempts(job())
    assert attempt.is_open
    assert house.ledger.committed_usd() == pytest.approx(MOST_USD)
    house.backend.unreachable, house.backend.fetch = False, fetch  # type: ignore[method-assign]
    house.clock.ahead = 61
    assert house.runner().run([job()])[0].attempt.id == attempt.id
    assert house.backend.sent == ["a"]


def test_answer_that_leaves_a_job_out_is_silence_about_it(house: House) -> None:
    """A backend that says nothing of a job has not said that it is lost."""
    started = house.runner().submit(job())

    async def nothing(*_: object) -> dict[str, RemoteStatus]:
        return {}

    house.backend.poll = nothing  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailable, match="says nothing of r-"):
        house.runner().run([job()])
    assert isinstance(started, Attempt)
    assert house.ledger.attempt(started.id).is_open


def test_attempt_on_another_endpoint_is_not_called_lost(house: House) -> None:
    """The settings point elsewhere now: that server cannot know the job, and must not be asked about it."""
    house.backend.scripts = [RUNS_ON]
    house.runner().submit(job())
    elsewhere = ScriptedBackend(endpoint="http://new")
    with pytest.raises(BackendUnavailable, match="was sent to scripted 'memory', this runner talks to 'http://new'"):
        house.runner(backend=elsewhere).run([job()])
    assert states(house.attempts(job())) == ["submitted"]
    assert elsewhere.sent == []


# ---- long jobs in two halves


def test_long_job_is_submitted_without_waiting_and_collected_later(house: House) -> None:
    """Started by one process, looked after by another, adopted by a third; asked for twice, sent once."""
    house.backend.scripts = [Script(states=("queued", "running", "succeeded"))]
    started = house.runner().submit(training())
    again = house.runner().submit(training())
    assert isinstance(started, Attempt)
    assert isinstance(again, Attempt)
    assert (again.id, started.state) == (started.id, "submitted")
    assert started.run_limit_s == QUICK.training_run_limit_s
    assert house.runner().collect("training") == []
    assert house.runner().collect("training") == []
    [ended] = house.runner().collect("training")
    assert (ended.id, ended.state) == (started.id, "succeeded")
    assert house.runner().collect("training") == []
    done = house.runner().submit(training())
    assert isinstance(done, JobResult)
    assert done.adopted
    assert house.backend.sent == ["mara"]


def test_collect_looks_at_its_own_kind_and_backend_only(house: House) -> None:
    """Trainings that are open on another service are not called lost by this one."""
    house.backend.scripts = [RUNS_ON]
    house.runner().submit(training())
    house.runner().submit(job())
    for other in (ScriptedBackend(endpoint="elsewhere"), ScriptedBackend(name="other")):
        assert house.runner(backend=other).collect("training") == []
    assert house.runner().collect("training") == []
    assert states(house.attempts(training())) == ["running"]
    assert states(house.attempts(job())) == ["submitted"]


def test_failed_training_is_collected_not_retried(house: House) -> None:
    """A sensor's tick never starts a paid job."""
    house.backend.scripts = [Script(states=("lost",), cost_usd=0.03)]
    house.runner().submit(training())
    [ended] = house.runner().collect("training")
    assert (ended.state, ended.cost_usd) == ("lost", 0.03)
    assert house.backend.sent == ["mara"]


def test_collect_says_that_the_disk_is_full_and_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tick fails loudly, the next one takes the weights."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    house.backend.scripts = [Script(states=("succeeded",))]
    house.runner().submit(training())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            house.runner().collect("training")
    [ended] = house.runner().collect("training")
    assert ended.state == "succeeded"


def test_late_training_is_timed_out_by_a_tick(house: House) -> None:
    """Deadlines hold though nobody waits."""
    house.backend.scripts = [Script(states=("running",))]
    house.runner().submit(training())
    assert house.runner().collect("training") == []
    house.clock.ahead = QUICK.training_run_limit_s + 1
    [ended] = house.runner().collect("training")
    assert ended.state == "timed_out"
    assert house.backend.diagnoses == [ended.remote_id]


def test_long_job_with_an_unclear_answer_is_found_at_once(house: House) -> None:
    """Before it is called started."""
    house.backend.scripts = [Script(arrival="arrives unanswered")]
    started = house.runner().submit(training())
    assert isinstance(started, Attempt)
    assert (started.state, started.remote_id) == ("submitted", f"r-{started.id}")
    house.backend.scripts = [Script(arrival="lost on the way"), RUNS_ON]
    second = house.runner().submit(training("kofi"))
    assert isinstance(second, Attempt)
    assert second.number == 2
    house.backend.scripts = [Script(arrival="lost on the way")]
    with pytest.raises(JobFailed, match="never arrived"):
        house.runner().submit(training("yuki"))


def test_long_job_over_budget_is_refused(house: House) -> None:
    """At its start, with nothing written."""
    with pytest.raises(OverBudget):
        house.runner(budget=MOST_USD / 2).submit(training())
    assert house.attempts(training()) == []
