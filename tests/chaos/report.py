"""The chaos table: all seeds in numbers, and its page in docs.

Belongs here: sums and markdown. Numbers come from verdicts, words about them are in the page's own sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from resources.gpu.faultpoints import POINTS
from tests.chaos.broken import BROKEN
from tests.chaos.evidence import Verdict
from tests.chaos.plan import SPEED

DOUBLE = (
    "one_result_is_accepted",
    "one_attempt_is_open",
    "nothing_is_sent_beside_an_open_attempt",
    "one_remote_job_an_attempt",
)
LOST = (
    "accepted_results_can_be_read",
    "what_was_accepted_stays",
    "every_remote_job_has_its_intent",
    "nothing_lives_on",
)
UNEXPLAINED = (
    "every_job_ends_accepted_or_explained",
    "pictures_are_refused_once",
    "budgets_refuse_what_does_not_fit",
    "every_bad_end_is_explained",
    "ends_are_settled",
)


_SUMS = (
    *("jobs", "accepted", "refused", "attempts", "presumed", "remote", "pods", "bereft", "postgres", "on_pods"),
    *("booked_usd", "billed_usd", "hidden_usd", "executed_usd", "wasted_usd", "cpu_s"),
)


@dataclass
class Table:
    """Sums over seeds; money in USD, times in real seconds."""

    first: int = 0
    wanted: int = 0
    seeds: int = 0  # done
    interrupted: bool = False
    failed: list[int] = field(default_factory=list)
    breaches: Counter[str] = field(default_factory=Counter)  # predicate -> breaches
    hits: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    pod_kills: Counter[str] = field(default_factory=Counter)  # of these: in seeds whose training runs on pods
    faults: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    caught: dict[str, int | None] = field(default_factory=dict)  # bug -> seeds until it was caught
    wall_s: float = 0.0  # of the seeds alone
    bugs_wall_s: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Take a seed in."""
        self.seeds += 1
        if verdict.problems:
            self.failed.append(verdict.seed)
        self.breaches.update(problem.partition(":")[0] for problem in verdict.problems)
        self.hits.update(verdict.hits)
        self.kills.update(verdict.kills)
        self.pod_kills.update(verdict.kills if verdict.on_pods else {})
        self.faults.update(verdict.faults)
        self.sums.update({name: getattr(verdict, name) for name in _SUMS})
        self.sums.update({f"{verdict.contract} worker": 1})

    def breached(self, names: tuple[str, ...]) -> int:
        """How often one of these predicates was breached."""
        return sum(self.breaches[name] for name in names)

    @property
    def wasted(self) -> float:
        """Share of what was executed that brought no accepted result, 0..1."""
        return self.sums["wasted_usd"] / self.sums["executed_usd"] if self.sums["executed_usd"] else 0.0

    def progress(self) -> str:
        """How far it is, and how long the rest takes if it goes on like that."""
        left_s = self.wall_s / max(1, self.seeds) * (self.wanted - self.seeds)
        return (
            f"{self.seeds:,} of {self.wanted:,} seeds in {self.wall_s:.0f} s, {len(self.failed)} failed; "
            f"about {left_s / 60:.0f} min left"
        )

    def line(self) -> str:
        """All of it in a line."""
        return (
            f"{self.seeds} seeds, {sum(self.kills.values())} kills, {sum(self.faults.values())} faults: "
            f"{self.sums['jobs']} jobs, {self.sums['accepted']} accepted, {self.sums['refused']} refused; "
            f"double {self.breached(DOUBLE)}, lost {self.breached(LOST)}, unexplained {self.breached(UNEXPLAINED)}; "
            f"{len(self.failed)} seeds failed {sorted(self.failed)[:20]}; "
            f"{self.wall_s:.1f} s, {self.sums['cpu_s']:.1f} s CPU"
            f"{f'; bugs {self.bugs_wall_s:.1f} s' if self.caught else ''}"
        )


def written(table: Table) -> str:
    """The page."""
    sums = table.sums
    stopped = f"; interrupted, {table.wanted:,} were asked for" if table.interrupted else ""
    rows = [
        ("seeds", f"{table.seeds:,}, from {table.first:,} on{stopped}"),
        ("ledger", f"{sums['postgres']:,} on Postgres, {table.seeds - sums['postgres']:,} on SQLite"),
        ("worker contract", f"{sums['official worker']:,} worker-comfyui, {sums['ours worker']:,} ours"),
        ("seeds in which a LoRA is trained on pods", f"{sums['on_pods']:,}"),
        ("SIGKILLs", f"{sum(table.kills.values()):,}"),
        ("faults that struck calls", f"{sum(table.faults.values()):,}"),
        ("jobs asked for", f"{sums['jobs']:,}"),
        ("accepted", f"{sums['accepted']:,}"),
        ("refused, for a budget without room or for pictures that were spoiled there", f"{sums['refused']:,}"),
        ("accepted results whose bytes the store lost", f"{sums['bereft']:,}"),
        ("attempts in the ledger", f"{sums['attempts']:,}"),
        ("jobs and pods that the far side took on", f"{sums['remote']:,} ({sums['pods']:,} of them pods)"),
        ("**double-accepted, or sent beside an open attempt**", f"**{table.breached(DOUBLE)}**"),
        ("**lost** (paid work nobody knows of, results gone, work left running)", f"**{table.breached(LOST)}**"),
        ("**unexplained**", f"**{table.breached(UNEXPLAINED)}**"),
        ("other breaches", str(sum(table.breaches.values()) - sum(map(table.breached, (DOUBLE, LOST, UNEXPLAINED))))),
        ("attempts booked as presumed", f"{sums['presumed']:,}"),
        ("billed by the far side", f"${sums['billed_usd']:.2f}"),
        ("booked in the ledgers (presumed ones with all that they could have cost)", f"${sums['booked_usd']:.2f}"),
        ("billed for runs that the API never tells of", f"at most ${sums['hidden_usd']:.2f}"),
        ("executed for no accepted result", f"{table.wasted:.1%} of what was executed"),
        ("wall time of the seeds", f"{table.wall_s:,.0f} s ({table.wall_s / max(1, table.seeds):.2f} s a seed)"),
        ("their CPU time", f"{sums['cpu_s']:,.0f} s ({sums['cpu_s'] / max(1, table.seeds):.2f} s a seed)"),
        ("wall time of the bugs below", f"{table.bugs_wall_s:,.0f} s"),
    ]
    others = sorted(name for name in table.kills if name not in POINTS)
    points = [
        (
            f"`{name}`" if name in POINTS else name,
            f"{table.hits[name]:,}" if name in POINTS else "",
            f"{table.kills[name]:,}",
            f"{table.pod_kills[name]:,}",
        )
        for name in (*POINTS, *others)
    ]
    faults = [(name, f"{count:,}") for name, count in table.faults.most_common()]
    return _PAGE.format(
        speed=SPEED,
        numbers=_table(("what", "how much"), rows),
        points=_table(("fault point", "times reached", "SIGKILLs there", "of these in seeds with pods"), points),
        faults=_table(("fault", "times"), faults),
        bugs=_table(
            ("bug", "what it does", "caught within"), [_bug(name, seeds) for name, seeds in table.caught.items()]
        ),
    )


def _bug(name: str, seeds: int | None) -> tuple[str, str, str]:
    words = (BROKEN[name].put_in.__doc__ or "").rstrip(".")
    return f"`{name}`", words, f"{seeds} seed{'s' if seeds != 1 else ''}" if seeds else "**not caught**"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PAGE = """# The chaos table

Written by `python -m tests.chaos --bugs --report docs/chaos.md`, which `make chaos` runs with 5,000 seeds, and by
nothing else. Each seed is one account, one ledger and a few jobs: the runner's process is killed with SIGKILL at a
fault point and at random moments, calls, workers and pods fail, the store loses results, processes are terminated or
run two at a time on one ledger; then the faults end, what is left is settled and asked for again, and the history is
checked from both sides (`tests/chaos/checker.py`: the promise as predicates). Faults here are far denser than in any
deployment: the share of waste says how the harness behaves, not what to expect.

Time runs {speed:.0f} times as fast for all of it, and a seed still waits more than it computes: several run side by
side. 200 seeds are part of the normal tests, which hold them to the CPU time that two cores have in 150 s.

A seed is replayed by `python -m tests.chaos --seed N -v`: same jobs, faults and kills; the interleaving is the
machine's.

{numbers}

Where it was killed:

{points}

What went wrong on the wire (fates of single jobs, such as dying workers, lost or doubled ones, come on top):

{faults}

Would it notice? Each of these bugs was put into every killed process, and the harness had to fail:

{bugs}
"""
