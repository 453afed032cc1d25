"""Do two graphs say the same, up to node ids and what a job may set freely? Asked of every template.

Belongs here: matching nodes by structure, and telling the differences node by node. Ids, key order and titles carry no
meaning; a title only helps to tell like nodes apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from workflows.convert import convert
from workflows.convert_widgets import slots, stored_classes
from workflows.examples import examples
from workflows.graph import Prompt
from workflows.templates import FOLDER, TEMPLATES, example_of, read_template

Kind: TypeAlias = Literal["input", "missing_node", "extra_node"]

# What a job sets for itself. A class that is not named here has no free literals.
FREE: Final = frozenset(
    {
        ("CLIPTextEncode", "text"),
        ("KSampler", "seed"),
        ("EmptySD3LatentImage", "width"),
        ("EmptySD3LatentImage", "height"),
        ("SaveImage", "filename_prefix"),
        ("LoadImage", "image"),
        ("LoraLoaderModelOnly", "lora_name"),
    }
)
_OTHER_CLASS: Final = 100.0  # how unlike two nodes of different classes are: more than any number of literals
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the template says otherwise; `builder` and `template` are values or sources as text.

    `node_id` is the template's, and the builder's for a missing node. `input` is empty where a whole node is meant.
    """

    kind: Kind
    class_type: str
    title: str
    node_id: str
    input: str = ""
    builder: str = ""
    template: str = ""

    def __str__(self) -> str:
        node = f"{self.class_type} {self.title!r} #{self.node_id}"
        if self.kind == "missing_node":
            return f"{node}: only the builder has it"
        if self.kind == "extra_node":
            return f"{node}: only the template has it"
        return f"{node}, {self.input}: builder {self.builder}, template {self.template}"

    def as_dict(self) -> dict[str, str]:
        """The difference as `--json` shows it."""
        return asdict(self)


def difference(builder: Prompt, template: Prompt, *, object_info: Mapping[str, Any] | None = None) -> list[Difference]:
    """Everything that `template` says otherwise than `builder`; empty if they are one graph.

    An optional input that is absent equals its default in `object_info` (None: the stored one), for ComfyUI's UI
    writes those out. Numbers are compared by value: the UI saves 1.0 as 1.
    """
    pairs = _Pairing(builder, template).pairs
    classes = stored_classes() if object_info is None else object_info
    found = [d for x, y in pairs.items() for d in _inputs(builder, x, template, y, pairs, classes)]
    found += [_whole("missing_node", builder, x) for x in builder if x not in pairs]
    matched = set(pairs.values())
    return found + [_whole("extra_node", template, y) for y in template if y not in matched]


def check_templates(
    folder: Path = FOLDER, *, object_info: Mapping[str, Any] | None = None
) -> dict[str, list[Difference]]:
    """The differences of each template file in `folder` from its builder's graph.

    Raises `WorkflowError` for a file that is absent or cannot be converted.
    """
    return {name: check_template(name, folder, object_info=object_info) for name in TEMPLATES}


def check_template(
    name: str, folder: Path = FOLDER, *, object_info: Mapping[str, Any] | None = None
) -> list[Difference]:
    """The differences of one template file from its builder's graph."""
    template = convert(read_template(name, folder), object_info=object_info)
    return difference(examples()[example_of(name)], template, object_info=object_info)


class _Pairing:
    """Which node of one graph is which of the other: `pairs`, first id -> second id.

    Outputs are paired so that what stands above them differs least, and from there the links are followed side by
    side. What no output leads to alike (behind a node that was added or taken away) is paired in the same manner
    afterwards.
    """

    def __init__(self, first: Prompt, second: Prompt) -> None:
        self._first, self._second = first, second
        self._known: dict[tuple[str, str], float] = {}
        self._taken: set[str] = set()
        self.pairs: dict[str, str] = {}
        self._match(_ends(first), _ends(second))
        self._match(first, second)

    def _match(self, first: Iterable[str], second: Iterable[str]) -> None:
        places = [(x, y) for x in first for y in second if self._alike(x, y)]
        for x, y in sorted(places, key=lambda place: self._unlikeness(*place)):
            self._follow(x, y)

    def _follow(self, x: str, y: str) -> None:
        if x in self.pairs or y in self._taken or not self._alike(x, y):
            return
        self.pairs[x] = y
        self._taken.add(y)
        for one, other in self._shared_links(x, y):
            self._follow(one[0], other[0])

    def _unlikeness(self, x: str, y: str) -> float:
        """How much two nodes and all above them differ: 1 a literal or a slot, little for what is free anyway."""
        if x not in self._first or y not in self._second or not self._alike(x, y):
            return _OTHER_CLASS
        if (x, y) not in self._known:
            self._known[x, y] = 0.0  # what feeds itself is not asked again
            one, other = self._first[x], self._second[y]
            unlike = 0.0 if _title(one) == _title(other) else 0.001
            for name in sorted(one["inputs"].keys() | other["inputs"].keys()):
                a, b = one["inputs"].get(name, _ABSENT), other["inputs"].get(name, _ABSENT)
                if not (_is_link(a) and _is_link(b)) and not _equal(a, b):
                    unlike += 0.01 if (one["class_type"], name) in FREE else 1.0
            for a, b in self._shared_links(x, y):
                unlike += self._unlikeness(a[0], b[0]) + (a[1] != b[1])
            self._known[x, y] = unlike
        return self._known[x, y]

    def _shared_links(self, x: str, y: str) -> list[tuple[Any, Any]]:
        one, other = self._first[x]["inputs"], self._second[y]["inputs"]
        return [(value, other[name]) for name, value in one.items() if _is_link(value) and _is_link(other.get(name))]

    def _alike(self, x: str, y: str) -> bool:
        one, other = self._first.get(x), self._second.get(y)
        return one is not None and other is not None and one["class_type"] == other["class_type"]


def _inputs(
    builder: Prompt, x: str, template: Prompt, y: str, pairs: Mapping[str, str], classes: Mapping[str, Any]
) -> list[Difference]:
    one, other = builder[x], template[y]
    class_type = one["class_type"]
    info = classes.get(class_type)
    defaults = {slot.name: slot.default for slot in slots(info) if not slot.required} if info else {}
    found = []
    for name in sorted(one["inputs"].keys() | other["inputs"].keys()):
        a, b = (node["inputs"].get(name, defaults.get(name, _ABSENT)) for node in (one, other))
        if _is_link(a) and _is_link(b):
            same = pairs.get(a[0]) == b[0] and a[1] == b[1]
        else:
            free = (class_type, name) in FREE and _ABSENT not in (a, b) and not _is_link(a) and not _is_link(b)
            same = free or _equal(a, b)
        if not same:
            found.append(Difference("input", class_type, _title(other), y, name, _told(a, builder), _told(b, template)))
    return found


def _whole(kind: Kind, prompt: Prompt, node_id: str) -> Difference:
    return Difference(kind, prompt[node_id]["class_type"], _title(prompt[node_id]), node_id)


def _ends(prompt: Prompt) -> list[str]:
    """The nodes that feed no other."""
    feeding = {value[0] for node in prompt.values() for value in node["inputs"].values() if _is_link(value)}
    return [node_id for node_id in prompt if node_id not in feeding]


def _told(value: Any, prompt: Prompt) -> str:
    if value is _ABSENT or value is None:
        return "nothing"
    if not _is_link(value):
        return repr(value)
    source = prompt.get(value[0])
    return f"<- {source['class_type']} {_title(source)!r}[{value[1]}]" if source else f"<- {value[0]}[{value[1]}]"


def _title(node: Mapping[str, Any]) -> str:
    return str((node.get("_meta") or {}).get("title", node["class_type"]))


def _is_link(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
