"""Executes a ComfyUI graph in API format: walks it from its SaveImage nodes and keeps what they save.

Belongs here: links, laziness, memory of finished nodes, errors with a node's id. Does not belong here: their meaning.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import PngImagePlugin

from resources.gpu.backends.preview.book import IdentityBook
from resources.gpu.backends.preview.errors import ExecutionError
from resources.gpu.backends.preview.identity import Identity
from resources.gpu.backends.preview.nodes import NODES, Context, Picture
from resources.gpu.backends.preview.render import CAPTION
from resources.images import pixels_sha256

__all__ = ["Drawn", "ExecutionError", "IdentityBook", "run_workflow"]

Prompt = Mapping[str, Mapping[str, Any]]
OUTPUT = "SaveImage"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One saved picture: which node saved it, its number within that node, its bytes, and who is on it."""

    node_id: str
    filename_prefix: str
    index: int
    png: bytes
    pixels_sha256: str
    identity: Identity | None


def run_workflow(
    prompt: Prompt,
    *,
    files: Mapping[str, bytes],
    loras: Mapping[str, bytes],
    book: IdentityBook,
    lexicon: Mapping[str, object],
    on_image: Callable[[int], None] | None = None,
) -> list[Drawn]:
    """Every picture that the graph saves, by node in the prompt's order; each person is recorded in `book`.

    `files` are uploads by the name that LoadImage gives, `loras` by lora_name. `on_image` hears the number of pictures
    saved so far, and may stop the run by raising. Raises ExecutionError with the node that
    failed; the same prompt and inputs give the same pixels.
    """
    run = _Run(prompt, Context(files, loras, book, lexicon))
    outputs = [node_id for node_id, entry in prompt.items() if entry.get("class_type") == OUTPUT]
    if not outputs:
        raise ExecutionError("", "", "prompt_no_outputs", "Prompt has no outputs: add a SaveImage node")
    drawn = []
    for node_id in outputs:
        inputs = run.inputs(node_id)
        for index, picture in enumerate(inputs["images"]):
            drawn.append(_saved(prompt, node_id, str(inputs["filename_prefix"]), index, picture))
            if picture.identity is not None:
                book.put(drawn[-1].pixels_sha256, picture.identity)
            if on_image is not None:
                on_image(len(drawn))
    return drawn


class _Run:
    """One execution: the graph, and the outputs of the nodes that are done."""

    def __init__(self, prompt: Prompt, context: Context) -> None:
        self.prompt, self.context = prompt, context
        self.done: dict[str, tuple[Any, ...]] = {}
        self.open: list[str] = []

    def inputs(self, node_id: str) -> dict[str, Any]:
        """The node's inputs with every link replaced by the value that it carries."""
        if node_id in self.open:
            raise self.error(node_id, "dependency_cycle", f"the graph runs in a circle through {', '.join(self.open)}")
        self.open.append(node_id)
        entry = self.prompt[node_id].get("inputs", {})
        values = {name: self._value(node_id, value) for name, value in entry.items()}
        self.open.pop()
        return values

    def error(self, node_id: str, kind: str, message: str) -> ExecutionError:
        return ExecutionError(node_id, str(self.prompt.get(node_id, {}).get("class_type", "")), kind, message)

    def _value(self, node_id: str, value: Any) -> Any:
        if not (
            isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
        ):
            return value
        source, slot = value
        outputs = self._outputs(node_id, source)
        if not 0 <= slot < len(outputs):
            raise self.error(node_id, "bad_linked_input", f"node {source} has no output {slot}")
        return outputs[slot]

    def _outputs(self, asker: str, node_id: str) -> tuple[Any, ...]:
        if node_id in self.done:
            return self.done[node_id]
        if node_id not in self.prompt:
            raise self.error(asker, "bad_linked_input", f"link to node {node_id}, which does not exist")
        class_type = str(self.prompt[node_id].get("class_type", ""))
        if class_type not in NODES:
            raise self.error(node_id, "missing_node_type", f"the preview does not know node class {class_type!r}")
        inputs = self.inputs(node_id)
        try:
            outputs = NODES[class_type](self.context, inputs)
        except KeyError as error:
            raise self.error(node_id, "required_input_missing", f"Required input is missing: {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise self.error(node_id, type(error).__name__, str(error)) from error
        self.done[node_id] = outputs
        return outputs


def _saved(prompt: Prompt, node_id: str, prefix: str, index: int, picture: Picture) -> Drawn:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", CAPTION)
    text.add_text("prompt", json.dumps(prompt))
    stream = io.BytesIO()
    picture.pixels.save(stream, "PNG", pnginfo=text, compress_level=4)
    return Drawn(node_id, prefix, index, stream.getvalue(), pixels_sha256(picture.pixels), picture.identity)
