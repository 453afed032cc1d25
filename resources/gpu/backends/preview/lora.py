"""LoRA files of the preview: a person's numbers inside a file laid out like a trained one.

Belongs here: training (a converging average), writing and reading the file. Does not belong here: what a LoRA does to a
picture (drift, nodes).

Keys, dtype and metadata follow AI Toolkit's safetensors files (`transformer.` for Flux, `diffusion_model.` for Z-Image,
`lora_A` [rank, in] and `lora_B` [out, rank], F16, no alpha), at a fraction of the width, so that file checks have
something true to check. The identity is spread over the first values of all `lora_B` tensors as two halves of a float.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.gpu.backends.preview.book import IdentityBook
from resources.gpu.backends.preview.identity import VECTOR_LENGTH, Identity, mean, person
from resources.images import ImageRejected, decode, pixels_sha256

LAYOUTS: Mapping[str, tuple[str, tuple[str, ...], int, str]] = {  # base: (prefix, modules, blocks, version name)
    "flux-dev": (
        "transformer.transformer_blocks.{block}.{module}",
        ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"), 19, "flux.1",
    ),
    "zimage-turbo": (
        "diffusion_model.layers.{block}.{module}",
        ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"), 30, "zimage",
    ),
}  # fmt: skip
GENERATOR = "procedural preview"
MAX_BYTES = 200_000
LEARNING_STEPS = 120  # steps after which two thirds of the way to the pictures' person are learned
Half = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class LoraPreview:
    """What a preview LoRA file says: whom it draws, for which base model, at which word, after how many steps."""

    identity: Identity
    base_model: str
    trigger: str
    step: int


def train(
    images: Sequence[bytes],
    *,
    book: IdentityBook,
    base_model: str,
    trigger: str,
    steps: int,
    rank: int = 4,
    on_progress: Callable[[int, int], None],
) -> bytes:
    """A safetensors file (under 200 kB) that holds the average person of `images` after `steps` of convergence.

    Calls `on_progress(step, steps)` about a hundred times. ValueError when a picture is not one that the preview drew,
    or when base model, steps or rank is out of range. Equal arguments give equal bytes.
    """
    if base_model not in LAYOUTS:
        raise ValueError(f"base_model is {base_model!r}; choose one of {', '.join(LAYOUTS)}")
    if steps < 1 or not 1 <= rank <= 128:
        raise ValueError(f"steps is {steps} and rank is {rank}; steps must be at least 1, rank from 1 to 128")
    people = [_identity(image, number, book) for number, image in enumerate(images)]
    target = mean(people)
    learned = person(0, {"gender": "female" if target.is_female else "male"})
    every = max(1, steps // 100)
    rate = 1 - float(np.exp(-1 / LEARNING_STEPS))
    goal, current = target.to_vector().astype(np.float64), learned.to_vector().astype(np.float64)
    for step in range(1, steps + 1):
        current += (goal - current) * rate
        if step % every == 0 or step == steps:
            on_progress(step, steps)
    return _write(Identity.from_vector(current.astype(np.float32)), base_model, trigger, steps, rank)


def read(data: bytes) -> LoraPreview:
    """What the file says; ValueError tells what is wrong with a file that is damaged or was not written here."""
    header, body = _split(data)
    meta = header.pop("__metadata__", {})
    if meta.get("generator") != GENERATOR:
        raise ValueError("this LoRA was not trained by the procedural preview: the preview cannot perform it")
    try:
        tensors = {
            name: np.frombuffer(body[slice(*entry["data_offsets"])], np.float16) for name, entry in header.items()
        }
        carried = np.concatenate([tensors[name] for name in sorted(tensors) if ".lora_B." in name]).astype(np.float32)
        high, low = carried[:VECTOR_LENGTH], carried[VECTOR_LENGTH : 2 * VECTOR_LENGTH]
        vector = (high + low / np.float32(2048)).astype(np.float32)
        step = int(json.loads(meta["training_info"])["step"])
        base_model, trigger, stated = meta["ss_base_model"], meta["trigger"], meta["identity_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the LoRA file is damaged: {type(error).__name__} {error}") from error
    if _fingerprint(body) != stated:
        raise ValueError("the LoRA file is damaged: its values do not match the hash in its metadata")
    return LoraPreview(Identity.from_vector(vector), base_model, trigger, step)


def _identity(image: bytes, number: int, book: IdentityBook) -> Identity:
    try:
        found = book.get(pixels_sha256(decode(image)))
    except ImageRejected as error:
        raise ValueError(f"training picture {number} is no picture: {error}") from error
    if found is None:
        raise ValueError(f"training picture {number} is unknown: the preview only knows pictures that it drew itself")
    return found


def _write(identity: Identity, base_model: str, trigger: str, steps: int, rank: int) -> bytes:
    pattern, modules, blocks, version = LAYOUTS[base_model]
    width = 64 if rank <= 8 else 32
    module_bytes = 2 * 2 * rank * width
    count = min(len(modules) * blocks, max(1, (MAX_BYTES - 24_000) // (module_bytes + 260)))
    names = [pattern.format(block=k // len(modules), module=modules[k % len(modules)]) for k in range(count)]
    rng = np.random.default_rng([steps, rank, 7])
    tensors: dict[str, Half] = {}
    for name in names:
        tensors[f"{name}.lora_A.weight"] = (rng.standard_normal((rank, width)) / width**0.5).astype(np.float16)
        tensors[f"{name}.lora_B.weight"] = (rng.standard_normal((width, rank)) * 0.02).astype(np.float16)
    _carry(tensors, identity)
    ordered = {name: tensors[name] for name in sorted(tensors)}
    body = b"".join(tensor.tobytes() for tensor in ordered.values())
    meta = {
        "format": "pt", "name": trigger, "generator": GENERATOR, "software": json.dumps({"name": GENERATOR}),
        "ss_base_model": base_model, "ss_base_model_version": version, "ss_output_name": trigger, "trigger": trigger,
        "ss_tag_frequency": json.dumps({f"1_{trigger}": {trigger: 1}}),
        "training_info": json.dumps({"step": steps, "epoch": 0}), "identity_sha256": _fingerprint(body),
    }  # fmt: skip
    return _join(ordered, meta, body)


def _carry(tensors: dict[str, Half], identity: Identity) -> None:
    """Write the identity over the first values of the `lora_B` tensors, in name order."""
    vector = identity.to_vector()
    high = vector.astype(np.float16)
    low = ((vector - high.astype(np.float32)) * 2048).astype(np.float16)
    values = np.concatenate([high, low])
    for name in sorted(name for name in tensors if ".lora_B." in name):
        flat = tensors[name].reshape(-1)
        taken, values = values[: flat.size], values[flat.size :]
        flat[: taken.size] = taken
    if values.size:
        raise ValueError(f"{values.size} numbers of the identity do not fit into the file: choose a higher rank")


def _join(tensors: Mapping[str, Half], meta: Mapping[str, str], body: bytes) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(meta)}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= len(data) - 8:
        raise ValueError(f"the LoRA file of {len(data)} bytes is cut off or is no safetensors file")
    try:
        header = json.loads(data[8 : 8 + size])
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the LoRA file's header is damaged: {error}") from error
    if 8 + size + end != len(data):
        raise ValueError(f"the LoRA file should have {8 + size + end} bytes, it has {len(data)}: fetch it again")
    return header, data[8 + size :]


def _fingerprint(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
