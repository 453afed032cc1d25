"""The nearest other character: by how much a set is its own, and whether two characters are one face.

Belongs here: the index of all templates, one for each scorer and render domain, kept by this process and brought up to
date by what was added since. What near means is `ryla_assets.domain.identity`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from resources.face_index import FaceIndex, Neighbour
from resources.images import ImageRejected
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.images import ImageRecord, ImageSet, RenderDomain
from ryla_assets.studio.faces import faces_of
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass
class _Known:
    """The templates of one scorer and render domain as far as they were read: up to row `last`."""

    index: FaceIndex = field(default_factory=FaceIndex)
    last: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)


_KNOWN: WeakKeyDictionary[sa.Engine, dict[tuple[str, str], _Known]] = WeakKeyDictionary()
_GUARD = threading.Lock()


def nearest(studio: Studio, character: str, domain: RenderDomain, faces: Sequence[Sequence[float]]) -> Neighbour | None:
    """The other character whose current template these faces of one person are nearest to; None while there is none."""
    scorer = studio.scorer.scorer_id
    with _GUARD:
        known = _KNOWN.setdefault(studio.registry.engine, {}).setdefault((scorer, domain), _Known())
    with known.guard:
        known.last, new = studio.registry.templates_after(known.last, scorer, domain)
        known.index.update(new)
        return known.index.nearest(faces, excluding=character)


def nearest_other(studio: Studio, manifest: ImageSet) -> Neighbour | None:
    """The other character that a set's faces are nearest to, by their mean distance; None while there is no other.

    Pictures that are lost or unreadable have no face here; that they count against the set is `score_image`'s business.
    """
    shown = [_only_face(studio, record) for record in manifest.images if record.expects_face]
    return nearest(studio, manifest.character, manifest.render_domain, [face for face in shown if face])


def _only_face(studio: Studio, record: ImageRecord) -> tuple[float, ...]:
    try:
        faces = faces_of(studio, record)
    except (ObjectMissing, ObjectCorrupt, ImageRejected):
        return ()
    return faces[0].embedding if len(faces) == 1 else ()
