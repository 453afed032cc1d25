"""Judgements: one function a claim, each re-reading the stored bytes, each ending in one gate row.

Checks, the daily batch and the command line all call `judge`. A judgement says pass or fail, why in one sentence, and
its numbers; what follows from it (`accepted`, an event, the LoRA's status) happens in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from resources import images
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain import targets
from ryla_assets.domain.errors import NotAccepted, TooEarly
from ryla_assets.domain.identity import Consistency, ImageScore, consistency
from ryla_assets.domain.images import ImageSet, LoraArtifact, LoraDataset, Timing
from ryla_assets.registry.records import Gate
from ryla_assets.studio.faces import nearest_other, reference_template, score_image, sheet_template
from ryla_assets.studio.lora import MIN_DATASET
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, name_of
from workflows import lora_file
from workflows.errors import LoraFileError

NO_SCORER = "bytes"  # the scorer id of claims that need no face scorer
EXPECTED_COUNT = {"base_images": 3, "selected_base_image": 1}


@dataclass(frozen=True)
class Judgement:
    """What is claimed about a manifest, whether it holds, and the numbers behind it."""

    asset: str
    character: str
    manifest_sha256: str
    claim: str
    passed: bool
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    scorer_id: str = NO_SCORER
    per_image: list[dict[str, Any]] = field(default_factory=list)
    evidence: bool = True  # False: measured on a preview, so no statement about the product's time


def judge(studio: Studio, asset: str, character: str, claim: str) -> Judgement:
    """Judge one claim about the asset's manifest and write the gate row. Raises TooEarly without a manifest.

    In a run that published one it is that one: two runs on one character must not judge each other's pictures.
    """
    manifest = studio.to_judge(asset, character)
    if manifest is None:
        raise TooEarly(f"{character} has no {asset} to judge.", field=asset, way_out=f"Materialize {asset} first.")
    judgement = _CLAIMS[claim](studio, manifest)
    accepted = studio.registry.judge(
        asset,
        character,
        judgement.manifest_sha256,
        Gate(claim, judgement.passed, judgement.reason, judgement.numbers, judgement.scorer_id),
        required=REQUIRED_CLAIMS[asset],
        tainted=bool(studio.lineage_refusal(manifest)),
    )
    if asset == "lora_weights" and (accepted or not judgement.passed) and claim in REQUIRED_CLAIMS[asset]:
        studio.registry.set_lora_status(character, "ready" if accepted else "failed")
    return judgement


def judge_all(studio: Studio, asset: str, character: str) -> list[Judgement]:
    """Judge every claim that is made about an asset, required or told."""
    return [judge(studio, asset, character, claim) for claim in CLAIMS[asset]]


CLAIMS: dict[str, tuple[str, ...]] = {
    **REQUIRED_CLAIMS,
    "base_images": (*REQUIRED_CLAIMS["base_images"], "timing"),
    "character_sheet": (*REQUIRED_CLAIMS["character_sheet"], "timing"),
    "lora_weights": (*REQUIRED_CLAIMS["lora_weights"], "timing"),
    "generated_images": (*REQUIRED_CLAIMS["generated_images"], "timing"),
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
    return _judgement(manifest, "integrity", not faults, "; ".join(faults) or good, numbers)


def provenance(studio: Studio, manifest: ImageSet) -> Judgement:
    """Every stored picture carries the mark of its making: procedural, or by a trained model."""
    wanted = "algorithmicMedia" if manifest.render_domain == "preview" else "trainedAlgorithmicMedia"
    faults = []
    for record in manifest.images:
        try:
            found = images.read_mark(studio.store.get("images", record.sha256))
        except (ObjectMissing, ObjectCorrupt) as error:
            faults.append(f"{record.shot}: {error}")
            continue
        if found != wanted:
            faults.append(f"{record.shot}: marked {found or 'not at all'}, {wanted} is due")
    reason = "; ".join(faults) or f"all {len(manifest.images)} pictures carry DigitalSourceType {wanted}"
    return _judgement(manifest, "provenance", not faults, reason, {"marked": len(manifest.images) - len(faults)})


def identity(studio: Studio, manifest: ImageSet) -> Judgement:
    """The declared shots show the character: verified / requested at a fixed distance, against its route's gate."""
    template, gate = template_of(studio, manifest)
    if template is None:
        reason = "nothing can be verified: the base image behind it does not show exactly one face"
        return replace(_judgement(manifest, "identity", False, reason, {}), scorer_id=studio.scorer.scorer_id)
    scores = [score_image(studio, record, manifest, template) for record in manifest.images]
    verdict = consistency(
        scores, gate=gate, scorer_id=studio.scorer.scorer_id, nearest_other=nearest_other(studio, manifest)
    )
    if manifest.asset == "character_sheet" and verdict.passed:
        sheet_template(studio, manifest, template)
    reason = (
        f"{verdict.verified} of {verdict.requested} declared shots verified at distance {verdict.threshold:.2f}"
        f" ({verdict.share:.0%}; the gate is {gate:.0%})"
    )
    worst = [f"{s.name}: {s.reason}" for s in scores if s.expected and not s.verified]
    if worst:
        reason += ": " + ", ".join(worst)
    return Judgement(
        asset=manifest.asset,
        character=manifest.character,
        manifest_sha256=name_of(manifest),
        claim="identity",
        passed=verdict.passed,
        reason=reason,
        numbers=_identity_numbers(verdict),
        scorer_id=studio.scorer.scorer_id,
        per_image=[_score_row(score) for score in scores],
    )


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
    found = _judgement(manifest, "timing", passed, reason, {"target_s": target, "took_s": took, **_seconds(spent)})
    return Judgement(**{**vars(found), "evidence": evidence})


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
    return _judgement(manifest, "dataset", not faults, reason, numbers)


def lora(studio: Studio, manifest: LoraArtifact) -> Judgement:
    """The stored file is a LoRA for the recorded base model, complete and finite, trained to the requested step."""
    try:
        info = lora_file.verify(
            studio.store.get("loras", manifest.sha256), base_model=manifest.base_model, trained_steps=manifest.steps
        )
    except (LoraFileError, ObjectMissing, ObjectCorrupt) as error:
        return _judgement(manifest, "lora_file", False, str(error), {})
    reason = f"{info.tensors} tensors of rank {info.rank} for {info.base_model}, step {manifest.steps}"
    return _judgement(manifest, "lora_file", True, reason, {"rank": info.rank, "tensors": info.tensors})


_CLAIMS: dict[str, Callable[[Studio, Any], Judgement]] = {
    "integrity": integrity,
    "provenance": provenance,
    "identity": identity,
    "timing": timing,
    "dataset": dataset,
    "lora_file": lora,
}


def template_of(studio: Studio, manifest: ImageSet) -> tuple[list[float] | None, float]:
    """What the set's faces are compared with, and the share that must verify: by its lineage, not by today's pick.

    A sheet is compared with the base image that it was drawn from; generated images with the sheet's mean face. The
    template is None if that base image does not show exactly one face (only RYLA_GATES=record lets it come to that).
    """
    if manifest.asset == "character_sheet":
        return _reference(studio, _images(studio, manifest.parents[0])), targets.SHEET_GATE
    sheet, base = (_images(studio, parent) for parent in manifest.parents[:2])
    gate = targets.LORA_GATE if manifest.route == "lora" else targets.FACE_SWAP_GATE
    reference = _reference(studio, base)
    return None if reference is None else sheet_template(studio, sheet, reference), gate


def _reference(studio: Studio, base: ImageSet) -> list[float] | None:
    try:
        return reference_template(studio, base)
    except NotAccepted:
        return None


def _images(studio: Studio, sha256: str) -> ImageSet:
    manifest = studio.manifest(sha256)
    if not isinstance(manifest, ImageSet):
        raise TooEarly(f"{sha256[:12]} is no set of pictures.", field="parents", way_out="Make the set anew.")
    return manifest


def _target(manifest: ImageSet | LoraArtifact) -> tuple[float, int]:
    if isinstance(manifest, LoraArtifact):
        return targets.LORA_TRAINING_SECONDS, 1
    if manifest.asset == "base_images":
        return targets.BASE_IMAGES_SECONDS, 1
    if manifest.asset == "character_sheet":
        return targets.CHARACTER_SHEET_SECONDS, 1
    per_job = -(-len(manifest.images) // max(1, manifest.timing.jobs))
    return targets.GENERATED_IMAGE_SECONDS, max(1, per_job)


def _judgement(manifest: Any, claim: str, passed: bool, reason: str, numbers: dict[str, Any]) -> Judgement:
    return Judgement(manifest.asset, manifest.character, name_of(manifest), claim, passed, reason, numbers)


def _identity_numbers(verdict: Consistency) -> dict[str, Any]:
    return {
        "identity_consistency": verdict.share,
        "verified": verdict.verified,
        "requested": verdict.requested,
        "identity_mean": verdict.mean,
        "identity_p90": verdict.p90,
        "identity_worst": verdict.worst,
        "identity_lower_bound": verdict.lower_bound,
        "identity_margin": verdict.margin,
        "identity_threshold": verdict.threshold,
        "identity_gate": verdict.gate,
    }


def _score_row(score: ImageScore) -> dict[str, Any]:
    row = asdict(score)
    return {key: row[key] for key in ("name", "expected", "verified", "reason", "faces", "face_px", "distance")}


def _seconds(spent: Timing) -> dict[str, float]:
    return {
        "exec_s": spent.exec_s,
        "queue_s": spent.queue_s,
        "cold_s": spent.cold_s,
        "overhead_s": spent.overhead_s,
        "cost_usd": spent.cost_usd,
    }
