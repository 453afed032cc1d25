"""`ryla jobs`: list, show and cancel attempts; reconcile, spend and prices are `ryla_assets.cli_money`'s.

Belongs here: which questions a person asks about paid work, and how the answers look. Money is shown in dollars with
four digits, times in UTC; with `--json` numbers are whole, and times are seconds since the epoch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ryla_assets.cli_money import prices, reconcile, spend
from ryla_assets.cli_output import command, json_flag, opened, show, user
from ryla_assets.cli_words import COLOURS, attempt_row, evidence_told, moment, time_told, usd
from ryla_assets.domain.errors import InputError

if TYPE_CHECKING:
    from resources.gpu.records import Attempt, Entry

# As in `resources.gpu.ledger`, whose import costs half a second that `--help` must not wait for; a test compares them.
OPEN_STATES = ("intended", "submitted", "queued", "running", "unknown")
ENDED_STATES = ("succeeded", "failed", "cancelled", "timed_out", "lost")


@click.group("jobs")
def jobs() -> None:
    """The ledger of paid work: every attempt, what became of it and what it cost."""


jobs.add_command(reconcile)
jobs.add_command(spend)
jobs.add_command(prices)


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
    from ryla_assets.places import ledger_place
    from ryla_assets.studio.ledger import books_of

    if only_open and state:
        raise InputError("--open and --state exclude each other.", field="--state", value=state, way_out="Drop one.")
    states = OPEN_STATES if only_open else (state,) if state else None
    begun = moment(since) if since else None
    with opened() as studio:
        found = books_of(studio).entries(states=states, character=character, run_id=run_id, since=begun, limit=limit)
        if character and not found:
            studio.registry.character(character)  # a mistyped id is told, an idle character has no attempts
        rows = [_whole(entry) if as_json else _line(entry) for entry in found]
        asked = any((only_open, state, character, run_id, since))
        empty = f"No attempts{' of that kind' if asked else ''} in {ledger_place(studio.settings)}."
        more = f"The newest {limit}: --limit shows more." if len(found) == limit else ""
        show(rows, as_json=as_json, title="jobs", empty=empty, after=more, colours=COLOURS)


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
        row = ledger.job(entry.attempt.fingerprint)
        done = row is not None and row.accepted_attempt is not None
        story = {**_whole(entry), "next": next_step(entry, now=ledger.clock(), reached=reached, done=done)}
        if as_json:
            told = [{"at": at, "state": state, "note": note} for at, state, note in history]
            click.echo(json.dumps({**story, "history": told, "other_attempts": siblings}))
            return
        show(_facts(entry, story["next"], siblings), as_json=False, title=entry.label)
        moves = [{"at": time_told(at, exact=True), "state": state, "note": note} for at, state, note in history]
        show(moves, as_json=False, title="history")


@jobs.command("cancel")
@click.argument("name", metavar="ID")
@json_flag
@command
def cancel_(name: str, *, as_json: bool) -> None:
    """Stop an open attempt that nobody follows. If it has just finished, its result is taken: it is paid for."""
    from ryla_assets.studio.ledger import cancel

    with opened() as studio:
        entry = cancel(studio, name, who=user())
        row = _whole(entry) if as_json else _line(entry)
        after = "It had finished: its result was taken." if entry.attempt.state == "succeeded" else ""
        show([row], as_json=as_json, title="cancelled", after=after, colours=COLOURS)


def next_step(entry: Entry, *, now: float, reached: bool, done: bool = False) -> str:
    """What a person may do next, as a command where there is one; `done`: the job has its result."""
    attempt = entry.attempt
    followed = attempt.lease_until > now
    if attempt.is_open and not reached:
        return f"Point the settings back at {attempt.endpoint} ({attempt.backend}): from here it cannot be followed."
    if attempt.is_open and followed:
        return f"{attempt.lease_owner} follows it; to stop it, terminate its run in Dagster."
    if attempt.state in ("unknown", "intended"):
        return "ryla jobs reconcile"
    told = attempt.way_out if attempt.way_out and "jobs show" not in attempt.way_out else ""
    if attempt.is_open:
        return f"{told} ryla jobs cancel {attempt.id}   (or run its stage again, which takes it over)".lstrip()
    if done:
        return ""
    if attempt.refused:
        return "Running its stage again does not pay for this seed again: ask for a new take, or for new images."
    stage = "/".join(entry.label.split("/")[:2])
    return f"{told} Run its stage again ({stage}): a new attempt costs at most ${attempt.exposure_usd:.4f}.".lstrip()


def _facts(entry: Entry, next_: str, siblings: list[str]) -> list[dict[str, Any]]:
    a = entry.attempt
    run_usd = a.cost_usd - a.cold_usd - a.idle_usd
    cost = f"{usd(a.cost_usd)} = {usd(run_usd)} run + {usd(a.cold_usd)} cold start + {usd(a.idle_usd)} idle"
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
        "cost": f"at most {usd(a.exposure_usd)}" if a.is_open else f"{cost} ({a.cost_basis})",
        "lease": _lease(a) if a.is_open else "",
        "diagnosis": a.diagnosis or "",
        "evidence": evidence_told(a.evidence or {}),
        "error": f"{a.error} [{a.error_code}]" if a.error else "",
        "refused": "; ".join(f"{one['name']}: {one['reason']}" for one in a.refused or ()),
        "next": next_,
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value]


def _lease(attempt: Attempt) -> str:
    if not attempt.lease_until:
        return "let go of: nobody follows it"
    return f"{attempt.lease_owner} until {time_told(attempt.lease_until, exact=True)}"


def _line(entry: Entry) -> dict[str, Any]:
    a = entry.attempt
    return {
        "id": a.id[:8],
        "state": a.state,
        "job": entry.label,
        "begun": time_told(a.intended_at),
        "cost": f"< {usd(a.exposure_usd)}" if a.is_open else usd(a.cost_usd),
        "run": (a.run_id or "")[:8],
        "why": a.error_code or "",
    }


def _whole(entry: Entry) -> dict[str, Any]:
    job = {"kind": entry.kind, "label": entry.label, "character": entry.character, "accepted": entry.accepted}
    return {**attempt_row(entry.attempt), **job}
