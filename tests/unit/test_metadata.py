"""What goes wrong with metadata: keys that drift, numbers that do not plot, a dictionary nobody updates."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ryla_assets.checks.judged import check_metadata
from ryla_assets.domain.identity import consistency, verify
from ryla_assets.metadata import KEYS, as_markdown, entries, table
from ryla_assets.studio.judgement import Judgement
from ryla_assets.studio.likeness import _identity_numbers

ROOT = Path(__file__).resolve().parents[2]
TYPES: dict[str, type[dg.MetadataValue[Any]]] = {
    "md": dg.MarkdownMetadataValue,
    "url": dg.UrlMetadataValue,
    "json": dg.JsonMetadataValue,
    "int": dg.IntMetadataValue,
    "float": dg.FloatMetadataValue,
    "bool": dg.BoolMetadataValue,
    "text": dg.TextMetadataValue,
    "table": dg.TableMetadataValue,
}
UNITS = {"", "s", "USD", "count", "0..1", "L2", "variance"}


def test_dictionary_is_up_to_date() -> None:
    """docs/metadata.md is the table in code; regenerate it: python -m ryla_assets.metadata > docs/metadata.md"""
    assert (ROOT / "docs" / "metadata.md").read_text() == as_markdown()


@pytest.mark.parametrize("name", KEYS)
def test_key_is_explained(name: str) -> None:
    """A stable lower-case name, a known type, a known unit, one line of meaning; floats always have a unit."""
    key = KEYS[name]
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert key.type in TYPES
    assert key.unit in UNITS
    assert key.unit if key.type == "float" else True
    assert key.meaning
    assert not re.search(r"[|\n]", key.meaning), "it is a cell of a markdown table"


@pytest.mark.parametrize("name", KEYS)
def test_value_has_the_type_that_the_dictionary_says(name: str) -> None:
    """Dagster draws numbers over time only if the type never changes."""
    kind = KEYS[name].type
    value = table([{"a": 1}]) if kind == "table" else {"json": [1], "md": "|", "url": "https://x"}.get(kind, 1)
    assert isinstance(entries({name: value})[name], TYPES[kind])


def test_whole_number_of_a_float_key_stays_a_float() -> None:
    """A cost of 0 and one of 0.25 are points of one plot."""
    assert isinstance(entries({"cost_usd": 0})["cost_usd"], dg.FloatMetadataValue)


def test_unknown_key_is_refused() -> None:
    """A typo would be a new column in an analyst's table."""
    with pytest.raises(KeyError, match="identity_maen"):
        entries({"identity_mean": 0.2, "identity_maen": 0.2})


def test_none_is_left_out() -> None:
    """What was not measured is absent, never a zero."""
    assert list(entries({"identity_margin": None, "identity_mean": 0.2})) == ["identity_mean"]


def test_every_number_of_the_identity_judgement_is_in_the_dictionary() -> None:
    """With a face and without: both judgements can be shown."""
    seen = verify("a", domain="preview", template_domain="preview", faces=1, face_px=90, distance=0.2)
    unseen = verify("a", domain="preview", template_domain="preview")
    for score in (seen, unseen):
        verdict = consistency([score], gate=0.9, scorer_id="dlib")
        judgement = Judgement(
            "character_sheet", "mara-lind", "0" * 64, "identity", verdict.passed, "told", _identity_numbers(verdict)
        )
        assert check_metadata(judgement)["identity_gate"] == dg.FloatMetadataValue(0.9)


def test_judgement_without_pictures_has_no_table() -> None:
    """An empty table is an error in Dagster's schema, so it is left out."""
    shown = check_metadata(Judgement("lora_dataset", "mara-lind", "0" * 64, "dataset", True, "told"))
    assert "per_image" not in shown
    assert "scorer" not in shown


def test_preview_s_timing_is_marked() -> None:
    """A time that was measured on a preview carries `evidence: false`; other claims carry no such word."""
    common = ("character_sheet", "mara-lind", "0" * 64)
    timed = check_metadata(Judgement(*common, "timing", True, "told", evidence=False))
    assert timed["evidence"] == dg.BoolMetadataValue(False)
    assert "evidence" not in check_metadata(Judgement(*common, "integrity", True, "told"))


def test_table_column_keeps_its_type_around_a_gap() -> None:
    """A picture without a face has no distance; the column is still one of numbers."""
    found = table(
        [
            {"name": "a", "distance": None, "faces": 0, "ok": False},
            {"name": "b", "distance": 0.123456, "faces": 1, "ok": True},
        ]
    )
    assert found is not None
    assert [column.type for column in found.schema.columns] == ["string", "float", "int", "bool"]
    assert found.records[1].data["distance"] == 0.1235


def test_table_of_nothing_is_none() -> None:
    """No rows, no table."""
    assert table([]) is None
