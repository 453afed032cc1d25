"""`character_sheet`: the chosen face in seven to ten declared shots."""

from typing import Any

import dagster as dg
from pydantic import Field

from ryla_assets.assets.base_images import TakeConfig
from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.results import materialized
from ryla_assets.assets.style import stage
from ryla_assets.domain.images import ImageSet
from ryla_assets.studio.plans import IDENTITY_WEIGHT
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio


class SheetConfig(TakeConfig):
    """How the sheet is drawn."""

    identity_weight: float = Field(
        default=IDENTITY_WEIGHT, description="PuLID's hold on the face, 0..1; low weights drift"
    )


@stage(group="character", kinds={"comfyui"}, workflows=["character-sheet"], deps=[model_files])
def character_sheet(
    config: SheetConfig, studio: dg.ResourceParam[Studio], selected_base_image: ImageSet
) -> dg.MaterializeResult[Any]:
    """The selected person from many sides. Shots that fail their gates are drawn again."""
    sheet = make_sheet(studio, selected_base_image, new_take=config.new_take, identity_weight=config.identity_weight)
    return materialized(studio, sheet)
