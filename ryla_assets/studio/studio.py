"""The studio: what every stage works with, and the two questions all of them ask (`accepted`, `publish`).

Assets, checks, the daily batch, the command line and the HTTP app all go through these objects and functions, so the
same character is made the same way whoever asks. No Dagster here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ryla_assets.domain.errors import NotAccepted, TooEarly
from ryla_assets.domain.images import (
    ImageSet,
    LoraArtifact,
    LoraDataset,
    Manifest,
    RenderDomain,
    TrainingTicket,
    from_json,
    manifest_sha256,
    to_json,
)
from ryla_assets.registry.records import Picture

if TYPE_CHECKING:
    from resources.content_guard import ContentGuard
    from resources.gpu.runner import Progress, Runner
    from resources.identity import Scorer
    from resources.storage import Store
    from ryla_assets.domain.safety_person import DenyList
    from ryla_assets.registry.registry import Registry
    from ryla_assets.settings import Settings

# What must have passed before an asset's manifest may be built on. Time and evidence are told, never required.
REQUIRED_CLAIMS: dict[str, tuple[str, ...]] = {
    "base_images": ("integrity", "provenance", "quality", "rating"),
    "selected_base_image": ("integrity", "provenance", "quality", "rating"),
    "character_sheet": ("integrity", "provenance", "quality", "rating", "identity"),
    "lora_dataset": ("dataset",),
    "lora_training": (),
    "lora_weights": ("lora_file",),
    "generated_images": ("integrity", "provenance", "quality", "rating", "identity"),
}
PICTURES = tuple(asset for asset, claims in REQUIRED_CLAIMS.items() if "provenance" in claims)  # sets of pictures
IN_ANY_ORDER = frozenset({"generated_images"})  # a request of an earlier number may be answered later


@dataclass(frozen=True)
class Caller:
    """Who runs a stage: its Dagster run (the root run, so that a re-execution is the same caller) and its listeners."""

    run_id: str = ""
    on_progress: Callable[[Progress], None] | None = None
    tell: Callable[[str], None] = lambda _: None
    who: str = ""  # a person's name, where one is known


@dataclass
class Studio:
    """Registry, store, scorer and the door to GPU work, put together by `build`."""

    settings: Settings
    registry: Registry
    store: Store
    runner: Runner
    scorer: Scorer
    guard: ContentGuard | None = None  # judges what is rated sfw; None: no classifier is installed
    denied: DenyList | None = None  # real people whom no text may name
    caller: Caller = field(default_factory=Caller)
    published: dict[tuple[str, str], str] = field(default_factory=dict)  # (asset, character) -> by this run

    @property
    def render_domain(self) -> RenderDomain:
        """Whether pictures are procedural or a model's; the two are never compared."""
        return self.runner.backend.render_domain

    def publish(self, manifest: ImageSet | LoraDataset | TrainingTicket | LoraArtifact) -> str:
        """Store a manifest and make it its asset's current one; returns its sha256. The manifest is written last."""
        sha256 = self.store.put("manifests", to_json(manifest))
        self.registry.publish(
            sha256=sha256,
            asset=manifest.asset,
            character=manifest.character,
            take=manifest.take,
            request_id=manifest.request_id,
            in_order=manifest.asset not in IN_ANY_ORDER,
            pictures=pictures_of(manifest),
        )
        self.published[manifest.asset, manifest.character] = sha256
        return sha256

    def manifest(self, sha256: str) -> Manifest:
        """Read a manifest by its name."""
        return from_json(self.store.get("manifests", sha256))

    def current(self, asset: str, character: str) -> Manifest | None:
        """The newest manifest of an asset, judged or not; None if there is none."""
        head = self.registry.head(asset, character)
        return self.manifest(head.current_sha256) if head else None

    def to_judge(self, asset: str, character: str) -> Manifest | None:
        """What a check is about: the manifest that this run published, whoever published since; else the current."""
        own = self.published.get((asset, character))
        return self.manifest(own) if own else self.current(asset, character)

    def accepted(self, asset: str, character: str) -> Manifest:
        """The gate: the asset's current manifest, if all its required claims passed.

        Raises TooEarly (never made) and NotAccepted (refused, or not judged yet). With RYLA_GATES=record the current
        manifest is returned all the same; its metadata and heads row say that it is unaccepted.
        """
        head = self.registry.head(asset, character)
        if head is None:
            raise TooEarly(
                f"{character} has no {asset} yet.", field=asset, value=character, way_out=f"Materialize {asset} first."
            )
        if head.accepted_sha256 != head.current_sha256 and REQUIRED_CLAIMS[asset] and self.settings.gates == "enforce":
            raise self._refusal(asset, character, head.current_sha256)
        return self.manifest(head.current_sha256)

    def demand(self, manifest: Manifest) -> None:
        """The gate for a manifest in hand, whoever handed it. Raises NotAccepted unless its required claims hold."""
        asset, character, sha256 = manifest.asset, manifest.character, name_of(manifest)
        if self.settings.gates == "enforce" and self.refusals(asset, character, sha256):
            raise self._refusal(asset, character, sha256)

    def is_accepted(self, asset: str, character: str) -> bool:
        """Whether `accepted` would return."""
        try:
            self.accepted(asset, character)
        except (TooEarly, NotAccepted):
            return False
        return True

    def refusals(self, asset: str, character: str, sha256: str) -> dict[str, str]:
        """Claim -> why it does not hold, for each required claim of a manifest and its lineage; empty if acceptable."""
        gates = {gate.claim: gate for gate in self.registry.gates(asset, character, sha256)}
        refused = {
            claim: gates[claim].reason if claim in gates else "not yet judged"
            for claim in REQUIRED_CLAIMS[asset]
            if claim not in gates or not gates[claim].passed
        }
        tainted = self.lineage_refusal(self.manifest(sha256))
        return {**refused, "lineage": tainted} if tainted else refused

    def lineage_refusal(self, manifest: Manifest) -> str:
        """Why a manifest cannot be accepted however good it is: what it was made from is not; empty if that is.

        Only RYLA_GATES=record lets anything be made from what is refused.
        """
        for sha256 in manifest.parents:
            parent = self.manifest(sha256)
            why = self.refusals(parent.asset, parent.character, sha256)
            if why:
                reasons = "; ".join(f"{claim}: {reason}" for claim, reason in why.items())
                return f"made from {parent.asset} {sha256[:12]}, which is not accepted: {reasons}"
        return ""

    def _refusal(self, asset: str, character: str, sha256: str) -> NotAccepted:
        why = self.refusals(asset, character, sha256)
        unjudged = [claim for claim, reason in why.items() if reason == "not yet judged"]
        way_out = f"Make another on purpose: {another(asset, character)}."
        if "lineage" in why:
            way_out = "Make what it was made from anew, then this."
        if unjudged:
            way_out = f"Execute the checks of {asset} for this partition."
        return NotAccepted(
            f"that of {character} is not accepted: " + "; ".join(f"{c}: {r}" for c, r in why.items()) + ".",
            field=asset,
            value=sha256[:12],
            way_out=way_out,
        )


def another(asset: str, character: str) -> str:
    """How somebody who has to do with a refused set asks for another one on purpose: it costs again."""
    match asset:
        case "base_images" | "character_sheet":
            return f"ryla characters regenerate {character} --stage {asset}, or materialize {asset} with new_take"
        case "selected_base_image":
            return f"ryla characters select {character} OPTION"
        case "generated_images":
            return f"ryla generate {character}"
        case "lora_weights":
            return "materialize lora_training with new_take"
        case _:
            return f"materialize {asset} with new_take"


def name_of(manifest: ImageSet | LoraDataset | TrainingTicket | LoraArtifact) -> str:
    """The manifest's sha256: what lineage and gates call it."""
    return manifest_sha256(manifest)


def pictures_of(manifest: ImageSet | LoraDataset | TrainingTicket | LoraArtifact) -> list[Picture]:
    """The stored pictures that a set names, quarantined ones too; other manifests make none."""
    if not isinstance(manifest, ImageSet):
        return []
    rejected = [Picture(one.sha256, one.pixels_sha256, rejected=True) for one in manifest.quarantined if one.stored]
    return [*rejected, *(Picture(one.sha256, one.pixels_sha256) for one in manifest.good)]


def describe(manifest: ImageSet | LoraDataset | TrainingTicket | LoraArtifact) -> str:
    """The manifest as indented JSON, for people."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2)
