"""Twenty small jobs through the runner and one preview worker: what several measurements look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resources.gpu.backends.preview.backend import PreviewBackend
from resources.gpu.records import Attempt
from ryla_assets.build import build_studio
from ryla_assets.domain.shots import SHEET_SHOTS, Shot, content_shots
from ryla_assets.prompts.build import build_prompt
from ryla_assets.prompts.lexicon import lexicon
from ryla_assets.registry.files import load_character
from ryla_assets.settings import Settings
from ryla_assets.studio.plans import PlannedJob, frame, image_job
from ryla_assets.studio.studio import Studio
from workflows.base_image import base_image
from workflows.requests import ImageRequest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "characters" / "mara-lind.yaml"
COUNT = 20


@dataclass(frozen=True)
class Done:
    """One picture: the attempt that made it, and its stored bytes."""

    attempt: Attempt
    png: bytes


@contextmanager
def open_studio(home: Path) -> Iterator[Studio]:
    """A studio with one preview worker, which is one core."""
    config = Settings(home=home, preview_workers=1)
    backend = PreviewBackend(home / "preview", lexicon=lexicon(), workers=1, idle_s=5.0)
    studio = build_studio(config, backend=backend)
    try:
        yield studio
    finally:
        studio.registry.engine.dispose()


def square_shots(count: int) -> list[Shot]:
    """Different square shots: those of the sheet, then those of two content requests."""
    sheet = [shot for shot in SHEET_SHOTS if shot.aspect == "1:1"]
    cafe = content_shots(scene="candid-lifestyle", environment="cafe", count=10)
    beach = content_shots(scene="beach-day", environment="beach", count=10)
    return [*sheet, *cafe, *beach][:count]


def draw(studio: Studio, shots: list[Shot], px: int) -> list[Done]:
    """Each shot as a job of its own, one after the other, as `px` x `px` pictures."""
    done = []
    for shot in shots:
        [result] = studio.runner.run([_job(studio, shot, px).job])
        done.append(Done(result.attempt, studio.store.get("images", result.outputs[0]["sha256"])))
    return done


def _job(studio: Studio, shot: Shot, px: int) -> PlannedJob:
    text = build_prompt(load_character(EXAMPLE).config, shot)
    one = frame(studio, "bench", f"bench-{px}", shot, text, take=1)
    request = ImageRequest(one.prefix, text.positive, text.negative, one.seed, px, px)
    sized = type(one)(**{**vars(one), "width": px, "height": px})
    graph = base_image("flux-dev", [request])
    return image_job(studio, [sized], graph, workflow="base-image", method="text", label=one.prefix, owner="bench")
