"""dlib's face embedding computed by numpy: its weights and its layers, its numbers to 1e-6, in a tenth of its time.

Belongs here: reading `dlib_face_recognition_resnet_model_v1.dat`, and the network in it (ResNet-29, 128 floats). Where
a face is and how it is aligned stays dlib's (`resources.identity`). dlib's wheel is built without a BLAS and takes 100
CPU ms a face, as much as finding it; numpy brings one and takes 10 (docs/adr/0005).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHIP_PX = 150  # side of the aligned picture that the network was trained on: `dlib.get_face_chip(.., size=150)`
_MEAN_RGB = (122.782, 117.001, 104.298)  # dlib's input layer: less these, over 256
# Blocks of two convolutions each. But for those of the first stage, the first block of a stage halves the picture and
# doubles its channels (the last stage keeps them).
_STAGES = (3, 4, 3, 3, 1)
# In dlib's file each layer is its name with its length before it, then its numbers as a tensor.
_LAYER = re.compile(rb"\x01(?:\x05(?P<con>con_4)|\x07(?P<affine>affine_)|\x04(?P<fc>fc_2)\x01\x80\x02\x00\x01)\x01\x02")
# OpenBLAS gives a product of more multiplications to several threads, which cost more than they bring here; so a kernel
# is multiplied row by row where channels are few, and pixel by pixel where they are many: at most 4 * 256 * 256.
_FEW_CHANNELS = 100


@dataclass(frozen=True)
class _Convolution:
    """Its `bias` (filters,) and `kernel` (side, side, channels, filters), the affine layer behind it multiplied in."""

    kernel: Any
    bias: Any


class FaceEmbedder:
    """The network with its weights. Raises ValueError for a file that is another network's."""

    def __init__(self, file: Path) -> None:
        self._convolutions, self._last = _read(file.read_bytes())

    def embed(self, chip: Any) -> tuple[float, ...]:
        """128 floats of one aligned face, (CHIP_PX, CHIP_PX, 3) of uint8 RGB."""
        import numpy as np

        layers = iter(self._convolutions)
        found = (chip.astype(np.float32) - np.asarray(_MEAN_RGB, np.float32)) / np.float32(256)
        found = _largest_of_three(_positive(_convolved(found, next(layers), 2)))
        for stage, blocks in enumerate(_STAGES):
            for block in range(blocks):
                halves = stage > 0 and block == 0
                inner = _positive(_convolved(found, next(layers), 2 if halves else 1))
                inner = _convolved(inner, next(layers), 1)
                found = _positive(_sum(_halved(found), inner) if halves else found + inner)
        return tuple((found.mean(axis=(0, 1)) @ self._last).tolist())


def _convolved(pixels: Any, layer: _Convolution, stride: int) -> Any:
    """(rows, columns, channels) -> (rows, columns, filters); as wide as before for stride 1, else without a border."""
    import numpy as np

    side, _, channels, filters = layer.kernel.shape
    if stride == 1:
        pixels = _bordered(pixels, side // 2)
    height, width = ((length - side) // stride + 1 for length in pixels.shape[:2])
    at = side if channels < _FEW_CHANNELS else 1  # pixels of a kernel's row that are multiplied at once
    row, column, channel = pixels.strides
    windows = np.lib.stride_tricks.as_strided(
        pixels,
        (height, side, side // at, width, at * channels),
        (row * stride, row, column, column * stride, channel),
    ).reshape(height, -1, width, at * channels)
    products = windows @ layer.kernel.reshape(-1, at * channels, filters)
    return products.sum(axis=1) + layer.bias


def _bordered(pixels: Any, width: int) -> Any:
    """With zeros around."""
    import numpy as np

    rows, columns, channels = pixels.shape
    found = np.zeros((rows + 2 * width, columns + 2 * width, channels), np.float32)
    found[width:-width, width:-width] = pixels
    return found


def _positive(pixels: Any) -> Any:
    import numpy as np

    return np.maximum(pixels, 0, out=pixels)


def _largest_of_three(pixels: Any) -> Any:
    """Max pooling by 3 x 3, a step of two."""
    import numpy as np

    for axis in (0, 1):
        count = (pixels.shape[axis] - 3) // 2 + 1
        of = [np.take(pixels, np.arange(first, first + 2 * count, 2), axis) for first in range(3)]
        pixels = np.maximum(np.maximum(of[0], of[1]), of[2])
    return pixels


def _halved(pixels: Any) -> Any:
    """Average pooling by 2 x 2; an odd last row or column falls away."""
    height, width = (length // 2 for length in pixels.shape[:2])
    return pixels[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean(axis=(1, 3))


def _sum(one: Any, other: Any) -> Any:
    """Of two blocks of different size: what the smaller one lacks is zero, as dlib's `add_prev` has it."""
    import numpy as np

    found = np.zeros(np.maximum(one.shape, other.shape), np.float32)
    for part in (one, other):
        found[tuple(map(slice, part.shape))] += part
    return found


def _read(data: bytes) -> tuple[list[_Convolution], Any]:
    """The convolutions in the order of the network, and the last matrix (256, 128)."""
    layers = [(found.lastgroup, _tensor(data, found.end())) for found in _LAYER.finditer(data)]
    due = ["con", "affine"] * (1 + 2 * sum(_STAGES)) + ["fc"]
    if [name for name, _ in layers] != due:
        raise ValueError(
            f"these are not the weights of dlib's face embedding: {len(layers)} layers, {len(due)} are due"
        )
    weights = [numbers for _, numbers in layers]
    pairs = zip(weights[0:-1:2], weights[1:-1:2], strict=True)
    return [_folded(*pair, 3 if n else 7) for n, pair in enumerate(pairs)], weights[-1].reshape(-1, 128)


def _folded(weights: Any, affine: Any, side: int) -> _Convolution:
    """A convolution (filters, then biases) and the scales and offsets behind it as one."""
    import numpy as np

    scale, offset = np.split(affine, 2)
    filters, bias = weights[: -len(scale)], weights[-len(scale) :]
    kernel = (filters.reshape(len(scale), -1, side, side) * scale[:, None, None, None]).transpose(2, 3, 1, 0)
    return _Convolution(np.ascontiguousarray(kernel), bias * scale + offset)


def _tensor(data: bytes, at: int) -> Any:
    """The floats of the tensor whose four sizes begin at `at`."""
    import numpy as np

    sizes = []
    for _ in range(4):
        length = data[at]  # of the number, in bytes, little-endian
        sizes.append(int.from_bytes(data[at + 1 : at + 1 + length], "little"))
        at += 1 + length
    return np.frombuffer(data, "<f4", math.prod(sizes), at)
