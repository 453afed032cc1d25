"""What goes wrong at `ryla workflows`: prompts that cannot be piped, verdicts that no program can read."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ryla_assets.cli_workflows import workflows
from workflows.catalogue import WORKFLOWS
from workflows.examples import examples
from workflows.object_info import STORED
from workflows.parity import difference
from workflows.schema import validate
from workflows.templates import TEMPLATES, export, write_templates


def run(*arguments: str | Path) -> Result:
    """The command's exit code, stdout and stderr."""
    assert isinstance(workflows, click.Group)
    return CliRunner().invoke(workflows, [str(a) for a in arguments])


def told(*arguments: str | Path, code: int = 0) -> Any:
    """What a program reads from stdout with --json."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def saved(folder: Path, name: str, document: Any) -> Path:
    """A JSON file."""
    file = folder / name
    file.write_text(json.dumps(document))
    return file


def test_list_names_every_workflow_and_parameter() -> None:
    """Programs get lists, people a table."""
    rows = {row["name"]: row for row in told("list")}
    assert rows.keys() == WORKFLOWS.keys()
    assert "identity_weight" in rows["face-swap"]["parameters"]
    assert rows["base-image"]["base_models"] == ["flux-dev", "zimage-turbo"]
    assert "face-swap" in run("list").stdout


@pytest.mark.parametrize("name", list(WORKFLOWS))
def test_built_graph_is_valid(name: str) -> None:
    """Defaults alone give a graph that a server takes; with --json and without it is the same JSON."""
    prompt = told("build", name)
    assert validate(prompt) == []
    assert json.loads(run("build", name).stdout) == prompt


def test_settings_reach_the_graph() -> None:
    """Numbers are numbers, texts stay texts, and several pictures have their own seed and prefix."""
    settings = ["seed=5", "count=3", "prompt=7", "steps=12", "guidance=2.5", "prefix=alice/a", "pose=p.png"]
    options = [part for text in settings for part in ("--set", text)]
    nodes = told("build", "character-sheet", *options).values()
    samplers = [node["inputs"] for node in nodes if node["class_type"] == "KSampler"]
    assert [(s["seed"], s["steps"]) for s in samplers] == [(5, 12), (6, 12), (7, 12)]
    saves = [node["inputs"]["filename_prefix"] for node in nodes if node["class_type"] == "SaveImage"]
    assert saves == ["alice/a-1", "alice/a-2", "alice/a-3"]
    assert "7" in [node["inputs"]["text"] for node in nodes if node["class_type"] == "CLIPTextEncode"]
    assert any(node["class_type"] == "ControlNetApplyAdvanced" for node in nodes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "face-swop"], "Use one of base-image"),
        (["build", "face-swap", "--set", "sed=1"], "Did you mean seed?"),
        (["build", "face-swap", "--set", "seed"], "KEY=VALUE"),
        (["build", "face-swap", "--set", "seed=x"], "not a whole number"),
        (["build", "face-swap", "--set", "guidance=x"], "not a number"),
        (["build", "face-swap", "--set", "count=11"], "from 1 to 10"),
        (["build", "face-swap", "--set", "lora_name=x"], "no such parameter"),
        (["build", "base-image", "--set", "base_model=zimage-turbo", "--set", "guidance=3"], "takes no guidance"),
    ],
)
def test_wrong_build_is_a_usage_error(arguments: list[str], message: str) -> None:
    """Exit 2, the sentence on stderr, nothing on stdout; with --json the error is JSON on stdout."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert message in json.dumps(told(*arguments, code=2)["error"])


def test_valid_files_are_valid(tmp_path: Path) -> None:
    """A prompt, and a file of ComfyUI's UI, which is converted first."""
    files = [
        saved(tmp_path, "p.json", examples()["face-swap/flux-dev"]),
        saved(tmp_path, "u.json", export("face-swap")),
    ]
    verdicts = told("validate", *files)
    assert verdicts == [{"file": str(file), "valid": True} for file in files]
    assert run("validate", *files).stdout.splitlines() == [f"{file}: valid" for file in files]


def test_invalid_file_is_answered_as_the_server_would(tmp_path: Path) -> None:
    """Exit 1, and the body of a 400 beside the file's name; people get a line a problem."""
    prompt = examples()["base-image/flux-dev"]
    node_id = next(k for k, node in prompt.items() if node["class_type"] == "KSampler")
    prompt[node_id]["inputs"] |= {"seed": -1, "sampler_nam": "euler"}
    good, bad = saved(tmp_path, "good.json", examples()["base-image/flux-dev"]), saved(tmp_path, "bad.json", prompt)
    fine, verdict = told("validate", good, bad, code=1)
    assert fine["valid"]
    assert not verdict["valid"]
    assert verdict["error"]["type"] == "prompt_outputs_failed_validation"
    assert [e["type"] for e in verdict["node_errors"][node_id]["errors"]] == ["value_smaller_than_min", "unknown_input"]
    lines = run("validate", bad).stdout
    assert "Value -1 smaller than min of 0 (seed)" in lines
    assert "did you mean sampler_name?) [a server would run it]" in lines


def test_missing_and_broken_files_are_usage_errors(tmp_path: Path) -> None:
    """No stack trace for a typo."""
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert run("validate", tmp_path / "nothing.json").exit_code == 2
    assert "no JSON" in told("validate", broken, code=2)["error"]["message"]
    assert "no object_info" in told(
        "convert", saved(tmp_path, "u.json", export("face-swap")), "--object-info", saved(tmp_path, "x.json", {"a": 1}),
        code=2,
    )["error"]["message"]  # fmt: skip
    no_server = told("validate", broken.with_name("u.json"), "--object-info", "http://127.0.0.1:9", code=2)
    assert "no node list" in no_server["error"]["message"]


def test_converted_template_is_the_builder_s_graph(tmp_path: Path) -> None:
    """`convert` prints what ComfyUI would send; the node list may be another server's."""
    file = saved(tmp_path, "u.json", export("base-image-generation"))
    prompt = told("convert", file)
    assert difference(examples()["base-image/flux-dev"], prompt) == []
    assert told("convert", file, "--object-info", STORED) == prompt


def test_unknown_class_asks_for_a_node_list(tmp_path: Path) -> None:
    """The stored list knows our nodes alone, and says so."""
    file = saved(tmp_path, "u.json", {"nodes": [{"id": 1, "type": "Upscale"}], "links": []})
    assert "--object-info" in json.dumps(told("convert", file, code=2)["error"])
    info = saved(tmp_path, "i.json", {"Upscale": {"input": {"required": {}}, "output": [], "output_node": True}})
    assert list(told("convert", file, "--object-info", info)) == ["1"]


def test_equal_templates_pass_the_check() -> None:
    """Exit 0, no differences: the committed files."""
    assert told("check") == {name: [] for name in TEMPLATES}
    assert run("check").stdout.count("equal") == 4


def test_edited_template_fails_the_check(tmp_path: Path) -> None:
    """Exit 1; the difference names the node, its input and both values."""
    write_templates(tmp_path)
    document = export("face-swap")
    next(n for n in document["nodes"] if n["title"] == "Guidance")["widgets_values"][0] = 2.5
    saved(tmp_path, "face-swap.json", document)
    (one,) = told("check", "--in", tmp_path, code=1)["face-swap"]
    assert (one["class_type"], one["input"], one["builder"], one["template"]) == (
        "FluxGuidance", "guidance", "3.5", "2.5",
    )  # fmt: skip
    assert "guidance: builder 3.5, template 2.5" in run("check", "--in", tmp_path).stdout


def test_export_writes_four_files(tmp_path: Path) -> None:
    """The second time nothing has changed."""
    out = tmp_path / "new"
    assert [row["changed"] for row in told("export", "--out", out)] == [True] * 4
    assert {file.name for file in out.iterdir()} == {f"{name}.json" for name in TEMPLATES}
    assert [row["changed"] for row in told("export", "--out", out)] == [False] * 4
    assert run("export", "--out", out).exit_code == 0
