"""Where a link of a saved graph really comes from.

Belongs here: following a link through reroutes, set and get nodes, bypassed nodes, and into and out of subgraphs, to
the node output (or the fixed value) that it stands for.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from workflows.convert_scopes import BYPASSED, ENTRY, MUTED, Scope, fault
from workflows.graph import Link


class Fixed(NamedTuple):
    """A link that ends in a value: a primitive node's, or an instance's own widget."""

    value: Any


def source_of(scope: Scope, slot: Mapping[str, Any]) -> Link | Fixed | None:
    """What feeds `slot`, an input slot of a node in `scope`; None if nothing does.

    A muted source is returned as it is: its node is not emitted, and who links to it is told so by the server.
    """
    return _behind(scope, slot.get("link"), str(slot.get("type") or "*"), frozenset())


def _behind(scope: Scope, link: Any, wanted: str, seen: frozenset[Link]) -> Link | Fixed | None:
    wire = None if link is None else scope.wires.get(str(link))
    if wire is None:
        return None
    if wire.origin != ENTRY:
        return _output(scope, wire.origin, wire.origin_slot, wanted, seen)
    if scope.owner is None or wire.origin_slot >= len(scope.entries):
        return None
    name = scope.entries[wire.origin_slot]["name"]
    outer = next((slot.get("link") for slot in scope.instance.get("inputs") or () if slot["name"] == name), None)
    found = _behind(scope.owner, outer, wanted, seen)
    if found is None and name in scope.promoted:
        return Fixed(scope.promoted[name])
    return found


def _output(scope: Scope, node_id: str, slot: int, wanted: str, seen: frozenset[Link]) -> Link | Fixed | None:
    """What output `slot` of a node carries for an input of type `wanted`."""
    node = scope.nodes.get(node_id)
    if node is None:
        return None
    here = Link(scope.path + node_id, slot)
    if here in seen:
        raise fault(scope, node_id, "feeds itself.", "Cut the circle in ComfyUI.")
    seen |= {here}
    if node.get("mode") == BYPASSED:
        return _input(scope, node_id, _bypass(scope, node_id, slot, wanted), wanted, seen)
    if node_id in scope.inner and node.get("mode") != MUTED:
        inner = scope.inner[node_id]
        return _behind(inner, inner.exit(slot), wanted, seen)
    if node["type"] in ("Reroute", "SetNode"):
        return _input(scope, node_id, slot, wanted, seen)
    if node["type"] == "GetNode":
        setter_scope, setter = _setter(scope, node_id)
        return _input(setter_scope, setter, 0, wanted, seen)
    if node["type"] == "PrimitiveNode":
        values = node.get("widgets_values") or ()
        return Fixed(values[0]) if values else None
    return here


def _input(scope: Scope, node_id: str, index: int, wanted: str, seen: frozenset[Link]) -> Link | Fixed | None:
    slots = scope.slots(node_id)
    return _behind(scope, slots[index].get("link"), wanted, seen) if 0 <= index < len(slots) else None


def _bypass(scope: Scope, node_id: str, slot: int, wanted: str) -> int:
    """The input that a bypassed node hands on at output `slot`: same place, same type, fitting type, or none (-1)."""
    inputs = [str(s.get("type") or "*") for s in scope.slots(node_id)]
    outputs = scope.nodes[node_id].get("outputs") or ()
    given = str(outputs[slot].get("type") or "*") if slot < len(outputs) else "*"
    fits = [_connects(kind, given) and _connects(kind, wanted) for kind in inputs]
    if wanted == "*":
        return slot if slot < len(inputs) else 0
    if slot < len(inputs) and fits[slot]:
        return slot
    if wanted in inputs:
        return inputs.index(wanted)
    return fits.index(True) if True in fits else -1


def _connects(one: str, other: str) -> bool:
    """LiteGraph's rule: `*` fits all, case does not count, a comma separates alternatives."""
    if "*" in (one, other):
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))


def _setter(scope: Scope, node_id: str) -> tuple[Scope, str]:
    """The set node whose name a get node asks for, in the same graph or in one around it."""
    name = _constant(scope.nodes[node_id])
    around: Scope | None = scope
    while around is not None:
        for other_id, other in around.nodes.items():
            if other["type"] == "SetNode" and _constant(other) == name:
                return around, other_id
        around = around.owner
    raise fault(scope, node_id, f"asks for {name!r}, which no SetNode sets.", "Set it, or link it.")


def _constant(node: Mapping[str, Any]) -> Any:
    values = node.get("widgets_values") or ()
    return values.get("Constant") if isinstance(values, Mapping) else values[0] if values else None
