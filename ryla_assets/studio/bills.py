"""The ledger against the bill: settle what is open for nobody, then compare what was booked with what was billed.

Belongs here: what is asked of whom, and what a difference means in words. Which hours can be compared is `blocks`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.gpu.backends.runpod.ids import NEVER_LEARNED, POD, parse
from resources.runpod_control import Bill, ControlClient
from ryla_assets.studio.blocks import AFTER_S, BEFORE_S, Block, compared, endpoint_id
from ryla_assets.studio.ledger import books_of
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.gpu.records import Attempt
    from ryla_assets.settings import Settings

DAY_S, HOUR_S = 86_400.0, 3_600.0
REACH_S = DAY_S  # a block that began up to so long before what was asked for is compared as a whole
BACKEND = "runpod"  # whose attempts are billed

BillOf = Callable[[Sequence[str], float, float], Bill]  # endpoint ids, since, until


@dataclass(frozen=True)
class Drift:
    """How far booked and billed are apart, in USD, over the blocks that can be compared; None without any."""

    blocks: list[Block] = field(default_factory=list)
    booked_usd: float | None = None
    presumed_usd: float | None = None  # part of what is booked: the most that it can have cost, since nobody could say
    billed_usd: float | None = None
    explained: float | None = None  # share of the bill that bookings of the same block cover, 0..1; None: no bill
    note: str = ""

    @property
    def usd(self) -> float | None:
        """Booked less billed; None where nothing could be compared."""
        return None if self.booked_usd is None or self.billed_usd is None else self.booked_usd - self.billed_usd

    @property
    def underbooked(self) -> list[Block]:
        """Where more was billed than the ledger knows of: that must never be."""
        return [block for block in self.blocks if block.missing_usd > 0]


@dataclass(frozen=True)
class Reconciliation:
    """What was settled now, what stays unknown (the dearest first), and the bill beside the books."""

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
    """The ledger beside the bill since then (default: of the last 24 hours).

    The bill is asked of every endpoint that the ledger or the settings know, so that a stranger's use of one is told.
    """
    if studio.runner.backend.name != BACKEND:
        return Drift(note=f"The {studio.runner.backend.name} backend sends no bill: there is nothing to compare with.")
    books = books_of(studio)
    now = books.clock()
    begun = min(now, now - DAY_S if since is None else since) // HOUR_S * HOUR_S
    earliest = begun - REACH_S
    spans = books.spans(backend=BACKEND, since=earliest, before_s=BEFORE_S, after_s=AFTER_S)
    ids = {endpoint_id(span.endpoint) for span in spans} | _configured(studio.settings)
    bill = (bill_of or _bill_of(studio))(sorted(ids), earliest, now)
    blocks = compared(spans, bill.lines, since=earliest, now=now)
    return summed([block for block in blocks if block.end > begun], bill.unreconciled)


def summed(blocks: list[Block], doubt: str = "") -> Drift:
    """The sums over all blocks that can be compared, in words too; `doubt` is what the bill says of itself."""
    known = [block for block in blocks if not block.unreconciled]
    left = ""
    if rest := len(blocks) - len(known):
        left = f" {rest} of {len(blocks)} stretches of hours are unreconciled."
        left += f" {doubt[:1].upper()}{doubt[1:]}." if doubt else ""
    if not known:
        return Drift(blocks, note=f"Nothing can be compared yet.{left}" if left else "Nothing was booked or billed.")
    booked, presumed = sum(b.booked_usd for b in known), sum(b.presumed_usd for b in known)
    billed = sum(b.billed_usd or 0.0 for b in known)
    explained = sum(min(b.booked_usd, b.billed_usd or 0.0) for b in known) / billed if billed else None
    made = Drift(blocks, booked, presumed, billed, explained)
    return replace(made, note=f"{_sums(made)} {_verdict(made)}{left}")


def _sums(drift: Drift) -> str:
    of_it = f" (${drift.presumed_usd:.4f} of it presumed)" if drift.presumed_usd else ""
    return f"Booked ${drift.booked_usd:.4f}{of_it}, billed ${drift.billed_usd:.4f}."


def _verdict(drift: Drift) -> str:
    if not drift.underbooked:
        return "All that was billed is booked."
    wrong = drift.underbooked
    places = [f"${b.missing_usd:.4f} at {b.endpoint} from {_hour(b.start)} to {_hour(b.end)}" for b in wrong]
    more = f" and in {len(places) - 3} more stretches" if len(places) > 3 else ""
    share = "" if drift.explained is None else f" {drift.explained:.1%} of the bill is explained."
    return f"More was billed than is booked: {', '.join(places[:3])}{more} (UTC).{share}"


def _hour(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")


def _configured(settings: Settings) -> set[str]:
    purposes = ("image", "nsfw", "training", "fallback")
    return {one for purpose in purposes if (one := getattr(settings, f"runpod_{purpose}_endpoint_id"))}


def _bill_of(studio: Studio) -> BillOf:
    """RunPod's own bill, by the control API; pods of ours as one endpoint, as attempts on pods have it."""

    def read(ids: Sequence[str], since: float, until: float) -> Bill:
        pods = books_of(studio).remote_ids(POD, since=since - AFTER_S) if POD in ids else []
        names = [job.job for name in pods if (job := parse(name)) and job.job != NEVER_LEARNED]
        return asyncio.run(_asked(studio.settings, [one for one in ids if one != POD], names, since, until))

    return read


async def _asked(settings: Settings, ids: Sequence[str], pods: Sequence[str], since: float, until: float) -> Bill:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    async with ControlClient(settings.runpod_control_url, settings.runpod_api_key.get_secret_value()) as control:
        endpoints, ours = await control.billed(ids, start, end), await control.billed_pods(pods, start, end)
    lines = (*endpoints.lines, *(replace(line, resource=POD) for line in ours.lines))
    doubts = dict.fromkeys(filter(None, (endpoints.unreconciled, ours.unreconciled)))
    return Bill(lines, "; ".join(doubts))
