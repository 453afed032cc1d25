"""Manifests: what the assets exchange. Small typed documents about pictures and LoRA files, never their bytes.

A manifest is named by the sha256 of its canonical JSON, so equal content is one manifest, and lineage is a chain of
hashes: every manifest names the manifests that it was made from (`parents`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

RenderDomain = Literal["preview", "model"]  # procedural pictures are never compared with a model's


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Timing(_Document):
    """Where the seconds and dollars of a stage went, summed over all attempts at its jobs: failed and refused ones too.

    Taken from the ledger, so that materializing again (which adopts them) writes the same manifest.
    """

    exec_s: float = 0.0
    queue_s: float = 0.0
    cold_s: float = 0.0
    overhead_s: float = 0.0
    longest_exec_s: float = 0.0  # of one result: what a stage takes when its jobs run side by side
    cost_usd: float = 0.0
    cold_usd: float = 0.0  # the share of the cost that started workers, and
    idle_usd: float = 0.0  # the one that kept them warm afterwards
    jobs: int = 0

    @property
    def run_usd(self) -> float:
        """The share of the cost that executed the jobs."""
        return self.cost_usd - self.cold_usd - self.idle_usd

    @model_serializer(mode="wrap")
    def _as_first_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the shares that are zero: a manifest of before they were known keeps its bytes, so its name."""
        return {k: v for k, v in write(self).items() if v or k not in ("cold_usd", "idle_usd")}


class ImageRecord(_Document):
    """One picture. `sha256` names the stored, marked bytes; `pixels_sha256` the decoded pixels.

    What came back and could not be decoded has a record too, of the shot that it was to be: `sha256` is then of the
    bytes as they came, which are not stored, and `pixels_sha256` is empty. `width` and `height` are what was asked for.
    """

    name: str
    sha256: str
    pixels_sha256: str
    width: int
    height: int
    shot: str
    take: int
    seed: int
    prompt: str
    expects_face: bool
    method: Literal["text", "pulid", "lora"]  # what really ran, never what was hoped for
    workflow: str  # name@version
    job: str  # fingerprint
    lighting: str = ""
    framing: str = ""
    view: str = ""
    expression: str = ""
    faults: tuple[str, ...] = ()  # code of why it was refused when it arrived: blank, wrong_size, unreadable, too_large
    refused: str = ""  # why the gates refuse it, as they said when the set was made; empty: they do not

    @property
    def stored(self) -> bool:
        """Whether there is a picture to look at."""
        return bool(self.pixels_sha256)

    @model_serializer(mode="wrap")
    def _as_first_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is empty: a manifest of before faults were told keeps its bytes, so its name."""
        return {k: v for k, v in write(self).items() if v or k not in ("faults", "refused")}


class ImageSet(_Document):
    """The pictures of one take of one stage."""

    kind: Literal["images"] = "images"
    asset: str
    character: str
    take: int
    request_id: str
    backend: str
    render_domain: RenderDomain
    route: Literal["base", "sheet", "face_swap", "lora"]
    route_reason: str = ""
    rating: Literal["sfw", "nsfw"] = "sfw"
    images: tuple[ImageRecord, ...]  # one a shot
    rejected: tuple[ImageRecord, ...] = ()  # takes that were drawn and lost to another
    parents: tuple[str, ...] = ()
    timing: Timing = Timing()

    @property
    def good(self) -> tuple[ImageRecord, ...]:
        """The pictures that nothing refuses: of an accepted set, those that are accepted."""
        return tuple(one for one in self.images if not one.refused)

    @property
    def quarantined(self) -> tuple[ImageRecord, ...]:
        """Kept and never results: takes that lost, and what is refused though no take of its shot is better."""
        return (*self.rejected, *(one for one in self.images if one.refused))


class Caption(_Document):
    """One training picture and its caption."""

    sha256: str
    pixels_sha256: str
    caption: str
    shot: str


class LoraDataset(_Document):
    """What a LoRA is trained on."""

    kind: Literal["dataset"] = "dataset"
    asset: Literal["lora_dataset"] = "lora_dataset"
    character: str
    take: int
    request_id: str
    render_domain: RenderDomain
    base_model: str
    trigger: str
    images: tuple[Caption, ...]
    left_out: dict[str, str] = Field(default_factory=dict)  # shot -> reason
    parents: tuple[str, ...] = ()

    @property
    def data_hash(self) -> str:
        """Hash of pictures and captions: what the LoRA learns from."""
        rows = sorted((image.pixels_sha256, image.caption) for image in self.images)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class TrainingTicket(_Document):
    """A training that was submitted: where it is recorded, not how it goes."""

    kind: Literal["training"] = "training"
    asset: Literal["lora_training"] = "lora_training"
    character: str
    take: int
    request_id: str
    backend: str
    render_domain: RenderDomain
    base_model: str
    trigger: str
    steps: int
    dataset_hash: str
    job: str
    parents: tuple[str, ...] = ()


class LoraArtifact(_Document):
    """A verified LoRA file: the only source for inference."""

    kind: Literal["lora"] = "lora"
    asset: Literal["lora_weights"] = "lora_weights"
    character: str
    take: int
    request_id: str
    backend: str
    render_domain: RenderDomain
    sha256: str
    file_name: str  # as a worker sees it in its loras folder
    base_model: str
    trigger: str
    steps: int
    rank: int
    bytes: int
    dataset_hash: str
    job: str
    parents: tuple[str, ...] = ()
    timing: Timing = Timing()


Manifest = Annotated[ImageSet | LoraDataset | TrainingTicket | LoraArtifact, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Manifest)


def to_json(manifest: BaseModel) -> bytes:
    """The one byte form of a manifest; its sha256 is the manifest's name."""
    return json.dumps(manifest.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def manifest_sha256(manifest: BaseModel) -> str:
    """The manifest's name."""
    return hashlib.sha256(to_json(manifest)).hexdigest()


def from_json(data: bytes) -> Manifest:
    """Read a manifest back; raises pydantic's ValidationError on anything else."""
    manifest: Manifest = _ADAPTER.validate_json(data)
    return manifest
