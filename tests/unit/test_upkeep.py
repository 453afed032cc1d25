"""What goes wrong with paid work whose run is gone: it burns on, its result is lost, or somebody else's is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.test_utils import create_run_for_test

from resources.database import writing
from resources.gpu.job import Job, OutputSpec
from resources.gpu.records import Attempt
from resources.gpu.tables import attempts
from resources.storage import StorageError
from ryla_assets.domain.images import LoraDataset, TrainingTicket
from ryla_assets.studio.ledger import FOREIGN_AFTER_S, sweep
from ryla_assets.studio.studio import Studio
from sensors.upkeep import ended_runs, upkeep__jobs
from tests.fakes.scripted_backend import Script, ScriptedBackend
from tests.fakes.scripted_studio import scripted_parts

RUN = "11111111-2222-3333-4444-555555555555"
ENDED = {RUN: "failed"}


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    """A studio on a scripted backend."""
    return open_studio(parts=scripted_parts())


@pytest.fixture
def backend(studio: Studio) -> ScriptedBackend:
    """Its backend."""
    return cast(ScriptedBackend, studio.runner.backend)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """One Dagster instance for this file."""
    with dg.instance_for_test() as made:
        yield made


def left_behind(
    studio: Studio, name: str = "a", *, run: str | None = RUN, kind: Any = "image", states: Any = ("running",)
) -> Attempt:
    """An attempt that was sent, whose process then died long ago."""
    backend = cast(ScriptedBackend, studio.runner.backend)
    backend.scripts = [Script(states=states)]
    if kind == "image":
        job = Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (OutputSpec(name, "image", 64, 64),))
    else:
        job = Job("training", {"base_model": "flux-dev", "steps": 4, "n": name}, (OutputSpec(name, "lora"),))
    sent = studio.runner.submit(replace(job, label=name, owner="mara-lind"), run_id=run)
    assert isinstance(sent, Attempt)
    return aged(studio, sent, FOREIGN_AFTER_S + 1)


def aged(studio: Studio, attempt: Attempt, age_s: float) -> Attempt:
    """The same, begun so long ago, its lease over."""
    values = {"intended_at": time.time() - age_s, "lease_until": time.time() - 1, "lease_owner": "a dead process"}
    with writing(studio.runner.ledger.engine) as db:
        db.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(**values))
    return studio.runner.ledger.attempt(attempt.id)


def now(studio: Studio, attempt: Attempt) -> Attempt:
    """It, as the ledger has it now."""
    return studio.runner.ledger.attempt(attempt.id)


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled", "gone"])
def test_job_of_an_ended_run_is_stopped_and_settled(studio: Studio, backend: ScriptedBackend, end: str) -> None:
    """However its run ended: nobody will come for it. The reason is kept with it, money is booked."""
    attempt = left_behind(studio)
    [one] = sweep(studio, lambda _: {RUN: end})
    assert backend.cancels == [attempt.remote_id]
    settled = now(studio, attempt)
    assert (settled.state, settled.settled_at is None, settled.reserved_usd) == ("cancelled", False, 0.0)
    assert RUN in (settled.error or "")
    assert (one.attempt_id, one.state, one.trouble) == (attempt.id, "cancelled", "")


def test_result_that_is_paid_for_is_taken(studio: Studio, backend: ScriptedBackend) -> None:
    """It finished after its run was killed: the next run adopts it instead of paying again."""
    attempt = left_behind(studio, states=("succeeded",))
    [one] = sweep(studio, lambda _: ENDED)
    assert (one.state, now(studio, attempt).cost_usd > 0) == ("succeeded", True)
    row = studio.runner.ledger.job(attempt.fingerprint)
    assert row is not None
    assert row.accepted_attempt == attempt.id
    [result] = studio.runner.run([row.job])
    assert result.adopted
    assert sum(backend.submitted.values()) == 1


def test_what_is_followed_is_left_alone(studio: Studio, backend: ScriptedBackend) -> None:
    """A running lease means a living owner, whatever its run says; and a run that goes on may lose a lease."""
    attempt = left_behind(studio)
    assert sweep(studio, lambda _: {}) == []
    leased = studio.runner.ledger.take_lease(now(studio, attempt), "another process", 60.0)
    assert leased is not None
    assert sweep(studio, lambda _: ENDED) == []
    assert (backend.cancels, now(studio, attempt).is_open) == ([], True)


def test_attempt_of_no_run_is_nobody_s_business(studio: Studio, backend: ScriptedBackend) -> None:
    """What a person started by hand is not stopped by a sensor."""
    attempt = left_behind(studio, run=None)
    assert sweep(studio, lambda ids: dict.fromkeys(ids, "gone")) == []
    assert (backend.cancels, now(studio, attempt).is_open) == ([], True)


def test_young_attempt_of_an_unknown_run_may_be_another_deployment_s(studio: Studio, backend: ScriptedBackend) -> None:
    """Two Dagster instances may share a ledger: a run that this one never heard of gets ten minutes."""
    attempt = aged(studio, left_behind(studio), FOREIGN_AFTER_S - 60)
    assert sweep(studio, lambda _: {RUN: "gone"}) == []
    aged(studio, attempt, FOREIGN_AFTER_S + 1)
    assert [one.state for one in sweep(studio, lambda _: {RUN: "gone"})] == ["cancelled"]


def test_attempt_on_another_backend_is_not_touched(studio: Studio, backend: ScriptedBackend) -> None:
    """It cannot be reached from here, so nothing is concluded about it."""
    attempt = left_behind(studio)
    backend.endpoint = "elsewhere"
    assert sweep(studio, lambda _: ENDED) == []
    assert (backend.cancels, now(studio, attempt).is_open) == ([], True)


def test_backend_that_does_not_answer_is_asked_again_later(studio: Studio, backend: ScriptedBackend) -> None:
    """The attempt stays open and in the ledger; the next sweep tries again."""
    attempt = left_behind(studio)
    backend.unreachable = True
    [one] = sweep(studio, lambda _: ENDED)
    assert "connection refused" in one.trouble
    assert now(studio, attempt).is_open
    backend.unreachable = False
    aged(studio, attempt, FOREIGN_AFTER_S + 1)
    assert [swept.state for swept in sweep(studio, lambda _: ENDED)] == ["cancelled"]


def test_store_that_fails_for_one_orphan_leaves_no_other_burning(
    studio: Studio, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One had finished and cannot be stored now; the next is stopped all the same, and machines are given back."""
    done = left_behind(studio, "a", states=("succeeded",))
    burning = left_behind(studio, "b")

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(studio.store, "put", full)
    given_back: list[bool] = []
    monkeypatch.setattr(studio.runner, "sweep", lambda: given_back.append(True) or [])
    told = {one.attempt_id: one for one in sweep(studio, lambda _: ENDED)}
    assert "no space left" in told[done.id].trouble
    assert (told[burning.id].state, backend.cancels) == ("cancelled", [done.remote_id, burning.remote_id])
    assert (now(studio, done).is_open, given_back) == (True, [True])


def test_silent_backend_is_asked_about_one_orphan_a_sweep(studio: Studio, backend: ScriptedBackend) -> None:
    """Each question may take its time to fail: the others wait for the next tick, not for the sensor's deadline."""
    for name in "abc":
        left_behind(studio, name)
    backend.unreachable = True
    assert len(sweep(studio, lambda _: ENDED)) == 1


def test_job_that_no_cancel_reaches_does_not_keep_the_others_running(
    studio: Studio, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits on and stays open, told with the way out; those after it are stopped in the same sweep."""
    monkeypatch.setattr("resources.gpu.stuck.STOP_LOOKS_S", (0.0, 0.01))
    deaf, other = left_behind(studio, "a", states=("queued",)), left_behind(studio, "b", states=("queued",))
    cancel = backend.cancel

    async def cancelled(remote_id: str) -> None:
        if remote_id != deaf.remote_id:
            await cancel(remote_id)

    monkeypatch.setattr(backend, "cancel", cancelled)
    told = {one.attempt_id: one for one in sweep(studio, lambda _: ENDED)}
    assert "which does not show it" in told[deaf.id].trouble
    assert (now(studio, deaf).is_open, now(studio, other).state) == (True, "cancelled")
    assert now(studio, deaf).exposure_usd > 0


def test_sweep_is_bounded(studio: Studio) -> None:
    """A tick has a minute: the rest is the next one's, and all are swept in the end."""
    for name in "abcde":
        left_behind(studio, name)
    assert [len(sweep(studio, lambda _: ENDED, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_sweep_asks_for_what_is_open_only(studio: Studio) -> None:
    """Thousands of settled attempts cost nothing: their number changes no query."""
    asked: list[list[str]] = []
    for name in "abc":
        left_behind(studio, name)
    sweep(studio, lambda ids: asked.append(list(ids)) or ENDED)  # type: ignore[func-returns-value]
    sweep(studio, lambda ids: asked.append(list(ids)) or ENDED)  # type: ignore[func-returns-value]
    assert asked == [[RUN]], "a run is asked for once, and nothing is asked when nothing is open"


def test_submission_that_never_arrived_is_settled(studio: Studio, backend: ScriptedBackend) -> None:
    """A process died between its intent and its submission: the reservation is given back."""
    attempt = left_behind(studio, run=None)
    backend.remotes.clear()
    with writing(studio.runner.ledger.engine) as db:
        values = {"state": "intended", "remote_id": None, "submitted_at": None}
        db.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(**values))
    sweep(studio, lambda _: {})
    settled = now(studio, attempt)
    assert (settled.state, settled.error_code, settled.cost_usd) == ("failed", "never_submitted", 0.0)


# ---- trainings: two halves


def ticket(studio: Studio, job: str) -> None:
    """Publish a ticket that waits for this job."""
    common: dict[str, Any] = {"character": "mara-lind", "take": 1, "render_domain": "preview", "base_model": "flux-dev"}
    dataset = LoraDataset(request_id="d", trigger="bcdfghjk", images=(), **common)
    parent = studio.publish(dataset)
    studio.publish(
        TrainingTicket(
            request_id="t", backend="scripted", trigger="bcdfghjk", steps=4, dataset_hash="d" * 64, job=job,
            parents=(parent,), **common,
        )
    )  # fmt: skip


def test_training_outlives_the_run_that_submitted_it(studio: Studio, backend: ScriptedBackend) -> None:
    """Its run ended well by submitting it; a sensor will take the weights."""
    left_behind(studio, kind="training")
    assert sweep(studio, lambda _: {RUN: "succeeded"}) == []
    assert backend.cancels == []


def test_training_that_a_ticket_waits_for_is_no_orphan(
    studio: Studio, backend: ScriptedBackend, make_character: Callable[..., Any]
) -> None:
    """Another asset of its run failed after the ticket was published: the training is wanted all the same."""
    make_character(studio, "mara-lind")
    attempt = left_behind(studio, kind="training")
    ticket(studio, attempt.fingerprint)
    assert sweep(studio, lambda _: ENDED) == []
    assert backend.cancels == []


def test_training_that_nobody_waits_for_is_an_orphan(
    studio: Studio, backend: ScriptedBackend, make_character: Callable[..., Any]
) -> None:
    """Its run was killed before it published a ticket, or the ticket is of another training."""
    make_character(studio, "mara-lind")
    attempt = left_behind(studio, kind="training")
    ticket(studio, "f" * 64)
    [one] = sweep(studio, lambda _: ENDED)
    assert (one.attempt_id, backend.cancels) == (attempt.id, [attempt.remote_id])


# ---- what Dagster knows of runs


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **more: Any) -> str:
    """A run in that state; its id."""
    return create_run_for_test(instance, job_name="x", status=status, **more).run_id


def test_only_ended_runs_are_told(instance: dg.DagsterInstance) -> None:
    """Waiting, starting, running and ending runs are not gone; one that Dagster does not know is."""
    status = dg.DagsterRunStatus
    going = [run(instance, s) for s in (status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING)]
    words = {status.SUCCESS: "succeeded", status.FAILURE: "failed", status.CANCELED: "canceled"}
    ends = {run(instance, ended): word for ended, word in words.items()}
    assert ended_runs(instance, [*going, *ends, RUN]) == {**ends, RUN: "gone"}
    assert ended_runs(instance, []) == {}


def test_run_goes_on_in_its_re_execution(instance: dg.DagsterInstance) -> None:
    """The ledger knows the root: what a re-execution has taken over is not an orphan."""
    root = run(instance, dg.DagsterRunStatus.FAILURE)
    child = run(instance, dg.DagsterRunStatus.STARTED, **retry_of(root))
    assert ended_runs(instance, [root]) == {}
    instance.report_run_failed(instance.get_run_by_id(child))
    assert ended_runs(instance, [root]) == {}, "it has only just ended: it may be retried at once"
    other = run(instance, dg.DagsterRunStatus.FAILURE)
    run(instance, dg.DagsterRunStatus.SUCCESS, **retry_of(other))
    assert ended_runs(instance, [other]) == {other: "succeeded"}


def retry_of(root: str) -> dict[str, Any]:
    """What makes a run a re-execution, as Dagster writes it."""
    return {"parent_run_id": root, "root_run_id": root, "tags": {"dagster/root_run_id": root}}


def test_deleted_run_is_gone(instance: dg.DagsterInstance) -> None:
    """Ops may delete a run in the UI while its job burns."""
    name = run(instance, dg.DagsterRunStatus.STARTED)
    instance.delete_run(name)
    assert ended_runs(instance, [name]) == {name: "gone"}


def test_sensor_sweeps(studio: Studio, backend: ScriptedBackend, instance: dg.DagsterInstance) -> None:
    """The whole of it: a run that failed, its job stopped, a tick that says how many; then nothing is left."""
    failed = run(instance, dg.DagsterRunStatus.FAILURE)
    attempt = left_behind(studio, run=failed)
    going = left_behind(studio, "b", run=run(instance, dg.DagsterRunStatus.STARTED))
    with dg.build_sensor_context(instance=instance, resources={"studio": studio}) as context:
        assert "1 orphans" in str(upkeep__jobs.evaluate_tick(context).skip_message)
        assert upkeep__jobs.evaluate_tick(context).skip_message == "No orphans."
    assert backend.cancels == [attempt.remote_id]
    assert now(studio, going).is_open


def test_sensor_runs_by_default() -> None:
    """Nobody should have to switch on what stops a burning job."""
    assert upkeep__jobs.default_status == dg.DefaultSensorStatus.RUNNING
