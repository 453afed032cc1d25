"""What goes wrong where a workflow holds subgraphs: ids, wires through their walls, and widgets shown outside."""

from typing import Any

import pytest

from tests.unit.test_convert import CLASSES, SAMPLE, Ui, graph, inputs, node, subgraph
from workflows.convert import convert
from workflows.errors import WorkflowError

# Inside: a patch (1) between input `model` and output MODEL, whose weight is promoted as input `weight`.
PATCH = subgraph(
    "patch",
    [node(1, "Patch", [0.5], ins=[("model", "MODEL", 1), ("weight", "FLOAT", 3, "widget")], outs=["MODEL"])],
    [(1, -10, 0, 1, 0, "MODEL"), (2, 1, 0, -20, 0, "MODEL"), (3, -10, 1, 1, 1, "FLOAT")],
    ins=[("model", "MODEL", [1]), ("weight", "FLOAT", [3])],
    outs=["MODEL"],
)
# Around it: another subgraph that only holds an instance (4) of it.
OUTER = subgraph(
    "outer",
    [node(4, "patch", ins=[("model", "MODEL", 1), ("weight", "FLOAT", 3, "widget")], outs=["MODEL"])],
    [(1, -10, 0, 4, 0, "MODEL"), (2, 4, 0, -20, 0, "MODEL"), (3, -10, 1, 4, 1, "FLOAT")],
    ins=[("model", "MODEL", [1]), ("strength", "FLOAT", [3])],
    outs=["MODEL"],
)


def around(instance: Ui, *subgraphs: Ui, more: Any = (), links: Any = ()) -> Ui:
    """A loader (1), an instance (2) fed by it, and a sampler (9) fed by the instance."""
    ends = [
        node(1, "Load", ["a"], outs=["MODEL", "CLIP"]),
        node(9, "Sample", SAMPLE, ins=[("model", "MODEL", 5)], outs=["LATENT"]),
    ]
    return graph([*ends, instance, *more], [(4, 1, 0, 2, 0, "MODEL"), (5, 2, 0, 9, 0, "MODEL"), *links], subgraphs)


def instance(type_: str = "patch", values: Any = (), proxies: Any = None, **more: Any) -> Ui:
    """An instance (2) whose model is link 4."""
    properties = {} if proxies is None else {"proxyWidgets": proxies}
    return node(2, type_, values, ins=[("model", "MODEL", 4)], outs=["MODEL"], properties=properties, **more)


def test_inner_nodes_bear_the_instance_s_id() -> None:
    """Wires go in and out through the walls; the instance itself is no node."""
    prompt = convert(around(instance(), PATCH), object_info=CLASSES)
    assert {k: v["inputs"].get("model") for k, v in prompt.items()} == {"1": None, "2:1": ["1", 0], "9": ["2:1", 0]}


def test_nested_ids_are_paths() -> None:
    """Three levels give `2:4:1`."""
    prompt = convert(around(instance("outer"), OUTER, PATCH), object_info=CLASSES)
    assert prompt.keys() == {"1", "9", "2:4:1"}
    assert prompt["9"]["inputs"]["model"] == ["2:4:1", 0]
    assert prompt["2:4:1"]["inputs"] == {"model": ["1", 0], "weight": 0.5}


def test_nested_definitions_are_found() -> None:
    """Older files keep a definition inside the one that uses it."""
    outer = {**OUTER, "definitions": {"subgraphs": [PATCH]}}
    assert "2:4:1" in convert(around(instance("outer"), outer), object_info=CLASSES)


@pytest.mark.parametrize(
    ("values", "proxies", "weight"),
    [
        ([0.9], None, 0.9),  # older files: one widget for each input that ends in a widget
        ([0.9], [["-1", "weight"]], 0.9),  # promoted by an input
        ([0.9], [["1", "weight"]], 0.9),  # promoted straight from the inner node
        ([None], [["1", "weight"]], 0.5),  # no value saved: the inner node's own
        ([], [["-1", "weight"]], 0.5),
        ([], None, 0.5),
        ([3, 0.9], [["1", "control_after_generate"], ["-1", "weight"]], 0.9),  # places count
        ({"weight": 0.9}, None, 0.9),
    ],
)
def test_promoted_widget_says_the_value(values: Any, proxies: Any, weight: float) -> None:
    """What the instance shows outside wins over what the definition holds."""
    assert inputs(around(instance(values=values, proxies=proxies), PATCH), "2:1")["weight"] == weight


def test_two_instances_have_their_own_values() -> None:
    """One definition, two weights."""
    other = node(3, "patch", [0.2], ins=[("model", "MODEL", 5)], outs=["MODEL"])
    prompt = convert(around(instance(values=[0.9]), PATCH, more=[other]), object_info=CLASSES)
    assert (prompt["2:1"]["inputs"]["weight"], prompt["3:1"]["inputs"]["weight"]) == (0.9, 0.2)
    assert prompt["3:1"]["inputs"]["model"] == ["2:1", 0]


@pytest.mark.parametrize("proxies", [[["-1", "strength"]], [["4", "weight"]]])
def test_widget_promoted_twice_arrives(proxies: Any) -> None:
    """Through an input of both levels, or from the outer instance straight to the inner one's widget."""
    assert inputs(around(instance("outer", [0.7], proxies), OUTER, PATCH), "2:4:1")["weight"] == 0.7


def test_link_wins_over_the_promoted_widget() -> None:
    """An outer link to a promoted input is a link of the inner node."""
    linked = instance(values=[0.9])
    linked["inputs"].append({"name": "weight", "type": "FLOAT", "link": 6, "widget": {"name": "weight"}})
    number = node(3, "Plain", [1, 2], outs=["INT"])
    ui = around(linked, PATCH, more=[number], links=[(6, 3, 0, 2, 1, "INT")])
    assert inputs(ui, "2:1")["weight"] == ["3", 0]


def test_primitive_outside_reaches_the_widget_inside() -> None:
    """A primitive linked to a promoted widget gives its value to the inner node."""
    linked = instance()
    linked["inputs"].append({"name": "weight", "type": "FLOAT", "link": 6, "widget": {"name": "weight"}})
    ui = around(linked, PATCH, more=[node(3, "PrimitiveNode", [0.3, "fixed"])], links=[(6, 3, 0, 2, 1, "FLOAT")])
    assert inputs(ui, "2:1")["weight"] == 0.3


def test_getter_inside_sees_the_setter_outside() -> None:
    """Names are looked up in the graph itself, then around it."""
    inner = subgraph(
        "got",
        [node(1, "GetNode", ["base"], outs=["MODEL"]), node(2, "Patch", [1.0], ins=[("model", "MODEL", 1)])],
        [(1, 1, 0, 2, 0, "MODEL"), (2, 2, 0, -20, 0, "MODEL")],
        outs=["MODEL"],
    )
    setter = node(3, "SetNode", ["base"], ins=[("MODEL", "MODEL", 7)])
    ui = around(instance("got"), inner, more=[setter], links=[(7, 1, 0, 3, 0, "MODEL")])
    assert inputs(ui, "2:2")["model"] == ["1", 0]


def test_muted_instance_hides_everything_inside() -> None:
    """Its nodes are gone, and so is what hung on them."""
    prompt = convert(around(instance(mode=2), PATCH), object_info=CLASSES)
    assert prompt.keys() == {"1", "9"}
    assert "model" not in prompt["9"]["inputs"]


def test_bypassed_instance_hands_its_input_on() -> None:
    """It passes by type, as one node would."""
    prompt = convert(around(instance(mode=4), PATCH), object_info=CLASSES)
    assert prompt.keys() == {"1", "9"}
    assert prompt["9"]["inputs"]["model"] == ["1", 0]


def test_bypassed_node_inside_lets_the_outside_through() -> None:
    """A bypassed patch in a subgraph leads to the loader outside."""
    inner = {**PATCH, "nodes": [{**PATCH["nodes"][0], "mode": 4}]}
    assert inputs(around(instance(), inner), "9")["model"] == ["1", 0]


def test_wall_to_wall_wire_is_followed() -> None:
    """A link from a subgraph's input straight to its output is a piece of wire."""
    wire = subgraph("wire", [], [(1, -10, 0, -20, 0, "M")], ins=[("model", "MODEL", [1])], outs=["MODEL"])
    assert inputs(around(instance("wire"), wire), "9")["model"] == ["1", 0]


def test_unfed_output_is_no_link() -> None:
    """An output that nothing inside feeds leaves the consumer open."""
    assert "model" not in inputs(around(instance("empty"), subgraph("empty", [], [], outs=["MODEL"])), "9")


def test_subgraph_in_itself_is_refused() -> None:
    """A file that was put together by hand cannot make us recurse for ever."""
    with pytest.raises(WorkflowError, match="holds itself"):
        convert(around(instance("loop"), subgraph("loop", [node(1, "loop")], [])), object_info=CLASSES)
