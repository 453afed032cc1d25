"""What is wrong right now, and what there is, asked of the registry in a fixed number of queries however large it is.

Belongs here: read-only questions over all characters at once; `Registry` has these methods. What is an error, and what
to do about it, is `ryla_assets.studio.standing`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from resources.database import reading
from ryla_assets.registry import tables as t
from ryla_assets.registry.records import Standing, StandingState, StoredPicture

_LIVING = sa.not_(t.characters.c.retired)
_URGENCY: Mapping[StandingState, int] = {"refused": 0, "tainted": 1, "not judged": 2}


class StandingRows:
    """A part of the registry, on its engine."""

    engine: sa.Engine

    def unaccepted(
        self, required: Mapping[str, Sequence[str]], *, limit: int
    ) -> tuple[dict[StandingState, int], list[Standing]]:
        """Current manifests that are not the accepted ones: how many in each state; the first with their judgements.

        Refused ones come first, those not judged last. Of characters that are not retired, and assets that need a
        judgement at all (`required`: asset -> claims).
        """
        judged = _unaccepted(required)
        state = sa.case(
            (judged.c.refused > 0, "refused"), (judged.c.claims < judged.c.due, "not judged"), else_="tainted"
        )
        urgency = sa.case(dict(_URGENCY), value=state)
        first = (
            sa.select(judged, state.label("state"))
            .order_by(urgency, judged.c.character, judged.c.asset)
            .limit(limit)
            .subquery()
        )
        g = t.gates.c
        of = sa.and_(g.asset == first.c.asset, g.character == first.c.character, g.manifest_sha256 == first.c.sha256)
        keys = (first.c.state, first.c.asset, first.c.character, first.c.sha256)
        rows = sa.select(*keys, g.claim, g.passed, g.reason).select_from(first.outerjoin(t.gates, of))
        found: dict[tuple[StandingState, str, str, str], dict[str, tuple[bool, str]]] = {}
        with reading(self.engine) as db:
            counts = {row[0]: int(row[1]) for row in db.execute(sa.select(state, sa.func.count()).group_by(state))}
            for *key, claim, passed, reason in db.execute(rows):
                verdicts = found.setdefault((key[0], key[1], key[2], key[3]), {})
                if claim in required[key[1]] and verdicts.get(claim, (True, ""))[0]:
                    verdicts[claim] = (passed, reason)
        order = sorted(found, key=lambda key: (_URGENCY[key[0]], key[2], key[1]))
        return counts, [Standing(*key, found[key]) for key in order]

    def failing(
        self, claims: Mapping[str, Sequence[str]], scorer_id: str, *, limit: int
    ) -> tuple[dict[str, int], list[tuple[str, str, str, str]]]:
        """Claims (asset -> claims) that this scorer says do not hold of current manifests.

        How many of each claim, and the first of them: (claim, asset, character, why).
        """
        h, g, c = t.heads.c, t.gates.c, t.characters.c
        same = sa.and_(g.asset == h.asset, g.character == h.character, g.manifest_sha256 == h.current_sha256)
        where = (_LIVING, sa.not_(g.passed), g.scorer_id == scorer_id, _of(claims))
        joined = t.heads.join(t.gates, same).join(t.characters, h.character == c.id)
        with reading(self.engine) as db:
            count = sa.select(g.claim, sa.func.count()).select_from(joined).where(*where).group_by(g.claim)
            counts = {row[0]: int(row[1]) for row in db.execute(count)}
            query = sa.select(g.claim, g.asset, g.character, g.reason).select_from(joined).where(*where)
            rows = db.execute(query.order_by(g.claim, g.character, g.asset).limit(limit))
            return counts, [(row[0], row[1], row[2], row[3]) for row in rows]

    def stale_sheets(self, *, limit: int) -> tuple[int, list[str]]:
        """Characters whose current sheet was drawn from another base image than the picked one: how many, the first."""
        h, m, r, c = t.heads.c, t.manifests.c, t.requests.c, t.characters.c
        reference = r.body["reference"].as_string()
        joined = (
            t.heads.join(t.manifests, h.current_sha256 == m.sha256)
            .join(t.requests, m.request_id == r.id)
            .join(t.characters, h.character == c.id)
        )
        where = (h.asset == "character_sheet", _LIVING, reference.is_not(None), reference != c.base_image_id)
        with reading(self.engine) as db:
            count = db.execute(sa.select(sa.func.count()).select_from(joined).where(*where)).scalar_one()
            query = sa.select(h.character).select_from(joined).where(*where).order_by(h.character).limit(limit)
            return int(count), list(db.execute(query).scalars())

    def unreviewed(self, *, limit: int) -> tuple[int, list[str]]:
        """Characters whose base image was picked by a policy, reviewed by no person: how many, and the first."""
        s = t.selections.c
        latest = sa.select(sa.func.max(s.id)).group_by(s.character)
        where = (s.id.in_(latest), s.review.is_(None), _LIVING)
        joined = t.selections.join(t.characters)
        with reading(self.engine) as db:
            count = db.execute(sa.select(sa.func.count()).select_from(joined).where(*where)).scalar_one()
            query = sa.select(s.character).select_from(joined).where(*where).order_by(s.character).limit(limit)
            return int(count), list(db.execute(query).scalars())

    def unrated(self, scorer_id: str, *, limit: int) -> tuple[int, list[tuple[str, str]]]:
        """(asset, character) of current manifests whose rating nothing could judge, and nothing has judged since."""
        h, g = t.heads.c, t.gates.c
        same = sa.and_(g.asset == h.asset, g.character == h.character, g.manifest_sha256 == h.current_sha256)
        later = t.gates.alias()
        since = sa.exists().where(
            later.c.asset == h.asset,
            later.c.character == h.character,
            later.c.manifest_sha256 == h.current_sha256,
            later.c.claim == "rating",
            later.c.scorer_id != scorer_id,
        )
        joined = t.heads.join(t.gates, same).join(t.characters, h.character == t.characters.c.id)
        where = (g.claim == "rating", g.scorer_id == scorer_id, g.reason.like("%no classifier%"), ~since, _LIVING)
        with reading(self.engine) as db:
            count = db.execute(sa.select(sa.func.count()).select_from(joined).where(*where)).scalar_one()
            query = sa.select(h.asset, h.character).select_from(joined).where(*where).order_by(h.character, h.asset)
            return int(count), [(row[0], row[1]) for row in db.execute(query.limit(limit))]

    def sample(self, size: int) -> list[StoredPicture]:
        """Any `size` pictures of current manifests, others each time."""
        h, i, c = t.heads.c, t.images.c, t.characters.c
        joined = t.heads.join(t.images, i.manifest_sha256 == h.current_sha256).join(t.characters, h.character == c.id)
        columns = (i.sha256, i.pixels_sha256, h.asset, h.character)
        query = sa.select(*columns).select_from(joined).where(_LIVING, sa.not_(i.rejected))
        with reading(self.engine) as db:
            return [StoredPicture(*row) for row in db.execute(query.order_by(sa.func.random()).limit(size))]

    def picture_counts(self) -> list[dict[str, Any]]:
        """One row an asset: pictures that its manifests name (each once), those in accepted sets, those rejected."""
        i, m, h = t.images.c, t.manifests.c, t.heads.c
        accepted = sa.case((sa.and_(h.accepted_sha256 == m.sha256, sa.not_(i.rejected)), i.sha256))
        rejected = sa.case((i.rejected, i.sha256))
        distinct = [sa.func.count(sa.distinct(what)) for what in (i.sha256, accepted, rejected)]
        head = sa.and_(h.asset == m.asset, h.character == m.character)
        query = (
            sa.select(m.asset, *distinct)
            .select_from(t.images.join(t.manifests).outerjoin(t.heads, head))
            .group_by(m.asset)
            .order_by(m.asset)
        )
        with reading(self.engine) as db:
            names = ("asset", "stored", "accepted", "rejected")
            return [dict(zip(names, row, strict=True)) for row in db.execute(query)]

    def route_counts(self) -> dict[str, int]:
        """Route -> pictures that content requests brought, each once; a request without a plan has no route."""
        i, m, r = t.images.c, t.manifests.c, t.requests.c
        query = (
            sa.select(r.route, sa.func.count(sa.distinct(i.sha256)))
            .select_from(t.images.join(t.manifests).join(t.requests, m.request_id == r.id))
            .where(m.asset == "generated_images", r.route.is_not(None), sa.not_(i.rejected))
            .group_by(r.route)
        )
        with reading(self.engine) as db:
            return {str(row[0]): int(row[1]) for row in db.execute(query.order_by(r.route))}


def _unaccepted(required: Mapping[str, Sequence[str]]) -> sa.Subquery:
    """One row a current manifest that is not accepted: how many of its required claims were judged, how many fail."""
    h, g = t.heads.c, t.gates.c
    judged = sa.and_(
        g.asset == h.asset, g.character == h.character, g.manifest_sha256 == h.current_sha256, _of(required)
    )
    due = {asset: len(claims) for asset, claims in required.items() if claims}
    return (
        sa.select(
            h.asset,
            h.character,
            h.current_sha256.label("sha256"),
            sa.case(due, value=h.asset).label("due"),
            sa.func.count(sa.distinct(g.claim)).label("claims"),
            sa.func.count(sa.case((sa.not_(g.passed), 1))).label("refused"),
        )
        .select_from(t.heads.join(t.characters, h.character == t.characters.c.id).outerjoin(t.gates, judged))
        .where(_LIVING, h.asset.in_(due), sa.or_(h.accepted_sha256.is_(None), h.accepted_sha256 != h.current_sha256))
        .group_by(h.asset, h.character, h.current_sha256)
        .subquery()
    )


def _of(claims: Mapping[str, Sequence[str]]) -> sa.ColumnElement[bool]:
    """Gate rows of these claims (asset -> claims)."""
    g = t.gates.c
    return sa.or_(sa.false(), *(sa.and_(g.asset == asset, g.claim.in_(named)) for asset, named in claims.items()))
