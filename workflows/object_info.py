"""What a server's nodes take and give: the stored object_info, read into types.

Belongs here: reading the two shapes ComfyUI describes its inputs in. Not the judgement of a graph (`schema`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

STORED: Final = Path(__file__).with_name("object_info.json")

# Inputs that name a file of the server, and the models folder (or "input") it must lie in. In object_info they are
# lists of whatever that one server has, and empty in the stored copy.
FILE_FOLDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unet_name": "diffusion_models",
        "clip_name": "text_encoders",
        "clip_name1": "text_encoders",
        "clip_name2": "text_encoders",
        "clip_name3": "text_encoders",
        "vae_name": "vae",
        "lora_name": "loras",
        "control_net_name": "controlnet",
        "pulid_file": "pulid",
        "ipadapter": "ipadapter-flux",
        "ckpt_name": "checkpoints",
        "image": "input",
    }
)
LITERAL_TYPES: Final = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input: `type` is COMBO for a list of `options`, a literal type, or a socket type such as MODEL."""

    name: str
    type: str
    required: bool
    options: tuple[object, ...]
    config: Mapping[str, Any]

    @property
    def folder(self) -> str | None:
        """The folder whose files this input names, if it names any."""
        return FILE_FOLDERS.get(self.name) if self.type == "COMBO" else None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node class: its inputs by name, its output types by slot."""

    class_type: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    output_node: bool


def node_specs(object_info: Mapping[str, Any] | None = None) -> Mapping[str, NodeSpec]:
    """Specs by class name, of a server's object_info or (None) of the stored one."""
    if object_info is None:
        return _stored_specs()
    return {name: _node(name, info) for name, info in object_info.items()}


@cache
def _stored_specs() -> Mapping[str, NodeSpec]:
    return node_specs(json.loads(STORED.read_text(encoding="utf-8")))


def _node(name: str, info: Mapping[str, Any]) -> NodeSpec:
    inputs: dict[str, InputSpec] = {}
    for section in ("required", "optional"):
        for input_name, spec in (info["input"].get(section) or {}).items():
            inputs[input_name] = _input(input_name, spec, required=section == "required")
    outputs = tuple("COMBO" if isinstance(kind, list) else str(kind) for kind in info["output"])
    return NodeSpec(name, inputs, outputs, bool(info.get("output_node")))


def _input(name: str, spec: list[Any], *, required: bool) -> InputSpec:
    kind, config = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):  # the older shape: the list is the type
        return InputSpec(name, "COMBO", required, tuple(kind), config)
    return InputSpec(name, str(kind), required, tuple(config.get("options", ())), config)
