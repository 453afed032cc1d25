"""`generated_images`: pictures that were asked for, by the LoRA if it is ready, by the face swap before."""

from typing import Any

import dagster as dg
from pydantic import Field

from ryla_assets.assets.character_sheet import character_sheet
from ryla_assets.assets.lora import lora_weights
from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.results import materialized
from ryla_assets.assets.style import stage
from ryla_assets.studio.content import generate, next_request
from ryla_assets.studio.studio import Studio


class ContentConfig(dg.Config):
    """Which request is answered."""

    request: str | None = Field(default=None, description="its id; empty: the oldest one that waits")


@stage(
    group="content",
    kinds={"comfyui"},
    workflows=["face-swap", "lora-generation"],
    deps=[character_sheet, lora_weights, model_files],
)
def generated_images(
    context: dg.AssetExecutionContext, config: ContentConfig, studio: dg.ResourceParam[Studio]
) -> dg.MaterializeResult[Any]:
    """The pictures of one content request; the route that ran is recorded on each."""
    request = next_request(studio, context.partition_key, config.request)
    return materialized(studio, generate(studio, request))
