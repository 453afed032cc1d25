"""Settings: the only reader of the environment (RYLA_*, and COMFYUI_* under ComfyUI's own names).

Belongs here: every knob a deployment has, its default and its check. Loading it touches no disk and no network.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ryla_assets.domain.errors import InputError

MODEL_IMAGE_PX = 1024  # what Flux and Z-Image were trained at; a preview draws 512, which is enough to see


class Settings(BaseSettings):
    """What a deployment decides; each field is RYLA_<NAME> in the environment, or its alias."""

    model_config = SettingsConfigDict(env_prefix="RYLA_", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".ryla"), description="where everything that is not elsewhere lives")
    backend: Literal["preview", "comfyui"] = Field(default="preview", description="where jobs run")
    comfyui_url: str = Field(
        default="", validation_alias="comfyui_url", description="the server of the comfyui backend: http://host:8188"
    )
    comfyui_models_dir: Path | None = Field(
        default=None,
        validation_alias="comfyui_models_dir",
        description="that server's models folder, if it can be reached here: LoRA files are copied into it",
    )
    database_url: str = Field(default="", description="empty: SQLite in RYLA_HOME; or postgresql+psycopg2://...")
    storage_url: str = Field(default="", description="empty: a folder in RYLA_HOME; or a folder, or a file: URL")
    base_model: Literal["flux-dev", "zimage-turbo"] = Field(
        default="flux-dev", description="for characters without one"
    )
    gpu_profile: str = Field(default="", description="names what the time targets are judged on")
    gates: Literal["enforce", "record"] = Field(default="enforce", description="record: mark unaccepted, do not refuse")
    daily_budget_usd: float = Field(default=25.0, gt=0, description="most that 24 hours may cost, open work included")
    image_px: int = Field(
        default=512,
        ge=256,
        le=1024,
        multiple_of=16,
        description="base size of pictures, in pixels; where a model draws them, 1024 unless set",
    )
    sheet_images: int = Field(default=8, ge=7, le=10, description="shots of a character sheet")
    content_images: int = Field(default=4, ge=1, le=10, description="pictures of a daily or first-look request")
    nsfw_allowed: bool = Field(default=False, description="the deployment's policy; never enough by itself")
    public_url: str = Field(default="http://127.0.0.1:3001", description="where the HTTP app is reached by browsers")
    preview_workers: int = Field(default=0, ge=0, le=16, description="0: one a core, at most four")

    @model_validator(mode="before")
    @classmethod
    def _model_size(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("backend", "preview") == "preview":
            return given
        return {"image_px": MODEL_IMAGE_PX, **given}

    @property
    def database(self) -> str:
        """The database URL that holds."""
        return self.database_url or f"sqlite:///{(self.home / 'ryla.db').resolve()}"

    @property
    def storage(self) -> str:
        """The storage URL that holds."""
        return self.storage_url or str((self.home / "store").resolve())

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its instance."""
        return (self.home / "dagster").resolve()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The environment's settings, read once. Raises InputError naming the variable, its value and what is allowed."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = "_".join(str(part) for part in first["loc"])
        name = ("" if field.startswith("comfyui_") else "RYLA_") + field.upper()
        raise InputError(
            f"{first['msg']}.", field=name, value=first["input"], way_out=f"Change or unset {name}; see ryla doctor."
        ) from None
