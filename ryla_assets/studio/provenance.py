"""The claim `provenance`: every stored picture says how it was made, shows nothing else, and is signed where it is due.

Belongs here: what is a fault of the stored bytes, which are read again. Writing marks is `resources.images`', signing
`resources.content_credentials`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resources import content_credentials, images
from resources.storage import ObjectCorrupt, ObjectMissing
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.studio.inspect import signer_of
from ryla_assets.studio.judgement import Judgement, judgement
from ryla_assets.studio.studio import Studio


@dataclass(frozen=True)
class _Look:
    """What one stored file carries."""

    faults: tuple[str, ...]
    marked: bool = False
    signed: bool = False


def provenance(studio: Studio, manifest: ImageSet) -> Judgement:
    """Every stored picture carries the mark of its making (procedural, or by a trained model), and shows nothing else.

    Content credentials say the same and are whole, where a picture has them. While a certificate is set, one without
    any is a fault if pictures were signed here before it was made; an older one is told, for what is paid for is
    adopted as it is.
    """
    wanted = "algorithmicMedia" if manifest.render_domain == "preview" else "trainedAlgorithmicMedia"
    looks = {record: _look(studio, record, wanted) for record in manifest.images}
    faults = [f"{record.shot}: {fault}" for record, look in looks.items() for fault in look.faults]
    faults += _late_and_unsigned(studio, [record for record, look in looks.items() if not look.signed])
    marked, signed = (sum(getattr(look, name) for look in looks.values()) for name in ("marked", "signed"))
    reason = "; ".join(faults) or f"all {len(looks)} pictures carry DigitalSourceType {wanted}; {signed} are signed"
    return judgement(manifest, "provenance", not faults, reason, {"marked": marked, "signed": signed})


def _look(studio: Studio, record: ImageRecord, wanted: str) -> _Look:
    try:
        data = studio.store.get("images", record.sha256)
    except (ObjectMissing, ObjectCorrupt) as error:
        return _Look((str(error),))
    credentials = content_credentials.read(data)
    mark, faults = _mark(data, wanted)
    if credentials.state == "invalid":
        faults.append(f"content credentials: {credentials.reason}")
    elif credentials.source not in ("", wanted):
        faults.append(f"signed as {credentials.source}, {wanted} is due")
    signed = credentials.state in ("untrusted", "trusted") and credentials.source == wanted
    return _Look(tuple(faults), mark == wanted, signed)


def _mark(data: bytes, wanted: str) -> tuple[str, list[str]]:
    """What the file says of its making, and what is wrong with it as a picture."""
    try:
        seen = images.describe(data)
    except images.ImageRejected as error:
        return "", [f"{error}"]
    faults = [] if seen.source == wanted else [f"marked {seen.source or 'not at all'}, {wanted} is due"]
    if seen.alters:
        faults.append(f"its file shows something else than its pixels ({', '.join(seen.alters)})")
    return seen.source, faults


def _late_and_unsigned(studio: Studio, unsigned: Sequence[ImageRecord]) -> Iterator[str]:
    """Pictures that a signer should have signed: made since the first set here that was found signed."""
    since = studio.registry.signed_since() if unsigned and signer_of(studio.settings) else None
    for record in unsigned if since is not None else ():
        row = studio.runner.ledger.job(record.job)
        attempt = studio.runner.ledger.attempt(row.accepted_attempt) if row and row.accepted_attempt else None
        if attempt is not None and since is not None and (attempt.finished_at or 0.0) > since:
            yield f"{record.shot}: not signed, though it was made after pictures were signed here: make a new take"
