"""What RunPod's control API v2 answers, read with no trust: typed, bounded, and None for whatever it does not say.

Belongs here: the shapes of the published specification, as far as we use them. A field that is missing or of another
type is unknown, never zero: an endpoint whose `workers.max` cannot be read is not one that is switched off. What a
pod's environment holds is a secret of its own and is not read, but for the deadline that we wrote into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LIMIT_VARIABLE = "RYLA_POD_LIMIT_S"  # in a pod's environment: the age, in seconds, at which it must be gone
_MOST = 1e12  # no count, price or time that we read is larger
_MOST_ITEMS = 10_000  # of a list


@dataclass(frozen=True)
class Endpoint:
    """A serverless endpoint's settings; None where the answer does not say."""

    id: str
    name: str = ""
    workers_min: int | None = None
    workers_max: int | None = None
    idle_timeout_s: int | None = None
    pools: tuple[str, ...] = ()
    excluded_types: tuple[str, ...] = ()
    gpu_count: int = 1
    min_cuda: str = ""
    allowed_cuda: tuple[str, ...] = ()
    data_centers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    timeout_ms: int | None = None
    flashboot: str = ""


@dataclass(frozen=True)
class Worker:
    """One worker of an endpoint; its status is RUNNING, IDLE, INITIALIZING, THROTTLED, UNHEALTHY or something new."""

    id: str
    status: str
    gpu_type: str = ""
    uptime_s: int | None = None
    data_center: str = ""
    stale: bool = False


@dataclass(frozen=True)
class Workers:
    """How many workers an endpoint has in each state, and which."""

    running: int = 0
    idle: int = 0
    initializing: int = 0
    throttled: int = 0
    unhealthy: int = 0
    total: int = 0
    workers: tuple[Worker, ...] = ()

    def counts(self) -> dict[str, int]:
        """The numbers alone, as evidence."""
        return {
            name: getattr(self, name) for name in ("running", "idle", "initializing", "throttled", "unhealthy", "total")
        }


@dataclass(frozen=True)
class Gpu:
    """A GPU type of the catalogue; prices in USD per hour and GPU; availability NONE, LOW, MEDIUM, HIGH or unknown."""

    id: str
    pool: str = ""
    name: str = ""
    serverless_usd_h: float | None = None
    secure_usd_h: float | None = None
    community_usd_h: float | None = None
    availability: str = ""
    data_centers: dict[str, str] = field(default_factory=dict)  # id -> availability there


@dataclass(frozen=True)
class Pod:
    """A pod. `usd_h` is its price now, 0 once it has ended; `limit_s` the deadline that we wrote into it."""

    id: str
    name: str
    status: str
    usd_h: float | None = None
    uptime_s: int | None = None
    gpu_type: str = ""
    gpu_count: int = 1
    created_at: datetime | None = None
    limit_s: float | None = None


@dataclass(frozen=True)
class BillLine:
    """What one endpoint or pod was billed for one hour, in USD."""

    hour: datetime
    resource: str
    usd: float


@dataclass(frozen=True)
class Balance:
    """The account's money, in USD; None where the answer does not say."""

    usd: float
    spend_usd_h: float | None = None
    limit_usd_h: float | None = None


def endpoint(body: Any) -> Endpoint | None:
    """An endpoint, or None if that is none."""
    raw = table(body)
    if not text(raw.get("id")):
        return None
    workers, gpu = table(raw.get("workers")), table(raw.get("gpu"))
    return Endpoint(
        id=text(raw.get("id")),
        name=text(raw.get("name")),
        workers_min=whole(workers.get("min")),
        workers_max=whole(workers.get("max")),
        idle_timeout_s=whole(workers.get("idleTimeout")),
        pools=texts(gpu.get("pools")),
        excluded_types=texts(gpu.get("excludedTypes")),
        gpu_count=whole(gpu.get("count")) or 1,
        min_cuda=text(gpu.get("minCudaVersion")),
        allowed_cuda=texts(gpu.get("allowedCudaVersions")),
        data_centers=texts(raw.get("dataCenterIds")),
        volumes=texts(raw.get("networkVolumes")),
        timeout_ms=whole(raw.get("timeout")),
        flashboot=text(raw.get("flashboot")),
    )


def workers(body: Any) -> Workers | None:
    """The workers of an endpoint, or None if that are none; the summary wins over counting them."""
    raw = table(body)
    if not isinstance(raw.get("summary"), Mapping) and not isinstance(raw.get("workers"), list):
        return None
    each = tuple(_worker(item) for item in tables(raw.get("workers")))
    summary = table(raw.get("summary"))
    states = ("running", "idle", "initializing", "throttled", "unhealthy")
    counted = {state: sum(worker.status == state.upper() for worker in each) for state in states}
    said = {state: whole(summary.get(state)) for state in states}
    found = {state: counted[state] if known is None else known for state, known in said.items()}
    total = whole(summary.get("total"))
    return Workers(**found, total=max(len(each), sum(found.values())) if total is None else total, workers=each)


def gpu(body: Any) -> Gpu | None:
    """A GPU type, or None if that is none."""
    raw = table(body)
    if not text(raw.get("id")):
        return None
    price = table(raw.get("price"))
    return Gpu(
        id=text(raw.get("id")),
        pool=text(raw.get("pool")),
        name=text(raw.get("name")),
        serverless_usd_h=number(price.get("serverless")),
        secure_usd_h=number(price.get("secure")),
        community_usd_h=number(price.get("community")),
        availability=text(raw.get("availability")),
        data_centers={
            text(place.get("id")): text(place.get("availability")) for place in tables(raw.get("dataCenters"))
        },
    )


def pod(body: Any) -> Pod | None:
    """A pod, or None if that is none."""
    raw = table(body)
    if not text(raw.get("id")):
        return None
    return Pod(
        id=text(raw.get("id")),
        name=text(raw.get("name")),
        status=text(raw.get("status")).upper(),
        usd_h=number(raw.get("cost")),
        uptime_s=whole(table(raw.get("runtime")).get("uptime")),
        gpu_type=text(table(raw.get("gpu")).get("id")),
        gpu_count=whole(table(raw.get("gpu")).get("count")) or 1,
        created_at=moment(raw.get("createdAt")),
        limit_s=_seconds(table(raw.get("env")).get(LIMIT_VARIABLE)),
    )


def bill_line(body: Any, key: str) -> BillLine | None:
    """A billing record, whose resource stands under `key`; None if that is none."""
    raw = table(body)
    hour, usd, resource = moment(raw.get("startTime")), number(raw.get("totalAmount")), text(raw.get(key))
    return BillLine(hour, resource, usd) if hour is not None and usd is not None and resource else None


def balance(body: Any) -> Balance | None:
    """GraphQL's answer, or None if it says nothing of a balance, which may be below zero."""
    myself = table(table(table(body).get("data")).get("myself"))
    usd = number(myself.get("clientBalance"), least=-_MOST)
    if usd is None:
        return None
    return Balance(usd, number(myself.get("currentSpendPerHr")), number(myself.get("spendLimit")))


def table(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def tables(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; anything else is left out."""
    return [item for item in value[:_MOST_ITEMS] if isinstance(item, Mapping)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is a text of sane length, else an empty one."""
    return value if isinstance(value, str) and len(value) <= 500 else ""


def texts(value: Any) -> tuple[str, ...]:
    """The texts of a list."""
    return tuple(found for item in value[:_MOST_ITEMS] if (found := text(item))) if isinstance(value, list) else ()


def whole(value: Any) -> int | None:
    """A whole number of 0 or more; true is none."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def number(value: Any, *, least: float = 0.0) -> float | None:
    """A finite number of `least` or more; true is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least <= value <= _MOST and math.isfinite(value) else None


def moment(value: Any) -> datetime | None:
    """An RFC 3339 time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _worker(raw: Mapping[str, Any]) -> Worker:
    return Worker(
        id=text(raw.get("id")),
        status=text(raw.get("status")).upper(),
        gpu_type=text(raw.get("gpuTypeId")),
        uptime_s=whole(raw.get("uptimeSeconds")),
        data_center=text(raw.get("dataCenterId")),
        stale=raw.get("isStale") is True,
    )


def _seconds(value: Any) -> float | None:
    try:
        found = float(text(value))
    except ValueError:
        return None
    return number(found)
