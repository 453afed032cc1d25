"""Faces of stored pictures and the templates they are compared with.

Everything here re-reads the stored bytes; what a scorer found in exactly these pixels is remembered by their hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from resources import images
from resources.identity import Face
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.errors import NotAccepted
from ryla_assets.domain.identity import ImageScore, distance, template, verify
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.studio.studio import Studio, name_of

OTHERS = 50  # templates of other characters that a margin is measured against; the newest ones


def faces_of(studio: Studio, record: ImageRecord) -> list[Face]:
    """The people in one stored picture. Raises ObjectMissing, ObjectCorrupt, ImageRejected."""
    image = images.decode(studio.store.get("images", record.sha256))
    pixels, scorer = images.pixels_sha256(image), studio.scorer.scorer_id
    known = studio.registry.faces(pixels, scorer)
    if known is None:
        found = studio.scorer.faces(image)
        studio.registry.keep_faces(pixels, scorer, [face.as_dict() for face in found])
        return found
    return [Face.from_dict(face) for face in known]


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


def sheet_template(studio: Studio, sheet: ImageSet, reference: Sequence[float]) -> list[float]:
    """The template after approval: the mean of the sheet's verified faces and the reference. Kept for other margins."""
    embeddings = [list(reference)]
    for record in sheet.images:
        score = score_image(studio, record, sheet, reference)
        if record.expects_face and score.verified:
            embeddings.append(list(faces_of(studio, record)[0].embedding))
    mean = template(embeddings)
    studio.registry.keep_template(
        sheet.character,
        studio.scorer.scorer_id,
        render_domain=sheet.render_domain,
        embedding=mean,
        source_sha256=name_of(sheet),
    )
    return mean


def score_image(studio: Studio, record: ImageRecord, manifest: ImageSet, reference: Sequence[float]) -> ImageScore:
    """Judge one stored picture against a template; a missing or unreadable one is a score, not an error."""
    judged = partial(
        verify,
        record.shot,
        domain=manifest.render_domain,
        template_domain=studio.render_domain,
        expected=record.expects_face,
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
    )


def nearest_other(studio: Studio, manifest: ImageSet) -> float | None:
    """The set's mean distance to the nearest other character's template; None while there is no other.

    Pictures that are lost or unreadable have no face here; that they count against the set is `score_image`'s business.
    """
    others = studio.registry.other_templates(
        manifest.character, studio.scorer.scorer_id, manifest.render_domain, limit=OTHERS
    )
    own = [
        faces[0].embedding
        for record in manifest.images
        if record.expects_face and len(faces := _still_there(studio, record)) == 1
    ]
    if not others or not own:
        return None
    return min(sum(distance(face, other) for face in own) / len(own) for other in others.values())


def _still_there(studio: Studio, record: ImageRecord) -> list[Face]:
    try:
        return faces_of(studio, record)
    except (ObjectMissing, ObjectCorrupt, images.ImageRejected):
        return []
