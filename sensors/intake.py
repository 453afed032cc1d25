"""A character was activated (or its base images are wanted anew): make base images."""

import dagster as dg

from ryla_assets.registry.records import Event
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.waiting import wants_base_images
from sensors.cursor import answer


@dg.sensor(
    target=dg.AssetSelection.assets("character", "base_images"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=2,
)
def character_activated__base_images(
    context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]
) -> dg.SensorResult:
    """Adds the partition key and requests base images; inactive characters cost nothing."""

    def run(event: Event) -> list[dg.RunRequest]:
        if event.kind == "activated" and not wants_base_images(studio, event.character):
            return []
        return [dg.RunRequest(run_key=f"base_images:{event.character}:{event.id}", partition_key=event.character)]

    return answer(context, studio, ("activated", "base_images:regenerate"), run, partitions=True)
