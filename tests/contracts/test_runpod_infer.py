"""Every switch of the fake, each of its readings: what nobody documents about RunPod may be either way.

The real runner and the real backend live through both, and the invariant of the fault matrix holds after each. A switch
without a play, a reading that is not played, and an [infer] in the fake that names no switch are failures.
"""

from __future__ import annotations

import ast
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from tests.contracts.fault_trial import Stage
from tests.contracts.infer_plays import ELSEWHERE, PLAYS, Round
from tests.fakes import fake_runpod
from tests.fakes.fake_runpod.config import PodSettings, Switches
from tests.fakes.fake_runpod.server import Server

FAKE = Path(fake_runpod.__file__).parent


@pytest.mark.parametrize(
    ("switch", "value"),
    [(switch, value) for switch, play in PLAYS.items() for value in play.readings],
    ids=str,
)
def test_reading(scene: Stage, receiver: Server, switch: str, value: Any) -> None:
    """One switch, one reading, one end, and the invariant."""
    PLAYS[switch].act(Round(scene, switch, value, receiver))


# ---- that nothing is left out


def _inferred() -> dict[str, Field[Any]]:
    """Every switch, and every setting of pods that is marked [infer]."""
    source = (FAKE / "config.py").read_text()
    marked = set(re.findall(r"^    (\w+): .*\[infer\]", source, re.MULTILINE))
    return {f.name: f for f in fields(Switches)} | {f.name: f for f in fields(PodSettings) if f.name in marked}


def test_every_switch_is_played_both_ways() -> None:
    """All that a type allows; of the others the default and another one."""
    switches = {name: switch for name, switch in _inferred().items() if name not in ELSEWHERE}
    assert set(PLAYS) == set(switches)
    types = get_type_hints(Switches) | get_type_hints(PodSettings)
    for name, switch in switches.items():
        played, kind = PLAYS[name].readings, types[name]
        wanted = get_args(kind) if get_origin(kind) is Literal else (True, False) if kind is bool else ()
        assert switch.default is not MISSING
        assert set(wanted) <= set(played), f"{name} is not played as {set(wanted) - set(played)}"
        assert len(played) > 1


def test_every_switch_is_heard_by_the_fake() -> None:
    """A switch that nobody reads would be played for nothing."""
    sources = "".join(path.read_text() for path in FAKE.glob("*.py") if path.name != "config.py")
    unheard = [name for name in _inferred() if not re.search(rf"\.{name}\b", sources)]
    assert unheard == []


MARK = r"\[(?:doc|spec|run|code|issue|infer)\b[^\]]*\]"


def test_every_switch_says_where_its_doubt_comes_from() -> None:
    """Section and mark of the notes, in its own line."""
    lines = (FAKE / "config.py").read_text().splitlines()
    for name in _inferred():
        [line] = [line for line in lines if line.startswith(f"    {name}: ")]
        assert re.search(rf"# [\d., A-Z]+ {MARK}$", line), line


def test_every_inference_names_its_switch() -> None:
    """[infer: NAME] in the fake's code: what nobody documents is no constant."""
    for path in FAKE.glob("*.py"):
        if path.name != "config.py":
            found = re.findall(r"\[infer(?:: (\w+))?\]", path.read_text())
            assert set(found) <= set(_inferred()), f"{path.name}: {found}"


MACHINERY = {  # the fake's own: nothing in them claims to be RunPod's
    "__init__", "__main__", "admin", "clock", "config", "fake", "faults", "http", "pictures", "process", "server",
    "world",
}  # fmt: skip
LIVES = ("jobs", "execution", "pool", "pods")  # modules in which each behaviour has a source of its own


@pytest.mark.parametrize(
    "path", [p for p in sorted(FAKE.glob("*.py")) if p.stem not in MACHINERY], ids=lambda p: p.stem
)
def test_every_behaviour_cites_the_notes(path: Path) -> None:
    """Section and mark: in its module's docstring, and in the docstring of what a job, a worker or a pod lives by."""
    tree = ast.parse(path.read_text())
    assert re.search(rf"facts .*{MARK}", ast.get_docstring(tree) or "")
    if path.stem in LIVES:
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        told = {node.name: ast.get_docstring(node) or "" for node in functions if not node.name.startswith("_")}
        assert [name for name, text in told.items() if not re.search(MARK, text) and name != "duration"] == []
