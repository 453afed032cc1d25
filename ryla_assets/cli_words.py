"""How attempts, money and time look on the command line, and how a date is read there."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ryla_assets.domain.errors import InputError

if TYPE_CHECKING:
    from resources.gpu.records import Attempt

COLOURS = {"succeeded": "green", "failed": "red", "lost": "red", "timed_out": "red", "unknown": "yellow"}


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Everything but what would let a stranger speak as the attempt."""
    row = {name: value for name, value in asdict(attempt).items() if name != "webhook_token"}
    return {**row, "run_usd": attempt.cost_usd - attempt.cold_usd - attempt.idle_usd}


def evidence_told(evidence: dict[str, Any]) -> str:
    """What a diagnosis rests on, in one line: workers running 0, throttled 3; pools ADA_24; at 2027-01-15 08:00:30."""
    parts = []
    for name, value in evidence.items():
        words = value
        if name == "at":
            words = time_told(float(value), exact=True)
        elif isinstance(value, dict):
            words = ", ".join(f"{key} {number}" for key, number in value.items())
        elif isinstance(value, list):
            words = ", ".join(map(str, value))
        parts.append(f"{name} {words}")
    return "; ".join(parts)


def moment(text: str) -> float:
    """A date, or a date and a time, as seconds since the epoch; UTC unless it says otherwise. Raises InputError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text!r} is no date.", field="--since", value=text, way_out="Write 2026-11-23 or 2026-11-23T14:00."
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def time_told(at: float, *, exact: bool = False) -> str:
    """A moment in UTC: 01-15 08:00, or, where it must be exact, 2027-01-15 08:00:30."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S" if exact else "%m-%d %H:%M")


def usd(amount: float | None) -> str:
    """Money with four digits."""
    return "unknown" if amount is None else f"${amount:.4f}"
