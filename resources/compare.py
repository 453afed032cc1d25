"""Two decoded pictures side by side: are they equal, close, or different?

Belongs here: what two pictures' pixels say about each other. Which backends drew them, and whether a difference
matters to anyone, are questions for others. Likeness of faces is `identity`'s: two pictures of one person are
*different* here.

The tolerance. One graph with one seed on two GPU types, drivers or attention kernels gives rounding differences that
the sampler's steps carry along; a wrong model file, dtype, sampler or seed gives another picture. `close` must cover
the first and none of the second. Nobody publishes the number for our graphs, so `MAX_MEAN_ABS` and `MIN_PSNR_DB` are
an **assumption** that the first run on two GPU types must confirm: PSNR 28 dB is a root mean square of 10 of 255, seen
as grain or a shifted highlight; the mean bounds what is spread over the picture, PSNR what is large in few places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Verdict = Literal["equal", "close", "different"]

MAX_MEAN_ABS = 6.0  # of 255, over all pixels and channels; see the module docstring
MIN_PSNR_DB = 28.0  # see the module docstring
GAIN = 8  # the shown difference is this much brighter: a step of 4 of 255, which no eye finds, becomes 32
GAP, TITLE = 8, 28  # pixels between the pictures, and above them for the title
INK, PAPER = "#1f2328", "#ffffff"


@dataclass(frozen=True)
class Difference:
    """How far two pictures are apart: 8-bit steps (0..255) and dB, None where that is no number; `reason` says why.

    `psnr_db` is None for equal pictures (it would be infinite), all three are None for pictures of unlike size.
    """

    verdict: Verdict
    mean_abs: float | None
    p99_abs: float | None
    psnr_db: float | None
    reason: str


def compare(a: Image, b: Image) -> Difference:
    """Compare two RGB pictures pixel by pixel; unlike sizes are *different*, and nothing is resized."""
    import numpy as np

    if a.size != b.size:
        sizes = f"{a.width}x{a.height} and {b.width}x{b.height} pixels"
        return Difference("different", None, None, None, f"unlike sizes: {sizes}")
    steps = _steps(a, b)
    if not steps.any():
        return Difference("equal", 0.0, 0.0, None, "the same pixels")
    mean, p99 = float(steps.mean()), float(np.percentile(steps, 99))
    psnr = float(20 * np.log10(255.0 / np.sqrt(np.mean(np.square(steps)))))
    close = mean <= MAX_MEAN_ABS and psnr >= MIN_PSNR_DB
    told = (
        f"mean difference {mean:.2f} of 255 (at most {MAX_MEAN_ABS:g}), PSNR {psnr:.1f} dB (at least {MIN_PSNR_DB:g})"
    )
    return Difference("close" if close else "different", mean, p99, psnr, told)


def side_by_side(a: Image, b: Image, title: str) -> Image:
    """Both pictures and, where they have one size, their difference `GAIN` times amplified, under a line of text."""
    from PIL import Image as pil
    from PIL import ImageDraw, ImageFont

    panels = [a, b] if a.size != b.size else [a, b, pil.fromarray(_amplified(a, b))]
    width = sum(panel.width for panel in panels) + GAP * (len(panels) + 1)
    canvas = pil.new("RGB", (width, TITLE + max(panel.height for panel in panels) + GAP), PAPER)
    ImageDraw.Draw(canvas).text((GAP, 6), title, fill=INK, font=ImageFont.load_default(14))
    x = GAP
    for panel in panels:
        canvas.paste(panel, (x, TITLE))
        x += panel.width + GAP
    return canvas


def _steps(a: Image, b: Image) -> Any:
    """The absolute differences, height x width x 3, as floats from 0 to 255."""
    import numpy as np

    first, second = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (a, b))
    return np.abs(first - second)


def _amplified(a: Image, b: Image) -> Any:
    import numpy as np

    return np.clip(_steps(a, b) * GAIN, 0, 255).astype(np.uint8)
