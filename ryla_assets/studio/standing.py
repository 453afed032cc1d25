"""What is wrong right now, over all characters: not what broke once, but what is still broken, with the next command.

Belongs here: which findings are errors, in which order they are told, and the index of pictures in numbers. The cost is
a fixed number of queries and SAMPLE pictures read, whether there are ten characters or ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resources import images
from resources.storage import StorageError
from ryla_assets.registry.records import Standing, StoredPicture
from ryla_assets.studio.ledger_report import exposure_report
from ryla_assets.studio.lineage import index_old
from ryla_assets.studio.rating import UNJUDGED
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio

DAY_S = 86_400.0
SAMPLE = 20  # pictures that are read and hashed: about a second
SHOWN = 50  # rows of a kind: an event stays small, the numbers count all


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do."""

    level: Literal["error", "warn"]
    what: str
    character: str
    asset: str
    why: str
    next: str


@dataclass(frozen=True)
class StandingReport:
    """Everything that is wrong now, errors first; `numbers` by metadata key."""

    rows: list[dict[str, Any]]
    numbers: dict[str, int | float]
    blocks: list[dict[str, Any]]
    reason: str
    errors: int


@dataclass(frozen=True)
class IndexReport:
    """What pictures there are: numbers by metadata key, one row an asset, one a route."""

    numbers: dict[str, int]
    assets: list[dict[str, Any]]
    routes: list[dict[str, Any]]


def index_report(studio: Studio) -> IndexReport:
    """Pictures that any manifest names. A picked base image is counted once in each of its sets, once in the sum."""
    index_old(studio)
    assets = studio.registry.picture_counts()
    routes = [{"route": route, "images": count} for route, count in studio.registry.route_counts().items()]
    own = [row for row in assets if row["asset"] != "selected_base_image"]  # those are base images again
    numbers = {name: sum(int(row[name]) for row in own) for name in ("stored", "accepted", "rejected")}
    return IndexReport(
        {
            "stored_images": numbers["stored"],
            "accepted_images_now": numbers["accepted"],
            "rejected_images": numbers["rejected"],
        },
        assets,
        routes,
    )


def standing_report(studio: Studio) -> StandingReport:
    """Look at the registry, a sample of the store, the ledger and the audit trail as they are now."""
    registry, since = studio.registry, studio.registry.clock() - DAY_S
    count, unaccepted = registry.unaccepted(REQUIRED_CLAIMS, limit=SHOWN)
    sample = registry.sample(SAMPLE)
    broken = [finding for picture in sample if (finding := _broken(picture, studio))]
    stale = registry.stale_sheets(limit=SHOWN)
    unreviewed, unseen = registry.unreviewed(limit=SHOWN)
    unrated, unjudged = registry.unrated(UNJUDGED, limit=SHOWN)
    exposed = exposure_report(studio)
    blocks = registry.block_counts(since=since)
    found = [
        *(_unaccepted(one) for one in unaccepted),
        *broken,
        *(_stale(character) for character in stale),
        *(_exposed(row) for row in exposed.rows),
        *(_unjudged(studio, *one) for one in unjudged),
        *(_unreviewed(character) for character in unseen if studio.render_domain == "model"),
    ]
    found.sort(key=lambda finding: finding.level != "error")  # stable: each kind stays together
    errors = sum(finding.level == "error" for finding in found)
    numbers = {
        "unaccepted_sets": count,
        "stale_sheets": len(stale),
        "sampled": len(sample),
        "broken_images": len(broken),
        "unreviewed": unreviewed,
        "unrated_sets": unrated,
        "unknown_usd": exposed.unknown_usd,
        "presumed_usd": exposed.presumed_usd,
        "blocked_texts": sum(blocks.values()),
    }
    return StandingReport(
        rows=[asdict(finding) for finding in found[:SHOWN]],
        numbers=numbers,
        blocks=[{"reason": reason, "place": place, "texts": n} for (reason, place), n in blocks.items()],
        reason=_reason(found, errors, len(sample)),
        errors=errors,
    )


def _reason(found: list[Finding], errors: int, sampled: int) -> str:
    if not found:
        return f"Nothing is wrong: every current set is accepted, {sampled} pictures of the store are whole and marked."
    kinds = [f"{n} {what}" for what, n in _counted(found)]
    return f"{errors} errors, {len(found) - errors} warnings: {', '.join(kinds)}."


def _counted(found: list[Finding]) -> Iterator[tuple[str, int]]:
    names = [finding.what for finding in found]
    for name in dict.fromkeys(names):
        yield name, names.count(name)


def _unaccepted(one: Standing) -> Finding:
    """Refused is an error; not yet judged a warning: its checks may be running."""
    refused = [f"{claim}: {why}" for claim, (passed, why) in sorted(one.verdicts.items()) if not passed]
    missing = [claim for claim in REQUIRED_CLAIMS[one.asset] if claim not in one.verdicts]
    if refused:
        step = f"materialize {one.asset} with new_take"
        if one.asset in ("base_images", "character_sheet"):
            step = f"ryla characters regenerate {one.character} --stage {one.asset}"
        return Finding("error", "refused", one.character, one.asset, "; ".join(refused)[:300], step)
    if missing:
        step = f"execute the checks of {one.asset} for {one.character}"
        return Finding("warn", "not judged", one.character, one.asset, ", ".join(missing), step)
    why = "all its claims hold, but what it was made from is not accepted"
    return Finding("error", "tainted", one.character, one.asset, why, f"ryla characters show {one.character}")


def _broken(picture: StoredPicture, studio: Studio) -> Finding | None:
    """What is wrong with one stored picture: lost, damaged, other pixels, or without its mark."""
    where, step = (picture.character, picture.asset), f"materialize {picture.asset} for {picture.character}"
    try:
        data = studio.store.get("images", picture.sha256)
        pixels = images.pixels_sha256(images.decode(data))
    except (StorageError, images.ImageRejected) as error:
        return Finding("error", "broken picture", *where, str(error)[:300], f"{step}: the paid result is fetched anew")
    if pixels != picture.pixels_sha256:
        return Finding("error", "broken picture", *where, f"{picture.sha256[:12]}: other pixels than recorded", step)
    if images.read_mark(data) is None:
        return Finding("error", "unmarked picture", *where, f"{picture.sha256[:12]}: no AI mark", f"{step}, new_take")
    return None


def _stale(character: str) -> Finding:
    why = "the sheet shows an earlier pick, not the base image that is selected now"
    step = f"materialize selected_base_image and character_sheet for {character}"
    return Finding("warn", "stale sheet", character, "character_sheet", why, step)


def _exposed(row: dict[str, Any]) -> Finding:
    why = f"attempt {row['attempt'][:8]} may have cost ${row['at_most_usd']:.4f} unseen"
    level: Literal["error", "warn"] = "error" if row["state"] in ("unknown", "intended") else "warn"
    return Finding(level, "unknown cost", "", "job_ledger", why, "ryla jobs reconcile")


def _unjudged(studio: Studio, asset: str, character: str) -> Finding:
    step = f"execute the checks of {asset} for {character}"
    if studio.guard is None:
        step = "pip install 'ryla-assets[nsfw]', then " + step
    return Finding("warn", "rating not judged", character, asset, "no classifier looked at it", step)


def _unreviewed(character: str) -> Finding:
    why = "a policy picked its base image: no person reviewed that it looks adult"
    step = f"ryla characters select {character} OPTION"
    return Finding("warn", "not reviewed", character, "selected_base_image", why, step)
