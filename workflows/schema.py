"""Is this prompt what the server would run, and what we meant? Asked before a second is paid for.

Belongs here: the judgement of a graph in API format against object_info, in ComfyUI's own words (error types, messages,
the body of its 400). On top of what the server refuses stands what it silently swallows: misspelt inputs, a float seed,
sizes off the model's step, nodes that feed nothing. One literal's judgement is in `schema_values`, a LoRA's in
`schema_loras`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from workflows.lora_file import LoraInfo
from workflows.object_info import LITERAL_TYPES, InputSpec, NodeSpec, node_specs
from workflows.problems import Problem
from workflows.schema_loras import check_loras
from workflows.schema_values import check_literal, meant

__all__ = ["Problem", "as_server_error", "validate"]

_WHOLE_PROMPT = ("missing_node_type", "prompt_no_outputs", "no_prompt")


def validate(
    prompt: object,
    *,
    object_info: Mapping[str, Any] | None = None,
    files: Mapping[str, Collection[str]] | None = None,
    loras: Mapping[str, LoraInfo] | None = None,
) -> list[Problem]:
    """Everything wrong with `prompt`; an empty list means that it may be sent.

    `object_info` is a server's own (None: the stored one). `files` is folder -> names that lie there on the backend;
    a folder it leaves out is judged by the server's lists or by `models.yaml`, except `loras` and `input`, which only
    the caller can know. `loras` is file name -> what that LoRA holds, to be compared with the model it is put on.
    Like the server, it stops at unknown node classes and at a prompt without outputs.
    """
    specs = node_specs(object_info)
    if not isinstance(prompt, Mapping):
        return [Problem("no_prompt", "No prompt provided", "No prompt provided")]
    unknown = [problem for node_id, node in prompt.items() for problem in _check_class(node_id, node, specs)]
    if unknown:
        return unknown
    outputs = [node_id for node_id, node in prompt.items() if specs[node["class_type"]].output_node]
    if not outputs:
        return [Problem("prompt_no_outputs", "Prompt has no outputs", "")]
    problems = [
        problem
        for node_id, node in prompt.items()
        for problem in _check_node(node_id, node, prompt, specs, files or {})
    ]
    return [*problems, *check_loras(prompt, loras or {}), *_check_shape(prompt, outputs)]


def as_server_error(problems: Collection[Problem]) -> dict[str, Any]:
    """The body ComfyUI answers with a 400: one `error`, and the problems of each node under `node_errors`."""
    first = next((p for p in problems if p.type in _WHOLE_PROMPT), None)
    if first is not None:
        extra = {"node_id": first.node_id, "class_type": first.class_type} if first.node_id is not None else {}
        error = {"type": first.type, "message": first.message, "details": first.details, "extra_info": extra}
        return {"error": error, "node_errors": {}}
    node_errors: dict[str, Any] = {}
    for problem in problems:
        if problem.node_id is None or problem.type == "cycle":  # the server loses a cycle's place, too
            continue
        node = node_errors.setdefault(
            problem.node_id, {"errors": [], "dependent_outputs": [], "class_type": problem.class_type}
        )
        extra = {} if problem.input_name is None else {"input_name": problem.input_name}
        node["errors"].append(
            {"type": problem.type, "message": problem.message, "details": problem.details, "extra_info": extra}
        )
    error = {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "\n".join(f"{p.message}: {p.details}" for p in problems),
        "extra_info": {},
    }
    return {"error": error, "node_errors": node_errors}


def _check_class(node_id: object, node: Any, specs: Mapping[str, NodeSpec]) -> Iterator[Problem]:
    class_type = node.get("class_type") if isinstance(node, Mapping) else None
    if isinstance(class_type, str) and class_type in specs:
        return
    details = f"Node ID '#{node_id}'"
    if not isinstance(class_type, str):
        message = f"Node 'ID #{node_id}' has no class_type. The workflow may be corrupted or a custom node is missing."
        yield Problem("missing_node_type", message, details, str(node_id))
        return
    title = (node.get("_meta") or {}).get("title", class_type)
    message = f"Node '{title}' not found. The custom node may not be installed."
    yield Problem("missing_node_type", message, details + meant(class_type, specs), str(node_id), class_type)


def _check_node(
    node_id: object,
    node: Mapping[str, Any],
    prompt: Mapping[str, Any],
    specs: Mapping[str, NodeSpec],
    files: Mapping[str, Collection[str]],
) -> Iterator[Problem]:
    spec = specs[node["class_type"]]
    inputs = node.get("inputs")
    inputs = inputs if isinstance(inputs, Mapping) else {}
    if not isinstance(node_id, str):
        yield Problem("integer_node_id", "Node ids must be strings", repr(node_id), str(node_id), spec.class_type)
    for input_spec in spec.inputs.values():
        where = (str(node_id), spec.class_type, input_spec.name)
        if input_spec.name not in inputs:
            if input_spec.required:
                yield Problem("required_input_missing", "Required input is missing", input_spec.name, *where)
            continue
        value = inputs[input_spec.name]
        if isinstance(value, list | tuple):
            yield from _check_link(spec, input_spec, value, prompt, specs, where)
        elif input_spec.type not in LITERAL_TYPES:
            details = f"{input_spec.name}: {value!r} where a {input_spec.type} must be linked"
            yield Problem("literal_in_socket", "A value cannot stand in for a link", details, *where)
        else:
            yield from check_literal(spec, input_spec, value, files, where)
    for name in inputs:
        if name not in spec.inputs:
            details = f"{name}: {spec.class_type} has no such input{meant(str(name), spec.inputs)}"
            yield Problem("unknown_input", "Unknown input", details, str(node_id), spec.class_type, str(name))


def _check_link(
    spec: NodeSpec,
    input_spec: InputSpec,
    link: list[Any] | tuple[Any, ...],
    prompt: Mapping[str, Any],
    specs: Mapping[str, NodeSpec],
    where: tuple[str, str, str],
) -> Iterator[Problem]:
    if len(link) != 2:
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        yield Problem("bad_linked_input", message, input_spec.name, *where)
        return
    source, slot = link
    outputs = specs[prompt[source]["class_type"]].outputs if isinstance(source, str) and source in prompt else None
    if outputs is None or isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot < len(outputs):
        kind = "exception_during_validation" if spec.output_node else "exception_during_inner_validation"
        message = "Exception when validating node" if spec.output_node else "Exception when validating inner node"
        yield Problem(kind, message, f"{input_spec.name}: {_why_no_output(source, slot, prompt, outputs)}", *where)
    elif not _fits(outputs[slot], input_spec.type):
        details = f"{input_spec.name}, received_type({outputs[slot]}) mismatch input_type({input_spec.type})"
        yield Problem("return_type_mismatch", "Return type mismatch between linked nodes", details, *where)


def _why_no_output(source: Any, slot: Any, prompt: Mapping[str, Any], outputs: tuple[str, ...] | None) -> str:
    if not isinstance(source, str):
        return f"node id {source!r} is not a string"
    if outputs is None:
        return f"node '{source}' is not in the prompt{meant(source, prompt)}"
    return f"node '{source}' has no output {slot!r} (it has {len(outputs)})"


def _fits(received: str, wanted: str) -> bool:
    if "*" in (received, wanted):
        return True
    return not set(received.split(",")).isdisjoint(wanted.split(","))


def _check_shape(prompt: Mapping[str, Any], outputs: list[str]) -> Iterator[Problem]:
    """Cycles, and nodes that no output needs: the server never looks at those."""
    reached: set[str] = set()
    for output in outputs:
        path = _cycle(output, prompt, reached, [])
        if path:
            node_id = path[0]
            yield Problem("cycle", "Nodes feed themselves", " <- ".join(path), node_id, prompt[node_id]["class_type"])
            return
    for node_id, node in prompt.items():
        if node_id not in reached:
            details = f"Node ID '#{node_id}' feeds no output node"
            yield Problem("unreachable_node", "Node has no effect", details, str(node_id), node["class_type"])


def _cycle(node_id: str, prompt: Mapping[str, Any], reached: set[str], path: list[str]) -> list[str]:
    """The first cycle at or above `node_id`, as ids from consumer to source; empty if there is none."""
    if node_id in path:
        return [*path[path.index(node_id) :], node_id]
    if node_id in reached or node_id not in prompt:
        return []
    inputs = prompt[node_id].get("inputs")
    for value in inputs.values() if isinstance(inputs, Mapping) else ():
        if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
            found = _cycle(value[0], prompt, reached, [*path, node_id])
            if found:
                return found
    reached.add(node_id)
    return []
