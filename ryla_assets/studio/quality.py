"""What is wrong with the pictures of a set before anybody asks who is on them, re-read from the stored bytes.

Belongs here: reading, measuring (once for the same pixels) and putting the numbers before `domain.quality`. What is
done about a fault is `reroll`'s; that it refuses a set, `judge`'s.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources import images
from resources.quality import Quality, bits_apart, measure
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.domain.quality import BLANK_STD, Finding, duplicates, findings, repeat
from ryla_assets.studio.faces import faces_of, look_ahead
from ryla_assets.studio.studio import Studio, name_of

if TYPE_CHECKING:
    from PIL.Image import Image

MEASURES = "quality/2"  # raise it when `resources.quality` measures other numbers of the same pixels
COPY_BITS = 16  # of 256: 52 previews as JPEG 40 to 95, WebP 75, scaled by 1/4 to 2 differed in up to 12, others from 26
LIKEST = 5  # candidates that are then compared pixel by pixel
EARLIER = 3  # takes of an asset whose pictures are compared with a new one; more would be read at every check


@dataclass(frozen=True)
class Seen:
    """One picture of a set: its numbers (None: it cannot be read), and what is wrong with it, worst first."""

    record: ImageRecord
    quality: Quality | None
    faces: int | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def refusals(self) -> list[Finding]:
        """The findings that refuse it."""
        return [finding for finding in self.findings if finding.refuses]


def looking_like(studio: Studio, image: Image) -> list[str]:
    """pixels_sha256 of measured pictures that this one may be a copy of, scaled or saved with loss; the likest first.

    By the perceptual hash alone: 256 bits find a copy, they do not prove one. A blank picture is like nothing.
    """
    own = measure(image)
    if own.luma_std < BLANK_STD:
        return []
    kept = ((pixels, found[0]["phash"]) for pixels, found in studio.registry.all_faces(f"{MEASURES} ") if found)
    near = ((bits_apart(own.phash, phash), pixels) for pixels, phash in kept)
    return [pixels for _, pixels in heapq.nsmallest(LIKEST, (one for one in near if one[0] <= COPY_BITS))]


def look_at(studio: Studio, manifest: ImageSet) -> list[Seen]:
    """Every picture of the set, in its order. A lost or damaged one is a finding, not an error."""
    look_ahead(studio, manifest.images)
    seen = [_look(studio, record) for record in manifest.images]
    twice = duplicates(_bits([one for one in seen if not one.refusals]))
    earlier = _earlier_takes(studio, manifest)
    return [
        Seen(one.record, one.quality, one.faces, [*one.findings, *_alike(studio, one, twice, earlier)]) for one in seen
    ]  # fmt: skip


def plotted(seen: Sequence[Seen]) -> dict[str, Any]:
    """The set in numbers that plot; None where nothing was measured."""
    measured = [one.quality for one in seen if one.quality is not None]
    faces = [one.face_sharpness for one in measured if one.face_sharpness is not None]
    return {
        "faults": sum(len(one.refusals) for one in seen),
        "doubts": sum(len(one.findings) - len(one.refusals) for one in seen),
        "sharpness_min": min((one.sharpness for one in measured), default=None),
        "face_sharpness_min": min(faces, default=None),
        "phash_min_bits": min(_bits(seen).values(), default=None),
    }


def rows(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """A table row a picture."""
    return [
        {
            "name": one.record.shot,
            "faults": "; ".join(finding.text for finding in one.refusals),
            "doubts": "; ".join(finding.text for finding in one.findings if not finding.refuses),
            "faces": one.faces,
            "sharpness": one.quality.sharpness if one.quality else None,
            "face_sharpness": one.quality.face_sharpness if one.quality else None,
            "luma_median": one.quality.luma_median if one.quality else None,
        }
        for one in seen
    ]


def _look(studio: Studio, record: ImageRecord) -> Seen:
    if not record.stored:
        return Seen(record, None, None, [Finding("unreadable", record.refused)])
    try:
        faces = faces_of(studio, record)
        quality = _measured(studio, record, faces[0].box if faces else None)
    except (ObjectMissing, ObjectCorrupt, images.ImageRejected) as error:
        return Seen(record, None, None, [Finding("unreadable", str(error))])
    told = {name: value for name, value in quality.as_dict().items() if name != "phash"}
    asked = (record.width, record.height)
    found = findings(**told, asked=asked, faces=len(faces), expects_face=record.expects_face)
    return Seen(record, quality, len(faces), found)


def _measured(studio: Studio, record: ImageRecord, box: tuple[int, int, int, int] | None) -> Quality:
    known = _known(studio, record)
    if known is None:
        known = measure(images.decode(studio.store.get("images", record.sha256)), face=box)
        studio.registry.keep_faces(record.pixels_sha256, _key(studio), [known.as_dict()])
    return known


def _known(studio: Studio, record: ImageRecord) -> Quality | None:
    """What was measured of these pixels; it lies beside the faces found in them, whose box it was measured with."""
    kept = studio.registry.faces(record.pixels_sha256, _key(studio))
    return Quality(**kept[0]) if kept else None


def _key(studio: Studio) -> str:
    return f"{MEASURES} {studio.scorer.scorer_id}"


def _bits(seen: Sequence[Seen]) -> dict[tuple[str, str], int]:
    hashes = [(one.record.shot, one.quality.phash) for one in seen if one.quality is not None]
    return {
        (first, second): bits_apart(one, other)
        for (first, one), (second, other) in itertools.combinations(hashes, 2)
    }  # fmt: skip


def _earlier_takes(studio: Studio, manifest: ImageSet) -> dict[str, list[ImageRecord]]:
    """Shot -> its other takes: those that lost in this set, and those of the takes before. A pick is no new picture."""
    if manifest.asset == "selected_base_image":
        return {}
    takes: dict[str, list[ImageRecord]] = {}
    for record in (*manifest.rejected, *_of_earlier_sets(studio, manifest)):
        takes.setdefault(record.shot, []).append(record)
    return takes


def _of_earlier_sets(studio: Studio, manifest: ImageSet) -> Iterator[ImageRecord]:
    own, published = name_of(manifest), studio.registry.manifests(manifest.asset, manifest.character)
    before = published[: published.index(own)] if own in published else published
    for sha256 in before[-EARLIER:]:
        earlier = studio.manifest(sha256)
        if isinstance(earlier, ImageSet):
            yield from earlier.images


def _alike(
    studio: Studio, one: Seen, twice: dict[str, Finding], takes: dict[str, list[ImageRecord]]
) -> Iterator[Finding]:
    """What is wrong with a picture because another one is like it. Other takes count if they were looked at before."""
    if one.record.shot in twice:
        yield twice[one.record.shot]
    if one.quality is None or one.refusals:
        return
    for other in takes.get(one.record.shot, ()):
        itself = (other.pixels_sha256, other.take) == (one.record.pixels_sha256, one.record.take)
        known = None if itself else _known(studio, other)
        found = repeat(other.take, bits_apart(known.phash, one.quality.phash)) if known else None
        if found is not None:
            yield found
            return
