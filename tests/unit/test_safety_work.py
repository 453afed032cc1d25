"""What makes the safety screen slow: an expression that backtracks, a rule over pairs, a list that is searched.

An expression is safe here if nothing that may fail follows a repeat without bound: then it never goes back. That is
checked on the parsed expressions, whatever the machine. How the work grows is measured as a ratio on hostile texts.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ryla_assets.domain import safety
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.safety_text import read
from tests.bench.screen import HOSTILE
from tests.unit.safety_sets import code_of

DOMAIN = Path(safety.__file__).parent
MODULES = sorted(path.stem for path in DOMAIN.glob("safety*.py"))
PARSER: Any = re._parser  # type: ignore[attr-defined]
WIDE = 64  # repeats from here on are taken for unbounded
REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def expressions() -> dict[str, re.Pattern[str]]:
    """Every compiled expression of the screen, by module and name."""
    found: dict[str, re.Pattern[str]] = {}
    for name in MODULES:
        module = importlib.import_module(f"ryla_assets.domain.{name}")
        for key, value in vars(module).items():
            for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(one, re.Pattern):
                    found[f"{name}.{key}.{number}"] = one
    return found


def faults(expression: str, flags: int = 0) -> list[str]:
    """Why an expression may take more than linear time: repeats without bound that something fallible follows."""
    return list(_faults(PARSER.parse(expression, flags), fallible_after=False, inside=False))


def _faults(items: Iterable[tuple[Any, Any]], *, fallible_after: bool, inside: bool) -> Iterator[str]:
    for kind, told in reversed(list(items)):
        name = str(kind)
        if name in REPEATS:
            least, most, body = told
            wide = most is PARSER.MAXREPEAT or most >= WIDE
            if wide and fallible_after:
                yield "a repeat without bound stands before something that may fail"
            if wide and inside:
                yield "a repeat without bound stands inside another"
            yield from _faults(body, fallible_after=fallible_after or least > 1, inside=inside or wide)
            fallible_after = fallible_after or least > 0
        elif name == "SUBPATTERN":
            yield from _faults(told[-1], fallible_after=fallible_after, inside=inside)
            fallible_after = True
        elif name == "ATOMIC_GROUP":
            yield from _faults(told, fallible_after=fallible_after, inside=inside)
            fallible_after = True
        elif name == "BRANCH":
            for branch in told[1]:
                yield from _faults(branch, fallible_after=fallible_after, inside=inside)
            fallible_after = True
        elif name in {"ASSERT", "ASSERT_NOT"}:
            yield from _faults(told[1], fallible_after=False, inside=inside)
            fallible_after = True
        else:
            fallible_after = True


@pytest.mark.parametrize("name", expressions())
def test_no_expression_backtracks_without_bound(name: str) -> None:
    """`\\w*x` looks at a text of n words n times; a repeat at the end of an expression never goes back."""
    expression = expressions()[name]
    assert faults(expression.pattern, expression.flags) == []


@pytest.mark.parametrize(
    "planted",
    [r"\w*\x00", r"(a+)+$", r"a+b+", r"(?:a|b+)*c", r"\s+$", r"x.*?y", r"(?:ab*)+", r"[a-z]{1,9000}!", r"(?=a+b)"],
)
def test_planted_expression_is_found(planted: str) -> None:
    """The check can fail: these take quadratic time or worse."""
    assert faults(planted)


@pytest.mark.parametrize(
    "harmless", [r"a+", r"a{1,20}b", r"x(?:a{1,9}b)+", r"ab?c*", r"[a-z]+|\d+|\S", r"(\S+(?: \S+){0,5})"]
)
def test_linear_expression_is_left_alone(harmless: str) -> None:
    """What never goes back over more than a fixed number of letters is no fault."""
    assert faults(harmless) == []


@pytest.mark.parametrize("name", MODULES)
def test_every_expression_is_compiled_where_it_can_be_checked(name: str) -> None:
    """`re` is used to compile only: an expression inside a function would escape the check above."""
    tree = ast.parse((DOMAIN / f"{name}.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "re"]
    assert {node.attr for node in used} <= {"compile", "Pattern", "Match", "IGNORECASE", "ASCII"}
    assert [node.lineno for node in used if node.attr == "compile" and id(node) in inside] == []


def cpu_s(work: Callable[[], object]) -> float:
    """The least CPU time of three tries: what other processes do does not count."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def grows_linearly(work: Callable[[int], object], small: int) -> bool:
    """Whether four times the size takes about four times the work; sixteen times would be pairs. Tries five times."""
    work(small)  # what is looked up once is looked up here
    return any(cpu_s(lambda: work(4 * small)) < 8 * cpu_s(lambda: work(small)) + 2e-4 for _ in range(5))


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_no_faster_than_the_text(name: str) -> None:
    """On each hostile text, of which each makes another part of the screen work."""
    assert grows_linearly(lambda length: code_of((HOSTILE[name] * length)[:length]), 2000)


def test_deny_list_loads_in_linear_time() -> None:
    """Whatever the names have in common: here their first word."""
    assert grows_linearly(lambda count: DenyList.of(f"Ada Name{n}" for n in range(count)), 2000)


@pytest.mark.parametrize("text", ["ada ", "ada name", "a d a ", "\u738b\u5c0f"])
def test_looking_for_names_grows_no_faster_than_the_text(text: str) -> None:
    """A text of names' beginnings is not compared with every name that begins so."""
    names = [f"Ada Name{n}x{'y' * (n % 20)}" for n in range(2000)]
    denied = DenyList.of([*names, *(f"\u738b\u5c0f{chr(0x4E00 + n)}" for n in range(2000))])
    readings = {length: read((text * length)[:length]) for length in (2000, 8000)}
    assert grows_linearly(lambda length: denied.names_one(readings[length]), 2000)
