"""What is wrong with a picture, read from its numbers; the cheap questions, asked before whose face it is.

Belongs here: thresholds with their source, and the words for each fault. Does not belong here: measuring
(`resources.quality`), identity (`identity`), what is done about a fault (`studio.reroll`).

A fault refuses the picture: its shot is drawn again. A doubt is told and plotted, and refuses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Code = Literal[
    "blank", "noise", "blurred", "face_blurred", "exposure", "duplicate", "two_faces", "no_face", "unreadable"
]  # fmt: skip

# Measured on photos, AI pictures and previews (docs/adr/0009): sharp pictures start at 101, a blur of one pixel at
# 512 px leaves 12 to 32, of two pixels 2 to 5; pure noise starts at 48,000 and no picture was above 1,500.
BLANK_STD: Final = 3.0  # luma, of 255; NaN latents come back all black, and ComfyUI reports success
BLANK_SPREAD: Final = 8.0  # 99th percentile less the first, same source
NOISE: Final = 20_000.0  # variance of the Laplacian
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
    faces: int | None,
    expects_face: bool,
) -> list[Finding]:
    """What is wrong with one picture, worst first; `faces` None: nobody counted. A blank one is only blank."""
    if luma_std < BLANK_STD or luma_spread < BLANK_SPREAD:
        return [Finding("blank", f"blank: luma spreads over {luma_spread:.0f} of 255 (NaN latents do that)")]
    if sharpness > NOISE:
        return [Finding("noise", f"noise: sharpness {sharpness:,.0f}, no picture is above {NOISE:,.0f}")]
    found: list[Finding | None] = [_blur("blurred", "picture", sharpness)]
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
        later: Finding("duplicate", f"the same picture as {earlier}: {apart} of 256 bits differ")
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


def _blur(code: Code, what: str, sharpness: float) -> Finding | None:
    if sharpness < BLURRED:
        return Finding(code, f"{what} blurred: sharpness {sharpness:.0f}, at least {BLURRED:.0f} is due")
    if sharpness < SOFT:
        return Finding(code, f"{what} soft: sharpness {sharpness:.0f}", refuses=False)
    return None


def _side(median: float) -> str:
    return f"darker than {DARK:.0f} of 255" if median < DARK else f"brighter than {BRIGHT:.0f} of 255"
