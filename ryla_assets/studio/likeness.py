"""Judgements about faces: who is on a set, what all sets prove together, whether they move, whose face is alike.

Belongs here: the claims `identity`, `evidence`, `drift` and `distinct`. Only `identity` decides whether a set may be
used; the others are told. Does not belong here: definitions (`ryla_assets.domain`), and writing gate rows (`judge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ryla_assets.domain import targets
from ryla_assets.domain.errors import NotAccepted, TooEarly
from ryla_assets.domain.evidence import DRIFT, WINDOW
from ryla_assets.domain.evidence import drift as measured_drift
from ryla_assets.domain.evidence import evidence as proof
from ryla_assets.domain.identity import DISTINCT_DISTANCE, Consistency, ImageScore, consistency
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet, LoraArtifact, LoraDataset, TrainingTicket
from ryla_assets.registry.records import Verdict
from ryla_assets.studio.faces import (
    Original,
    keep_reference,
    look_ahead,
    original_of,
    reference_template,
    score_image,
    sheet_mean,
    sheet_template,
)
from ryla_assets.studio.judgement import Judgement, judgement
from ryla_assets.studio.neighbours import nearest, nearest_other
from ryla_assets.studio.studio import Studio, name_of

NO_REFERENCE = "the base image behind it does not show exactly one face"


def identity(studio: Studio, manifest: ImageSet) -> Judgement:
    """The declared shots show the character: verified / requested at a fixed distance, against its route's gate."""
    gate, scorer = gate_of(manifest), studio.scorer.scorer_id
    against = compared(studio, manifest)
    if against is None:
        reason = f"nothing can be verified: {NO_REFERENCE}"
        return judgement(manifest, "identity", False, reason, {}, scorer_id=scorer)
    template, original = against
    look_ahead(studio, (*manifest.images, *manifest.rejected))
    scores = [score_image(studio, record, manifest, template, original) for record in manifest.images]
    other = nearest_other(studio, manifest)
    verdict = consistency(scores, gate=gate, scorer_id=scorer, nearest_other=None if other is None else other.distance)
    if manifest.asset == "character_sheet" and verdict.passed:
        sheet_template(studio, manifest, template, original)
    rejected = [score_image(studio, record, manifest, template, original) for record in manifest.rejected]
    _keep_verdicts(studio, manifest, [*zip(manifest.rejected, rejected, strict=True)])
    _keep_verdicts(studio, manifest, [*zip(manifest.images, scores, strict=True)])
    reason = (
        f"{verdict.verified} of {verdict.requested} declared shots verified at distance {verdict.threshold:.2f}"
        f" ({verdict.share:.0%}; the gate is {gate:.0%})"
    )
    worst = [f"{s.name}: {s.reason}" for s in scores if s.expected and not s.verified]
    if worst:
        reason += ": " + ", ".join(worst)
    numbers = _identity_numbers(verdict) | ({} if other is None else {"nearest_character": other.name})
    rows = [_score_row(score) for score in scores]
    return judgement(manifest, "identity", verdict.passed, reason, numbers, scorer_id=scorer, per_image=rows)


def evidence(studio: Studio, manifest: ImageSet) -> Judgement:
    """What all declared pictures of the character and route prove together, refused sets and rejected takes included.

    Told, never required: 8 of 8 verified prove 75 %, it takes 52 of 52 to prove 95 %.
    """
    rows = _verdicts(studio, manifest)
    found = proof(sum(row.verified for row in rows), len(rows), gate=gate_of(manifest))
    reason = (
        f"{found.verified} of the last {found.requested} declared {manifest.route} pictures verified, which proves"
        f" {found.lower_bound:.1%} (the gate is {found.gate:.0%})"
    )
    if found.needed:
        reason += f"; {found.needed} more in a row would prove it"
    numbers = {
        "evidence_verified": found.verified,
        "evidence_requested": found.requested,
        "evidence_share": found.share,
        "evidence_lower_bound": found.lower_bound,
        "evidence_needed": found.needed,
        "identity_gate": found.gate,
    }
    return _told(studio, manifest, "evidence", found.proven, reason, numbers)


def drift(studio: Studio, manifest: ImageSet) -> Judgement:
    """Whether this set's mean distance to the template is that of the character's earlier pictures of the route."""
    rows, own = _verdicts(studio, manifest), name_of(manifest)
    first = next((n for n, row in enumerate(rows) if row.manifest_sha256 == own), len(rows))
    latest = [row.distance for row in rows if row.manifest_sha256 == own and row.distance is not None]
    before = [r.distance for r in rows[first:] if r.manifest_sha256 != own and r.distance is not None]
    found = measured_drift(latest, before)
    if found is None:
        return _told(studio, manifest, "drift", True, f"no earlier {manifest.route} pictures to compare with", {})
    reason = (
        f"mean distance {found.latest:.3f}, {found.moved:+.3f} from that of {len(before)} earlier pictures"
        f" ({'within' if found.steady else 'beyond'} {DRIFT:.2f})"
    )
    if not found.judged:
        reason += "; too few pictures to say"
    numbers = {"identity_mean": found.latest, "identity_earlier": found.earlier, "identity_drift": found.moved}
    return _told(studio, manifest, "drift", found.steady, reason, numbers)


def distinct(studio: Studio, manifest: ImageSet) -> Judgement:
    """No other character has this face: the nearest one's template, for a picked base image and for a sheet.

    Told, never required: who looks alike is a person's decision. Drawn faces all lie near, so on a preview the numbers
    are told as not applicable.
    """
    try:
        embedding = _own_face(studio, manifest)
    except NotAccepted as error:
        return _told(studio, manifest, "distinct", False, f"not measured: {error.message}", {})
    other = nearest(studio, manifest.character, manifest.render_domain, [embedding])
    if other is None:
        return _told(studio, manifest, "distinct", True, "there is no other character to compare with", {})
    numbers = {
        "nearest_character": other.name,
        "nearest_distance": other.distance,
        "distinct_distance": DISTINCT_DISTANCE,
    }
    alike = manifest.render_domain == "model" and other.distance < DISTINCT_DISTANCE
    reason = f"the nearest other character is {other.name} at {other.distance:.2f}"
    if manifest.render_domain != "model":
        reason += "; not applicable to drawn faces, which all lie near each other"
    else:
        reason += f" ({'alike: nearer than' if alike else 'at least'} {DISTINCT_DISTANCE:.2f})"
    return _told(studio, manifest, "distinct", not alike, reason, numbers)


def gate_of(manifest: ImageSet) -> float:
    """The share of declared shots that must verify, by what really ran."""
    if manifest.asset == "character_sheet":
        return targets.SHEET_GATE
    return targets.LORA_GATE if manifest.route == "lora" else targets.FACE_SWAP_GATE


def compared(studio: Studio, manifest: ImageSet) -> tuple[list[float], Original | None] | None:
    """What the set's faces are compared with, and what they must not repeat: by its lineage, not by today's pick.

    A sheet is compared with the base image that it was drawn from; generated images with the sheet's mean face. Neither
    may repeat that base image, nor a picture that its LoRA was trained on. None if the base image does not show exactly
    one face (only RYLA_GATES=record lets it come to that).
    """
    of_sheet = manifest.asset == "character_sheet"
    base = _images(studio, manifest.parents[0 if of_sheet else 1])
    try:
        reference = reference_template(studio, base)
    except NotAccepted:
        return None
    original = original_of(studio, base, _learned(studio, manifest))
    if of_sheet:
        return reference, original
    return sheet_template(studio, _images(studio, manifest.parents[0]), reference, original), original


def _learned(studio: Studio, manifest: ImageSet) -> Sequence[Caption]:
    """The pictures that the set's LoRA was trained on; none on other routes."""
    found = [studio.manifest(sha256) for sha256 in manifest.parents] if manifest.route == "lora" else []
    while found:
        made = found.pop()
        if isinstance(made, LoraDataset):
            return made.images
        if isinstance(made, LoraArtifact | TrainingTicket):
            found += [studio.manifest(sha256) for sha256 in made.parents]
    return ()


def _own_face(studio: Studio, manifest: ImageSet) -> list[float]:
    """The face of a picked base image, or the mean face of a sheet. Raises NotAccepted where there is not one face."""
    if manifest.asset == "selected_base_image":
        face = reference_template(studio, manifest)
        keep_reference(studio, manifest, face)
        return face
    base = _images(studio, manifest.parents[0])
    return sheet_mean(studio, manifest, reference_template(studio, base), original_of(studio, base))[0]


def _verdicts(studio: Studio, manifest: ImageSet) -> list[Verdict]:
    """The newest verdicts of the set's character and route, its own among them."""
    scorer = studio.scorer.scorer_id
    gates = studio.registry.gates(manifest.asset, manifest.character, name_of(manifest))
    if not any(gate.claim == "identity" and gate.scorer_id == scorer for gate in gates):
        identity(studio, manifest)  # leaves its verdicts; the claim itself is its own check's to write
    return studio.registry.verdicts(
        manifest.character, scorer, route=manifest.route, render_domain=manifest.render_domain, limit=WINDOW
    )


def _keep_verdicts(studio: Studio, manifest: ImageSet, judged: Sequence[tuple[ImageRecord, ImageScore]]) -> None:
    own = name_of(manifest)
    rows = [Verdict(r.sha256, own, s.verified, s.reason, s.distance) for r, s in judged if s.expected]
    studio.registry.keep_verdicts(
        manifest.character,
        studio.scorer.scorer_id,
        route=manifest.route,
        render_domain=manifest.render_domain,
        verdicts=rows,
    )


def _images(studio: Studio, sha256: str) -> ImageSet:
    manifest = studio.manifest(sha256)
    if not isinstance(manifest, ImageSet):
        raise TooEarly(f"{sha256[:12]} is no set of pictures.", field="parents", way_out="Make the set anew.")
    return manifest


def _told(
    studio: Studio, manifest: ImageSet, claim: str, passed: bool, reason: str, numbers: dict[str, Any]
) -> Judgement:
    model = manifest.render_domain == "model"
    scorer = studio.scorer.scorer_id
    return judgement(manifest, claim, passed, reason, numbers, scorer_id=scorer, evidence=model)


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
