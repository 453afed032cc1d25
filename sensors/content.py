"""Content was asked for, or a route to it opened: generate what waits."""

import dagster as dg

from ryla_assets.registry.records import Event, Request
from ryla_assets.studio.content import STAGE, first_look
from ryla_assets.studio.studio import Studio
from sensors.cursor import answer

KINDS = ("content_requested", "character_sheet:accepted", "lora_weights:accepted")


@dg.sensor(
    target=dg.AssetSelection.assets(STAGE),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=2,
)
def content_wanted__generated_images(
    context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]
) -> dg.SensorResult:
    """Runs waiting requests as soon as a route is open: the face swap once the sheet is accepted, then the LoRA.

    A LoRA that became ready while nobody ever asked for anything answers a first look of its own.
    """

    asked: set[str] = set()  # a request may have several causes in one tick: it is run once

    def run(event: Event) -> list[dg.RunRequest]:
        if not studio.is_accepted("character_sheet", event.character):
            return []  # asked too early: the request waits for the sheet
        lora_ready = studio.is_accepted("lora_weights", event.character)
        waiting = studio.registry.requests(event.character, STAGE, states=("pending", "planned"))
        if event.kind == "lora_weights:accepted" and not studio.registry.requests(event.character, STAGE):
            first_look(studio, event.character)
            return []  # asking is an event of its own, which the next tick answers
        if event.kind == "content_requested":
            waiting = [request for request in waiting if request.id == event.detail["request"]]
        fresh = [r for r in waiting if r.id not in asked and (lora_ready or r.body.get("method") != "lora")]
        asked.update(request.id for request in fresh)
        return [_run(request, event) for request in fresh]

    return answer(context, studio, KINDS, run)


def _run(request: Request, event: Event) -> dg.RunRequest:
    config = dg.RunConfig(ops={STAGE: {"config": {"request": request.id}}})
    return dg.RunRequest(f"content:{request.id}:{event.id}", partition_key=request.character, run_config=config)
