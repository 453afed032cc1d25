"""Settings: the only reader of the environment (RYLA_*, and COMFYUI_*, RUNPOD_* under the fields' own names).

Belongs here: every knob a deployment has, its default and its check. Loading it touches no disk and no network.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.shots import MODEL_IMAGE_PX


class Settings(BaseSettings):
    """What a deployment decides; each field is RYLA_<NAME> in the environment, or its alias."""

    model_config = SettingsConfigDict(env_prefix="RYLA_", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".ryla"), description="where everything that is not elsewhere lives")
    backend: Literal["preview", "comfyui", "runpod"] = Field(default="preview", description="where jobs run")
    comfyui_url: str = Field(
        default="", validation_alias="comfyui_url", description="the server of the comfyui backend: http://host:8188"
    )
    comfyui_models_dir: Path | None = Field(
        default=None,
        validation_alias="comfyui_models_dir",
        description="that server's models folder, if it can be reached here: LoRA files are copied into it",
    )
    runpod_api_key: SecretStr = Field(default=SecretStr(""), validation_alias="runpod_api_key", description="its key")
    runpod_image_endpoint_id: str = Field(
        default="", validation_alias="runpod_image_endpoint_id", description="the endpoint that makes images"
    )
    runpod_nsfw_endpoint_id: str = Field(
        default="", validation_alias="runpod_nsfw_endpoint_id", description="the one that may make nsfw images"
    )
    runpod_training_endpoint_id: str = Field(
        default="", validation_alias="runpod_training_endpoint_id", description="the one that trains LoRAs"
    )
    runpod_training_pod_image: str = Field(
        default="",
        validation_alias="runpod_training_pod_image",
        description="train on pods of this container image (our worker's contract); empty: on the training endpoint",
    )
    runpod_fallback_endpoint_id: str = Field(
        default="",
        validation_alias="runpod_fallback_endpoint_id",
        description="where an image job goes that its endpoint could not do: another GPU pool, another region",
    )
    runpod_jobs_url: str = Field(
        default="https://api.runpod.ai/v2", validation_alias="runpod_jobs_url", description="base of the jobs API"
    )
    runpod_control_url: str = Field(
        default="https://api.runpod.io/v2", validation_alias="runpod_control_url", description="base of the control API"
    )
    runpod_graphql_url: str = Field(
        default="https://api.runpod.io/graphql",
        validation_alias="runpod_graphql_url",
        description="only the balance is asked there; empty: never",
    )
    runpod_worker: Literal["ryla", "worker-comfyui"] = Field(
        default="ryla",
        validation_alias="runpod_worker",
        description="the contract of the endpoint's image: ours (results in our store), or worker-comfyui's",
    )
    runpod_engine: Literal["comfyui", "preview"] = Field(
        default="comfyui",
        validation_alias="runpod_engine",
        description="what the workers draw with; preview: a trial of the whole chain, its pictures are procedural",
    )
    runpod_queue_limit_s: float = Field(
        default=900.0, gt=0, validation_alias="runpod_queue_limit_s", description="most that a job may wait in a queue"
    )
    runpod_when_stuck: Literal["wait", "fallback", "fail"] = Field(
        default="fallback",
        validation_alias="runpod_when_stuck",
        description="what to do when the diagnosis says that no worker will come: wait for the queue limit, go to the "
        "fallback endpoint (fail where there is none), or fail at once",
    )
    webhook_url: str = Field(
        default="", description="where RunPod reaches the HTTP app: https://host; empty: polling alone"
    )
    database_url: str = Field(default="", description="empty: SQLite in RYLA_HOME; or postgresql+psycopg2://...")
    storage_url: str = Field(
        default="", description="empty: a folder in RYLA_HOME; a folder, a file: URL, s3://bucket/prefix"
    )
    s3_endpoint_url: str = Field(default="", description="of an S3 that is not AWS: Supabase Storage, R2, MinIO")
    s3_region: str = Field(default="", description="empty: what the AWS settings of the machine say")
    s3_access_key_id: SecretStr = Field(default=SecretStr(""), description="empty: AWS credentials of the machine")
    s3_secret_access_key: SecretStr = Field(default=SecretStr(""), description="its secret")
    c2pa_certificate: Path | None = Field(
        default=None, description="certificate chain (PEM, leaf first) that signs stored pictures; unset: not signed"
    )
    c2pa_private_key: Path | None = Field(
        default=None, validate_default=True, description="its private key (PKCS#8 PEM, without a password)"
    )
    base_model: Literal["flux-dev", "zimage-turbo"] = Field(
        default="flux-dev", description="for characters without one"
    )
    gpu_profile: str = Field(default="", description="names what the time targets are judged on")
    gates: Literal["enforce", "record"] = Field(default="enforce", description="record: mark unaccepted, do not refuse")
    daily_budget_usd: float = Field(default=25.0, gt=0, description="most that 24 hours may cost, open work included")
    character_budget_usd: float | None = Field(
        default=None, gt=0, description="most that one character may cost in 24 hours; unset: no limit of its own"
    )
    run_budget_usd: float | None = Field(
        default=None, gt=0, description="most that one run may cost, with its re-executions; unset: no limit of its own"
    )
    image_px: int = Field(
        default=512,
        ge=256,
        le=1024,
        multiple_of=16,
        description="base size of pictures, in pixels; where a model draws them, 1024 unless set",
    )
    sheet_images: int = Field(default=8, ge=7, le=10, description="shots of a character sheet")
    content_images: int = Field(default=4, ge=1, le=10, description="pictures of a daily or first-look request")
    rerolls: int = Field(
        default=2, ge=0, le=5, description="most rounds in which shots that fail their gates are drawn again"
    )
    reroll_budget_share: float = Field(
        default=0.5,
        ge=0,
        le=5,
        description="most pictures that all rounds of a set may ask for, as a share of its first one's (rounded up)",
    )
    denied_names: Path | None = Field(
        default=None, description="a file with names of real people, one a line, that no text may hold; unset: none"
    )
    nsfw_allowed: bool = Field(default=False, description="the deployment's policy; never enough by itself")
    public_url: str = Field(default="http://127.0.0.1:3001", description="where the HTTP app is reached by browsers")
    preview_workers: int = Field(default=0, ge=0, le=16, description="0: one a core, at most four")

    @field_validator("c2pa_private_key")
    @classmethod
    def _with_certificate(cls, given: Path | None, others: ValidationInfo) -> Path | None:
        if (given is None) != (others.data.get("c2pa_certificate") is None):
            raise ValueError("RYLA_C2PA_CERTIFICATE and RYLA_C2PA_PRIVATE_KEY are set together or not at all")
        return given

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
    def s3(self) -> dict[str, str]:
        """The fields of `resources.storage.S3Access`, secrets in clear: to hand on, not to show."""
        return {
            "endpoint_url": self.s3_endpoint_url,
            "region": self.s3_region,
            "access_key_id": self.s3_access_key_id.get_secret_value(),
            "secret_access_key": self.s3_secret_access_key.get_secret_value(),
        }

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
        name = ("" if field.startswith(("comfyui_", "runpod_")) else "RYLA_") + field.upper()
        raise InputError(
            f"{first['msg']}.", field=name, value=first["input"], way_out=f"Change or unset {name}; see ryla doctor."
        ) from None
