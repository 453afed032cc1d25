"""A base image was selected, or may be selected by policy, or the sheet is wanted anew: make the character sheet."""

import dagster as dg

from ryla_assets.registry.records import Event
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.waiting import wants_pick, wants_sheet
from sensors.cursor import answer

_POLICY = dg.RunConfig(ops={"selected_base_image": {"config": {"policy": "best_score"}}})


@dg.sensor(
    target=dg.AssetSelection.assets("selected_base_image", "character_sheet"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=2,
)
def base_image_selected__character_sheet(
    context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]
) -> dg.SensorResult:
    """Requests the sheet of a fresh pick; where the character says so, lets the policy pick."""

    def run(event: Event) -> list[dg.RunRequest]:
        if event.kind == "base_images:accepted":
            if not wants_pick(studio, event.character, event.detail["manifest"]):
                return []  # a person picks, or picked
            key = f"selection:{event.character}:{event.id}"
            pick = dg.AssetKey("selected_base_image")
            return [dg.RunRequest(key, partition_key=event.character, asset_selection=[pick], run_config=_POLICY)]
        if event.kind == "base_selected" and not wants_sheet(studio, event.character):
            return []
        return [dg.RunRequest(f"sheet:{event.character}:{event.id}", partition_key=event.character)]

    return answer(context, studio, ("base_images:accepted", "base_selected", "character_sheet:regenerate"), run)
