"""The claim `rating`: pictures that are rated `sfw` are that, as far as a classifier can tell.

Belongs here: the limit, and what follows where nothing can judge. A set rated `nsfw` is not judged, and says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resources import images
from resources.content_guard import EXTRA, GuardUnusable
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.studio.judgement import Judgement, judgement
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from resources.content_guard import ContentGuard

# The strict end of the range that open_nsfw is used with (0.5 to 0.8). Measured on portraits 0.03, evening dress 0.19,
# swimwear 0.26, our previews under 0.1: what `sfw` allows stays well below.
SFW_LIMIT = 0.5
UNJUDGED = "not judged"  # the scorer id of a set that nothing could judge


def rating(studio: Studio, manifest: ImageSet) -> Judgement:
    """No picture of an `sfw` set scores SFW_LIMIT or more. Re-reads the stored bytes; a score is kept by its pixels.

    Without the classifier the set passes unjudged, and is shown as a warning. A picture that cannot be read fails.
    """
    told = partial(judgement, manifest, "rating")
    count = len(manifest.images)
    if manifest.rating != "sfw":
        reason = f"{UNJUDGED}: the set is rated {manifest.rating}, so nothing is looked for"
        return told(True, reason, {"judged": 0}, scorer_id=UNJUDGED)
    guard = studio.guard
    if guard is None:
        reason = f"{UNJUDGED}: no classifier is installed (the extra `{EXTRA}`: pip install ryla-assets[{EXTRA}])"
        return told(True, reason, {"judged": 0}, scorer_id=UNJUDGED, warned=True)
    faults, scores = [], []
    rows = []
    for record in manifest.images:
        try:
            score = _score(studio, guard, record)
        except (ObjectMissing, ObjectCorrupt, images.ImageRejected, GuardUnusable) as error:
            faults.append(f"{record.shot}: {error}")
            continue
        scores.append(score)
        rows.append({"name": record.shot, "nsfw_score": score, "verified": score < SFW_LIMIT})
        if score >= SFW_LIMIT:
            faults.append(f"{record.shot}: scored {score:.2f}, below {SFW_LIMIT:.2f} is sfw")
    highest = max(scores, default=None)
    good = f"all {count} pictures score below {SFW_LIMIT:.2f}" + (f"; the highest {highest:.2f}" if scores else "")
    numbers = {"judged": len(scores), "nsfw_worst": highest, "nsfw_limit": SFW_LIMIT}
    return told(not faults, "; ".join(faults) or good, numbers, scorer_id=guard.guard_id, per_image=rows)


def _score(studio: Studio, guard: ContentGuard, record: ImageRecord) -> float:
    image = images.decode(studio.store.get("images", record.sha256))
    pixels = images.pixels_sha256(image)
    known = studio.registry.rating(pixels, guard.guard_id)
    if known is not None:
        return known
    score = guard.judge(image)
    if not 0.0 <= score <= 1.0:  # a NaN neither
        raise GuardUnusable(f"{guard.guard_id} gave no score.")
    studio.registry.keep_rating(pixels, guard.guard_id, score)
    return score
