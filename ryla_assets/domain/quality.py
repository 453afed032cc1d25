"""What is wrong with a picture, read from its numbers; the cheap questions, asked before whose face it is.

Belongs here: thresholds with their source, and the words for each fault. Does not belong here: measuring
(`resources.quality`), identity (`identity`), what is done about a fault (`studio.reroll`).

A fault refuses the picture: its shot is drawn again. A doubt is told and plotted, and refuses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ryla_assets.domain.shots import short_name

Code = Literal[
    "blank", "noise", "blurred", "face_blurred", "exposure", "duplicate", "two_faces", "no_face", "wrong_size",
    "unreadable",
]  # fmt: skip

# Measured on photos, AI pictures and previews (docs/adr/0009): sharp pictures start at 101, a blur of one pixel at
# 512 px leaves 12 to 32, of two pixels 2 to 5.
BLANK_STD: Final = 3.0  # luma, of 255; NaN latents come back all black, and ComfyUI reports success
BLANK_SPREAD: Final = 8.0  # 99th percentile less the first, same source
NOISE: Final = 25_000.0  # local Laplacian variance; full-range noise has 46,000 and more, grass up to 15,900
WHITE: Final = 7.0  # Laplacian variance over luma variance; noise has 10 to 20, no photo of 112 was above 4.4
BLURRED: Final = 20.0
SOFT: Final = 60.0  # between the two: told, not refused
DARK, BRIGHT = 20.0, 235.0  # median luma outside of them is told, not refused: a night scene may be meant
ALIKE_BITS: Final = 12  # of 256: the same picture, scaled and re-encoded, differs in up to 8; another take from 22


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`refuses`) or doubtful with a picture."""

    code: Code
    text: str
    refuses: bool = True


def findings(
    *,
    luma_std: float,
    luma_spread: float,
    luma_median: float,
    sharpness: float,
    face_sharpness: float | None,
    noise: float,
    whiteness: float,
    width: int,
    height: int,
    asked: tuple[int, int] | None = None,
    faces: int | None,
    expects_face: bool,
) -> list[Finding]:
    """What is wrong with one picture, worst first; a blank one is only blank, noise only noise.

    `asked` is the size that was asked for (None: any will do), `faces` None: nobody counted. The other numbers are
    those of `resources.quality.Quality`.
    """
    if luma_std < BLANK_STD or luma_spread < BLANK_SPREAD:
        return [Finding("blank", f"blank: luma spreads over {luma_spread:.0f} of 255 (NaN latents do that)")]
    if noise > NOISE:
        return [Finding("noise", f"noise: {noise:,.0f} in a quarter of the picture, at most {NOISE:,.0f} is due")]
    if whiteness > WHITE:
        return [
            Finding("noise", f"noise: what lies side by side is unlike ({whiteness:.1f}, at most {WHITE:.0f} is due)")
        ]
    found: list[Finding | None] = [_size(width, height, asked), _blur("blurred", "picture", sharpness)]
    if face_sharpness is not None and expects_face:
        found.append(_blur("face_blurred", "face", face_sharpness))
    if not DARK <= luma_median <= BRIGHT:
        found.append(Finding("exposure", f"exposure: half of it is {_side(luma_median)}", refuses=False))
    if faces is not None and faces > 1:
        found.append(Finding("two_faces", f"{faces} people, one was asked for"))
    if faces == 0 and expects_face:
        found.append(Finding("no_face", "no face, one was asked for"))
    return sorted(filter(None, found), key=lambda finding: not finding.refuses)


def duplicates(bits: Mapping[tuple[str, str], int]) -> dict[str, Finding]:
    """The second of each pair (earlier, later) of pictures that are too much alike -> what is wrong with it."""
    return {
        later: Finding("duplicate", f"the same picture as {short_name(earlier)}: {apart} of 256 bits differ")
        for (earlier, later), apart in bits.items()
        if apart <= ALIKE_BITS
    }


def repeat(take: int, apart: int) -> Finding | None:
    """A doubt about a picture that is the same as another take of its shot: a cache answered, or a seed was ignored."""
    if apart > ALIKE_BITS:
        return None
    text = f"the same picture as take {take} of its shot: {apart} of 256 bits differ"
    return Finding("duplicate", text, refuses=False)


def refused(found: Sequence[Finding]) -> bool:
    """Whether any of them refuses the picture."""
    return any(finding.refuses for finding in found)


def _size(width: int, height: int, asked: tuple[int, int] | None) -> Finding | None:
    if asked is None or (width, height) == asked:
        return None
    return Finding("wrong_size", f"{width}x{height} came back, {asked[0]}x{asked[1]} was asked for")


def _blur(code: Code, what: str, sharpness: float) -> Finding | None:
    if sharpness < BLURRED:
        return Finding(code, f"{what} blurred: sharpness {sharpness:.0f}, at least {BLURRED:.0f} is due")
    if sharpness < SOFT:
        return Finding(code, f"{what} soft: sharpness {sharpness:.0f}", refuses=False)
    return None


def _side(median: float) -> str:
    return f"darker than {DARK:.0f} of 255" if median < DARK else f"brighter than {BRIGHT:.0f} of 255"
