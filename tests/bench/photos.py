"""How well the face scorer tells people apart, on public sets of photographs: rewrites that table of docs/identity.md.

    python -m tests.bench.photos --face-recognition DIR --deepface DIR --face-api DIR

The folders are checkouts of ageitgey/face_recognition, serengil/deepface and justadudewhohacks/face-api.js; nothing of
them is kept here. A picture counts if exactly one face is found on it, and says so where none is. A photograph counts
once, in however many files it lies: a pair of its copies proves nothing of its person.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev

from resources.identity import DlibScorer, Seen
from ryla_assets.domain.identity import distance
from tests.bench.blocks import table, write

THRESHOLDS = (0.50, 0.55, 0.60)
PEOPLE = {
    "obama": "obama", "biden": "biden", "alex": "alex", "lin-": "lin", "john": "kit", "rose": "rose",
}  # fmt: skip
# Of face_recognition's examples, by eye: obama.jpg again in other sizes, cut otherwise or with black beside it.
SAME_PHOTOGRAPH = frozenset(
    {"obama-1080p.jpg", "obama-720p.jpg", "obama-480p.jpg", "obama-240p.jpg", "obama_small.jpg"}
)  # fmt: skip


@dataclass
class Pairs:
    """Distances of pairs of one person and of two, in one set."""

    name: str
    same: list[float] = field(default_factory=list)
    different: list[float] = field(default_factory=list)

    def add(self, one: Seen, other: Seen, *, same: bool) -> None:
        """Measure a pair."""
        apart = distance(one.faces[0].embedding, other.faces[0].embedding)
        (self.same if same else self.different).append(apart)

    def row(self) -> tuple[str, ...]:
        """n, mean and sd, the extreme, AUC, true and false accepts."""
        accepted = " / ".join(_share(self.same, limit) for limit in THRESHOLDS) if self.same else "-"
        false = " / ".join(str(sum(d <= limit for d in self.different)) for limit in THRESHOLDS)
        return (
            self.name,
            _spread(self.same, max),
            _spread(self.different, min),
            f"{auc(self.same, self.different):.4f}" if self.same else "-",
            accepted,
            f"{false} of {len(self.different)}",
        )


def auc(same: list[float], different: list[float]) -> float:
    """The chance that a pair of one person is nearer than a pair of two."""
    return fmean((one < two) + 0.5 * (one == two) for one in same for two in different)


def looked_at(paths: list[Path]) -> dict[Path, Seen]:
    """What is on each, of those with exactly one face."""
    found = zip(paths, DlibScorer().see_all([path.read_bytes() for path in paths]), strict=True)
    return {path: seen for path, seen in found if len(seen.faces) == 1}


def once(paths: Iterable[Path], seen: dict[Path, Seen]) -> list[Path]:
    """Those with one face, each photograph once: the first file of the same pixels, and none of SAME_PHOTOGRAPH."""
    first: dict[str, Path] = {}
    for path in paths:
        if path in seen and path.name not in SAME_PHOTOGRAPH:
            first.setdefault(seen[path].pixels_sha256, path)
    return list(first.values())


def all_pairs(name: str, people: dict[Path, str], seen: dict[Path, Seen]) -> Pairs:
    """Every pair of photographs of a set whose pictures have names."""
    pairs = Pairs(name)
    for one, other in itertools.combinations(once(people, seen), 2):
        pairs.add(seen[one], seen[other], same=people[one] == people[other])
    return pairs


def face_recognition(root: Path) -> dict[Path, str]:
    """The pictures of one person among its examples."""
    paths = sorted(path for path in (root / "examples").rglob("*.*g") if path.suffix in (".jpg", ".jpeg", ".png"))
    named = {path: f"{path.parent.name}/{path.name}" for path in paths}
    people = {path: [who for word, who in PEOPLE.items() if word in name] for path, name in named.items()}
    return {path: who[0] for path, who in people.items() if who}


def face_api(root: Path) -> dict[Path, str]:
    """Eight actors, five crops of 150 px each."""
    return {path: path.parent.name for path in sorted((root / "examples" / "images").glob("*/*[1-5].png"))}


def deepface(root: Path) -> list[tuple[Path, Path, bool]]:
    """The pairs that its unit tests list."""
    folder = root / "tests" / "unit" / "dataset"
    with (folder / "master.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(folder / row["file_x"], folder / row["file_y"], row["Decision"] == "Yes") for row in rows]


def measure(first: Path, second: Path, third: Path) -> tuple[list[Pairs], str]:
    """All sets, and how many of their pictures counted."""
    listed, actors, examples = deepface(second), face_api(third), face_recognition(first)
    wanted = sorted({path for pair in listed for path in pair[:2]} | {*actors, *examples})
    seen = looked_at(wanted)
    pairs = Pairs("deepface, its listed pairs")
    for one, other, same in listed:
        if one in seen and other in seen and seen[one].pixels_sha256 != seen[other].pixels_sha256:
            pairs.add(seen[one], seen[other], same=same)
    across = Pairs("face_recognition x face-api, all different")
    for one, other in itertools.product(once(examples, seen), once(actors, seen)):
        across.add(seen[one], seen[other], same=False)
    sets = [
        pairs,
        all_pairs("face-api.js, 150 px crops", actors, seen),
        all_pairs("face_recognition, examples", examples, seen),
        across,
    ]
    kept = once(wanted, seen)
    return sets, f"{len(seen)} of {len(wanted)} pictures show exactly one face; they are {len(kept)} photographs."


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--face-recognition", "--deepface", "--face-api"):
        parser.add_argument(name, type=Path, required=True)
    told = parser.parse_args()
    sets, counted = measure(told.face_recognition, told.deepface, told.face_api)
    head = ("set", "one person: n, mean +- sd, max", "two people: n, mean +- sd, min", "AUC")
    head += ("true accepts at 0.50 / 0.55 / 0.60", "false accepts at 0.50 / 0.55 / 0.60")
    text = table(head, [one.row() for one in sets])
    day = time.strftime("%Y-%m-%d", time.gmtime())
    text += f"\nMeasured on {day} by `{DlibScorer().scorer_id}`. {counted}\n"
    write("photos", text)
    sys.stdout.write(text)
    return 0


def _spread(values: list[float], extreme: object) -> str:
    if not values:
        return "-"
    worst = max(values) if extreme is max else min(values)
    return f"{len(values)}, {fmean(values):.3f} +- {pstdev(values):.3f}, {worst:.3f}"


def _share(values: list[float], limit: float) -> str:
    return f"{sum(value <= limit for value in values) / len(values):.3f}"


if __name__ == "__main__":
    sys.exit(main())
