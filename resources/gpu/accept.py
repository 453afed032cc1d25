"""The one place between fetching a worker's output and believing it.

`accept` decodes within limits, refuses pictures of another size and broken LoRA files, marks pictures as AI-made and
puts them into the store; with a signer, what is stored is signed too. Nothing is stored or served before it, and raw
worker bytes are not kept: a ComfyUI file's own prompt and workflow end here, the ledger has them with the job.

A picture is measured here, and its numbers are recorded; whether it is good, and who is in it, is judged afterwards,
from the stored bytes, by others. One blank picture of four is theirs to refuse: the other three are paid for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resources import images
from resources.content_credentials import Signer
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import OutputRejected, Retry
from resources.gpu.job import Job, OutputSpec
from resources.quality import measure
from resources.storage import Store
from workflows import lora_file
from workflows.errors import LoraFileError

MAX_LORA_BYTES = 1024 * 1024 * 1024  # rank 128 on Flux is 0.7 GB; ours are rank 16


def accept(
    job: Job,
    outputs: Sequence[RemoteOutput],
    store: Store,
    *,
    source: images.SourceType,
    tool: str,
    signer: Signer | None = None,
) -> list[dict[str, Any]]:
    """Check, mark, sign (with a `signer`) and store every output that `job` asked for; in the job's order.

    Returns one record an output: name, media, sha256 (stored bytes), and for pictures pixels_sha256, width, height and
    `quality`, the numbers of `resources.quality` (a blank picture is among them).
    Raises OutputRejected naming the output and the reason; nothing of a job is accepted if one output is bad, or if all
    of its pictures are blank. Raises SigningFailed, which is not the worker's fault. Signatures are random: of the same
    output accepted twice only the pixels_sha256 is the same.
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
        data, facts = _checked(job, spec, found[0].data, source, tool)
        if signer is not None and spec.media == "image":
            data = signer.sign(data, source=source, tool=tool)
        ready.append((spec, data, facts))
    _check_not_all_blank(job, [facts["quality"] for spec, _, facts in ready if spec.media == "image"])
    return [_store(store, spec, data, facts) for spec, data, facts in ready]


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
    pixels = images.pixels_sha256(image)
    facts = {
        "pixels_sha256": pixels,
        "width": image.width,
        "height": image.height,
        "quality": measure(image).as_dict(),
    }
    return images.mark(image, source=source, tool=tool, original=pixels), facts


def _check_not_all_blank(job: Job, measured: Sequence[dict[str, Any]]) -> None:
    """Raise OutputRejected if a job made nothing but blank pictures: its worker is to blame, so another one may do.

    NaN latents come from a precision or an attention kernel that the same machine will use again.
    """
    if measured and all(
        one["luma_std"] < images.BLANK_STD or one["luma_spread"] < images.BLANK_SPREAD for one in measured
    ):
        many = "picture" if len(measured) == 1 else f"all {len(measured)} pictures"
        raise OutputRejected(
            f"{job.label}: {many} came back blank (NaN latents do that).", code="blank", retry=Retry.ELSEWHERE
        )


def _store(store: Store, spec: OutputSpec, data: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    kind = "images" if spec.media == "image" else "loras"
    return {"name": spec.name, "media": spec.media, "sha256": store.put(kind, data), **facts}


def _stem(name: str) -> str:
    """`sheet-front_00001_.png` -> `sheet-front`: what SaveImage adds to a filename_prefix, taken off again."""
    return re.sub(r"(_\d{5}_)?\.(png|webp|jpe?g|safetensors)$", "", name)
