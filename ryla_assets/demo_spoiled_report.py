"""Running the spoiled demo for a person (bars, a table, a picture) or for a program (JSON)."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD  # noqa: TID253  only the command line imports this module
from rich.console import Console  # noqa: TID253
from rich.table import Table  # noqa: TID253
from rich.text import Text  # noqa: TID253

from ryla_assets.contact_sheet import draw
from ryla_assets.demo_report import FAILED, PASSED, instance_of, progress
from ryla_assets.demo_spoiled import Case, Outcome, run_spoiled, spoiling_studio
from ryla_assets.settings import Settings


def run(config: Settings, *, out: Path, as_json: bool) -> int:
    """Run it and report; 0 if every damage was caught and the batch ended accepted."""
    begun = time.monotonic()
    studio = spoiling_studio(config)
    with instance_of(config) as instance, progress() as tell:
        outcome = run_spoiled(studio, instance, tell=tell)
        story = {**asdict(outcome.story), "spoiled": True}
        picture = draw(studio.store, [story], out / "spoiled.png")
    seconds = round(time.monotonic() - begun, 1)
    if as_json:
        told = {"backend": studio.runner.backend.name, "home": str(config.home), "contact_sheet": str(picture)}
        click.echo(json.dumps({**told, "seconds": seconds, **outcome.as_json(), "character": story}))
    else:
        _show(outcome, picture, seconds)
    return 0 if outcome.as_expected else 1


def _show(outcome: Outcome, picture: Path, seconds: float) -> None:
    console = Console()
    console.print("One picture in five was spoiled on purpose between the worker and its acceptance.", style="bold")
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for name in ("image", "spoiled on purpose", "caught: why it was refused", "accepted take", "cost"):
        table.add_column(name, no_wrap=name == "accepted take")
    for case in outcome.cases:
        table.add_row(case.image, case.spoiled, _caught(case), _accepted(case), f"${case.cost_usd:.4f}")
    console.print(table)
    if outcome.good_refused:
        console.print(f"Not spoiled, and refused all the same ({len(outcome.good_refused)}):")
        for one in outcome.good_refused:
            console.print(Text(f"  {one['image']}, take {one['take']}: {one['why']}"))
    caught = sum(bool(case.caught) for case in outcome.cases)
    per_image = outcome.cost_usd / outcome.accepted_images if outcome.accepted_images else 0.0
    console.print(
        f"{caught} of {len(outcome.cases)} caught; {outcome.accepted_images} of {outcome.images} images accepted; "
        f"${outcome.cost_usd:.4f} with all re-rolls, ${per_image:.5f} per accepted image at nominal prices; "
        f"{seconds:.0f} s."
    )
    console.print(Text("The batch ended accepted." if outcome.as_expected else _wrong(outcome)))
    console.print(Text(f"Contact sheet: {picture}"))


def _caught(case: Case) -> Text:
    return Text(case.caught, "green") if case.caught else Text(f"{FAILED} missed", "red")


def _accepted(case: Case) -> Text:
    return Text(f"{case.take} {PASSED}", "green") if case.take is not None else Text(FAILED, "red")


def _wrong(outcome: Outcome) -> str:
    failed = next((run["why"] for run in outcome.story.runs if not run["success"]), "")
    return f"It did not end as it should. {failed}".strip()
