"""Pose pictures: the skeleton on black that a pose control net reads.

Belongs here: framing and drawing, in the colours OpenPose gave its limbs. Sending ready skeletons spares the worker a
pose detector and its model downloads, and each view of a sheet gets exactly the pose it asks for.
"""

import io
import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from workflows.errors import WorkflowError
from workflows.poses.skeleton import NECK_TO_CROWN, Joint, Posture, View, figure
from workflows.requests import MAX_SIZE, MIN_SIZE, check_whole

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Framing: TypeAlias = Literal["close-up", "medium", "full-body"]
Box: TypeAlias = tuple[float, float, float, float]

# The seventeen limbs in OpenPose's order; limb i and joint i have colour i of one hue circle in eighteen steps.
_LIMBS: Final = (
    ("neck", "right_shoulder"),
    ("neck", "left_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("neck", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("neck", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("neck", "nose"),
    ("nose", "right_eye"),
    ("right_eye", "right_ear"),
    ("nose", "left_eye"),
    ("left_eye", "left_ear"),
)
_JOINTS: Final = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
_LIMB_SHADE: Final = 0.6  # limbs are drawn darker than joints, as in the nets' training pictures
_STICK: Final = 4 / 512  # half the width of a limb, and the radius of a joint, per pixel of the short side
_SMOOTH: Final = 2  # drawn at twice the size and reduced

# Heads below the named joint where a framing ends, and heads of air around the figure.
_BOTTOM: Final[Mapping[str, tuple[str, float]]] = MappingProxyType(
    {"close-up": ("neck", 0.8), "medium": ("hips", 0.7), "full-body": ("floor", 0.4)}
)
_AIR: Final = 0.4
_HEAD_REACH: Final = 0.3  # heads that hair or hands reach beyond the outermost joint


@lru_cache(maxsize=64)  # drawn once to be sent, and once more to be recognised: a sheet has ten
def pose_picture(view: View, posture: Posture, framing: Framing, width: int, height: int) -> bytes:
    """A PNG of `width` x `height` pixels (256..2048) for one view, posture and framing; equal calls give equal pixels.

    Left and right are the picture's: "side-left" looks to the left edge. Raises `WorkflowError` for unknown words.
    """
    _check(view, posture, framing, width, height)
    from PIL import Image, ImageDraw

    joints = _place(figure(view, posture), framing, width * _SMOOTH, height * _SMOOTH)
    image = Image.new("RGB", (width * _SMOOTH, height * _SMOOTH))
    stick = max(2.0, _STICK * min(width, height)) * _SMOOTH
    _draw(ImageDraw.Draw(image), joints, stick)
    out = io.BytesIO()
    image.reduce(_SMOOTH).save(out, "PNG")
    return out.getvalue()


def _check(view: str, posture: str, framing: str, width: int, height: int) -> None:
    for field, value, known in (
        ("view", view, get_args(View)),
        ("posture", posture, get_args(Posture)),
        ("framing", framing, get_args(Framing)),
    ):
        if value not in known:
            raise WorkflowError(
                f"{value!r} is unknown.", field=field, value=value, way_out=f"Use one of {', '.join(known)}."
            )
    check_whole("width", width, MIN_SIZE, MAX_SIZE)
    check_whole("height", height, MIN_SIZE, MAX_SIZE)


def _place(joints: Mapping[str, Joint], framing: Framing, width: int, height: int) -> dict[str, Joint]:
    """The joints in pixels, y down: the framing's window fills the picture and what lies below it is cut off."""
    left, bottom, right, top = _window(joints, framing)
    scale = min(width / (right - left), height / (top - bottom))
    middle, centre = (left + right) / 2, (bottom + top) / 2
    return {
        name: Joint(width / 2 + (j.x - middle) * scale, height / 2 - (j.y - centre) * scale, j.depth)
        for name, j in joints.items()
    }


def _window(joints: Mapping[str, Joint], framing: Framing) -> Box:
    """The part of the figure that `framing` shows, in heads: left, bottom, right, top."""
    hips = (joints["right_hip"].y + joints["left_hip"].y) / 2
    anchors = {"neck": joints["neck"].y, "hips": hips, "floor": min(j.y for j in joints.values())}
    anchor, below = _BOTTOM[framing]
    bottom = anchors[anchor] - below
    crown = joints["neck"].y + NECK_TO_CROWN
    if framing == "close-up":  # raised arms may leave the picture: it is about the head
        shown = [joints[name] for name in ("neck", "nose", "right_ear", "left_ear") if name in joints]
        reach, top = _HEAD_REACH, crown
    else:
        shown = [joint for joint in joints.values() if joint.y >= bottom]
        reach, top = _HEAD_REACH + _AIR, max(crown, *(joint.y for joint in shown))
    return min(j.x for j in shown) - reach, bottom, max(j.x for j in shown) + reach, top + _AIR


def _draw(draw: "ImageDraw", joints: Mapping[str, Joint], stick: float) -> None:
    """Limbs from far to near, then the joints on top of them."""
    limbs = [(index, a, b) for index, (a, b) in enumerate(_LIMBS) if a in joints and b in joints]
    for index, a, b in sorted(limbs, key=lambda limb: joints[limb[1]].depth + joints[limb[2]].depth):
        shade = tuple(int(channel * _LIMB_SHADE) for channel in _colour(index))
        draw.polygon(_limb(joints[a], joints[b], stick), fill=shade)
    for index, name in enumerate(_JOINTS):
        if name in joints:
            x, y = joints[name].x, joints[name].y
            draw.ellipse((x - stick, y - stick, x + stick, y + stick), fill=_colour(index))


def _limb(a: Joint, b: Joint, stick: float) -> list[tuple[float, float]]:
    """A slim ellipse from `a` to `b`, as a polygon."""
    middle_x, middle_y = (a.x + b.x) / 2, (a.y + b.y) / 2
    half = math.dist((a.x, a.y), (b.x, b.y)) / 2
    along = math.atan2(b.y - a.y, b.x - a.x)
    points = []
    for degrees in range(0, 360, 5):
        u, v = half * math.cos(math.radians(degrees)), stick * math.sin(math.radians(degrees))
        points.append(
            (middle_x + u * math.cos(along) - v * math.sin(along), middle_y + u * math.sin(along) + v * math.cos(along))
        )
    return points


def _colour(index: int) -> tuple[int, int, int]:
    """Colour `index` of eighteen: twenty degrees of hue each, from red over green and blue to pink."""
    sixth, rest = divmod(index * 85, 255)
    up, down = rest, 255 - rest
    return ((255, up, 0), (down, 255, 0), (0, 255, up), (0, down, 255), (up, 0, 255), (255, 0, down))[sixth]
