"""`ryla jobs`: list, show, cancel, reconcile.

Belongs here: which questions a person asks about paid work, and how the answers look. Money is shown in dollars with
four digits, times in UTC; with `--json` numbers are whole, and times are seconds since the epoch.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ryla_assets.cli_output import command, json_flag, opened, show
from ryla_assets.domain.errors import InputError

if TYPE_CHECKING:
    from resources.gpu.books import Entry
    from resources.gpu.ledger import Attempt
    from ryla_assets.studio.bills import Reconciliation

# As in `resources.gpu.ledger`, whose import costs half a second that `--help` must not wait for; a test compares them.
OPEN_STATES = ("intended", "submitted", "queued", "running", "unknown")
ENDED_STATES = ("succeeded", "failed", "cancelled", "timed_out", "lost")
_COLOURS = {"succeeded": "green", "failed": "red", "lost": "red", "timed_out": "red", "unknown": "yellow"}


@click.group("jobs")
def jobs() -> None:
    """The ledger of paid work: every attempt, what became of it and what it cost."""


@jobs.command("list")
@click.option("--open", "only_open", is_flag=True, help="Those that have not ended.")
@click.option("--state", type=click.Choice([*OPEN_STATES, *ENDED_STATES]), help="Those in this state.")
@click.option("--character", metavar="ID", help="Those of this character.")
@click.option("--run", "run_id", metavar="ID", help="Those of this Dagster run (of the first of its re-executions).")
@click.option("--since", metavar="DATE", help="Those begun since then: 2026-11-23, or 2026-11-23T14:00 (UTC).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
@json_flag
@command
def list_(
    only_open: bool,
    state: str | None,
    character: str | None,
    run_id: str | None,
    since: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List attempts, newest first."""
    from ryla_assets.studio.ledger import books_of

    if only_open and state:
        raise InputError("--open and --state exclude each other.", field="--state", value=state, way_out="Drop one.")
    states = OPEN_STATES if only_open else (state,) if state else None
    begun = _moment(since) if since else None
    with opened() as studio:
        found = books_of(studio).entries(states=states, character=character, run_id=run_id, since=begun, limit=limit)
        rows = [_whole(entry) if as_json else _line(entry) for entry in found]
        show(rows, as_json=as_json, title="jobs", empty="No attempts.", colours=_COLOURS)


@jobs.command("show")
@click.argument("name", metavar="ID")
@json_flag
@command
def show_(name: str, *, as_json: bool) -> None:
    """Tell the whole story of an attempt. ID: its id, 8 or more first characters of it, or of its job's fingerprint."""
    from ryla_assets.studio.ledger import attempt_named

    with opened() as studio:
        entry = attempt_named(studio, name)
        ledger = studio.runner.ledger
        history = ledger.history(entry.attempt.id)
        siblings = [a.id for a in ledger.attempts(entry.attempt.fingerprint) if a.id != entry.attempt.id]
        reached = studio.runner.backend.reaches(entry.attempt.endpoint)
        story = {**_whole(entry), "next": next_step(entry, now=ledger.clock(), reached=reached)}
        if as_json:
            told = [{"at": at, "state": state, "note": note} for at, state, note in history]
            click.echo(json.dumps({**story, "history": told, "other_attempts": siblings}))
            return
        show(_facts(entry, story["next"], siblings), as_json=False, title=entry.label)
        moves = [{"at": _time(at, exact=True), "state": state, "note": note} for at, state, note in history]
        show(moves, as_json=False, title="history")


@jobs.command("cancel")
@click.argument("name", metavar="ID")
@json_flag
@command
def cancel_(name: str, *, as_json: bool) -> None:
    """Stop an open attempt that nobody follows. If it has just finished, its result is taken: it is paid for."""
    from ryla_assets.studio.ledger import cancel

    with opened() as studio:
        entry = cancel(studio, name, who=getpass.getuser())
        row = _whole(entry) if as_json else _line(entry)
        after = "It had finished: its result was taken." if entry.attempt.state == "succeeded" else ""
        show([row], as_json=as_json, title="cancelled", after=after, colours=_COLOURS)


@jobs.command("reconcile")
@click.option("--since", metavar="DATE", help="Compare from then on (UTC). [default: 24 hours ago]")
@json_flag
@command
def reconcile_(since: str | None, *, as_json: bool) -> int:
    """Settle what dead processes left open, then compare the ledger with RunPod's bill, endpoint by endpoint."""
    from ryla_assets.studio.bills import reconcile

    begun = _moment(since) if since else None
    with opened() as studio:
        found = reconcile(studio, since=begun)
        if as_json:
            click.echo(json.dumps(_reconciled(found)))
        else:
            _show_reconciliation(found)
        return 1 if found.drift.underbooked else 0


def next_step(entry: Entry, *, now: float, reached: bool) -> str:
    """What a person may do next, as a command where there is one."""
    attempt = entry.attempt
    followed = attempt.lease_until > now
    if attempt.is_open and not reached:
        return f"Point the settings back at {attempt.endpoint} ({attempt.backend}): from here it cannot be followed."
    if attempt.is_open and followed:
        return f"{attempt.lease_owner} follows it; to stop it, terminate its run in Dagster."
    if attempt.state in ("unknown", "intended"):
        return "ryla jobs reconcile"
    if attempt.is_open:
        return f"ryla jobs cancel {attempt.id}   (or run its stage again, which takes it over)"
    if attempt.state == "succeeded":
        return ""
    if attempt.refused:
        return "Running its stage again does not pay for this seed again: ask for a new take, or for new images."
    stage = "/".join(entry.label.split("/")[:2])
    return f"Run its stage again ({stage}): a new attempt costs at most ${attempt.exposure_usd:.4f}."


def _reconciled(found: Reconciliation) -> dict[str, Any]:
    drift = {**asdict(found.drift), "usd": found.drift.usd, "share": found.drift.share}
    return {
        "settled": [_attempt(attempt) for attempt in found.settled],
        "unknown": [_attempt(attempt) for attempt in found.unknown],
        "drift": drift,
    }


def _show_reconciliation(found: Reconciliation) -> None:
    settled = [{"attempt": a.id, "state": a.state, "cost": _usd(a.cost_usd)} for a in found.settled]
    show(settled, as_json=False, title="settled now", empty="Nothing was left to settle.", colours=_COLOURS)
    unknown = [{"attempt": a.id, "state": a.state, "cost": f"< {_usd(a.exposure_usd)}"} for a in found.unknown]
    show(unknown, as_json=False, title="still unknown", colours=_COLOURS)
    hours = [
        {
            "endpoint": hour.endpoint,
            "hour": _time(hour.start),
            "booked": _usd(hour.booked_usd),
            "billed": _usd(hour.billed_usd),
            "reconciled": hour.unreconciled or "yes",
        }
        for hour in found.drift.hours
    ]
    show(hours, as_json=False, title="bill")
    click.echo(found.drift.note)


def _facts(entry: Entry, next_: str, siblings: list[str]) -> list[dict[str, Any]]:
    a = entry.attempt
    run_usd = a.cost_usd - a.cold_usd - a.idle_usd
    cost = f"{_usd(a.cost_usd)} = {_usd(run_usd)} run + {_usd(a.cold_usd)} cold start + {_usd(a.idle_usd)} idle"
    facts = {
        "attempt": f"{a.id} (number {a.number})",
        "job": a.fingerprint[:16] + ("" if not siblings else f"  other attempts: {', '.join(siblings)}"),
        "state": a.state,
        "kind": entry.kind,
        "character": entry.character,
        "run": a.run_id or "",
        "endpoint": f"{a.backend} {a.endpoint}",
        "remote id": a.remote_id or "never learned",
        "worker": a.worker or "",
        "seconds": f"{a.queue_s:.1f} queued, {a.cold_s:.1f} cold, {a.exec_s:.1f} run, {a.overhead_s:.1f} ours",
        "cost": f"at most {_usd(a.exposure_usd)}" if a.is_open else f"{cost} ({a.cost_basis})",
        "lease": _lease(a) if a.is_open else "",
        "diagnosis": a.diagnosis or "",
        "error": f"{a.error} [{a.error_code}]" if a.error else "",
        "refused": "; ".join(f"{one['name']}: {one['reason']}" for one in a.refused or ()),
        "next": next_,
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value]


def _lease(attempt: Attempt) -> str:
    if not attempt.lease_until:
        return "let go of: nobody follows it"
    return f"{attempt.lease_owner} until {_time(attempt.lease_until, exact=True)}"


def _line(entry: Entry) -> dict[str, Any]:
    a = entry.attempt
    return {
        "id": a.id[:8],
        "state": a.state,
        "job": entry.label,
        "begun": _time(a.intended_at),
        "cost": f"< {_usd(a.exposure_usd)}" if a.is_open else _usd(a.cost_usd),
        "run": (a.run_id or "")[:8],
        "why": a.error_code or "",
    }


def _whole(entry: Entry) -> dict[str, Any]:
    job = {"kind": entry.kind, "label": entry.label, "character": entry.character, "accepted": entry.accepted}
    return {**_attempt(entry.attempt), **job}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """Everything but what would let a stranger speak as the attempt."""
    row = {name: value for name, value in asdict(attempt).items() if name != "webhook_token"}
    return {**row, "run_usd": attempt.cost_usd - attempt.cold_usd - attempt.idle_usd}


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text!r} is no date.", field="--since", value=text, way_out="Write 2026-11-23 or 2026-11-23T14:00."
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _time(at: float, *, exact: bool = False) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S" if exact else "%m-%d %H:%M")


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:.4f}"
