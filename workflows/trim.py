"""Write `object_info.json`: what a ComfyUI server says about the nodes that our workflows use.

Belongs here: the command alone. `python -m workflows.trim FILE`, where FILE is a server's answer to GET /object_info.
Tooltips and search words go; names of local model files go too, since every worker has its own (`models.yaml`).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from workflows.errors import WorkflowError
from workflows.examples import examples, option_examples
from workflows.object_info import FILE_FOLDERS, STORED

_NODE_KEYS: Final = (
    "input",
    "input_order",
    "output",
    "output_name",
    "output_is_list",
    "name",
    "display_name",
    "category",
    "python_module",
    "output_node",
)


def trim(object_info: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entries of the classes that the examples use, options included, without prose and without file names.

    Raises `WorkflowError` for a class that the server does not have.
    """
    prompts = (examples() | option_examples()).values()
    wanted = sorted({str(node["class_type"]) for prompt in prompts for node in prompt.values()})
    missing = [name for name in wanted if name not in object_info]
    if missing:
        raise WorkflowError(
            f"lacks {', '.join(missing)}.",
            field="object_info",
            value=missing,
            way_out="Ask a server that has the node packs of deploy/workers/comfyui.",
        )
    return {name: _trim_node(object_info[name]) for name in wanted}


def _trim_node(node: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: node[key] for key in _NODE_KEYS if key in node}
    kept["input"] = {
        section: {name: _trim_input(name, spec) for name, spec in inputs.items()} if section != "hidden" else inputs
        for section, inputs in node["input"].items()
    }
    return kept


def _trim_input(name: str, spec: list[Any]) -> list[Any]:
    kind, config = spec[0], spec[1] if len(spec) > 1 else {}
    if name in FILE_FOLDERS and isinstance(kind, list):
        kind = []
    config = {key: value for key, value in config.items() if key not in ("tooltip", "advanced")}
    return [kind, config] if config else [kind]


def main(arguments: list[str]) -> int:
    """Read FILE, write the stored copy next to this module; 2 for wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m workflows.trim OBJECT_INFO_FILE\n")
        return 2
    trimmed = trim(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    STORED.write_text(json.dumps(trimmed, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{STORED.name}: {len(trimmed)} node classes, {STORED.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
