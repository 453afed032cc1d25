"""Visual parity: one fixed set of prompts drawn on two backends, and how far the pictures are apart.

Belongs here: the prompts, running them on both sides, one row a picture. What counts as close is `resources.compare`'s;
who is in a picture is not asked. Both sides go through the one door to paid work, so their words, their money and
their adoption are those of any other job (label and owner say "parity").

Two servers with the same model files share a profile, and so would share fingerprints: the second side would adopt the
first one's pictures and prove nothing. The file prefix is part of a graph and changes no pixel, so it carries the side,
a hash of the server's address and the take: each side draws its own, also where a server is compared with itself, and
the same comparison again adopts what it drew before. After a server was upgraded, ask for a new `take`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.compare import compare, side_by_side
from resources.gpu.job import Job, OutputSpec
from resources.images import SourceType, decode, mark
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.safety import MINOR_SAFETY_NEGATIVE
from ryla_assets.domain.shots import MODEL_IMAGE_PX
from ryla_assets.studio import paid
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.studio import Studio
from workflows.base_image import base_image
from workflows.base_models import BaseModelName
from workflows.requests import ImageRequest

if TYPE_CHECKING:
    from resources.gpu.backend import Backend

OWNER = "parity"  # what the ledger books these jobs on
PREVIEW = "preview"  # the backend's name on the command line; everything else is a server's address


@dataclass(frozen=True)
class FixedPrompt:
    """One picture that every comparison draws; its words and seed never change, or old and new runs are two things."""

    name: str
    base_model: BaseModelName
    seed: int
    prompt: str


PORTRAIT = (
    "photo of a 34-year-old adult woman, head and shoulders, green eyes, plain grey background, soft window light"
)
SCENE = "photo of a 45-year-old adult man in a grey coat, full body, standing in a park, overcast daylight"
NEGATIVE = f"{MINOR_SAFETY_NEGATIVE}, blurry, deformed"
FIXED_PROMPTS: tuple[FixedPrompt, ...] = (
    FixedPrompt("flux-dev-portrait", "flux-dev", 1001, PORTRAIT),
    FixedPrompt("flux-dev-scene", "flux-dev", 1002, SCENE),
    FixedPrompt("zimage-turbo-portrait", "zimage-turbo", 1003, PORTRAIT),
    FixedPrompt("zimage-turbo-scene", "zimage-turbo", 1004, SCENE),
)
BASE_MODELS: tuple[str, ...] = tuple(dict.fromkeys(prompt.base_model for prompt in FIXED_PROMPTS))


def backend_named(studio: Studio, name: str, *, field: str) -> Backend:
    """The backend that a person named: that of the settings by its name, `preview`, or a ComfyUI server's address.

    Raises InputError, told with `field`, for anything else.
    """
    own = studio.runner.backend
    if name == own.name:
        return own
    if name == PREVIEW:
        from resources.gpu.backends.preview.backend import PreviewBackend, default_workers
        from ryla_assets.prompts.lexicon import lexicon

        workers = studio.settings.preview_workers or default_workers()
        return PreviewBackend(studio.settings.home / "preview", lexicon=lexicon(), workers=workers)
    from resources.gpu.backends.comfyui.backend import ComfyUIBackend

    try:
        return ComfyUIBackend(name)
    except ValueError as error:
        raise InputError(  # without its value, which may hold a password
            f"neither {PREVIEW} nor a server: it {error}.",
            field=field,
            way_out=f"Use {PREVIEW}, or an address such as http://127.0.0.1:8188.",
        ) from None


def run_parity(
    studio: Studio,
    backend_a: Backend,
    backend_b: Backend,
    *,
    out: Path | None = None,
    size: int = MODEL_IMAGE_PX,
    take: int = 0,
    base_models: Sequence[str] = BASE_MODELS,
) -> list[dict[str, Any]]:
    """Draw the fixed prompts of `base_models` on both backends, squares of `size` pixels; one row a picture.

    A row has image, verdict, mean_abs, p99_abs, psnr_db, reason, adopted (both sides were drawn earlier), a and b (the
    stored pictures' sha256) and, where `out` is a folder, the file with both and their difference. Raises InputError
    for a preview beside a model and for an unknown base model, WorkflowError for a size out of range, and GpuError for
    what a backend refuses.
    """
    _check(backend_a, backend_b, base_models)
    sides = [
        _drawn(studio, backend, side, size=size, take=take, base_models=base_models)
        for side, backend in (("a", backend_a), ("b", backend_b))
    ]
    rows = []
    for name, (sha_a, adopted_a) in sides[0].items():
        sha_b, adopted_b = sides[1][name]
        picture_a, picture_b = (decode(studio.store.get("images", sha)) for sha in (sha_a, sha_b))
        difference = compare(picture_a, picture_b)
        row = {"image": name, **asdict(difference), "adopted": adopted_a and adopted_b, "a": sha_a, "b": sha_b}
        if out is not None:
            title = f"{name}: {difference.verdict} ({difference.reason})"
            shown = side_by_side(picture_a, picture_b, title)
            data = mark(shown, source=_source(backend_a), tool="RYLA Assets visual parity")
            row["file"] = str(_written(out, f"{name}.png", data))
        rows.append(row)
    return rows


def _check(backend_a: Backend, backend_b: Backend, base_models: Sequence[str]) -> None:
    if backend_a.render_domain != backend_b.render_domain:
        domains = f"{backend_a.name} ({backend_a.render_domain}) and {backend_b.name} ({backend_b.render_domain})"
        raise InputError(
            f"{domains} are never compared: a preview is drawn by a procedure, not by a model.",
            field="B",
            value=backend_b.name,
            way_out="Compare two servers, or preview with preview.",
        )
    for name in base_models:
        if name not in BASE_MODELS:
            raise InputError(
                f"{name!r} is unknown.", field="base_model", value=name, way_out=f"Use {' or '.join(BASE_MODELS)}."
            )


def _drawn(
    studio: Studio, backend: Backend, side: str, *, size: int, take: int, base_models: Sequence[str]
) -> dict[str, tuple[str, bool]]:
    """Prompt name -> (stored picture's sha256, whether it was adopted), in the order of FIXED_PROMPTS."""
    address = hashlib.sha256(f"{backend.name} {backend.endpoint}".encode()).hexdigest()[:12]
    folder = f"parity-{side}/{address}/take-{take}"
    wanted = [name for name in BASE_MODELS if name in base_models]
    jobs = [_job(name, folder, size, f"parity {side}: {name} on {backend.name} {backend.endpoint}") for name in wanted]
    studio.caller.tell(f"{side}: {len(jobs)} graphs on {backend.name} {backend.endpoint}")
    results = paid.run_unowned(studio, jobs, backend=backend)
    return {
        output["name"].removeprefix(f"{folder}/"): (output["sha256"], result.adopted)
        for result in results
        for output in result.outputs
    }


def _job(base_model: str, folder: str, size: int, label: str) -> PlannedJob:
    """All pictures of one base model as one graph: its files are loaded once."""
    prompts = [prompt for prompt in FIXED_PROMPTS if prompt.base_model == base_model]
    images = [ImageRequest(f"{folder}/{p.name}", p.prompt, NEGATIVE, p.seed, size, size) for p in prompts]
    outputs = tuple(OutputSpec(image.prefix, "image", size, size) for image in images)
    job = Job("image", base_image(prompts[0].base_model, images), outputs, label=label, owner=OWNER)
    return PlannedJob(job, {image.prefix: {"prompt": image.prompt} for image in images})


def _source(backend: Backend) -> SourceType:
    return "algorithmicMedia" if backend.render_domain == "preview" else "trainedAlgorithmicMedia"


def _written(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name
