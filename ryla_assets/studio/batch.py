"""A day's content: one idempotent request for every active character whose sheet is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ryla_assets.domain.images import ImageSet
from ryla_assets.studio.content import STAGE, ContentRequest, ask, generate
from ryla_assets.studio.judge import judge_all
from ryla_assets.studio.judgement import Judgement
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio

DAILY_SCENES = ("candid-lifestyle", "morning-vibes", "cozy-home", "professional-portrait")


@dataclass(frozen=True)
class Served:
    """What one character got; without images, `reason` says why."""

    character: str
    reason: str
    images: ImageSet | None = None
    judgements: list[Judgement] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """One row of the day's table; a claim that is only told (time) refuses nothing."""
        return {
            "character": self.character,
            "accepted": self.images is not None and not _refused(self.judgements),
            "route": self.images.route if self.images else "",
            "images": len(self.images.good) if self.images else 0,
            "cost_usd": self.images.timing.cost_usd if self.images else 0.0,
            "reason": self.reason,
        }


def serve_day(
    studio: Studio, day: str, *, stop_on: tuple[type[Exception], ...], skip_on: tuple[type[Exception], ...]
) -> Iterator[Served]:
    """Serve the active characters that have a sheet, one after the other; running the day again adopts what it made.

    `skip_on` errors become a row and the next character is served; `stop_on` errors end the day.
    """
    for number, who in enumerate(studio.registry.characters(active=True)):
        if studio.registry.head("character_sheet", who.id) is None:
            continue  # still on its way: nothing to refuse
        try:
            studio.accepted("character_sheet", who.id)  # before anything is asked for: a request would be kept
            wanted = ContentRequest(
                scene=DAILY_SCENES[(number + _ordinal(day)) % len(DAILY_SCENES)],
                count=studio.settings.content_images,
                asked_by=f"daily {day}",
            )
            name = f"daily-{day}"
            request = studio.registry.request(f"{who.id}/{STAGE}/{name}") or ask(studio, who.id, wanted, name=name)
            images = generate(studio, request)
            studio.publish(images)
            judgements = judge_all(studio, STAGE, who.id)
        except stop_on:
            raise
        except skip_on as error:
            yield Served(who.id, str(error))
            continue
        yield Served(who.id, "; ".join(_refused(judgements)) or "accepted", images, judgements)


def _refused(judgements: list[Judgement]) -> list[str]:
    return [j.reason for j in judgements if not j.passed and j.claim in REQUIRED_CLAIMS[j.asset]]


def _ordinal(day: str) -> int:
    from datetime import date

    return date.fromisoformat(day).toordinal()
