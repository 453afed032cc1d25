"""The jobs of all endpoints as their API treats them: accepted, looked up, cancelled, retried, forgotten.

Belongs here: limits, policy, ttl, retention, and the sentences of refusals, which nobody documents but for `wait`.
Does not belong here: HTTP.
# runpod facts 0.7, 1 [doc]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fakes.fake_runpod.config import EXECUTION_MS, RUN_BYTES, RUNSYNC_BYTES, TTL_MS
from tests.fakes.fake_runpod.execution import abandon, end
from tests.fakes.fake_runpod.faults import Call
from tests.fakes.fake_runpod.pool import Pool
from tests.fakes.fake_runpod.state import NOTHING, Accepted, Job, Script
from tests.fakes.fake_runpod.world import World


class Refused(Exception):
    """An answer that is an error: HTTP status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Jobs:
    """One account's jobs. Every method is called with the clock's lock held."""

    def __init__(self, world: World) -> None:
        self.world = world

    def pool(self, endpoint: str) -> Pool:
        """The endpoint, or a 404 that looks like any other.  # runpod facts 1 [infer: errors_as]"""
        if endpoint not in self.world.pools:
            raise Refused(404, "endpoint not found")
        return self.world.pools[endpoint]

    def accept(self, endpoint: str, envelope: Any, size: int, *, sync: bool) -> Job:
        """Store and queue a request; unknown keys of the envelope are ignored.  # runpod facts 1 [doc]"""
        pool, world, now = self.pool(endpoint), self.world, self.world.clock.now()
        limit = RUNSYNC_BYTES if sync else RUN_BYTES
        if size > limit:
            raise Refused(world.config.switches.too_large_status, f"request body of {size} bytes exceeds {limit} bytes")
        if not isinstance(envelope, dict) or "input" not in envelope:
            raise Refused(400, "input is required")
        policy = envelope.get("policy") or {}
        job = Job(
            id=("sync-" if sync else "") + world.uuid() + world.config.switches.ids_end,
            endpoint=endpoint,
            input=envelope["input"],
            created=now,
            number=pool.number,
            execution_ms=self._bounded(policy, "executionTimeout", EXECUTION_MS, pool.config.timeout_ms),
            ttl_ms=self._bounded(policy, "ttl", TTL_MS[:2], TTL_MS[2]),
            low_priority=bool(policy.get("lowPriority", False)),
            webhook=str(envelope.get("webhook") or ""),
            sync=sync,
            running_word=world.config.switches.started_status,
        )
        call = Call("job", endpoint, job.id, envelope["input"])
        fate: dict[str, Any] = world.faults.fate(call, world.elapsed)
        job.script = replace(Script(**fate), kill_at_s=list(fate.get("kill_at_s", ())))
        pool.number += 1
        world.jobs[job.id] = job
        world.accepted.append(Accepted.of(job))
        job.ttl_event = world.clock.at(now + job.ttl_ms / 1000, lambda: self._expire(job))
        self._plan(job)
        pool.add(job)
        return job

    def find(self, endpoint: str, job_id: str) -> Job:
        """A job that can still be seen; else 404: unknown, expired and hidden are one.  # runpod facts 1 [doc]"""
        self.pool(endpoint)
        job = self.world.jobs.get(job_id)
        if job is None or job.gone or job.endpoint != endpoint:
            raise Refused(404, "job not found")
        if self.world.clock.now() < job.created + job.script.hidden_s:
            raise Refused(404, "job not found")
        return job

    def status(self, endpoint: str, job_id: str, ttl_ms: int | None = None) -> dict[str, Any]:
        """The status body; `ttl_ms` sets the job's ttl, by accident or not.  # runpod facts 1 [doc]"""
        job = self.find(endpoint, job_id)
        if ttl_ms is not None and not job.terminal:
            job.ttl_ms = ttl_ms
            if job.ttl_event is not None:
                job.ttl_event.cancelled = True
            job.ttl_event = self.world.clock.at(job.created + ttl_ms / 1000, lambda: self._expire(job))
        body = job.body(self.world.clock.now())
        if job.status == "COMPLETED" and job.script.regress:
            body = {"id": job.id, "status": "IN_PROGRESS", "output": {"progress": 0.9}} if job.seen_done else body
            job.seen_done = True
        return body

    def cancel(self, endpoint: str, job_id: str) -> dict[str, Any]:
        """CANCELLED at once, queued or running [doc]; after its end  # runpod facts 1 [infer: cancel_of_ended]"""
        job, says = self.find(endpoint, job_id), self.world.config.switches.cancel_of_ended
        if not job.terminal:
            self.cancelled(job)
        elif says == "refused":
            raise Refused(400, f"job {job.id} is {job.status}; it cannot be cancelled")
        return {"id": job.id, "status": "CANCELLED" if says == "cancelled" else job.status}

    def cancelled(self, job: Job) -> None:
        """Somebody cancelled it; who runs it may not hear of that.  # runpod facts 7 F15 [doc]"""
        pool = self.world.pools[job.endpoint]
        end(self.world, pool, job, "CANCELLED")
        abandon(self.world, pool, job, stop=self.world.config.switches.cancel_stops_worker)

    def retry(self, endpoint: str, job_id: str) -> dict[str, Any]:
        """Same id, same input, old output removed; only after FAILED or TIMED_OUT.  # runpod facts 1 [doc]"""
        job = self.find(endpoint, job_id)
        if job.status not in ("FAILED", "TIMED_OUT"):
            raise Refused(400, f"job {job.id} is {job.status}; only FAILED and TIMED_OUT jobs can be retried")
        job.output, job.error, job.started, job.ended = NOTHING, None, None, None
        job.stream.clear()
        self.world.pools[endpoint].add(job)
        return {"id": job.id, "status": "IN_QUEUE"}

    def purge(self, endpoint: str) -> dict[str, Any]:
        """Cancel what is queued.  # runpod facts 1 [doc]"""
        pool = self.pool(endpoint)
        waiting = [job for job in pool.queue if not job.terminal and not job.gone]
        for job in waiting:
            end(self.world, pool, job, "CANCELLED")
        pool.queue.clear()
        return {"removed": len(waiting), "status": "completed"}

    def health(self, endpoint: str) -> dict[str, Any]:
        """Counts; every key but the documented ones may be missing.  # runpod facts 1 [doc]"""
        pool = self.pool(endpoint)
        mine = [job for job in self.world.jobs.values() if job.endpoint == endpoint and not job.gone]
        states = pool.counts()
        jobs = {
            "completed": pool.completed, "failed": pool.failed, "retried": pool.retried,
            "inProgress": sum(job.status == "IN_PROGRESS" for job in mine),
            "inQueue": sum(job.status == "IN_QUEUE" for job in mine),
        }  # fmt: skip
        workers = {"idle": states["idle"], "running": states["busy"]}
        if self.world.config.switches.health_keys == "all":
            workers |= {
                "initializing": states["pulling"] + states["loading"], "ready": states["idle"] + states["busy"],
                "throttled": states["throttled"], "unhealthy": states["unhealthy"],
            }  # fmt: skip
        return {"jobs": jobs, "workers": workers}

    def _plan(self, job: Job) -> None:
        """What its script lets happen to it at fixed times."""
        script, after = job.script, self.world.clock.after
        if script.expire_s is not None:
            after(script.expire_s, lambda: self._expire(job))
        if script.cancel_after_s is not None:
            after(script.cancel_after_s, lambda: None if job.terminal else self.cancelled(job))

    def _expire(self, job: Job) -> None:
        """ttl is over: a hard deletion, running or not.  # runpod facts 0.7 [doc]"""
        if job.terminal or job.gone:
            return
        pool, switches = self.world.pools[job.endpoint], self.world.config.switches
        if job.status == "IN_QUEUE" and switches.ttl_in_queue == "timed_out":
            end(self.world, pool, job, "TIMED_OUT")
            return
        job.gone = True
        abandon(self.world, pool, job, stop=switches.ttl_running_stops)

    def _bounded(self, policy: dict[str, Any], name: str, bounds: tuple[int, int], default: int) -> int:
        value = policy.get(name)
        if value is None:
            return default
        least, most = bounds
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            if self.world.config.switches.policy_out_of_bounds == "reject" or not isinstance(value, int):
                raise Refused(400, f"policy.{name} is {value!r}; it must be between {least} and {most} ms")
            return max(least, min(most, value))
        return value
