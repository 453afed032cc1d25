"""A trained LoRA file: is it whole, is it trained, and for which base model?

Belongs here: the safetensors container, read defensively, and what AI Toolkit writes into it. A server loads a LoRA of
the wrong base model without a word and without effect, and a training run can end well with a dead file: so the file
itself is asked. Not where it is stored, nor which character it is of.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from workflows.errors import LoraFileError

if TYPE_CHECKING:
    import numpy as np

LoraBase: TypeAlias = Literal["flux-dev", "zimage-turbo", "unknown"]

MAX_HEADER: Final = 10_000_000  # bytes; real headers are 62 kB (Z-Image) and 135 kB (Flux)
_ITEM_BYTES: Final[Mapping[str, int]] = {"F16": 2, "BF16": 2, "F32": 4}  # the types a trainer writes
_AGAIN: Final = "Fetch the file again, or train again."

# Key layouts of AI Toolkit, one pattern per base model: Flux in diffusers' names, Z-Image in ComfyUI's prefix.
_LAYOUTS: Final[Mapping[LoraBase, re.Pattern[str]]] = {
    "flux-dev": re.compile(r"transformer\.(single_)?transformer_blocks\.\d+\..+"),
    "zimage-turbo": re.compile(r"diffusion_model\.(layers|noise_refiner|context_refiner)\.\d+\..+"),
}
_HALF: Final = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class LoraInfo:
    """What a LoRA file holds. `parameters` counts numbers, `bytes` the whole file.

    `rank` is 0 where the pairs disagree; `finite` is False with any NaN or infinity; `trained` is False where every B
    matrix is zero, as a fresh network's are. `step` is the training step from the metadata, None where it says none.
    """

    base_model: LoraBase
    rank: int
    tensors: int
    parameters: int
    finite: bool
    trained: bool
    step: int | None
    metadata: Mapping[str, str]
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def count(self) -> int:
        total = 1
        for side in self.shape:
            total *= side
        return total


def inspect(data: bytes) -> LoraInfo:
    """Read the file whole. Raises `LoraFileError` for anything that is not a complete safetensors file."""
    header, body = _split(data)
    metadata = _metadata(header)
    tensors = _tensors(header, len(body))
    finite, trained = _values(tensors, body)
    return LoraInfo(
        base_model=_base_model([tensor.name for tensor in tensors]),
        rank=_rank(tensors),
        tensors=len(tensors),
        parameters=sum(tensor.count for tensor in tensors),
        finite=finite,
        trained=trained,
        step=_step(metadata),
        metadata=metadata,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
    )


def verify(data: bytes, *, base_model: str, trained_steps: int | None = None) -> LoraInfo:
    """The file's facts, if it can be used on `base_model`; `LoraFileError` with the first reason otherwise.

    `trained_steps` is the number of steps that were asked for: the file must say that it saw exactly those.
    """
    info = inspect(data)
    if info.base_model != base_model:
        raise LoraFileError(
            f"the LoRA is for {info.base_model}, not for {base_model}; the server would load it without effect.",
            field="base_model",
            value=info.base_model,
            way_out=f"Use it on {info.base_model}." if info.base_model != "unknown" else "Train it with AI Toolkit.",
        )
    if not info.finite:
        raise _damaged("holds NaN or infinite weights: training diverged.", way_out="Train again at a lower rate.")
    if not info.trained:
        raise _damaged("was never trained: every B matrix is zero.", way_out="Train again, and watch the loss.")
    if info.rank == 0:
        raise _damaged("has pairs of unlike or unmatched rank.")
    if trained_steps is not None and info.step != trained_steps:
        raise LoraFileError(
            f"the file was saved at step {info.step}, not at {trained_steps}.",
            field="trained_steps",
            value=info.step,
            way_out="Wait for the last save, or resume the training.",
        )
    return info


def _damaged(message: str, *, way_out: str = _AGAIN, value: object = None) -> LoraFileError:
    return LoraFileError(f"the LoRA file {message}", field="lora_file", value=value, way_out=way_out)


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The JSON header and the bytes behind it: eight bytes of length (little endian), the header, the values."""
    if len(data) < 8:
        raise _damaged(f"is cut off after {len(data)} bytes.", value=len(data))
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER:
        raise _damaged(f"is no safetensors file (it claims a header of {length} bytes).", value=length)
    if 8 + length > len(data):
        raise _damaged(f"is cut off inside its header ({len(data)} bytes).", value=len(data))
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _damaged("has an unreadable header.") from error
    if not isinstance(header, dict):
        raise _damaged("has a header that is no table.")
    return header, memoryview(data)[8 + length :]


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged("has metadata that are no texts.")
    return metadata


def _tensors(header: Mapping[str, Any], size: int) -> list[_Tensor]:
    """The tensors in the order of their bytes; they must cover the body without gap, overlap or remainder."""
    tensors = sorted(
        (_tensor(name, entry) for name, entry in header.items()), key=lambda tensor: (tensor.start, tensor.end)
    )
    if not tensors:
        raise _damaged("holds no tensors.")
    at = 0
    for tensor in tensors:
        if tensor.start != at:
            raise _damaged(f"has a gap or an overlap before {tensor.name}.", value=tensor.name)
        at = tensor.end
    if at > size:
        raise _damaged(f"is cut off: {at - size} of {at} bytes of values are missing.", value=size)
    if at < size:
        raise _damaged(f"has {size - at} bytes too many.", value=size)
    return tensors


def _tensor(name: str, entry: Any) -> _Tensor:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
        tensor = _Tensor(name, dtype, shape, start, end)
        fits = whole and end - start == tensor.count * _ITEM_BYTES[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(f"describes {name} in a way no trainer writes.", value=name) from error
    if not fits:
        raise _damaged(f"gives {name} offsets that do not fit its shape.", value=name)
    return tensor


def _values(tensors: list[_Tensor], body: memoryview) -> tuple[bool, bool]:
    """(every value is finite, some B matrix is not zero)."""
    import numpy as np

    finite, trained = True, False
    for tensor, values in _arrays(tensors, body):
        finite = finite and bool(np.isfinite(values).all())
        trained = trained or (not tensor.name.endswith(".lora_A.weight") and bool(values.any()))
    return finite, trained


def _arrays(tensors: list[_Tensor], body: memoryview) -> Iterator[tuple[_Tensor, "np.ndarray[Any, Any]"]]:
    import numpy as np

    for tensor in tensors:
        raw = body[tensor.start : tensor.end]
        if tensor.dtype == "BF16":  # the upper half of a float32
            yield tensor, (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            yield tensor, np.frombuffer(raw, "<f2" if tensor.dtype == "F16" else "<f4")


def _base_model(names: list[str]) -> LoraBase:
    for base, layout in _LAYOUTS.items():
        if all(layout.fullmatch(name) for name in names):
            return base
    return "unknown"


def _rank(tensors: list[_Tensor]) -> int:
    """The rank that all pairs share (A is [rank, in], B is [out, rank]); 0 if there is no such number."""
    halves: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        match = _HALF.fullmatch(tensor.name)
        if match is None or len(tensor.shape) != 2:
            return 0
        halves.setdefault(match["module"], {})[match["half"]] = tensor.shape[0 if match["half"] == "A" else 1]
    ranks = {rank for pair in halves.values() for rank in pair.values()}
    whole = all(pair.keys() == {"A", "B"} for pair in halves.values())
    return ranks.pop() if whole and len(ranks) == 1 else 0


def _step(metadata: Mapping[str, str]) -> int | None:
    try:
        step = json.loads(metadata["training_info"])["step"]
    except (KeyError, TypeError, ValueError):
        return None
    return step if type(step) is int else None
