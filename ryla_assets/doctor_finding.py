"""One line of what the doctor says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line: `state` is ok, note (works, but know it) or missing (does not work)."""

    what: str
    state: str
    detail: str
    cure: str = ""
