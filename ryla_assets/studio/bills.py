"""The ledger against the bill: settle what is open for nobody, then compare hour by hour what was booked and billed.

Belongs here: which hours can be compared, and what a difference means. RunPod bills workers, not jobs, and late; our
ledger books an attempt's whole cost in the hour in which it ended. So a single hour may differ by what ran across its
end, and it is the sum that must hold: booked >= billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.runpod_control import BILLING_LAG_S, Bill, ControlClient
from ryla_assets.studio.ledger import books_of
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.gpu.books import Hour
    from resources.gpu.ledger import Attempt
    from ryla_assets.settings import Settings

DAY_S, HOUR_S = 86_400.0, 3_600.0
POD = "pod"  # endpoint id of attempts that ran on a pod of their own; their bills are asked by pod
MOST_PODS = 50  # of which a bill is asked: one question each, and 60 a minute are allowed
ROUNDING_USD = 0.01  # bills are in cents


BillOf = Callable[[Sequence[str], float, float], Bill]  # endpoint ids, since, until


@dataclass(frozen=True)
class ComparedHour:
    """One endpoint's hour, booked and billed; `unreconciled` says why the two cannot be compared yet, if so."""

    endpoint: str
    start: float
    booked_usd: float
    billed_usd: float | None
    unreconciled: str = ""


@dataclass(frozen=True)
class Drift:
    """How far booked and billed are apart; both sums are of the hours that can be compared, None without any."""

    hours: list[ComparedHour] = field(default_factory=list)
    booked_usd: float | None = None
    billed_usd: float | None = None
    note: str = ""

    @property
    def usd(self) -> float | None:
        """Booked less billed; None where nothing could be compared."""
        return None if self.booked_usd is None or self.billed_usd is None else self.booked_usd - self.billed_usd

    @property
    def share(self) -> float | None:
        """The drift as a share of the bill; None where nothing was billed."""
        return None if self.usd is None or not self.billed_usd else self.usd / self.billed_usd

    @property
    def underbooked(self) -> bool:
        """True where more was billed than the ledger knows of: that must never be."""
        return self.usd is not None and self.usd < -ROUNDING_USD


@dataclass(frozen=True)
class Reconciliation:
    """What was settled now, what stays unknown, and the bill beside the books."""

    settled: list[Attempt]
    unknown: list[Attempt]
    drift: Drift


def reconcile(studio: Studio, *, since: float | None = None, bill_of: BillOf | None = None) -> Reconciliation:
    """Settle leftovers of dead processes, then compare with the bill where the backend has one.

    A bill that cannot be read leaves its hours unreconciled, and says so.
    """
    settled = studio.runner.settle_open()
    books = books_of(studio)
    unknown = [entry.attempt for entry in books.exposed(since=books.clock()) if entry.attempt.is_open]
    return Reconciliation(settled, unknown, drift(studio, since=since, bill_of=bill_of))


def drift(studio: Studio, *, since: float | None = None, bill_of: BillOf | None = None) -> Drift:
    """The ledger beside the bill since then (default: of the last 24 hours)."""
    if studio.runner.backend.name != "runpod":
        return Drift(note=f"The {studio.runner.backend.name} backend sends no bill: there is nothing to compare with.")
    books = books_of(studio)
    now = books.clock()
    begun = (now - DAY_S if since is None else since) // HOUR_S * HOUR_S
    booked, busy = books.hours(since=begun), books.open_since()
    ids = sorted({_id(hour.endpoint) for hour in booked} | {_id(endpoint) for endpoint in busy})
    bill = (bill_of or _bill_of(studio))(ids, begun, now)
    return summed(compare(booked, bill, busy, now=now), bill.unreconciled)


def compare(booked: Sequence[Hour], bill: Bill, open_since: dict[str, float], *, now: float) -> list[ComparedHour]:
    """Booked and billed hours side by side, oldest first, each marked where it cannot be compared yet."""
    busy = {_id(endpoint): at for endpoint, at in open_since.items()}
    ours: dict[tuple[float, str], float] = {}
    for hour in booked:
        key = (hour.start, _id(hour.endpoint))
        ours[key] = ours.get(key, 0.0) + hour.cost_usd
    theirs: dict[tuple[float, str], float] = {}
    for line in bill.lines:
        key = (line.hour.timestamp() // HOUR_S * HOUR_S, line.resource)
        theirs[key] = theirs.get(key, 0.0) + line.usd
    return [
        ComparedHour(key[1], key[0], ours.get(key, 0.0), theirs.get(key), _why_not(key, theirs, busy, now))
        for key in sorted(ours | theirs)
    ]


def _why_not(key: tuple[float, str], theirs: dict[tuple[float, str], float], busy: dict[str, float], now: float) -> str:
    start, endpoint = key
    if now < start + HOUR_S + BILLING_LAG_S:
        return "the bill may still change"
    if key not in theirs:
        return "the bill says nothing of it"
    if busy.get(endpoint, now) < start + HOUR_S:
        return "an open attempt ran in it"
    return ""


def summed(hours: list[ComparedHour], doubt: str = "") -> Drift:
    """The sums over all hours that can be compared, in words too."""
    known = [hour for hour in hours if not hour.unreconciled]
    left = f" {len(hours) - len(known)} hours are unreconciled." if len(known) < len(hours) else ""
    left += f" {doubt[:1].upper()}{doubt[1:]}." if left and doubt else ""
    if not known:
        return Drift(hours, note=f"Nothing can be compared yet.{left}" if left else "Nothing was booked or billed.")
    made = Drift(hours, sum(h.booked_usd for h in known), sum(h.billed_usd or 0.0 for h in known))
    share = "" if made.share is None else f", {made.share:+.1%}"
    verdict = "more was billed than is booked" if made.underbooked else "all that was billed is booked"
    numbers = f"Booked ${made.booked_usd:.4f}, billed ${made.billed_usd:.4f} (${made.usd:+.4f}{share})"
    return replace(made, note=f"{numbers} in {len(known)} hours: {verdict}.{left}")


def _bill_of(studio: Studio) -> BillOf:
    """RunPod's own bill, by the control API; pods of ours as one endpoint called POD."""

    def read(ids: Sequence[str], since: float, until: float) -> Bill:
        pods = books_of(studio).remote_ids(POD, since=since, limit=MOST_PODS) if POD in ids else []
        names = [name.split("/")[1] for name in pods if name.count("/") > 1]
        return asyncio.run(_asked(studio.settings, [one for one in ids if one != POD], names, since, until))

    return read


async def _asked(settings: Settings, ids: Sequence[str], pods: Sequence[str], since: float, until: float) -> Bill:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    async with ControlClient(settings.runpod_control_url, settings.runpod_api_key.get_secret_value()) as control:
        endpoints, ours = await control.billed(ids, start, end), await control.billed_pods(pods, start, end)
    lines = (*endpoints.lines, *(replace(line, resource=POD) for line in ours.lines))
    doubts = [endpoints.unreconciled, ours.unreconciled if pods else ""]
    return Bill(lines, "; ".join(dict.fromkeys(filter(None, doubts))))


def _id(endpoint: str) -> str:
    """The endpoint's id: the last part of where an attempt was sent."""
    return endpoint.rstrip("/").rsplit("/", 1)[-1]
