"""A graph that would not run is refused while it is built."""

import pytest

from workflows.errors import WorkflowError
from workflows.graph import Graph, Link


def test_links_and_titles_reach_the_prompt() -> None:
    """A node's output becomes a two-item list of string id and slot."""
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", title="Loader", ckpt_name="a.safetensors")
    graph.add("VAEDecode", title="Decode", vae=loader[2], samples=loader.out())
    assert graph.prompt() == {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "a.safetensors"},
            "_meta": {"title": "Loader"},
        },
        "2": {
            "class_type": "VAEDecode",
            "inputs": {"vae": ["1", 2], "samples": ["1", 0]},
            "_meta": {"title": "Decode"},
        },
    }


def test_equal_nodes_are_shared_and_unlike_ones_are_not() -> None:
    """Sharing looks at class and inputs; 1 and 1.0 and True are three values."""
    graph = Graph()
    first = graph.shared("FluxGuidance", title="Guidance", guidance=1.0)
    assert graph.shared("FluxGuidance", title="Another title", guidance=1.0) is first
    others = [graph.shared("FluxGuidance", title="Guidance", guidance=value) for value in (1, True, 2.0)]
    assert len({first.id, *(node.id for node in others)}) == 4


@pytest.mark.parametrize("node_id", ["0", "2", "99"])
def test_link_into_another_graph_is_refused(node_id: str) -> None:
    """A link to a node that this graph does not hold is found at once."""
    with pytest.raises(WorkflowError, match="does not hold") as caught:
        Graph().add("VAEDecode", title="Decode", samples=Link(node_id, 0))
    assert caught.value.field == "VAEDecode.samples"


def test_value_that_json_cannot_hold_is_refused() -> None:
    """None, lists and tables are no inputs of a graph."""
    with pytest.raises(WorkflowError, match="list"):
        Graph().add("KSampler", title="Sample", seed=[1, 2])  # type: ignore[arg-type]
