"""Files that scripted workers return: small, valid, not blank, and drawn only once.

Belongs here: bytes by size and name, and which sizes a graph asks for. Does not belong here: who asks.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

from tests.fakes.scripted_backend import lora as lora_bytes
from tests.fakes.scripted_backend import png

VARIANTS = 8  # different pictures of one size
DEFAULT_SIDE = 64


def picture(width: int, height: int, name: str) -> bytes:
    """A PNG of coloured squares of that size; the same name gives the same one."""
    return _drawn(width, height, hashlib.sha256(name.encode()).digest()[0] % VARIANTS)


@functools.lru_cache(maxsize=256)
def _drawn(width: int, height: int, variant: int) -> bytes:
    import numpy as np
    from PIL import Image

    small = np.random.default_rng(variant).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return png(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


@functools.lru_cache(maxsize=16)
def lora(base_model: str, steps: int) -> bytes:
    """A LoRA file as a trainer leaves it."""
    return lora_bytes(base_model, steps)


def blank(width: int = DEFAULT_SIDE, height: int = DEFAULT_SIDE) -> bytes:
    """One colour, as NaN latents come back."""
    from PIL import Image

    return png(Image.new("RGB", (width, height)))


def damaged(files: list[tuple[str, str, bytes]], damage: str) -> list[tuple[str, str, bytes]]:
    """The files with `damage` done to the first: truncated, html, blank (same size), missing; empty for none."""
    if not damage or not files:
        return files
    name, media, data = files[0]
    if damage == "missing":
        return files[1:]
    if damage == "truncated":
        harmed = data[: len(data) // 2]
    elif damage == "html":
        harmed = b"<html><body>502 Bad Gateway</body></html>"
    else:
        harmed = blank(*_size_of(data)) if media == "image" else bytes(len(data))
    return [(name, media, harmed), *files[1:]]


def _size_of(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])  # a PNG's header


def saved(graph: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """(filename_prefix, width, height) of every picture that an API-format graph saves, batches counted."""
    found = []
    for node in graph.values():
        if isinstance(node, dict) and node.get("class_type") == "SaveImage":
            width, height, batch = _size(graph, node, set())
            found += [(str(node["inputs"].get("filename_prefix", "ComfyUI")), width, height)] * batch
    return found


def _size(graph: Mapping[str, Any], node: Mapping[str, Any], seen: set[str]) -> tuple[int, int, int]:
    """The nearest node upstream that has a width and a height says."""
    inputs = node.get("inputs", {})
    if isinstance(inputs.get("width"), int) and isinstance(inputs.get("height"), int):
        return inputs["width"], inputs["height"], int(inputs.get("batch_size", 1))
    for value in inputs.values():
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph and str(value[0]) not in seen:
            seen.add(str(value[0]))
            width, height, batch = _size(graph, graph[str(value[0])], seen)
            if width:
                return width, height, batch
    return (0, 0, 1) if node.get("class_type") != "SaveImage" else (DEFAULT_SIDE, DEFAULT_SIDE, 1)
