"""`visual_parity`: the fixed prompts drawn on two backends or servers, and how far their pictures are apart."""

import dagster as dg
from pydantic import Field

from ryla_assets.assets.results import contact_sheet
from ryla_assets.assets.style import OWNERS
from ryla_assets.domain.shots import MODEL_IMAGE_PX
from ryla_assets.failures import fails_clearly
from ryla_assets.links import Links
from ryla_assets.metadata import entries, table
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.visual import BASE_MODELS, PREVIEW, backend_named, run_parity


class VisualParityConfig(dg.Config):
    """Which two are compared; by default the preview with itself, which costs nothing and is always equal."""

    a: str = Field(default=PREVIEW, description="preview, or a ComfyUI server's address")
    b: str = Field(default=PREVIEW, description="preview, or a ComfyUI server's address")
    size: int = Field(default=MODEL_IMAGE_PX, description="pixels a side, 256 to 2048, a multiple of 16")
    take: int = Field(default=0, ge=0, description="a new number draws anew, say after a server's upgrade")
    base_models: list[str] = Field(default=list(BASE_MODELS), description="those whose files both servers have")


@dg.asset(group_name="setup", kinds={"comfyui"}, owners=OWNERS, code_version="1")
@fails_clearly
def visual_parity(config: VisualParityConfig, studio: dg.ResourceParam[Studio]) -> dg.MaterializeResult[None]:
    """One row a fixed prompt: equal, close (within GPU noise) or different on backends `a` and `b`."""
    a, b = (backend_named(studio, name, field=field) for field, name in (("a", config.a), ("b", config.b)))
    rows = run_parity(studio, a, b, size=config.size, take=config.take, base_models=config.base_models)
    links = Links(studio.settings.home, studio.settings.public_url)
    pictures = [(f"{side} {row['image']}", row[side]) for row in rows for side in ("a", "b")]
    return dg.MaterializeResult(
        metadata=entries(
            {
                "compared": table([{key: row[key] for key in SHOWN} for row in rows]),
                "different": sum(row["verdict"] == "different" for row in rows),
                "side_a": f"{a.name} {a.endpoint}",
                "side_b": f"{b.name} {b.endpoint}",
                "render_domain": a.render_domain,
                "preview": contact_sheet(links, pictures),
            }
        )
    )


SHOWN = ("image", "verdict", "mean_abs", "p99_abs", "psnr_db", "adopted")
