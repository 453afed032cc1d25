"""/pods of the control API: create, list, look, rename, act, delete.  # runpod facts 2.1 [spec]

Belongs here: JSON of a pod and every refusal: 422 what is wrong, 400 no capacity, 402 no money, 409 not now, 404 gone.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.fake_runpod.catalog import CUDA, GPUS
from tests.fakes.fake_runpod.control_serverless import CONTAINER, stamp
from tests.fakes.fake_runpod.graphql import money
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.pods import ACTIONS, Pod
from tests.fakes.fake_runpod.problems import Problem, body_of
from tests.fakes.fake_runpod.world import World

CREATE = CONTAINER | {
    "name", "cloud", "cpu", "dataCenterIds", "globalNetworking", "gpu", "mounts", "startJupyter", "startSsh",
    "templateId",
}  # fmt: skip
UPDATE = CONTAINER | {"globalNetworking", "locked", "mounts", "name", "templateId"}


def answer(world: World, request: Request, path: list[str]) -> Reply:
    """One request under /pods."""
    if not path:
        if request.method == "POST":
            return _create(world, request)
        return Reply({"pods": [shown(world, pod) for pod in world.pods.pods.values() if pod.status != "TERMINATED"]})
    pod = world.pods.pods.get(path[0])
    if pod is None or pod.status == "TERMINATED":
        raise Problem(404, "pod not found")
    if path[1:] == ["action"]:
        return _act(world, request, pod)
    if path[1:] == ["logs"]:
        return Reply(_log(pod), content_type="text/event-stream")
    if path[1:]:
        raise Problem(404, "resource not found")
    if request.method == "DELETE":
        world.pods.act(pod, "terminate")
        return Reply(None, 204)
    if request.method == "PATCH":
        pod.spec.update(body_of(request, UPDATE))
    return Reply(shown(world, pod))


def shown(world: World, pod: Pod) -> dict[str, Any]:
    """A pod as the API shows it."""
    spec, running = pod.spec, pod.status == "RUNNING"
    uptime = int(world.clock.now() - (pod.started or pod.created)) if running else 0
    body = {
        "id": pod.id,
        "name": spec["name"],
        "status": pod.status,
        "actions": ACTIONS[pod.status],
        "image": spec.get("image", ""),
        "args": spec.get("args", ""),
        "disk": spec.get("disk", 20),
        "mounts": spec.get("mounts", {}),
        "ports": spec.get("ports", []),
        "env": spec.get("env", {}),
        "registry": spec.get("registry"),
        "cloud": spec.get("cloud", "SECURE"),
        "dataCenterId": (spec.get("dataCenterIds") or ["EU-RO-1"])[0],
        "cudaVersion": CUDA[-1],
        "ssh": {"proxy": None, "direct": None},
        "template": spec.get("templateId"),
        "cost": pod.usd_per_hour if pod.status in ("PROVISIONING", "STARTING", "RUNNING") else 0.0,
        "locked": bool(spec.get("locked", False)),
        "runtime": {"uptime": uptime, "gpus": [{"util": 90, "memoryUtil": 60}]} if running else None,
        "createdAt": stamp(pod.created),
        "startedAt": None if pod.started is None else stamp(pod.started),
        "globalNetworking": {"enabled": bool(spec.get("globalNetworking", False))},
    }
    if "gpu" in spec:
        body["gpu"] = {"id": spec["gpu"]["id"], "count": spec["gpu"].get("count", 1)}
    return body


def _create(world: World, request: Request) -> Reply:
    body = body_of(request, CREATE, {"name"})
    wrong = []
    if not body["name"]:
        wrong.append("name must not be empty")
    if "image" not in body and "templateId" not in body:
        wrong.append("image is required without templateId")
    if ("gpu" in body) == ("cpu" in body):
        wrong.append("exactly one of gpu and cpu is required")
    gpu = body.get("gpu", {})
    if "gpu" in body and gpu.get("id") not in GPUS:
        wrong.append(f"gpu.id {gpu.get('id')!r} is not in the catalog")
    if any(not isinstance(value, str) for value in body.get("env", {}).values()):
        wrong.append("env values must be strings")
    if any("path" not in mount for mount in body.get("mounts", {}).get("network", [])):
        wrong.append("mounts.network[].path is required")
    if wrong:
        raise Problem(422, "Request validation failed.", wrong)
    if gpu.get("id") in world.config.pods.no_capacity:
        raise Problem(400, f"There are no longer any instances available with the requested specifications: {gpu}")
    kind = GPUS.get(gpu.get("id", ""))
    price = 0.1 if kind is None else (kind.community if body.get("cloud") == "COMMUNITY" else kind.secure)
    price *= gpu.get("count", 1)
    if money(world) < price:  # a pod needs an hour of its cost  # runpod facts 2.3 [doc]
        raise Problem(402, "Your account balance is too low to deploy this pod.")
    return Reply(shown(world, world.pods.create(body, price)), 201)


def _act(world: World, request: Request, pod: Pod) -> Reply:
    if request.method != "POST":
        raise Problem(405, "method not allowed")
    action = body_of(request, {"action"}, {"action"})["action"]
    if action not in ("start", "stop", "restart", "terminate"):
        raise Problem(422, "Request validation failed.", [f"action is {action!r}"])
    if action not in ACTIONS[pod.status]:
        raise Problem(409, f"action {action} is not valid for a pod that is {pod.status}")
    world.pods.act(pod, action)
    return Reply(None, 204) if action == "terminate" else Reply(shown(world, pod))


def _log(pod: Pod) -> bytes:
    """Server-sent events; resumable ids."""
    lines = [f"pod {pod.id} {pod.status}", f"result: {pod.result!r}"[:500]]
    return "".join(f"id: {number}\ndata: {line}\n\n" for number, line in enumerate(lines)).encode()
