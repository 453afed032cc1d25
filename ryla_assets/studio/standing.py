"""What is wrong right now, over all characters: not what broke once, but what is still broken, with the next command.

Belongs here: which findings are errors, in which order they are told, and the index of pictures in numbers. The cost is
a fixed number of queries and SAMPLE pictures read, whether there are ten characters or ten thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resources import images
from resources.storage import StorageError
from ryla_assets.registry.records import Standing, StoredPicture
from ryla_assets.studio.judge import CLAIMS
from ryla_assets.studio.ledger_report import exposure_report
from ryla_assets.studio.lineage import index_old
from ryla_assets.studio.rating import UNJUDGED
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, another

DAY_S = 86_400.0
SAMPLE = 20  # pictures that are read and hashed: about a second
SHOWN = 50  # rows of a kind: an event stays small, the numbers count all
_ERRORS = frozenset({"refused", "tainted"})
_TOLD_STEPS = {  # what to do about a claim that refuses nothing
    "distinct": "look at both: ryla characters show {character}; pick another base image if they are one face",
    "drift": "look at its pictures: ryla characters show {character}; a new sheet or LoRA brings the face back",
    "evidence": "ryla generate {character} --count 10: more pictures prove the route, or that it is not good enough",
}


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
    states, unaccepted = registry.unaccepted(REQUIRED_CLAIMS, limit=SHOWN)
    failing, told = registry.failing(_told_claims(studio), studio.scorer.scorer_id, limit=SHOWN)
    sample = registry.sample(SAMPLE)
    broken = [finding for picture in sample if (finding := _broken(picture, studio))]
    stale, outdated = registry.stale_sheets(limit=SHOWN)
    unreviewed, unseen = registry.unreviewed(limit=SHOWN)
    unrated, unjudged = registry.unrated(UNJUDGED, limit=SHOWN)
    exposed = exposure_report(studio)
    blocks = registry.block_counts(since=since)
    model = studio.render_domain == "model"
    found = [_unaccepted(one) for one in unaccepted]
    found += [*broken, *map(_exposed, exposed.rows), *map(_stale, outdated), *(_told(*one) for one in told)]
    found += [_unjudged(studio, *one) for one in unjudged]
    found += [_unreviewed(character) for character in unseen if model]
    found.sort(key=lambda finding: finding.level != "error")  # stable: each kind stays together
    whole = {**states, **failing, "stale sheet": stale, "rating not judged": unrated}
    kinds = _kinds(found, {**whole, "not reviewed": unreviewed if model else 0})
    errors = sum(count for (level, _), count in kinds.items() if level == "error")
    numbers = {
        "unaccepted_sets": sum(states.values()),
        "refused_sets": sum(count for state, count in states.items() if state != "not judged"),
        "failing_told": sum(failing.values()),
        "stale_sheets": stale,
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
        reason=_reason(kinds, errors, len(sample)),
        errors=errors,
    )


def _told_claims(studio: Studio) -> dict[str, list[str]]:
    """Claims about faces that are told and refuse nothing. On drawn faces evidence proves nothing."""
    claims = ("distinct", "drift", "evidence") if studio.render_domain == "model" else ("distinct", "drift")
    return {asset: [claim for claim in claims if claim in CLAIMS[asset]] for asset in CLAIMS}


def _kinds(found: list[Finding], whole: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """(level, what) -> how many there are, errors first. `whole` counts its kinds in full; of others all are found."""
    kinds: Counter[tuple[str, str]] = Counter()
    for what, count in whole.items():
        kinds["error" if what in _ERRORS else "warn", what] += count
    for finding in found:
        kinds[finding.level, finding.what] += finding.what not in whole
    return {kind: kinds[kind] for kind in sorted(kinds, key=lambda kind: kind[0] != "error") if kinds[kind]}


def _reason(kinds: Mapping[tuple[str, str], int], errors: int, sampled: int) -> str:
    if not kinds:
        return f"Nothing is wrong: every current set is accepted, {sampled} pictures of the store are whole and marked."
    named = ", ".join(f"{count} {what}" for (_, what), count in kinds.items())
    return f"{errors} errors, {sum(kinds.values()) - errors} warnings: {named}."


def _unaccepted(one: Standing) -> Finding:
    """Refused is an error; not yet judged a warning: its checks may be running."""
    if one.state == "refused":
        refused = [f"{claim}: {why}" for claim, (passed, why) in sorted(one.verdicts.items()) if not passed]
        step = another(one.asset, one.character)
        return Finding("error", one.state, one.character, one.asset, "; ".join(refused)[:300], step)
    if one.state == "not judged":
        missing = [claim for claim in REQUIRED_CLAIMS[one.asset] if claim not in one.verdicts]
        step = f"execute the checks of {one.asset} for {one.character}"
        return Finding("warn", one.state, one.character, one.asset, ", ".join(missing), step)
    why = "all its claims hold, but what it was made from is not accepted"
    return Finding("error", one.state, one.character, one.asset, why, f"ryla characters show {one.character}")


def _told(claim: str, asset: str, character: str, why: str) -> Finding:
    return Finding("warn", claim, character, asset, why[:300], _TOLD_STEPS[claim].format(character=character))


def _broken(picture: StoredPicture, studio: Studio) -> Finding | None:
    """What is wrong with one stored picture: lost, damaged, other pixels, or without its mark."""
    where, step = (picture.character, picture.asset), f"materialize {picture.asset} for {picture.character}"
    anew = another(picture.asset, picture.character)
    try:
        data = studio.store.get("images", picture.sha256)
        pixels = images.pixels_sha256(images.decode(data))
    except (StorageError, images.ImageRejected) as error:
        return Finding("error", "broken picture", *where, str(error)[:300], f"{step}: the paid result is fetched anew")
    if pixels != picture.pixels_sha256:
        return Finding("error", "broken picture", *where, f"{picture.sha256[:12]}: other pixels than recorded", step)
    if images.read_mark(data) is None:
        return Finding("error", "unmarked picture", *where, f"{picture.sha256[:12]}: no AI mark", anew)
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
