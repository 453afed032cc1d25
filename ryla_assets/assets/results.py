"""What a stage's manifest looks like in Dagster: metadata, preview and tags. Used by every asset and by the batch."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ryla_assets.domain.images import ImageSet, LoraArtifact, LoraDataset, TrainingTicket
from ryla_assets.links import Links
from ryla_assets.metadata import entries
from ryla_assets.studio.studio import Studio, name_of

AnyManifest = ImageSet | LoraDataset | TrainingTicket | LoraArtifact
PREVIEW_LIMIT = 1000  # characters; Dagster opens longer markdown only by a click (1.13, measured)


def materialized(studio: Studio, manifest: AnyManifest) -> dg.MaterializeResult[Any]:
    """The asset's result: the manifest as value, its content hash as data version."""
    return dg.MaterializeResult(
        value=manifest,
        metadata=metadata_of(studio, manifest),
        data_version=dg.DataVersion(name_of(manifest)[:16]),
        tags={"ryla/take": str(manifest.take)},
    )


def metadata_of(studio: Studio, manifest: AnyManifest) -> dict[str, Any]:
    """Everything that ops and analysts see about a manifest."""
    common = {
        "character": manifest.character,
        "take": manifest.take,
        "request": manifest.request_id,
        "manifest_sha256": name_of(manifest),
        "parents": list(manifest.parents),
        "render_domain": manifest.render_domain,
    }
    links = Links(studio.settings.home, studio.settings.public_url)
    special: Mapping[str, Any]
    if isinstance(manifest, ImageSet):
        special = _of_images(manifest, links)
    elif isinstance(manifest, LoraDataset):
        special = {
            "images": len(manifest.images),
            "left_out": manifest.left_out,
            "dataset_hash": manifest.data_hash,
            "trigger": manifest.trigger,
            "base_model": manifest.base_model,
            "preview": contact_sheet(links, [(image.shot, image.sha256) for image in manifest.images]),
        }
    else:
        special = _of_training(manifest)
    return entries({**common, **special})


def contact_sheet(links: Links, pictures: list[tuple[str, str]]) -> str:
    """A markdown table of thumbnails, short enough to open inline; pictures that do not fit are counted."""
    for shown in range(len(pictures), 0, -1):
        part = pictures[:shown]
        more = f" +{len(pictures) - shown}" if shown < len(pictures) else ""
        rows = [
            "|" + "|".join(name[:12] for name, _ in part) + more + "|",
            "|" + "-|" * len(part),
            "|" + "|".join(f"![]({links.thumbnail(sha)})" for _, sha in part) + "|",
        ]
        text = "\n".join(rows)
        if len(text) < PREVIEW_LIMIT:
            return text
    return ""


def _of_images(manifest: ImageSet, links: Links) -> Mapping[str, Any]:
    spent = manifest.timing
    return {
        "preview": contact_sheet(links, [(image.shot, image.sha256) for image in manifest.images]),
        "gallery": links.gallery(manifest.character),
        "images": len(manifest.images),
        "rejected": len(manifest.rejected),
        "backend": manifest.backend,
        "route": manifest.route,
        "route_reason": manifest.route_reason or None,
        "workflows": ", ".join(sorted({image.workflow for image in manifest.images})),
        "exec_s": spent.exec_s,
        "queue_s": spent.queue_s,
        "cold_s": spent.cold_s,
        "overhead_s": spent.overhead_s,
        "cost_usd": spent.cost_usd,
        "jobs": spent.jobs,
    }


def _of_training(manifest: TrainingTicket | LoraArtifact) -> Mapping[str, Any]:
    shared = {
        "backend": manifest.backend,
        "base_model": manifest.base_model,
        "trigger": manifest.trigger,
        "steps": manifest.steps,
        "dataset_hash": manifest.dataset_hash,
        "job": manifest.job,
    }
    if isinstance(manifest, TrainingTicket):
        return shared
    spent = manifest.timing
    file = {"lora_sha256": manifest.sha256, "rank": manifest.rank}
    seconds = {"exec_s": spent.exec_s, "queue_s": spent.queue_s, "cold_s": spent.cold_s, "overhead_s": spent.overhead_s}
    return {**shared, **file, **seconds, "cost_usd": spent.cost_usd}
