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
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.gpu.errors import BackendUnavailable

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
class Price:
    """What a serverless worker with one GPU of a type costs, in USD per second, as of `date` (YYYY-MM-DD)."""

    pool: str
    usd_per_s: float
    date: str


@dataclass(frozen=True)
class Prices:
    """GPU type -> price; `date` is when the table was last read, as YYYY-MM-DD."""

    source: str
    date: str
    gpus: Mapping[str, Price]

    @cached_property
    def pools(self) -> Mapping[str, float]:
        """Pool -> USD per second of the dearest GPU in it: RunPod takes whichever has room."""
        found: dict[str, float] = {}
        for price in self.gpus.values():
            found[price.pool] = max(price.usd_per_s, found.get(price.pool, 0.0))
        return found

    @property
    def dearest(self) -> str:
        """The pool that nothing costs more than."""
        return max(self.pools, key=lambda pool: self.pools[pool])

    def age_days(self) -> int:
        """Whole days since the table was read, in UTC."""
        return (datetime.now(UTC).date() - date.fromisoformat(self.date)).days

    def rate(self, names: Sequence[str], *, gpus: int = 1) -> Rate:
        """The dearest of these pools or GPU types, for a worker of `gpus` GPUs; an unknown one costs like the dearest.

        RunPod places a worker on whichever of an endpoint's pools has room, so the dearest is the upper bound.
        """
        known = {name: price.usd_per_s for name, price in self.gpus.items()} | dict(self.pools)
        found = {name: known[name] for name in names if name in known}
        unknown = [name for name in names if name not in found]
        if found and not unknown:
            name = max(found, key=lambda one: found[one])
            return Rate(found[name] * gpus, f"{name} on {self.date}")
        name = self.dearest
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
    if path is None:
        return ours
    try:
        own = _read(json.loads(path.read_text()))
    except FileNotFoundError:
        return ours
    except (OSError, ValueError) as error:
        _log.warning("%s is no price table (%s); the one of %s is used.", path, error, ours.date)
        return ours
    return own if own.date >= ours.date else ours


async def refresh(control: ControlClient, path: Path) -> Prices:
    """Read today's list prices from RunPod's catalogue and write them to `path`; what it does not list stays as it is.

    Raises BackendUnavailable where it cannot be read or lists no price that can be one, OSError where the file cannot
    be written; the old table stays.
    """
    before, today = load(path), datetime.now(UTC).date().isoformat()
    fresh = {
        gpu.id: Price(gpu.pool, usd_per_s, today)
        for gpu in await control.gpus()
        if gpu.pool and 0 < (usd_per_s := (gpu.serverless_usd_h or 0.0) / 3600) <= MOST_USD_PER_S
    }
    if not fresh:
        raise BackendUnavailable("RunPod's catalogue lists no serverless price that can be one.", code="no_prices")
    prices = Prices("RunPod's catalogue", today, {**before.gpus, **fresh})
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
    read, gpus = _date(raw.get("date")), raw.get("gpus")
    if not isinstance(gpus, dict) or not gpus:
        raise ValueError("it lists no GPU")
    return Prices(str(raw.get("source", "")), read, {str(name): _price(name, row, read) for name, row in gpus.items()})


def _price(name: str, row: Any, read: str) -> Price:
    row = row if isinstance(row, dict) else {}
    pool, usd = row.get("pool"), row.get("usd_per_s")
    if not isinstance(pool, str) or not pool:
        raise ValueError(f"gpus.{name}.pool is {pool!r}, not a pool")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd <= MOST_USD_PER_S:
        raise ValueError(f"gpus.{name}.usd_per_s is {usd!r}, not USD per second")
    return Price(pool, float(usd), _date(row.get("date", read)))


def _date(raw: Any) -> str:
    return date.fromisoformat(str(raw)).isoformat()


def _write(path: Path, prices: Prices) -> None:
    gpus = {name: asdict(price) for name, price in prices.gpus.items()}
    body = {"source": prices.source, "date": prices.date, "unit": "USD per second and GPU", "gpus": gpus}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(body, indent=2) + "\n")
    part.replace(path)
