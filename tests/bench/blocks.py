"""A document whose tables are written by commands: each between two marks, the prose around them by hand."""

from __future__ import annotations

import re
from pathlib import Path

IDENTITY = Path(__file__).resolve().parents[2] / "docs" / "identity.md"


def replaced(document: str, name: str, text: str) -> str:
    """The document with what stands between the marks of block `name` replaced. Raises ValueError without the marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"{begin} and {end} must stand in the document, once")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", document)


def write(name: str, text: str) -> None:
    """Rewrite one block of docs/identity.md."""
    IDENTITY.write_text(replaced(IDENTITY.read_text(), name, text))


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
