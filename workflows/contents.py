"""What a finished graph says and reads: the words of each picture, the files that it loads.

Belongs here: reading a graph in API format back by its wiring, from SaveImage to the texts that reach a sampler. A
graph is made once and kept in rows, so what is about to be sent need not be what was built: nothing is taken from
titles or node ids, and a node that no builder makes is an error, for nobody knows what it reads. Whether any of it may
be drawn is for others to say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from workflows.errors import WorkflowError
from workflows.examples import examples
from workflows.object_info import FILE_FOLDERS
from workflows.precision import in_fp32

_TEXT: Final = "CLIPTextEncode"
_SAMPLER: Final = "KSampler"
_SAVE: Final = "SaveImage"
# Class -> the inputs whose conditioning its outputs carry on, by slot.
_PASSED_ON: Final = {"FluxGuidance": ("conditioning",), "ControlNetApplyAdvanced": ("positive", "negative")}
_INPUT_FOLDER: Final = "input"
_LORA_FOLDER: Final = "loras"


@dataclass(frozen=True, slots=True)
class Contents:
    """What it says and reads; file names are as the graph spells them."""

    prompts: Mapping[str, str]  # filename_prefix -> the words that the picture is drawn of
    pictures: frozenset[str]  # of the server's input folder
    loras: frozenset[str]
    models: frozenset[str]  # all other model files


def contents(prompt: Mapping[str, Any]) -> Contents:
    """Read a graph in API format.

    Raises `WorkflowError` for a node that none of our builders makes, and for a picture whose words cannot be told.
    """
    for node_id in prompt:
        _check_class(prompt, node_id)
    files = [file for node_id in prompt for file in _files(prompt, node_id)]
    prompts = {}
    for node_id in prompt:
        if _class(prompt, node_id) == _SAVE:
            prefix = _literal(prompt, node_id, "filename_prefix")
            if prefix in prompts:
                raise _unreadable(node_id, f"a second picture is called {prefix!r}")
            prompts[prefix] = _words(prompt, node_id)
    folders = {folder: frozenset(name for at, name in files if at == folder) for folder, _ in files}
    return Contents(
        prompts=prompts,
        pictures=folders.pop(_INPUT_FOLDER, frozenset()),
        loras=folders.pop(_LORA_FOLDER, frozenset()),
        models=frozenset().union(*folders.values()),
    )


def _words(prompt: Mapping[str, Any], save: str) -> str:
    """The one text that every sampler above a picture is led by."""
    samplers = [node_id for node_id in _above(prompt, save) if _class(prompt, node_id) == _SAMPLER]
    texts = {_text(prompt, sampler) for sampler in samplers}
    if len(texts) != 1:
        raise _unreadable(save, f"{len(texts)} texts lead to it, one is due")
    return texts.pop()


def _above(prompt: Mapping[str, Any], start: str) -> set[str]:
    """Every node that `start` depends on, itself included."""
    seen, waiting = set(), [start]
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen:
            seen.add(node_id)
            waiting += [value[0] for value in _inputs(prompt, node_id).values() if isinstance(value, list | tuple)]
    return seen


def _text(prompt: Mapping[str, Any], sampler: str) -> str:
    """The literal at the end of a sampler's positive conditioning."""
    node_id, name = sampler, "positive"
    for _ in prompt:
        link = _inputs(prompt, node_id).get(name)
        if not isinstance(link, list | tuple) or len(link) != 2 or not isinstance(link[1], int):
            raise _unreadable(node_id, f"its {name} is no link")
        node_id, slot = link
        if _class(prompt, node_id) == _TEXT:
            return _literal(prompt, node_id, "text")
        passed_on = _PASSED_ON.get(_class(prompt, node_id), ())
        if not 0 <= slot < len(passed_on):
            raise _unreadable(node_id, "no text leads through it")
        name = passed_on[slot]
    raise _unreadable(sampler, "its conditioning goes in a circle")


def _files(prompt: Mapping[str, Any], node_id: str) -> Iterator[tuple[str, str]]:
    """(folder, name) of each file that a node loads; what is linked there instead comes from another node."""
    for name, value in _inputs(prompt, node_id).items():
        if name in FILE_FOLDERS and isinstance(value, str):
            yield FILE_FOLDERS[name], value


def _literal(prompt: Mapping[str, Any], node_id: str, name: str) -> str:
    value = _inputs(prompt, node_id).get(name)
    if not isinstance(value, str):
        raise _unreadable(node_id, f"its {name} is no text")
    return value


def _check_class(prompt: Mapping[str, Any], node_id: str) -> None:
    if _class(prompt, node_id) not in _ours():
        raise _unreadable(node_id, f"no workflow of ours has a node of class {_class(prompt, node_id)!r}")


def _class(prompt: Mapping[str, Any], node_id: object) -> str:
    node = prompt.get(node_id) if isinstance(node_id, str) else None
    if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
        raise _unreadable(node_id, "there is no such node")
    return str(node["class_type"])


def _inputs(prompt: Mapping[str, Any], node_id: str) -> Mapping[str, Any]:
    _class(prompt, node_id)
    inputs = prompt[node_id].get("inputs")
    if not isinstance(inputs, Mapping):
        raise _unreadable(node_id, "it has no inputs")
    return inputs


@cache
def _ours() -> frozenset[str]:
    """The classes of all nodes that the stages' graphs are made of, in either precision."""
    graphs = [made for graph in examples().values() for made in (graph, in_fp32(graph))]
    return frozenset(node["class_type"] for graph in graphs for node in graph.values())


def _unreadable(node_id: object, why: str) -> WorkflowError:
    return WorkflowError(f"node {node_id!r}: {why}.", field="graph", value=node_id)
