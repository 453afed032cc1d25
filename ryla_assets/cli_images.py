"""`ryla images`: inspect, score, reproduce, certificate.

Belongs here: reading files and options, one call into `studio` or `resources` each, and showing the answer. Files come
from anywhere, so they are read within the limit of what is decoded, and nothing of them reaches the terminal unshown.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ryla_assets.cli_output import command, json_flag, opened, printable, show, show_facts
from ryla_assets.domain.errors import InputError

if TYPE_CHECKING:
    from ryla_assets.domain.images import RenderDomain
    from ryla_assets.studio.inspect import Inspection, Origin

_COLOURS = {
    "intact": "green",
    "re-saved": "yellow",
    "look-alike": "yellow",
    "changed": "red",
    "foreign": "red",
    "unreadable": "red",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_REASONS = {errno.ENOENT: "does not exist", errno.ELOOP: "is a loop of symbolic links"}


@click.group("images")
def images() -> None:
    """Pictures: where they come from, and whether they are what was stored."""


@images.command("inspect")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_flag
@command
def inspect_(files: Sequence[Path], *, as_json: bool) -> int:
    """Say of any FILES whether they are ours and intact, and how they were made.

    Exit 0 if each is byte for byte a picture that was stored here, 1 if one is not, 2 if one cannot be read.
    """
    from ryla_assets.studio.inspect import inspect

    answers, code = [], 0
    with opened() as studio:
        for file in files:  # one at a time: each may have 64 MiB
            try:
                found = inspect(studio, _read(file), file=str(file))
            except InputError as error:
                code = 2
                answers.append({"file": str(file), "error": error.as_dict()})
                click.secho(f"Error: {error}", fg="red", err=True)
                continue
            code = max(code, 0 if found.intact else 1)
            answers.append(found.as_dict())
            if not as_json:
                show_facts(_lines(found), title=printable(found.file), colours=_COLOURS)
    if as_json:
        show(answers, as_json=True, title="inspect")
    return code


@images.command("score")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A picture of the person; several make a mean face, which is steadier.",
)
@click.option(
    "--domain",
    type=click.Choice(["model", "preview"]),
    help="What the pictures are. [default: as the references are marked; model without a mark]",
)
@click.option(
    "--threshold",
    type=float,
    help="Largest distance that is the same person, 0 to 2. [default: 0.60 for model, 0.45 for preview]",
)
@json_flag
@command
def score_(
    files: Sequence[Path],
    references: Sequence[Path],
    domain: RenderDomain | None,
    threshold: float | None,
    *,
    as_json: bool,
) -> int:
    """Say of each IMAGE whether it shows the person of the references, and how sure that is of all of them.

    A file named twice counts once. Exit 0 if each is verified, 1 if one is not.
    """
    from resources.identity import DlibScorer
    from ryla_assets.studio.scoring import score_files

    found = score_files(DlibScorer(), references, files, domain=domain, threshold=threshold)
    totals = found.totals
    rows = [
        {"image": s.name, "distance": s.distance, "faces": s.faces, "verified": s.verified, "reason": s.reason}
        for s in found.scores
    ]
    summary = {
        "verified": totals.verified, "requested": totals.requested, "share": totals.share, "mean": totals.mean,
        "p90": totals.p90, "worst": totals.worst, "lower_bound": totals.lower_bound,
    }  # fmt: skip
    told = {"scorer": totals.scorer_id, "domain": found.domain, "threshold": totals.threshold}
    if as_json:
        click.echo(json.dumps({**told, "images": rows, "totals": summary}))
    else:
        after = ", ".join(f"{what} {value:.3g}" for what, value in summary.items() if value is not None)
        title = f"{told['scorer']}, {told['domain']} threshold {told['threshold']:.2f}"
        show(rows, as_json=False, title=title, after=after, colours={"verified": "green"})
    return 0 if totals.verified == totals.requested else 1


@images.command("certificate")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write to. [default: RYLA_HOME/c2pa]")
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it is valid.")
@json_flag
@command
def certificate_(out: Path | None, days: int, *, as_json: bool) -> None:
    """Make a development certificate to sign pictures with: it proves that they are unchanged, not who made them."""
    from resources.development_certificate import make_development_certificate
    from resources.signing_key import CredentialsUnusable
    from ryla_assets.settings import settings

    folder = (out or settings().home / "c2pa").resolve()
    try:
        certificate, private_key = make_development_certificate(folder, days=days)
    except CredentialsUnusable as error:
        raise InputError(f"{error.message}.", field="--out", value=error.what, way_out=error.way_out) from error
    row = {"RYLA_C2PA_CERTIFICATE": str(certificate), "RYLA_C2PA_PRIVATE_KEY": str(private_key)}
    after = "Set both to sign every picture from now on; ryla doctor shows that they work."
    show([{"set": name, "to": path} for name, path in row.items()] if not as_json else [row], as_json=as_json,
         title="development certificate", after=after)  # fmt: skip


@images.command("reproduce")
@click.argument("sha256", metavar="SHA")
@click.option(
    "--backend",
    "name",
    help="preview, a ComfyUI server's address, or RYLA_BACKEND's own name. [default: the one it was made on]",
)
@json_flag
@command
def reproduce_(sha256: str, name: str | None, *, as_json: bool) -> int:
    """Run the recorded workflow of the picture SHA again, and measure the difference. It costs what the job costs.

    SHA is its sha256, or how that begins (12 characters or more): ryla images inspect FILE tells it.
    Exit 0 if it is reproduced: equal pixels on the preview, close ones on a model; 1 if it differs.
    """
    from ryla_assets.studio.reproduce import reproduce
    from ryla_assets.studio.visual import backend_named

    with opened() as studio:
        backend = backend_named(studio, name, field="--backend") if name else None
        made = reproduce(studio, sha256.lower(), backend=backend)
    if as_json:
        show([made.as_dict()], as_json=True, title="reproduction")
    else:
        show_facts(made.as_dict(), title="reproduction")
    return 0 if made.reproduced else 1


def _read(file: Path) -> bytes:
    """At most one byte more than is ever decoded. Raises InputError naming the file and what is wrong with it."""
    from resources.images import MAX_BYTES

    handle = None
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer keeps nobody
        kind = _KINDS.get(stat.S_IFMT(os.fstat(handle).st_mode))
        if kind:
            raise _unread(file, f"is {kind}, not a file")
        with os.fdopen(handle, "rb", closefd=False) as opened_file:
            return opened_file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unread(file, _REASONS.get(error.errno or 0) or f"cannot be read: {error.strerror}") from error
    finally:
        if handle is not None:
            os.close(handle)


def _unread(file: Path, why: str) -> InputError:
    name = printable(str(file))
    return InputError(f"{name} {why}.", field="FILES", value=name, way_out="Name a picture.")


def _lines(found: Inspection) -> dict[str, Any]:
    """One file as facts; what is not known is left out."""
    signed_by = f", by {found.credentials.signed_by}" if found.credentials.signed_by else ""
    return {
        "verdict": found.verdict,
        "why": found.reason,
        "file": f"{found.format} {found.width} x {found.height}, {found.bytes} bytes" if found.format else "",
        "sha256": found.sha256,
        "mark": found.mark or ("none" if found.format else ""),
        "written by": found.tool,
        "also in it": ", ".join(found.texts),
        "content credentials": f"{found.credentials.state}: {found.credentials.reason}{signed_by}",
        **(_origin_lines(found.origin) if found.origin else {}),
    }


def _origin_lines(made: Origin) -> dict[str, Any]:
    refused = "; ".join(f"{claim}: {why}" for claim, why in made.why_not.items())
    return {
        "character": made.character,
        "asset": f"{made.asset}, take {made.take}; used by {', '.join(made.used_by)}",
        "shot": f"{made.shot}, take {made.shot_take}, seed {made.seed}" if made.shot else "",
        "workflow": f"{made.workflow}, {made.route} route, {made.method}, {made.rating}" if made.workflow else "",
        "models": ", ".join(made.models),
        "backend": f"{made.backend} ({made.render_domain})" if made.backend else "",
        "job": made.job,
        "accepted": "yes" if made.accepted else f"no: {refused}",
        "judgements": ", ".join(f"{g['claim']} {'passed' if g['passed'] else 'failed'}" for g in made.gates),
        "manifest": made.manifest_sha256,
    }
