"""Is this literal what the input takes?

Belongs here: one value against one input's spec, in ComfyUI's error types. Links and the graph's shape are in `schema`.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from workflows.models import model_files
from workflows.object_info import InputSpec, NodeSpec
from workflows.problems import Problem
from workflows.requests import MAX_SEED, SIZE_STEP

_CALLER_FOLDERS: Final = ("loras", "input")  # filled per character: no list of ours can name these files
_NOT_A_FILE: Final = frozenset({"pixel_space"})  # VAELoader's built-in choice
_QUOTED_OPTIONS: Final = 20  # the server, too, does not quote longer lists

Place = tuple[str, str, str]


def check_literal(
    node: NodeSpec, spec: InputSpec, value: Any, files: Mapping[str, Collection[str]], where: Place
) -> Iterator[Problem]:
    """The problems of `value` at the input `spec` of `node`; `where` is (node id, class, input name)."""
    if spec.folder is not None:
        yield from _check_file(node, spec, value, files, where)
    elif spec.type == "COMBO":
        if spec.options and value not in spec.options:
            yield _not_in_list(spec, value, spec.options, where)
    elif spec.type in ("INT", "FLOAT"):
        yield from _check_number(node, spec, value, where)
    elif (spec.type == "BOOLEAN" and not isinstance(value, bool)) or (
        spec.type == "STRING" and not isinstance(value, str)
    ):
        yield _coerced(spec, value, bool(value) if spec.type == "BOOLEAN" else str(value), where)


def _check_file(
    node: NodeSpec, spec: InputSpec, value: Any, files: Mapping[str, Collection[str]], where: Place
) -> Iterator[Problem]:
    allowed = _files_at(spec, files)
    if allowed is None or value in allowed:
        return
    if node.class_type == "LoadImage":
        details = f"{spec.name} - Invalid image file: {value}{meant(value, allowed)}"
        yield Problem("custom_validation_failed", "Custom validation failed for node", details, *where)
    else:
        yield _not_in_list(spec, value, allowed, where)


def _files_at(spec: InputSpec, files: Mapping[str, Collection[str]]) -> Collection[object] | None:
    """What may stand at a file input: the backend's list, the server's, or ours; None if nobody knows."""
    folder = spec.folder or ""
    if folder in files:
        return (*sorted(files[folder]), *(option for option in spec.options if option in _NOT_A_FILE))
    if set(spec.options) - _NOT_A_FILE:
        return spec.options
    if folder in _CALLER_FOLDERS:
        return None
    options = not files  # who tells us its files has an option's only where it lists them
    return tuple(model.file for model in model_files(options=options) if model.folder == folder)


def _check_number(node: NodeSpec, spec: InputSpec, value: Any, where: Place) -> Iterator[Problem]:
    try:
        number: float = int(value) if spec.type == "INT" else float(value)
        if not math.isfinite(number):
            raise ValueError("not a finite number")
    except (TypeError, ValueError, OverflowError) as error:
        message = f"Failed to convert an input value to a {spec.type} value"
        yield Problem("invalid_input_type", message, f"{spec.name}, {value}, {error}", *where)
        return
    low, high = spec.config.get("min"), spec.config.get("max")
    if low is not None and number < low:
        yield Problem("value_smaller_than_min", f"Value {number} smaller than min of {low}", spec.name, *where)
    elif high is not None and number > high:
        yield Problem("value_bigger_than_max", f"Value {number} bigger than max of {high}", spec.name, *where)
    elif isinstance(value, bool | str) or (spec.type == "INT" and not isinstance(value, int)):
        yield _coerced(spec, value, number, where)
    elif spec.type == "INT":
        yield from _check_whole(node, spec, int(number), where)


def _check_whole(node: NodeSpec, spec: InputSpec, number: int, where: Place) -> Iterator[Problem]:
    if spec.name in ("seed", "noise_seed") and number > MAX_SEED:
        details = f"{spec.name}: {number} is above 2^53-1, where JSON readers lose digits"
        yield Problem("seed_not_portable", "Seed is too big to travel", details, *where)
    is_canvas = "LATENT" in node.outputs and spec.name in ("width", "height")
    step = max(int(spec.config.get("step") or 1), SIZE_STEP if is_canvas else 1)
    if number % step:
        details = f"{spec.name}: {number} is not a multiple of {step}"
        yield Problem("value_off_step", "Value is off its step", details, *where)


def _coerced(spec: InputSpec, value: Any, becomes: object, where: Place) -> Problem:
    details = f"{spec.name}: {value!r} is no {spec.type}; the server would use {becomes!r}"
    return Problem("value_coerced", "Value would silently be turned into another", details, *where)


def _not_in_list(spec: InputSpec, value: Any, allowed: Collection[object], where: Place) -> Problem:
    options = f"(list of length {len(allowed)})" if len(allowed) > _QUOTED_OPTIONS else str(list(allowed))
    return Problem(
        "value_not_in_list",
        "Value not in list",
        f"{spec.name}: '{value}' not in {options}{meant(value, allowed)}",
        *where,
    )


def meant(word: object, known: Collection[Any]) -> str:
    """The end of a sentence that names the nearest of `known`, or nothing."""
    close = get_close_matches(str(word), [str(name) for name in known], n=1)
    return f"; did you mean {close[0]}?" if close else ""
