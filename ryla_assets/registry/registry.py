"""The registry: the domain's memory, as a few operations that each are one transaction.

Belongs here: characters, selections, requests with their plans, manifests and which of them is current or accepted,
gate rows, and the event log that sensors read. What is known of faces comes from `face_rows`. Does not belong here:
deciding anything about them (`studio`), and paid work (`resources.gpu.ledger`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from resources.database import lock, reading, writing
from ryla_assets.domain.character import CharacterSpec, WizardConfig
from ryla_assets.domain.errors import Conflict, DuplicateCharacter, UnknownCharacter
from ryla_assets.domain.wrong_values import shown
from ryla_assets.registry import tables as t
from ryla_assets.registry.face_rows import FaceRows
from ryla_assets.registry.records import Character, Event, Gate, Head, Named, Picture, Request, Selection
from ryla_assets.registry.safety_rows import SafetyRows
from ryla_assets.registry.standing_rows import StandingRows


class Registry(FaceRows, SafetyRows, StandingRows):
    """All reads and writes of the domain's tables."""

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.clock = clock

    # ---- characters

    def add_character(self, spec: CharacterSpec, *, auto_select: bool = False) -> Character:
        """Remember a new character, inactive. Raises DuplicateCharacter."""
        return self.add_characters([spec], auto_select=auto_select)[0]

    def add_characters(self, specs: Sequence[CharacterSpec], *, auto_select: bool = False) -> list[Character]:
        """Remember new characters, inactive: all of them, or none. Raises DuplicateCharacter."""
        with writing(self.engine) as db:
            for name in sorted(spec.id for spec in specs):  # two importers take their locks in one order
                lock(db, f"character:{name}")
            for spec in specs:
                self._add_character(db, spec, auto_select=auto_select)
        return [self.character(spec.id) for spec in specs]

    def _add_character(self, db: sa.Connection, spec: CharacterSpec, *, auto_select: bool) -> None:
        if db.execute(sa.select(t.characters.c.id).where(t.characters.c.id == spec.id)).first():
            raise DuplicateCharacter(
                f"a character {spec.id!r} exists already.",
                field="id",
                value=spec.id,
                way_out=f"Choose another id, or look at it: ryla characters show {spec.id}",
            )
        db.execute(
            sa.insert(t.characters).values(
                id=spec.id,
                config=spec.config.model_dump(mode="json"),
                active=False,
                retired=False,
                auto_select=auto_select,
                lora_status="pending",
                created_at=self.clock(),
            )
        )

    def character(self, character: str) -> Character:
        """The character of that id. Raises UnknownCharacter with near misses."""
        with reading(self.engine) as db:
            row = db.execute(sa.select(t.characters).where(t.characters.c.id == character)).mappings().first()
        if row is None:
            raise UnknownCharacter(
                f"there is no character {shown(character)!r}.",
                field="character",
                value=shown(character),
                way_out="ryla characters list shows them; ryla characters add FILE adds one.",
            )
        return _character(row)

    def characters(self, *, active: bool | None = None, lora_status: str | None = None) -> list[Character]:
        """All characters that are not retired (and are active, or of that lora_status), oldest first."""
        query = sa.select(t.characters).where(sa.not_(t.characters.c.retired)).order_by(t.characters.c.created_at)
        if active is not None:
            query = query.where(t.characters.c.active == active)
        if lora_status is not None:
            query = query.where(t.characters.c.lora_status == lora_status)
        with reading(self.engine) as db:
            return [_character(row) for row in db.execute(query).mappings()]

    def activate(self, character: str) -> bool:
        """Let the character spend; True if it was inactive before (then an `activated` event is written)."""
        self.character(character)
        with writing(self.engine) as db:
            changed = db.execute(
                sa.update(t.characters)
                .where(t.characters.c.id == character, sa.not_(t.characters.c.active))
                .values(active=True, retired=False)
            ).rowcount
            if changed:
                self._event(db, "activated", character, 1, {})
        return bool(changed)

    def retire(self, character: str) -> None:
        """Take the character out of every list; its rows, pictures and partition stay."""
        self._update_character(character, active=False, retired=True)

    def set_lora_status(self, character: str, status: str) -> None:
        """Write the product's lora_status."""
        self._update_character(character, lora_status=status)

    # ---- selections

    def select(
        self,
        character: str,
        *,
        option: int,
        take: int,
        image: Mapping[str, str],
        who: str,
        why: str,
        review: str | None = None,
    ) -> Selection:
        """Record a pick; `image` holds sha256, manifest_sha256 and url. Writes a `base_selected` event.

        `review` says what the person who picked has reviewed; None where no person did.
        """
        with writing(self.engine) as db:
            key = db.execute(
                sa.insert(t.selections)
                .values(
                    character=character,
                    take=take,
                    option=option,
                    image_sha256=image["sha256"],
                    manifest_sha256=image["manifest_sha256"],
                    who=who,
                    why=why,
                    at=self.clock(),
                    review=review,
                )
                .returning(t.selections.c.id)
            ).scalar_one()
            db.execute(
                sa.update(t.characters)
                .where(t.characters.c.id == character)
                .values(base_image_id=image["sha256"], base_image_url=image["url"])
            )
            detail = {"option": option, "who": who, "reviewed": review}
            self._event(db, "base_selected", character, key, detail)
        found = self.selection(character)
        if found is None:
            raise Conflict(f"the selection for {character} vanished while it was written.", way_out="Select again.")
        return found

    def selection(self, character: str) -> Selection | None:
        """The latest pick, or None."""
        query = sa.select(t.selections).where(t.selections.c.character == character).order_by(t.selections.c.id.desc())
        with reading(self.engine) as db:
            row = db.execute(query.limit(1)).mappings().first()
        return Selection(**row) if row else None

    def selections(self, character: str, image_sha256: str) -> list[Selection]:
        """Every time that this very picture was picked, oldest first."""
        c = t.selections.c
        query = sa.select(t.selections).where(c.character == character, c.image_sha256 == image_sha256).order_by(c.id)
        with reading(self.engine) as db:
            return [Selection(**row) for row in db.execute(query).mappings()]

    # ---- requests and plans

    def request(self, request_id: str) -> Request | None:
        """The request of that id, or None."""
        with reading(self.engine) as db:
            row = db.execute(sa.select(t.requests).where(t.requests.c.id == request_id)).mappings().first()
        return _request(row) if row else None

    def open_request(
        self, request_id: str, *, character: str, stage: str, take: int, body: dict[str, Any], event: str | None = None
    ) -> Request:
        """The request of that id, written on first sight (with `event`, if given); its body never changes after."""
        with writing(self.engine) as db:
            lock(db, f"request:{request_id}")
            if not db.execute(sa.select(t.requests.c.id).where(t.requests.c.id == request_id)).first():
                db.execute(
                    sa.insert(t.requests).values(
                        id=request_id, character=character, stage=stage, take=take, body=body, state="pending",
                        created_at=self.clock(),
                    )
                )  # fmt: skip
                if event:
                    self._event(db, event, character, take, {"request": request_id})
            row = db.execute(sa.select(t.requests).where(t.requests.c.id == request_id)).mappings().one()
        return _request(row)

    def open_take(
        self,
        character: str,
        stage: str,
        body: dict[str, Any],
        *,
        reuse: Literal["same", "same_asker", "never"],
        name: str | None = None,
        event: str | None = None,
    ) -> Request:
        """The stage's latest take if it holds for `body`, else the next one: decided in one transaction.

        `same`: a take that asked for the same holds, whoever asked (`asked_by` is not part of the wish). `same_asker`:
        only if the same caller asked. `never`: this is a wish of its own. A `name` makes asking idempotent: the request
        of that name holds, whatever it asks for.
        """
        where = (t.requests.c.character == character, t.requests.c.stage == stage)
        with writing(self.engine) as db:
            lock(db, f"takes:{character}:{stage}")
            named = t.requests.c.id == f"{character}/{stage}/{name}"
            if name and (row := db.execute(sa.select(t.requests).where(named)).mappings().first()):
                return _request(row)
            query = sa.select(t.requests).where(*where).order_by(t.requests.c.take.desc()).limit(1)
            latest = db.execute(query).mappings().first()
            if latest is not None and reuse != "never" and _wish(latest["body"]) == _wish(body):
                same_asker = latest["body"].get("asked_by") == body.get("asked_by")
                if same_asker or reuse == "same":
                    return _request(latest)
            take = (latest["take"] if latest is not None else 0) + 1
            request_id = f"{character}/{stage}/{name or take}"
            values = {"character": character, "stage": stage, "take": take, "body": body, "created_at": self.clock()}
            db.execute(sa.insert(t.requests).values(id=request_id, state="pending", **values))
            if event:
                self._event(db, event, character, take, {"request": request_id})
            made = db.execute(sa.select(t.requests).where(t.requests.c.id == request_id)).mappings().one()
        return _request(made)

    def plan(self, request_id: str, jobs: list[dict[str, Any]], *, route: str | None = None) -> list[dict[str, Any]]:
        """Write a request's plan if it has none; returns the plan that holds. Two planners get the same answer."""
        with writing(self.engine) as db:
            db.execute(
                sa.update(t.requests)
                .where(t.requests.c.id == request_id, t.requests.c.plan.is_(None))
                .values(plan=jobs, route=route, state="planned")
            )
            plan: list[dict[str, Any]] = db.execute(
                sa.select(t.requests.c.plan).where(t.requests.c.id == request_id)
            ).scalar_one()
        return plan

    def finish_request(self, request_id: str, state: str) -> None:
        """Mark a request `done` or `refused`."""
        with writing(self.engine) as db:
            db.execute(sa.update(t.requests).where(t.requests.c.id == request_id).values(state=state))

    def requests(self, character: str, stage: str, *, states: Sequence[str] = ()) -> list[Request]:
        """The character's requests of a stage, oldest first."""
        query = sa.select(t.requests).where(t.requests.c.character == character, t.requests.c.stage == stage)
        if states:
            query = query.where(t.requests.c.state.in_(states))
        with reading(self.engine) as db:
            rows = db.execute(query.order_by(t.requests.c.take, t.requests.c.created_at)).mappings()
            return [_request(row) for row in rows]

    def latest_take(self, character: str, stage: str) -> int:
        """The highest take that a stage was asked for; 0 if it never was."""
        query = sa.select(sa.func.coalesce(sa.func.max(t.requests.c.take), 0))
        with reading(self.engine) as db:
            where = (t.requests.c.character == character, t.requests.c.stage == stage)
            return int(db.execute(query.where(*where)).scalar_one())

    # ---- manifests, heads, gates

    def publish(
        self,
        *,
        sha256: str,
        asset: str,
        character: str,
        take: int,
        request_id: str,
        in_order: bool = True,
        pictures: Iterable[Picture] = (),
    ) -> Head:
        """Make a manifest the current one of its asset. An older take never replaces a newer one (Conflict).

        Not `in_order`: takes answer requests of their own, in any order, and the one made last is current. Its
        `pictures` are found by `named` from then on.
        """
        now = self.clock()
        where = (t.heads.c.asset == asset, t.heads.c.character == character)
        with writing(self.engine) as db:
            lock(db, f"head:{asset}:{character}")
            if not db.execute(sa.select(t.manifests.c.take).where(t.manifests.c.sha256 == sha256)).first():
                db.execute(
                    sa.insert(t.manifests).values(
                        sha256=sha256, asset=asset, character=character, take=take, request_id=request_id, at=now
                    )
                )
                _index(db, sha256, pictures)
            head = db.execute(sa.select(t.heads).where(*where)).mappings().first()
            if head is None:
                values = {"take": take, "current_sha256": sha256, "version": 1}
                db.execute(sa.insert(t.heads).values(asset=asset, character=character, **values))
            elif in_order and head["take"] > take:
                raise Conflict(
                    f"take {head['take']} of {asset} for {character} is newer than take {take}.",
                    way_out="Materialize again to work on the newest take.",
                )
            elif head["current_sha256"] != sha256:
                changed = db.execute(
                    sa.update(t.heads)
                    .where(*where, t.heads.c.version == head["version"])
                    .values(take=take, current_sha256=sha256, version=head["version"] + 1)
                ).rowcount
                if not changed:
                    raise Conflict(f"{asset} of {character} was moved by another run.", way_out="Run it again.")
        found = self.head(asset, character)
        if found is None:
            raise Conflict(f"{asset} of {character} vanished while it was written.", way_out="Run it again.")
        return found

    def head(self, asset: str, character: str) -> Head | None:
        """Current and accepted manifest of an asset, or None if it never was made."""
        query = sa.select(t.heads.c.take, t.heads.c.current_sha256, t.heads.c.accepted_sha256, t.heads.c.version)
        with reading(self.engine) as db:
            row = db.execute(query.where(t.heads.c.asset == asset, t.heads.c.character == character)).first()
        return Head(*row) if row else None

    def manifests(self, asset: str, character: str) -> list[str]:
        """Every manifest ever published for it, oldest first: old takes stay."""
        query = sa.select(t.manifests.c.sha256).where(
            t.manifests.c.asset == asset, t.manifests.c.character == character
        )
        with reading(self.engine) as db:
            return list(db.execute(query.order_by(t.manifests.c.at)).scalars())

    def unindexed(self, assets: Sequence[str]) -> list[str]:
        """Manifests of these assets of which no picture is known to `named`."""
        known = sa.exists().where(t.images.c.manifest_sha256 == t.manifests.c.sha256)
        query = sa.select(t.manifests.c.sha256).where(t.manifests.c.asset.in_(assets), sa.not_(known))
        with reading(self.engine) as db:
            return list(db.execute(query).scalars())

    def index(self, manifest_sha256: str, pictures: Iterable[Picture]) -> None:
        """Let `named` find the pictures of a published manifest that it does not know yet."""
        with writing(self.engine) as db:
            lock(db, f"images:{manifest_sha256}")
            db.execute(sa.delete(t.images).where(t.images.c.manifest_sha256 == manifest_sha256))
            _index(db, manifest_sha256, pictures)

    def named(self, *, sha256: str = "", pixels_sha256: str = "") -> list[Named]:
        """The manifests that name a picture of these bytes or, without `sha256`, of these pixels; oldest first."""
        where = t.images.c.sha256 == sha256 if sha256 else t.images.c.pixels_sha256 == pixels_sha256
        columns = (t.manifests.c.sha256, t.manifests.c.asset, t.manifests.c.character, t.manifests.c.take)
        picture = (t.images.c.sha256, t.images.c.pixels_sha256, t.images.c.rejected)
        query = sa.select(*columns, *picture).select_from(t.images.join(t.manifests))
        with reading(self.engine) as db:
            rows = db.execute(query.where(where).order_by(t.manifests.c.at, t.manifests.c.sha256))
            return [Named(*row[:4], Picture(*row[4:])) for row in rows]

    def begun(self, sha256: str) -> list[str]:
        """The stored pictures whose sha256 begins so, two at most; those that a manifest names."""
        c = t.images.c.sha256
        query = sa.select(c).distinct().where(c >= sha256, c <= sha256 + "g").order_by(c).limit(2)  # g: after any hex
        with reading(self.engine) as db:
            return list(db.execute(query).scalars())

    def judge(
        self,
        asset: str,
        character: str,
        manifest_sha256: str,
        gate: Gate,
        *,
        required: Iterable[str],
        tainted: bool = False,
    ) -> bool:
        """Write one judgement; if the current manifest now has all its required claims, it becomes the accepted one.

        A failed claim takes the acceptance of that same manifest away; a tainted one (made from something refused)
        never gets it. Returns True if the manifest stands accepted.
        An `ASSET:accepted` or `ASSET:refused` event is written when that changes.
        """
        key = {"asset": asset, "character": character, "manifest_sha256": manifest_sha256}
        where = (t.heads.c.asset == asset, t.heads.c.character == character)
        with writing(self.engine) as db:
            lock(db, f"head:{asset}:{character}")  # two checks at once must each see the other's row
            same = [t.gates.c[k] == v for k, v in {**key, "claim": gate.claim, "scorer_id": gate.scorer_id}.items()]
            before = db.execute(sa.select(t.gates.c.passed).where(*same)).scalar_one_or_none()
            db.execute(sa.delete(t.gates).where(*same))
            db.execute(
                sa.insert(t.gates).values(
                    **key, claim=gate.claim, scorer_id=gate.scorer_id, passed=gate.passed, reason=gate.reason,
                    numbers=gate.numbers, at=self.clock(),
                )
            )  # fmt: skip
            head = db.execute(sa.select(t.heads).where(*where)).mappings().first()
            if head is None or head["current_sha256"] != manifest_sha256:
                return False
            verdicts = _verdicts(db, key)
            accepted = not tainted and all(verdicts.get(claim) for claim in required)
            was = head["accepted_sha256"] == manifest_sha256
            if accepted and not was:
                db.execute(sa.update(t.heads).where(*where).values(accepted_sha256=manifest_sha256))
                self._event(db, f"{asset}:accepted", character, head["take"], {"manifest": manifest_sha256})
            elif not accepted and was:
                db.execute(sa.update(t.heads).where(*where).values(accepted_sha256=None))
            if not gate.passed and gate.claim in required and before is not False:
                self._event(db, f"{asset}:refused", character, head["take"], {"claim": gate.claim, "why": gate.reason})
        return accepted

    def gates(self, asset: str, character: str, manifest_sha256: str) -> list[Gate]:
        """All judgements of one manifest."""
        c = t.gates.c
        query = sa.select(c.claim, c.passed, c.reason, c.numbers, c.scorer_id).where(
            c.asset == asset, c.character == character, c.manifest_sha256 == manifest_sha256
        )
        with reading(self.engine) as db:
            return [Gate(*row) for row in db.execute(query.order_by(c.claim))]

    def signed_since(self) -> float | None:
        """When a set with signed pictures was first judged; None where none ever was."""
        c = t.gates.c
        query = sa.select(sa.func.min(c.at)).where(c.claim == "provenance", c.numbers["signed"].as_integer() > 0)
        with reading(self.engine) as db:
            found: float | None = db.execute(query).scalar_one_or_none()
        return found

    # ---- events

    def emit(self, kind: str, character: str, attempt: int, detail: dict[str, Any] | None = None) -> None:
        """Write an event for the sensors."""
        with writing(self.engine) as db:
            self._event(db, kind, character, attempt, detail or {})

    def events(self, after: int, kinds: Sequence[str], *, limit: int) -> list[Event]:
        """Up to `limit` events of these kinds behind the cursor `after`: O(new), whatever the registry holds."""
        c = t.events.c
        query = sa.select(c.id, c.kind, c.character, c.attempt, c.detail).where(c.id > after, c.kind.in_(kinds))
        with reading(self.engine) as db:
            return [Event(*row) for row in db.execute(query.order_by(c.id).limit(limit))]

    def _event(self, db: sa.Connection, kind: str, character: str, attempt: int, detail: dict[str, Any]) -> None:
        values = {"kind": kind, "character": character, "attempt": attempt, "detail": detail, "at": self.clock()}
        db.execute(sa.insert(t.events).values(**values))

    def _update_character(self, character: str, **values: object) -> None:
        self.character(character)
        with writing(self.engine) as db:
            db.execute(sa.update(t.characters).where(t.characters.c.id == character).values(**values))


def _index(db: sa.Connection, manifest_sha256: str, pictures: Iterable[Picture]) -> None:
    rows = {picture.sha256: picture for picture in sorted(pictures, key=lambda one: not one.rejected)}  # accepted last
    if rows:
        values = [{"manifest_sha256": manifest_sha256, **vars(picture)} for picture in rows.values()]
        db.execute(sa.insert(t.images), values)


def _verdicts(db: sa.Connection, key: Mapping[str, str]) -> dict[str, bool]:
    where = [t.gates.c[name] == value for name, value in key.items()]
    verdicts: dict[str, bool] = {}
    for claim, passed in db.execute(sa.select(t.gates.c.claim, t.gates.c.passed).where(*where)):
        verdicts[claim] = verdicts.get(claim, True) and passed
    return verdicts


def _wish(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "asked_by"}


def _character(row: Any) -> Character:
    return Character(**{**row, "config": WizardConfig.model_validate(row["config"], context={"stored": True})})


def _request(row: Any) -> Request:
    return Request(**{name: row[name] for name in Request.__dataclass_fields__})
