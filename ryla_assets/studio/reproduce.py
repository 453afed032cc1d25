"""Reproduction: a picture's recorded job runs once more, and how far the new picture is from the old one is measured.

Belongs here: finding the recorded job, running it anew, the measures. What counts as close is `resources.compare`'s. It
is a job like any other: its inputs are asked for by the lineage rule, its money is reserved, booked on the character
and bounded by the budgets. What comes out is kept in the ledger and the store; no manifest names it, so it replaces
nothing.

The recorded job itself would be adopted, not run: the ledger has its result. The file prefix is part of a graph and
changes no pixel, so a fresh one makes it another job. The whole graph runs, with all its pictures: that is what was
recorded. A ComfyUI server that drew the very same pictures just before may repeat them from its memory; restart it
where that matters.
"""

from __future__ import annotations

import uuid
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
from ryla_assets.studio.lineage import index_old, own_inputs
from ryla_assets.studio.studio import Studio

if TYPE_CHECKING:
    from PIL.Image import Image

    from resources.gpu.backend import Backend
    from resources.gpu.job import Job
    from resources.gpu.ledger import JobRow

Verdict = Literal["equal", "close", "different"]


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
    """Run the job of the stored picture `sha256` (its first 16 characters will do) again, and compare.

    On `backend`, else on that of the settings, which must be of the recorded kind. A preview is reproduced if every
    pixel is equal, a model's picture if it is close as `resources.compare` has it. Raises InputError for a picture that
    is not ours or whose job, inputs or original are gone, Refused by the lineage rule, and GpuError as any job.
    """
    named, manifest, record = _found(studio, sha256)
    row = studio.runner.ledger.job(record.job)
    if row is None or row.result is None:
        raise InputError(
            "the ledger has no job that made it.", field="SHA", value=sha256[:12], way_out="It cannot be made again."
        )
    runs_on = _backend(studio, manifest, backend)
    original = _original(studio, record)
    own_inputs(studio, [row.job], named.character)
    _check_inputs(studio, row.job)
    job, name = _again(row, record)
    studio.caller.tell(f"{len(job.outputs)} pictures on {runs_on.name} {runs_on.endpoint}: {job.label}")
    result = _runner(studio, runs_on).run(
        [job], run_id=studio.caller.run_id or None, on_progress=studio.caller.on_progress
    )[0]
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
    whole = studio.store.find("images", sha256) if 16 <= len(sha256) < 64 else sha256
    index_old(studio)
    for named in studio.registry.named(sha256=whole) if whole and len(whole) == 64 else ():
        manifest = studio.manifest(named.manifest_sha256)
        records = (*manifest.images, *manifest.rejected) if isinstance(manifest, ImageSet) else ()
        for record in records:
            if record.sha256 == whole and isinstance(manifest, ImageSet):
                return named, manifest, record
    raise InputError(
        "no manifest here names a picture of that sha256.",
        field="SHA",
        value=sha256[:64],
        way_out="Give the sha256 of stored bytes, 16 characters or more: ryla images inspect FILE tells it.",
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


def _check_inputs(studio: Studio, job: Job) -> None:
    """Before anything is paid: every file that the job reads is still stored."""
    for file in job.inputs:
        if not studio.store.has(file.kind, file.sha256):
            raise InputError(
                f"the job reads {file.kind} object {file.sha256[:12]}, which is not in the store any more.",
                field="inputs",
                value=file.sha256[:12],
                way_out="Materialize the asset that made it again; nothing was sent.",
            )


def _again(row: JobRow, record: ImageRecord) -> tuple[Job, str]:
    """The recorded job under fresh names, and the picture's name in it. Raises InputError."""
    outputs = row.result or []
    same = [output["name"] for output in outputs if output.get("pixels_sha256") == record.pixels_sha256]
    if row.job.kind != "image" or not same:
        raise InputError("its job made something else.", field="SHA", value=record.sha256[:12])
    folder = f"again-{uuid.uuid4().hex[:8]}"
    names = {spec.name: f"{folder}/{spec.name}" for spec in row.job.outputs}
    graph = {node: {**body, "inputs": _renamed(body["inputs"], names)} for node, body in row.job.request.items()}
    job = replace(
        row.job,
        request=graph,
        outputs=tuple(replace(spec, name=names[spec.name]) for spec in row.job.outputs),
        label=f"reproduction of {record.sha256[:12]} ({row.job.label})",
    )
    return job, names[same[0]]


def _renamed(inputs: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    prefix = inputs.get("filename_prefix")
    return {**inputs, "filename_prefix": names[prefix]} if prefix in names else inputs


def _runner(studio: Studio, backend: Backend) -> Any:
    from resources.gpu.runner import Runner

    own = studio.runner
    return Runner(own.ledger, backend, studio.store, own.budgets, policy=own.policy, signer=own.signer)


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
