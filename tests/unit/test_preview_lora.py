"""LoRA files of the preview: what would train the wrong person or load a damaged file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from resources.gpu.backends.preview import lora
from resources.gpu.backends.preview.book import IdentityBook
from resources.gpu.backends.preview.identity import mean, person
from resources.images import pixels_sha256
from workflows import lora_file


def picture(shade: int) -> tuple[bytes, str]:
    image = Image.new("RGB", (16, 16), (shade, shade, shade))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue(), pixels_sha256(image)


@pytest.fixture
def book(tmp_path: Path) -> IdentityBook:
    """A book that knows two pictures of almost the same person."""
    filled = IdentityBook(tmp_path / "book")
    for shade, seed in ((1, 5), (2, 6)):
        filled.put(picture(shade)[1], person(seed, {"gender": "male"}))
    return filled


def trained(book: IdentityBook, *, base_model: str = "flux-dev", steps: int = 1500, rank: int = 4) -> bytes:
    return lora.train(
        [picture(1)[0], picture(2)[0]],
        book=book, base_model=base_model, trigger="ohwx_1", steps=steps, rank=rank, on_progress=lambda *_: None,
    )  # fmt: skip


def test_the_file_forgets_who_was_trained(book: IdentityBook) -> None:
    """The average of the pictures' people comes back, with base model, trigger and step."""
    found = lora.read(trained(book))
    goal = mean([person(5, {"gender": "male"}), person(6, {"gender": "male"})])
    assert np.allclose(found.identity.to_vector(), goal.to_vector(), atol=2e-3)
    assert (found.base_model, found.trigger, found.step) == ("flux-dev", "ohwx_1", 1500)


@pytest.mark.parametrize("rank", [1, 4, 16, 128])
@pytest.mark.parametrize("base_model", ["flux-dev", "zimage-turbo"])
def test_a_file_check_refuses_our_own_file(book: IdentityBook, base_model: str, rank: int) -> None:
    """The file is a real safetensors file, under 200 kB, of the right base model, trained, equal for equal inputs."""
    data = trained(book, base_model=base_model, rank=rank)
    assert len(data) < 200_000
    assert load(data).keys() >= {name for name in load(data) if "lora_B" in name}
    info = lora_file.inspect(data)
    assert (info.base_model, info.rank, info.step, info.trained, info.finite) == (base_model, rank, 1500, True, True)
    assert data == trained(book, base_model=base_model, rank=rank)


def test_few_steps_learn_as_much_as_many(book: IdentityBook) -> None:
    """A short training stays farther from the pictures' person than a long one."""
    goal = lora.read(trained(book, steps=4000)).identity.to_vector()
    short, long = (lora.read(trained(book, steps=steps)).identity.to_vector() for steps in (20, 400))
    assert np.linalg.norm(short - goal) > 3 * np.linalg.norm(long - goal)


def test_progress_is_not_heard_or_floods(book: IdentityBook) -> None:
    """Progress rises to the last step in about a hundred calls."""
    heard: list[tuple[int, int]] = []
    lora.train(
        [picture(1)[0]], book=book, base_model="flux-dev", trigger="t", steps=1234,
        on_progress=lambda step, total: heard.append((step, total)),
    )  # fmt: skip
    assert heard[-1] == (1234, 1234)
    assert 50 < len(heard) < 200
    assert heard == sorted(heard)


def test_an_unknown_picture_is_trained_on(book: IdentityBook) -> None:
    """A picture that the preview did not draw stops the training with its number."""
    with pytest.raises(ValueError, match="training picture 1 is unknown"):
        lora.train(
            [picture(1)[0], picture(9)[0]],
            book=book, base_model="flux-dev", trigger="t", steps=10, on_progress=lambda *_: None,
        )  # fmt: skip


def test_a_damaged_file_is_read(book: IdentityBook) -> None:
    """Cut off, flipped, foreign or empty: each is refused with its reason."""
    data = trained(book)
    with pytest.raises(ValueError, match="should have"):
        lora.read(data[:-100])
    with pytest.raises(ValueError, match="do not match the hash"):
        lora.read(data[:-2] + b"\x01\x02")
    with pytest.raises(ValueError, match="cut off or is no safetensors"):
        lora.read(b"<html>")
    with pytest.raises(ValueError, match="not trained by the procedural preview"):
        lora.read(data.replace(b"procedural preview", b"somebody elses one"))


def test_the_book_returns_a_stranger(book: IdentityBook) -> None:
    """An unknown hash is None, a malformed one an error, and a damaged entry says which file."""
    assert book.get("0" * 64) is None
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        book.get("../../etc")
    known = picture(1)[1]
    (book.directory / known[:2] / f"{known}.json").write_text("{}")
    with pytest.raises(ValueError, match="does not hold an identity"):
        book.get(known)
