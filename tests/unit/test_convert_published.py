"""Workflows that ComfyUI itself publishes convert to prompts that its own node list finds nothing wrong with.

The files lie beside a checkout where they are at hand, and everything here is skipped where they are not.
"""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workflows.convert import convert
from workflows.schema import validate

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "comfyui"
FILES = sorted((FOLDER / "ui-templates").glob("*.json"))
pytestmark = pytest.mark.skipif(not FILES, reason="no published workflows beside this checkout")


@cache
def node_list() -> Any:
    """A real server's object_info."""
    return json.loads((FOLDER / "object_info.json").read_text())


def prompt(name: str) -> dict[str, Any]:
    """A published workflow as a prompt."""
    return convert(json.loads((FOLDER / "ui-templates" / f"{name}.json").read_text()), object_info=node_list())


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_published_workflow_is_valid(file: Path) -> None:
    """Every link, type and number is as the node list wants it; only model files that we do not use are unknown."""
    problems = validate(convert(json.loads(file.read_text()), object_info=node_list()), object_info=node_list())
    assert {problem.type for problem in problems} <= {"value_not_in_list"}
    assert all(str(problem.input_name).endswith("_name") for problem in problems)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_conversion_is_fast(file: Path) -> None:
    """The largest takes 1.5 ms here; 50 ms is the promise."""
    ui, classes = json.loads(file.read_text()), node_list()
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        convert(ui, object_info=classes)
        spent.append(time.perf_counter() - started)
    assert min(spent) < 0.05


def test_subgraph_with_promoted_widgets() -> None:
    """Values shown on the instance arrive at the nodes inside; a null there leaves the inner value."""
    found = prompt("image_z_image_turbo")
    assert found["9"]["inputs"]["images"] == ["57:8", 0]
    assert found["57:3"]["inputs"] == {
        "seed": 0, "steps": 8, "cfg": 1, "sampler_name": "res_multistep", "scheduler": "simple", "denoise": 1,
        "model": ["57:11", 0], "positive": ["57:27", 0], "negative": ["57:33", 0], "latent_image": ["57:13", 0],
    }  # fmt: skip
    assert found["57:27"]["inputs"]["text"].startswith("Latina female")


def test_bypassed_node_before_a_subgraph() -> None:
    """The scaled picture falls back to the loaded one, outside and through the subgraph's wall."""
    found = prompt("image_z_image_turbo_fun_union_controlnet")
    assert "62" not in found
    assert found["57"]["inputs"]["image"] == ["58", 0]
    assert found["70:60"]["inputs"]["image"] == ["57", 0]


def test_primitives_set_width_and_height() -> None:
    """Two primitives feed two nodes each; both get numbers."""
    found = prompt("flux_redux_model_example")
    assert (found["27"]["inputs"]["width"], found["30"]["inputs"]["height"]) == (1024, 1024)
    assert not {"34", "35"} & found.keys()
