"""One picture of everything a demo made: a row a stage, each image with its measured distance and verdict."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.images import mark
from resources.storage import StorageError, Store

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TILE, GAP, LABEL, LEFT = 168, 10, 34, 190
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

    rows = [(story, stage) for story in stories for stage in story["stages"] if stage["asset"] in _SHOWN]
    columns = max([COLUMNS, *(len(stage["images"]) for _, stage in rows)])
    width = LEFT + columns * (TILE + GAP) + GAP
    height = 84 + len(rows) * (TILE + LABEL) + len(stories) * 58
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
    for line, check in enumerate(c for c in stage["checks"] if c["name"].endswith("__identity")):
        numbers = check["numbers"]
        text = f"identity {numbers['verified']}/{numbers['requested']}  (gate {numbers['identity_gate']:.0%})"
        pen.text((GAP * 2, y + 32 + 18 * line), text, fill=GOOD if check["passed"] else BAD, font=_font(13))
    chosen = _chosen(story)
    for column, image in enumerate(stage["images"]):
        x = LEFT + column * (TILE + GAP)
        with contextlib.suppress(StorageError):  # a lost picture leaves its place empty; integrity says what is wrong
            picture = _tile(store.get("images", image["sha256"]))
            canvas.paste(picture, (x + (TILE - picture.width) // 2, y))
        if image["sha256"] == chosen and stage["asset"] == "base_images":
            pen.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=GOOD, width=3)
        text, colour = _caption(image, stage["asset"], picked=image["sha256"] == chosen)
        pen.text((x, y + TILE + 3), text, fill=colour, font=_font(12))


def _caption(image: dict[str, Any], asset: str, *, picked: bool) -> tuple[str, str]:
    if asset == "base_images":
        return (f"{image['shot']}: picked", GOOD) if picked else (image["shot"], MUTED)
    shot = image["shot"].removeprefix("candid-lifestyle-").removeprefix("beach-day-")
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
