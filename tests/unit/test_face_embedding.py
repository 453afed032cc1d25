"""What goes wrong when a network is computed by other hands: other numbers, other weights, a layer too few."""

from __future__ import annotations

from pathlib import Path

import dlib
import numpy as np
import pytest

from resources.face_embedding import CHIP_PX, FaceEmbedder
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import EMBEDDER, DlibScorer

FILE = DlibScorer()._folder / EMBEDDER
ROUNDING = 1e-5  # L2: a hundredth of what lies between two copies of one photograph in one size


@pytest.fixture(scope="module")
def embedder() -> FaceEmbedder:
    """One network: its weights take a moment to read."""
    return FaceEmbedder(FILE)


def test_numbers_are_dlib_s(embedder: FaceEmbedder) -> None:
    """Of a face, of noise, and of the darkest and the brightest picture; else no threshold of ours would hold."""
    own = dlib.face_recognition_model_v1(str(FILE))
    drawn = render(person(11, {"age": "34"}), Look(seed=1), 256, 256).resize((CHIP_PX, CHIP_PX))
    noise = np.random.default_rng(5).integers(0, 256, (CHIP_PX, CHIP_PX, 3), dtype=np.uint8)
    for chip in (np.asarray(drawn), noise, np.zeros_like(noise), np.full_like(noise, 255)):
        theirs = np.asarray(own.compute_face_descriptor(np.ascontiguousarray(chip)))
        assert float(np.linalg.norm(theirs - embedder.embed(chip))) < ROUNDING


def test_same_chip_has_the_same_numbers(embedder: FaceEmbedder) -> None:
    """As plain floats, digit for digit: they are kept as JSON, and the chip is left as it was."""
    chip = np.random.default_rng(6).integers(0, 256, (CHIP_PX, CHIP_PX, 3), dtype=np.uint8)
    before = chip.copy()
    first = embedder.embed(chip)
    assert (len(first), {type(number) for number in first}) == (128, {float})
    assert embedder.embed(chip) == first
    assert (chip == before).all()


@pytest.mark.parametrize("damage", ["another network", "cut off", "empty"])
def test_other_weights_are_refused(tmp_path: Path, damage: str) -> None:
    """Before any face is embedded by them."""
    data = FILE.read_bytes()
    damaged = {"another network": data.replace(b"affine_", b"affinE_", 1), "cut off": data[:-1000], "empty": b""}
    (tmp_path / EMBEDDER).write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=r"not the weights|buffer is smaller"):
        FaceEmbedder(tmp_path / EMBEDDER)
