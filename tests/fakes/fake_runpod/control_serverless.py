"""/serverless of the control API: endpoints, their workers, their releases.  # runpod facts 2.1 [spec]

Belongs here: JSON of an endpoint, and what a create or PATCH changes. Scaling itself is the pool's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.pool import Pool
from tests.fakes.fake_runpod.problems import Problem, body_of, whole
from tests.fakes.fake_runpod.state import Worker
from tests.fakes.fake_runpod.world import World

CONTAINER = {"args", "disk", "env", "image", "ports", "registry"}
UPDATABLE = CONTAINER | {
    "cpu", "dataCenterIds", "flashboot", "gpu", "name", "networkVolumes", "scaling", "templateId", "timeout", "workers",
}  # fmt: skip


def answer(world: World, request: Request, path: list[str]) -> Reply:
    """One request under /serverless."""
    if not path:
        if request.method == "GET":
            return Reply({"endpoints": [shown(world, pool) for pool in world.pools.values()]})
        return _create(world, request)
    if path[0] not in world.pools:
        raise Problem(404, "resource not found")
    pool = world.pools[path[0]]
    if path[1:] == ["workers"]:
        return Reply(_workers(world, pool))
    if path[1:] == ["releases"]:
        return Reply(_releases(pool))
    if path[1:]:
        raise Problem(404, "resource not found")
    if request.method == "PATCH":
        _change(world, pool, body_of(request, UPDATABLE))
    elif request.method == "DELETE":
        for worker in list(pool.workers.values()):
            pool.stop(worker)
        del world.pools[path[0]]
        return Reply(None, 204)
    elif request.method != "GET":
        raise Problem(405, "method not allowed")
    return Reply(shown(world, pool))


def shown(world: World, pool: Pool) -> dict[str, Any]:
    """An endpoint as the API shows it."""
    config, base = pool.config, f"{world.base_url}/v2/{pool.config.id}"
    urls = {
        "run": "run", "runSync": "runsync", "status": "status/{job_id}", "stream": "stream/{job_id}",
        "cancel": "cancel/{job_id}", "retry": "retry/{job_id}", "purgeQueue": "purge-queue", "health": "health",
    }  # fmt: skip
    extra = {"args": "", "disk": 20, "ports": [], "registry": None, "dataCenterIds": [config.data_center]}
    return {
        "id": config.id,
        "name": config.name,
        "type": "QUEUE",
        "requestUrls": {name: f"{base}/{path}" for name, path in urls.items()},
        "image": config.image,
        "env": dict(config.env),
        "gpu": {"pools": list(config.gpu_pools), "count": 1, "allowedCudaVersions": [], "minCudaVersion": None},
        "workers": {"min": config.workers_min, "max": config.workers_max, "idleTimeout": round(config.idle_s) or 1},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": max(0.5, config.queue_delay_s)},
        "networkVolumes": list(config.network_volumes),
        "timeout": config.timeout_ms,
        "flashboot": "OFF",
        "createdAt": stamp(pool.created),
        **extra,
        **pool.extra,
    }


def stamp(moment: float) -> str:
    """RFC 3339 of the fake's epoch seconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _create(world: World, request: Request) -> Reply:
    body = body_of(request, UPDATABLE | {"type"}, {"name", "type", "scaling"})
    if "templateId" not in body and "image" not in body:
        raise Problem(422, "Request validation failed.", ["image is required without templateId"])
    if ("gpu" in body) == ("cpu" in body):
        raise Problem(422, "Request validation failed.", ["exactly one of gpu and cpu is required"])
    config = EndpointConfig(id=world.token(8), timeout_ms=300_000)  # v2 create default  # runpod facts 1 [spec]
    pool = Pool(world, config)
    _change(world, pool, {key: value for key, value in body.items() if key != "type"})
    pool.version, pool.releases = 1, []
    world.pools[config.id] = pool
    return Reply(shown(world, pool), 201)


def _change(world: World, pool: Pool, body: dict[str, Any]) -> None:
    config, workers = pool.config, body.get("workers", {})
    if unknown := sorted(set(workers) - {"min", "max", "idleTimeout"}):
        raise Problem(422, "Request validation failed.", [f"unknown field: workers.{name}" for name in unknown])
    least = whole(workers.get("min", config.workers_min), "workers.min", 0)
    most = whole(workers.get("max", config.workers_max), "workers.max", 0)
    idle = whole(workers.get("idleTimeout", round(config.idle_s) or 1), "workers.idleTimeout", 1, 3600)
    if least > most:
        raise Problem(422, "Request validation failed.", [f"workers.min {least} is above workers.max {most}"])
    scaling = body.get("scaling", {})
    delay = scaling.get("queueDelay", 0.5)
    if "scaling" in body and scaling.get("type") not in ("QUEUE_DELAY", "REQUEST_COUNT"):
        raise Problem(422, "Request validation failed.", ["scaling.type must be QUEUE_DELAY or REQUEST_COUNT"])
    if not isinstance(delay, (int, float)) or delay < 0.5:
        raise Problem(422, "Request validation failed.", ["scaling.queueDelay must be at least 0.5"])
    before = shown(world, pool)
    config.workers_min, config.workers_max = least, most
    if "idleTimeout" in workers:
        config.idle_s = float(idle)
    if scaling.get("type") == "QUEUE_DELAY":
        config.queue_delay_s = float(delay)
    config.timeout_ms = whole(body.get("timeout", config.timeout_ms), "timeout", 1)
    config.name, config.image = str(body.get("name", config.name)), str(body.get("image", config.image))
    config.env = dict(body.get("env", config.env))
    config.network_volumes = tuple(body.get("networkVolumes", config.network_volumes))
    config.gpu_pools = tuple(body.get("gpu", {}).get("pools", config.gpu_pools))
    pool.extra |= {key: body[key] for key in ("args", "disk", "ports", "dataCenterIds", "flashboot") if key in body}
    _release(world, pool, before)
    pool.balance()


def _release(world: World, pool: Pool, before: dict[str, Any]) -> None:
    after = shown(world, pool)
    diff = [{"field": key, "old": before[key], "new": after[key]} for key in after if before[key] != after[key]]
    if diff:
        pool.version += 1
        pool.releases.append(
            {
                "id": world.token(8), "version": pool.version, "source": "MANUAL", "buildId": None,
                "createdByUserId": None, "workerCount": len(pool.workers), "createdAt": stamp(world.clock.now()),
                "diff": diff,
            }
        )  # fmt: skip


def _workers(world: World, pool: Pool) -> dict[str, Any]:
    counts = pool.counts()
    summary = {
        "running": counts["busy"], "idle": counts["idle"], "initializing": counts["pulling"] + counts["loading"],
        "throttled": counts["throttled"], "unhealthy": counts["unhealthy"], "total": len(pool.workers),
    }  # fmt: skip
    listed = [_worker(world, pool, worker) for worker in pool.workers.values()]
    return {"workers": listed, "summary": summary, "endpointVersion": pool.version}


def _worker(world: World, pool: Pool, worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id, "status": worker.status, "isStale": False, "version": pool.version, "gpuCount": 1,
        "image": pool.config.image, "uptimeSeconds": int(world.clock.now() - worker.since),
        "gpuTypeId": pool.config.gpu_type, "dataCenterId": pool.config.data_center, "startedAt": stamp(worker.since),
    }  # fmt: skip


def _releases(pool: Pool) -> dict[str, Any]:
    count = len(pool.workers)
    rollout = {"inProgress": False, "workersOnLatest": count, "workersTotal": count, "percentOnLatest": 100}
    return {"endpointVersion": pool.version, "rollout": rollout, "releases": pool.releases[::-1]}
