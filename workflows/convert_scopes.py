"""A saved UI file as nested graphs: the root, and one scope for every instance of a subgraph in it.

Belongs here: reading nodes, links (arrays or objects) and subgraph definitions, and what an instance's own widgets say
about the nodes inside. Where a link ends is the business of `convert_links`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from workflows.errors import WorkflowError

SavedNode: TypeAlias = Mapping[str, Any]

MUTED, BYPASSED = 2, 4  # a node's mode
ENTRY, EXIT = "-10", "-20"  # the two ends of a subgraph, as ids in its links
VIRTUAL: Final = frozenset({"Reroute", "PrimitiveNode", "Note", "MarkdownNote", "SetNode", "GetNode"})


class Wire(NamedTuple):
    """One link of a saved graph; ids as strings."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass
class Scope:
    """One graph of a file. `path` stands before the ids of its nodes: empty at the root, `12:` inside instance 12.

    `promoted` is subgraph input -> the value of the instance's own widget; `overrides` is (inner id, widget) -> value.
    """

    path: str
    nodes: dict[str, SavedNode]
    wires: dict[str, Wire]
    owner: "Scope | None" = None
    instance: SavedNode = field(default_factory=dict)
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    promoted: dict[str, Any] = field(default_factory=dict)
    overrides: dict[tuple[str, str], Any] = field(default_factory=dict)
    inner: dict[str, "Scope"] = field(default_factory=dict)

    def walk(self) -> Iterator[tuple["Scope", str, SavedNode]]:
        """Every node that runs, with its scope and id: not muted, bypassed or virtual, nor inside such an instance."""
        for node_id, node in self.nodes.items():
            if node.get("mode") in (MUTED, BYPASSED) or node["type"] in VIRTUAL:
                continue
            if node_id in self.inner:
                yield from self.inner[node_id].walk()
            else:
                yield self, node_id, node

    def slots(self, node_id: str) -> list[Mapping[str, Any]]:
        """A node's input slots; an instance has those of its definition, since files leave unlinked ones out."""
        saved = self.nodes[node_id].get("inputs") or []
        if node_id not in self.inner:
            return list(saved)
        by_name = {slot["name"]: slot for slot in saved}
        return [by_name.get(entry["name"], entry) for entry in self.inner[node_id].entries]

    def exit(self, slot: int) -> str | None:
        """The id of the link that feeds output `slot` of this subgraph."""
        return next((key for key, wire in self.wires.items() if wire[2:] == (EXIT, slot)), None)


def read_scopes(ui: Any) -> Scope:
    """The root scope of a file in UI format; `WorkflowError` for anything else."""
    if not isinstance(ui, Mapping) or not isinstance(ui.get("nodes"), list):
        raise WorkflowError(
            "is no workflow as ComfyUI's UI saves it: it has no list of nodes.",
            field="ui",
            way_out="Export it with Workflow > Export; a file in API format needs no conversion.",
        )
    return _inside(_scope("", ui), _definitions(ui), ())


def fault(scope: Scope, node_id: str, message: str, way_out: str) -> WorkflowError:
    """The error about one node of a file: its id, class and title, what is wrong, what to do."""
    node = scope.nodes[node_id]
    called = f"{node['type']} {node['title']!r}" if node.get("title") else node["type"]
    return WorkflowError(
        f"{called} {message}", field=f"node {scope.path}{node_id}", value=node["type"], way_out=way_out
    )


def _definitions(ui: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Subgraph definitions by id; files keep them at the root, older ones also inside each other."""
    found: dict[str, Mapping[str, Any]] = {}
    for definition in (ui.get("definitions") or {}).get("subgraphs") or ():
        found |= {definition["id"]: definition} | _definitions(definition)
    return found


def _scope(path: str, graph: Mapping[str, Any]) -> Scope:
    nodes: dict[str, SavedNode] = {}
    for node in graph["nodes"]:
        if not isinstance(node, Mapping) or "id" not in node or not isinstance(node.get("type"), str):
            raise WorkflowError("a node has no id or no type.", field="nodes", value=node, way_out="Export it again.")
        nodes[str(node["id"])] = node
    return Scope(path, nodes, dict(_wires(graph.get("links") or ())))


def _wires(links: Any) -> Iterator[tuple[str, Wire]]:
    for link in links:
        match link:
            case {"id": key, "origin_id": a, "origin_slot": i, "target_id": b, "target_slot": j}:
                yield str(key), Wire(str(a), int(i), str(b), int(j))
            case [key, a, i, b, j, *_]:
                yield str(key), Wire(str(a), int(i), str(b), int(j))
            case None:  # old files keep holes
                continue
            case _:
                raise WorkflowError("is no link.", field="links", value=link, way_out="Export the workflow again.")


def _inside(scope: Scope, definitions: Mapping[str, Mapping[str, Any]], open_ids: tuple[str, ...]) -> Scope:
    """The scope with every instance in it opened."""
    for node_id, node in scope.nodes.items():
        kind = node["type"]
        if kind not in definitions:
            continue
        if kind in open_ids:
            raise fault(scope, node_id, "is a subgraph that holds itself.", "Unpack it in ComfyUI.")
        definition = definitions[kind]
        inner = _scope(f"{scope.path}{node_id}:", definition)
        inner.owner, inner.instance, inner.entries = scope, node, list(definition.get("inputs") or ())
        for key, value in _own_values(scope, node_id, inner):
            if key[0] == "-1":
                inner.promoted[key[1]] = value
            else:
                inner.overrides[key] = value
        scope.inner[node_id] = _inside(inner, definitions, (*open_ids, kind))
    return scope


def _own_values(scope: Scope, node_id: str, inner: Scope) -> Iterator[tuple[tuple[str, str], Any]]:
    """((inner node id, or "-1" for an own input; widget), value) of an instance's widgets, where a value is saved.

    `properties.proxyWidgets` names the widgets in their order; older files leave it out, and the instance has one
    widget for each input that ends in a widget inside. The outer graph may hold a newer value for the same widget.
    """
    node = scope.nodes[node_id]
    proxies = (node.get("properties") or {}).get("proxyWidgets")
    if proxies is None:
        drawn = {slot["link"] for n in inner.nodes.values() for slot in n.get("inputs") or () if slot.get("widget")}
        keys = [("-1", entry["name"]) for entry in inner.entries if drawn & set(entry.get("linkIds") or ())]
    else:
        keys = [(str(proxy[0]), str(proxy[1])) for proxy in proxies]
    saved = node.get("widgets_values") or ()
    for place, key in enumerate(keys):
        own = saved.get(key[1]) if isinstance(saved, Mapping) else saved[place] if place < len(saved) else None
        value = scope.overrides.get((node_id, key[1]), own)
        if value is not None:
            yield key, value
