"""The figure: eighteen joints in space, posed, turned and flattened.

Belongs here: geometry, in heads (an adult is seven and a half of them tall). How it is drawn is in `picture`. The
joints are COCO-18, the set OpenPose-type control nets were trained on; all coordinates are our own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

View: TypeAlias = Literal["front", "three-quarter-left", "three-quarter-right", "side-left", "side-right", "back"]
Posture: TypeAlias = Literal["standing", "sitting", "dynamic"]
Point: TypeAlias = tuple[float, float, float]

# Degrees the figure turns about its own axis. Left and right are the picture's: side-left looks to the left edge.
# Thirty for three quarters: PuLID and face scorers lose a face between there and the profile.
YAW: Final[Mapping[str, float]] = MappingProxyType(
    {
        "front": 0.0,
        "three-quarter-left": -30.0,
        "three-quarter-right": 30.0,
        "side-left": -90.0,
        "side-right": 90.0,
        "back": 180.0,
    }
)
CAMERA_DROP: Final = 0.17  # heads lower per head nearer: a camera ten degrees above, so that laps do not vanish
NECK_TO_CROWN: Final = 1.3  # heads

# x to the figure's left, y up from the floor, z to where it looks. Right and left are the figure's own.
_HEAD: Final[Mapping[str, Point]] = MappingProxyType(
    {
        "nose": (0.0, 0.55, 0.35),
        "right_eye": (-0.15, 0.70, 0.28),
        "left_eye": (0.15, 0.70, 0.28),
        "right_ear": (-0.32, 0.62, 0.0),
        "left_ear": (0.32, 0.62, 0.0),
    }
)  # measured from the neck
_POSTURES: Final[Mapping[str, Mapping[str, Point]]] = MappingProxyType(
    {
        "standing": {
            "neck": (0.0, 6.20, 0.0),
            "right_shoulder": (-0.80, 6.15, 0.0),
            "right_elbow": (-1.02, 4.80, -0.10),
            "right_wrist": (-1.08, 3.60, 0.20),
            "left_shoulder": (0.80, 6.15, 0.0),
            "left_elbow": (1.02, 4.80, -0.10),
            "left_wrist": (1.08, 3.60, 0.20),
            "right_hip": (-0.45, 3.90, 0.0),
            "right_knee": (-0.50, 2.05, 0.08),
            "right_ankle": (-0.52, 0.25, -0.05),
            "left_hip": (0.45, 3.90, 0.0),
            "left_knee": (0.50, 2.05, 0.08),
            "left_ankle": (0.52, 0.25, -0.05),
        },
        "sitting": {
            "neck": (0.0, 4.40, 0.0),
            "right_shoulder": (-0.80, 4.35, 0.0),
            "right_elbow": (-1.00, 3.05, 0.15),
            "right_wrist": (-0.60, 2.45, 1.15),
            "left_shoulder": (0.80, 4.35, 0.0),
            "left_elbow": (1.00, 3.05, 0.15),
            "left_wrist": (0.60, 2.45, 1.15),
            "right_hip": (-0.45, 2.10, 0.0),
            "right_knee": (-0.60, 2.15, 1.80),
            "right_ankle": (-0.60, 0.35, 1.75),
            "left_hip": (0.45, 2.10, 0.0),
            "left_knee": (0.60, 2.15, 1.80),
            "left_ankle": (0.60, 0.35, 1.75),
        },
        "dynamic": {
            "neck": (0.05, 6.15, 0.30),
            "right_shoulder": (-0.74, 6.20, 0.38),
            "right_elbow": (-1.50, 6.55, 0.75),
            "right_wrist": (-1.25, 7.60, 1.05),
            "left_shoulder": (0.84, 6.05, 0.20),
            "left_elbow": (1.45, 5.00, -0.35),
            "left_wrist": (1.70, 4.05, -0.20),
            "right_hip": (-0.45, 3.90, 0.0),
            "right_knee": (-0.55, 2.15, -0.35),
            "right_ankle": (-0.70, 0.75, -1.45),
            "left_hip": (0.45, 3.90, 0.0),
            "left_knee": (0.55, 2.35, 0.95),
            "left_ankle": (0.60, 0.55, 0.95),
        },
    }
)
# Where each part of the head faces: it is seen unless that points away from the camera.
_FACING: Final[Mapping[str, Point]] = MappingProxyType(
    {
        "nose": (0.0, 0.0, 1.0),
        "right_eye": (-0.3, 0.0, 0.95),
        "left_eye": (0.3, 0.0, 0.95),
        "right_ear": (-1.0, 0.0, 0.1),
        "left_ear": (1.0, 0.0, 0.1),
    }
)
_SEEN_FROM: Final = -0.2  # a little behind the rim still shows: both ears from the back


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint as the camera sees it: heads to the right and up, and how near (larger is nearer)."""

    x: float
    y: float
    depth: float


def figure(view: View, posture: Posture) -> dict[str, Joint]:
    """The joints that `view` shows of a figure in `posture`, by name; hidden parts of the head are left out."""
    body = dict(_POSTURES[posture])
    neck = body["neck"]
    for name, (x, y, z) in _HEAD.items():
        body[name] = (neck[0] + x, neck[1] + y, neck[2] + z)
    yaw = math.radians(YAW[view])
    seen = {name: point for name, point in body.items() if _is_seen(name, yaw)}
    return {name: _project(point, yaw) for name, point in seen.items()}


def _is_seen(name: str, yaw: float) -> bool:
    return name not in _FACING or _turn(_FACING[name], yaw)[2] > _SEEN_FROM


def _turn(point: Point, yaw: float) -> Point:
    x, y, z = point
    return x * math.cos(yaw) + z * math.sin(yaw), y, z * math.cos(yaw) - x * math.sin(yaw)


def _project(point: Point, yaw: float) -> Joint:
    x, y, z = _turn(point, yaw)
    return Joint(x, y - CAMERA_DROP * z, z)
