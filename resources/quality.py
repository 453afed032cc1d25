"""What a picture is worth before anybody asks who is on it: spread, sharpness, noise, exposure, likeness to others.

Belongs here: pixels in, numbers out, in a few milliseconds a megapixel (measured by tests/bench). What the numbers mean
for a shot is the domain's (`ryla_assets.domain.quality`); faces are `resources.identity`'s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = 512  # sharpness is measured on a copy of this size, or its threshold would depend on the resolution
FACE_PX = 128  # and that of a face on its box, brought to this width
# A 32 x 32 copy, of whose spectrum the 16 x 16 lowest frequencies are kept: 256 bits. The usual 64 do not tell two
# takes of one shot from one picture saved twice: takes differ in 2 of 64 and more, copies in up to 2 (docs/adr/0009).
_HASH_SIDE, _HASH_KEPT = 32, 16


@dataclass(frozen=True)
class Quality:
    """The numbers of one picture. Luma is 0..255."""

    luma_std: float
    luma_spread: float  # 99th percentile less the first
    luma_median: float
    sharpness: float  # variance of the Laplacian at SIDE_PX: photos 100 and up, noise 100,000
    face_sharpness: float | None  # the same of the main face's box; None without a face
    phash: str  # 64 hex characters: alike pictures differ in few of the 256 bits

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def measure(image: Image, *, face: tuple[int, int, int, int] | None = None) -> Quality:
    """Measure a decoded picture; `face` is the main face's box (left, top, right, bottom) in pixels."""
    import numpy as np

    small = image.convert("L")
    small.thumbnail((SIDE_PX, SIDE_PX))
    luma = np.asarray(small, dtype=np.float32)
    low, median, high = np.percentile(luma, (1, 50, 99))
    return Quality(
        luma_std=float(luma.std()),
        luma_spread=float(high - low),
        luma_median=float(median),
        sharpness=_laplacian_variance(luma),
        face_sharpness=None if face is None else _face_sharpness(image, face),
        phash=_phash(small),
    )


def bits_apart(one: str, other: str) -> int:
    """How many of the 256 bits of two perceptual hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _face_sharpness(image: Image, box: tuple[int, int, int, int]) -> float | None:
    """Of the box as it lies in the picture, never enlarged: enlarging blurs."""
    import numpy as np

    left, top, right, bottom = (max(0, box[0]), max(0, box[1]), min(image.width, box[2]), min(image.height, box[3]))
    if right - left < 8 or bottom - top < 8:
        return None
    face = image.crop((left, top, right, bottom)).convert("L")
    face.thumbnail((FACE_PX, FACE_PX))
    return _laplacian_variance(np.asarray(face, dtype=np.float32))


def _laplacian_variance(luma: Any) -> float:
    if min(luma.shape) < 3:
        return 0.0
    centre = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((around - 4.0 * centre).var())


def _phash(small: Image) -> str:
    """Signs of the lowest frequencies against their median (a DCT-II), the constant one left out of the median."""
    import numpy as np

    luma = np.asarray(small.resize((_HASH_SIDE, _HASH_SIDE)), dtype=np.float64)
    steps = np.arange(_HASH_SIDE)
    basis = np.cos(np.pi * np.outer(np.arange(_HASH_KEPT), 2 * steps + 1) / (2 * _HASH_SIDE))
    spectrum = (basis @ luma @ basis.T).ravel()
    bits = spectrum > np.median(spectrum[1:])
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):064x}"
