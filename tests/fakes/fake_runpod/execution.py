"""One run from pick-up to its end: phases in the fake's time, work in threads.

    begin -> (is the result there already?) -> draw -> after its duration: deliver -> end

Belongs here: executionTimeout, a worker's scripted death, what a result that is too large becomes, how a job ends. Does
not belong here: what workers draw and how they talk to the store (engine).
# runpod facts 1 [doc], 3.3 [code], 7 [issue]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod import engine, pictures, webhooks
from tests.fakes.fake_runpod.config import RUN_BYTES, RUNSYNC_BYTES, Switches
from tests.fakes.fake_runpod.state import NOTHING, Job, Run, shown_error
from tests.fakes.fake_runpod.world import Executed, World

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.pool import Pool

REUSE_S = 0.5  # a worker that finds the result in the store answers after so long


def begin(world: World, pool: Pool, run: Run) -> None:
    """The worker picked the job up; its time counts from now.  # runpod facts 1 [doc]"""
    job, now = run.job, world.clock.now()
    job.runs.append(run)
    if not run.twin:
        job.status, job.started, job.worker = "IN_PROGRESS", now, run.worker.id
        job.progress = job.script.progress if job.script.progress is not None else NOTHING
        if job.script.webhook == "early":
            webhooks.send(world, job, {**job.body(now), "status": "COMPLETED", "output": {}})
    body = job.input if isinstance(job.input, dict) else {}
    fingerprint, attempt = str(body.get("fingerprint", "")), str(body.get("attempt", ""))
    world.executions.append(Executed(job.id, fingerprint, attempt, run.worker.id, now))
    world.clock.at(now + job.execution_ms / 1000, lambda: _time_out(world, pool, run))
    if job.script.kill_at_s and not run.twin:
        world.clock.after(job.script.kill_at_s.pop(0), lambda: pool.kill(run.worker) if run.live else None)
    if job.script.lose_after_s is not None and not run.twin:
        world.clock.after(job.script.lose_after_s, lambda: setattr(job, "gone", True))
    if job.script.hang or pool.config.engine == "external":
        return
    if job.contract != "wire":
        _work(world, pool, run)
        return
    asked = world.io(engine.stored_result, world.http(), body)
    world.clock.at(now, lambda: _asked(world, pool, run, asked), ready=asked)


def finish(world: World, pool: Pool, run: Run, output: Any, error: Any = None) -> None:
    """A run brought an output or an error: the job ends by it, or it comes too late.  # runpod facts 1, 7 F15 [doc]"""
    job, now = run.job, world.clock.now()
    if not run.live:
        return
    run.live, run.ended = False, now
    world.bill.execution(job.id, now - run.started, pool.config.usd_per_s)
    if not job.terminal and not job.gone:
        script = job.script
        output = output if script.output is NOTHING else script.output
        output = script.mutate(output) if script.mutate is not None else output
        without = script.drop_output or (script.error is not None and script.output is NOTHING)
        if without or script.end in ("TIMED_OUT", "CANCELLED"):
            output = NOTHING
        run.unheard = too_large(job, output) and world.config.switches.oversize == "stale"
        if not run.unheard:
            _settle(job, output, script.error if script.error is not None else error, world.config.switches)
            end(world, pool, job, script.end or ("FAILED" if job.error is not None else "COMPLETED"))
    pool.free(run.worker)


def too_large(job: Job, output: Any) -> bool:
    """A result that the service refuses; its worker logs that and goes on.  # runpod facts 1 [doc], 7 F8 [issue]"""
    if job.script.unlimited or output is NOTHING or output is None:
        return False
    return len(json.dumps(output)) > (RUNSYNC_BYTES if job.sync else RUN_BYTES)


def end(world: World, pool: Pool, job: Job, status: str) -> None:
    """The job is over: counted, kept for its retention, told to its webhook.  # runpod facts 1 [doc]"""
    job.status, job.ended = status, world.clock.now()
    if job.ttl_event is not None:
        job.ttl_event.cancelled = True
    if status == "COMPLETED":
        pool.completed += 1
    elif status in ("FAILED", "TIMED_OUT"):
        pool.failed += 1
    ended = job.ended
    world.clock.after(job.kept_s, lambda: setattr(job, "gone", job.gone or job.ended == ended))
    webhooks.ended(world, job)


def abandon(world: World, pool: Pool, job: Job, *, stop: bool) -> None:
    """Whoever still runs the job: stopped at once, or left to finish for nothing.  # runpod facts 3.3 [code]"""
    for run in [run for run in job.runs if run.live]:
        if stop:
            if run.worker.external:
                pool.to_stop.setdefault(run.worker.id, []).append(job.id)
            run.live, run.ended = False, world.clock.now()
            world.bill.execution(job.id, run.ended - run.started, pool.config.usd_per_s)
            pool.free(run.worker)


def duration(world: World, pool: Pool, job: Job) -> float:
    """Seconds that a run of the job takes: its script, its input, the endpoint's list, or its range."""
    if job.script.duration_s is not None:
        return job.script.duration_s
    if isinstance(job.input, dict) and "scripted_s" in job.input:
        return float(job.input["scripted_s"])
    if pool.config.durations:
        return pool.config.durations[job.number % len(pool.config.durations)]
    import random

    least, most = pool.config.exec_s
    return random.Random(f"{world.config.seed}/{job.endpoint}/{job.number}").uniform(least, most)


# ---- phases


def _asked(world: World, pool: Pool, run: Run, asked: Future[Any]) -> None:
    if not run.live:
        return
    problem = asked.exception()
    if problem is not None:
        finish(world, pool, run, None, engine.failure(problem))
    elif asked.result() is not None:
        run.reused = True
        found = {**asked.result(), "reused": True}
        world.clock.after(REUSE_S, lambda: finish(world, pool, run, found))
    else:
        _work(world, pool, run)


def _work(world: World, pool: Pool, run: Run) -> None:
    """Draw in a thread where something must be drawn; the end of the work has its place in the fake's time."""
    seconds = duration(world, pool, run.job)
    name, contract = pool.config.engine, run.job.contract
    drawn: Future[Any]
    if name == "preview" and contract != "other":
        drawn = world.drawing.submit(engine.draw, world, run.job.input, contract)
    else:
        drawn = _instantly(lambda: engine.scripted(run.job.input, contract))
    world.clock.after(seconds, lambda: _deliver(world, pool, run, drawn), ready=drawn)


def _deliver(world: World, pool: Pool, run: Run, drawn: Future[Any]) -> None:
    job = run.job
    if not run.live:
        return
    problem = drawn.exception()
    if problem is not None:
        error, output = engine.failed(problem, job.contract)
        finish(world, pool, run, output, error)
        return
    files = pictures.damaged(drawn.result(), job.script.damage)
    if job.contract == "wire" and job.script.deliver and job.script.error is None:
        exec_s = world.clock.now() - run.started
        made = engine.named(pool.config.engine, job.input["kind"])
        put = world.io(engine.deliver, world.http(), job.input, files, made, run.load_s, exec_s)
        world.clock.at(world.clock.now(), lambda: _delivered(world, pool, run, put), ready=put)
    else:
        finish(world, pool, run, engine.plain_output(job.input, files, job.contract))


def _delivered(world: World, pool: Pool, run: Run, put: Future[Any]) -> None:
    problem = put.exception()
    if problem is not None:
        finish(world, pool, run, None, engine.failure(problem))
    else:
        finish(world, pool, run, put.result())


def _time_out(world: World, pool: Pool, run: Run) -> None:
    job = run.job
    over = job.script.hang or job.terminal or job.gone or not job.runs or run is not job.runs[-1]
    if over or not (run.live or run.unheard):
        return
    end(world, pool, job, "TIMED_OUT")
    abandon(world, pool, job, stop=world.config.switches.timeout_stops_worker)


def _settle(job: Job, output: Any, error: Any, switches: Switches) -> None:
    """What of a result the service keeps.  # runpod facts 1, 3.3, 7 F8 [code] [issue]"""
    if isinstance(output, dict) and "error" in output and error is None:
        output = dict(output)
        error = output.pop("error")
        output = output or NOTHING
    job.error = None if error is None else shown_error(error, as_string=switches.error_object_as == "string")
    if too_large(job, output):
        output = NOTHING
    job.output = NOTHING if output is None and job.error is not None else output
    job.stream += job.script.chunks


def _instantly(work: Callable[[], Any]) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001  the run fails with it, as in a thread
        done.set_exception(error)
    return done
