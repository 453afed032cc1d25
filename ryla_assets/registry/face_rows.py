"""What the registry knows of faces: what a scorer found in which pixels, templates with their history, verdicts.

Belongs here: reads and writes of those three tables; `Registry` has these methods. Does not belong here: embedding,
comparing or judging anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from resources.database import lock, reading, writing
from resources.face_index import pack, unpack
from ryla_assets.registry import tables as t
from ryla_assets.registry.records import Template, Verdict

ROWS_AT_ONCE = 1_000  # of a table that is read through: no more lie in memory


class FaceRows:
    """A part of the registry, on its engine and clock."""

    engine: sa.Engine
    clock: Callable[[], float]

    # ---- faces

    def faces(self, pixels_sha256: str, scorer_id: str) -> list[dict[str, Any]] | None:
        """What this scorer found in exactly these pixels, if it looked before."""
        c = t.faces.c
        query = sa.select(c.faces).where(c.pixels_sha256 == pixels_sha256, c.scorer_id == scorer_id)
        with reading(self.engine) as db:
            return db.execute(query).scalar_one_or_none()

    def keep_faces(self, pixels_sha256: str, scorer_id: str, faces: list[dict[str, Any]]) -> None:
        """Remember what a scorer found."""
        with writing(self.engine) as db:
            lock(db, f"faces:{pixels_sha256}")
            c = t.faces.c
            db.execute(sa.delete(t.faces).where(c.pixels_sha256 == pixels_sha256, c.scorer_id == scorer_id))
            db.execute(sa.insert(t.faces).values(pixels_sha256=pixels_sha256, scorer_id=scorer_id, faces=faces))

    def all_faces(self, scorer_prefix: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """(pixels_sha256, what was found) of everything that scorers whose id begins so ever looked at."""
        c = t.faces.c
        query = sa.select(c.pixels_sha256, c.faces).where(c.scorer_id.startswith(scorer_prefix, autoescape=True))
        with reading(self.engine) as db:
            for row in db.execute(query.execution_options(yield_per=ROWS_AT_ONCE)):
                yield row[0], row[1]

    # ---- templates

    def keep_template(
        self,
        character: str,
        scorer_id: str,
        *,
        render_domain: str,
        embedding: Sequence[float],
        source_sha256: str,
        images: Sequence[str] = (),
    ) -> int:
        """Remember the template that a manifest gave a character, and return its version.

        Once for a manifest: judging it again changes nothing, and never makes an older one current again.
        """
        c = t.templates.c
        of = (c.character == character, c.scorer_id == scorer_id)
        with writing(self.engine) as db:
            lock(db, "templates")  # one lock for all: ids are committed in their order, so none is missed by a cursor
            known = db.execute(sa.select(c.version).where(*of, c.source_sha256 == source_sha256)).scalar_one_or_none()
            if known is not None:
                return int(known)
            version = 1 + int(
                db.execute(sa.select(sa.func.coalesce(sa.func.max(c.version), 0)).where(*of)).scalar_one()
            )
            db.execute(
                sa.insert(t.templates).values(
                    character=character, version=version, scorer_id=scorer_id, render_domain=render_domain,
                    embedding=pack(embedding), images=list(images), source_sha256=source_sha256, at=self.clock(),
                )
            )  # fmt: skip
        return version

    def templates(self, character: str, scorer_id: str) -> list[Template]:
        """The character's templates by this scorer, oldest first; the last one is current."""
        c = t.templates.c
        query = sa.select(t.templates).where(c.character == character, c.scorer_id == scorer_id).order_by(c.version)
        with reading(self.engine) as db:
            return [_template(row) for row in db.execute(query).mappings()]

    def templates_after(self, last: int, scorer_id: str, render_domain: str) -> tuple[int, list[tuple[str, bytes]]]:
        """(the newest id, (character, packed embedding) of each template behind id `last`), oldest first: O(new)."""
        c = t.templates.c
        query = sa.select(c.id, c.character, c.embedding).where(
            c.scorer_id == scorer_id, c.render_domain == render_domain, c.id > last
        )
        with reading(self.engine) as db:
            rows = db.execute(query.order_by(c.id)).all()
        return (rows[-1].id if rows else last), [(row.character, bytes(row.embedding)) for row in rows]

    # ---- verdicts

    def keep_verdicts(
        self, character: str, scorer_id: str, *, route: str, render_domain: str, verdicts: Sequence[Verdict]
    ) -> None:
        """Remember how pictures were judged. A picture counts once: judged again, it keeps its place."""
        c = t.verdicts.c
        if not verdicts:
            return
        latest = {verdict.image_sha256: verdict for verdict in verdicts}
        where = (c.scorer_id == scorer_id, c.character == character, c.image_sha256.in_(latest))
        same = {"scorer_id": scorer_id, "character": character, "route": route, "render_domain": render_domain}
        with writing(self.engine) as db:
            lock(db, f"verdicts:{character}")
            first = {row.image_sha256: row.at for row in db.execute(sa.select(c.image_sha256, c.at).where(*where))}
            db.execute(sa.delete(t.verdicts).where(*where))
            now = self.clock()
            rows = [{**vars(one), **same, "at": first.get(sha256, now)} for sha256, one in latest.items()]
            db.execute(sa.insert(t.verdicts), rows)

    def verdicts(self, character: str, scorer_id: str, *, route: str, render_domain: str, limit: int) -> list[Verdict]:
        """The newest `limit` verdicts on a character's pictures of one route, newest first."""
        c = t.verdicts.c
        names = (c.image_sha256, c.manifest_sha256, c.verified, c.reason, c.distance)
        query = sa.select(*names).where(
            c.character == character, c.scorer_id == scorer_id, c.route == route, c.render_domain == render_domain
        )
        with reading(self.engine) as db:
            rows = db.execute(query.order_by(c.at.desc(), c.image_sha256).limit(limit))
            return [Verdict(*row) for row in rows]


def _template(row: Any) -> Template:
    packed = {"embedding": tuple(unpack(bytes(row["embedding"]))), "images": tuple(row["images"])}
    return Template(**{**row, **packed})
