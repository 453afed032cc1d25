"""Who is on a picture, judged from numbers: verified or not, and how consistent a set is.

Belongs here: the definition of consistency, in plain floats. Does not belong here: detecting faces or computing
embeddings (`resources/identity.py`), many sets over time (`evidence`), gates as rows (`ryla_assets/registry/`).

Consistency = verified / requested, over the shots declared scorable *before* generation. A missing file, no face, two
people, a face too small or a copy of the reference stays in the denominator as not verified; what was declared
unscorable never enters it. Numbers are comparable within one scorer and one render domain only, so mixing domains is
an error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.quality import ALIKE_BITS
from ryla_assets.domain.targets import IDENTITY_THRESHOLDS, MIN_FACE_PX, RenderDomain

Reason = Literal["verified", "missing", "unreadable", "no_face", "two_faces", "face_too_small", "distance", "copy"]

# A portrait's face is at least this share of the picture's short side, declared 0.40: else it is no portrait. Other
# framings have the floor of pixels alone: a full-body face of 0.10 is 64 px wide from a base of 640.
LEAST_FACE_SHARE: Final[dict[str, float]] = {"close-up": 0.12}
# Nearer than two shots of one person, and composed alike: the same picture (docs/adr/0005 has the numbers). No two of
# 129 photographs of one person were nearer than 0.25, so there the hash need only say that it is no other shot; drawn
# ones are, and other takes of one shot begin at 18 bits there.
COPY_DISTANCE: Final = 0.10
COPY_BITS: Final[dict[RenderDomain, int]] = {"model": 64, "preview": ALIKE_BITS}  # of 256
# Two characters nearer than this are told: of 2,000 pairs of unrelated people none was (nearest 0.56).
DISTINCT_DISTANCE: Final = 0.50
Z_95_ONE_SIDED: Final = 1.6448536269514722  # standard normal quantile of 0.95


@dataclass(frozen=True)
class ImageScore:
    """The judgement of one requested image. `expected` is its shot's declaration; `distance` None is unmeasured."""

    name: str
    domain: RenderDomain
    expected: bool
    faces: int
    face_px: float
    distance: float | None
    verified: bool
    reason: Reason


@dataclass(frozen=True)
class Consistency:
    """The judgement of a set of images against one template.

    `mean`, `p90` and `worst` are L2 distances over the declared images that have one (None when there is none);
    `lower_bound` is the one-sided 95 % Wilson bound of `share`; `margin` is how much nearer the set is to its own
    template than to the nearest other character's.
    """

    verified: int
    requested: int
    share: float
    mean: float | None
    p90: float | None
    worst: float | None
    lower_bound: float
    margin: float | None
    threshold: float
    scorer_id: str
    gate: float
    passed: bool


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """The L2 distance of two embeddings of equal length. Raises InputError when they differ in length."""
    if len(a) != len(b) or not a:
        raise InputError(f"embeddings of length {len(a)} and {len(b)} do not compare.", way_out="Score both again.")
    return math.dist(a, b)


def template(embeddings: Sequence[Sequence[float]]) -> list[float]:
    """The mean of at least one embedding, all of one length: what later images are compared with. Raises InputError."""
    if not embeddings:
        raise InputError("a template needs at least one embedding.", way_out="Accept an image with a face first.")
    if len({len(embedding) for embedding in embeddings}) != 1:
        raise InputError("embeddings of different lengths make no template.", way_out="Score all by one scorer.")
    return [math.fsum(column) / len(embeddings) for column in zip(*embeddings, strict=True)]


def least_face_px(framing: str, short_side: int) -> float:
    """The narrowest face, in pixels, that is measured on a picture of that framing ("" where nobody declared one)."""
    return max(MIN_FACE_PX, LEAST_FACE_SHARE.get(framing, 0.0) * short_side)


def is_copy(distance: float, bits: int, domain: RenderDomain) -> bool:
    """Whether a picture is a reference picture again: its face and its perceptual hash (of 256 bits) hardly differ."""
    return distance < COPY_DISTANCE and bits <= COPY_BITS[domain]


def verify(
    name: str,
    *,
    domain: RenderDomain,
    template_domain: RenderDomain,
    expected: bool = True,
    faces: int = 0,
    face_px: float = 0.0,
    distance: float | None = None,
    missing: bool = False,
    unreadable: bool = False,
    copy: bool = False,
    threshold: float | None = None,
    min_face_px: float = MIN_FACE_PX,
) -> ImageScore:
    """Judge one image: verified iff exactly one face, at least `min_face_px` wide, within `threshold` of the template.

    `faces` counts people (false boxes already dropped), `face_px` is the main face's width in pixels, `distance` its L2
    distance, `copy` that it is the reference again (`is_copy`). `threshold` defaults to the domain's.
    Raises InputError when image and template are of two domains.
    """
    if domain != template_domain:
        raise InputError(
            f"an image of domain {domain!r} cannot be compared with a template of domain {template_domain!r}.",
            field=name,
            way_out="Compare images of one backend kind only.",
        )
    limit = IDENTITY_THRESHOLDS[domain] if threshold is None else threshold
    reason: Reason = "verified"
    if missing:
        reason = "missing"
    elif unreadable:
        reason = "unreadable"
    elif faces != 1:
        reason = "no_face" if faces == 0 else "two_faces"
    elif face_px < min_face_px:
        reason = "face_too_small"
    elif distance is None or not distance <= limit:  # a NaN distance is never within
        reason = "distance"
    elif copy:
        reason = "copy"
    return ImageScore(name, domain, expected, faces, face_px, distance, reason == "verified", reason)


def consistency(
    scores: Sequence[ImageScore],
    *,
    gate: float,
    scorer_id: str,
    threshold: float | None = None,
    nearest_other: float | None = None,
) -> Consistency:
    """Judge a set: one score for every requested image, missing ones included.

    `nearest_other` is the set's mean distance to the nearest other character's template. A set with nothing declared
    scorable does not pass. Raises InputError when scores of two render domains are mixed.
    """
    domains = {score.domain for score in scores}
    if len(domains) > 1:
        raise InputError(
            "scores of two render domains make no consistency.",
            field="domain",
            value=sorted(domains),
            way_out="Judge the images of each backend kind on their own.",
        )
    declared = [score for score in scores if score.expected]
    distances = sorted(s.distance for s in declared if s.distance is not None and not math.isnan(s.distance))
    verified, requested = sum(score.verified for score in declared), len(declared)
    share = verified / requested if requested else 0.0
    mean = math.fsum(distances) / len(distances) if distances else None
    return Consistency(
        verified=verified,
        requested=requested,
        share=share,
        mean=mean,
        p90=distances[math.ceil(0.9 * len(distances)) - 1] if distances else None,
        worst=distances[-1] if distances else None,
        lower_bound=lower_bound(verified, requested),
        margin=None if mean is None or nearest_other is None else nearest_other - mean,
        threshold=_threshold(domains, threshold),
        scorer_id=scorer_id,
        gate=gate,
        passed=requested > 0 and share >= gate,
    )


def lower_bound(verified: int, requested: int) -> float:
    """The one-sided 95 % Wilson lower bound of verified / requested: 8/8 gives 0.75, 52/52 gives 0.95, 0/0 gives 0."""
    if requested == 0:
        return 0.0
    z2 = Z_95_ONE_SIDED**2
    share = verified / requested
    centre = share + z2 / (2 * requested)
    spread = Z_95_ONE_SIDED * math.sqrt(share * (1 - share) / requested + z2 / (4 * requested**2))
    return max(0.0, (centre - spread) / (1 + z2 / requested))


def _threshold(domains: set[RenderDomain], threshold: float | None) -> float:
    if threshold is not None:
        return threshold
    return IDENTITY_THRESHOLDS[next(iter(domains), "model")]
