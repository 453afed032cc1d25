"""Faces of stored pictures and the templates they are compared with.

Everything here re-reads the stored bytes; what a scorer found in exactly these pixels is remembered by their hash.
Other characters' faces are `neighbours`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from resources import images
from resources.identity import Face, Scorer, ScorerUnavailable, Seen, see_all
from resources.quality import bits_apart, measure
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.errors import NotAccepted, RylaError
from ryla_assets.domain.identity import COPY_DISTANCE, ImageScore, distance, is_copy, least_face_px, template, verify
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet
from ryla_assets.studio.studio import Studio, name_of

PIXELS_KEPT = 10_000  # about 2 MB
_pixels: dict[str, str] = {}  # sha256 of stored bytes -> of their pixels; the bytes are verified at every read


@dataclass(frozen=True)
class Original:
    """The pictures that a set was drawn from, each as (sha256, embedding of its one face).

    To show one of them again is no consistency.
    """

    pictures: tuple[tuple[str, tuple[float, ...]], ...]


def look(scorer: Scorer, files: Sequence[bytes]) -> list[Seen]:
    """What is in each file, in their order; what is wrong with a file is said of it.

    Raises RylaError where the scorer cannot work: that says nothing of the files, and must refuse none.
    """
    try:
        return see_all(scorer, files)
    except ScorerUnavailable as error:
        way_out = "Its own words are on stderr; ryla doctor says whether it is installed. A process needs 100 MB."
        raise RylaError(f"{error}.", field="face scorer", value=scorer.scorer_id, way_out=way_out) from error


def faces_of(studio: Studio, record: ImageRecord | Caption) -> list[Face]:
    """The people in one stored picture. Raises ObjectMissing, ObjectCorrupt, ImageRejected.

    The bytes are read and verified anew; they are decoded and looked at only where nobody did before.
    """
    data, scorer = studio.store.get("images", record.sha256), studio.scorer.scorer_id
    pixels = _pixels.get(record.sha256) or images.pixels_sha256(images.decode(data))
    if len(_pixels) >= PIXELS_KEPT:
        _pixels.clear()
    _pixels[record.sha256] = pixels
    known = studio.registry.faces(pixels, scorer)
    if known is not None:
        return [Face.from_dict(face) for face in known]
    [seen] = look(studio.scorer, [data])
    if seen.rejected:
        raise images.ImageRejected(seen.rejected, "the face scorer could not look at it")
    _remember(studio, seen)
    return list(seen.faces)


def look_ahead(studio: Studio, records: Sequence[ImageRecord]) -> None:
    """Look at all pictures that were never looked at, at once where the scorer can; the rest is left to `faces_of`."""
    scorer = studio.scorer.scorer_id
    files = []
    for record in records:
        if studio.registry.faces(record.pixels_sha256, scorer) is None:
            try:
                files.append(studio.store.get("images", record.sha256))
            except (ObjectMissing, ObjectCorrupt):
                continue  # its score will say so
    for seen in look(studio.scorer, files):
        if not seen.rejected:
            _remember(studio, seen)


def reference_template(studio: Studio, base: ImageSet) -> list[float]:
    """The template before a sheet is approved: the selected base image's face."""
    faces = faces_of(studio, base.images[0])
    if len(faces) != 1:
        raise NotAccepted(
            f"{len(faces)} faces were found on the selected base image of {base.character}; a reference shows one.",
            field="selected_base_image",
            value=base.images[0].sha256[:12],
            way_out="Select another option, or regenerate the base images.",
        )
    return list(faces[0].embedding)


def original_of(studio: Studio, base: ImageSet, learned: Sequence[Caption] = ()) -> Original | None:
    """What later pictures must not repeat: the selected base image, and the pictures that their LoRA learned from.

    None if the base image does not show exactly one face. A training picture that is lost cannot be compared.
    """
    shown = [(base.images[0].sha256, faces_of(studio, base.images[0]))]
    if len(shown[0][1]) != 1:
        return None
    for picture in learned:
        with suppress(ObjectMissing, ObjectCorrupt, images.ImageRejected):
            shown.append((picture.sha256, faces_of(studio, picture)))
    return Original(tuple((sha256, faces[0].embedding) for sha256, faces in shown if len(faces) == 1))


def keep_reference(studio: Studio, base: ImageSet, embedding: Sequence[float]) -> None:
    """Remember the selected base image's face as its character's template, until a sheet of it is approved."""
    _keep(studio, base, embedding, [base.images[0].sha256])


def sheet_mean(
    studio: Studio, sheet: ImageSet, reference: Sequence[float], original: Original | None = None
) -> tuple[list[float], list[str]]:
    """The mean of the sheet's verified faces and the reference, and the sha256 of the pictures that are in it."""
    embeddings, shown = [list(reference)], []
    for record in sheet.images:
        score = score_image(studio, record, sheet, reference, original)
        if record.expects_face and score.verified:
            embeddings.append(list(faces_of(studio, record)[0].embedding))
            shown.append(record.sha256)
    return template(embeddings), shown


def sheet_template(
    studio: Studio, sheet: ImageSet, reference: Sequence[float], original: Original | None = None
) -> list[float]:
    """The template after approval: the sheet's mean face. Kept for other margins."""
    mean, shown = sheet_mean(studio, sheet, reference, original)
    _keep(studio, sheet, mean, shown)
    return mean


def template_history(studio: Studio, character: str) -> list[dict[str, Any]]:
    """The character's templates by today's scorer, oldest first: the pictures in each, and the set that gave it.

    The last row is what other characters' margins are measured against.
    """
    return [
        {
            "version": kept.version,
            "scorer": kept.scorer_id,
            "render_domain": kept.render_domain,
            "source": kept.source_sha256,
            "images": list(kept.images),
            "at": kept.at,
        }
        for kept in studio.registry.templates(character, studio.scorer.scorer_id)
    ]


def score_image(
    studio: Studio,
    record: ImageRecord,
    manifest: ImageSet,
    reference: Sequence[float],
    original: Original | None = None,
) -> ImageScore:
    """Judge one stored picture against a template; a missing or unreadable one is a score, not an error."""
    judged = partial(
        verify,
        record.shot,
        domain=manifest.render_domain,
        template_domain=studio.render_domain,
        expected=record.expects_face,
        min_face_px=least_face_px(record.framing, min(record.width, record.height)),
    )
    try:
        faces = faces_of(studio, record)
    except ObjectMissing:
        return judged(missing=True)
    except (ObjectCorrupt, images.ImageRejected):
        return judged(unreadable=True)
    return judged(
        faces=len(faces),
        face_px=faces[0].width if faces else 0.0,
        distance=distance(faces[0].embedding, reference) if faces else None,
        copy=original is not None and len(faces) == 1 and _repeats(studio, record, faces[0], original),
    )


def _repeats(studio: Studio, record: ImageRecord, face: Face, original: Original) -> bool:
    """Of most pictures no perceptual hash is needed: their face is not near enough to any."""
    apart = {sha256: distance(face.embedding, embedding) for sha256, embedding in original.pictures}
    near = {sha256: away for sha256, away in apart.items() if away < COPY_DISTANCE}
    own = _phash(studio, record.sha256) if near else ""
    bits = {sha256: bits_apart(own, _phash(studio, sha256)) for sha256 in near}
    return any(is_copy(near[sha256], apart, studio.render_domain) for sha256, apart in bits.items())


def _phash(studio: Studio, sha256: str) -> str:
    return measure(images.decode(studio.store.get("images", sha256))).phash


def _remember(studio: Studio, seen: Seen) -> None:
    found = [face.as_dict() for face in seen.faces]
    studio.registry.keep_faces(seen.pixels_sha256, studio.scorer.scorer_id, found)


def _keep(studio: Studio, manifest: ImageSet, embedding: Sequence[float], shown: Sequence[str]) -> None:
    studio.registry.keep_template(
        manifest.character,
        studio.scorer.scorer_id,
        render_domain=manifest.render_domain,
        embedding=embedding,
        source_sha256=name_of(manifest),
        images=shown,
    )
