"""A node's widgets: which inputs have one, in what order, and what value a saved file gives each.

Belongs here: `widgets_values`, read by the rules of ComfyUI's frontend. What is linked over a widget is the business of
`convert_links`; `layout` uses the same order to write files.

A saved list of values names nothing: it counts on the order in which the frontend makes the widgets. That is the order
of `input_order`, required inputs first, plus the frontend's own extra values between them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from workflows.object_info import STORED

CONTROLS: Final = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
DYNAMIC: Final = "COMFY_DYNAMICCOMBO_V3"  # a choice that brings its own inputs, under dotted names
_WIDGET_TYPES: Final = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "MARKDOWN", DYNAMIC})
_SEEDS: Final = frozenset({"seed", "noise_seed"})  # own a control value even where object_info does not say so
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Slot:
    """One input of a class: its type, COMBO for any list, and the second half of its object_info entry."""

    name: str
    type: str
    required: bool
    options: tuple[Any, ...]
    config: Mapping[str, Any]

    @property
    def is_widget(self) -> bool:
        """True if the frontend draws a field for it, not just a socket."""
        return not self.config.get("forceInput") and self.config.get("widgetType", self.type) in _WIDGET_TYPES

    @property
    def extra_values(self) -> int:
        """How many values of the frontend's own stand behind this one: "randomize", and for a list its filter."""
        if self.type not in ("INT", "COMBO"):
            return 0
        wanted = self.config.get("control_after_generate", self.type == "INT" and self.name in _SEEDS)
        return 0 if not wanted else 1 if self.type == "INT" else 2

    @property
    def default(self) -> Any:
        """What the frontend puts into a fresh widget; None where object_info does not say."""
        if "default" in self.config or not self.options:
            return self.config.get("default")
        first = self.options[0]
        return first["key"] if isinstance(first, Mapping) else first


@cache
def stored_classes() -> Mapping[str, Any]:
    """The stored object_info as the server wrote it, with `input_order`."""
    found: Mapping[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    return found


def slots(info: Mapping[str, Any]) -> Iterator[Slot]:
    """The inputs of a class (or of one choice of a dynamic combo) in the frontend's order."""
    for section in ("required", "optional"):
        specs = info["input"].get(section) or {}
        order = (info.get("input_order") or {}).get(section) or ()
        for name in (*(n for n in order if n in specs), *(n for n in specs if n not in order)):
            yield _slot(name, specs[name], required=section == "required")


def widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Input name -> value of every widget of a saved node; a value that the file lacks is the frontend's default."""
    stored = node.get("widgets_values") or ()
    drawn = {slot["name"] for slot in node.get("inputs") or () if slot.get("widget")}
    source = _ByName(stored) if isinstance(stored, Mapping) else _ByPlace(tuple(stored))
    return dict(_read(info, source, drawn, ""))


def _read(
    info: Mapping[str, Any], source: "_ByName | _ByPlace", drawn: set[str], prefix: str
) -> Iterator[tuple[str, Any]]:
    for slot in slots(info):
        name = prefix + slot.name
        if not slot.is_widget and (name not in drawn or slot.config.get("forceInput")):
            continue
        value = source.take(name, slot.extra_values)
        value = slot.default if value is _ABSENT else value
        if value is not None or slot.default is not None:
            yield name, value
        if slot.type == DYNAMIC:
            chosen = next((option for option in slot.options if option["key"] == value), None)
            if chosen is not None:
                yield from _read({"input": chosen["inputs"]}, source, drawn, f"{name}.")


class _ByPlace:
    """Values as a list: each take is the next one, less the frontend's extras behind it."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values
        self._at = 0

    def take(self, _name: str, extras: int) -> Any:
        if self._at >= len(self._values):
            return _ABSENT
        value = self._values[self._at]
        self._at += 1
        if extras and self._at < len(self._values) and self._values[self._at] in CONTROLS:
            self._at += extras
        return value


class _ByName:
    """Values as an object, as some packs save them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def take(self, name: str, _extras: int) -> Any:
        return self._values.get(name, _ABSENT)


def _slot(name: str, spec: list[Any], *, required: bool) -> Slot:
    kind, config = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):  # the older shape: the list is the type
        return Slot(name, "COMBO", required, tuple(kind), config)
    return Slot(name, str(kind), required, tuple(config.get("options", ())), config)
