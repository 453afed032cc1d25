"""What `python -m tests.chaos` does: seeds over some lanes, a line for each that fails, a table at the end.

Belongs here: the command line and the lanes. A seed is harness' business, the table report's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from resources.gpu.faultpoints import POINTS
from tests.chaos import dilation
from tests.chaos.broken import BROKEN
from tests.chaos.harness import Verdict, run_seed
from tests.chaos.plan import plan_of
from tests.chaos.report import Table, written
from tests.chaos.servers import Servers, started
from tests.chaos.warm import warm_up

LANES = 4  # a seed waits half of its time
BUG_SEEDS = 8


def command(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 where every seed kept the promise."""
    asked = _parser().parse_args(arguments)
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.seeds))
    table = Table()
    begun = dilation.real()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        postgres = not asked.no_postgres and any(plan_of(seed).postgres for seed in seeds)
        with started(Path(folder), postgres=postgres) as servers:
            warm_up(servers)
            run = partial(run_seed, servers=servers, broken=asked.broken, keep=asked.seed is not None)
            for verdict in _verdicts(seeds, run, asked.lanes):
                table.add(verdict)
                _tell(verdict, verbose=asked.verbose)
                if asked.stop and verdict.problems:
                    break
            if asked.bugs:
                table.caught = {name: _caught_at(name, servers) for name in BROKEN}
    table.wall_s = dilation.real() - begun
    if asked.report:
        asked.report.write_text(written(table))
    if asked.json:
        asked.json.write_text(json.dumps(vars(table)))
    _say(table.line())
    return 1 if table.failed or None in table.caught.values() else 0


def _caught_at(bug: str, servers: Servers) -> int | None:
    """How many seeds that aim where the bug shows it takes until one fails; None: it is not caught."""
    first = POINTS.index(BROKEN[bug].aim)
    for number in range(BUG_SEEDS):
        verdict = run_seed(first + number * len(POINTS), servers=servers, broken=bug)
        breach = next((problem for problem in verdict.problems if not problem.startswith("harness")), "")
        if breach:
            _say(f"bug {bug}: caught by seed {verdict.seed}: {breach}")
            return number + 1
    _say(f"bug {bug}: NOT caught in {BUG_SEEDS} seeds")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Kill the runner, and look what is left."
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this seed alone; its files are kept")
    parser.add_argument("--lanes", type=int, default=LANES, help="seeds at a time (4)")
    parser.add_argument("--broken", choices=sorted(BROKEN), default="", help="put this bug into every killed process")
    parser.add_argument("--bugs", action="store_true", help="afterwards: each bug must be caught within 8 seeds")
    parser.add_argument("--stop", action="store_true", help="end with the first seed that fails")
    parser.add_argument("--no-postgres", action="store_true", help="every ledger in SQLite")
    parser.add_argument("--report", type=Path, help="write the chaos table there")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every seed")
    return parser


def _verdicts(seeds: Sequence[int], run: Callable[[int], Verdict], lanes: int) -> Iterator[Verdict]:
    """Each seed's, as they come. The lanes are warm copies of this process, which has no thread."""
    global _run  # noqa: PLW0603  inherited by the lanes: it holds engines, which no pipe carries
    _run = run
    if min(lanes, len(seeds)) == 1:
        yield from map(_one, seeds)
        return
    with multiprocessing.get_context("fork").Pool(lanes) as pool:
        yield from pool.imap_unordered(_one, seeds)


_run: Callable[[int], Verdict] | None = None


def _one(seed: int) -> Verdict:
    assert _run is not None
    try:
        return _run(seed)
    except Exception as error:  # noqa: BLE001  a harness that breaks is a finding of this seed, not the end of all
        return Verdict(seed, [f"harness: {type(error).__name__}: {error}\n{traceback.format_exc()}"])


def _tell(verdict: Verdict, *, verbose: bool) -> None:
    if verbose or verdict.problems:
        words = "FAILED" if verdict.problems else "ok"
        _say(
            f"seed {verdict.seed}: {words}  {verdict.contract}{' postgres' if verdict.postgres else ''}  "
            f"{verdict.jobs} jobs, {verdict.accepted} accepted, {verdict.refused} refused, "
            f"{verdict.attempts} attempts, "
            f"kills {sum(verdict.kills.values())}, {verdict.wall_s:.1f} s ({verdict.cpu_s:.1f} s CPU) {verdict.folder}",
        )
    for problem in verdict.problems:
        _say(f"    {problem}")
    if verdict.problems and not verdict.folder:
        _say(f"    again: python -m tests.chaos --seed {verdict.seed} -v")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
