"""The one place between fetching a worker's output and believing it.

`accept` decodes within limits, refuses blank or wrong pictures and broken LoRA files, marks pictures as AI-made and
puts them into the store. Nothing is stored or served before it, and raw worker bytes are not kept. Who is in the
picture is judged afterwards, from the stored bytes, by others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resources import images
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import OutputRejected
from resources.gpu.job import Job, OutputSpec
from resources.storage import Store
from workflows import lora_file
from workflows.errors import LoraFileError

MAX_LORA_BYTES = 1024 * 1024 * 1024  # rank 128 on Flux is 0.7 GB; ours are rank 16


def accept(
    job: Job, outputs: Sequence[RemoteOutput], store: Store, *, source: images.SourceType, tool: str
) -> list[dict[str, Any]]:
    """Check, mark and store every output that `job` asked for; in the job's order.

    Returns one record an output: name, media, sha256 (stored bytes), and for pictures pixels_sha256, width, height.
    Raises OutputRejected naming the output and the reason; nothing of a job is accepted if one output is bad.
    """
    by_name: dict[str, list[RemoteOutput]] = {spec.name: [] for spec in job.outputs}
    for output in outputs:
        if _stem(output.name) not in by_name:
            raise OutputRejected(f"{job.label}: {output.name!r} came back, nobody asked for it.", code="extra_output")
        by_name[_stem(output.name)].append(output)
    ready = []
    for spec in job.outputs:
        found = by_name[spec.name]
        if len(found) != 1:
            raise OutputRejected(
                f"{job.label}: {len(found)} files came back for {spec.name!r}, one was asked for.",
                code="missing_output" if not found else "extra_output",
            )
        ready.append((spec, _checked(job, spec, found[0].data, source, tool)))
    return [_store(store, spec, *checked) for spec, checked in ready]


def _checked(
    job: Job, spec: OutputSpec, data: bytes, source: images.SourceType, tool: str
) -> tuple[bytes, dict[str, Any]]:
    if spec.media == "lora":
        if len(data) > MAX_LORA_BYTES:
            raise OutputRejected(f"{job.label}: the LoRA has {len(data)} bytes; at most {MAX_LORA_BYTES} are taken.")
        try:
            info = lora_file.verify(
                data, base_model=str(job.request["base_model"]), trained_steps=int(job.request["steps"])
            )
        except LoraFileError as error:
            raise OutputRejected(f"{job.label}: {error}", code="lora_file") from error
        return data, {"base_model": info.base_model, "rank": info.rank, "bytes": len(data)}
    try:
        image = images.decode(data, size=(spec.width, spec.height))
    except images.ImageRejected as error:
        raise OutputRejected(f"{job.label}: {spec.name}: {error.message}.", code=error.reason) from error
    if images.is_blank(image):
        raise OutputRejected(f"{job.label}: {spec.name} came back blank (NaN latents do that).", code="blank")
    facts = {"pixels_sha256": images.pixels_sha256(image), "width": image.width, "height": image.height}
    return images.mark(image, source=source, tool=tool), facts


def _store(store: Store, spec: OutputSpec, data: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    kind = "images" if spec.media == "image" else "loras"
    return {"name": spec.name, "media": spec.media, "sha256": store.put(kind, data), **facts}


def _stem(name: str) -> str:
    """`sheet-front_00001_.png` -> `sheet-front`: what SaveImage adds to a filename_prefix, taken off again."""
    return re.sub(r"(_\d{5}_)?\.(png|webp|jpe?g|safetensors)$", "", name)
