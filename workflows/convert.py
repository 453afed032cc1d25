"""From a workflow as ComfyUI's UI saves it to the prompt that its server runs.

Belongs here: which nodes are emitted, and with what inputs. The rules are those of the frontend's own conversion:
virtual nodes (reroutes, primitives, notes, set and get nodes), muted and bypassed nodes vanish, subgraphs are opened
with ids such as `57:3`, widgets come first and links overwrite them. One rule is left out on purpose: the frontend
rolls dice over `{a|b}` in prompt texts, here they stay as they are written.
"""

from collections.abc import Mapping
from typing import Any

from workflows.convert_links import Fixed, source_of
from workflows.convert_scopes import SavedNode, Scope, fault, read_scopes
from workflows.convert_widgets import stored_classes, widget_values
from workflows.graph import Link, Prompt

_GROUP_NODES = ("workflow>", "workflow/")


def convert(ui: Any, *, object_info: Mapping[str, Any] | None = None) -> Prompt:
    """The prompt (API format) of a file in UI format; node ids are the file's, `outer:inner` inside subgraphs.

    `object_info` is a server's answer to GET /object_info (None: the stored copy, which knows the nodes of our own
    workflows). Raises `WorkflowError` for a file that is none, a class that object_info lacks, or a group node.
    """
    classes = stored_classes() if object_info is None else object_info
    prompt = {
        scope.path + node_id: _emit(scope, node_id, node, classes) for scope, node_id, node in read_scopes(ui).walk()
    }
    for node in prompt.values():
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not isinstance(value, list) or value[0] in prompt  # arrays are wrapped: every list here is a link
        }
    return prompt


def is_ui(document: Any) -> bool:
    """True for a file in UI format, False for a prompt."""
    return isinstance(document, Mapping) and isinstance(document.get("nodes"), list)


def _emit(scope: Scope, node_id: str, node: SavedNode, classes: Mapping[str, Any]) -> dict[str, Any]:
    class_type = node["type"]
    if class_type.startswith(_GROUP_NODES):
        raise fault(scope, node_id, "is a group node, which ComfyUI gave up.", "Convert it to a subgraph in ComfyUI.")
    if class_type not in classes:
        raise fault(
            scope,
            node_id,
            "is not in object_info.",
            "Pass the server's own: --object-info FILE (GET /object_info of a ComfyUI that has this node).",
        )
    info = classes[class_type]
    inputs = {name: _wrapped(value) for name, value in widget_values(node, info).items()}
    for (inner_id, name), value in scope.overrides.items():
        if inner_id == node_id and name in inputs:
            inputs[name] = _wrapped(value)
    for slot in node.get("inputs") or ():
        match source_of(scope, slot):
            case Link(source, number):
                inputs[slot["name"]] = [source, number]
            case Fixed(value) if slot.get("widget"):
                inputs[slot["widget"].get("name", slot["name"])] = _wrapped(value)
    title = node.get("title") or info.get("display_name") or class_type
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


def _wrapped(value: Any) -> Any:
    """A value as a prompt holds it: a bare list of two would read as a link."""
    return {"__value__": value} if isinstance(value, list) else value
