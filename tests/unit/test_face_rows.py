"""What goes wrong with templates and verdicts: rewritten history, missed rows, pictures counted twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import open_engine, reading, writing
from resources.face_index import unpack
from ryla_assets.domain.character import CharacterSpec, parse_character
from ryla_assets.registry import migrate
from ryla_assets.registry.records import Verdict
from ryla_assets.registry.registry import Registry
from tests.conftest import MARA as MARA_CONFIG

MARA, KOFI = "mara-lind", "kofi-mensah"
FIRST, SECOND, THIRD = "a" * 64, "b" * 64, "c" * 64


def spec(who: str) -> CharacterSpec:
    """A character; its description is nobody's business here."""
    return parse_character({"id": who, "config": MARA_CONFIG}, source="the test")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry with two characters."""
    engine = migrate.ready(open_engine(f"sqlite:///{tmp_path / 'ryla.db'}"))
    ticks = itertools.count(1_000_000.0)
    made = Registry(engine, clock=lambda: next(ticks))
    made.add_characters([spec(MARA), spec(KOFI)])
    yield made
    engine.dispose()


def keep(registry: Registry, who: str = MARA, source: str = FIRST, at: float = 0.5, **changes: Any) -> int:
    """A template of one number."""
    told = {"scorer_id": "dlib", "render_domain": "model", "images": ("1" * 64,), **changes}
    return registry.keep_template(who, source_sha256=source, embedding=[at], **told)


def test_templates_keep_their_history(registry: Registry) -> None:
    """Which pictures of which manifest, by which scorer, since when: for the current one and for those before it."""
    assert [keep(registry), keep(registry, source=SECOND, at=0.25, images=("2" * 64, "3" * 64))] == [1, 2]
    first, second = registry.templates(MARA, "dlib")
    assert (first.version, first.source_sha256, first.images, first.embedding) == (1, FIRST, ("1" * 64,), (0.5,))
    assert (second.version, second.images, second.embedding) == (2, ("2" * 64, "3" * 64), (0.25,))
    assert first.at < second.at
    assert registry.templates(MARA, "arcface") == registry.templates(KOFI, "dlib") == []


def test_judging_an_old_set_again_does_not_bring_its_template_back(registry: Registry) -> None:
    """A manifest gives one template, once; the newest manifest's is current."""
    keep(registry)
    keep(registry, source=SECOND)
    assert keep(registry, at=0.75) == 1
    assert [template.embedding for template in registry.templates(MARA, "dlib")] == [(0.5,), (0.5,)]


def test_cursor_reads_new_templates_only(registry: Registry) -> None:
    """Of the same scorer and render domain, oldest first; nothing new leaves the cursor where it was."""
    assert registry.templates_after(0, "dlib", "model") == (0, [])
    keep(registry)
    keep(registry, KOFI, render_domain="preview")
    keep(registry, KOFI, SECOND, scorer_id="arcface")
    last, rows = registry.templates_after(0, "dlib", "model")
    assert [(who, unpack(packed)) for who, packed in rows] == [(MARA, [0.5])]
    keep(registry, KOFI, THIRD, at=0.25)
    newest, rows = registry.templates_after(last, "dlib", "model")
    assert [(who, unpack(packed)) for who, packed in rows] == [(KOFI, [0.25])]
    assert newest > last
    assert registry.templates_after(newest, "dlib", "model") == (newest, [])


def verdict(name: str, *, manifest: str = FIRST, verified: bool = True, distance: float | None = 0.3) -> Verdict:
    """One picture's."""
    return Verdict(name * 64, manifest, verified, "verified" if verified else "distance", distance)


def told(registry: Registry, who: str = MARA, *, limit: int = 10, **changes: str) -> list[Verdict]:
    """What is remembered."""
    where = {"route": "lora", "render_domain": "model", **changes}
    return registry.verdicts(who, "dlib", limit=limit, **where)


def remember(registry: Registry, *verdicts: Verdict, route: str = "lora", scorer: str = "dlib") -> None:
    """Of Mara."""
    registry.keep_verdicts(MARA, scorer, route=route, render_domain="model", verdicts=verdicts)


def test_newest_verdicts_come_first(registry: Registry) -> None:
    """Up to the limit, of that character, route, scorer and domain alone."""
    for name in ("1", "2", "3"):
        remember(registry, verdict(name))
    remember(registry, verdict("4"), route="face_swap")
    remember(registry, verdict("5"), scorer="arcface")
    assert [row.image_sha256[0] for row in told(registry)] == ["3", "2", "1"]
    assert [row.image_sha256[0] for row in told(registry, limit=2)] == ["3", "2"]
    assert told(registry, KOFI) == told(registry, render_domain="preview") == []


def test_picture_judged_again_counts_once_at_its_place(registry: Registry) -> None:
    """The new verdict holds; it does not become the newest picture by that."""
    remember(registry, verdict("1"))
    remember(registry, verdict("2"))
    remember(registry, verdict("1", verified=False, distance=None), verdict("1", verified=False, distance=None))
    assert [(row.image_sha256[0], row.verified) for row in told(registry)] == [("2", True), ("1", False)]
    remember(registry)
    assert len(told(registry)) == 2


def test_templates_of_before_there_was_a_history_are_kept(tmp_path: Path) -> None:
    """The migration turns each into version 1 of its character, and back."""
    from alembic import command
    from alembic.config import Config

    engine = migrate.ready(open_engine(f"sqlite:///{tmp_path / 'old.db'}"))
    registry = Registry(engine)
    registry.add_characters([spec(MARA)])
    keep(registry, at=0.5)
    keep(registry, source=SECOND, at=0.25)

    def to(revision: str, how: Any) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
        with writing(engine) as db:
            config.attributes["connection"] = db
            how(config, revision)

    to("0003", command.downgrade)
    with reading(engine) as db:
        row = db.execute(sa.text("SELECT character, embedding, source_sha256 FROM templates")).all()
    assert row == [(MARA, "[0.25]", SECOND)]
    to("head", command.upgrade)
    [kept] = registry.templates(MARA, "dlib")
    assert (kept.version, kept.embedding, kept.images, kept.source_sha256) == (1, (0.25,), (), SECOND)
    engine.dispose()
