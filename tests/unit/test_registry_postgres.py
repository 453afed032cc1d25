"""The registry on a real Postgres: the same migrations, the same life of a character, two checks at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ryla_assets.domain.errors import DuplicateCharacter
from ryla_assets.registry.records import Character, Gate
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio
from tests.postgres import fresh_database

WHO = "mara-lind"


def test_a_character_lives_on_postgres_as_on_sqlite(
    postgres: str, tmp_path: Path, make_character: Callable[..., Character]
) -> None:
    """Migrate, add, select, plan once, publish, and be judged by two checks in the same moment."""
    from ryla_assets.build import build_studio

    studio = build_studio(Settings(home=tmp_path, database_url=fresh_database(postgres, "registry")))
    try:
        make_character(studio, WHO)
        with pytest.raises(DuplicateCharacter):
            make_character(studio, WHO)
        _select_and_plan(studio)
        registry, sha256 = studio.registry, "a" * 64
        registry.publish(sha256=sha256, asset="base_images", character=WHO, take=1, request_id=f"{WHO}/base_images/1")
        required = REQUIRED_CLAIMS["base_images"]

        def judge(claim: str) -> bool:
            gate = Gate(claim, passed=True, reason="", numbers={}, scorer_id="bytes")
            return registry.judge("base_images", WHO, sha256, gate, required=required)

        with ThreadPoolExecutor(len(required)) as pool:
            verdicts = list(pool.map(judge, required))
        assert verdicts.count(True) == 1, "whoever came last saw the other's row"
        head = registry.head("base_images", WHO)
        assert head is not None
        assert head.accepted_sha256 == sha256
        kinds = [
            event.kind for event in registry.events(0, ("activated", "base_selected", "base_images:accepted"), limit=9)
        ]
        assert kinds == ["activated", "base_selected", "base_images:accepted"]
        _stands(studio)
    finally:
        studio.registry.engine.dispose()


def _select_and_plan(studio: Studio) -> None:
    picture = {"sha256": "b" * 64, "manifest_sha256": "c" * 64, "url": "file:///b"}
    made = studio.registry.select(WHO, option=2, take=1, image=picture, who="test", why="because")
    assert studio.registry.character(WHO).base_image_id == made.image_sha256
    body = {"reference": made.image_sha256}
    asked = studio.registry.open_request(f"{WHO}/sheet/1", character=WHO, stage="sheet", take=1, body=body)
    first = studio.registry.plan(asked.id, [{"job": 1}])
    assert studio.registry.plan(asked.id, [{"job": 2}]) == first == [{"job": 1}]


def _stands(studio: Studio) -> None:
    """A refused sheet with a face that another character has: what is wrong now is asked in SQL."""
    registry, key = studio.registry, ("character_sheet", WHO, "d" * 64)
    registry.publish(sha256=key[2], asset=key[0], character=WHO, take=1, request_id=f"{WHO}/sheet/1")
    for claim in ("identity", "distinct"):
        gate = Gate(claim, passed=False, reason="no", numbers={}, scorer_id="s")
        registry.judge(*key, gate, required=REQUIRED_CLAIMS[key[0]])
    counts, [standing] = registry.unaccepted(REQUIRED_CLAIMS, limit=5)
    assert (counts, standing.state, standing.verdicts) == ({"refused": 1}, "refused", {"identity": (False, "no")})
    failing = registry.failing({key[0]: ["distinct"]}, "s", limit=5)
    assert failing == ({"distinct": 1}, [("distinct", key[0], WHO, "no")])
    assert registry.stale_sheets(limit=5) == (0, [])
