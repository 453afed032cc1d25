"""docs/runpod-faults.md is what the fault tests wrote. This file runs after them: its name is the last of theirs."""

import pytest

from tests.contracts import fault_table


def test_every_case_has_its_group() -> None:
    """S1-S14, P1-P20, R1-R22, W1-W7, C1-C12: 75 cases."""
    assert len(fault_table.WANTED) == 75
    assert len(set(fault_table.WANTED)) == 75


def test_table_is_up_to_date() -> None:
    """After a full run each row of the page is what just happened."""
    if missing := fault_table.missing():
        pytest.skip(f"only a full run of the fault tests can tell: {len(missing)} cases were not played")
    assert fault_table.FILE.read_text() == fault_table.rendered(), f"out of date: {fault_table.COMMAND} rewrites it"
