"""Where the nodes of a graph stand, so that a person can read it from left to right.

Belongs here: sizes, columns and groups on ComfyUI's canvas, in its pixels. What a node holds is written by
`templates`.

The groups stand side by side in the order in which data flows; within a group, a node's column is its depth. So every
link goes to the right. `pos` is the corner of a node's body: its title lies above.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from workflows.convert_widgets import Slot, slots
from workflows.graph import Prompt

GROUPS: Final = ("Models", "Prompt", "Identity", "Pose", "Sampling", "Output")
TITLE: Final = 30  # LiteGraph's node title height
_ROW, _FIELD, _TEXT = 20, 24, 140  # heights of a socket row, a widget, a multi-line text
_WIDTH, _PICTURE = 320, 320  # of a node; of the picture in LoadImage and SaveImage
_ACROSS, _DOWN, _MARGIN, _HEADING = 80, 70, 30, 60  # gaps between nodes, around a group, and for a group's name

_GROUP_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UNETLoader": "Models",
        "VAELoader": "Models",
        "VAELoaderKJ": "Models",
        "DualCLIPLoader": "Models",
        "CLIPLoader": "Models",
        "ControlNetLoader": "Models",
        "PulidFluxModelLoader": "Models",
        "PulidFluxEvaClipLoader": "Models",
        "PulidFluxInsightFaceLoader": "Models",
        "IPAdapterFluxLoader": "Models",
        "CLIPTextEncode": "Prompt",
        "FluxGuidance": "Prompt",
        "ConditioningZeroOut": "Prompt",
        "ApplyPulidFlux": "Identity",
        "ApplyIPAdapterFlux": "Identity",
        "LoraLoaderModelOnly": "Identity",
        "ControlNetApplyAdvanced": "Pose",
        "EmptySD3LatentImage": "Sampling",
        "ModelSamplingAuraFlow": "Sampling",
        "KSampler": "Sampling",
        "VAEDecode": "Output",
        "SaveImage": "Output",
    }
)


class Box(NamedTuple):
    """A rectangle on the canvas; y grows downwards."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Where it ends to the right."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Where it ends below."""
        return self.y + self.height


class Layout(NamedTuple):
    """A box for each node id, and one for each group that has nodes."""

    nodes: dict[str, Box]
    groups: dict[str, Box]


def lay_out(prompt: Prompt, classes: Mapping[str, Any]) -> Layout:
    """Places for all nodes of a builder's graph. Raises KeyError for a class that has no group yet."""
    sources = {node_id: _sources(node) for node_id, node in prompt.items()}
    groups = _groups(prompt, sources)
    layout = Layout({}, {})
    left = 0
    for group in GROUPS:
        members = [node_id for node_id in prompt if groups[node_id] == group]
        if members:
            sizes = {node_id: _size(prompt[node_id], classes) for node_id in members}
            placed = _place(members, sizes, sources, layout.nodes, left + _MARGIN)
            layout.nodes.update(placed)
            layout.groups[group] = _around(placed.values(), left)
            left = layout.groups[group].right + _ACROSS
    return layout


def _groups(prompt: Prompt, sources: Mapping[str, list[str]]) -> dict[str, str]:
    """The group of each node; a picture stands with whoever uses it."""
    found = {}
    for node_id, node in prompt.items():
        users = [user for user in prompt if node_id in sources[user]]
        shown = prompt[users[0]] if node["class_type"] == "LoadImage" and users else node
        found[node_id] = _GROUP_OF[shown["class_type"]]
    return found


def _place(
    members: list[str],
    sizes: Mapping[str, tuple[int, int]],
    sources: Mapping[str, list[str]],
    placed: Mapping[str, Box],
    left: int,
) -> dict[str, Box]:
    """Boxes for one group: a column per depth; who is alone behind a node stands at that node's height."""
    depths = _depths(members, sources)
    boxes: dict[str, Box] = {}
    for depth in range(max(depths.values()) + 1):
        column = [node_id for node_id in members if depths[node_id] == depth]
        bottom = 0
        for node_id in column:
            beside = _only_source(node_id, sources, {**placed, **boxes})
            top = max(bottom, beside.y if beside else 0)
            boxes[node_id] = Box(left, top, *sizes[node_id])
            bottom = boxes[node_id].bottom + _DOWN
        left = max(boxes[node_id].right for node_id in column) + _ACROSS
    return boxes


def _depths(members: list[str], sources: Mapping[str, list[str]]) -> dict[str, int]:
    """Longest way from the group's edge. Builders add a node after its sources, so one pass is enough."""
    depths: dict[str, int] = {}
    for node_id in members:
        depths[node_id] = max((depths[source] + 1 for source in sources[node_id] if source in depths), default=0)
    return depths


def _only_source(node_id: str, sources: Mapping[str, list[str]], placed: Mapping[str, Box]) -> Box | None:
    """The box of a source that feeds this node and no other."""
    for source in sources[node_id]:
        if source in placed and sum(source in feeding for feeding in sources.values()) == 1:
            return placed[source]
    return None


def _around(boxes: Iterable[Box], left: int) -> Box:
    boxes = list(boxes)
    top = min(box.y for box in boxes) - TITLE - _HEADING
    right = max(box.right for box in boxes) + _MARGIN
    bottom = max(box.bottom for box in boxes) + _MARGIN
    return Box(left, top, right - left, bottom - top)


def _size(node: Mapping[str, Any], classes: Mapping[str, Any]) -> tuple[int, int]:
    info = classes[node["class_type"]]
    taken = list(slots(info))
    rows = max(sum(not slot.is_widget for slot in taken), len(info["output"]))
    picture = _PICTURE if node["class_type"] in ("LoadImage", "SaveImage") else 0
    return _WIDTH, 10 + rows * _ROW + sum(_height(slot) for slot in taken) + picture


def _height(slot: Slot) -> int:
    if not slot.is_widget:
        return 0
    return _TEXT if slot.config.get("multiline") else _FIELD * (1 + slot.extra_values)


def _sources(node: Mapping[str, Any]) -> list[str]:
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]
