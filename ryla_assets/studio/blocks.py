"""Which hours of a bill can be compared with the ledger, and what they say: no false alarm, and no loss unseen.

Belongs here: arithmetic over hours; nothing is asked. RunPod bills an endpoint by the hour, our ledger books an attempt
whole when it ends, and its share of a bill may lie in any hour from its intent to some time after its settlement. So
one hour proves nothing: hours that attempts reach across belong together, as a block, and it is the block that must
hold: booked >= billed. Presumed costs are the most that they can be, so they hold it too, and are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from resources.gpu.records import HOUR_S, Span
from resources.runpod.answers import BillLine
from resources.runpod_control import BILLING_LAG_S

BEFORE_S = 60.0  # before its intent by our clock, for RunPod's goes differently
AFTER_S = 3600.0  # after its settlement: the longest that a worker idles (control API v2: idleTimeout is 1 to 3600 s)
LONGEST_S = 24 * 3600.0  # work without a pause makes one endless block: of a longer one what is ripe is compared
ROUNDING_USD = 0.01  # of each hour that is billed: bills are in cents
TOO_EARLY, IN_WORK, SILENT = (
    "the bill may still change",
    "an open attempt reaches into it",
    "the bill says nothing of it",
)


@dataclass(frozen=True)
class Block:
    """Hours of one endpoint that belong together, from `start` to before `end` (seconds since the epoch), in USD.

    `billed_usd` is None where the bill says nothing of any of them; `billed_hours` is of how many it does.
    `unreconciled` says why booked and billed cannot be compared yet, if so.
    """

    endpoint: str
    start: float
    end: float
    attempts: int
    booked_usd: float
    presumed_usd: float
    billed_usd: float | None
    billed_hours: int
    unreconciled: str = ""

    @property
    def missing_usd(self) -> float:
        """What was billed and nothing in the ledger explains, beyond rounding; 0 where it cannot be said yet."""
        over = (self.billed_usd or 0.0) - self.booked_usd
        return 0.0 if self.unreconciled or over <= ROUNDING_USD * self.billed_hours else over


def compared(spans: Sequence[Span], lines: Sequence[BillLine], *, since: float, now: float) -> list[Block]:
    """All blocks from the hour `since` on, oldest first.

    `spans` must hold all that may be billed from then on (with BEFORE_S and AFTER_S), `lines` all hours of the bill.
    What reaches further back than `since` is counted whole.
    """
    billed: dict[str, dict[float, float]] = {}
    for line in lines:
        hours, at = billed.setdefault(line.resource, {}), line.hour.timestamp() // HOUR_S * HOUR_S
        hours[at] = hours.get(at, 0.0) + line.usd
    ours: dict[str, list[Span]] = {}
    for span in spans:
        ours.setdefault(endpoint_id(span.endpoint), []).append(span)
    names = sorted(ours.keys() | billed.keys())
    found = [b for one in names for b in _of_endpoint(one, ours.get(one, []), billed.get(one, {}), since, now)]
    return sorted(found, key=lambda block: (block.start, block.endpoint))


def endpoint_id(endpoint: str) -> str:
    """The last part of where an attempt was sent."""
    return endpoint.rstrip("/").rsplit("/", 1)[-1]


def _of_endpoint(
    name: str, spans: Sequence[Span], billed: Mapping[float, float], since: float, now: float
) -> Iterator[Block]:
    ripe = (now - BILLING_LAG_S) // HOUR_S * HOUR_S  # what ended by then is billed
    begun = min((span.first for span in spans if span.last is None), default=math.inf)
    sure = min(ripe, begun)

    def block(start: float, end: float, members: Sequence[Span], why: str) -> Iterator[Block]:
        hours = [usd for at, usd in billed.items() if start <= at < end]
        booked = sum(span.cost_usd for span in members)
        if not hours and not booked and all(span.last is not None for span in members):
            return  # nothing was paid, nothing was asked for
        presumed = sum(span.presumed_usd for span in members)
        count = sum(span.attempts for span in members)
        usd = sum(hours) if hours else None
        yield Block(name, start, end, count, booked, presumed, usd, len(hours), why or ("" if hours else SILENT))

    for start, end in _together(spans, billed, since, now):
        inside = [span for span in spans if span.first < end and _end(span, now) > start]
        if end <= sure:
            yield from block(start, end, inside, "")
            continue
        why = IN_WORK if begun < min(end, ripe) else TOO_EARLY
        early = [span for span in inside if span.first < sure]
        if sure - start >= LONGEST_S:
            yield from block(start, sure, early, "")
            yield from block(sure, end, [span for span in inside if span not in early], why)
        else:
            yield from block(start, end, inside, why)


def _together(
    spans: Sequence[Span], billed: Mapping[float, float], since: float, now: float
) -> Iterator[tuple[float, float]]:
    """Stretches of hours that no span reaches out of; a billed hour that none touches stands alone."""
    reach = [(max(span.first, since), _end(span, now)) for span in spans]
    start = end = -math.inf
    for first, last in sorted([*reach, *((at, at + HOUR_S) for at in billed if at >= since)]):
        if first < end:
            end = max(end, last)
            continue
        if end > start:
            yield start, end
        start, end = first, last
    if end > start:
        yield start, end


def _end(span: Span, now: float) -> float:
    """The end of the last hour that it reaches; of an open one, of the present hour."""
    return (now // HOUR_S * HOUR_S if span.last is None else span.last) + HOUR_S
