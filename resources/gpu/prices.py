"""What a GPU second costs on RunPod, and what one attempt costs by it: upper bounds, so that books never lie low.

Belongs here: the price table (`prices.json`, and a newer one of the deployment's own), and the arithmetic of one
attempt. Not here: budgets and what was booked (ledger), and what RunPod really billed (`runpod_control.billed`).

RunPod bills a worker from its start until it has stopped, in whole seconds: starting, working, and the idle timeout
after the last job. Waiting in the queue and pulling an image are free, but `delayTime` does not tell them apart.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.runpod_control import ControlClient

MOST_USD_PER_S = 0.1  # 360 USD an hour and GPU: what is dearer is no price but a mistake
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rate:
    """A price in USD per second of one worker, and what it rests on; `known` is False for a guess upwards."""

    usd_per_s: float
    basis: str
    known: bool = True


@dataclass(frozen=True)
class CostSplit:
    """What an attempt costs at most, in USD, and for what."""

    run: float
    cold: float
    idle: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.run + self.cold + self.idle


@dataclass(frozen=True)
class Prices:
    """USD per second and GPU, of serverless pools and GPU types; `date` is when they were read, as YYYY-MM-DD."""

    source: str
    date: str
    pools: Mapping[str, float]
    gpus: Mapping[str, float]

    def rate(self, names: Sequence[str], *, gpus: int = 1) -> Rate:
        """The dearest of these pools or GPU types, for a worker of `gpus` GPUs; an unknown one costs like the dearest.

        RunPod places a worker on whichever of an endpoint's pools has room, so the dearest is the upper bound.
        """
        found = {name: price for name in names if (price := self.gpus.get(name, self.pools.get(name))) is not None}
        unknown = [name for name in names if name not in found]
        if found and not unknown:
            name = max(found, key=lambda known: found[known])
            return Rate(found[name] * gpus, f"{name} on {self.date}")
        name = max(self.pools, key=lambda known: self.pools[known])
        why = f"no price of {', '.join(unknown)}" if unknown else "GPU unknown"
        return Rate(self.pools[name] * gpus, f"{why}: the dearest listed ({name} on {self.date})", known=False)


def attempt_cost(
    *,
    execution_ms: float,
    delay_ms: float,
    worker_is_new: bool,
    usd_per_s: float,
    idle_timeout_s: float,
    cold_limit_s: float,
) -> CostSplit:
    """The most that one attempt can have cost: each share in whole seconds, as RunPod rounds up.

    `delay_ms` is queue and start together, so of a new worker's start no more than `cold_limit_s` is counted; the idle
    timeout is charged to every attempt, though jobs in a row share it.
    """
    start_s = min(delay_ms / 1000, cold_limit_s) if worker_is_new else 0.0
    shares = (execution_ms / 1000, start_s, idle_timeout_s)
    return CostSplit(*(math.ceil(max(0.0, seconds)) * usd_per_s for seconds in shares))


def load(path: Path | None = None) -> Prices:
    """The deployment's own table if it can be read and is newer than ours, else ours."""
    ours = listed()
    if path is None or not path.exists():
        return ours
    try:
        own = _read(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        _log.warning("%s is no price table (%s); the one of %s is used.", path, error, ours.date)
        return ours
    return own if own.date >= ours.date else ours


async def refresh(control: ControlClient, path: Path) -> Prices:
    """Read today's list prices from RunPod's catalogue and write them to `path`; what it does not list stays as it is.

    Raises BackendUnavailable where the catalogue cannot be read; the old table stays.
    """
    before = load(path)
    pools, gpus = dict(before.pools), dict(before.gpus)
    fresh: dict[str, float] = {}
    for gpu in await control.gpus():
        price = (gpu.serverless_usd_h or 0.0) / 3600
        if gpu.pool and 0 < price <= MOST_USD_PER_S:
            gpus[gpu.id] = price
            fresh[gpu.pool] = max(price, fresh.get(gpu.pool, 0.0))
    prices = Prices("RunPod's catalogue", datetime.now(UTC).strftime("%Y-%m-%d"), pools | fresh, gpus)
    if not fresh:
        return before
    _write(path, prices)
    return prices


@cache
def listed() -> Prices:
    """The table that comes with the code."""
    return _read(json.loads((files("resources.gpu") / "prices.json").read_text()))


def _read(raw: Any) -> Prices:
    """A table from JSON. Raises ValueError saying what is wrong with it."""
    if not isinstance(raw, dict):
        raise ValueError("it is no object")  # noqa: TRY004  one kind of error for a file that is wrong
    date = str(raw.get("date"))
    datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
    pools = _prices(raw.get("pools"), "pools")
    if not pools:
        raise ValueError("it lists no pool")
    return Prices(str(raw.get("source", "")), date, pools, _prices(raw.get("gpus"), "gpus"))


def _prices(raw: Any, place: str) -> dict[str, float]:
    for name, price in (raw if isinstance(raw, dict) else {"": None}).items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 < price <= MOST_USD_PER_S:
            raise ValueError(f"{place}.{name} is {price!r}, not USD per second")
    return {str(name): float(price) for name, price in raw.items()}


def _write(path: Path, prices: Prices) -> None:
    body = {
        "source": prices.source,
        "date": prices.date,
        "unit": "USD per second and GPU",
        "pools": dict(prices.pools),
        "gpus": dict(prices.gpus),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(body, indent=2) + "\n")
    part.replace(path)
