"""What a checker lets through: each predicate must fail on a history that was broken in just that way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from resources.gpu.budget import Budgets
from resources.gpu.records import Attempt
from tests.chaos import checker
from tests.chaos.history import POD, Event, History, JobRecord, RemoteJob, RemoteWorker

ENDPOINT = "ep1"
FIRST, SECOND, THIRD = (f"{digit}" * 8 + "-0000-4000-a000-000000000000" for digit in "123")
ONE, TWO, REFUSED = "a" * 64, "b" * 64, "c" * 64
MOST_USD = 0.2
NO_ROOM = f"This job can cost ${MOST_USD:.4f}; of the daily budget nothing is left [over_budget] wait"


def attempt(key: str, fingerprint: str, *, state: str, at: float, cost: float, end: float = 20.0) -> Attempt:
    """A settled attempt whose remote job is called `job-<first digit>`."""
    bad = state != "succeeded"
    return Attempt(
        id=key, fingerprint=fingerprint, number=1, backend="runpod", endpoint=f"http://x/v2/{ENDPOINT}", state=state,
        remote_id=f"{ENDPOINT}/job-{key[0]}/{fingerprint}", lease_owner="me", lease_token=1, lease_until=0.0,
        run_id="run", intended_at=at, submitted_at=at, started_at=at, finished_at=at + end, settled_at=at + end,
        queue_limit_s=60.0, run_limit_s=60.0, reserved_usd=0.0, exposure_usd=MOST_USD, cost_usd=cost, queue_s=0.0,
        cold_s=0.0, exec_s=1.0, overhead_s=0.0, error_code="boom" if bad else None, error="it broke" if bad else None,
        diagnosis=None, worker=None, cold_usd=0.0, idle_usd=0.0, cost_basis="reported", webhook_token="t" * 43,
        claimed_id=None, woken_at=None,
    )  # fmt: skip


def events(row: Attempt) -> list[Event]:
    """Its way: intended, submitted, ended."""
    note = "accepted 1 outputs" if row.state == "succeeded" else "it broke"
    assert row.settled_at is not None
    return [
        Event(row.id, row.intended_at, "", "intended", "reserved $0.1000"),
        Event(row.id, row.intended_at + 1, "intended", "submitted", row.remote_id or ""),
        Event(row.id, row.settled_at, "submitted", row.state, note),
    ]


def history() -> History:
    """A good one: job ONE failed once and was accepted then, job TWO was cancelled and refused, REFUSED never began."""
    rows = [
        attempt(FIRST, ONE, state="failed", at=100.0, cost=0.01),
        attempt(SECOND, ONE, state="succeeded", at=130.0, cost=0.01),
        attempt(THIRD, TWO, state="cancelled", at=160.0, cost=0.01),
    ]
    remote = [
        RemoteJob(
            f"job-{row.id[0]}", ENDPOINT, row.intended_at + 0.9, row.id, ended=row.intended_at + 15, executed_usd=0.005
        )
        for row in rows
    ]
    return History(
        asked={ONE: "one", TWO: "two", REFUSED: "three"},
        jobs={
            ONE: JobRecord(ONE, "mara", SECOND, 1),
            TWO: JobRecord(TWO, "mara", None, 0),
            REFUSED: JobRecord(REFUSED, "mara", None, 0),
        },
        attempts=rows,
        events=[event for row in rows for event in events(row)],
        remote=remote,
        bill_usd=0.02,
        workers=[RemoteWorker("w1", 90.0, 0.02, ("job-1", "job-2")), RemoteWorker("w2", 150.0, 0.01, ())],
        budgets=Budgets(0.225, 0.225, 0.225),
        refusals={TWO: NO_ROOM, REFUSED: NO_ROOM},
        earlier=[{}, {ONE: SECOND}],
        secrets={"the API key": "rp-secret"},
        texts={"the ledger": "nothing", "life-1.txt": "nothing"},
    )


def row(number: int, **changes: object) -> Callable[[History], None]:
    """Change one attempt's row."""

    def change(found: History) -> None:
        found.attempts[number] = replace(found.attempts[number], **changes)  # type: ignore[arg-type]

    return change


def far(number: int, **changes: object) -> Callable[[History], None]:
    """Change one remote job."""

    def change(found: History) -> None:
        found.remote[number] = replace(found.remote[number], **changes)  # type: ignore[arg-type]

    return change


def put(**changes: object) -> Callable[[History], None]:
    """Replace fields of the history."""
    return lambda found: vars(found).update(changes)


def on_a_pod(number: int, **changes: object) -> Callable[[History], None]:
    """The remote job is a pod, at a thousandth of a dollar a second."""

    def change(found: History) -> None:
        job = replace(found.remote[number], endpoint=POD, usd_per_s=0.001)
        found.remote[number] = replace(job, **changes)  # type: ignore[arg-type]
        sender = found.attempt_of(job)
        at = next(n for n, attempt in enumerate(found.attempts) if attempt is sender)
        found.attempts[at] = replace(found.attempts[at], remote_id=f"{POD}/{job.id}/{ONE}")

    return change


def overlapping(found: History) -> None:
    """The second attempt began before the first had ended, in the order of commits too."""
    first, second = found.events[:3], found.events[3:6]
    found.events[:6] = [first[0], second[0], *first[1:], *second[1:]]


BREACHES: dict[Callable[..., object], list[Callable[[History], object]]] = {
    checker.every_job_ends_accepted_or_explained: [
        put(refusals={TWO: NO_ROOM}),
        put(refusals={TWO: NO_ROOM, REFUSED: "it does not go [job_failed]"}),
        lambda found: found.jobs.pop(ONE),
        row(2, state="running", settled_at=None),
    ],
    checker.pictures_are_refused_once: [
        row(0, refused=[{"name": "one"}]),
        lambda found: [change(found) for change in (far(0, damaged=1), *(row(n, refused=[{}]) for n in (0, 1)))],
    ],
    checker.budgets_refuse_what_does_not_fit: [
        put(budgets=Budgets(0.431)),
        put(budgets=Budgets(9.0, character_usd=0.431, run_usd=0.431)),
        put(refusals={TWO: "no room [over_budget] wait", REFUSED: NO_ROOM}),
    ],
    checker.every_bad_end_is_explained: [row(0, error_code=None), row(2, error="")],
    checker.one_result_is_accepted: [
        lambda found: found.events.append(Event(FIRST, 131.0, "submitted", "succeeded", "accepted 1 outputs")),
        lambda found: found.jobs.update({ONE: JobRecord(ONE, "mara", FIRST, 1)}),
        lambda found: found.jobs.update({TWO: JobRecord(TWO, "mara", SECOND, 1)}),
    ],
    checker.what_was_accepted_stays: [put(earlier=[{ONE: FIRST}]), put(earlier=[{TWO: THIRD}, {}])],
    checker.accepted_results_can_be_read: [put(unreadable=["one: the object is not in the store"])],
    checker.one_attempt_is_open: [overlapping],
    checker.ends_are_final: [
        lambda found: found.events.append(Event(FIRST, 200.0, "failed", "running", "")),
        lambda found: found.events.pop(1),
        row(0, state="lost"),
    ],
    checker.ends_are_settled: [row(0, settled_at=None), row(1, reserved_usd=0.1), row(2, cost_basis=None)],
    checker.every_remote_job_has_its_intent: [
        lambda found: found.remote.append(RemoteJob("job-9", ENDPOINT, 170.0, "9" * 12)),
        lambda found: found.remote.append(RemoteJob("job-9", ENDPOINT, 170.0, "")),
        far(0, at=98.0),
    ],
    checker.one_remote_job_an_attempt: [
        lambda found: found.remote.append(replace(found.remote[0], id="job-9")),
    ],
    checker.known_ids_are_right: [
        row(0, remote_id=f"{ENDPOINT}/job-2/{ONE}"),
        row(0, remote_id=f"{ENDPOINT}/job-9/{ONE}"),
        row(0, remote_id=f"ep2/job-1/{ONE}"),
    ],
    checker.nothing_is_sent_beside_an_open_attempt: [far(1, at=110.0), row(0, settled_at=None)],
    checker.settling_sends_nothing: [put(begun_by_settling=1)],
    checker.nothing_lives_on: [put(alive=["ep1/job-9 IN_QUEUE"])],
    checker.what_was_given_up_was_stopped: [far(2, ended=190.0)],
    checker.costs_cover_the_bill_of_each_job: [
        far(1, executed_usd=0.011),
        row(0, cost_usd=0.0),
        on_a_pod(1, executed_usd=0.011),
        on_a_pod(1, executed_usd=0.02, ended=151.0),
        on_a_pod(1, executed_usd=0.011, vanished=True),
    ],
    checker.costs_cover_each_worker: [
        put(workers=[RemoteWorker("w1", 90.0, 0.0201, ("job-1", "job-2"))]),
        put(workers=[RemoteWorker("w1", 90.0, 0.0101, ("job-3",))]),
        put(workers=[RemoteWorker("w1", 90.0, 0.0101, ("job-3",), usd_per_s=0.001)]),
    ],
    checker.costs_cover_the_whole_bill: [put(bill_usd=0.031)],
    checker.exposure_is_the_most: [row(1, cost_usd=0.21)],
    checker.budgets_hold: [
        put(budgets=Budgets(0.2)),
        put(budgets=Budgets(9.0, character_usd=0.2)),
        put(budgets=Budgets(9.0, run_usd=0.2)),
    ],
    checker.no_secret_is_told: [
        put(texts={"life-1.txt": "Authorization: Bearer rp-secret"}),
        put(texts={"the ledger": '"error": "401 for rp-secret"'}),
    ],
}


def test_good_history_passes() -> None:
    """Nothing is found where nothing is wrong."""
    assert checker.check(history()) == []


def spoiled(found: History) -> None:
    """The far side spoiled the picture of job TWO, and its caller was told so."""
    far(2, damaged=1)(found)
    row(2, state="failed", refused=[{"name": "two"}])(found)
    found.events[-1] = replace(found.events[-1], after="failed")
    found.refusals[TWO] = "two: it is blank [blank] ask for a new take"


def lost_and_made_again(found: History) -> None:
    """The store lost the accepted result of job ONE, and another attempt made it again."""
    found.bereft = {ONE: 1}
    found.earlier = [{ONE: FIRST}, {ONE: SECOND}]
    found.events[2] = replace(found.events[2], note="accepted 1 outputs")


def never_learned(found: History) -> None:
    """The pod was deleted before anybody had learned its id, so nothing is booked for it."""
    on_a_pod(0, executed_usd=0.01, vanished=True)(found)
    row(0, remote_id=None, cost_usd=0.0)(found)
    put(budgets=Budgets(0.22), workers=[])(found)


def misread(found: History) -> None:
    """Two ends were seen late, and the worker's start was booked as the wait of the job that ran second."""
    found.workers = [RemoteWorker("w1", 90.0, 0.024, ("job-1", "job-2"), usd_per_s=0.001)]
    row(0, queue_s=10.0)(found)
    row(1, queue_s=5.0)(found)


@pytest.mark.parametrize(
    "change",
    [spoiled, lost_and_made_again, on_a_pod(1), on_a_pod(1, executed_usd=0.012, ended=152.0), never_learned, misread],
    ids=[
        "spoiled there",
        "lost by the store",
        "on a pod",
        "swept after its end",
        "deleted unseen",
        "seen out of order",
    ],
)
def test_what_nobody_can_help_is_no_breach(change: Callable[[History], object]) -> None:
    """A result that the store lost may be made again; what no answer tells of a pod need not be booked."""
    found = history()
    change(found)
    assert checker.check(found) == []


def test_every_predicate_is_tried() -> None:
    """A predicate that nobody saw fail proves nothing."""
    assert set(BREACHES) == set(checker.PREDICATES)


@pytest.mark.parametrize(
    ("predicate", "breach"),
    [(predicate, breach) for predicate, breaches in BREACHES.items() for breach in breaches],
    ids=[f"{p.__name__}-{n}" for p, breaches in BREACHES.items() for n in range(len(breaches))],
)
def test_broken_history_is_caught(predicate: Callable[..., object], breach: Callable[[History], object]) -> None:
    """Broken in one way, the history fails the predicate that is about it, by name."""
    broken = history()
    breach(broken)
    assert any(found.startswith(f"{predicate.__name__}: ") for found in checker.check(broken))
