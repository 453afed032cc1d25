"""/network-volumes, /catalog and /billing of the control API.  # runpod facts 2.1 [spec]

Belongs here: their JSON. Amounts come from the fake's bill, by the hour.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.fakes.fake_runpod.bill import HOUR
from tests.fakes.fake_runpod.catalog import DATA_CENTERS, GPUS
from tests.fakes.fake_runpod.control_serverless import stamp
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.problems import Problem, body_of, whole
from tests.fakes.fake_runpod.world import World

BUCKETS = {"hour": HOUR, "day": 24 * HOUR, "week": 7 * 24 * HOUR, "month": 30 * 24 * HOUR, "year": 365 * 24 * HOUR}


def volumes(world: World, request: Request, path: list[str]) -> Reply:
    """Network volumes: names are not unique, sizes only grow."""
    if not path:
        if request.method == "GET":
            return Reply({"networkVolumes": list(world.volumes.values())})
        body = body_of(request, {"name", "size", "dataCenter", "type"}, {"name", "size", "dataCenter"})
        whole(body["size"], "size", 10, 4096)
        if body["dataCenter"] not in DATA_CENTERS:
            raise Problem(400, f"data center {body['dataCenter']!r} has no network volumes")
        made = {"id": world.token(10), "type": "STANDARD", **body}
        world.volumes[made["id"]] = made
        return Reply(made, 201)
    found = world.volumes.get(path[0])
    if found is None:
        raise Problem(404, "network volume not found")
    if request.method == "DELETE":
        del world.volumes[path[0]]
        return Reply(None, 204)
    if request.method == "PATCH":
        body = body_of(request, {"name", "size"})
        if whole(body.get("size", found["size"]), "size", 10, 4096) < found["size"]:
            raise Problem(400, "a network volume can only grow")
        found.update(body)
    return Reply(found)


def catalog(world: World, request: Request, path: list[str]) -> Reply:
    """GPU types with prices; availability only where asked for, with a product."""
    if path[:1] != ["gpus"] or len(path) > 2:
        raise Problem(404, "resource not found")
    wants = "AVAILABILITY" in request.query.get("include", "").split(",")
    if wants != ("product" in request.query):
        raise Problem(400, "include=AVAILABILITY and product go together")
    levels = {key: ("NONE" if key in world.config.pods.no_capacity else "HIGH") if wants else None for key in GPUS}
    if len(path) == 2:
        if path[1] not in GPUS:
            raise Problem(404, "GPU type not found")
        return Reply(GPUS[path[1]].as_dict(levels[path[1]]))
    return Reply({"gpus": [gpu.as_dict(levels[key]) for key, gpu in GPUS.items()]})


def billing(world: World, request: Request, path: list[str]) -> Reply:
    """Records by bucket and owner; `endpoints` is public endpoints, which are never used (the trap of v2)."""
    kind = path[0] if path else ""
    makers = {"": _summary, "serverless": _serverless, "pods": _pods, "endpoints": _none, "network-volumes": _volumes}
    if kind not in makers or len(path) > 1:
        raise Problem(404, "resource not found")
    return Reply(makers[kind](world, request, _query(world, request)))


def _query(world: World, request: Request) -> dict[str, Any]:
    size = request.query.get("bucketSize", "day")
    if size not in BUCKETS:
        raise Problem(400, f"bucketSize is {size!r}; choose one of {', '.join(BUCKETS)}")
    seconds, now = BUCKETS[size], world.clock.now()
    if "lastN" in request.query:
        if "startTime" in request.query or "endTime" in request.query:
            raise Problem(400, "lastN and startTime/endTime exclude each other")
        start = (now // seconds - int(request.query["lastN"]) + 1) * seconds
        end = (now // seconds + 1) * seconds
    else:
        asked_start, asked_end = request.query.get("startTime"), request.query.get("endTime")
        start = _moment(asked_start, now - 30 * 24 * HOUR) // seconds * seconds
        end = -(-_moment(asked_end, now) // seconds) * seconds
    return {"start": start, "end": end, "seconds": seconds, "size": size}


def _moment(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        return datetime.fromisoformat(text.replace(" ", "+")).timestamp()
    except ValueError as error:
        raise Problem(400, f"{text!r} is no RFC 3339 time") from error


def _sums(world: World, kind: str, query: dict[str, Any], only: str | None) -> dict[tuple[str, float], float]:
    sums: dict[tuple[str, float], float] = {}
    for (owner, hour), usd in sorted(world.bill.by_hour(kind).items(), key=lambda item: item[0][1]):
        at = hour * HOUR // query["seconds"] * query["seconds"]
        if query["start"] <= at < query["end"] and only in (None, owner):
            sums[owner, at] = sums.get((owner, at), 0.0) + usd
    return sums


def _body(
    query: dict[str, Any], rows: list[tuple[float, dict[str, Any]]], more: dict[str, Any], unique: tuple[str, int],
    zero: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    seconds = query["seconds"]
    records = [{"startTime": stamp(at), "endTime": stamp(at + seconds), **row} for at, row in rows]
    totals = {name: sum((record[name] for record in records), 0.0) for name in zero}
    asked = {"startTime": stamp(query["start"]), "endTime": stamp(query["end"]), "bucketSize": query["size"], **more}
    metadata: dict[str, Any] = {"query": asked, "recordCount": len(records), "totals": totals}
    if unique[0]:
        metadata[unique[0]] = unique[1]
    return {"records": records, "metadata": metadata}


def _leases(kind: str, key: str, unique: str, zero: dict[str, float]) -> Callable[..., dict[str, Any]]:
    def make(world: World, request: Request, query: dict[str, Any]) -> dict[str, Any]:
        only = request.query.get(key)
        sums = _sums(world, kind, query, only)
        rows = [(at, {key: owner, **zero, "totalAmount": usd, "gpuAmount": usd}) for (owner, at), usd in sums.items()]
        return _body(query, rows, {key: only}, (unique, len({owner for owner, _ in sums})), zero)

    return make


_POD = dict.fromkeys(("totalAmount", "gpuAmount", "cpuAmount", "diskAmount"), 0.0)
_serverless = _leases("serverless", "serverlessId", "uniqueServerlessCount", {**_POD, "feeAmount": 0.0})
_pods = _leases("pod", "podId", "uniquePodCount", _POD)


def _summary(world: World, request: Request, query: dict[str, Any]) -> dict[str, Any]:
    names = (
        "totalAmount", "podGpuAmount", "podCpuAmount", "podDiskAmount", "serverlessGpuAmount", "serverlessCpuAmount",
        "serverlessDiskAmount", "serverlessFeeAmount", "storageStandardAmount", "storageHighPerformanceAmount",
        "endpointAmount", "clusterGpuAmount", "clusterDiskAmount", "clusterNetworkingAmount",
    )  # fmt: skip
    zero = dict.fromkeys(names, 0.0)
    rows: dict[float, dict[str, float]] = {}
    for kind, name in (("pod", "podGpuAmount"), ("serverless", "serverlessGpuAmount")):
        for (_, at), usd in _sums(world, kind, query, None).items():
            row = rows.setdefault(at, dict(zero))
            row[name] += usd
            row["totalAmount"] += usd
    return _body(query, sorted(rows.items()), {}, ("", 0), zero)


def _none(world: World, request: Request, query: dict[str, Any]) -> dict[str, Any]:
    return _body(query, [], {}, ("uniqueEndpointCount", 0), {"totalAmount": 0.0})


def _volumes(world: World, request: Request, query: dict[str, Any]) -> dict[str, Any]:
    """Storage is not part of the fake's bill."""
    zero = dict.fromkeys(("totalAmount", "standardAmount", "highPerformanceAmount"), 0.0)
    more = {"networkVolumeId": request.query.get("networkVolumeId")}
    return _body(query, [], more, ("uniqueNetworkVolumeCount", 0), zero)
