"""The sets of texts that measure the safety screen, and the tables of docs/safety.md that are counted from them.

`python -m tests.unit.safety_sets` counts anew and rewrites the tables; a test holds them equal to a fresh count.
`table.tsv` is what the rules were made with. A held-out set is written before the rules that it judges and is never
changed afterwards: add to the table, or write another set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety import screen

FOLDER = Path(__file__).parent / "safety_cases"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "safety.md"
BEGIN, END = "<!-- counted: begin -->\n", "<!-- counted: end -->\n"
SETS = {
    "table": "the table (the rules were made with it)",
    "held_out": "the first held-out set (never tuned for)",
    "held_out_2": "the second held-out set (today, after its first run was looked at)",
}
FIRST_RUN = {"held_out_2": (9, 11)}  # let through, wrongly blocked: before anybody had looked at a single result
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")


@dataclass(frozen=True)
class Case:
    """One text, and whether the screen must block it."""

    must_block: bool
    language: str
    kind: str
    text: str


def cases(name: str) -> list[Case]:
    """A set in the order of its file; invisible characters are written as \\u escapes there."""
    lines = (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    return [Case(verdict == "block", language, kind, _plain(text)) for verdict, language, kind, text in rows]


def code_of(text: str) -> str:
    """The reason code that blocks a text; empty when it passes."""
    try:
        screen(text, field="details")
    except UnsafeText as error:
        return str(error.value)
    return ""


def wrong(name: str) -> list[Case]:
    """The cases of a set that the screen gets wrong."""
    return [case for case in cases(name) if bool(code_of(case.text)) != case.must_block]


def counted() -> str:
    """The tables of docs/safety.md."""
    return _first_runs() + "".join(_counted(name, title) for name, title in SETS.items()) + _made_of()


def _first_runs() -> str:
    lines = []
    for name, misses in FIRST_RUN.items():
        lines.append(f"\nOf {SETS[name].partition(' (')[0]}, at its first run:\n\n")
        lines.append(_verdicts(cases(name), dict(zip((True, False), misses, strict=True))))
    return "".join(lines)


def _counted(name: str, title: str) -> str:
    missed = Counter(case.must_block for case in wrong(name))
    return f"\nOf {title}:\n\n{_verdicts(cases(name), missed)}"


def _verdicts(every: list[Case], missed: dict[bool, int]) -> str:
    lines = ["| | texts | wrong | rate |\n| --- | --- | --- | --- |\n"]
    for must, words in ((True, "must be blocked (wrong = let through)"), (False, "must pass (wrong = blocked)")):
        texts = sum(case.must_block is must for case in every)
        lines.append(f"| {words} | {texts} | {missed.get(must, 0)} | {missed.get(must, 0) / texts:.1%} |\n")
    return "".join(lines)


def _made_of() -> str:
    """One table for all sets: how many texts of each language and kind, to be blocked + to pass."""
    head = f"| | {' | '.join(SETS)} |\n| --- |{' --- |' * len(SETS)}\n"
    lines = [f"\nWhat they are made of, to be blocked + to pass:\n\n{head}"]
    sets = {name: cases(name) for name in SETS}
    for what in ("language", "kind"):
        counts = {name: Counter((getattr(c, what), c.must_block) for c in every) for name, every in sets.items()}
        lines.extend(_rows(what, counts))
    return "".join(lines)


def _rows(what: str, counts: dict[str, Counter[tuple[str, bool]]]) -> Iterator[str]:
    for name in sorted({name for count in counts.values() for name, _ in count}):
        numbers = (f"{count[name, True]} + {count[name, False]}" for count in counts.values())
        yield f"| {what} `{name}` | {' | '.join(numbers)} |\n"


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)


def rewrite(document: str) -> str:
    """The document with fresh tables between its two marks."""
    head, _, rest = document.partition(BEGIN)
    return head + BEGIN + counted() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCS.write_text(rewrite(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
