"""The workflow templates: our graphs as ComfyUI's UI saves them, to be opened, read and changed by people.

Belongs here: writing the UI format (version 0.4) from a builder's graph, and where the files lie. The way back is
`convert`; whether a file still says what the builder says is `parity`.
"""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from workflows.convert_widgets import Slot, slots, stored_classes
from workflows.errors import WorkflowError
from workflows.examples import examples
from workflows.graph import Prompt
from workflows.layout import Layout, lay_out
from workflows.versions import WORKFLOW_VERSIONS

FOLDER: Final = Path(__file__).parent
TEMPLATES: Final[Mapping[str, str]] = MappingProxyType(  # file name -> the example that it shows
    {
        "base-image-generation": "base-image/flux-dev",
        "character-sheet": "character-sheet/flux-dev",
        "face-swap": "face-swap/flux-dev",
        "lora-generation": "lora-generation/flux-dev",
    }
)

_COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Models": "#3f5159",
        "Prompt": "#3f593f",
        "Identity": "#8a5a44",
        "Pose": "#5b4a72",
        "Sampling": "#444a70",
        "Output": "#5c5c3d",
    }
)
_NOTE: Final = (
    "## {name}\n\nVersion {version} of the workflow `{workflow}`, written by `ryla workflows export`.\n\n"
    "The pipeline builds this graph in code and sets for each job: prompt texts, seed, width and height, file prefix, "
    "pictures, LoRA file. Change those freely.\n\n"
    "Everything else is held equal to the code: export this file over `workflows/{name}.json`, then "
    "`ryla workflows check` names every difference, node by node."
)


def export(name: str) -> dict[str, Any]:
    """The template `name` as a document in ComfyUI's UI format. Raises `WorkflowError` for an unknown name."""
    prompt = examples()[example_of(name)]
    classes = stored_classes()
    layout = lay_out(prompt, classes)
    links = _links(prompt, classes)
    nodes = [
        _node(order, node_id, node, classes[node["class_type"]], layout, links)
        for order, (node_id, node) in enumerate(prompt.items())
    ]
    note = _note(name, len(nodes) + 1, layout)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"ryla-assets/workflows/{name}")),
        "revision": 0,
        "last_node_id": note["id"],
        "last_link_id": len(links),
        "nodes": [*nodes, note],
        "links": links,
        "groups": _groups(layout),
        "config": {},
        "extra": {"ds": {"scale": 0.5, "offset": [520, 200]}},
        "version": 0.4,
    }


def template_text(name: str) -> str:
    """The file of template `name`: equal calls give equal bytes."""
    return json.dumps(export(name), indent=2, ensure_ascii=False) + "\n"


def write_templates(folder: Path = FOLDER) -> dict[str, bool]:
    """Write all templates into `folder`; name -> True where the file changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = {}
    for name in TEMPLATES:
        file, text = folder / f"{name}.json", template_text(name)
        changed[name] = not file.exists() or file.read_text(encoding="utf-8") != text
        file.write_text(text, encoding="utf-8")
    return changed


def read_template(name: str, folder: Path = FOLDER) -> Any:
    """The document of a template file, as somebody may have edited it. Raises `WorkflowError` where there is none."""
    example_of(name)
    file = folder / f"{name}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkflowError(
            f"cannot be read: {error}", field=file.name, value=name, way_out="Write it again: ryla workflows export."
        ) from error


def example_of(name: str) -> str:
    """The label of the example that template `name` shows."""
    if name not in TEMPLATES:
        raise WorkflowError(
            f"{name!r} is unknown.", field="template", value=name, way_out=f"Use one of {', '.join(TEMPLATES)}."
        )
    return TEMPLATES[name]


def _links(prompt: Prompt, classes: Mapping[str, Any]) -> list[list[Any]]:
    """[id, from, slot, to, slot, type] for every link, in the order of the nodes and their sockets."""
    links: list[list[Any]] = []
    for node_id, node in prompt.items():
        for place, slot in enumerate(_sockets(node, classes[node["class_type"]])):
            if isinstance(value := node["inputs"].get(slot.name), list):
                kind = classes[prompt[value[0]]["class_type"]]["output"][value[1]]
                links.append([len(links) + 1, int(value[0]), value[1], int(node_id), place, kind])
    return links


def _sockets(node: Mapping[str, Any], info: Mapping[str, Any]) -> list[Slot]:
    """What a file lists as inputs: sockets, and widgets that are linked."""
    return [slot for slot in slots(info) if not slot.is_widget or isinstance(node["inputs"].get(slot.name), list)]


def _node(
    order: int, node_id: str, node: Mapping[str, Any], info: Mapping[str, Any], layout: Layout, links: list[list[Any]]
) -> dict[str, Any]:
    box = layout.nodes[node_id]
    coming = {link[4]: link[0] for link in links if link[3] == int(node_id)}
    return {
        "id": int(node_id),
        "type": node["class_type"],
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [_input(slot, coming.get(place)) for place, slot in enumerate(_sockets(node, info))],
        "outputs": [
            {
                "name": name,
                "type": kind,
                "slot_index": slot,
                "links": [link[0] for link in links if link[1:3] == [int(node_id), slot]],
            }
            for slot, (kind, name) in enumerate(zip(info["output"], info["output_name"], strict=True))
        ],
        "title": node["_meta"]["title"],
        "properties": {"Node name for S&R": node["class_type"]},
        "widgets_values": _widget_values(node["inputs"], info),
    }


def _input(slot: Slot, link: int | None) -> dict[str, Any]:
    shape = {} if slot.required else {"shape": 7}  # an optional socket is drawn as a ring
    widget = {"widget": {"name": slot.name}} if slot.is_widget else {}
    return {"name": slot.name, "type": slot.type, **shape, **widget, "link": link}


def _widget_values(inputs: Mapping[str, Any], info: Mapping[str, Any]) -> list[Any]:
    """The values in the frontend's order, with its own extras: a fixed seed, and the upload button of LoadImage."""
    values: list[Any] = []
    upload = False
    for slot in slots(info):
        if slot.is_widget:
            value = inputs.get(slot.name, slot.default)
            values += [slot.default if isinstance(value, list) else value, *["fixed", ""][: slot.extra_values]]
            upload |= bool(slot.config.get("image_upload"))
    return [*values, "image"] if upload else values


def _note(name: str, node_id: int, layout: Layout) -> dict[str, Any]:
    workflow = TEMPLATES[name].partition("/")[0]
    text = _NOTE.format(name=name, workflow=workflow, version=WORKFLOW_VERSIONS[workflow])
    top = min(box.y for box in layout.groups.values())
    return {
        "id": node_id,
        "type": "MarkdownNote",
        "pos": [-460, top],
        "size": [400, 340],
        "flags": {},
        "order": node_id - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Read me",
        "properties": {},
        "widgets_values": [text],
    }


def _groups(layout: Layout) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "title": title,
            "bounding": list(box),
            "color": _COLOURS[title],
            "font_size": 24,
            "flags": {},
        }
        for number, (title, box) in enumerate(layout.groups.items(), start=1)
    ]
