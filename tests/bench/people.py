"""How often the identity check is wrong on drawn people, by the whole check: rewrites that table of docs/identity.md.

    python -m tests.bench.people

Belongs here: the test set (all of it is drawn from seeds, so it is the same everywhere) and the counting.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from resources.gpu.backends.preview.identity import Identity, mix, person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, Seen
from ryla_assets.domain.identity import ImageScore, distance, template, verify
from ryla_assets.domain.targets import IDENTITY_THRESHOLDS
from tests.bench.blocks import table, write

PX = 384
GROUPS = {  # traits of six people each: seeds alone tell those of the second group apart
    "of all kinds": [
        {"gender": gender, "ethnicity": ethnicity, "age": age}
        for gender, ethnicity, age in (
            ("female", "caucasian", "24"), ("male", "black", "35"), ("female", "asian", "41"),
            ("male", "caucasian", "52"), ("female", "black", "29"), ("male", "asian", "63"),
        )
    ],
    "look-alikes: women of 28 of one ethnicity": [{"gender": "female", "ethnicity": "caucasian", "age": "28"}] * 6,
}  # fmt: skip
LOOKS = (
    Look(framing="close-up", seed=1),  # the base image
    Look(framing="medium", expression="smile", light="natural", background="city", seed=2),
    Look(framing="close-up", view="three-quarter-left", expression="confident", seed=3),
    Look(framing="medium", view="three-quarter-right", expression="relaxed", light="natural", seed=4),
    Look(framing="close-up", expression="thoughtful", light="dramatic", background="dark", seed=5),
    Look(framing="medium", expression="energetic", light="golden", background="beach", seed=6),
)
SHEET = 3  # the base image and the shots after it, up to here, make the template; the rest is asked
HALF = 0.5  # a mixture of two people: nobody, and to be refused


@dataclass(frozen=True)
class Errors:
    """Counts of one group: own shots refused, other people's and mixtures' accepted."""

    group: str
    template: str
    own: list[ImageScore]
    others: list[ImageScore]
    mixed: list[ImageScore]

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        distances = [score.distance for score in self.own if score.distance is not None]
        away = [score.distance for score in self.others if score.distance is not None]
        return (
            self.group,
            self.template,
            f"{sum(not s.verified for s in self.own)} of {len(self.own)}",
            f"{sum(s.verified for s in self.others)} of {len(self.others)}",
            f"{sum(s.verified for s in self.mixed)} of {len(self.mixed)}",
            f"{fmean(distances):.3f} / {max(distances):.3f}",
            f"{fmean(away):.3f} / {min(away):.3f}",
        )


def measure() -> Iterator[Errors]:
    """Each group against the base image alone and against the mean of a sheet."""
    scorer = DlibScorer()
    for number, (group, traits) in enumerate(GROUPS.items()):
        people = [person(100 * number + n, trait) for n, trait in enumerate(traits)]
        shots = [_seen(scorer, who, LOOKS) for who in people]
        halves = [mix(who, people[(n + 1) % len(people)], HALF) for n, who in enumerate(people)]
        mixed = [_seen(scorer, who, LOOKS[SHEET:]) for who in halves]
        for kept, named in ((1, "base image"), (SHEET, f"mean of {SHEET}")):
            templates = [template([seen.faces[0].embedding for seen in own[:kept]]) for own in shots]
            asked = [own[SHEET:] for own in shots]
            pairs = [(n, m) for n in range(len(people)) for m in range(len(people))]
            yield Errors(
                group,
                named,
                own=[_score(seen, templates[n]) for n, m in pairs if n == m for seen in asked[m]],
                others=[_score(seen, templates[n]) for n, m in pairs if n != m for seen in asked[m]],
                mixed=[_score(seen, templates[n]) for n in range(len(people)) for seen in mixed[n]],
            )


def as_text(rows: list[Errors], *, scorer_id: str, day: str) -> str:
    """The block of docs/identity.md."""
    head = ("group", "template", "own shots refused", "other people accepted", "half-and-half accepted")
    head += ("own: mean / max", "others: mean / min")
    people = sum(len(traits) for traits in GROUPS.values())
    told = (
        f"\n{people} people x {len(LOOKS)} shots of {PX} px drawn by the preview, threshold "
        f"{IDENTITY_THRESHOLDS['preview']:.2f}; {len(LOOKS) - SHEET} shots of each are asked. Measured on {day} by "
        f"`{scorer_id}`.\n"
    )
    return table(head, [row.row() for row in rows]) + told


def main() -> int:
    """Draw, measure and write."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    text = as_text(list(measure()), scorer_id=DlibScorer().scorer_id, day=day)
    write("people", text)
    sys.stdout.write(text)
    return 0


def _seen(scorer: DlibScorer, who: Identity, looks: tuple[Look, ...]) -> list[Seen]:
    files = []
    for look in looks:
        out = io.BytesIO()
        render(who, look, PX, PX).save(out, format="PNG", compress_level=1)
        files.append(out.getvalue())
    return scorer.see_all(files)


def _score(seen: Seen, mean: list[float]) -> ImageScore:
    return verify(
        "",
        domain="preview",
        template_domain="preview",
        faces=len(seen.faces),
        face_px=seen.faces[0].width if seen.faces else 0.0,
        distance=distance(seen.faces[0].embedding, mean) if seen.faces else None,
    )


if __name__ == "__main__":
    sys.exit(main())
