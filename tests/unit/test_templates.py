"""What goes wrong with the files that people open in ComfyUI: stale, unreadable, or not what the frontend can load."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from workflows.catalogue import WORKFLOWS
from workflows.convert import convert
from workflows.convert_widgets import slots, stored_classes
from workflows.errors import WorkflowError
from workflows.examples import examples
from workflows.layout import GROUPS, TITLE, lay_out
from workflows.schema import validate
from workflows.templates import FOLDER, TEMPLATES, export, read_template, template_text, write_templates
from workflows.versions import WORKFLOW_VERSIONS

NAMES = list(TEMPLATES)


def real(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes without the note."""
    return [node for node in document["nodes"] if node["type"] != "MarkdownNote"]


def around(node: dict[str, Any]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two rectangles share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("name", NAMES)
def test_file_is_what_export_writes(name: str) -> None:
    """A builder or layout that changed without `ryla workflows export` would show people an old graph."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == template_text(name)


def test_export_writes_equal_bytes(tmp_path: Path) -> None:
    """Writing again changes nothing; a file that somebody edited is told."""
    assert write_templates(tmp_path / "new") == dict.fromkeys(NAMES, True)
    (tmp_path / "new" / "face-swap.json").write_text("{}")
    assert write_templates(tmp_path / "new") == {name: name == "face-swap" for name in NAMES}
    assert write_templates(tmp_path / "new") == dict.fromkeys(NAMES, False)


def test_every_workflow_has_a_template() -> None:
    """Four workflows, four files, each an example that exists."""
    assert {label.partition("/")[0] for label in TEMPLATES.values()} == set(WORKFLOW_VERSIONS)
    assert set(TEMPLATES.values()) <= set(examples())


@pytest.mark.parametrize("name", NAMES)
def test_template_is_valid(name: str) -> None:
    """What ComfyUI would send for the template is a good prompt, with the stored node list alone."""
    assert validate(convert(export(name))) == []


@pytest.mark.parametrize("name", NAMES)
def test_links_agree_with_both_ends(name: str) -> None:
    """Each link is named by the output it leaves and the input it enters, with one type; ids are unique."""
    document = export(name)
    nodes = {node["id"]: node for node in document["nodes"]}
    assert len(nodes) == len(document["nodes"]) == document["last_node_id"]
    assert len({link[0] for link in document["links"]}) == len(document["links"]) == document["last_link_id"]
    for link_id, origin, out, target, into, kind in document["links"]:
        leaving, entering = nodes[origin]["outputs"][out], nodes[target]["inputs"][into]
        assert link_id in leaving["links"]
        assert entering["link"] == link_id
        assert kind == leaving["type"] == entering["type"]
    ends = [i["link"] for node in real(document) for i in node["inputs"] if i["link"] is not None]
    assert sorted(ends) == [link[0] for link in document["links"]]


@pytest.mark.parametrize("name", NAMES)
def test_each_widget_has_its_value(name: str) -> None:
    """As many values as the frontend makes widgets, its own extras included."""
    for node in real(export(name)):
        wanted = sum(1 + s.extra_values for s in slots(stored_classes()[node["type"]]) if s.is_widget)
        assert len(node["widgets_values"]) == wanted + (node["type"] == "LoadImage"), node["type"]


def test_values_stand_as_comfyui_saves_them() -> None:
    """Written out by hand for the two nodes with extras; a seed stays fixed when somebody queues the template."""
    nodes = {node["title"]: node for node in export("face-swap")["nodes"]}
    assert nodes["Sample example/2"]["widgets_values"] == [2, "fixed", 20, 1.0, "euler", "simple", 1.0]
    assert nodes["Reference face"]["widgets_values"] == ["reference.png", "image"]
    assert nodes["Text encoders"]["widgets_values"][-1] == "default"
    assert [i["name"] for i in nodes["Identity"]["inputs"]][-2:] == ["attn_mask", "options"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_lies_on_anything(name: str) -> None:
    """Nodes with their titles are apart, groups are apart, and each node lies inside one group."""
    document = export(name)
    boxes = {node["title"] + str(node["id"]): around(node) for node in document["nodes"]}
    assert [pair for pair in combinations(boxes, 2) if overlap(boxes[pair[0]], boxes[pair[1]])] == []
    groups = [(x, y, x + w, y + h) for x, y, w, h in (group["bounding"] for group in document["groups"])]
    assert not any(overlap(a, b) for a, b in combinations(groups, 2))
    for node in real(document):
        left, top, right, bottom = around(node)
        assert sum(g[0] < left and g[1] < top and right < g[2] and bottom < g[3] for g in groups) == 1, node["title"]


@pytest.mark.parametrize("label", list(examples()))
def test_every_link_goes_to_the_right(label: str) -> None:
    """A graph is read from left to right; the groups stand in the order in which data flows, for every example."""
    prompt = examples()[label]
    layout = lay_out(prompt, stored_classes())
    for node_id, node in prompt.items():
        for value in node["inputs"].values():
            if isinstance(value, list):
                assert layout.nodes[value[0]].right < layout.nodes[node_id].x
    assert list(layout.groups) == [group for group in GROUPS if group in layout.groups]


def test_groups_are_named() -> None:
    """The sheet has all six; what a workflow does without has no empty frame."""
    assert [group["title"] for group in export("character-sheet")["groups"]] == list(GROUPS)
    assert "Pose" not in {group["title"] for group in export("face-swap")["groups"]}


def test_note_tells_how_to_bring_it_back() -> None:
    """Who opens the file learns what may be changed, and which command tells the rest."""
    (note,) = (node for node in export("face-swap")["nodes"] if node["type"] == "MarkdownNote")
    assert "ryla workflows check" in note["widgets_values"][0]
    assert "workflows/face-swap.json" in note["widgets_values"][0]


def test_unknown_or_broken_template_is_said_so(tmp_path: Path) -> None:
    """The name, the file and the way out."""
    with pytest.raises(WorkflowError, match="base-image-generation"):
        export("base-image")
    (tmp_path / "face-swap.json").write_text("{")
    for name in ("face-swap", "character-sheet"):
        with pytest.raises(WorkflowError, match="ryla workflows export"):
            read_template(name, tmp_path)


def test_template_is_plain_json() -> None:
    """No NaN, no tuples: what was written is what is read."""
    for name in NAMES:
        assert json.loads(template_text(name)) == json.loads(json.dumps(export(name), allow_nan=False))


def test_docs_explain_every_node_and_parameter() -> None:
    """docs/comfyui-workflows.md names each class of our graphs and each parameter of the command line."""
    text = (FOLDER.parent / "docs" / "comfyui-workflows.md").read_text(encoding="utf-8")
    classes = {node["class_type"] for prompt in examples().values() for node in prompt.values()}
    parameters = {parameter.name for flow in WORKFLOWS.values() for parameter in flow.parameters}
    assert [name for name in sorted(classes | parameters | set(WORKFLOWS)) if f"`{name}`" not in text] == []
