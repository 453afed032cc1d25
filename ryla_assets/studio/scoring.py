"""Any files against any references: the identity measure without a registry, a store or a character.

Belongs here: what `ryla images score` says of files from anywhere. What is judged of our own sets is `likeness`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.face_pool import cores
from resources.identity import Face, Scorer, Seen
from resources.images import MAX_BYTES, SourceType
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
from ryla_assets.studio.faces import look

FILES_A_CORE = 8  # in memory at once, an ordinary one has 2 MB: the last ones of each lot leave cores idle
FARTHEST = 2.0  # L2 distance: a larger threshold verifies everybody; strangers' photographs are 0.57 to 1.08 apart
_DOMAIN_OF: Mapping[SourceType, RenderDomain] = {"algorithmicMedia": "preview", "trainedAlgorithmicMedia": "model"}


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

    A file that is named twice counts once. `domain` None: that of the references' AI mark, `model` where they carry
    none (photographs). Then a file marked as of the other domain is refused, since their distances are of two scales.
    Raises InputError: a reference that is not a picture of exactly one face, two domains, or a `threshold` that is no
    distance (0 to FARTHEST). Raises RylaError where the scorer cannot work.
    """
    if threshold is not None and not 0.0 <= threshold <= FARTHEST:  # NaN is within nothing
        way_out = f"Say a number from 0 to {FARTHEST:g}, or none."
        raise InputError(f"{threshold} is no distance.", field="--threshold", value=threshold, way_out=way_out)
    scorer_id = scorer.scorer_id  # before anything else: without its weights there is no scorer
    looked = list(_look(scorer, references))
    found = _domain_of([seen for _, seen in looked if seen is not None]) if domain is None else domain
    mean = template([_only_face(path, seen).embedding for path, seen in looked])
    scores = tuple(_score(path, seen, mean, found, threshold, told=domain) for path, seen in _look(scorer, files))
    totals = consistency(scores, gate=FACE_SWAP_GATE, scorer_id=scorer_id, threshold=threshold)
    return Scored(found, scores, totals)


def _domain_of(references: Sequence[Seen]) -> RenderDomain:
    """The one that they are marked as, `model` without a mark. Raises InputError for two."""
    marked = {_DOMAIN_OF[seen.mark] for seen in references if seen.mark is not None}
    if len(marked) > 1:
        raise InputError(
            "some are drawn by the preview and some made by a model: their mean is nobody's.",
            field="--reference",
            way_out="Name references of one kind, or say --domain.",
        )
    return next(iter(marked), "model")


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
        domain=told or (domain if seen.mark is None else _DOMAIN_OF[seen.mark]),
        template_domain=domain,
        faces=len(seen.faces),
        face_px=seen.faces[0].width if seen.faces else 0.0,
        distance=distance(seen.faces[0].embedding, mean) if seen.faces else None,
        threshold=threshold,
    )


def _only_face(path: Path, seen: Seen | None) -> Face:
    if seen is not None and len(seen.faces) == 1:
        return seen.faces[0]
    what = "is no file"
    if seen is not None:
        what = "is not a picture" if seen.rejected else f"shows {len(seen.faces)} faces"
    raise InputError(
        f"{str(path)!r} {what}; a reference is a picture of one face.",
        field="--reference",
        value=str(path),
        way_out="Name another, or a crop of it.",
    )


def _look(scorer: Scorer, paths: Sequence[Path]) -> Iterator[tuple[Path, Seen | None]]:
    """What is in each file, in order, each file once; None where there is none."""
    named: dict[Path, Path] = {}
    for path in paths:
        named.setdefault(path.absolute(), path)
    wanted, together = list(named.values()), FILES_A_CORE * max(4, cores())
    for start in range(0, len(wanted), together):
        part = wanted[start : start + together]
        files = [_read(path) for path in part]
        seen = iter(look(scorer, [data for data in files if data is not None]))
        yield from ((path, None if data is None else next(seen)) for path, data in zip(part, files, strict=True))


def _read(path: Path) -> bytes | None:
    """At most one byte more than is ever decoded; None for what is no file (a folder, a device) or may not be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError):  # ValueError: a name with a null in it
        return None
