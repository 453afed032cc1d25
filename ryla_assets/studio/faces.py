"""Faces of stored pictures and the templates they are compared with.

Everything here re-reads the stored bytes; what a scorer found in exactly these pixels is remembered by their hash.
Other characters' faces are `neighbours`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from resources import images
from resources.identity import Face, see_all
from resources.quality import bits_apart, measure
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.errors import NotAccepted
from ryla_assets.domain.identity import COPY_DISTANCE, ImageScore, distance, is_copy, least_face_px, template, verify
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.studio.studio import Studio, name_of

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS_KEPT = 10_000  # about 2 MB
_pixels: dict[str, str] = {}  # sha256 of stored bytes -> of their pixels; the bytes are verified at every read


@dataclass(frozen=True)
class Original:
    """The picture that a set was drawn from: its face and its perceptual hash. To show it again is no consistency."""

    embedding: tuple[float, ...]
    phash: str


def faces_of(studio: Studio, record: ImageRecord) -> list[Face]:
    """The people in one stored picture. Raises ObjectMissing, ObjectCorrupt, ImageRejected."""
    return _seen(studio, record)[1]


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
    for seen in see_all(studio.scorer, files):
        if not seen.rejected:
            studio.registry.keep_faces(seen.pixels_sha256, scorer, [face.as_dict() for face in seen.faces])


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


def original_of(studio: Studio, base: ImageSet) -> Original | None:
    """The selected base image as later pictures must not repeat it; None if it does not show exactly one face."""
    data, faces = _seen(studio, base.images[0])
    return Original(faces[0].embedding, measure(images.decode(data)).phash) if len(faces) == 1 else None


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
        data, faces = _seen(studio, record)
    except ObjectMissing:
        return judged(missing=True)
    except (ObjectCorrupt, images.ImageRejected):
        return judged(unreadable=True)
    near = original is not None and len(faces) == 1 and distance(faces[0].embedding, original.embedding) < COPY_DISTANCE
    return judged(
        faces=len(faces),
        face_px=faces[0].width if faces else 0.0,
        distance=distance(faces[0].embedding, reference) if faces else None,
        # Of most pictures the perceptual hash is not needed: they are not near enough.
        copy=near and original is not None and _repeats(images.decode(data), faces[0], original),
    )


def _repeats(image: Image, face: Face, original: Original) -> bool:
    return is_copy(distance(face.embedding, original.embedding), bits_apart(measure(image).phash, original.phash))


def _seen(studio: Studio, record: ImageRecord) -> tuple[bytes, list[Face]]:
    """The stored bytes, read and verified anew, and the people on them; decoded only where nobody looked before."""
    data, scorer = studio.store.get("images", record.sha256), studio.scorer.scorer_id
    pixels = _pixels.get(record.sha256) or images.pixels_sha256(images.decode(data))
    if len(_pixels) >= PIXELS_KEPT:
        _pixels.clear()
    _pixels[record.sha256] = pixels
    known = studio.registry.faces(pixels, scorer)
    if known is not None:
        return data, [Face.from_dict(face) for face in known]
    found = studio.scorer.faces(images.decode(data))
    studio.registry.keep_faces(pixels, scorer, [face.as_dict() for face in found])
    return data, found


def _keep(studio: Studio, manifest: ImageSet, embedding: Sequence[float], shown: Sequence[str]) -> None:
    studio.registry.keep_template(
        manifest.character,
        studio.scorer.scorer_id,
        render_domain=manifest.render_domain,
        embedding=embedding,
        source_sha256=name_of(manifest),
        images=shown,
    )
