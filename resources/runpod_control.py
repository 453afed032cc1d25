"""RunPod's control API v2: endpoints, workers, catalogue, bills and pods; and the balance, which is GraphQL's.

Belongs here: routes, and how often they are asked. Not here: retries and failures (`runpod/asking.py`), what an answer
means for a job (`gpu/backends/runpod/diagnosis.py`, `pods.py`), and the jobs API, which lives on another host.

The control plane allows 60 requests a minute for everything together, so settings and workers of an endpoint are asked
once in 15 s for all jobs of the process, and every answer's word on the quota is obeyed. One client belongs to one
event loop.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from resources.gpu.errors import BackendUnavailable
from resources.runpod import answers
from resources.runpod.answers import Balance, BillLine, Endpoint, Gpu, Pod, Workers
from resources.runpod.asking import Asker
from resources.runpod.limits import Shared
from resources.runpod.problems import ControlProblem, ControlSilent

if TYPE_CHECKING:
    import httpx

SHARED_S = 15.0  # how old settings and workers may be: the control plane takes 60 requests a minute
SHARED_LONG_S = 60.0  # catalogue and balance
BILLING_LAG_S = 2 * 3600.0  # an hour's record is trusted this long after the hour; the real lag is not published
_BALANCE = "query { myself { clientBalance currentSpendPerHr spendLimit } }"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Bill:
    """What RunPod says that it charged, hour by hour; `unreconciled` says why that may not be all of it."""

    lines: tuple[BillLine, ...]
    unreconciled: str = ""

    @property
    def usd(self) -> float:
        """The sum."""
        return sum(line.usd for line in self.lines)


class ControlClient:
    """The control API's routes that we need.

    All raise ControlProblem (it refused), ControlSilent (it may have done it) or NotSent (it was never reached).
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        graphql_url: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._graphql_url = graphql_url
        self._asker = Asker(url, key, transport=transport, clock=clock, sleep=sleep)
        self._shared = Shared(clock)

    # ---- endpoints

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """Its settings, at most SHARED_S old."""
        path = f"/serverless/{quote(endpoint_id, safe='')}"
        return await self._shared_answer(path, SHARED_S, answers.endpoint)

    async def workers(self, endpoint_id: str) -> Workers:
        """Its workers now, at most SHARED_S ago; those that were scaled down are not listed."""
        path = f"/serverless/{quote(endpoint_id, safe='')}/workers"
        return await self._shared_answer(path, SHARED_S, answers.workers)

    async def gpus(
        self, *, product: str = "", count: int = 1, min_cuda: str = "", allowed_cuda: Sequence[str] = ()
    ) -> list[Gpu]:
        """The catalogue with its prices; with `product` (SERVERLESS, POD) also what is available for it now.

        Of `min_cuda` and `allowed_cuda` at most one, as the API has it.
        """
        params: dict[str, str] = {}
        if product:
            params = {"include": "AVAILABILITY", "product": product, "count": str(count)}
            params |= {"minCudaVersion": min_cuda} if min_cuda else {}
            params |= {"cudaVersions": ",".join(allowed_cuda)} if allowed_cuda else {}

        async def ask() -> list[Gpu]:
            return _each(await self._asker.ask("GET", "/catalog/gpus", params=params), "gpus", answers.gpu)

        found: list[Gpu] = await self._shared.get(f"gpus {sorted(params.items())}", SHARED_LONG_S, ask)
        return found

    # ---- money

    async def billed(self, endpoint_ids: Sequence[str], start: datetime, end: datetime) -> Bill:
        """What these endpoints were billed in [start, end), hour by hour; never raises for want of an answer."""
        wanted = tuple(dict.fromkeys(endpoint_ids))
        asked = [await self._bill("serverless", "serverlessId", (one,), start, end, only=one) for one in wanted]
        doubts = dict.fromkeys(filter(None, (bill.unreconciled for bill in asked)))
        return Bill(tuple(line for bill in asked for line in bill.lines), "; ".join(doubts))

    async def billed_pods(self, pod_ids: Sequence[str], start: datetime, end: datetime) -> Bill:
        """The same of pods, however many they are: one question for those of the whole account."""
        return await self._bill("pods", "podId", tuple(dict.fromkeys(pod_ids)), start, end) if pod_ids else Bill(())

    async def balance(self) -> Balance | None:
        """The account's money; None where it cannot be known: unknown is an answer, and stops nobody."""
        if not self._graphql_url:
            return None
        found: Balance | None = await self._shared.get("balance", SHARED_LONG_S, self._asked_balance)
        return found

    # ---- pods

    def far_time(self) -> float | None:
        """Now, in epoch seconds by RunPod's clock as its last answer told it; None before the first."""
        return self._asker.far_time()

    async def create_pod(self, body: Mapping[str, Any]) -> Pod:
        """Start a pod; sent once. A ControlSilent, or a problem that is not `certain`, may have started it."""
        return self._read("POST /pods", await self._asker.ask("POST", "/pods", body=body), answers.pod)

    async def pod(self, pod_id: str) -> Pod | None:
        """A pod as it is now; None if there is none (any more)."""
        path = f"/pods/{quote(pod_id, safe='')}"
        try:
            return self._read(f"GET {path}", await self._asker.ask("GET", path), answers.pod)
        except ControlProblem as error:
            if error.code == "not_found":
                return None
            raise

    async def pods(self, *, max_age_s: float = 0.0) -> list[Pod]:
        """All pods of the account, whoever started them; the answer may be shared for that long."""

        async def ask() -> list[Pod]:
            return _each(await self._asker.ask("GET", "/pods"), "pods", answers.pod)

        found: list[Pod] = await self._shared.get("pods", max_age_s, ask)
        return found

    async def delete_pod(self, pod_id: str) -> None:
        """Terminate a pod and its disk for good; no error if it is gone already."""
        try:
            await self._asker.ask("DELETE", f"/pods/{quote(pod_id, safe='')}")
        except ControlProblem as error:
            if error.code != "not_found":
                raise

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        await self._asker.aclose()

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ---- reading

    async def _shared_answer(self, path: str, max_age_s: float, read: Callable[[Any], _T | None]) -> _T:
        async def ask() -> _T:
            return self._read(f"GET {path}", await self._asker.ask("GET", path), read)

        found: _T = await self._shared.get(path, max_age_s, ask)
        return found

    def _read(self, asked: str, body: Any, read: Callable[[Any], _T | None]) -> _T:
        if (found := read(body)) is None:
            raise ControlSilent(f"{asked} answers something else than the control API v2 does.")
        return found

    async def _bill(
        self, route: str, key: str, wanted: Sequence[str], start: datetime, end: datetime, *, only: str = ""
    ) -> Bill:
        params = {"bucketSize": "hour", "startTime": _rfc3339(start), "endTime": _rfc3339(end)}
        params |= {key: only} if only else {}
        try:
            body = await self._asker.ask("GET", f"/billing/{route}", params=params)
        except BackendUnavailable as error:
            return Bill((), f"the bill of {_few(wanted)} is unknown ({error.message})")
        raw = answers.table(body).get("records")
        records = answers.tables(raw)
        lines = tuple(line for one in records if (line := answers.bill_line(one, key)) and line.resource in wanted)
        doubts = []
        if silent := sorted(set(wanted) - {line.resource for line in lines}):
            doubts.append(f"there is no record of {_few(silent)} yet")
        if isinstance(raw, list) and len(raw) > len(records):
            doubts.append(f"records of the bill that cannot be read: {len(raw) - len(records)}")
        if (datetime.now(UTC) - end).total_seconds() < BILLING_LAG_S:
            doubts.append(f"the last {BILLING_LAG_S / 3600:.0f} hours may still be billed")
        return Bill(lines, "; ".join(doubts))

    async def _asked_balance(self) -> Balance | None:
        try:
            status, _, raw = await self._asker.answer("POST", self._graphql_url, json={"query": _BALANCE})
            return answers.balance(json.loads(raw)) if status == 200 else None
        except (BackendUnavailable, ValueError, RecursionError):
            return None


def _each(body: Any, key: str, read: Callable[[Any], _T | None]) -> list[_T]:
    items = answers.table(body).get(key)
    if not isinstance(items, list):
        raise ControlSilent(f"The control API's list of {key} is none.")
    return [found for raw in answers.tables(items) if (found := read(raw)) is not None]


def _few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
