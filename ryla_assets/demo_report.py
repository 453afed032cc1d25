"""Running the demo for a person (bars, tables, a picture) or for a program (JSON)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import dagster as dg
from rich.console import Console  # noqa: TID253  only the command line imports this module
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: TID253
from rich.table import Table  # noqa: TID253
from rich.text import Text  # noqa: TID253

from ryla_assets.build import build_studio
from ryla_assets.contact_sheet import draw
from ryla_assets.demo import Story, run_demo
from ryla_assets.instance import prepare_home
from ryla_assets.settings import Settings

Tell = Callable[[str, str, float], None]


def run(config: Settings, *, count: int, out: Path, as_json: bool) -> int:
    """Run the demo and report; 0 if every character ended as it should."""
    begun = time.monotonic()
    studio = build_studio(config)
    with instance_of(config) as instance, progress() as tell:
        stories = run_demo(studio, instance, count=count, tell=tell)
        picture = draw(studio.store, [_as_json(story) for story in stories], out / "contact-sheet.png")
    seconds = time.monotonic() - begun
    report = {
        "backend": studio.runner.backend.name,
        "render_domain": studio.render_domain,
        "home": str(config.home),
        "contact_sheet": str(picture),
        "seconds": round(seconds, 1),
        "cost_usd": round(sum(_cost(story) for story in stories), 6),
        "characters": [_as_json(story) for story in stories],
    }
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(stories, report)
    return 0 if all(story.as_expected for story in stories) else 1


@contextmanager
def instance_of(config: Settings) -> Iterator[dg.DagsterInstance]:
    """The deployment's Dagster instance, made where it is missing."""
    prepare_home(config)
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextmanager
def progress() -> Iterator[Tell]:
    """Bars on stderr, one a character."""
    columns = (SpinnerColumn(), TextColumn("{task.fields[who]:<18}"), BarColumn(28), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def tell(who: str, doing: str, fraction: float) -> None:
            if who not in tasks:
                tasks[who] = bars.add_task(doing, total=1.0, who=who)
            bars.update(tasks[who], description=doing, completed=fraction)

        yield tell


def _show(stories: list[Story], report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title="checks (preview timings are not evidence)", title_justify="left", header_style="bold")
    for name in ("character", "check", "verdict", "why"):
        table.add_column(name, overflow="fold")
    for story in stories:
        for stage in story.stages:
            for check in stage["checks"]:
                verdict = Text("passed", "green") if check["passed"] else Text("failed", "red")
                route = f" ({stage['route']})" if stage["asset"] == "generated_images" else ""
                table.add_row(story.character, check["name"] + route, verdict, Text(check["reason"]))
        table.add_section()
    console.print(table)
    for story in stories:
        if story.drifting:
            console.print(
                Text(f"{story.character}: its drift was turned up on purpose, and this is what should happen:", "bold")
            )
            console.print(Text(f"  {story.refused or 'it was NOT refused'}", "green" if story.as_expected else "red"))
        elif not story.as_expected:
            console.print(Text(f"{story.character}: {story.refused or _first_failure(story)}", "red"))
    console.print(Text(f"{report['seconds']:.0f} s, ${report['cost_usd']:.4f} (nominal preview prices)."))
    console.print(Text(f"Contact sheet: {report['contact_sheet']}"))
    if str(report["home"]) == ".ryla":
        name = stories[0].character
        console.print(Text("\nTry next:", "bold"))
        console.print(
            Text("  .venv/bin/ryla dev                        # Dagster on port 3000: click through all of it")
        )
        console.print(Text(f"  .venv/bin/ryla characters show {name}"))
        console.print(Text(f"  .venv/bin/ryla generate {name} --scene cozy-home --environment cafe --count 2 --now"))


def _first_failure(story: Story) -> str:
    return next((run["why"] for run in story.runs if not run["success"]), "it did not end as it should")


def _cost(story: Story) -> float:
    return float(sum(stage.get("cost_usd", 0.0) for stage in story.stages))


def _as_json(story: Story) -> dict[str, Any]:
    return {**asdict(story), "as_expected": story.as_expected, "cost_usd": _cost(story)}
