"""What is known of a file from anywhere: ours or not, intact or not, and how it was made.

The answer rests on two hashes, of the stored bytes and of the decoded pixels. Pixels alone do not say what a viewer
shows: a file that has more frames, transparency, an orientation or colours of its own is not vouched for. What the file
says of itself (XMP mark, content credentials, the name of its original) is reported as its claim; it finds the original
of a damaged file and never proves anything. Where neither hash nor claim is known, a picture that looks the same is
named: what most people call re-saved is a JPEG without any of these. Input is hostile: any bytes get an answer, none an
error.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from resources import content_credentials, images
from resources.compare import compare
from resources.content_credentials import Credentials, Signer
from resources.storage import StorageError
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.registry.records import Named
from ryla_assets.studio.lineage import index_old
from ryla_assets.studio.quality import looking_like
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from ryla_assets.settings import Settings

Verdict = Literal["intact", "re-saved", "changed", "look-alike", "foreign", "unreadable"]
Ours = Literal["yes", "claimed", "likely", "no"]

_REASONS: dict[Verdict, str] = {
    "intact": "byte for byte the picture that was stored",
    "re-saved": "its pixels are those of a picture of ours, its bytes are not: saved again or edited beside the pixels",
    "changed": "it names a picture of ours as its original, and its pixels are not that picture's",
    "look-alike": "it looks like a picture of ours, and no hash of it is known: saved again with loss, or scaled",
    "foreign": "neither its bytes nor its pixels nor its looks nor what it says of itself is known here",
    "unreadable": "no picture that can be read, and nothing in it names one of ours",
}
_OURS: dict[Verdict, Ours] = {
    "intact": "yes",
    "re-saved": "yes",
    "changed": "claimed",
    "look-alike": "likely",
    "foreign": "no",
    "unreadable": "no",
}
_LOOK_PX = 64  # both pictures are scaled to this size before they are compared
_MODEL_ENDINGS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx")


@dataclass(frozen=True)
class Origin:
    """How a picture of ours was made, as its manifest and the ledger have it; seeds and takes as they ran."""

    character: str
    asset: str
    take: int
    manifest_sha256: str
    accepted: bool
    why_not: dict[str, str]  # claim -> reason
    gates: list[dict[str, Any]]
    used_by: list[str]  # every asset of which a manifest names the picture
    name: str = ""
    shot: str = ""
    shot_take: int = 0
    seed: int = 0
    workflow: str = ""  # name@version
    method: str = ""
    route: str = ""
    rating: str = ""
    backend: str = ""
    render_domain: str = ""
    job: str = ""  # fingerprint; the whole request is in the ledger under it
    models: list[str] = field(default_factory=list)  # files that the graph names
    sha256: str = ""  # of the stored bytes
    pixels_sha256: str = ""


@dataclass(frozen=True)
class Inspection:
    """The answer for one file. `ours` and `intact` are facts; `mark`, `credentials` and `texts` the file's claims.

    `ours` is yes by its bytes or its pixels, claimed where only the file says so, likely where only its looks do.
    `looks_alike` says whether it shows what the original shows, as far as 64 x 64 pixels tell (None: not compared).
    """

    file: str
    verdict: Verdict
    ours: Ours
    intact: bool
    reason: str
    bytes: int
    sha256: str
    pixels_sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    mark: str = ""  # IPTC DigitalSourceType; empty: none
    tool: str = ""
    texts: tuple[str, ...] = ()  # what else travels in it, what changes its looks first; ours carry nothing
    credentials: Credentials = field(default_factory=lambda: Credentials("absent", ""))
    looks_alike: bool | None = None
    origin: Origin | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def signer_of(settings: Settings) -> Signer | None:
    """What signs stored pictures on these settings; None where no certificate is set. Reads nothing yet."""
    if settings.c2pa_certificate is None or settings.c2pa_private_key is None:
        return None
    return Signer(settings.c2pa_certificate.resolve(), settings.c2pa_private_key.resolve())


def inspect(studio: Studio, data: bytes, *, file: str) -> Inspection:
    """Everything that is known of these bytes; `file` is only their name in the answer."""
    if len(data) > images.MAX_BYTES:
        reason = f"more than {images.MAX_BYTES} bytes: not looked at"
        return Inspection(file, "unreadable", "no", intact=False, reason=reason, bytes=len(data), sha256="")
    sha256 = hashlib.sha256(data).hexdigest()
    signer = signer_of(studio.settings)
    told: dict[str, Any] = {
        "credentials": content_credentials.read(data, anchors=signer.anchors if signer else ""),
        **_readable(data),
    }
    problem, alters = told.pop("problem", ""), told.pop("alters", ())
    index_old(studio)
    exact = studio.registry.named(sha256=sha256)
    same = exact or _by_pixels(studio, told.get("pixels_sha256", ""))
    known = same or _by_pixels(studio, images.claimed_original(data))
    stored = bool(exact) or any(studio.store.has(kind, sha256) for kind in ("images", "inputs"))
    verdict: Verdict = "unreadable" if problem else "foreign"
    if stored:
        verdict = "intact"
    elif same and not alters:
        verdict = "re-saved"
    elif known:
        verdict = "changed"
    elif verdict == "foreign" and told["pixels_sha256"] and (known := _copied(studio, data)):
        verdict = "look-alike"
    compares = verdict == "changed" and not problem and not alters and told["pixels_sha256"]
    alike = True if verdict == "look-alike" else _looks_alike(studio, data, known[0]) if compares else None
    return Inspection(
        file=file,
        verdict=verdict,
        ours=_OURS[verdict],
        intact=verdict == "intact",
        reason=_reason(verdict, problem, alters if same else (), alike=alike, unpublished=stored and not exact),
        looks_alike=alike,
        bytes=len(data),
        sha256=sha256,
        origin=_origin(studio, known) if known else None,
        **told,
    )


def _readable(data: bytes) -> dict[str, Any]:
    """Pixels and self-description, or the problem that keeps them from being read."""
    try:
        seen = images.describe(data)
    except images.ImageRejected as error:
        return {"problem": error.message, **_salvaged(images.salvaged(data))}
    return {
        "pixels_sha256": _pixels(data),
        "alters": seen.alters,
        "format": seen.format,
        "width": seen.width,
        "height": seen.height,
        "mark": seen.source,
        "tool": seen.tool,
        "texts": seen.texts,
    }


def _salvaged(data: bytes) -> dict[str, Any]:
    try:
        alters = images.describe(data).alters
        return {"pixels_sha256": _pixels(data), "alters": alters, "texts": alters}
    except images.ImageRejected:
        return {}


def _pixels(data: bytes) -> str:
    try:
        return images.pixels_sha256(images.decode(data))
    except images.ImageRejected:
        return ""


def _by_pixels(studio: Studio, pixels_sha256: str) -> list[Named]:
    return studio.registry.named(pixels_sha256=pixels_sha256) if pixels_sha256 else []


def _copied(studio: Studio, data: bytes) -> list[Named]:
    """The picture that a file seems to be a copy of: alike by its perceptual hash, then by its pixels."""
    for pixels_sha256 in looking_like(studio, images.decode(data)):
        known = _by_pixels(studio, pixels_sha256)
        if known and _looks_alike(studio, data, known[0]):
            return known
    return []


def _looks_alike(studio: Studio, data: bytes, named: Named) -> bool | None:
    """Whether a file shows what a picture of ours shows: scaled, or re-encoded with loss."""
    try:
        original = images.decode(studio.store.get("images", named.picture.sha256))
    except (StorageError, images.ImageRejected):
        return None
    size = (_LOOK_PX, _LOOK_PX)
    return compare(images.decode(data).resize(size), original.resize(size)).verdict != "different"


def _reason(verdict: Verdict, problem: str, alters: tuple[str, ...], *, alike: bool | None, unpublished: bool) -> str:
    reason = _REASONS[verdict]
    if verdict == "changed" and alters:
        reason = f"it has the pixels of a picture of ours, and shows something else by its {', '.join(alters)}"
    elif verdict == "changed" and problem:
        reason = "it names a picture of ours as its original, and cannot be read: damaged, or cut off"
    if verdict == "changed" and alike is not None:
        reason += "; it looks like its original" if alike else "; it does not look like it"
    if unpublished:
        reason += "; no manifest names it (an input that was drawn here, or a result that nobody used)"
    return f"{reason} ({problem})" if problem else reason


def _origin(studio: Studio, known: list[Named]) -> Origin:
    """Where the picture was first made: not where it was used again, nor where it was rejected, if it was accepted."""
    first = min(known, key=lambda one: one.picture.rejected)
    why_not, gates = _judged(studio, first)
    if first.picture.rejected:
        why_not = {"shot": "refused by its gates, or re-rolled and another take of its shot kept", **why_not}
    return Origin(
        character=first.character,
        asset=first.asset,
        take=first.take,
        manifest_sha256=first.manifest_sha256,
        accepted=not why_not,
        why_not=why_not,
        gates=gates,
        used_by=list(dict.fromkeys(one.asset for one in known)),
        sha256=first.picture.sha256,
        pixels_sha256=first.picture.pixels_sha256,
        **_made(studio, first),
    )


def _judged(studio: Studio, named: Named) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Why the manifest is not accepted, and all its judgements."""
    where = (named.asset, named.character, named.manifest_sha256)
    gates = [{"claim": g.claim, "passed": g.passed, "reason": g.reason} for g in studio.registry.gates(*where)]
    try:
        return studio.refusals(*where), gates
    except StorageError as error:
        return {"lineage": f"its manifest cannot be read: {error}"}, gates


def _made(studio: Studio, named: Named) -> dict[str, Any]:
    """What the manifest and the ledger say of its making; nothing where the manifest is lost."""
    try:
        manifest = studio.manifest(named.manifest_sha256)
    except StorageError:
        return {}
    if not isinstance(manifest, ImageSet):
        return {}
    record = _record(manifest, named)
    if record is None:
        return {}
    return {
        "name": record.name,
        "shot": record.shot,
        "shot_take": record.take,
        "seed": record.seed,
        "workflow": record.workflow,
        "method": record.method,
        "route": manifest.route,
        "rating": manifest.rating,
        "backend": manifest.backend,
        "render_domain": manifest.render_domain,
        "job": record.job,
        **_job(studio, record.job),
    }


def _record(manifest: ImageSet, named: Named) -> ImageRecord | None:
    return next((one for one in (*manifest.images, *manifest.rejected) if one.sha256 == named.picture.sha256), None)


def _job(studio: Studio, fingerprint: str) -> dict[str, Any]:
    row = studio.runner.ledger.job(fingerprint)
    if row is None:
        return {}
    values = [value for node in row.job.request.values() for value in node.get("inputs", {}).values()]
    models = {value for value in values if isinstance(value, str) and value.lower().endswith(_MODEL_ENDINGS)}
    return {"models": sorted(models)}
