"""What goes wrong with work on far machines: they answer late, elsewhere or never, and all is explained and booked."""

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.gpu import faultpoints
from resources.gpu.backend import Diagnosis, Submission
from resources.gpu.errors import (
    BackendUnavailable,
    JobCancelled,
    JobFailed,
    JobLost,
    JobTimedOut,
    NotSent,
    OutcomeUnknown,
    OverBudget,
    Retry,
)
from resources.gpu.ledger import LedgerConflict
from resources.gpu.records import Attempt
from resources.gpu.runner import JobResult, Progress, Runner
from tests.fakes.house import RUNS_ON, WAITS_ON, House, Killed, emptied, house_on, job, ledger_in, states, training
from tests.fakes.scripted_backend import MOST_USD, USD, Remote, Script

UNSEEN = Script(arrival="arrives unseen")
HOPELESS = Diagnosis(
    "queue_no_capacity", "Endpoint e1 has no workers: 0 of 3.", hopeless=True, next_command="ryla doctor"
)
STUCK = replace(WAITS_ON, verdict=HOPELESS)


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


def terminated(runner: Runner, ready: Callable[[], bool]) -> None:
    """Run one job until `ready`, then terminate as Dagster does."""

    async def main() -> None:
        task = asyncio.create_task(runner._run([job()], None, None))
        while not ready():
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 10))


# ---- submissions that certainly never arrived


@pytest.mark.parametrize(("retry", "sends"), [("transient", 2), ("elsewhere", 2), ("permanent", 1), ("fatal", 1)])
def test_submission_that_was_not_sent_costs_nothing(house: House, retry: str, sends: int) -> None:
    """Refused at the door: settled at once, and repeated only where its own class says that this helps."""
    house.backend.scripts = [Script(arrival="not sent", retry=retry)]
    with pytest.raises(NotSent, match="401: the key is wrong") as caught:
        house.runner().run([job()])
    assert caught.value.retry == retry
    attempts = house.attempts(job())
    assert states(attempts) == ["failed"] * sends
    assert {(a.error_code, a.cost_usd, a.cost_basis, a.is_open) for a in attempts} == {
        ("never_submitted", 0.0, "reported", False)
    }
    assert house.ledger.committed_usd() == 0.0


def test_refused_submission_is_repeated_after_a_pause(house: House) -> None:
    """Connection refused, then not: one attempt is paid, and the first was not repeated at once."""
    house.backend.scripts = [Script(arrival="not sent"), Script()]
    begun = time.monotonic()
    house.runner(retry_pause_s=0.1).run([job()])
    assert time.monotonic() - begun >= 0.1
    assert states(house.attempts(job())) == ["failed", "succeeded"]


def test_wrong_key_stops_all_further_sends(house: House) -> None:
    """The first refusal says that no other will get through: twenty jobs are not twenty refusals."""
    house.backend.scripts = [Script(arrival="not sent", retry="fatal", submit_s=0.02)]
    with pytest.raises(NotSent):
        house.runner(sends_at_once=2).run([job(f"j{n}") for n in range(20)])
    assert len(house.backend.sent) == 2


def test_sends_run_side_by_side_and_bounded(house: House) -> None:
    """A slow door holds up a few at a time, never one after the other and never all at once."""
    house.backend.scripts = [Script(submit_s=0.1, states=("succeeded",))]
    open_at_once: list[int] = []

    def count(_: Progress) -> None:
        open_at_once.append(sum(a.remote_id is None for a in house.ledger.open_attempts()))

    house.runner(sends_at_once=4).run([job(f"j{n}") for n in range(8)], on_progress=count)
    assert max(open_at_once) == 4


# ---- submissions of which nobody can tell


def test_lost_answer_that_nobody_can_look_up_is_booked_with_its_exposure(house: House) -> None:
    """After the wait it is called lost at the most it can cost, and only then sent again."""
    house.backend.scripts = [UNSEEN, Script()]
    [result] = house.runner(unknown_wait_s=0.05).run([job()])
    lost, good = house.attempts(job())
    assert (lost.state, lost.error_code, lost.cost_usd, lost.cost_basis) == (
        "lost", "outcome_unknown", MOST_USD, "presumed",
    )  # fmt: skip
    assert lost.settled_at is not None
    assert lost.settled_at - lost.intended_at >= 0.05
    assert lost.settled_at <= good.intended_at
    assert (good.id, good.cost_basis) == (result.attempt.id, "reported")
    assert house.ledger.committed_usd() == pytest.approx(MOST_USD + USD)


def test_unknown_is_not_sent_again_while_it_is_unknown(house: House) -> None:
    """Nothing else is sent for the job before the wait is over, whoever asks for it."""
    house.backend.scripts = [UNSEEN, Script()]

    async def a_moment() -> None:
        await asyncio.wait_for(house.runner(unknown_wait_s=60.0)._run([job()], None, None), 0.15)

    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(a_moment())
    assert states(house.attempts(job())) == ["unknown"]
    assert house.backend.sent == ["a"]


def test_unknown_is_not_sent_again_over_budget(house: House) -> None:
    """Its exposure counts as spent: where the next one does not fit beside it, the caller hears so."""
    house.backend.scripts = [UNSEEN, Script()]
    with pytest.raises(OverBudget, match=r"\$0\.0500 is spent") as caught:
        house.runner(unknown_wait_s=0.02, budget=MOST_USD * 1.5).run([job()])
    assert caught.value.cost_usd == pytest.approx(MOST_USD)
    assert house.backend.sent == ["a"]


def test_jump_of_the_wall_clock_does_not_end_the_wait(house: House) -> None:
    """Somebody sets the clock an hour ahead: what is unknown for milliseconds is not given up."""
    house.backend.scripts = [UNSEEN, Script()]

    def jump(_: Progress) -> None:
        house.clock.ahead = 3600.0

    async def a_moment() -> None:
        await asyncio.wait_for(house.runner(unknown_wait_s=60.0)._run([job()], None, jump), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(a_moment())
    assert states(house.attempts(job())) == ["unknown"]


def test_webhooks_claim_finds_a_lost_answer(house: House) -> None:
    """The far side names the job by its attempt's secret address: verified, followed, paid once."""
    house.backend.scripts = [UNSEEN]
    runner = house.runner(unknown_wait_s=30.0, wake_s=0.01)
    runner.webhook_url = "https://studio.example/"

    def call(_: Progress) -> None:
        for attempt in house.ledger.open_attempts():
            if attempt.state == "unknown" and attempt.claimed_id is None:
                token = attempt.webhook_token or ""
                assert house.ledger.wake(attempt.id, token, f"r-{attempt.id}")
                sent = house.backend.remotes[f"r-{attempt.id}"].submission.webhook
                assert sent == f"https://studio.example/webhooks/runpod/{attempt.id}/{token}"

    [result] = runner.run([job()], on_progress=call)
    assert states(house.attempts(job())) == ["succeeded"]
    assert result.attempt.cost_basis == "reported"
    assert house.backend.sent == ["a"]


def test_forged_claim_changes_nothing(house: House) -> None:
    """An id that is not the attempt's is asked about and not believed."""
    house.backend.scripts = [UNSEEN, Script()]

    def forge(_: Progress) -> None:
        for attempt in house.ledger.open_attempts():
            house.ledger.wake(attempt.id, attempt.webhook_token or "", "r-somebody-elses")

    house.runner(unknown_wait_s=0.05).run([job()], on_progress=forge)
    assert states(house.attempts(job())) == ["lost", "succeeded"]


def test_late_claim_of_a_lost_attempt_is_kept_and_accepts_nothing(house: House) -> None:
    """It was given up and made again: the claim stays readable for a reconciliation, the result stays the one."""
    house.backend.scripts = [UNSEEN, Script()]
    [result] = house.runner(unknown_wait_s=0.02).run([job()])
    [lost, _] = house.attempts(job())
    assert house.ledger.wake(lost.id, lost.webhook_token or "", f"r-{lost.id}")
    assert not house.ledger.accept(lost, [], cost_usd=0.0)
    after = house.ledger.attempt(lost.id)
    assert (after.state, after.claimed_id, after.cost_usd) == ("lost", f"r-{lost.id}", MOST_USD)
    assert house.runner().run([job()])[0].outputs == result.outputs
    assert house.backend.sent == ["a", "a"]


def test_dead_process_unknown_is_settled_by_another(house: House) -> None:
    """It died while it was sending, nobody can look it up: the next one waits from when it took over, then presumes."""
    dead = house.intend(job())
    house.backend.remotes[f"r-{dead.id}"] = _remote(house, dead)
    house.clock.ahead = 61
    [result] = house.runner(unknown_wait_s=0.05).run([job()])
    first, second = house.attempts(job())
    assert (first.state, first.cost_basis, second.id) == ("lost", "presumed", result.attempt.id)
    moves = [state for _, state, _ in house.ledger.history(first.id)]
    assert moves == ["intended", "unknown", "lost"]


# ---- money that nobody can tell


def test_bill_that_nobody_can_tell_is_presumed(house: House) -> None:
    """The service does not say what it cost: the most it can be is booked, and marked so."""
    house.backend.scripts = [Script(cost_usd=None)]
    [result] = house.runner().run([job()])
    assert (result.attempt.cost_usd, result.attempt.cost_basis) == (MOST_USD, "presumed")


# ---- endpoints


def test_job_goes_elsewhere_after_its_endpoint_failed_it(house: House) -> None:
    """Out of memory there: the second attempt is sent to the other endpoint, and each is followed on its own."""
    house.backend.others = ("bigger",)
    house.backend.scripts = [
        Script(states=("running", "failed"), retry="elsewhere", error="CUDA out of memory"),
        Script(),
    ]
    house.runner().run([job()])
    assert [a.endpoint for a in house.attempts(job())] == ["memory", "bigger"]
    assert house.backend.preflights == [["memory"], ["bigger"]]


def test_passing_failure_stays_where_it_was(house: House) -> None:
    """A worker that was lost says nothing against its endpoint."""
    house.backend.others = ("bigger",)
    house.backend.scripts = [Script(states=("running", "lost")), Script()]
    house.runner().run([job()])
    assert [a.endpoint for a in house.attempts(job())] == ["memory", "memory"]


def test_attempt_is_followed_where_it_was_sent(house: House) -> None:
    """The settings prefer another endpoint by now; the open attempt is awaited on its own."""
    house.backend.scripts = [Script(states=("running", "running", "succeeded"))]
    started = house.runner().submit(job())
    assert isinstance(started, Attempt)
    house.backend.endpoint, house.backend.others = "new", ("memory",)
    [result] = house.runner().run([job()])
    assert (result.attempt.id, result.attempt.endpoint) == (started.id, "memory")


def test_preflight_is_asked_once_for_many_jobs(house: House) -> None:
    """Ten jobs, one question; nothing fresh, no question."""
    wanted = [job(f"j{n}") for n in range(10)]
    house.runner().run(wanted)
    house.runner().run(wanted)
    assert house.backend.preflights == [["memory"]]


def test_closed_endpoint_is_told_before_anything_is_written(house: House) -> None:
    """Max workers is 0: no attempt, no reservation; what is open already is finished all the same."""
    started = house.runner().submit(job("open"))
    house.backend.closed["memory"] = BackendUnavailable("max workers is 0", retry=Retry.FATAL, way_out="ryla doctor")
    with pytest.raises(BackendUnavailable, match="max workers is 0"):
        house.runner().run([job("open"), job("b"), job("c")])
    assert isinstance(started, Attempt)
    assert house.ledger.attempt(started.id).state == "succeeded"
    assert house.attempts(job("b")) == house.attempts(job("c")) == []


def test_preflight_that_fails_for_a_moment_is_asked_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control API hiccups: the job is sent a little later."""
    monkeypatch.setattr("resources.gpu.gate.REFUSAL_S", 0.0)
    house.backend.closed["memory"] = BackendUnavailable("429")

    def reopen(_: Progress) -> None:
        if len(house.backend.preflights) >= 2:
            house.backend.closed.clear()

    house.runner(silence_limit_s=5.0).run([job()], on_progress=reopen)
    assert len(house.backend.preflights) == 3


# ---- diagnosis


def test_waiting_job_is_diagnosed_before_its_deadline(house: House) -> None:
    """The verdict is in the ledger while it waits, asked again now and then, and does not end the wait."""
    house.backend.scripts = [replace(STUCK, states=("queued",) * 12 + ("running", "succeeded"))]
    open_verdicts: list[str | None] = []
    runner = house.runner(diagnose_after_s=0.01, diagnose_every_s=0.01)
    [result] = runner.run(
        [job()], on_progress=lambda _: open_verdicts.extend(a.diagnosis for a in house.ledger.open_attempts())
    )
    assert HOPELESS.text in open_verdicts
    assert len(house.backend.diagnoses) >= 2
    assert house.backend.cancels == []
    assert (result.attempt.state, result.attempt.diagnosis) == ("succeeded", HOPELESS.text)


def test_hopeless_job_fails_fast_where_policy_says_so(house: House) -> None:
    """Cancelled first, then told: code, evidence and the next command, long before the queue's deadline."""
    house.backend.scripts = [STUCK]
    with pytest.raises(JobTimedOut, match="Endpoint e1 has no workers") as caught:
        house.runner(diagnose_after_s=0.01, when_stuck="fail").run([job()])
    assert (caught.value.code, caught.value.way_out) == ("queue_no_capacity", "ryla doctor")
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.error_code, attempt.cost_usd) == ("timed_out", "queue_no_capacity", 0.0)
    assert attempt.diagnosis == HOPELESS.text
    assert house.backend.cancels == [attempt.remote_id]


def test_hopeless_job_goes_to_the_fallback(house: House) -> None:
    """There is another endpoint: cancelled here, sent there."""
    house.backend.others = ("fallback",)
    house.backend.scripts = [STUCK, Script()]
    [result] = house.runner(diagnose_after_s=0.01, when_stuck="fallback").run([job()])
    assert [(a.endpoint, a.state) for a in house.attempts(job())] == [
        ("memory", "timed_out"),
        ("fallback", "succeeded"),
    ]
    assert not result.adopted


def test_hopeless_job_without_a_fallback_fails(house: House) -> None:
    """Waiting on would be waiting for nothing, and there is nowhere to go."""
    house.backend.scripts = [STUCK]
    with pytest.raises(JobTimedOut):
        house.runner(diagnose_after_s=0.01, when_stuck="fallback").run([job()])
    assert states(house.attempts(job())) == ["timed_out"]


def test_job_that_moves_while_we_ask_why_is_left_alone(house: House) -> None:
    """The diagnosis was true a moment ago; it runs now, so nobody stops it."""
    house.backend.scripts = [STUCK]
    diagnose = house.backend.diagnose

    async def it_moves(remote_id: str, waited_s: float) -> Diagnosis:
        house.backend.remotes[remote_id].script = replace(STUCK, states=("running",) * 40 + ("succeeded",))
        return await diagnose(remote_id, waited_s)

    house.backend.diagnose = it_moves  # type: ignore[method-assign]
    house.runner(diagnose_after_s=0.01, when_stuck="fail").run([job()])
    assert house.backend.cancels == []


def test_job_that_cannot_be_cancelled_is_not_given_up(house: House) -> None:
    """Giving up comes after the cancel: until that got through the attempt is open and counts."""
    house.backend.scripts = [STUCK]

    async def fails(_: str) -> None:
        raise BackendUnavailable("connection refused")

    house.backend.cancel = fails  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailable):
        house.runner(diagnose_after_s=0.01, when_stuck="fail").run([job()])
    assert states(house.attempts(job())) == ["queued"]
    assert house.ledger.committed_usd() == pytest.approx(MOST_USD)


def test_deadline_holds_though_nobody_can_say_why(house: House) -> None:
    """The diagnosis is unreachable: the job is ended on time, and the error says that."""
    house.backend.scripts = [WAITS_ON]

    async def silent(*_: object) -> Diagnosis:
        raise BackendUnavailable("control API: 503")

    house.backend.diagnose = silent  # type: ignore[method-assign]
    with pytest.raises(JobTimedOut, match="Nobody can say why: control API: 503"):
        house.runner(queue_limit_s=0.02, max_attempts=1).run([job()])


def test_slow_diagnosis_holds_up_no_other_job(house: House) -> None:
    """One waits and its diagnosis hangs; the other's result is taken meanwhile."""
    house.backend.scripts = [
        replace(STUCK, states=("queued",) * 200),
        Script(states=("running",) * 15 + ("succeeded",)),
    ]
    release = threading.Event()

    async def hangs(remote_id: str, waited_s: float) -> Diagnosis:
        while not release.is_set():
            await asyncio.sleep(0.005)
        house.backend.remotes[remote_id].script = Script(states=("succeeded",))
        return HOPELESS

    house.backend.diagnose = hangs  # type: ignore[method-assign]

    def done(progress: Progress) -> None:
        if progress.done == 1:
            release.set()

    results = house.runner(diagnose_after_s=0.01).run([job("a"), job("b")], on_progress=done)
    assert len(results) == 2


# ---- webhooks


def test_webhook_shortens_the_wait(house: House) -> None:
    """The pause is long; the call ends it, and the backend is told which job to look at."""
    house.backend.scripts = [Script(states=("running", "running", "succeeded"))]
    runner = house.runner(poll_min_s=3.0, poll_max_s=30.0, wake_s=0.02)
    runner = replace(runner, webhook_url="https://studio.example", policy=replace(runner.policy, poll_min_s=0.05))
    got: list[JobResult] = []
    thread = threading.Thread(target=lambda: got.extend(runner.run([job()])))
    begun = time.monotonic()
    thread.start()
    while thread.is_alive() and time.monotonic() - begun < 10:
        for attempt in house.ledger.open_attempts():
            house.ledger.wake(attempt.id, attempt.webhook_token or "")
        time.sleep(0.03)
    thread.join(timeout=1)
    assert len(got) == 1
    assert set(house.backend.hurried) == {got[0].attempt.remote_id}


@pytest.mark.parametrize("token", ["", "wrong", "ü", None])
def test_wrong_token_wakes_nobody(house: House, token: str | None) -> None:
    """Neither another attempt's token nor none, nor a letter that is not ASCII; an unknown attempt is no error."""
    mine, other = house.intend(job("a")), house.intend(job("b"))
    assert not house.ledger.wake(mine.id, other.webhook_token or "" if token is None else token)
    assert not house.ledger.wake("nobody", token or "x")
    assert house.ledger.woken() == {}
    assert mine.webhook_token not in repr(mine)
    assert len(mine.webhook_token or "") >= 43


# ---- leases, termination


def test_leases_of_a_call_are_renewed_while_it_waits(house: House) -> None:
    """Nothing moves for longer than a lease: it is still ours, by one statement a beat."""
    house.backend.scripts = [replace(RUNS_ON, states=("running",) * 60 + ("succeeded",))]
    renewals: list[int] = []
    renew = house.ledger.renew

    def counted(owner: str, lease_s: float) -> int:
        renewals.append(renew(owner, lease_s))
        return renewals[-1]

    house.ledger.renew = counted  # type: ignore[method-assign]
    stolen: list[object] = []

    def steal(_: Progress) -> None:
        stolen.extend(filter(None, (house.ledger.take_lease(a, "thief", 60.0) for a in house.ledger.open_attempts())))

    results = house.runner(lease_s=0.15).run([job("a"), job("b")], on_progress=steal)
    assert stolen == []
    assert 2 in renewals
    assert {r.attempt.lease_token for r in results} == {1}


def test_call_that_gives_up_lets_go_of_its_leases(house: House) -> None:
    """A silent backend ends the wait: whoever comes next need not wait for a lease to run out."""
    house.backend.scripts = [RUNS_ON]

    def fall_silent(_: Progress) -> None:
        house.backend.unreachable = bool(house.ledger.open_attempts()[0].remote_id)

    with pytest.raises(BackendUnavailable):
        house.runner().run([job()], on_progress=fall_silent)
    [attempt] = house.attempts(job())
    assert attempt.is_open
    assert attempt.lease_until < house.ledger.clock()


def test_termination_waits_a_moment_for_the_id_and_cancels(house: House) -> None:
    """The answer comes just after we are told to stop: the job gets its id and is stopped, not left unknown."""
    house.backend.scripts = [replace(RUNS_ON, submit_s=0.1)]
    terminated(house.runner(shield_s=3.0), lambda: bool(house.attempts(job())))
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.remote_id) == ("cancelled", f"r-{attempt.id}")
    assert house.backend.cancels == [f"r-{attempt.id}"]


@pytest.mark.parametrize("moment", ["while it is sent", "while it runs"])
def test_signal_stops_what_is_ours(house: House, moment: str) -> None:
    """Dagster terminates a run by an exception out of a signal handler, wherever the code happens to be."""

    class Terminated(BaseException):
        pass

    def terminate(*_: object) -> None:
        raise Terminated

    sending = moment == "while it is sent"
    house.backend.scripts = [replace(RUNS_ON, submit_s=0.5 if sending else 0.0)]

    def watch() -> None:
        while states(house.attempts(job())) != ["intended" if sending else "running"]:
            time.sleep(0.01)
        time.sleep(0.1)  # the loop waits for something by now
        os.kill(os.getpid(), signal.SIGALRM)

    watcher = threading.Thread(target=watch)
    before = signal.signal(signal.SIGALRM, terminate)
    try:
        watcher.start()
        with pytest.raises(Terminated):
            house.runner(shield_s=5.0, poll_min_s=0.3, poll_max_s=0.3).run([job()])
    finally:
        watcher.join(timeout=5)
        signal.signal(signal.SIGALRM, before)
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.remote_id) == ("cancelled", f"r-{attempt.id}")
    assert house.backend.cancels == [f"r-{attempt.id}"]


# ---- what people and sensors ask for


def test_person_cancels_an_attempt_that_nobody_follows(house: House) -> None:
    """Its owner is dead: it is stopped, billed and closed; a living owner's is not touched."""
    house.backend.scripts = [RUNS_ON]
    started = house.runner().submit(training())
    assert isinstance(started, Attempt)
    house.ledger.take_lease(started, "a living run", 60.0)
    with pytest.raises(LedgerConflict, match="a living run, whose lease runs"):
        house.runner().cancel(started.id, why="cancelled by mara")
    assert house.backend.cancels == []
    house.clock.ahead = 61
    ended = house.runner().cancel(started.id, why="cancelled by mara")
    assert (ended.state, ended.error, ended.cost_usd) == ("cancelled", "mara: cancelled by mara.", USD)
    assert house.runner().cancel(started.id, why="again") == ended


def test_cancelled_attempt_that_had_succeeded_is_taken(house: House) -> None:
    """It is paid for."""
    house.backend.scripts = [Script(states=("succeeded",))]
    started = house.runner().submit(training())
    assert isinstance(started, Attempt)
    assert house.runner().cancel(started.id, why="too late").state == "succeeded", "nobody follows it by now"
    assert isinstance(house.runner().submit(training()), JobResult)


@pytest.mark.parametrize("arrived", [False, True])
def test_cancel_of_an_unknown_attempt_finds_out_first(house: House, arrived: bool) -> None:
    """Never arrived: closed for nothing. Nobody can tell: said so, and it stays open."""
    dead = house.intend(job())
    if arrived:
        house.backend.remotes[f"r-{dead.id}"] = _remote(house, dead)
    house.clock.ahead = 61
    if arrived:
        with pytest.raises(OutcomeUnknown, match="not known yet"):
            house.runner().cancel(dead.id, why="x")
        assert house.ledger.attempt(dead.id).state == "unknown"
    else:
        ended = house.runner().cancel(dead.id, why="x")
        assert (ended.state, ended.error_code, ended.cost_usd) == ("failed", "never_submitted", 0.0)


def test_leftovers_of_dead_processes_are_settled_without_sending(house: House) -> None:
    """One arrived, one did not, one has its result, one is a living process's: only that one stays."""
    house.backend.scripts = [Script(states=("succeeded",))]
    house.runner().submit(job("done"))
    house.intend(job("gone"))
    house.clock.ahead = 61
    alive = house.intend(job("alive"), owner="alive")
    sent = list(house.backend.sent)
    ended = house.runner().settle_open()
    assert sorted(a.state for a in ended) == ["failed", "succeeded"]
    assert [a.id for a in house.ledger.open_attempts()] == [alive.id]
    assert house.backend.sent == sent
    assert house.runner().settle_open() == []


def test_guess_above_the_exposure_is_the_exposure(house: House) -> None:
    """Counted from a submission hours ago, for a process that was away: what is booked is the most that it can be."""
    house.backend.scripts = [Script(states=("failed",), cost_usd=3 * MOST_USD)]
    with pytest.raises(JobFailed):
        house.runner().run([job()])
    [attempt] = house.attempts(job())
    assert (attempt.cost_usd, attempt.cost_basis) == (MOST_USD, "presumed")


# ---- fault points


def test_every_fault_point_is_reached_by_something(house: House) -> None:
    """A name that no path says would be a kill that no test makes."""
    heard: set[str] = set()
    faultpoints.install(heard.add)
    try:
        house.backend.scripts = [
            Script(arrival="arrives unanswered", states=("queued", "running", "succeeded")),
            Script(states=("failed",)), Script(states=("cancelled",)), Script(states=("lost",)),
        ]  # fmt: skip
        with pytest.raises(JobFailed):
            house.runner(max_attempts=1).run([job(name) for name in "abcd"])
        house.backend.scripts = [UNSEEN]
        with pytest.raises(JobLost):
            house.runner(unknown_wait_s=0.01, max_attempts=1).run([job("e")])
        house.backend.scripts = [RUNS_ON]
        started = house.runner().submit(job("f"))
        assert isinstance(started, Attempt)
        house.clock.ahead = 61
        house.runner().cancel(started.id, why="x")
        lose_what_was_accepted(house)
        house.runner().run([job()])
    finally:
        faultpoints.install(None)
    assert set(faultpoints.POINTS) - heard == set()
    assert len(set(faultpoints.POINTS)) == len(faultpoints.POINTS)


def lose_what_was_accepted(house: House) -> None:
    """Run the job, and let the store lose its picture."""
    house.backend.scripts = [Script()]
    [result] = house.runner().run([job()])
    house.object_of(result).unlink()


def test_unknown_fault_point_is_a_mistake() -> None:
    """With a hook; without one nothing is looked at."""
    faultpoints.reached("no such point")
    faultpoints.install(lambda _: None)
    try:
        with pytest.raises(ValueError, match="no such point"):
            faultpoints.reached("no such point")
    finally:
        faultpoints.install(None)


@pytest.mark.parametrize("point", [p for p in faultpoints.POINTS if not p.startswith(("observed_f", "observed_c"))])
def test_death_at_any_point_pays_and_accepts_once(house: House, point: str) -> None:
    """Killed there, resumed by another process after the lease: one result, nothing open, never two jobs alive."""
    scripts: dict[str, list[Script]] = {
        "outcome_unknown": [Script(arrival="arrives unanswered")],
        "found": [Script(arrival="arrives unanswered")],
        "presumed_lost": [UNSEEN, Script()],
        "observed_lost": [Script(states=("running", "lost")), Script()],
        "ended": [Script(states=("running", "lost")), Script()],
        "cancel_sent": [RUNS_ON, Script()],
    }
    house.backend.scripts = scripts.get(point, [Script()])

    def die(name: str) -> None:
        if name == point:
            faultpoints.install(None)
            raise Killed

    if point == "lease_taken":
        house.intend(job())
        house.clock.ahead = 61
    if point in ("before_replace", "replaced"):
        lose_what_was_accepted(house)
    limits: dict[str, Any] = {"unknown_wait_s": 0.03, "run_limit_s": 0.03 if point == "cancel_sent" else 60.0}
    faultpoints.install(die)
    try:
        with pytest.raises(Killed):
            house.runner(**limits).run([job()])
    finally:
        faultpoints.install(None)
    house.clock.ahead = 150.0
    if point == "cancel_sent":  # the far side says "cancelled"; who did it died with the process, so a person is told
        with pytest.raises(JobCancelled):
            house.runner(**limits).run([job()])
    [result] = house.runner(**limits).run([job()])
    attempts = house.attempts(job())
    assert house.ledger.open_attempts() == []
    assert [a.id for a in attempts if a.state == "succeeded"] == [result.attempt.id]
    assert all(a.settled_at is not None and a.cost_basis for a in attempts)
    for before, after in itertools.pairwise(attempts):
        assert before.settled_at is not None
        assert before.settled_at <= after.intended_at
    arrived = house.backend.submitted[house.print(job())]
    assert arrived == 1 + (point in ("presumed_lost", "observed_lost", "ended", "cancel_sent"))


# ---- many jobs


def test_quiet_round_costs_no_query(house: House, engine: sa.Engine) -> None:
    """Thirty running jobs, nothing moves: the database is not asked."""
    house.backend.scripts = [replace(RUNS_ON, states=("running",) * 30 + ("succeeded",))]
    statements: list[str] = []
    rounds: list[int] = []

    def heard(_: Progress) -> None:
        rounds.append(len(statements))

    def count(*event: Any) -> None:
        statements.append(event[2])

    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        house.runner(budget=10.0).run([job(f"j{n}") for n in range(30)], on_progress=heard)
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)
    quiet = [after - before for before, after in itertools.pairwise(rounds)]
    assert quiet.count(0) >= 10


def _remote(house: House, attempt: Attempt) -> Remote:
    """What the far side holds of an attempt whose sender died: it arrived, and nobody can look it up."""
    row = house.ledger.job(attempt.fingerprint)
    assert row is not None
    return Remote(Submission(attempt.id, attempt.fingerprint, row.job, lambda _: b""), UNSEEN)
