"""What the registry keeps for safety: blocked texts by hash, and the scores of a content classifier by pixels.

Belongs here: reads and writes of those two tables; `Registry` has these methods. Does not belong here: screening,
judging. No blocked text ever reaches this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from resources.database import lock, reading, writing
from ryla_assets.registry import tables as t
from ryla_assets.registry.records import Block


class SafetyRows:
    """A part of the registry, on its engine and clock."""

    engine: sa.Engine
    clock: Callable[[], float]

    # ---- the audit trail

    def keep_block(self, record: dict[str, Any], *, place: str, who: str, character: str | None) -> None:
        """Add one block; `record` is `domain.safety.block_record`'s. `place` says at which door, `who` who knocked."""
        values = {**record, "field": str(record["field"])[:64], "place": place[:40], "who": who[:100]}
        with writing(self.engine) as db:
            db.execute(sa.insert(t.safety_blocks).values(**values, character=character, at=self.clock()))

    def blocks(self, *, since: float, limit: int = 50) -> list[Block]:
        """The blocks since then, newest first."""
        columns = [t.safety_blocks.c[name] for name in Block.__dataclass_fields__]
        query = sa.select(*columns).where(t.safety_blocks.c.at >= since)
        with reading(self.engine) as db:
            return [Block(*row) for row in db.execute(query.order_by(t.safety_blocks.c.id.desc()).limit(limit))]

    def block_counts(self, *, since: float) -> dict[tuple[str, str], int]:
        """(reason, place) -> how many texts were blocked since then, most first."""
        c, count = t.safety_blocks.c, sa.func.count()
        query = sa.select(c.reason, c.place, count).where(c.at >= since).group_by(c.reason, c.place)
        with reading(self.engine) as db:
            return {(row[0], row[1]): int(row[2]) for row in db.execute(query.order_by(count.desc(), c.reason))}

    # ---- ratings

    def rating(self, pixels_sha256: str, guard_id: str) -> float | None:
        """The score that this classifier gave to exactly these pixels, if it looked before."""
        c = t.ratings.c
        query = sa.select(c.score).where(c.pixels_sha256 == pixels_sha256, c.guard_id == guard_id)
        with reading(self.engine) as db:
            return db.execute(query).scalar_one_or_none()

    def keep_rating(self, pixels_sha256: str, guard_id: str, score: float) -> None:
        """Remember a score (0 harmless .. 1)."""
        with writing(self.engine) as db:
            lock(db, f"rating:{pixels_sha256}")
            c = t.ratings.c
            db.execute(sa.delete(t.ratings).where(c.pixels_sha256 == pixels_sha256, c.guard_id == guard_id))
            db.execute(sa.insert(t.ratings).values(pixels_sha256=pixels_sha256, guard_id=guard_id, score=score))
