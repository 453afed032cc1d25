"""Reading the registry's events from a sensor: O(new), at most `limit` a tick, the cursor is the last event's id."""

from collections.abc import Callable, Sequence

import dagster as dg

from ryla_assets.domain.errors import RylaError
from ryla_assets.partitions import characters
from ryla_assets.registry.records import Event
from ryla_assets.studio.studio import Studio

PER_TICK = 20  # runs one sensor asks for in a tick: importing 10,000 characters must not flood the queue


def answer(
    context: dg.SensorEvaluationContext,
    studio: Studio,
    kinds: Sequence[str],
    run_for: Callable[[Event], Sequence[dg.RunRequest]],
    *,
    partitions: bool = False,
) -> dg.SensorResult:
    """Turn new events into run requests. `partitions`: also add the characters' partition keys.

    Events of a character that was retired meanwhile are passed over: it may not spend, so its run could only fail.
    """
    events = studio.registry.events(int(context.cursor or 0), kinds, limit=PER_TICK)
    if not events:
        return dg.SensorResult(skip_reason="Nothing new.", cursor=context.cursor)
    names = sorted({event.character for event in events if studio.registry.character(event.character).active})
    requests: list[dg.RunRequest] = []
    for event in events:
        if event.character in names:
            try:
                requests += run_for(event)
            except RylaError as error:  # one character's trouble must not stop all others for ever
                context.log.warning("%s of %s is passed over: %s", event.kind, event.character, error)
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[characters.build_add_request(names)] if partitions and names else [],
        cursor=str(events[-1].id),
    )
