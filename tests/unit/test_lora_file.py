"""LoRA files that are cut, dead, untrained or of another base model never reach a worker."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from workflows.errors import LoraFileError
from workflows.lora_file import inspect, verify

FLUX = ("transformer.transformer_blocks.0.attn.to_q", "transformer.single_transformer_blocks.3.proj_out")
ZIMAGE = ("diffusion_model.layers.0.attention.to_q", "diffusion_model.noise_refiner.1.feed_forward.w1")
METADATA = {"training_info": json.dumps({"step": 2000, "epoch": 200}), "ss_base_model_version": "zimage"}


def arrays(modules: tuple[str, ...] = ZIMAGE, rank: int = 4, kind: Any = np.float16) -> dict[str, Any]:
    """The pairs of a small trained LoRA."""
    pairs = {}
    for module in modules:
        pairs[f"{module}.lora_A.weight"] = np.full((rank, 8), 0.5, kind)
        pairs[f"{module}.lora_B.weight"] = np.full((6, rank), 0.25, kind)
    return pairs


def good(**changes: Any) -> bytes:
    """A whole LoRA file."""
    return save(arrays(**changes), METADATA)


def raw(header: Any, body: bytes = b"") -> bytes:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(("modules", "base"), [(FLUX, "flux-dev"), (ZIMAGE, "zimage-turbo"), (("a.b",), "unknown")])
def test_base_model_is_read_from_the_keys(modules: tuple[str, ...], base: str) -> None:
    """The metadata may say anything; the keys decide what a server can apply."""
    info = inspect(good(modules=modules))
    assert info.base_model == base
    assert (info.rank, info.tensors, info.parameters) == (4, 2 * len(modules), len(modules) * 4 * (8 + 6))
    assert (info.finite, info.trained, info.step) == (True, True, 2000)
    assert info.bytes == len(good(modules=modules))


def test_file_of_the_trainer_is_verified() -> None:
    """A whole, trained file of the right base and step passes."""
    assert verify(good(), base_model="zimage-turbo", trained_steps=2000).rank == 4


def test_every_cut_is_noticed() -> None:
    """A download that broke anywhere, by one byte or by all, is no LoRA."""
    data = good()
    for length in range(len(data)):
        with pytest.raises(LoraFileError):
            inspect(data[:length])
    with pytest.raises(LoraFileError, match="too many"):
        inspect(data + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!DOCTYPE html><html><body>404</body></html>",
        struct.pack("<Q", 2**63) + b"{}",
        raw(b"not json"),
        raw(b"[" * 100_000),
        raw([]),
        raw({}),
        raw({"__metadata__": {"a": 1}}),
        raw({"__metadata__": []}),
        raw({"a": None}),
        raw({"a": {"dtype": "F16", "shape": [1]}}),
        raw({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        raw({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2, 4]}}, b"\0" * 4),
        raw({"a": {"dtype": "F16", "shape": [-1, -1], "data_offsets": [0, 2]}}, b"\0\0"),
        raw({"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 2]}}, b"\0\0"),
        raw({"a": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}}, b"\0" * 4),
        raw({"a": {"dtype": "F16", "shape": [True], "data_offsets": [0, 2]}}, b"\0\0"),
        raw({"a": {"dtype": ["F16"], "shape": [1], "data_offsets": [0, 2]}}, b"\0\0"),
        raw({n: {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]} for n in "ab"}, b"\0\0"),
    ],
)
def test_hostile_file_is_refused(data: bytes) -> None:
    """Whatever arrives, the answer is a clear error and never another exception."""
    with pytest.raises(LoraFileError) as caught:
        inspect(data)
    assert caught.value.way_out


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_training_is_noticed(bad: float) -> None:
    """One NaN in one tensor is enough."""
    pairs = arrays()
    pairs[f"{ZIMAGE[1]}.lora_A.weight"][2, 3] = bad
    assert not inspect(save(pairs, METADATA)).finite
    with pytest.raises(LoraFileError, match="NaN"):
        verify(save(pairs, METADATA), base_model="zimage-turbo")


def test_nan_in_bfloat16_is_noticed() -> None:
    """Trainers save bfloat16, which numpy does not know: it is widened and looked at all the same."""
    name = f"{ZIMAGE[0]}.lora_B.weight"
    for word, finite in ((0x3F80, True), (0x7FC0, False), (0x7F80, False)):
        header = {name: {"dtype": "BF16", "shape": [1, 1], "data_offsets": [0, 2]}}
        info = inspect(raw(header, struct.pack("<H", word)))
        assert (info.finite, info.trained) == (finite, True)


def test_untrained_file_is_noticed() -> None:
    """A fresh network has only zeros in B."""
    pairs = {name: value * ("lora_A" in name) for name, value in arrays().items()}
    with pytest.raises(LoraFileError, match="never trained"):
        verify(save(pairs, METADATA), base_model="zimage-turbo")


def test_lora_of_another_base_is_refused() -> None:
    """The server would load it, say nothing, and change nothing."""
    with pytest.raises(LoraFileError, match="without effect") as caught:
        verify(good(modules=FLUX), base_model="zimage-turbo")
    assert caught.value.value == "flux-dev"


@pytest.mark.parametrize("steps", [1000, 2001])
def test_early_stop_is_noticed(steps: int) -> None:
    """A file of another step than asked for is not the end of that training."""
    with pytest.raises(LoraFileError, match="saved at step 2000"):
        verify(good(), base_model="zimage-turbo", trained_steps=steps)


def test_missing_step_is_no_success() -> None:
    """Without metadata nobody knows how far the training came."""
    with pytest.raises(LoraFileError, match="saved at step None"):
        verify(save(arrays()), base_model="zimage-turbo", trained_steps=2000)


def test_unlike_pairs_are_refused() -> None:
    """Half a pair, or two ranks in one file, is not what the trainer writes."""
    half = arrays()
    del half[f"{ZIMAGE[0]}.lora_B.weight"]
    mixed = {**arrays(modules=ZIMAGE[:1]), **arrays(modules=ZIMAGE[1:], rank=8)}
    for pairs in (half, mixed):
        with pytest.raises(LoraFileError, match="rank"):
            verify(save(pairs, METADATA), base_model="zimage-turbo")
