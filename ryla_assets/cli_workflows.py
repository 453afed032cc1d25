"""`ryla workflows`: list, build, validate, convert, check, export, compare.

Belongs here: reading files and options, one call into `workflows` each, and showing the answer. A prompt is JSON and
goes to stdout with and without `--json`, so that it can be piped; all else goes where the other commands put it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ryla_assets.cli_output import command, json_flag, show
from ryla_assets.domain.errors import InputError

_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)
_object_info = click.option(
    "--object-info", metavar="FILE|URL", help="A server's own node list, or the server. [default: the stored copy]"
)


@click.group("workflows")
def workflows() -> None:
    """The graphs that run on the GPU, as code and as files for ComfyUI's UI."""


@workflows.command("list")
@json_flag
@command
def list_(*, as_json: bool) -> None:
    """List the workflows and what can be set on each."""
    from workflows.catalogue import WORKFLOWS
    from workflows.versions import WORKFLOW_VERSIONS

    rows = [
        {
            "name": flow.name,
            "version": WORKFLOW_VERSIONS[flow.name],
            "purpose": flow.purpose,
            "base_models": _cell(flow.base_models, as_json=as_json),
            "template": f"{flow.template}.json",
            "parameters": _cell([p.name for p in flow.parameters], as_json=as_json),
        }
        for flow in WORKFLOWS.values()
    ]
    show(rows, as_json=as_json, title="workflows")


@workflows.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of `workflows list`.")
@json_flag
@command
def build(name: str, settings: Sequence[str], *, as_json: bool) -> None:
    """Print the graph of workflow NAME in API format."""
    from workflows import catalogue

    _print(catalogue.build(name, dict(_setting(text) for text in settings)), as_json=as_json)


@workflows.command()
@click.argument("files", nargs=-1, required=True, type=_existing)
@_object_info
@json_flag
@command
def validate(files: Sequence[Path], object_info: str | None, *, as_json: bool) -> int:
    """Say what a server would refuse in FILES, and what it would swallow; files of ComfyUI's UI are converted first."""
    from workflows.convert import convert, is_ui
    from workflows.schema import as_server_error
    from workflows.schema import validate as problems_of

    classes = _classes(object_info)
    verdicts = []
    for file in files:
        document = _read(file)
        prompt = convert(document, object_info=classes) if is_ui(document) else document
        problems = problems_of(prompt, object_info=classes)
        told = as_server_error(problems) if problems else {}
        verdicts.append({"file": str(file), "valid": not problems, **told})
        if not as_json:
            click.echo(f"{file}: {f'invalid ({len(problems)})' if problems else 'valid'}")
            for problem in problems:
                click.echo(f"  {problem}{' [a server would run it]' if problem.silent else ''}")
    if as_json:
        click.echo(json.dumps(verdicts))
    return 0 if all(verdict["valid"] for verdict in verdicts) else 1


@workflows.command()
@click.argument("ui_file", type=_existing)
@_object_info
@json_flag
@command
def convert(ui_file: Path, object_info: str | None, *, as_json: bool) -> None:
    """Print the prompt that ComfyUI would run for UI_FILE, a workflow as its UI saves it."""
    from workflows.convert import convert as prompt_of

    _print(prompt_of(_read(ui_file), object_info=_classes(object_info)), as_json=as_json)


@workflows.command()
@click.option("--in", "folder", type=_folder, help="Where the templates lie. [default: workflows/]")
@_object_info
@json_flag
@command
def check(folder: Path | None, object_info: str | None, *, as_json: bool) -> int:
    """Compare each template with the graph that code builds; tell the differences node by node."""
    from workflows.parity import check_templates
    from workflows.templates import FOLDER

    found = check_templates(folder or FOLDER, object_info=_classes(object_info))
    if as_json:
        click.echo(json.dumps({name: [one.as_dict() for one in differences] for name, differences in found.items()}))
    else:
        for name, differences in found.items():
            click.echo(f"{name}: {f'differs ({len(differences)})' if differences else 'equal'}")
            for one in differences:
                click.echo(f"  {one}")
    return 1 if any(found.values()) else 0


@workflows.command()
@click.option("--out", type=_folder, help="Where they go. [default: workflows/]")
@json_flag
@command
def export(out: Path | None, *, as_json: bool) -> None:
    """Write the templates that ComfyUI's UI opens, from the graphs that code builds."""
    from workflows.templates import FOLDER, write_templates

    folder = out or FOLDER
    rows = [
        {"template": name, "file": str(folder / f"{name}.json"), "changed": changed}
        for name, changed in write_templates(folder).items()
    ]
    show(rows, as_json=as_json, title="templates")


@workflows.command()
@click.argument("a")
@click.argument("b")
@click.option("--out", type=_folder, help="Write both pictures and their difference there, one PNG a prompt.")
@click.option("--size", default=1024, show_default=True, metavar="PX", help="Pixels a side, a multiple of 16.")
@click.option("--take", default=0, show_default=True, type=click.IntRange(min=0), help="A new number draws anew.")
@click.option("--base-model", "base_models", multiple=True, help="Only this one (repeatable). [default: all]")
@json_flag
@command
def compare(
    a: str, b: str, out: Path | None, size: int, take: int, base_models: Sequence[str], *, as_json: bool
) -> int:
    """Draw the fixed prompts on A and on B (`preview`, or a ComfyUI server's address) and compare the pictures."""
    from ryla_assets.build import build_studio
    from ryla_assets.settings import settings
    from ryla_assets.studio.studio import Caller
    from ryla_assets.studio.visual import BASE_MODELS, backend_named, run_parity

    studio = build_studio(settings(), caller=Caller(tell=lambda text: click.echo(text, err=True)))
    sides = [backend_named(studio, name, field=field) for field, name in (("A", a), ("B", b))]
    rows = run_parity(studio, *sides, out=out, size=size, take=take, base_models=base_models or BASE_MODELS)
    told = rows if as_json else [{key: row[key] for key in ("image", "verdict", "adopted", "reason")} for row in rows]
    colours = {"equal": "green", "close": "yellow", "different": "red"}
    show(told, as_json=as_json, title="visual parity", colours=colours, after=f"Side by side in {out}." if out else "")
    return 1 if any(row["verdict"] == "different" for row in rows) else 0


def _cell(values: Sequence[str], *, as_json: bool) -> list[str] | str:
    return list(values) if as_json else ", ".join(values)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"{text!r} is no KEY=VALUE.", field="--set", value=text, way_out="Write it as --set steps=20.")
    return key, value


def _print(prompt: Mapping[str, Any], *, as_json: bool) -> None:
    click.echo(json.dumps(prompt, indent=None if as_json else 2))


def _classes(source: str | None) -> Any:
    """The object_info of a file or of a server; None for the stored one."""
    if source is None:
        return None
    if not source.startswith(("http://", "https://")):
        return _table(_read(Path(source)), source)
    import httpx

    try:
        answer = httpx.get(f"{source.rstrip('/')}/object_info", timeout=30).raise_for_status()
        return _table(answer.json(), source)
    except (httpx.HTTPError, ValueError) as error:
        raise InputError(
            f"no node list from {source}: {error}", field="--object-info", value=source, way_out="Is ComfyUI running?"
        ) from error


def _table(document: Any, source: str) -> dict[str, Any]:
    """object_info, told from any other JSON by its entries."""
    if isinstance(document, dict) and all(isinstance(n, dict) and "input" in n for n in document.values()):
        return document
    raise InputError(
        f"{source} is no object_info.",
        field="--object-info",
        value=source,
        way_out="Save what GET /object_info of a ComfyUI answers.",
    )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} is no JSON file: {error}", field="file", value=str(file), way_out="Export it again from ComfyUI."
        ) from error
