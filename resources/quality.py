"""What a picture is worth before anybody asks who is on it: spread, sharpness, noise, exposure, likeness to others.

Belongs here: pixels in, numbers out, in some milliseconds a megapixel (measured by tests/bench). What the numbers mean
for a shot is the domain's (`ryla_assets.domain.quality`); faces are `resources.identity`'s.

Sharpness is measured on a shrunk copy; noise is not, for shrinking averages it away. What tells noise from a picture
whatever its strength is that neighbours have nothing in common: the variance of its Laplacian is 20 times that of its
luma (the sum of the kernel's squares), and 10 and more where cells of up to eight pixels are smoothed into each other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from resources.images import luma_spread

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = 512  # sharpness is measured on a copy of this size, or its threshold would depend on the resolution
FACE_PX = 128  # and that of a face on its box, brought to this width
TILE_PX = 64  # noise in a part of a picture is looked for in tiles of this size
GRAINS = (2, 4, 8)  # pixels, beside the single one: a cell of a latent is decoded to eight
MIN_GRAIN_PX = 32  # a copy with a shorter side has too few pixels to tell noise from chance
# A 32 x 32 copy, of whose spectrum the 16 x 16 lowest frequencies are kept: 256 bits. The usual 64 do not tell two
# takes of one shot from one picture saved twice: takes differ in 2 of 64 and more, copies in up to 2 (docs/adr/0009).
_HASH_SIDE, _HASH_KEPT = 32, 16


@dataclass(frozen=True)
class Quality:
    """The numbers of one picture. Luma is 0..255."""

    luma_std: float
    luma_spread: float  # 99th percentile less the first
    luma_median: float
    sharpness: float  # variance of the Laplacian at SIDE_PX: photos 100 and up
    face_sharpness: float | None  # the same of the main face's box; None without a face
    noise: float  # variance of the Laplacian at full size, exceeded by a quarter of the picture's tiles
    whiteness: float  # variance of the Laplacian over that of luma, at the grain (GRAINS) where it is most
    width: int  # pixels
    height: int
    phash: str  # 64 hex characters: alike pictures differ in few of the 256 bits

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def measure(image: Image, *, face: tuple[int, int, int, int] | None = None) -> Quality:
    """Measure a decoded picture; `face` is the main face's box (left, top, right, bottom) in pixels."""
    import numpy as np

    grey = image.convert("L")
    small = grey.copy()
    small.thumbnail((SIDE_PX, SIDE_PX))
    std, low, median, high = luma_spread(small)
    noise, whiteness = _noise(grey)
    return Quality(
        luma_std=std,
        luma_spread=float(high - low),
        luma_median=float(median),
        sharpness=_laplacian_variance(np.asarray(small, dtype=np.float32)),
        face_sharpness=None if face is None else _face_sharpness(image, face),
        noise=noise,
        whiteness=whiteness,
        width=image.width,
        height=image.height,
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


def _noise(grey: Image) -> tuple[float, float]:
    """`Quality.noise` and `Quality.whiteness`; zeros for a picture that is too small to say."""
    import numpy as np

    if min(grey.size) < MIN_GRAIN_PX:
        return 0.0, 0.0
    rough = _laplacian(np.asarray(grey, dtype=np.float32))
    white = [_whiteness(grey, rough)]
    for grain in GRAINS:
        if min(grey.size) // grain >= MIN_GRAIN_PX:
            copy = grey.reduce(grain)
            white.append(_whiteness(copy, _laplacian(np.asarray(copy, dtype=np.float32))))
    return float(np.percentile(_tile_variances(rough), 75)), max(white)


def _whiteness(grey: Image, rough: Any) -> float:
    return float(rough.var()) / max(luma_spread(grey)[0] ** 2, 1.0)


def _tile_variances(values: Any) -> Any:
    """Of each whole tile; sums over rows first, which is twice as fast as asking numpy for the variance of each."""
    height, width = values.shape
    side = min(TILE_PX, height, width)
    rows, columns = height // side, width // side
    whole = values[: rows * side, : columns * side]

    def mean(of: Any) -> Any:
        return of.reshape(rows, side, -1).sum(axis=1).reshape(rows, columns, side).sum(axis=2) / side**2

    return mean(whole * whole) - mean(whole) ** 2


def _laplacian_variance(luma: Any) -> float:
    return float(_laplacian(luma).var()) if min(luma.shape) >= 3 else 0.0


def _laplacian(luma: Any) -> Any:
    found = luma[:-2, 1:-1] + luma[2:, 1:-1]
    found += luma[1:-1, :-2]
    found += luma[1:-1, 2:]
    found -= 4.0 * luma[1:-1, 1:-1]
    return found


def _phash(small: Image) -> str:
    """Signs of the lowest frequencies against their median (a DCT-II), the constant one left out of the median."""
    import numpy as np

    luma = np.asarray(small.resize((_HASH_SIDE, _HASH_SIDE)), dtype=np.float64)
    steps = np.arange(_HASH_SIDE)
    basis = np.cos(np.pi * np.outer(np.arange(_HASH_KEPT), 2 * steps + 1) / (2 * _HASH_SIDE))
    spectrum = (basis @ luma @ basis.T).ravel()
    bits = spectrum > np.median(spectrum[1:])
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):064x}"
