"""The preview's spool and workers under what happens to processes: killed, doubled, idle, without room."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.database import metadata, open_engine
from resources.gpu.backends.preview import worker
from resources.gpu.backends.preview.backend import PreviewBackend
from resources.gpu.backends.preview.spool import KEEP_S, Spool
from resources.gpu.budget import Budgets
from resources.gpu.errors import BackendUnavailable, JobLost
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt
from resources.gpu.runner import Policy, Runner
from resources.storage import FileStore
from ryla_assets.prompts.lexicon import lexicon
from workflows.base_image import base_image
from workflows.requests import ImageRequest

PROMPT = "photo of a 30 year old woman in a park"
ROOT = Path(__file__).resolve().parents[2]
CALLER = """
import json, sys, time
from tests.unit.test_preview_spool import job, open_runner
runner = open_runner(sys.argv[1])
print(runner.submit(job(5)).id, flush=True)
time.sleep(60)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    made = Spool(tmp_path / "spool")
    made.prepare()
    return made


def job(seed: int, *, images: int = 1) -> Job:
    """A small base-image job."""
    names = [f"option-{number}" for number in range(images)]
    requests = [ImageRequest(name, PROMPT, "blurry", seed + n, 256, 256) for n, name in enumerate(names)]
    specs = tuple(OutputSpec(name, "image", 256, 256) for name in names)
    return Job("image", base_image("zimage-turbo", requests), specs, label=f"job-{seed}")


def open_runner(home: str | Path, *, workers: int = 1) -> Runner:
    """A runner on a preview; one process's view of that home."""
    engine = open_engine(f"sqlite:///{home}/ledger.db")
    metadata.create_all(engine)
    backend = PreviewBackend(Path(home) / "preview", lexicon=lexicon(), workers=workers, idle_s=1.5)
    quick = Policy(poll_min_s=0.02, poll_max_s=0.1)
    return Runner(Ledger(engine), backend, FileStore(Path(home) / "store"), Budgets(10.0), policy=quick)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """A runner on one preview worker."""
    made = open_runner(tmp_path)
    yield made
    made.ledger.engine.dispose()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the workers that were started, in order."""
    pids: list[int] = []
    popen = subprocess.Popen

    def recording(*args: Any, **kwargs: Any) -> Any:
        process = popen(*args, **kwargs)
        pids.append(process.pid)
        return process

    monkeypatch.setattr("resources.gpu.backends.preview.backend.subprocess.Popen", recording)
    return pids


def until(ready: Callable[[], bool], *, seconds: float = 15.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def preview_of(runner: Runner) -> PreviewBackend:
    """Its backend, as what it is."""
    assert isinstance(runner.backend, PreviewBackend)
    return runner.backend


# ---- the folder


def test_two_workers_never_claim_one_job(spool: Spool) -> None:
    """Four workers empty a queue of sixty: each job is taken once."""
    for number in range(60):
        spool.enqueue(f"job-{number:02d}", {"n": number})
    barrier = threading.Barrier(4)
    taken: list[str] = []

    def work(slot: int) -> None:
        mine = Spool(spool.root)
        barrier.wait()
        while claimed := mine.claim(slot):
            taken.append(claimed[0])

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(taken) == [f"job-{number:02d}" for number in range(60)]
    assert spool.waiting() == 60


def test_jobs_are_taken_in_the_order_they_came(spool: Spool) -> None:
    """First come, first drawn."""
    for number, name in enumerate(("c", "a", "b")):
        spool.enqueue(name, {})
        os.utime(spool.root / "queue" / f"{name}.json", (number, number))
    assert [claimed[0] for claimed in iter(lambda: spool.claim(0), None) if claimed] == ["c", "a", "b"]


def test_half_written_job_is_not_claimed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the caller still writes, a worker that looks sees nothing."""
    seen: list[Any] = []
    replace = Path.replace

    def look_first(part: Path, target: Path) -> Path:
        seen.append((part.exists(), spool.claim(0), spool.waiting()))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", look_first)
    spool.enqueue("a", {"n": 1})
    assert seen == [(True, None, 0)]
    assert spool.waiting() == 1


def test_job_is_somewhere_at_every_moment(spool: Spool) -> None:
    """Who looks while it moves never concludes that it was lost."""
    missing: list[str] = []
    ids = [f"job-{number}" for number in range(90)]
    for name in ids:
        spool.enqueue(name, {"n": 1})
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            missing.extend(name for name in ids if spool.where(name) is None)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number, name in enumerate(ids):
        if number % 3 == 0:
            spool.cancel(name)
        elif claimed := spool.claim(0):
            spool.finish(claimed[0], {**claimed[1], "state": "succeeded"})
    over.set()
    watcher.join(timeout=10)
    assert missing == []


def test_queued_job_that_is_cancelled_is_never_claimed(spool: Spool) -> None:
    """It ends as cancelled, having cost nothing."""
    spool.enqueue("a", {"n": 1})
    spool.cancel("a")
    assert spool.claim(0) is None
    body = spool.read("done", "a")
    assert body is not None
    assert (body["state"], spool.where("a"), spool.waiting()) == ("cancelled", "done", 0)


def test_running_job_that_is_cancelled_hears_of_it(spool: Spool) -> None:
    """At its next progress."""
    spool.enqueue("a", {"n": 1})
    spool.claim(0)
    assert spool.note_progress("a", 0.25)
    spool.cancel("a")
    assert not spool.note_progress("a", 0.5)
    assert (spool.where("a"), spool.progress("a")) == ("running", 0.5)


def test_slot_is_held_by_one_and_free_when_its_holder_dies(spool: Spool) -> None:
    """The lock is the kernel's: no file is left that says a dead worker lives."""
    holding = "import sys, time; from resources.gpu.backends.preview.spool import Spool; from pathlib import Path\n"
    holding += "s = Spool(Path(sys.argv[1])); s.hold(0); print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holding, str(spool.root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert spool.free_slots(2) == [1]
        assert spool.hold(0) is None
        process.kill()
    assert spool.free_slots(2) == [0, 1]


def test_job_of_a_dead_worker_is_reported_lost(spool: Spool) -> None:
    """By whoever polls; also of a slot that this preview has no longer. One of a live worker is left alone."""
    for name in ("a", "b"):
        spool.enqueue(name, {"n": 1})
    spool.claim(7)
    spool.claim(1)
    with spool.slot(1) as held:
        assert held
        spool.reap()
    assert [spool.where(name) for name in ("a", "b")] == ["done", "running"]
    body = spool.read("done", "a")
    assert body is not None
    assert (body["state"], body["error_code"]) == ("lost", "worker_lost")


def test_finished_jobs_are_forgotten_after_a_day(spool: Spool) -> None:
    """With their outputs and marks; younger ones stay."""
    for name in ("old", "new"):
        spool.enqueue(name, {})
        spool.claim(0)
        spool.cancel(name)
        spool.finish(name, {"state": "succeeded", "outputs": spool.write_outputs(name, [("a.png", b"x")])})
    past = time.time() - KEEP_S - 5
    os.utime(spool.root / "done" / "old.json", (past, past))
    spool.prune()
    assert [spool.where(name) for name in ("old", "new")] == [None, "done"]
    assert [path.name for path in (spool.root / "outputs").iterdir()] == ["new"]
    assert [path.name for path in (spool.root / "cancelled").iterdir()] == ["new"]


def test_input_is_written_once(spool: Spool) -> None:
    """By its hash; many callers may bring the same one at once."""
    threads = [threading.Thread(target=spool.put_input, args=("abc", b"x" * 100_000)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (spool.root / "inputs").iterdir()] == ["abc"]


def test_full_disk_leaves_no_job_behind(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that could not be written whole was never queued."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        spool.enqueue("a", {"n": 1})
    assert list((spool.root / "queue").iterdir()) == []
    assert spool.where("a") is None


# ---- the worker, in this process


def execute(spool: Spool, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> dict[str, Any]:
    """What the worker writes about a job whose drawing does `run`."""
    monkeypatch.setattr(worker, "run_workflow", run)
    body = {"kind": "image", "request": {}, "inputs": [], "outputs": [], "lexicon": {}, "fingerprint": "f"}
    return worker._execute(spool, "a", {**body, "queued_at": time.time() - 1}, None, time.time())  # type: ignore[arg-type]


def test_worker_says_what_went_wrong_and_what_it_cost(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any exception of a job is the job's, not the worker's."""

    def broken(*_: Any, **__: Any) -> None:
        time.sleep(0.01)
        raise RuntimeError("out of paint")

    outcome = execute(spool, monkeypatch, broken)
    assert (outcome["state"], outcome["error"]) == ("failed", "RuntimeError: out of paint")
    assert outcome["cost_usd"] > 0
    assert spool.executions() == {"f": 1}


def test_worker_without_room_for_its_output_reports_a_failure(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not die over it, and no half output is offered."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "write_outputs", full)
    outcome = execute(spool, monkeypatch, lambda *_, **__: [])
    assert (outcome["state"], outcome["outputs"]) == ("failed", [])
    assert "No space left" in outcome["error"]


def test_worker_takes_its_slot_again_if_a_job_came_while_it_let_go(spool: Spool) -> None:
    """And goes home if none came, or another worker took over."""
    assert worker._hold_again(spool, 0) is None
    spool.enqueue("a", {"n": 1})
    handle = worker._hold_again(spool, 0)
    assert handle is not None
    assert worker._hold_again(spool, 0) is None
    os.close(handle)


# ---- real workers


def test_one_worker_is_started_and_executions_are_counted(runner: Runner, started: list[int]) -> None:
    """While it starts up, every poll sees its slot taken; the second job finds it warm; adoption executes nothing."""
    [first], [second] = runner.run([job(1)]), runner.run([job(2)])
    runner.run([job(1), job(2)])
    assert len(started) == 1
    assert preview_of(runner).executions() == {first.fingerprint: 1, second.fingerprint: 1}
    assert first.attempt.cold_s > 0
    assert second.attempt.cold_s == 0
    assert first.attempt.cost_usd == pytest.approx(first.attempt.exec_s * worker.USD_PER_S)


def test_killed_worker_is_a_lost_job_and_the_next_attempt_works(runner: Runner, started: list[int]) -> None:
    """SIGKILL in the middle of drawing: noticed by the next poll, paid attempt booked, made again by a new worker."""
    wanted = job(3, images=3)
    killed: list[int] = []

    def kill_once(_: Any) -> None:
        if not killed and preview_of(runner).executions():
            os.kill(started[-1], signal.SIGKILL)
            killed.append(started[-1])

    [result] = runner.run([wanted], on_progress=kill_once)
    attempts = runner.ledger.attempts(result.fingerprint)
    assert [(a.state, a.error_code) for a in attempts] == [("lost", "worker_lost"), ("succeeded", None)]
    assert attempts[0].settled_at is not None
    assert preview_of(runner).executions()[result.fingerprint] == 2
    assert len(started) == 2


def test_job_survives_its_caller(tmp_path: Path) -> None:
    """The caller and its whole process group are killed after submitting: the worker draws on, the next run adopts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CALLER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, start_new_session=True) as caller:
        assert caller.stdout is not None
        attempt_id = caller.stdout.readline().decode().strip()
        os.killpg(caller.pid, signal.SIGKILL)
    runner = open_runner(tmp_path)
    until(lambda: preview_of(runner).spool.where(attempt_id) == "done")
    [result] = runner.run([job(5)])
    assert result.adopted
    assert result.attempt.id == attempt_id
    assert preview_of(runner).executions() == {result.fingerprint: 1}
    runner.ledger.engine.dispose()


def test_two_workers_share_a_queue(tmp_path: Path, started: list[int]) -> None:
    """Four jobs, two workers: each drawn once, nobody starts a third worker."""
    runner = open_runner(tmp_path, workers=2)
    results = runner.run([job(10 + number) for number in range(4)])
    assert preview_of(runner).executions() == {result.fingerprint: 1 for result in results}
    assert len(started) == 2
    runner.ledger.engine.dispose()


def test_idle_worker_ends_and_leaves_no_zombie(runner: Runner, started: list[int]) -> None:
    """After its idle time its slot is free and its process gone, though its parent lives."""
    preview_of(runner).idle_s = 0.1
    runner.run([job(1)])
    until(lambda: not Path(f"/proc/{started[0]}").exists())
    assert preview_of(runner).spool.free_slots(1) == [0]


def test_worker_that_cannot_be_started_is_said_and_the_job_stays(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No slot stays taken by a process that does not exist; with the cause gone the same job goes on."""

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("resources.gpu.backends.preview.backend.subprocess.Popen", fails)
        attempt = runner.submit(job(1))
        assert isinstance(attempt, Attempt)
        with pytest.raises(BackendUnavailable, match="cannot be started"):
            preview_of(runner)._spawn(0)
    assert preview_of(runner).spool.free_slots(1) == [0]
    [result] = runner.run([job(1)])
    assert result.attempt.id == attempt.id


def test_output_that_was_deleted_is_lost_and_made_again(runner: Runner) -> None:
    """Somebody empties the spool and the store: no crash on a missing file, another attempt instead."""
    [first] = runner.run([job(1)])
    spool = preview_of(runner).spool
    for path in [*(spool.root / "outputs").glob("*/*"), *runner.store.root.rglob("*.png")]:  # type: ignore[attr-defined]
        path.unlink()
    with pytest.raises(JobLost, match="no longer has the output"):
        asyncio.run(runner.backend.fetch(first.attempt.remote_id or ""))
    [second] = runner.run([job(1)])
    assert second.outputs == first.outputs
    assert preview_of(runner).executions() == {first.fingerprint: 2}


def test_requests_are_plain_json_files(runner: Runner) -> None:
    """What waits in the spool can be read by a person."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreviewBackend, "_spawn", lambda *_: None)
        attempt = runner.submit(job(1))
    assert isinstance(attempt, Attempt)
    body = json.loads((preview_of(runner).spool.root / "queue" / f"{attempt.id}.json").read_text())
    assert body["label"] == "job-1"
    assert body["fingerprint"] == attempt.fingerprint
