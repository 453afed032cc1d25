"""`ryla jobs reconcile`, `spend` and `prices`: what paid work cost, by our books and by RunPod's.

Belongs here: how money is asked for and shown. What it means is `ryla_assets.studio.bills`', `ledger_report`'s and
`prices`'; single attempts are `ryla_assets.cli_jobs`'.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from ryla_assets.cli_output import command, json_flag, opened, show
from ryla_assets.cli_words import COLOURS, attempt_row, moment, time_told, usd

if TYPE_CHECKING:
    from resources.gpu.records import Spend
    from ryla_assets.studio.bills import Reconciliation
    from ryla_assets.studio.blocks import Block

DAY_S = 86_400.0
SHOWN = 50  # rows of unknown attempts that a person is shown


@click.command("reconcile")
@click.option("--since", metavar="DATE", help="Compare from then on (UTC). [default: 24 hours ago]")
@json_flag
@command
def reconcile(since: str | None, *, as_json: bool) -> int:
    """Settle what dead processes left open, then compare the ledger with RunPod's bill, endpoint by endpoint.

    Hours that attempts reach across are compared together. Exit 1 where more was billed than is booked.
    """
    from ryla_assets.studio.bills import reconcile

    begun = moment(since) if since else None
    with opened() as studio:
        found = reconcile(studio, since=begun)
        if as_json:
            click.echo(json.dumps(_reconciled(found)))
        else:
            _show_reconciliation(found)
        return 1 if found.drift.underbooked else 0


@click.command("spend")
@click.option(
    "--by", type=click.Choice(["day", "character", "run"]), default="day", show_default=True, help="What a row is."
)
@click.option(
    "--since", metavar="DATE", help="Settled from then on (UTC). [default: 24 hours ago; by day: 30 days ago]"
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many rows.")
@json_flag
@command
def spend(by: Literal["day", "character", "run"], since: str | None, limit: int, *, as_json: bool) -> None:
    """Show what was spent, and what open work can still cost, by day (UTC), character or run."""
    from ryla_assets.places import ledger_place
    from ryla_assets.studio.ledger import books_of

    begun = moment(since) if since else None
    with opened() as studio:
        books = books_of(studio)
        window = DAY_S * (30 if by == "day" else 1)
        found = books.spend(by, since=books.clock() - window if begun is None else begun, limit=limit)
        rows = [_spender(by, one, as_json=as_json) for one in found]
        empty = f"Nothing was spent, by {ledger_place(studio.settings)}."
        show(rows, as_json=as_json, title=f"spend by {by}", empty=empty)


@click.command("prices")
@click.option("--refresh", is_flag=True, help="Read RunPod's catalogue first, and keep what it says.")
@json_flag
@command
def prices(*, refresh: bool, as_json: bool) -> None:
    """Show what a second and an hour of each GPU costs on RunPod: what jobs are reserved and booked by."""
    from ryla_assets.settings import settings
    from ryla_assets.studio.prices import price_table, read_prices

    config = settings()
    table = read_prices(config) if refresh else price_table(config)
    rows = [
        {"pool": price.pool, "gpu": gpu, "usd_per_s": price.usd_per_s, "usd_per_h": price.usd_per_s * 3600}
        | {"date": price.date}
        for gpu, price in sorted(table.gpus.items(), key=lambda row: (table.pools[row[1].pool], row[1].pool, row[0]))
    ]
    if as_json:
        click.echo(json.dumps({"date": table.date, "source": table.source, "prices": rows}))
        return
    told = [{**row, "usd_per_s": f"${row['usd_per_s']:.5f}", "usd_per_h": f"${row['usd_per_h']:.2f}"} for row in rows]
    show(told, as_json=False, title=f"prices of {table.date}", after=f"Source: {table.source}.")


def _spender(by: str, one: Spend, *, as_json: bool) -> dict[str, Any]:
    sums = {"spent_usd": one.spent_usd, "reserved_usd": one.reserved_usd, "unknown_usd": one.unknown_usd}
    if as_json:
        return {by: one.key, "attempts": one.attempts, **sums}
    whose = time_told(one.key, exact=True)[:10] if isinstance(one.key, float) else one.key or f"no {by}"
    return {by: whose, "attempts": one.attempts, **{name.removesuffix("_usd"): usd(of) for name, of in sums.items()}}


def _reconciled(found: Reconciliation) -> dict[str, Any]:
    blocks = [{**asdict(block), "missing_usd": block.missing_usd} for block in found.drift.blocks]
    return {
        "settled": [attempt_row(attempt) for attempt in found.settled],
        "unknown": [attempt_row(attempt) for attempt in found.unknown],
        "drift": {**asdict(found.drift), "blocks": blocks, "usd": found.drift.usd},
    }


def _show_reconciliation(found: Reconciliation) -> None:
    settled = [{"attempt": a.id, "state": a.state, "cost": usd(a.cost_usd)} for a in found.settled]
    show(settled, as_json=False, title="settled now", empty="Nothing was left to settle.", colours=COLOURS)
    unknown = [{"attempt": a.id, "state": a.state, "cost": f"< {usd(a.exposure_usd)}"} for a in found.unknown]
    rest = found.unknown[SHOWN:]
    more = f"{len(rest)} more, together < {usd(sum(a.exposure_usd for a in rest))}: --json lists all." if rest else ""
    show(unknown[:SHOWN], as_json=False, title="still unknown", after=more, colours=COLOURS)
    hours = [
        {
            "endpoint": block.endpoint,
            "hours (UTC)": _hours(block),
            "booked": usd(block.booked_usd),
            "billed": usd(block.billed_usd),
            "reconciled": _verdict(block),
        }
        for block in found.drift.blocks
    ]
    show(hours, as_json=False, title="bill")
    click.echo(found.drift.note)


def _hours(block: Block) -> str:
    start, end = time_told(block.start), time_told(block.end)
    return f"{start}-{end.removeprefix(start[:6])}"


def _verdict(block: Block) -> str:
    if block.unreconciled:
        return f"no: {block.unreconciled}"
    if block.missing_usd:
        return f"no: {usd(block.missing_usd)} is not booked"
    return "yes" + (f", {usd(block.presumed_usd)} presumed" if block.presumed_usd else "")
