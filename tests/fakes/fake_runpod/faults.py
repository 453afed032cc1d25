"""The fault plan: rules that say which call or job goes wrong, when, and how.

Belongs here: what a rule matches, and the order in which rules are asked. What an action does to a connection is in
`wire_faults`, what a script does to a job in pool and execution.

A call is matched by operation (`run`, `status`, ..., `pods.create`, `graphql`, `*` for all), endpoint, job, the n-th
match (`skip`, `times`), a seeded probability, and the fake's time since start. Operation `job` matches jobs at their
acceptance and sets fields of their Script.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Action = Literal[
    "drop_request",  # the connection ends before anything is read or stored
    "drop_response",  # done, but the connection is reset before an answer
    "cut_response",  # done, and the connection is reset in the middle of the answer
    "delay",  # `seconds` real seconds before it is done (`after`: between deed and answer)
    "answer",  # not done; status, headers and body as given
    "done_but",  # done; yet status, headers and body as given
    "mutate",  # done; the JSON answer goes through `change`, and gets `status` where given
    "truncate",  # done; the first `keep` bytes of the answer, as if they were all
]


@dataclass(frozen=True)
class Call:
    """A request as rules see it."""

    operation: str
    endpoint: str = ""
    job: str = ""
    body: Any = None


@dataclass
class Rule:
    """One rule. `body` is sent as JSON unless it is a string. `script` belongs to operation `job` only."""

    operation: str
    action: Action = "answer"
    endpoint: str = "*"
    job: str = "*"
    where: Callable[[Call], bool] | None = None
    skip: int = 0  # matches that pass unharmed first
    times: int | None = None  # matches that it harms; None for all
    probability: float = 1.0
    from_s: float = 0.0  # the fake's seconds since its start
    until_s: float | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    seconds: float = 0.0
    after: bool = False
    keep: int = 20
    change: Callable[[Any], Any] | None = None
    script: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.action == "mutate" and self.change is None and not (self.status or self.headers):
            raise ValueError(f"a mutate rule for {self.operation} needs a change, a status or headers")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rule:
        """Read JSON; an unknown key is a ValueError that names it."""
        if unknown := sorted(set(data) - {item.name for item in fields(cls)}):
            raise ValueError(f"a rule does not know {', '.join(unknown)}")
        return cls(**data)

    def matches(self, call: Call, elapsed: float, draw: random.Random) -> bool:
        """Whether it strikes this call; counts the call."""
        if not (
            fnmatch.fnmatchcase(call.operation, self.operation)
            and fnmatch.fnmatchcase(call.endpoint, self.endpoint)
            and fnmatch.fnmatchcase(call.job, self.job)
            and self.from_s <= elapsed
            and (self.until_s is None or elapsed < self.until_s)
            and (self.where is None or self.where(call))
        ):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.fired >= self.times):
            return False
        if self.probability < 1.0 and draw.random() >= self.probability:
            return False
        self.fired += 1
        return True


class Faults:
    """The rules in the order they were added; the first that strikes a call wins, `job` scripts add up."""

    def __init__(self, seed: int = 1) -> None:
        self.rules: list[Rule] = []
        self.log: list[tuple[str, str, str]] = []  # operation, endpoint, action of every strike
        self._draw = random.Random(seed)

    def add(self, operation: str, action: Action = "answer", **options: Any) -> Rule:
        """Append a rule and return it (its `fired` tells how often it struck)."""
        rule = Rule(operation, action, **options)
        self.rules.append(rule)
        return rule

    def script(self, endpoint: str = "*", *, skip: int = 0, times: int | None = None, **fate: Any) -> Rule:
        """Give jobs accepted from now on a fate: fields of Script."""
        return self.add("job", endpoint=endpoint, skip=skip, times=times, script=fate)

    def clear(self) -> None:
        """Everything works again."""
        self.rules.clear()

    def strike(self, call: Call, elapsed: float) -> Rule | None:
        """The rule that harms this call, if one does."""
        for rule in self.rules:
            if rule.operation != "job" and rule.matches(call, elapsed, self._draw):
                self.log.append((call.operation, call.endpoint, rule.action))
                return rule
        return None

    def fate(self, call: Call, elapsed: float) -> dict[str, Any]:
        """Script fields for a job that is being accepted."""
        fields_: dict[str, Any] = {}
        for rule in self.rules:
            if rule.operation == "job" and rule.matches(call, elapsed, self._draw):
                fields_ |= rule.script
        return fields_
