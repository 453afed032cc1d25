"""How long the safety screen looks at a text: one of everyday length, and the worst that may be handed in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety import MAX_TEXT, screen
from tests.bench.row import Row, median

EVERYDAY = (
    "a 34-year-old adult woman, long wavy brown hair, green eyes, light freckles, athletic body, confident look, "
    "standing upright, three-quarter view, upper body, wearing jeans and a white shirt, in a modern apartment, natural "
    "daylight from a window, 85mm lens at f/1.8, highly detailed, sharp focus, editorial photograph"
)
ACCEPTED_LONGEST = 20_000  # characters; over MAX_TEXT they are refused unread
# What costs most for its length: each makes another part of the screen work.
HOSTILE = {
    "one letter": "a",
    "digits": "9",
    "capitals": "ABCDEFGHI",
    "an age without end": "\u4e8c\u591a",
    "single letters": "a ",
    "letters and dots": "z.",
    "numbers": "8 images ",
    "leetspeak": "g!r! ",
    "invisible letters": "a\u200b",
    "piled marks": "e\u0301\u0323\u0301",
    "accents": "\xe9\xe0",
    "two alphabets in a word": "a\u0430 ",
    "Russian": "\u0436\u0435\u043d\u0449\u0438\u043d\u0430 ",
    "Chinese": "\u4e8c ",
    "Arabic": "\u0645\u0647\u0646\u062f\u0633\u0629 ",
    "Hindi": "\u092e\u0939\u093f\u0932\u093e ",
    "signs that unfold": "\u3316",
    "escapes": "&#97;",
    "likenesses": "looks like a ",
    "pictograms": "\U0001f338",
    "white space": " ",
}


def screening() -> Iterator[Row]:
    """An everyday prompt, and the slowest of the hostile texts at the two lengths that matter."""
    yield Row(f"safety screen, prompt of {len(EVERYDAY)} characters", _milliseconds(EVERYDAY), "ms", 1.0, "limit", 1)
    for length in (MAX_TEXT, ACCEPTED_LONGEST):
        times = {name: _milliseconds((piece * length)[:length]) for name, piece in HOSTILE.items()}
        worst = max(times, key=times.__getitem__)
        what = f"safety screen, slowest of {len(times)} hostile texts of {length} characters ({worst})"
        yield Row(what, times[worst], "ms", 20.0, "limit", 1)


def _milliseconds(text: str) -> float:
    taken = []
    for _ in range(9):
        begun = time.perf_counter()
        with contextlib.suppress(UnsafeText):
            screen(text, field="details")
        taken.append((time.perf_counter() - begun) * 1000)
    return median(taken)
