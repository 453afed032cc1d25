"""What `python -m tests.chaos` does: seeds over some lanes, a line for each that fails, a table at the end.

Belongs here: the command line and the order of work. A seed is harness' business, the table report's, processes lanes'.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos import dilation, lanes
from tests.chaos.broken import BROKEN
from tests.chaos.evidence import Verdict
from tests.chaos.harness import MEMORY, run_seed
from tests.chaos.plan import plan_of
from tests.chaos.report import Table, written
from tests.chaos.servers import Servers, started
from tests.chaos.warm import warm_up

BUG_SEEDS = 16
TELL_S = 15.0  # real seconds between two words on how far it is
INTERRUPTED = 130  # exit status, as a shell gives it


def command(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 where every seed kept the promise. Interrupted, it still writes what it has."""
    asked = _parser().parse_args(arguments)
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.seeds))
    table = Table(first=seeds[0], wanted=len(seeds))
    with _folder(kept=asked.seed is not None) as folder, lanes.interruptible():
        postgres = not asked.no_postgres and any(plan_of(seed).postgres for seed in seeds)
        with started(folder, postgres=postgres) as servers:
            warm_up(servers)
            try:
                _run(asked, seeds, servers, table)
            except KeyboardInterrupt:
                table.interrupted = True
                _say(f"interrupted: --first {table.first + table.seeds} goes on where this ended")
    if asked.report:
        asked.report.write_text(written(table))
    if asked.json:
        asked.json.write_text(json.dumps(vars(table)))
    _say(table.line())
    if table.interrupted:
        return INTERRUPTED
    return 1 if table.failed or None in table.caught.values() else 0


def _run(asked: argparse.Namespace, seeds: Sequence[int], servers: Servers, table: Table) -> None:
    """All seeds, then all bugs; the table holds what was done, at any time."""
    begun = told = dilation.real()
    one = partial(run_seed, servers=servers, broken=asked.broken, keep=asked.seed is not None)
    with contextlib.closing(lanes.each(one, seeds, asked.lanes)) as verdicts:
        for verdict in verdicts:
            table.add(verdict)
            table.wall_s = dilation.real() - begun
            _tell(verdict, verbose=asked.verbose)
            if dilation.real() - told >= TELL_S:
                told = dilation.real()
                _say(table.progress())
            if asked.stop and verdict.problems:
                return
    if asked.bugs:
        begun = dilation.real()
        found = partial(_caught_at, servers=servers)
        with contextlib.closing(lanes.each(found, sorted(BROKEN), asked.lanes)) as caught:
            for name, seeds_taken, breach in caught:
                table.caught[name] = seeds_taken
                _say(f"bug {name}: {breach}")
        table.bugs_wall_s = dilation.real() - begun


def _caught_at(bug: str, servers: Servers) -> tuple[str, int | None, str]:
    """(bug, how many seeds that aim where it shows it takes until one fails, what failed); None: it is not caught."""
    for number, seed in enumerate(itertools.islice(BROKEN[bug].seeds(), BUG_SEEDS)):
        verdict = run_seed(seed, servers=servers, broken=bug)
        breach = next((problem for problem in verdict.problems if not problem.startswith("harness")), "")
        if breach:
            return bug, number + 1, f"caught by seed {verdict.seed}: {breach}"
    return bug, None, f"NOT caught in {BUG_SEEDS} seeds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Kill the runner, and look what is left."
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this seed alone; its files are kept")
    parser.add_argument("--lanes", type=int, default=lanes.LANES, help=f"seeds at a time ({lanes.LANES})")
    parser.add_argument("--broken", choices=sorted(BROKEN), default="", help="put this bug into every killed process")
    parser.add_argument("--bugs", action="store_true", help="afterwards: each bug must be caught within 16 seeds")
    parser.add_argument("--stop", action="store_true", help="end with the first seed that fails")
    parser.add_argument("--no-postgres", action="store_true", help="every ledger in SQLite")
    parser.add_argument("--report", type=Path, help="write the chaos table there")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every seed")
    return parser


@contextmanager
def _folder(*, kept: bool) -> Iterator[Path]:
    """The one folder under which everything of this command lies, in memory where there is one; gone afterwards."""
    place = MEMORY if MEMORY.is_dir() else None
    if kept:
        yield Path(tempfile.mkdtemp(prefix="chaos-", dir=place))
        return
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=place, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # Postgres runs as another user, in a folder of its own
        before, tempfile.tempdir = tempfile.tempdir, name  # of the lanes and all that they start
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = before


def _tell(verdict: Verdict, *, verbose: bool) -> None:
    if verbose or verdict.problems:
        words = "FAILED" if verdict.problems else "ok"
        about = f"{verdict.contract}{' pods' if verdict.on_pods else ''}{' postgres' if verdict.postgres else ''}"
        _say(
            f"seed {verdict.seed}: {words}  {about}  "
            f"{verdict.jobs} jobs, {verdict.accepted} accepted, {verdict.refused} refused, "
            f"{verdict.attempts} attempts, {verdict.pods} pods, "
            f"kills {sum(verdict.kills.values())}, {verdict.wall_s:.1f} s ({verdict.cpu_s:.1f} s CPU) {verdict.folder}",
        )
    for problem in verdict.problems:
        _say(f"    {problem}")
    if verdict.problems and not verdict.folder:
        _say(f"    again: python -m tests.chaos --seed {verdict.seed} -v")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
