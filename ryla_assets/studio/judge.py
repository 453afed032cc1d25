"""Judgements: one function a claim, each re-reading the stored bytes, each ending in one gate row.

Checks, the daily batch and the command line all call `judge`. A judgement says pass or fail, why in one sentence, and
its numbers; what follows from it (`accepted`, an event, the LoRA's status) happens in the same transaction. Claims
about faces are `likeness`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resources import images
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain import targets
from ryla_assets.domain.errors import TooEarly
from ryla_assets.domain.images import ImageSet, LoraArtifact, LoraDataset, Timing
from ryla_assets.registry.records import Gate
from ryla_assets.studio import likeness
from ryla_assets.studio.judgement import Judgement, judgement
from ryla_assets.studio.lora import MIN_DATASET
from ryla_assets.studio.provenance import provenance
from ryla_assets.studio.quality import look_at, plotted, rows
from ryla_assets.studio.rating import rating
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio
from workflows import lora_file
from workflows.errors import LoraFileError

EXPECTED_COUNT = {"base_images": 3, "selected_base_image": 1}


def judge(studio: Studio, asset: str, character: str, claim: str) -> Judgement:
    """Judge one claim about the asset's manifest and write the gate row. Raises TooEarly without a manifest.

    In a run that published one it is that one: two runs on one character must not judge each other's pictures.
    """
    manifest = studio.to_judge(asset, character)
    if manifest is None:
        raise TooEarly(f"{character} has no {asset} to judge.", field=asset, way_out=f"Materialize {asset} first.")
    found = _CLAIMS[claim](studio, manifest)
    accepted = studio.registry.judge(
        asset,
        character,
        found.manifest_sha256,
        Gate(claim, found.passed, found.reason, found.numbers, found.scorer_id),
        required=REQUIRED_CLAIMS[asset],
        tainted=bool(studio.lineage_refusal(manifest)),
    )
    if asset == "lora_weights" and (accepted or not found.passed) and claim in REQUIRED_CLAIMS[asset]:
        studio.registry.set_lora_status(character, "ready" if accepted else "failed")
    return found


def judge_all(studio: Studio, asset: str, character: str) -> list[Judgement]:
    """Judge every claim that is made about an asset, required or told."""
    return [judge(studio, asset, character, claim) for claim in CLAIMS[asset]]


CLAIMS: dict[str, tuple[str, ...]] = {
    **REQUIRED_CLAIMS,
    "base_images": (*REQUIRED_CLAIMS["base_images"], "timing"),
    "selected_base_image": (*REQUIRED_CLAIMS["selected_base_image"], "distinct"),
    "character_sheet": (*REQUIRED_CLAIMS["character_sheet"], "timing", "distinct"),
    "lora_weights": (*REQUIRED_CLAIMS["lora_weights"], "timing"),
    "generated_images": (*REQUIRED_CLAIMS["generated_images"], "timing", "evidence", "drift"),
}


def integrity(studio: Studio, manifest: ImageSet) -> Judgement:
    """Every picture that was asked for is there, readable, of its size, the pixels it was, and not blank."""
    faults = []
    seen: dict[str, str] = {}
    for record in manifest.images:
        try:
            image = images.decode(studio.store.get("images", record.sha256), size=(record.width, record.height))
        except (ObjectMissing, ObjectCorrupt, images.ImageRejected) as error:
            faults.append(f"{record.shot}: {error}")
            continue
        pixels = images.pixels_sha256(image)
        if pixels != record.pixels_sha256:
            faults.append(f"{record.shot}: its pixels are not those that were recorded")
        if images.is_blank(image):
            faults.append(f"{record.shot}: blank")
        if pixels in seen:
            faults.append(f"{record.shot}: the same picture as {seen[pixels]}")
        seen[pixels] = record.shot
    wanted = EXPECTED_COUNT.get(manifest.asset, max(1, len(manifest.images)))
    if len(manifest.images) != wanted:
        faults.append(f"{len(manifest.images)} pictures, {wanted} were asked for")
    good = f"{len(manifest.images)} of {wanted} pictures are there and intact"
    numbers = {"images": len(manifest.images), "faults": len(faults)}
    return judgement(manifest, "integrity", not faults, "; ".join(faults) or good, numbers)


def quality(studio: Studio, manifest: ImageSet) -> Judgement:
    """No picture is blank, noise, blurred, twice the same, or of a wrong number of people; doubts are told."""
    seen = look_at(studio, manifest)
    faults = [f"{one.record.shot}: {found.text}" for one in seen for found in one.refusals]
    doubts = [f"{one.record.shot}: {found.text}" for one in seen for found in one.findings if not found.refuses]
    reason = "; ".join(faults) or f"{len(seen)} pictures are sharp, not blank, each another, of one person where due"
    if doubts:
        reason += "; told: " + "; ".join(doubts)
    return judgement(manifest, "quality", not faults, reason, plotted(seen), per_image=rows(seen))


def timing(studio: Studio, manifest: ImageSet | LoraArtifact) -> Judgement:
    """Execution time against the plan's target, apart from queue, cold start and overhead. Told, never required.

    Judged is `longest_exec_s`: jobs of one stage run side by side. On a preview it is reported as not evidence.
    """
    spent = manifest.timing
    target, per = _target(manifest)
    took = spent.longest_exec_s / per
    evidence = manifest.render_domain == "model"
    passed = took <= target or not evidence
    profile = studio.settings.gpu_profile or "no GPU profile named"
    reason = f"execution {took:.1f} s of at most {target:.0f} s ({profile})"
    if not evidence:
        reason = f"preview timing, not evidence: execution {took:.1f} s; the product's target is {target:.0f} s"
    numbers = {"target_s": target, "took_s": took, **_seconds(spent)}
    return judgement(manifest, "timing", passed, reason, numbers, evidence=evidence)


def dataset(studio: Studio, manifest: LoraDataset) -> Judgement:
    """Enough pictures, each stored, none twice, each with a caption that carries the trigger."""
    faults = [f"{i.shot}: no trigger in its caption" for i in manifest.images if manifest.trigger not in i.caption]
    faults += [f"{i.shot}: not in the store" for i in manifest.images if not studio.store.has("images", i.sha256)]
    if len({i.pixels_sha256 for i in manifest.images}) != len(manifest.images):
        faults.append("a picture is in it twice")
    if len(manifest.images) < MIN_DATASET:
        faults.append(f"{len(manifest.images)} pictures; {MIN_DATASET} are needed")
    reason = "; ".join(faults) or f"{len(manifest.images)} pictures with captions; {len(manifest.left_out)} left out"
    numbers = {"images": len(manifest.images), "left_out_images": len(manifest.left_out)}
    return judgement(manifest, "dataset", not faults, reason, numbers)


def lora(studio: Studio, manifest: LoraArtifact) -> Judgement:
    """The stored file is a LoRA for the recorded base model, complete and finite, trained to the requested step."""
    try:
        info = lora_file.verify(
            studio.store.get("loras", manifest.sha256), base_model=manifest.base_model, trained_steps=manifest.steps
        )
    except (LoraFileError, ObjectMissing, ObjectCorrupt) as error:
        return judgement(manifest, "lora_file", False, str(error), {})
    reason = f"{info.tensors} tensors of rank {info.rank} for {info.base_model}, step {manifest.steps}"
    return judgement(manifest, "lora_file", True, reason, {"rank": info.rank, "tensors": info.tensors})


_CLAIMS: dict[str, Callable[[Studio, Any], Judgement]] = {
    "integrity": integrity,
    "provenance": provenance,
    "quality": quality,
    "rating": rating,
    "identity": likeness.identity,
    "evidence": likeness.evidence,
    "drift": likeness.drift,
    "distinct": likeness.distinct,
    "timing": timing,
    "dataset": dataset,
    "lora_file": lora,
}


def _target(manifest: ImageSet | LoraArtifact) -> tuple[float, int]:
    if isinstance(manifest, LoraArtifact):
        return targets.LORA_TRAINING_SECONDS, 1
    if manifest.asset == "base_images":
        return targets.BASE_IMAGES_SECONDS, 1
    if manifest.asset == "character_sheet":
        return targets.CHARACTER_SHEET_SECONDS, 1
    per_job = -(-len(manifest.images) // max(1, manifest.timing.jobs))
    return targets.GENERATED_IMAGE_SECONDS, max(1, per_job)


def _seconds(spent: Timing) -> dict[str, float]:
    return {
        "exec_s": spent.exec_s,
        "queue_s": spent.queue_s,
        "cold_s": spent.cold_s,
        "overhead_s": spent.overhead_s,
        "cost_usd": spent.cost_usd,
    }
