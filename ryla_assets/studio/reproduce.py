"""Reproduction: a picture's recorded job runs once more, and how far the new picture is from the old one is measured.

Belongs here: finding the recorded job, running it anew, the measures. What counts as close is `resources.compare`'s. It
is a job like any other and goes through the same door (`paid`): its character is active, its rating allowed, its words
and its files are asked for again, by the rules of today. Its money is booked on the character and bounded by the
budgets. What comes out is kept in the ledger and the store; no manifest names it, so it replaces nothing.

The recorded job itself would be adopted, not run: the ledger has its result. The file prefix is part of a graph and
changes no pixel, so a fresh one makes it another job: it names the server and counts. The count goes on where the last
reproduction has its result, so each call draws anew, and a call that was killed is taken up by the next one instead of
being paid for twice. The whole graph runs, with all its pictures: that is what was recorded. A ComfyUI server that drew
the very same pictures just before may repeat them from its memory; restart it where that matters.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from resources import images
from resources.compare import compare
from resources.quality import bits_apart, measure
from resources.storage import StorageError
from ryla_assets.domain.errors import InputError, Refused
from ryla_assets.domain.identity import distance
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.registry.records import Named
from ryla_assets.studio import paid
from ryla_assets.studio.lineage import index_old
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from PIL.Image import Image

    from resources.gpu.backend import Backend
    from resources.gpu.job import Job
    from resources.gpu.records import JobRow

Verdict = Literal["equal", "close", "different"]
_SHORTEST, _WHOLE = 12, 64  # characters of a sha256: what tables show, and all of it


@dataclass(frozen=True)
class Reproduction:
    """The new picture beside the old one. Steps are of 255, `psnr_db` is None for equal pixels; distances are L2."""

    sha256: str  # the original's stored bytes
    again_sha256: str
    character: str
    asset: str
    shot: str
    job: str  # the original's fingerprint
    again_job: str
    backend: str  # which drew it again
    recorded_backend: str
    reproduced: bool
    verdict: Verdict
    reason: str
    mean_abs: float | None
    p99_abs: float | None
    max_abs: int | None
    psnr_db: float | None
    phash_bits: int  # of 256 that differ
    identity_distance: float | None  # between the two faces; None unless each shows exactly one
    pictures: int  # that the job drew
    exec_s: float
    cost_usd: float

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def reproduce(studio: Studio, sha256: str, *, backend: Backend | None = None) -> Reproduction:
    """Run the job of the stored picture `sha256` (its first 12 characters will do) again, and compare.

    On `backend`, else on that of the settings, which must be of the recorded kind. A preview is reproduced if every
    pixel is equal, a model's picture if it is close as `resources.compare` has it. Raises InputError for a picture that
    is not ours or whose job, inputs or original are gone; Refused, TooEarly, UnsafeText and GpuError as any job.
    """
    named, manifest, record = _found(studio, sha256)
    row = studio.runner.ledger.job(record.job)
    if row is None or row.result is None:
        why = "no such job" if row is None else "no result of its job: all that it returned was refused"
        raise InputError(
            f"the ledger has {why}.", field="SHA", value=sha256[:12], way_out=f"See ryla jobs show {record.job[:12]}."
        )
    runs_on = _backend(studio, manifest, backend)
    original = _original(studio, record)
    _check_recorded(studio, row, named.character)
    planned, name = _again(studio, row, manifest, record, runs_on)
    job = planned.job
    studio.caller.tell(f"{len(job.outputs)} pictures on {runs_on.name} {runs_on.endpoint}: {job.label}")
    [result] = paid.run(studio, [planned], backend=runs_on)
    output = next(output for output in result.outputs if output["name"] == name)
    again = images.decode(studio.store.get("images", output["sha256"]))
    found = compare(original, again)
    return Reproduction(
        sha256=record.sha256,
        again_sha256=output["sha256"],
        character=named.character,
        asset=named.asset,
        shot=record.shot,
        job=record.job,
        again_job=result.fingerprint,
        backend=runs_on.name,
        recorded_backend=manifest.backend,
        reproduced=found.verdict == "equal" or (found.verdict == "close" and runs_on.render_domain == "model"),
        verdict=found.verdict,
        reason=found.reason,
        mean_abs=found.mean_abs,
        p99_abs=found.p99_abs,
        max_abs=_largest_step(original, again),
        psnr_db=found.psnr_db,
        phash_bits=bits_apart(measure(original).phash, measure(again).phash),
        identity_distance=_faces_apart(studio, original, again),
        pictures=len(job.outputs),
        exec_s=result.attempt.exec_s,
        cost_usd=result.attempt.cost_usd,
    )


def _found(studio: Studio, sha256: str) -> tuple[Named, ImageSet, ImageRecord]:
    """The first manifest that names the picture, and its record there."""
    index_old(studio)
    found = studio.registry.begun(sha256) if _SHORTEST <= len(sha256) <= _WHOLE else []
    if len(found) > 1:
        raise InputError(
            f"{len(found)} pictures begin so.", field="SHA", value=sha256, way_out="Give more of its characters."
        )
    for named in studio.registry.named(sha256=found[0]) if found else ():
        manifest = studio.manifest(named.manifest_sha256)
        records = (*manifest.images, *manifest.rejected) if isinstance(manifest, ImageSet) else ()
        for record in records:
            if record.sha256 == found[0] and isinstance(manifest, ImageSet):
                return named, manifest, record
    raise InputError(
        "no manifest here names a picture of that sha256.",
        field="SHA",
        value=sha256[:_WHOLE],
        way_out=f"Give the sha256 of stored bytes, {_SHORTEST} characters or more: ryla images inspect FILE tells it.",
    )


def _backend(studio: Studio, manifest: ImageSet, wanted: Backend | None) -> Backend:
    chosen = wanted or studio.runner.backend
    if wanted is None and chosen.name != manifest.backend:
        raise InputError(
            f"the picture was made on {manifest.backend}, these settings work on {chosen.name}.",
            field="--backend",
            way_out=f"Set RYLA_BACKEND={manifest.backend}, or name a backend with --backend to compare across.",
        )
    if chosen.render_domain != manifest.render_domain:
        raise InputError(
            f"a {manifest.render_domain} picture is never compared with one of {chosen.name}.",
            field="--backend",
            value=chosen.name,
            way_out="Previews are reproduced by the preview, a model's pictures by a model.",
        )
    return chosen


def _original(studio: Studio, record: ImageRecord) -> Image:
    try:
        original = images.decode(studio.store.get("images", record.sha256))
    except (StorageError, images.ImageRejected) as error:
        raise InputError(
            f"the original cannot be read: {error}", field="SHA", value=record.sha256[:12],
            way_out="Materialize its asset again: the paid result is fetched anew.",
        ) from error  # fmt: skip
    if images.pixels_sha256(original) != record.pixels_sha256:
        raise Refused("the stored pixels are not those that were recorded.", field="SHA", value=record.sha256[:12])
    return original


def _check_recorded(studio: Studio, row: JobRow, character: str) -> None:
    """Before anything is paid: the job is of the picture's character, and every file that it reads is still stored."""
    if row.job.owner != character:
        raise Refused(
            f"its recorded job is for {row.job.owner or 'nobody'}, the picture is of {character}.",
            field="SHA",
            value=row.fingerprint[:12],
        )
    for file in row.job.inputs:
        if not studio.store.has(file.kind, file.sha256):
            raise InputError(
                f"the job reads {file.kind} object {file.sha256[:12]}, which is not in the store any more.",
                field="inputs",
                value=file.sha256[:12],
                way_out="Materialize the asset that made it again; nothing was sent.",
            )


def _again(
    studio: Studio, row: JobRow, manifest: ImageSet, record: ImageRecord, backend: Backend
) -> tuple[PlannedJob, str]:
    """The recorded job under fresh names, and the picture's name in it. Raises InputError, and as `paid.admit`."""
    names = {output.get("pixels_sha256"): str(output["name"]) for output in row.result or []}
    if record.pixels_sha256 not in names:
        raise InputError("its job made something else.", field="SHA", value=record.sha256[:12])
    records = {
        names[one.pixels_sha256]: {"prompt": one.prompt}
        for one in (*manifest.images, *manifest.rejected)
        if one.job == row.fingerprint and one.pixels_sha256 in names
    }
    paid.admit(studio, PlannedJob(row.job, records), backend)  # before it is touched: a row may hold anything
    server = hashlib.sha256(f"{backend.name} {backend.endpoint}".encode()).hexdigest()[:8]
    for number in itertools.count(1):
        folder = f"again-{server}-{number}"
        job = _moved(row.job, folder)
        known = studio.runner.ledger.job(job.fingerprint(backend.profile(job)))
        if known is None or known.result is None:
            break
    job = replace(job, label=f"reproduction of {record.sha256[:12]} ({row.job.label})")
    moved = {f"{folder}/{name}": said for name, said in records.items()}
    return PlannedJob(job, moved), f"{folder}/{names[record.pixels_sha256]}"


def _moved(job: Job, folder: str) -> Job:
    """The job with each of its pictures in that folder."""
    names = {spec.name: f"{folder}/{spec.name}" for spec in job.outputs}
    graph = {node: {**body, "inputs": _renamed(body["inputs"], names)} for node, body in job.request.items()}
    return replace(job, request=graph, outputs=tuple(replace(spec, name=names[spec.name]) for spec in job.outputs))


def _renamed(inputs: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    prefix = inputs.get("filename_prefix")
    return {**inputs, "filename_prefix": names[prefix]} if prefix in names else inputs


def _largest_step(a: Image, b: Image) -> int | None:
    """The largest difference of any channel of any pixel, 0..255; None for unlike sizes."""
    import numpy as np

    if a.size != b.size:
        return None
    first, second = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (a, b))
    return int(np.abs(first - second).max())


def _faces_apart(studio: Studio, a: Image, b: Image) -> float | None:
    faces = [studio.scorer.faces(image) for image in (a, b)]
    if any(len(found) != 1 for found in faces):
        return None
    return distance(faces[0][0].embedding, faces[1][0].embedding)
