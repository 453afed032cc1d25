"""What all commands share: a studio, `--json`, our errors as one clear line and an exit code, rows or a table."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ryla_assets.domain.errors import RylaError

if TYPE_CHECKING:
    from ryla_assets.settings import Settings
    from ryla_assets.studio.studio import Studio

json_flag = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, everything else on stderr.")


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn our errors into one clear line (or JSON) and the exit code into the process's."""

    @wraps(function)
    def wrapped(*args: Any, as_json: bool, **kwargs: Any) -> None:
        from resources.gpu.errors import GpuError
        from resources.storage import StorageError
        from workflows.errors import WorkflowError

        try:
            code = function(*args, as_json=as_json, **kwargs) or 0
        except (RylaError, GpuError, StorageError, WorkflowError) as error:
            code = _told(error, as_json=as_json)
        except Exception as error:
            if (known := _of_a_place(error)) is None:
                raise
            code = _told(known, as_json=as_json)
        sys.exit(code)

    return wrapped


def _told(error: Exception, *, as_json: bool) -> int:
    """Show an error of ours; returns the exit code that it stands for."""
    if as_json:
        click.echo(json.dumps({"error": _as_dict(error)}))
    click.secho(f"Error: {error}", fg="red", err=True)
    return int(getattr(error, "exit_code", 1))


def _of_a_place(error: Exception) -> RylaError | None:
    """A database or a home that cannot be used, as an error of ours; None for whatever else it is."""
    from ryla_assets.places import unusable
    from ryla_assets.settings import settings

    return unusable(error, settings())


@contextmanager
def opened(config: Settings | None = None) -> Iterator[Studio]:
    """A studio for the length of a command."""
    from ryla_assets.build import build_studio
    from ryla_assets.settings import settings
    from ryla_assets.studio.studio import Caller

    caller = Caller(who=f"cli:{user()}", tell=lambda text: click.echo(text, err=True))
    studio = build_studio(config or settings(), caller=caller)
    try:
        yield studio
    finally:
        studio.registry.engine.dispose()


def user() -> str:
    """Who types; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unnamed"


def _as_dict(error: Exception) -> dict[str, object]:
    """One shape for every error of ours, whichever tree it grows on."""
    from workflows.errors import WorkflowError

    if isinstance(error, RylaError | WorkflowError):
        return error.as_dict()
    code, way_out = getattr(error, "code", "storage"), getattr(error, "way_out", "")
    return {"code": code, "field": "", "value": None, "message": str(error), "way_out": way_out}


def show(
    rows: list[dict[str, Any]],
    *,
    as_json: bool,
    title: str,
    empty: str = "",
    after: str = "",
    colours: dict[str, str] | None = None,
) -> None:
    """Rows as JSON or as a table that people can read."""
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not rows:
        if empty:
            console.print(Text(empty))
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*[Text(_cell(value), style=(colours or {}).get(str(value), "")) for value in row.values()])
    console.print(table)
    if after:
        console.print(Text(after))


def show_facts(facts: dict[str, Any], *, title: str, colours: dict[str, str] | None = None) -> None:
    """One thing as lines of a name and a value; nothing is cut or folded, so that a hash can be copied whole."""
    from rich.console import Console
    from rich.text import Text

    console, known = Console(), {name: value for name, value in facts.items() if value not in ("", None)}
    console.print(Text(title, style="bold"), soft_wrap=True)
    width = max(map(len, known), default=0)
    for name, value in known.items():
        text = Text(f"  {name.replace('_', ' '):<{width}}  ")
        text.append(_text(value), style=(colours or {}).get(str(value), ""))
        console.print(text, soft_wrap=True)


def printable(text: str) -> str:
    """A stranger's text without what would write over somebody's screen."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cell(value: Any) -> str:
    """One cell of a table; hashes are cut to what tells them apart."""
    text = "" if value is None else _text(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
