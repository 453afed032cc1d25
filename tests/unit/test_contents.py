"""What goes wrong when a finished graph is read back: words by a title instead of the wiring, a file overlooked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from workflows.base_image import base_image
from workflows.character_sheet import SheetImage, character_sheet
from workflows.contents import contents
from workflows.errors import WorkflowError
from workflows.examples import LORA_FILES, POSE_IMAGES, REFERENCE_IMAGE, examples, option_examples
from workflows.lora_generation import lora_generation
from workflows.models import model_files
from workflows.precision import in_fp32
from workflows.requests import ImageRequest

Graph = dict[str, dict[str, Any]]
WORDS = ("a red scarf", "a blue scarf")


def two(base_model: str) -> Graph:
    """Two pictures in one graph."""
    images = [ImageRequest(f"a/{n}", words, "never this", n, 256, 256) for n, words in enumerate(WORDS)]
    return base_image(base_model, images)  # type: ignore[arg-type]


def node_of(graph: Graph, class_type: str, number: int = 0) -> dict[str, Any]:
    """The inputs of one node of a class."""
    inputs: dict[str, Any] = [node["inputs"] for node in graph.values() if node["class_type"] == class_type][number]
    return inputs


@pytest.mark.parametrize("base_model", ["flux-dev", "zimage-turbo"])
def test_each_picture_has_its_own_words(base_model: str) -> None:
    """By the way from its sampler up, whatever conditions lie between; never the negative ones."""
    assert contents(two(base_model)).prompts == {"a/0": WORDS[0], "a/1": WORDS[1]}


def test_words_come_through_a_pose_net() -> None:
    """A node with two conditionings carries each on by its slot."""
    images = [
        SheetImage(f"a/{n}", words, "never this", n, 256, 256, pose=POSE_IMAGES[n]) for n, words in enumerate(WORDS)
    ]
    found = contents(character_sheet(images, reference_image=REFERENCE_IMAGE))
    assert found.prompts == {"a/0": WORDS[0], "a/1": WORDS[1]}
    assert found.pictures == {REFERENCE_IMAGE, *POSE_IMAGES}


def test_every_file_is_told_under_its_role() -> None:
    """Pictures, LoRAs and the models of models.yaml; nothing is left over in any workflow of ours."""
    known = {model.file for model in model_files()}
    for name, graph in examples().items():
        found = contents(graph)
        assert found.prompts, name
        assert found.models <= known, name
        assert found.loras == ({LORA_FILES[name.rpartition("/")[2]]} if name.startswith("lora") else set()), name


def test_precision_changes_nothing_that_is_read() -> None:
    """A picture that is drawn again in 32 bits has another loader, of the same file."""
    for graph in examples().values():
        assert contents(in_fp32(graph)) == contents(graph)


def test_copied_graph_reads_the_same() -> None:
    """Titles and ids mean nothing: JSON makes lists of links, an editor other numbers."""
    graph = lora_generation("flux-dev", [ImageRequest("a", "words", "", 1, 256, 256)], lora_name="x.safetensors")
    renamed = {f"n{key}": {**copy.deepcopy(node), "_meta": {"title": "x"}} for key, node in graph.items()}
    for node in renamed.values():
        node["inputs"] = {k: [f"n{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    assert contents(renamed) == contents(graph)


def chained(graph: Graph) -> None:
    """The second picture starts from the first one's latent: it is drawn of both texts."""
    first = next(key for key, node in graph.items() if node["class_type"] == "KSampler")
    node_of(graph, "KSampler", 1)["latent_image"] = [first, 0]


def unlit(graph: Graph) -> None:
    """Nothing leads the sampler."""
    node_of(graph, "KSampler")["positive"] = 7


def round_about(graph: Graph) -> None:
    """A conditioning that comes from itself."""
    key = next(key for key, node in graph.items() if node["class_type"] == "FluxGuidance")
    graph[key]["inputs"]["conditioning"] = [key, 0]


def from_nowhere(graph: Graph) -> None:
    """A link to a node that is not there."""
    node_of(graph, "KSampler")["positive"] = ["99", 0]


def text_by_link(graph: Graph) -> None:
    """Words that another node would bring."""
    node_of(graph, "CLIPTextEncode")["text"] = ["1", 0]


def other_slot(graph: Graph) -> None:
    """An output that carries no text."""
    node_of(graph, "KSampler")["positive"] = [node_of(graph, "KSampler")["positive"][0], 1]


def same_name(graph: Graph) -> None:
    """Two pictures of one name: which words are whose?"""
    node_of(graph, "SaveImage", 1)["filename_prefix"] = "a/0"


def no_inputs(graph: Graph) -> None:
    """A node without inputs."""
    del graph["1"]["inputs"]


def no_node(graph: Graph) -> None:
    """Something else where a node should be."""
    graph["1"] = "node"  # type: ignore[assignment]


@pytest.mark.parametrize(
    "change",
    [chained, unlit, round_about, from_nowhere, text_by_link, other_slot, same_name, no_inputs, no_node],
    ids=lambda change: change.__name__,
)
def test_graph_whose_words_cannot_be_told_is_an_error(change: Callable[[Graph], None]) -> None:
    """With the node that it fails at; nothing is guessed."""
    graph = two("flux-dev")
    change(graph)
    with pytest.raises(WorkflowError, match="node ") as caught:
        contents(graph)
    assert caught.value.field == "graph"


@pytest.mark.parametrize("name", ["face-swap/flux-dev-ip-adapter", "lora-generation/flux-dev-clip"])
def test_option_s_nodes_are_none_of_the_stages(name: str) -> None:
    """What must be asked for by name (a style that is no person) is in no graph of the pipeline."""
    with pytest.raises(WorkflowError, match="no workflow of ours has a node of class"):
        contents(option_examples()[name])
