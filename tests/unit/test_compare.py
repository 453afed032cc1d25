"""What goes wrong when two pictures are compared: noise taken for another picture, another picture taken for noise."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from resources.compare import GAIN, GAP, MAX_MEAN_ABS, MIN_PSNR_DB, compare, side_by_side

SIZE = 64


def grey(level: int = 100, *, width: int = SIZE) -> Image.Image:
    """A plain picture."""
    return Image.new("RGB", (width, SIZE), (level, level, level))


def noisy(sigma: float, seed: int = 0) -> Image.Image:
    """The plain picture with Gaussian noise."""
    noise = np.random.default_rng(seed).normal(0.0, sigma, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(100 + noise, 0, 255).astype(np.uint8))


def pixels(image: Image.Image) -> Any:
    """A picture as numbers that can be subtracted."""
    return np.asarray(image, dtype=np.int16)


def test_same_pixels_are_equal() -> None:
    """No infinite PSNR: JSON has no such number."""
    found = compare(noisy(9.0), noisy(9.0))
    assert (found.verdict, found.mean_abs, found.p99_abs, found.psnr_db) == ("equal", 0.0, 0.0, None)


def test_one_changed_pixel_is_not_equal() -> None:
    """Equal means equal; close says by how much it is not."""
    other = grey()
    other.putpixel((3, 4), (101, 100, 100))
    found = compare(grey(), other)
    assert found.verdict == "close"
    assert found.mean_abs == pytest.approx(1 / (SIZE * SIZE * 3))
    assert found.p99_abs == 0.0


def test_rounding_noise_is_close() -> None:
    """A few steps of noise everywhere, as another GPU's kernels leave them."""
    found = compare(grey(), noisy(3.0))
    assert found.verdict == "close"
    assert found.p99_abs is not None
    assert 5.0 < found.p99_abs < 12.0


@pytest.mark.parametrize(("level", "verdict"), [(106, "close"), (107, "different")])
def test_mean_bounds_what_is_spread_over_the_picture(level: int, verdict: str) -> None:
    """Every pixel a little brighter has a good PSNR and is no rounding."""
    found = compare(grey(), grey(level))
    assert (found.verdict, found.mean_abs) == (verdict, level - 100)
    assert found.psnr_db is not None
    assert found.psnr_db > MIN_PSNR_DB


def test_psnr_bounds_what_is_large_in_few_places() -> None:
    """A patch of two in a hundred pixels hides in the mean: an ear-ring, a finger."""
    other = grey()
    other.paste((255, 255, 255), (0, 0, 9, 9))
    found = compare(grey(), other)
    assert found.mean_abs is not None
    assert found.mean_abs < MAX_MEAN_ABS
    assert found.verdict == "different"
    assert found.p99_abs == 155.0


def test_other_noise_is_a_different_picture() -> None:
    """Two seeds are two pictures."""
    assert compare(noisy(60.0, 1), noisy(60.0, 2)).verdict == "different"


def test_unlike_sizes_are_different_and_told() -> None:
    """Nothing is resized in silence, and there is no number to compare."""
    found = compare(grey(), grey(width=48))
    assert (found.verdict, found.mean_abs, found.psnr_db) == ("different", None, None)
    assert found.reason == "unlike sizes: 64x64 and 48x64 pixels"


def test_order_of_the_two_changes_nothing() -> None:
    """Unsigned bytes wrap when they are subtracted; a darker picture is as far away as a brighter one."""
    assert compare(grey(), noisy(20.0)) == compare(noisy(20.0), grey())


def test_side_by_side_shows_both_and_an_amplified_difference() -> None:
    """Three panels; a step that no eye finds is seen in the third."""
    shown = side_by_side(grey(), grey(104), "title")
    assert shown.width == 3 * SIZE + 4 * GAP
    centres = [(GAP + SIZE // 2 + panel * (SIZE + GAP), shown.height - SIZE // 2) for panel in range(3)]
    assert [shown.getpixel(centre) for centre in centres] == [(100,) * 3, (104,) * 3, (4 * GAIN,) * 3]
    assert (pixels(shown)[: GAP * 2] < 100).any()  # the title's ink


def test_pictures_of_unlike_size_are_shown_without_a_difference() -> None:
    """There is none to show."""
    shown = side_by_side(grey(), grey(width=48), "title")
    assert shown.width == SIZE + 48 + 3 * GAP
