"""A ComfyUI graph under construction.

Belongs here: nodes, links and their numbering. Not what a node means (`base_models`, `pulid`, the builders) and not
whether a server would take it (`schema`).

A graph is written once and read as ComfyUI's API ("prompt") format: `{id: {class_type, inputs, _meta}}`. Ids are
strings, since an integer id in a link fails on the server; they count up in the order of adding, so equal calls give
equal graphs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from workflows.errors import WorkflowError


class Link(NamedTuple):
    """One output of a node, as the input of another."""

    node_id: str
    slot: int


Value: TypeAlias = str | int | float | Link
Prompt: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Node:
    """A node that was added to a graph."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Value]

    def out(self, slot: int = 0) -> Link:
        """Output number `slot` of this node."""
        return Link(self.id, slot)

    def __getitem__(self, slot: int) -> Link:
        return self.out(slot)


class Graph:
    """Nodes in the order they were added."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._shared: dict[tuple[object, ...], Node] = {}

    def add(self, class_type: str, *, title: str, **inputs: Value) -> Node:
        """Add a node and return it; `inputs` are literals or links to nodes of this graph."""
        for name, value in inputs.items():
            self._check(class_type, name, value)
        node = Node(id=str(len(self._nodes) + 1), class_type=class_type, title=title, inputs=inputs)
        self._nodes.append(node)
        return node

    def shared(self, class_type: str, *, title: str, **inputs: Value) -> Node:
        """The node of this class with exactly these inputs: added at the first call, found again afterwards.

        For what gives the same result for every image of a graph (loaders, equal texts, equal sizes), so that the
        worker loads and computes it once.
        """
        key = (class_type, *((name, type(value), value) for name, value in sorted(inputs.items())))
        if key not in self._shared:
            self._shared[key] = self.add(class_type, title=title, **inputs)
        return self._shared[key]

    def prompt(self) -> Prompt:
        """The graph in API format, with each title under `_meta`."""
        return {
            node.id: {
                "class_type": node.class_type,
                "inputs": {k: list(v) if isinstance(v, Link) else v for k, v in node.inputs.items()},
                "_meta": {"title": node.title},
            }
            for node in self._nodes
        }

    def _check(self, class_type: str, name: str, value: Value) -> None:
        if isinstance(value, Link) and not 0 < int(value.node_id) <= len(self._nodes):
            raise WorkflowError(
                f"links to node {value.node_id}, which this graph does not hold.",
                field=f"{class_type}.{name}",
                value=value,
                way_out="Link to a node that the same graph's add() returned.",
            )
        if not isinstance(value, str | int | float | Link):
            raise WorkflowError(
                f"is a {type(value).__name__}, which a graph cannot hold.",
                field=f"{class_type}.{name}",
                value=value,
                way_out="Give a string, a number, a truth value or a link.",
            )
