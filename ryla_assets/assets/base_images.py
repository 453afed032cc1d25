"""`character`, `base_images` and `selected_base_image`: from a description to one chosen picture."""

from collections.abc import Iterator
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.results import materialized
from ryla_assets.assets.style import stage
from ryla_assets.metadata import entries
from ryla_assets.studio import base
from ryla_assets.studio.studio import Studio


class TakeConfig(dg.Config):
    """How a stage is run again."""

    new_take: bool = Field(default=False, description="make new pictures; false adopts what was paid for")


class SelectionConfig(dg.Config):
    """How the base image is picked."""

    option: int | None = Field(default=None, description="1, 2 or 3; empty: the pick in the registry")
    policy: Literal["registry", "best_score"] = Field(
        default="registry", description="best_score picks by face-detector score where nobody picked"
    )
    who: str = Field(default="", description="who picks an option: it is the review of a person, and recorded")


@stage(group="character", kinds={"yaml"})
def character(context: dg.AssetExecutionContext, studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """The validated description of one adult synthetic persona, as the registry holds it."""
    who = studio.registry.character(context.partition_key)
    return dg.MaterializeResult(
        metadata=entries({"config": who.config.model_dump(mode="json"), "lora_status": who.lora_status})
    )


@stage(group="character", kinds={"comfyui"}, workflows=["base-image"], deps=[character, model_files])
def base_images(
    context: dg.AssetExecutionContext, config: TakeConfig, studio: dg.ResourceParam[Studio]
) -> dg.MaterializeResult[Any]:
    """Three options: three people who fit the description, for a person to choose from."""
    return materialized(studio, base.make_base_images(studio, context.partition_key, new_take=config.new_take))


@stage(group="character", kinds={"python"}, deps=[base_images], output_required=False)
def selected_base_image(
    context: dg.AssetExecutionContext, config: SelectionConfig, studio: dg.ResourceParam[Studio]
) -> Iterator[dg.MaterializeResult[Any]]:
    """The chosen option. Yields nothing while nobody picked, and says how to pick."""
    chosen = base.selected_base_image(
        studio, context.partition_key, option=config.option, policy=config.policy, who=config.who
    )
    if chosen is not None:
        yield materialized(studio, chosen)
