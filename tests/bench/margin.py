"""How long the nearest other character is looked for among 10,000."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import sqlalchemy as sa

from resources.database import open_engine, writing
from ryla_assets.registry import migrate, tables
from ryla_assets.registry.registry import Registry
from ryla_assets.studio.neighbours import nearest
from ryla_assets.studio.studio import Studio
from tests.bench.row import Row, median

COUNT = 10_000
FACES = 8  # of the set whose margin is asked


def margin() -> Iterator[Row]:
    """By the whole way through the registry: the first question of a process, a later one, and after one new face."""
    rng = np.random.default_rng(3)
    faces = rng.normal(0.0, 0.1, (COUNT, 128)).astype("<f4")
    asked = (faces[77] + rng.normal(0.0, 0.01, (FACES, 128))).tolist()
    with tempfile.TemporaryDirectory() as folder:
        registry = _registry(Path(folder), faces)
        studio = cast(Studio, SimpleNamespace(registry=registry, scorer=SimpleNamespace(scorer_id="bench")))
        first = _milliseconds(lambda: nearest(studio, "who-0", "model", asked))
        later = median([_milliseconds(lambda: nearest(studio, "who-0", "model", asked)) for _ in range(15)])
        grown = median([_milliseconds(lambda n=n: _after_one_more(studio, n, asked)) for n in range(5)])
        registry.engine.dispose()
    what = f"nearest of {COUNT:,} other characters, for a set of {FACES} faces"
    yield Row(what, later, "ms", 10.0, "limit", 1)
    yield Row(f"{what}: after one new template, its writing included", grown, "ms")
    yield Row(f"{what}: first question of a process, reading all templates", first, "ms")


def _after_one_more(studio: Studio, number: int, asked: list[list[float]]) -> Any:
    studio.registry.keep_template(
        "who-1", "bench", render_domain="model", embedding=asked[0], source_sha256=f"{number:064x}"
    )
    return nearest(studio, "who-0", "model", asked)


def _registry(folder: Path, faces: Any) -> Registry:
    engine = migrate.ready(open_engine(f"sqlite:///{folder / 'ryla.db'}"))
    who = [f"who-{n}" for n in range(len(faces))]
    character = {"config": {}, "active": False, "retired": False, "auto_select": False, "lora_status": "pending"}
    template = {"version": 1, "scorer_id": "bench", "render_domain": "model", "images": [], "at": 0.0}
    with writing(engine) as db:
        db.execute(sa.insert(tables.characters), [{**character, "id": one, "created_at": 0.0} for one in who])
        rows = [
            {**template, "character": one, "embedding": face.tobytes(), "source_sha256": "0" * 64}
            for one, face in zip(who, faces, strict=True)
        ]
        db.execute(sa.insert(tables.templates), rows)
    return Registry(engine)


def _milliseconds(ask: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000
