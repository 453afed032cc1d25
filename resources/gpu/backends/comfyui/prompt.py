"""The graph as it is sent, and its files as they come back.

Belongs here: what the wire needs and the job does not say: an attempt's own file names, the names that the server gave
to uploads, and the way back from history's outputs to the names that the job asked for. No HTTP.

A graph that a warm server has just run is served from its cache: SaveImage writes nothing and history shows the old
names. So each attempt saves under a prefix of its own: SaveImage runs again, everything before it stays cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.gpu.errors import OutputRejected

MAX_FILES = 64  # our largest graph saves ten
_IMAGE_INPUTS = {"LoadImage": "image"}  # class -> the input that names an uploaded file


@dataclass(frozen=True)
class OutputFile:
    """A file that a prompt saved: `name` as the job asked for it, `place` as /view wants it."""

    name: str
    place: dict[str, str]


def mark_of(attempt_id: str) -> str:
    """What is appended to every filename_prefix of an attempt: 48 bits of its id are enough not to meet another."""
    return f"-a{attempt_id.replace('-', '')[:12]}"


def prepared(graph: Mapping[str, Any], attempt_id: str, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The graph for one attempt: its own filename prefixes, and inputs under the names that the server gave them."""
    return {node_id: _prepared_node(node, mark_of(attempt_id), renamed) for node_id, node in graph.items()}


def output_files(entry: Mapping[str, Any], attempt_id: str) -> list[OutputFile]:
    """What a finished prompt saved, previews left out. Raises OutputRejected for more files than any job has."""
    mark = mark_of(attempt_id)
    files = []
    for output in (entry.get("outputs") or {}).values():
        for image in output.get("images") or ():
            if image.get("type") != "output":
                continue
            place = {key: str(image.get(key, "")) for key in ("filename", "subfolder", "type")}
            name = "/".join(part for part in (place["subfolder"].replace("\\", "/"), place["filename"]) if part)
            files.append(OutputFile(name.replace(mark, ""), place))
    if len(files) > MAX_FILES:
        raise OutputRejected(f"{len(files)} files came back; at most {MAX_FILES} are taken.", code="extra_output")
    return files


def classes_of(graph: Mapping[str, Any]) -> set[str]:
    """The node classes that a graph uses."""
    return {str(node.get("class_type")) for node in graph.values()}


def _prepared_node(node: Mapping[str, Any], mark: str, renamed: Mapping[str, str]) -> dict[str, Any]:
    inputs = dict(node["inputs"])
    if isinstance(inputs.get("filename_prefix"), str):
        inputs["filename_prefix"] += mark
    key = _IMAGE_INPUTS.get(node["class_type"], "")
    if inputs.get(key) in renamed:
        inputs[key] = renamed[inputs[key]]
    return {**node, "inputs": inputs}
