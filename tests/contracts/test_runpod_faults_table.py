"""docs/runpod-faults.md is what the fault tests wrote: each of them holds its rows to it, and this file the whole."""

import re

from tests.contracts import fault_table


def test_every_case_has_its_group() -> None:
    """S1-S14, P1-P20, R1-R22, W1-W7, C1-C12: 75 cases."""
    assert len(fault_table.WANTED) == 75
    assert len(set(fault_table.WANTED)) == 75


def test_page_tells_of_every_case() -> None:
    """In groups and in order; none is left out, and none is there that no test plays."""
    told = re.findall(r"^\| ([SPRWC]\d+)[ (]", fault_table.FILE.read_text(), re.MULTILINE)
    assert list(dict.fromkeys(told)) == fault_table.WANTED
