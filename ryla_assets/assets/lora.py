"""`lora_dataset`, `lora_training` and `lora_weights`: from an accepted sheet to a LoRA that can be used.

Training takes most of an hour, so it is two halves: `lora_training` submits and returns, a sensor watches all of them,
and `lora_weights` takes the result.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ryla_assets.assets.base_images import TakeConfig
from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.results import materialized
from ryla_assets.assets.style import stage
from ryla_assets.domain.images import ImageSet, LoraDataset, TrainingTicket
from ryla_assets.studio import lora
from ryla_assets.studio.studio import Studio


@stage(group="lora", kinds={"python"})
def lora_dataset(
    config: TakeConfig, studio: dg.ResourceParam[Studio], character_sheet: ImageSet
) -> dg.MaterializeResult[Any]:
    """The base image and every verified sheet picture, captioned; too few of them is a refusal."""
    return materialized(studio, lora.make_dataset(studio, character_sheet, new_take=config.new_take))


@stage(group="lora", kinds={"python"}, deps=[model_files])
def lora_training(
    config: TakeConfig, studio: dg.ResourceParam[Studio], lora_dataset: LoraDataset
) -> dg.MaterializeResult[Any]:
    """A training that was submitted (or found running, or done). Nothing waits for it here."""
    return materialized(studio, lora.start_training(studio, lora_dataset, new_take=config.new_take))


@stage(group="lora", kinds={"python"}, output_required=False)
def lora_weights(
    studio: dg.ResourceParam[Studio], lora_training: TrainingTicket
) -> Iterator[dg.MaterializeResult[Any]]:
    """The verified file of a finished training. Yields nothing while it runs, and says so."""
    weights = lora.take_weights(studio, lora_training)
    if weights is not None:
        yield materialized(studio, weights)
