"""The one place between fetching a worker's output and believing it.

`accept` decodes within limits, verifies LoRA files, marks pictures as AI-made and puts them into the store; with a
signer, what is stored is signed too. Nothing is stored or served before it, and raw worker bytes are not kept: a
ComfyUI file's own prompt and workflow end here, the ledger has them with the job.

An answer that is not what was asked for (a file too many or too few, a broken LoRA) is refused as a whole. A picture
that is none (unreadable, of another size, blank) is refused by itself, with its reason, and the others are taken: they
are paid for. One that can be decoded is stored and marked like them, for quarantine; of bytes that cannot be, hash and
size are noted. Whether a picture is good, and who is in it, others judge afterwards, from the stored bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resources import images
from resources.content_credentials import Signer
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import OutputRejected
from resources.gpu.job import Job, OutputSpec
from resources.storage import Store
from workflows import lora_file
from workflows.errors import LoraFileError

MAX_LORA_BYTES = 1024 * 1024 * 1024  # rank 128 on Flux is 0.7 GB; ours are rank 16
WORKER_ERRS = "Mend the worker's image or graph, then run it again."


@dataclass(frozen=True)
class Answer:
    """What a job returned, as records in the job's order: what may be used, and what was refused and why.

    A record has name and media; what is stored has sha256 (of the stored bytes), a picture pixels_sha256, width and
    height. A refused one has `code` and `reason` too; where it could not be decoded it has no sha256, but raw_sha256
    and bytes of what came.
    """

    outputs: list[dict[str, Any]]
    refused: list[dict[str, Any]]


def accept(
    job: Job,
    outputs: Sequence[RemoteOutput],
    store: Store,
    *,
    source: images.SourceType,
    tool: str,
    signer: Signer | None = None,
) -> Answer:
    """Check, mark, sign (with a `signer`) and store every output that `job` asked for.

    Raises OutputRejected, before anything is stored, for an answer that is refused as a whole; SigningFailed, which is
    not the worker's fault. Signatures are random: of the same output accepted twice only the pixels_sha256 is the same.
    """
    by_name: dict[str, list[RemoteOutput]] = {spec.name: [] for spec in job.outputs}
    for output in outputs:
        if _stem(output.name) not in by_name:
            message = f"{job.label}: {output.name!r} came back, nobody asked for it."
            raise OutputRejected(message, code="extra_output", way_out=WORKER_ERRS)
        by_name[_stem(output.name)].append(output)
    ready = []
    for spec in job.outputs:
        found = by_name[spec.name]
        if len(found) != 1:
            raise OutputRejected(
                f"{job.label}: {len(found)} files came back for {spec.name!r}, one was asked for.",
                code="missing_output" if not found else "extra_output",
                way_out=WORKER_ERRS,
            )
        data, facts = _lora(job, found[0].data) if spec.media == "lora" else _picture(spec, found[0].data, source, tool)
        if signer is not None and data and spec.media == "image":
            data = signer.sign(data, source=source, tool=tool)
        ready.append((spec, data, facts))
    records = [_stored(store, spec, data, facts) for spec, data, facts in ready]
    return Answer([one for one in records if "code" not in one], [one for one in records if "code" in one])


def _lora(job: Job, data: bytes) -> tuple[bytes, dict[str, Any]]:
    if len(data) > MAX_LORA_BYTES:
        raise OutputRejected(f"{job.label}: the LoRA has {len(data)} bytes; at most {MAX_LORA_BYTES} are taken.")
    try:
        info = lora_file.verify(
            data, base_model=str(job.request["base_model"]), trained_steps=int(job.request["steps"])
        )
    except LoraFileError as error:
        raise OutputRejected(f"{job.label}: {error}", code="lora_file") from error
    return data, {"base_model": info.base_model, "rank": info.rank, "bytes": len(data)}


def _picture(spec: OutputSpec, data: bytes, source: images.SourceType, tool: str) -> tuple[bytes, dict[str, Any]]:
    """The marked bytes (none, if it cannot be decoded) and the facts of one picture."""
    try:
        image = images.decode(data)
    except images.ImageRejected as error:
        raw = {"raw_sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        return b"", {"code": error.reason, "reason": error.message, **raw}
    pixels = images.pixels_sha256(image)
    facts = {"pixels_sha256": pixels, "width": image.width, "height": image.height}
    if image.size != (spec.width, spec.height):
        reason = f"{image.width}x{image.height} came back, {spec.width}x{spec.height} was asked for"
        facts |= {"code": "wrong_size", "reason": reason}
    elif images.is_blank(image):
        facts |= {"code": "blank", "reason": "it came back blank (NaN latents do that)"}
    return images.mark(image, source=source, tool=tool, original=pixels), facts


def _stored(store: Store, spec: OutputSpec, data: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    record = {"name": spec.name, "media": spec.media, **facts}
    if not data:
        return record
    return {**record, "sha256": store.put("images" if spec.media == "image" else "loras", data)}


def _stem(name: str) -> str:
    """`sheet-front_00001_.png` -> `sheet-front`: what SaveImage adds to a filename_prefix, taken off again."""
    return re.sub(r"(_\d{5}_)?\.(png|webp|jpe?g|safetensors)$", "", name)
