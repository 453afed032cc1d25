"""/v2/{endpoint}/...: the jobs host over HTTP.

Belongs here: operations, auth, rate limits, the waits of runsync and stream, the shape of errors: `{"error": ...}`.
# runpod facts 1 [doc]
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.fakes.fake_runpod import worker_api
from tests.fakes.fake_runpod.config import STREAM_WAIT_S, SYNC_WAIT_MS
from tests.fakes.fake_runpod.faults import Call
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.jobs import Jobs, Refused
from tests.fakes.fake_runpod.rates import JobRates
from tests.fakes.fake_runpod.state import Job
from tests.fakes.fake_runpod.world import World

METHODS = {
    "run": "POST", "runsync": "POST", "status": "GET", "stream": "GET", "cancel": "POST", "retry": "POST",
    "purge-queue": "POST", "health": "GET",
}  # fmt: skip
WITH_ID = ("status", "stream", "cancel", "retry")
LOOK_S = 0.005  # real seconds between two looks of a request that waits


class JobsApi:
    """Answers requests under {jobs_url}."""

    def __init__(self, world: World) -> None:
        self.world, self.jobs, self.rates = world, Jobs(world), JobRates(world)

    @staticmethod
    def call(path: list[str], body: Any = None) -> Call:
        """The call as rules see it; `path` begins with the endpoint."""
        operation = path[1] if len(path) > 1 else ""
        return Call(operation, path[0] if path else "", path[2] if len(path) > 2 else "", body)

    async def answer(self, request: Request, path: list[str]) -> Reply:
        """One request; `path` begins with the endpoint."""
        if len(path) < 2:
            return self._error(404, "not found")
        endpoint, operation = path[0], path[1]
        if request.key != self.world.config.api_key:
            return self._error(401, "unauthorized")
        if operation in worker_api.OPERATIONS:
            return await worker_api.answer(self.world, self.jobs, request, endpoint, operation, path[2:])
        if operation not in METHODS or (operation in WITH_ID) != (len(path) == 3):
            return self._error(404, "not found")
        if METHODS[operation] != request.method:
            return self._error(405, "method not allowed")
        place = (endpoint, operation)
        self.rates.open[place] += 1
        try:
            with self.world.clock.lock:
                limited = self.rates.refused(endpoint, operation)
            if limited is not None:
                return replace(self._error(429, "rate limit exceeded"), headers=limited)
            return await self._do(request, endpoint, operation, path[2] if len(path) == 3 else "")
        except Refused as refusal:
            return self._error(refusal.status, refusal.message)
        finally:
            self.rates.open[place] -= 1

    async def _do(self, request: Request, endpoint: str, operation: str, job_id: str) -> Reply:
        jobs, lock = self.jobs, self.world.clock.lock
        if operation == "runsync":
            return await self._runsync(request, endpoint)
        if operation == "stream":
            return await self._stream(endpoint, job_id)
        with lock:
            if operation == "run":
                job = jobs.accept(endpoint, _envelope(request), len(request.data), sync=False)
                return Reply({"id": job.id, "status": self.world.config.switches.run_says})
            if operation == "status":
                return Reply(jobs.status(endpoint, job_id, _whole(request.query.get("ttl"))))
            if operation == "cancel":
                return Reply(jobs.cancel(endpoint, job_id))
            if operation == "retry":
                return Reply(jobs.retry(endpoint, job_id))
            if operation == "purge-queue":
                return Reply(jobs.purge(endpoint))
            return Reply(jobs.health(endpoint))

    async def _runsync(self, request: Request, endpoint: str) -> Reply:
        least, most, usual = SYNC_WAIT_MS
        wait = _whole(request.query.get("wait", str(usual)))
        if wait is None or not least <= wait <= most:
            raise Refused(400, "wait is invalid; must be between 1000 and 300000")  # runpod facts 1 [issue]
        with self.world.clock.lock:
            job = self.jobs.accept(endpoint, _envelope(request), len(request.data), sync=True)
        await self._until(lambda: job.terminal or job.gone, wait / 1000)
        with self.world.clock.lock:
            return Reply(job.body(self.world.clock.now()))

    async def _stream(self, endpoint: str, job_id: str) -> Reply:
        with self.world.clock.lock:
            job: Job = self.jobs.find(endpoint, job_id)
        await self._until(lambda: bool(job.stream) or job.terminal or job.gone, STREAM_WAIT_S)
        with self.world.clock.lock:
            chunks, job.stream = job.stream, []
            return Reply({"status": job.status, "stream": [{"output": chunk} for chunk in chunks]})

    def _error(self, status: int, message: str) -> Reply:
        """`{"error": ...}` was seen; no schema says so.  # runpod facts 1 [infer: errors_as]"""
        if self.world.config.switches.errors_as == "text":
            return Reply(message.encode(), status, content_type="text/plain")
        return Reply({"error": message}, status)

    async def _until(self, done: Any, seconds: float) -> None:
        give_up = self.world.clock.now() + seconds
        while not done() and self.world.clock.now() < give_up:
            await asyncio.sleep(LOOK_S)


def _envelope(request: Request) -> Any:
    try:
        return request.json()
    except ValueError as error:
        raise Refused(400, f"invalid JSON: {error}") from error


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
