"""Any files against any references: the identity measure without a registry, a store or a character.

Belongs here: what `ryla images score` says of files from anywhere. What is judged of our own sets is `likeness`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.identity import Face, Scorer, Seen, see_all
from resources.images import MAX_BYTES, read_mark
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.identity import (
    Consistency,
    ImageScore,
    consistency,
    distance,
    template,
    verify,
)
from ryla_assets.domain.images import RenderDomain
from ryla_assets.domain.targets import FACE_SWAP_GATE

TOGETHER = 32  # files that are in memory at once; an ordinary one has 2 MB
_DOMAIN_OF: Mapping[str | None, RenderDomain] = {"algorithmicMedia": "preview", "trainedAlgorithmicMedia": "model"}


@dataclass(frozen=True)
class Scored:
    """Every file's score, in the order asked, and the set's."""

    domain: RenderDomain
    scores: tuple[ImageScore, ...]
    totals: Consistency


def score_files(
    scorer: Scorer,
    references: Sequence[Path],
    files: Sequence[Path],
    *,
    domain: RenderDomain | None = None,
    threshold: float | None = None,
) -> Scored:
    """Score `files` against the mean face of `references`; a hostile or missing file is a score, not an error.

    `domain` None: that of the references' AI mark, `model` where they carry none (photographs). Then a file marked as
    of the other domain is refused, since their distances are of two scales. Raises InputError: a reference that is not
    a picture of exactly one face, or two domains.
    """
    marked: set[RenderDomain] = {mark for mark in map(_mark, references) if mark is not None}
    if domain is None and len(marked) > 1:
        raise InputError(
            "some are drawn by the preview and some made by a model: their mean is nobody's.",
            field="--reference",
            way_out="Name references of one kind, or say --domain.",
        )
    found: RenderDomain = next(iter(marked), "model") if domain is None else domain
    faces = [_only_face(path, seen) for path, seen in _look(scorer, references)]
    mean = template([face.embedding for face in faces])
    scores = tuple(_score(path, seen, mean, found, threshold, told=domain) for path, seen in _look(scorer, files))
    totals = consistency(scores, gate=FACE_SWAP_GATE, scorer_id=scorer.scorer_id, threshold=threshold)
    return Scored(found, scores, totals)


def _score(
    path: Path,
    seen: Seen | None,
    mean: Sequence[float],
    domain: RenderDomain,
    threshold: float | None,
    *,
    told: RenderDomain | None,
) -> ImageScore:
    if seen is None or seen.rejected:
        missing, unreadable = seen is None, seen is not None
        return verify(str(path), domain=domain, template_domain=domain, missing=missing, unreadable=unreadable)
    return verify(
        str(path),
        domain=told or _mark(path) or domain,
        template_domain=domain,
        faces=len(seen.faces),
        face_px=seen.faces[0].width if seen.faces else 0.0,
        distance=distance(seen.faces[0].embedding, mean) if seen.faces else None,
        threshold=threshold,
    )


def _only_face(path: Path, seen: Seen | None) -> Face:
    if seen is not None and len(seen.faces) == 1:
        return seen.faces[0]
    what = f"it shows {len(seen.faces)} faces" if seen and not seen.rejected else "it is not a picture"
    raise InputError(
        f"{'there is no such file' if seen is None else what}; a reference is a picture of one face.",
        field="--reference",
        value=str(path),
        way_out="Name another, or a crop of it.",
    )


def _look(scorer: Scorer, paths: Sequence[Path]) -> Iterator[tuple[Path, Seen | None]]:
    """What is in each file, in order; None where there is none."""
    for start in range(0, len(paths), TOGETHER):
        part = paths[start : start + TOGETHER]
        files = [_read(path) for path in part]
        seen = iter(see_all(scorer, [data for data in files if data is not None]))
        yield from ((path, None if data is None else next(seen)) for path, data in zip(part, files, strict=True))


def _mark(path: Path) -> RenderDomain | None:
    data = _read(path)
    return _DOMAIN_OF.get(read_mark(data)) if data else None


def _read(path: Path) -> bytes | None:
    """At most one byte more than is ever decoded; None for what is no file (a folder, a device) or may not be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError):  # ValueError: a name with a null in it
        return None
