"""The two sets of texts that measure the safety screen, and the tables of docs/safety.md that are counted from them.

`python -m tests.unit.safety_sets` counts anew and rewrites the tables; a test holds them equal to a fresh count.
`table.tsv` is what the rules were made with. `held_out.tsv` was written before the rules and is never tuned for:
add to the table instead.
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
SETS = {"table": "the table (the rules were made with it)", "held_out": "the held-out set (never tuned for)"}
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
    return "".join(_counted(name, title) for name, title in SETS.items())


def _counted(name: str, title: str) -> str:
    every, missed = cases(name), wrong(name)
    lines = [f"\nOf {title}:\n\n| | texts | wrong | rate |\n| --- | --- | --- | --- |\n"]
    for must, words in ((True, "must be blocked (wrong = let through)"), (False, "must pass (wrong = blocked)")):
        texts = sum(case.must_block is must for case in every)
        misses = sum(case.must_block is must for case in missed)
        lines.append(f"| {words} | {texts} | {misses} | {misses / texts:.1%} |\n")
    lines.append("\n| made of | must be blocked | must pass |\n| --- | --- | --- |\n")
    lines.extend(_rows("language", Counter((case.language, case.must_block) for case in every)))
    lines.extend(_rows("kind", Counter((case.kind, case.must_block) for case in every)))
    return "".join(lines)


def _rows(what: str, counts: Counter[tuple[str, bool]]) -> Iterator[str]:
    for name in sorted({name for name, _ in counts}):
        yield f"| {what} `{name}` | {counts[name, True]} | {counts[name, False]} |\n"


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)


def rewrite(document: str) -> str:
    """The document with fresh tables between its two marks."""
    head, _, rest = document.partition(BEGIN)
    return head + BEGIN + counted() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCS.write_text(rewrite(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
