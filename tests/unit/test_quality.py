"""What can be wrong with a picture, and what must not be called wrong."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from resources.quality import Quality, bits_apart, measure
from ryla_assets.domain.quality import duplicates, findings, refused

BOX = (160, 100, 350, 340)


def picture(*, seed: int = 1, size: int = 512) -> Image.Image:
    """Edges at every scale, as a photo has them: rectangles of all sizes over a gradient."""
    rng = np.random.default_rng(seed)
    canvas = np.tile(np.linspace(60, 190, size, dtype=np.float32), (size, 1))
    for _ in range(150):
        x, y = rng.integers(0, size - 8, 2)
        w, h = rng.integers(6, size // 5, 2)
        canvas[y : y + h, x : x + w] = rng.integers(30, 220)
    return Image.fromarray(canvas.astype(np.uint8)).convert("RGB")


def codes(image: Image.Image, *, faces: int | None = 1, expects_face: bool = True) -> list[str]:
    """The codes of what refuses it."""
    measured = measure(image, face=BOX if faces else None)
    found = findings(**_numbers(measured), faces=faces, expects_face=expects_face)
    assert refused(found) == any(finding.refuses for finding in found)
    return [finding.code for finding in found if finding.refuses]


def test_good_picture_is_not_refused() -> None:
    """At its own size, twice as large, and as a bright one."""
    assert codes(picture()) == []
    assert codes(picture(size=1024)) == []


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_is_blank_and_nothing_else(value: int) -> None:
    """NaN latents come back black; a filter's answer may be grey or white."""
    assert codes(Image.new("RGB", (512, 512), (value,) * 3)) == ["blank"]


SIZES = (256, 368, 512, 576, 1024)  # what the settings allow, from end to end


def noise(size: int, *, cell: int = 1, smooth: bool = False, strength: float = 60.0) -> Image.Image:
    """Coloured noise whose cells are so many pixels wide, or smoothed into each other as a decoder does."""
    rng = np.random.default_rng(0)
    cells = np.clip(128 + strength * rng.standard_normal((size // cell, size // cell, 3)), 0, 255).astype(np.uint8)
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return Image.fromarray(cells).resize((size, size), how)


@pytest.mark.parametrize("size", SIZES)
def test_noise_is_no_picture(size: int) -> None:
    """At any size: a copy that was shrunk first would have averaged it away."""
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    assert codes(Image.fromarray(pixels)) == ["noise"]


@pytest.mark.parametrize("size", [512, 1024])
@pytest.mark.parametrize("cell", [1, 4, 8])
@pytest.mark.parametrize("smooth", [False, True])
def test_latents_that_nobody_sampled_are_no_picture(size: int, cell: int, smooth: bool) -> None:
    """A cell of a latent is eight pixels wide: decoded noise is blotchy, coloured, and not sharp at all."""
    assert codes(noise(size, cell=cell, smooth=smooth)) == ["noise"]


def test_faint_noise_is_noise() -> None:
    """Its strength says nothing; that neighbours have nothing in common does."""
    assert codes(noise(512, strength=15.0)) == ["noise"]


@pytest.mark.parametrize("box", [(0, 0, 1024, 320), (0, 700, 1024, 1024), (0, 0, 300, 1024)])
def test_noise_in_a_third_of_a_picture_is_seen_wherever(box: tuple[int, int, int, int]) -> None:
    """A tile that failed is rarely the middle one."""
    image = picture(size=1024)
    image.paste(noise(1024, strength=90.0).crop(box), box[:2])
    assert codes(image, faces=None) == ["noise"]


@pytest.mark.parametrize("size", SIZES)
def test_grain_is_not_noise(size: int) -> None:
    """Film grain, a busy pattern and a mosaic of coarse blocks are pictures."""
    grainy = np.asarray(picture(size=size), dtype=np.float32)
    grainy = grainy + 20.0 * np.random.default_rng(0).standard_normal((size, size, 1))
    assert "noise" not in codes(Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)), faces=None)
    assert "noise" not in codes(noise(size, cell=size // 8), faces=None)


def test_small_picture_is_measured_without_a_crash() -> None:
    """Below 32 px a side nothing can be said of noise; one pixel is blank."""
    assert measure(noise(16)).noise == 0.0
    assert codes(Image.new("RGB", (1, 1)), faces=None) == ["blank"]


def test_wrong_size_is_a_fault_of_the_picture() -> None:
    """Read from the pixels, against what was asked for."""
    numbers = _numbers(measure(picture()))
    found = findings(**numbers, asked=(512, 768), faces=None, expects_face=False)
    assert [(one.code, one.text) for one in found] == [("wrong_size", "512x512 came back, 512x768 was asked for")]
    assert findings(**numbers, asked=(512, 512), faces=None, expects_face=False) == []


@pytest.mark.parametrize("size", [512, 1024])
def test_blur_is_seen_at_any_resolution(size: int) -> None:
    """A blur of four pixels at 512 px, whatever the picture's own size."""
    blurred = picture(size=size).filter(ImageFilter.GaussianBlur(4 * size / 512))
    assert codes(blurred)[0] == "blurred"


def test_blurred_face_in_a_sharp_picture_is_seen() -> None:
    """Only where a face is expected: a face that nobody asked for may be in the background."""
    image = picture()
    image.paste(image.crop(BOX).filter(ImageFilter.GaussianBlur(6)), BOX[:2])
    assert codes(image) == ["face_blurred"]
    assert codes(image, expects_face=False) == []


def test_wrong_number_of_people_is_seen() -> None:
    """Two where one was asked for; none, where one was; not counted is not none."""
    assert codes(picture(), faces=2) == ["two_faces"]
    assert codes(picture(), faces=0) == ["no_face"]
    assert codes(picture(), faces=0, expects_face=False) == []
    assert codes(picture(), faces=None) == []


def test_dark_picture_is_told_not_refused() -> None:
    """A night scene may be meant."""
    dark = picture().point(lambda value: value // 10)
    found = findings(**_numbers(measure(dark)), faces=None, expects_face=False)
    assert [(f.code, f.refuses) for f in found if f.code == "exposure"] == [("exposure", False)]


def test_same_picture_re_encoded_is_a_duplicate_and_another_is_not() -> None:
    """Scaled and saved as JPEG: still the same; another scene: not."""
    import io

    first = picture()
    out = io.BytesIO()
    first.resize((384, 384)).save(out, "JPEG", quality=60)
    again, other = Image.open(out), picture(seed=2)
    hashes = {name: measure(image).phash for name, image in (("a", first), ("b", again), ("c", other))}
    bits = {pair: bits_apart(hashes[pair[0]], hashes[pair[1]]) for pair in (("a", "b"), ("a", "c"))}
    assert list(duplicates(bits)) == ["b"]


def test_face_box_outside_the_picture_is_no_crash() -> None:
    """A detector's box may reach over the edge, or lie wholly outside."""
    assert measure(picture(), face=(-50, -50, 200, 200)).face_sharpness is not None
    assert measure(picture(), face=(600, 600, 700, 700)).face_sharpness is None


def _numbers(measured: Quality) -> dict[str, Any]:
    numbers = measured.as_dict()
    del numbers["phash"]
    return numbers
