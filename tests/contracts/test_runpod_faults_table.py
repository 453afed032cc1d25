"""docs/runpod-faults.md is what the fault tests wrote: each of them holds its rows to it, and this file the whole.

That it tells of no row that nobody plays is held by `no_dead_rows` in conftest, after each file of fault tests.
"""

import re
from pathlib import Path

import pytest

from tests.contracts import fault_table
from tests.contracts.fault_table import Row


def test_every_case_has_its_group() -> None:
    """S1-S14, P1-P20, R1-R22, W1-W7, C1-C12: 75 cases."""
    assert len(fault_table.WANTED) == 75
    assert len(set(fault_table.WANTED)) == 75
    assert set(fault_table.PLAYED_IN.values()) == set(fault_table.GROUPS)
    for name in fault_table.PLAYED_IN:
        assert Path(__file__).with_name(f"test_runpod_faults_{name}.py").exists()


def test_page_tells_of_every_case() -> None:
    """In groups and in order; none is left out, and none is there that no test plays."""
    page = fault_table.FILE.read_text()
    assert page.startswith(fault_table.HEAD)
    told = re.findall(r"^\| ([SPRWC]\d+)[ (]", page, re.MULTILINE)
    assert list(dict.fromkeys(told)) == fault_table.WANTED


def test_row_that_nobody_plays_is_dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variant that was dropped from the tests is found in the page, though its case is still played."""
    played = Row("S1", "", "refused", "one job", "")
    dropped = Row("S1", "with an older client", "refused", "two jobs", "")
    other = Row("S10", "", "404", "nothing was sent", "no such endpoint")
    monkeypatch.setattr(fault_table, "ROWS", {("S1", ""): played, ("S1", dropped.variant): dropped, ("S10", ""): other})
    monkeypatch.setattr(fault_table, "FILE", tmp_path / "page.md")
    monkeypatch.setattr(fault_table, "_rewriting", False)
    fault_table.FILE.write_text(fault_table.rendered())
    assert fault_table.dead("S") == []
    del fault_table.ROWS["S1", dropped.variant]
    [line] = fault_table.dead("S")
    assert "with an older client" in line
    assert fault_table.dead("P") == []
