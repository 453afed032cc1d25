"""One picture of everything a demo made: a row a stage, each image with its measured distance and verdict."""

from __future__ import annotations

import contextlib
import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.images import mark
from resources.storage import StorageError, Store
from ryla_assets.domain.shots import short_name

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TILE, GAP, LABEL, LEFT = 168, 10, 34, 190  # pixels
INK, MUTED, GOOD, BAD, PAPER = "#1f2328", "#6a7178", "#1a7f37", "#cf222e", "#ffffff"
COLUMNS = 8  # at least; a sheet of ten shots makes it wider
TITLES = {
    "base_images": "three options",
    "character_sheet": "character sheet",
    "face_swap": "face-swap route",
    "lora": "LoRA route",
}


def draw(store: Store, stories: list[dict[str, Any]], path: Path) -> Path:
    """Write the sheet as PNG. `stories` are the demo's, as JSON."""
    from PIL import Image as pil
    from PIL import ImageDraw

    stages = [stage for story in stories for stage in story["stages"] if stage["asset"] in _SHOWN]
    rows = len(stages) + sum(bool(stage.get("rejected")) for stage in stages)
    columns = max([COLUMNS, *(len(stage["images"]) for stage in stages)])
    width = LEFT + columns * (TILE + GAP) + GAP
    height = 84 + rows * (TILE + LABEL) + len(stories) * 58
    canvas = pil.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(canvas)
    _title(pen)
    y = 74
    for story in stories:
        _story_line(pen, story, y, width)
        y += 48
        for stage in story["stages"]:
            if stage["asset"] in _SHOWN:
                _row(canvas, pen, store, story, stage, y)
                y += TILE + LABEL
                if stage.get("rejected"):
                    _rejected_row(canvas, pen, store, stage["rejected"], y)
                    y += TILE + LABEL
        y += 10
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mark(canvas, source="algorithmicMedia", tool="RYLA Assets (procedural preview)"))
    return path


_SHOWN = ("base_images", "character_sheet", "generated_images")


def _title(pen: ImageDraw) -> None:
    pen.text((GAP * 2, 16), "RYLA Assets", fill=INK, font=_font(26))
    text = "procedural preview: every picture is drawn by the embedded preview backend, none by a model"
    pen.text((GAP * 2, 48), text, fill=MUTED, font=_font(14))


def _story_line(pen: ImageDraw, story: dict[str, Any], y: int, width: int) -> None:
    pen.line((GAP * 2, y + 2, width - GAP, y + 2), fill="#d8dee4")
    pen.text((GAP * 2, y + 12), story["character"], fill=INK, font=_font(20))
    text = (
        "accepted" if not story["refused"] else "drift turned up on purpose: refused before training, as it should be"
    )
    if story["refused"] and not story["drifting"]:
        text = story["refused"]
    pen.text((LEFT, y + 16), text, fill=BAD if story["refused"] else GOOD, font=_font(15))


def _row(canvas: Image, pen: ImageDraw, store: Store, story: dict[str, Any], stage: dict[str, Any], y: int) -> None:
    key = stage["asset"] if stage["asset"] != "generated_images" else stage["route"]
    pen.text((GAP * 2, y + 8), TITLES[key], fill=INK, font=_font(15))
    for check in (c for c in stage["checks"] if c["name"].endswith("__identity")):
        numbers = check["numbers"]
        text = f"identity {numbers['verified']}/{numbers['requested']}  (gate {numbers['identity_gate']:.0%})"
        pen.text((GAP * 2, y + 32), text, fill=GOOD if check["passed"] else BAD, font=_font(13))
    if stage["asset"] == "generated_images":
        wanted = stage["images"][0]["shot"].rpartition("-")[0]
        _write(pen, GAP * 2, y + 52, wanted, MUTED, width=LEFT - 3 * GAP)
    chosen = _chosen(story)
    for column, image in enumerate(stage["images"]):
        x = _picture(canvas, store, image["sha256"], column, y)
        if image["sha256"] == chosen and stage["asset"] == "base_images":
            pen.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=GOOD, width=3)
        if image["refused"]:
            _strike(pen, x, y)
        text, colour = _caption(image, stage["asset"], picked=image["sha256"] == chosen)
        _write(pen, x, y + TILE + 3, text, colour)


def _rejected_row(canvas: Image, pen: ImageDraw, store: Store, rejected: list[dict[str, Any]], y: int) -> None:
    """Takes that lost, struck out, each with its reason. More than fit are counted."""
    pen.text((GAP * 2, y + 8), "rejected", fill=BAD, font=_font(15))
    columns = (canvas.width - LEFT) // (TILE + GAP)
    if len(rejected) > columns:
        pen.text((GAP * 2, y + 32), f"{len(rejected) - columns} more", fill=MUTED, font=_font(13))
    for column, one in enumerate(rejected[:columns]):
        x = _picture(canvas, store, one["sha256"], column, y)
        _strike(pen, x, y)
        _write(pen, x, y + TILE + 3, f"{short_name(one['shot'])}: {one['refused']}", BAD)


def _picture(canvas: Image, store: Store, sha256: str, column: int, y: int) -> int:
    """Paste a tile; returns its left edge. A lost picture leaves its place empty; integrity says what is wrong."""
    x = LEFT + column * (TILE + GAP)
    with contextlib.suppress(StorageError):
        picture = _tile(store.get("images", sha256))
        canvas.paste(picture, (x + (TILE - picture.width) // 2, y))
    return x


def _strike(pen: ImageDraw, x: int, y: int) -> None:
    """Over a tile that is no result."""
    pen.line((x, y, x + TILE - 2, y + TILE - 2), fill=BAD, width=3)
    pen.rectangle((x, y, x + TILE - 1, y + TILE - 1), outline=BAD, width=2)


def _write(pen: ImageDraw, x: int, y: int, text: str, colour: str, *, width: int = TILE) -> None:
    """At most two lines of so many pixels; what does not fit is left out, and three dots say so."""
    font = _font(11)
    for letters in range(40, 10, -1):
        lines = textwrap.wrap(text, letters, max_lines=2, placeholder="...")
        if max(map(font.getlength, lines)) <= width:
            break
    for number, line in enumerate(lines):
        pen.text((x, y + 13 * number), line, fill=colour, font=font)


def _caption(image: dict[str, Any], asset: str, *, picked: bool) -> tuple[str, str]:
    shot = short_name(image["shot"])
    if image["refused"]:
        return f"{shot}: refused: {image['refused']}", BAD
    if asset == "base_images":
        return (f"{shot}: picked", GOOD) if picked else (shot, MUTED)
    if not image["expects_face"]:
        return f"{shot}: not scored", MUTED
    distance = "no face" if image["identity_distance"] is None else f"{image['identity_distance']:.2f}"
    return f"{shot}: {distance}", GOOD if image["verified"] else BAD


def _chosen(story: dict[str, Any]) -> str:
    for stage in story["stages"]:
        if stage["asset"] == "selected_base_image":
            return str(stage["images"][0]["sha256"])
    return ""


def _tile(data: bytes) -> Image:
    from PIL import Image as pil

    image = pil.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((TILE, TILE))
    return image


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
