"""An accepted sheet starts a training; a finished training gives weights."""

import dagster as dg

from ryla_assets.registry.records import Event
from ryla_assets.studio.lora import finished_trainings
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.waiting import wants_training
from sensors.cursor import PER_TICK, answer


@dg.sensor(
    target=dg.AssetSelection.assets("lora_dataset", "lora_training"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=2,
)
def sheet_accepted__lora_training(
    context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]
) -> dg.SensorResult:
    """Requests dataset and training of a sheet that passed all its gates."""

    def run(event: Event) -> list[dg.RunRequest]:
        if not wants_training(studio, event.character, event.detail["manifest"]):
            return []
        return [dg.RunRequest(run_key=f"training:{event.character}:{event.id}", partition_key=event.character)]

    return answer(context, studio, ("character_sheet:accepted",), run)


@dg.sensor(
    target=dg.AssetSelection.assets("lora_weights"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=5,
)
def training_finished__lora_weights(
    context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]
) -> dg.SensorResult:
    """Polls all open trainings at once. The run key holds the attempt, so a tick that is repeated asks once.

    The cursor is the last character asked for: weights that cannot be taken stay ended, and must not hide the others.
    """
    ended = sorted(finished_trainings(studio))
    if not ended:
        return dg.SensorResult(skip_reason="No training finished.", cursor=context.cursor)
    asked = ([one for one in ended if one[0] > (context.cursor or "")] or ended)[:PER_TICK]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"weights:{character}:{take}:{attempt}", partition_key=character)
            for character, take, attempt in asked
        ],
        cursor=asked[-1][0],
    )
