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
from rich.box import SIMPLE_HEAD  # noqa: TID253
from rich.console import Console  # noqa: TID253  only the command line imports this module
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: TID253
from rich.table import Table  # noqa: TID253
from rich.text import Text  # noqa: TID253

from ryla_assets.build import build_studio
from ryla_assets.contact_sheet import draw
from ryla_assets.demo import Story, run_demo
from ryla_assets.instance import prepare_home
from ryla_assets.settings import Settings
from ryla_assets.studio.content import STAGE

Tell = Callable[[str, str, float], None]
PASSED, FAILED = "\u2713", "\u2717"


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
    for story in stories:
        console.print(_table(story))
        if story.refused:
            told = "drift turned up on purpose, and this is what should happen" if story.drifting else "stopped"
            console.print(Text(f"{told}:\n{story.refused}", "green" if story.as_expected else "red"), soft_wrap=True)
        elif not story.as_expected:
            console.print(Text(_first_failure(story), "red"))
        console.print()
    console.print("Timing checks ran too; on a preview they are reported as no evidence.", style="dim")
    console.print(f"{report['seconds']:.0f} s, ${report['cost_usd']:.4f} at nominal preview prices.")
    console.print(Text(f"Contact sheet: {report['contact_sheet']}"))
    if str(report["home"]) == ".ryla":
        name = stories[0].character
        console.print(Text("\nTry next:", "bold"))
        for line in (
            ".venv/bin/ryla dev     (Dagster on port 3000: click through all of it)",
            f".venv/bin/ryla characters show {name}",
            f".venv/bin/ryla generate {name} --scene cozy-home --environment cafe --count 2 --now",
        ):
            console.print(Text(f"  {line}"), soft_wrap=True)


def _table(story: Story) -> Table:
    """One line a stage: what its checks say, and how near the faces are."""
    table = Table(title=story.character, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for name in ("stage", "checks", "identity", "mean", "gate"):
        table.add_column(name, no_wrap=name != "checks")
    for stage in story.stages:
        name = f"{stage['asset']} ({stage['route']})" if stage["asset"] == STAGE else stage["asset"]
        identity = next((c for c in stage["checks"] if c["name"].endswith("__identity")), None)
        table.add_row(name, _verdicts(stage), *(_identity(identity) if identity else ("", "", "")))
    return table


def _verdicts(stage: dict[str, Any]) -> Text:
    """All checks but identity, which has columns of its own, and what is no evidence on a preview."""
    text = Text()
    for check in stage["checks"]:
        claim = check["name"].partition("__")[2]
        if claim != "identity" and "not evidence" not in check["reason"]:
            text.append(f"{claim} {PASSED if check['passed'] else FAILED}  ", "green" if check["passed"] else "red")
    return text


def _identity(check: dict[str, Any]) -> tuple[Text, str, str]:
    numbers = check["numbers"]
    sign, colour = (PASSED, "green") if check["passed"] else (FAILED, "red")
    verified = Text(f"{numbers['verified']}/{numbers['requested']} {sign}", colour)
    mean = "" if numbers["identity_mean"] is None else f"{numbers['identity_mean']:.2f}"
    return verified, mean, f"{numbers['identity_gate']:.0%}"


def _first_failure(story: Story) -> str:
    return next((run["why"] for run in story.runs if not run["success"]), "it did not end as it should")


def _cost(story: Story) -> float:
    return float(sum(stage.get("cost_usd", 0.0) for stage in story.stages))


def _as_json(story: Story) -> dict[str, Any]:
    return {**asdict(story), "as_expected": story.as_expected, "cost_usd": _cost(story)}
