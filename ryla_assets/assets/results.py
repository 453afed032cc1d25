"""What a stage's manifest looks like in Dagster: metadata, preview and tags. Used by every asset and by the batch."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ryla_assets.domain.images import ImageRecord, ImageSet, LoraArtifact, LoraDataset, Timing, TrainingTicket
from ryla_assets.domain.shots import short_name
from ryla_assets.links import Links
from ryla_assets.metadata import entries, table
from ryla_assets.studio.ledger import books_of
from ryla_assets.studio.reroll import cost_per_accepted, redrawn
from ryla_assets.studio.review import UNREVIEWED, is_review
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
        special = {**_of_images(manifest, links), "review": _review(studio, manifest)}
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
    return entries({**common, **special, "diagnosis": _diagnosis(studio, manifest)})


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
        "preview": contact_sheet(links, [(_label(image), image.sha256) for image in manifest.images if image.stored]),
        "gallery": links.gallery(manifest.character),
        "images": len(manifest.images),
        "good_images": len(manifest.good),
        "rejected": len(manifest.quarantined),
        "rerolled": len(redrawn(manifest)),
        "rejections": table([_rejection(record) for record in manifest.quarantined]),
        "cost_per_accepted_usd": cost_per_accepted(manifest),
        "backend": manifest.backend,
        "route": manifest.route,
        "route_reason": manifest.route_reason or None,
        "workflows": ", ".join(sorted({image.workflow for image in manifest.images})),
        **_costs(spent),
        "jobs": spent.jobs,
    }


def _label(record: ImageRecord) -> str:
    return f"{'REFUSED ' if record.refused else ''}{short_name(record.shot)}"


def _rejection(record: ImageRecord) -> dict[str, Any]:
    return {"shot": record.shot, "take": record.take, "why": record.refused, "sha256": record.sha256}


def _review(studio: Studio, manifest: ImageSet) -> str | None:
    """Who stands for the adult appearance of a picked base image; None for other sets."""
    selection = studio.registry.selection(manifest.character) if manifest.asset == "selected_base_image" else None
    if selection is None:
        return None
    return f"{selection.review}, by {selection.who}" if is_review(selection) else UNREVIEWED


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
    return {**shared, **file, **_costs(spent)}


def _costs(spent: Timing) -> Mapping[str, float]:
    names = ("exec_s", "queue_s", "cold_s", "overhead_s", "cost_usd", "run_usd", "cold_usd", "idle_usd")
    return {name: getattr(spent, name) for name in names}


def _diagnosis(studio: Studio, manifest: AnyManifest) -> str | None:
    """What held up the jobs behind it, as the ledger has it; None where nothing did."""
    if isinstance(manifest, ImageSet):
        jobs = {image.job for image in (*manifest.images, *manifest.rejected)}
    else:
        jobs = set() if isinstance(manifest, LoraDataset) else {manifest.job}
    return "; ".join(books_of(studio).diagnoses(jobs)) or None if jobs else None
