"""The table of all faults, docs/runpod-faults.md: written by the run of the fault tests, and held to it.

Belongs here: rows, their order, and words that are the same in every run (no times, ports, ids). What happens in a case
is the tests'. `python -m tests.contracts.fault_table` runs them and rewrites the file.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "runpod-faults.md"
COMMAND = "python -m tests.contracts.fault_table"
GROUPS = {
    "S": "Submission",
    "P": "Waiting and polling",
    "R": "Results",
    "W": "Webhooks",
    "C": "Control plane and pods",
}
PLAYED_IN = {"submit": "S", "poll": "P", "results": "R", "hooks": "W", "control": "C"}  # test_runpod_faults_NAME.py
COUNTS = {"S": 14, "P": 20, "R": 22, "W": 7, "C": 12}
WANTED = [f"{group}{number}" for group, count in COUNTS.items() for number in range(1, count + 1)]
HEAD = f"""# What happens when RunPod misbehaves

Written by the run of the fault tests: `{COMMAND}` rewrites it, and
`tests/contracts/test_runpod_faults_table.py` holds it to them. Each row is a real run: the runner, the ledger and the
RunPod backend against a fake RunPod over HTTP with one fault installed. "What happened" is what the fake took on, how
each attempt ended in the ledger, and how many results were accepted; "What the user reads" is the error of the run, or
what the ledger keeps of an attempt that was made good by another one. N stands for numbers of seconds and dollars, JOB,
ATTEMPT, WORKER and POD for ids. Unless a row says otherwise the worker is ours in S, P, W and C, worker-comfyui in R.

After every row was checked: every job that RunPod took is an attempt in the ledger, and is over; nothing runs on; the
money booked is at least RunPod's bill; no key, token or signed address is in a log, an error or the ledger.
"""
_WORDS: tuple[tuple[str, str], ...] = (
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-u1\b", "JOB"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ATTEMPT"),
    (r"\b[0-9a-f]{64}\b", "FINGERPRINT"),
    (r"\b[0-9a-f]{12}\.\.\.", "HASH..."),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"\$\d+\.\d+", "$N"),
    (r"\b\d+(\.\d+)? s\b", "N s"),
    (r"\b\d+ bytes\b", "N bytes"),
    (r"0x[0-9a-f]+", "0xN"),
)


@dataclass(frozen=True)
class Row:
    """One case as it was played; `variant` tells apart those that were played more than once."""

    case: str
    variant: str
    injected: str
    happened: str
    reads: str


ROWS: dict[tuple[str, str], Row] = {}
_rewriting = False


def record(row: Row) -> None:
    """Hold a row to the page, or keep it for a new one. Raises ValueError for one that was told already, or no case."""
    if row.case not in WANTED or (row.case, row.variant) in ROWS:
        raise ValueError(f"{row.case} {row.variant!r} is no new row")
    ROWS[row.case, row.variant] = row
    if not _rewriting:
        assert _line(row) in FILE.read_text().splitlines(), f"not in the page, {COMMAND} rewrites it: {_line(row)}"


def missing() -> list[str]:
    """Cases without a row."""
    told = {case for case, _ in ROWS}
    return [case for case in WANTED if case not in told]


def dead(group: str) -> list[str]:
    """Lines of the page on cases of that group which no test told in this process; none while it is being rewritten."""
    if _rewriting:
        return []
    told = {_line(row) for row in ROWS.values()}
    lines = [line for line in FILE.read_text().splitlines() if re.match(rf"\| {group}\d", line)]
    return [line for line in lines if line not in told]


def rendered() -> str:
    """The whole page."""
    parts = [HEAD]
    rows = sorted(ROWS.values(), key=lambda row: (WANTED.index(row.case), row.variant))
    for group, title in GROUPS.items():
        lines = [_line(row) for row in rows if row.case.startswith(group)]
        parts.append(
            f"\n## {title}\n\n| case | injected | what happened | what the user reads |\n| --- | --- | --- | --- |\n"
            + "\n".join(lines)
            + "\n"
        )
    return "".join(parts)


def _line(row: Row) -> str:
    case = f"{row.case} ({row.variant})" if row.variant else row.case
    cells = [case, row.injected, row.happened, row.reads or "nothing: it went well"]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Run the fault tests and rewrite the page; the exit status is theirs."""
    import pytest

    global _rewriting  # noqa: PLW0603  this process does nothing else
    _rewriting = True
    tests = sorted(str(path) for path in Path(__file__).parent.glob("test_runpod_faults_*.py"))
    status = int(pytest.main(["-q", "-n", "0", *tests]))
    if status or missing():
        sys.stderr.write(f"{FILE} was not written: without a row are {', '.join(missing()) or 'none'}.\n")
        return status or 1
    FILE.write_text(rendered())
    return 0


if __name__ == "__main__":
    sys.modules["tests.contracts.fault_table"] = sys.modules["__main__"]  # the tests write into these ROWS
    sys.exit(main())
