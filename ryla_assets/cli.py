"""The `ryla` command.

Every command has `--json`: JSON on stdout, all else on stderr. Exit codes: 0 ok, 1 a check or the work failed, 2 usage
or settings. Commands parse, call one function, and show; heavy imports happen inside them, so that help is instant.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ryla_assets.cli_images import images
from ryla_assets.cli_jobs import jobs
from ryla_assets.cli_output import command, json_flag, opened, show, user
from ryla_assets.cli_workflows import workflows
from ryla_assets.domain.errors import InputError
from ryla_assets.settings import settings

if TYPE_CHECKING:
    from ryla_assets.registry.records import Character
    from ryla_assets.studio.studio import Studio


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ryla-assets")
def main() -> None:
    """Synthetic adult characters: from a description to images that stay the same person."""


main.add_command(workflows)
main.add_command(images)
main.add_command(jobs)

# ---- demo, dev, doctor


@main.command()
@click.option("--characters", "count", default=2, show_default=True, help="How many that pass; one more is refused.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the contact sheet goes. [default: RYLA_HOME/demo]")
@click.option("--fresh", is_flag=True, help="Use a new temporary RYLA_HOME.")
@click.option("--spoiled", is_flag=True, help="Instead: a batch with one picture in five damaged on purpose.")
@json_flag
@command
def demo(count: int, out: Path | None, *, fresh: bool, spoiled: bool, as_json: bool) -> int:
    """Run the whole pipeline on the preview backend, then show what came out."""
    from ryla_assets import demo_report, demo_spoiled_report
    from ryla_assets.demo import example_files

    example_files(count)  # a wrong number is told before anything starts
    config = settings()
    if config.backend != "preview":
        raise InputError(
            "the demo runs on the preview backend.", field="RYLA_BACKEND", value=config.backend, way_out="Unset it."
        )
    if fresh:
        config = config.model_copy(
            update={"home": Path(tempfile.mkdtemp(prefix="ryla-demo-")), "database_url": "", "storage_url": ""}
        )
    folder = out or config.home / "demo"
    if spoiled:
        return demo_spoiled_report.run(config, out=folder, as_json=as_json)
    return demo_report.run(config, count=count, out=folder, as_json=as_json)


@main.command()
@click.option("--port", default=3000, show_default=True, help="Where Dagster's UI listens.")
@json_flag
@command
def dev(port: int, *, as_json: bool) -> int:  # noqa: ARG001  a server has nothing to say in JSON
    """Start Dagster and the HTTP app together, on what the demo made."""
    from ryla_assets.dev import serve

    return serve(settings(), port=port)


@main.command()
@json_flag
@command
def doctor(*, as_json: bool) -> int:
    """Say what is configured, what can be reached, and what is missing."""
    from ryla_assets.doctor import examine

    findings = examine(settings())
    rows = [{"what": f.what, "state": f.state, "detail": f.detail, "cure": f.cure} for f in findings]
    show(rows, as_json=as_json, title="doctor", colours={"ok": "green", "note": "yellow", "missing": "red"})
    return 1 if any(f.state == "missing" for f in findings) else 0


# ---- characters


@main.group()
def characters() -> None:
    """The registry of characters; an active one may spend."""


@characters.command("add")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--activate", is_flag=True, help="Let them spend at once.")
@click.option("--auto-select", is_flag=True, help="Let the best-scored base image be picked (of previews).")
@json_flag
@command
def characters_add(files: Sequence[Path], *, activate: bool, auto_select: bool, as_json: bool) -> None:
    """Add characters from YAML files: all of them, or none if one is wrong."""
    from ryla_assets.studio.texts import character_file

    with opened() as studio:
        specs = [character_file(studio, file) for file in files]
        names = [spec.id for spec in specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{twice[0]!r} is in two files.", field="id", value=twice[0], way_out="Rename one.")
        studio.registry.add_characters(specs, auto_select=auto_select)
        for name in names if activate else ():
            studio.registry.activate(name)
        show([_line(studio.registry.character(name)) for name in names], as_json=as_json, title="added")


@characters.command("activate")
@click.argument("ids", nargs=-1, required=True)
@json_flag
@command
def characters_activate(ids: Sequence[str], *, as_json: bool) -> None:
    """Let characters spend: the sensors make their base images."""
    with opened() as studio:
        for name in ids:
            studio.registry.character(name)
        for name in ids:
            studio.registry.activate(name)
        show([_line(studio.registry.character(name)) for name in ids], as_json=as_json, title="active")


@characters.command("list")
@json_flag
@command
def characters_list(*, as_json: bool) -> None:
    """List all characters."""
    with opened() as studio:
        rows = [_line(who) for who in studio.registry.characters()]
        show(rows, as_json=as_json, title="characters", empty="No characters yet: ryla characters add FILE --activate")


@characters.command("show")
@click.argument("character")
@json_flag
@command
def characters_show(character: str, *, as_json: bool) -> None:
    """Show a character's stages, judgements, face templates and requests."""
    from ryla_assets.demo import stages_of
    from ryla_assets.studio.faces import template_history

    with opened() as studio:
        who = studio.registry.character(character)
        stages, templates = stages_of(studio, character), template_history(studio, character)
        requests = studio.registry.requests(character, "generated_images")
        if as_json:
            asked = [{"id": r.id, "state": r.state, "route": r.route, "body": r.body} for r in requests]
            known = {"config": who.config.model_dump(mode="json"), "stages": stages, "templates": templates}
            click.echo(json.dumps({**_line(who), **known, "requests": asked}))
            return
        show([_line(who)], as_json=False, title=character)
        show([_stage_line(stage) for stage in stages], as_json=False, title="stages", empty="Nothing was made yet.")
        faces = [{**row, "source": row["source"][:12], "images": len(row["images"])} for row in templates]
        show(faces, as_json=False, title="face templates", empty="No face was measured yet.")
        show(
            [{"id": r.id, "state": r.state, "route": r.route or ""} for r in requests], as_json=False, title="requests"
        )


@characters.command("select")
@click.argument("character")
@click.argument("option", type=int)
@click.option("--why", default="picked on the command line", show_default=True, help="Recorded with the pick.")
@click.option("--who", help="Who looked at it, and recorded as such. [default: the user of this machine]")
@json_flag
@command
def characters_select(character: str, option: int, why: str, who: str | None, *, as_json: bool) -> None:
    """Pick base image OPTION (1, 2, 3): the person that the character becomes, reviewed as looking adult."""
    from ryla_assets.studio.base import pick

    with opened() as studio:
        studio.registry.character(character)
        made = pick(studio, character, option=option, who=who or user(), why=why)
        row = {"character": character, "option": made.option, "reviewed": made.review, "who": made.who}
        row["image"] = made.image_sha256
        show([row], as_json=as_json, title="selected")


@characters.command("regenerate")
@click.argument("character")
@click.option(
    "--stage", type=click.Choice(["base_images", "character_sheet"]), default="base_images", show_default=True
)
@json_flag
@command
def characters_regenerate(character: str, stage: str, *, as_json: bool) -> None:
    """Ask for a new take of a stage; old takes stay."""
    from ryla_assets.studio.plans import regenerate

    with opened() as studio:
        request = regenerate(studio, character, stage)
        show([{"request": request.id, "take": request.take, "state": request.state}], as_json=as_json, title="new take")


@characters.command("retire")
@click.argument("character")
@json_flag
@command
def characters_retire(character: str, *, as_json: bool) -> None:
    """Take a character out of every list; its pictures and history stay."""
    with opened() as studio:
        studio.registry.retire(character)
        show([{"character": character, "retired": True}], as_json=as_json, title="retired")


# ---- content


@main.command()
@click.argument("character")
@click.option("--scene", default="candid-lifestyle", show_default=True, help="A scene of the catalogue.")
@click.option("--environment", default="studio", show_default=True, help="An environment of the catalogue.")
@click.option("--count", default=4, show_default=True, help="How many images, 1 to 10.")
@click.option("--aspect", default="1:1", show_default=True, help="1:1, 2:3 or 9:16.")
@click.option("--rating", default="sfw", show_default=True, help="sfw; nsfw needs three consents.")
@click.option("--method", default="auto", show_default=True, help="auto, lora or face_swap.")
@click.option("--seed", type=int, help="A fixed first seed; default: derived from character, shot and take.")
@click.option("--now", is_flag=True, help="Generate in this process instead of leaving it to the sensors.")
@json_flag
@command
def generate(character: str, *, now: bool, as_json: bool, **wanted: Any) -> int:
    """Ask for images of a character; they take the LoRA route as soon as the LoRA is ready."""
    from ryla_assets.studio.content import ask, parse

    with opened() as studio:
        told = {**wanted, "asked_by": f"cli:{user()}"}
        request = ask(studio, character, parse(told, studio, character=character))
        if not now:
            row = {"request": request.id, "state": request.state}
            show(
                [row],
                as_json=as_json,
                title="asked for",
                after="The sensors generate it while `ryla dev` runs; or use --now.",
            )
            return 0
        return _generate_now(studio, character, request.id, as_json=as_json)


def _generate_now(studio: Studio, character: str, request_id: str, *, as_json: bool) -> int:
    from ryla_assets.demo import stages_of
    from ryla_assets.demo_report import instance_of, progress
    from ryla_assets.instance import add_partition, materialize, why

    with instance_of(studio.settings) as instance, progress() as tell:
        add_partition(instance, character)
        result = materialize(
            studio,
            instance,
            ["generated_images"],
            character=character,
            config={"generated_images": {"request": request_id}},
            listen=lambda p: tell(character, "generating", p.fraction),
        )
    reason = why(result)
    made = [s for s in stages_of(studio, character) if s["asset"] == "generated_images"] if result.success else []
    rows = made[-1]["images"] if made else []
    show(rows, as_json=as_json, title=request_id, empty=reason or "Nothing was made.")
    return 0 if result.success else 1


# ---- showing


def _line(who: Character) -> dict[str, Any]:
    return {
        "id": who.id,
        "name": who.config.name,
        "age": who.config.age,
        "active": who.active,
        "lora_status": who.lora_status,
        "base_image": (who.base_image_id or "")[:12],
    }


def _stage_line(stage: dict[str, Any]) -> dict[str, Any]:
    failed = [check["reason"] for check in stage["checks"] if not check["passed"]]
    return {
        "asset": stage["asset"],
        "take": stage["take"],
        "accepted": stage["accepted"],
        "route": stage.get("route", ""),
        "cost_usd": f"{stage.get('cost_usd', 0.0):.4f}",
        "why not": "; ".join(failed),
    }


if __name__ == "__main__":
    main()
