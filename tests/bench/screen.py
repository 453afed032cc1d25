"""How long the safety screen looks at a text: an everyday prompt, the longest one, and the worst that may come in.

CPU time: the screen waits for nothing, and a busy machine shall not look like a slow rule.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety import MAX_TEXT, screen
from ryla_assets.domain.safety_person import DenyList
from tests.bench.row import Row, median

EVERYDAY = (
    "a 34-year-old adult woman, long wavy brown hair, green eyes, light freckles, athletic body, confident look, "
    "standing upright, three-quarter view, upper body, wearing jeans and a white shirt, in a modern apartment, natural "
    "daylight from a window, 85mm lens at f/1.8, highly detailed, sharp focus, editorial photograph"
)
LONG = (  # as long as a prompt may be
    "a candid photograph of a 34-year-old adult woman with long wavy auburn hair, green eyes, light freckles across "
    "her nose and an athletic build, relaxed and confident, laughing at something outside the frame, three-quarter "
    "view from the waist up, wearing a cream linen shirt with rolled sleeves, straight blue jeans and a thin silver "
    "necklace, one hand on the strap of a brown leather bag, the other holding a paper cup, standing at the counter "
    "of a small corner cafe in an old town, marble tables and bentwood chairs behind her, shelves of coffee tins, a "
    "chalkboard with the day's cakes, two bicycles leaning against the window, cobblestones wet after rain, late "
    "afternoon sun coming in low from the left and drawing long shadows over the wooden floor, warm reflections in "
    "the glass, soft bounce from the white wall, gentle rim of light on her hair and shoulder, shallow depth of field "
    "with smooth blur in the background, shot on a full frame camera with an 85mm lens at f/1.8, 1/250 s, ISO 200, "
    "natural skin texture with visible pores and fine lines around the eyes, subtle makeup, honest colours with "
    "slightly muted greens, clean whites and deep but open blacks, fine film grain, balanced composition with her "
    "face on the upper left third and empty space towards the door, a waiter in a dark apron passing far behind and "
    "out of focus, steam rising from the machine, a newspaper folded beside a plate of almond biscuits, an umbrella "
    "drying in its stand, reflections of tram wires and facades in the upper panes, calm everyday mood of a Saturday "
    "in October, nothing staged, nobody looking into the lens, editorial style of a travel magazine, highly detailed, "
    "sharp focus on the eyes, true proportions of hands and fingers, no text, no watermark, realistic fabric folds, a "
    "loose thread on the cuff, faint scratches on the counter, dust in the beam of light, a dog asleep under the "
    "nearest table, a vase of dried eucalyptus, muted terracotta tiles along the wall, brass taps, a framed map of "
    "the harbour"
)
NAMES = 200_000  # of the deny list: as many as its file may hold
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
    "Korean": "\uc138 ",
    "numbers in words": "soixante-dix ",
    "hidden letters": "ab.d ",
    "brackets": "[(<{",
    "weights": "(t:1.2)",
    "tags": "<b></b>",
    "prices": "\xa39 ",
}


def screening() -> Iterator[Row]:
    """Prompts of everyday and of full length, the slowest of the hostile texts, and the same with a deny list."""
    for text in (EVERYDAY, LONG):
        yield Row(
            f"safety screen, CPU time of a prompt of {len(text):,} characters",
            _milliseconds(text),
            "ms",
            1.0,
            "limit",
            1,
        )
    for length in (MAX_TEXT, ACCEPTED_LONGEST):
        times = {name: _milliseconds((piece * length)[:length]) for name, piece in HOSTILE.items()}
        worst = max(times, key=times.__getitem__)
        what = (
            f"safety screen, CPU time of the slowest of {len(times)} hostile texts of {length:,} characters ({worst})"
        )
        yield Row(what, times[worst], "ms", 20.0, "limit", 1)
    yield from _with_names()


def _with_names() -> Iterator[Row]:
    """A deny list whose names share their first word, read, and asked about two texts."""
    begun = time.process_time()
    denied = DenyList.of(f"Ada Name{number}" for number in range(NAMES))
    yield Row(f"deny list of {NAMES:,} names, CPU time to read it", time.process_time() - begun, "s", 5.0, "limit", 1)
    hostile = ("Ada Name " * MAX_TEXT)[:MAX_TEXT]
    for text, what, limit in ((EVERYDAY, "prompt", 1.0), (hostile, "beginnings of its names", 20.0)):
        taken = _milliseconds(text, denied)
        yield Row(f"the same with it, {what}, {len(text):,} characters", taken, "ms", limit, "limit", 1)
    yield Row(f"the same with it, prompt, {len(LONG):,} characters", _milliseconds(LONG, denied), "ms")


def _milliseconds(text: str, denied: DenyList | None = None) -> float:
    taken = []
    for _ in range(9):
        begun = time.process_time()
        with contextlib.suppress(UnsafeText):
            screen(text, field="details", denied=denied)
        taken.append((time.process_time() - begun) * 1000)
    return median(taken)
