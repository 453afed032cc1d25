"""What workers ask: the URLs that the runpod SDK's worker loop is given by its environment.

Belongs here: job-take(-batch), job-stop, job-done, job-stream and ping, as runpod 1.12 calls them (facts 3.3 [code]:
rp_job, rp_http, rp_ping). An endpoint with engine "external" is worked on by such workers only.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.fakes.fake_runpod.config import RUN_BYTES, RUNSYNC_BYTES, STREAM_BYTES
from tests.fakes.fake_runpod.execution import finish
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.jobs import Jobs
from tests.fakes.fake_runpod.pool import Pool
from tests.fakes.fake_runpod.state import NOTHING, Job, Run, Worker
from tests.fakes.fake_runpod.world import World

OPERATIONS = ("job-take", "job-take-batch", "job-stop", "job-done", "job-stream", "ping")
TAKE_WAIT_S = 2.0  # real seconds that an empty queue is watched before 204; the real host waits longer
LOOK_S = 0.01


def environment(world: World, endpoint: str, worker_id: str) -> dict[str, str]:
    """The variables that make the SDK's worker loop work for this fake."""
    base = f"{world.base_url}/v2/{endpoint}"
    return {
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_ENDPOINT_ID": endpoint,
        "RUNPOD_AI_API_KEY": world.config.api_key,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=fake",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=fake",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=fake",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
        "RUNPOD_PING_INTERVAL": "2000",
    }


async def answer(world: World, jobs: Jobs, request: Request, endpoint: str, operation: str, rest: list[str]) -> Reply:
    """One request of a worker; `rest` is worker id and, for results, job id."""
    if endpoint not in world.pools or not rest:
        return Reply({"error": "endpoint not found"}, 404)
    pool = world.pools[endpoint]
    with world.clock.lock:
        worker = _worker(world, pool, rest[0])
    if operation == "ping":
        return Reply({})
    if operation.startswith("job-take"):
        return await _take(world, pool, worker, request, batch=operation.endswith("batch"))
    if operation == "job-stop":
        return await _stops(world, pool, worker)
    with world.clock.lock:
        job = world.jobs.get(rest[1]) if len(rest) > 1 else None
        if job is None:
            return Reply({"error": "job not found"}, 404)
        if operation == "job-stream":
            return _stream(job, request)
        return _done(world, pool, worker, job, request)


def _worker(world: World, pool: Pool, worker_id: str) -> Worker:
    """The worker that asks; its first word is its start, and it costs as long as it is heard of."""
    now = world.clock.now()
    if worker_id not in pool.workers:
        pool.workers[worker_id] = Worker(worker_id, pool.config.id, now, "idle", external=True)
        world.bill.open("serverless", pool.config.id, worker_id, pool.config.usd_per_s)
    worker = pool.workers[worker_id]
    worker.seen = now
    return worker


async def _take(world: World, pool: Pool, worker: Worker, request: Request, *, batch: bool) -> Reply:
    clock = asyncio.get_running_loop()
    give_up = clock.time() + TAKE_WAIT_S
    most = int(request.query.get("batch_size", "1"))
    while clock.time() < give_up:
        with world.clock.lock:
            if pool.config.engine != "external" or worker.id not in pool.workers:
                return Reply({}, 400)
            taken: list[dict[str, Any]] = []
            while len(taken) < most and (job := pool.take()) is not None:
                pool.give(worker, job)
                taken.append({"id": job.id, "input": job.input, "webhook": job.webhook or None})
        if taken:
            return Reply(taken if batch else taken[0])
        await asyncio.sleep(LOOK_S)
    return Reply(None, 204)


async def _stops(world: World, pool: Pool, worker: Worker) -> Reply:
    clock = asyncio.get_running_loop()
    give_up = clock.time() + TAKE_WAIT_S
    while clock.time() < give_up:
        with world.clock.lock:
            stopped = pool.to_stop.pop(worker.id, [])
        if stopped:
            return Reply({"jobsToStop": stopped})
        await asyncio.sleep(LOOK_S)
    return Reply(None, 204)


def _stream(job: Job, request: Request) -> Reply:
    if len(request.data) > STREAM_BYTES:
        return Reply({"error": "chunk too large"}, 400)
    body = json.loads(request.data)
    job.stream.append(body.get("output", body.get("error")))
    return Reply({})


def _done(world: World, pool: Pool, worker: Worker, job: Job, request: Request) -> Reply:
    """A result, or a progress update: both are posted here.  # runpod facts 1 [code rp_progress]"""
    body: dict[str, Any] = json.loads(request.data)
    if body.get("status") == "IN_PROGRESS":
        if not job.terminal:
            job.progress = body.get("output")
        elif world.config.switches.late_progress_regresses:  # runpod-python #250 [issue]
            job.status, job.progress = "IN_PROGRESS", body.get("output")
        return Reply({})
    run: Run | None = next((run for run in job.runs if run.live and run.worker is worker), None)
    large = len(request.data) > (RUNSYNC_BYTES if job.sync else RUN_BYTES)
    if large and world.config.switches.oversize == "stale":
        return Reply({"error": "result too large"}, 400)
    if run is not None:
        finish(world, pool, run, NOTHING if large else body.get("output", NOTHING), body.get("error"))
    if body.get("stopPod") and worker.id in pool.workers:
        pool.stop(worker)
    return Reply({"error": "result too large"}, 400) if large else Reply({})
