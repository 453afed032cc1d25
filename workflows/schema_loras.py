"""Is each LoRA of a graph made for the model it is put on? A server loads the wrong one without a word or an effect.

Belongs here: the way from a LoRA node up to the file of its model, and the comparison of the two. What a LoRA file is
for is read by `lora_file`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from workflows.lora_file import LoraInfo
from workflows.models import model_files
from workflows.problems import Problem

_LORA_INPUT: Final = "lora_name"
_MODEL_INPUTS: Final = ("unet_name", "ckpt_name")


def check_loras(prompt: Mapping[str, Any], loras: Mapping[str, LoraInfo]) -> Iterator[Problem]:
    """A problem for each node whose LoRA belongs to another base than the model below it.

    `loras` is file name -> what the file holds; names and models that nobody knows are not judged.
    """
    bases = {model.file: model.base_model for model in model_files()}
    for node_id, node in prompt.items():
        name = _inputs(node).get(_LORA_INPUT)
        info = loras.get(name) if isinstance(name, str) else None
        if info is None:
            continue
        file = _model_file(prompt, node_id)
        base = bases.get(file, "")
        if base and info.base_model != base:
            details = f"{_LORA_INPUT}: {name!r} was trained for {info.base_model}, {file!r} is {base}"
            message = "LoRA belongs to another base model"
            yield Problem("lora_of_another_base", message, details, str(node_id), node["class_type"], _LORA_INPUT)


def _model_file(prompt: Mapping[str, Any], node_id: str) -> str:
    """The file that the chain of `model` inputs above a node starts from; empty where it ends nowhere."""
    seen: set[str] = set()
    while node_id in prompt and node_id not in seen:
        seen.add(node_id)
        inputs = _inputs(prompt[node_id])
        for name in _MODEL_INPUTS:
            if isinstance(inputs.get(name), str):
                return str(inputs[name])
        link = inputs.get("model")
        node_id = str(link[0]) if isinstance(link, list | tuple) and link else ""
    return ""


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}
