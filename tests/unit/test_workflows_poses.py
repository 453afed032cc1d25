"""Pose pictures that would mislead the pose net are noticed."""

import hashlib
import io
from typing import Any, get_args

import pytest
from PIL import Image

from workflows.errors import WorkflowError
from workflows.poses.picture import Framing, pose_picture
from workflows.poses.skeleton import Posture, View, figure

ALL = [(v, p, f) for v in get_args(View) for p in get_args(Posture) for f in get_args(Framing)]


def pixels(view: Any, posture: Any, framing: Any, width: int = 256, height: int = 320) -> str:
    """A digest of the picture's pixels."""
    image = Image.open(io.BytesIO(pose_picture(view, posture, framing, width, height)))
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_equal_calls_give_equal_pictures_and_unlike_ones_do_not() -> None:
    """54 poses are 54 pictures, each the same every time."""
    digests = [pixels(*pose) for pose in ALL]
    assert len(set(digests)) == len(ALL)
    assert digests[::9] == [pixels(*pose) for pose in ALL[::9]]


@pytest.mark.parametrize(("width", "height"), [(256, 256), (832, 1104), (1024, 576)])
def test_picture_has_the_asked_size_on_black(width: int, height: int) -> None:
    """The net stretches a pose of another shape: the picture is as wide and high as its image."""
    image = Image.open(io.BytesIO(pose_picture("front", "standing", "full-body", width, height)))
    assert image.format == "PNG"
    assert (image.mode, image.size) == ("RGB", (width, height))
    assert image.getpixel((0, 0)) == (0, 0, 0)


def test_left_and_right_are_mirrored() -> None:
    """A symmetric figure that looks left is the mirror image of one that looks right, colours aside."""
    left, right = figure("side-left", "standing"), figure("side-right", "standing")
    assert left["nose"].x == pytest.approx(-right["nose"].x)
    assert left["nose"].x < left["neck"].x


@pytest.mark.parametrize(
    ("view", "hidden"),
    [
        ("front", set()),
        ("three-quarter-left", {"right_ear"}),
        ("side-left", {"right_ear", "right_eye"}),
        ("side-right", {"left_ear", "left_eye"}),
        ("back", {"nose", "left_eye", "right_eye"}),
    ],
)
def test_hidden_half_of_the_face_is_not_drawn(view: Any, hidden: set[str]) -> None:
    """A nose on the back of the head would give the back view a face."""
    shown = figure(view, "standing")
    assert hidden == {name for name in figure("front", "standing") if name not in shown}


def test_whole_figure_lies_in_a_full_body_picture() -> None:
    """Hands and feet are inside the frame: nothing bright touches its edge."""
    for view in get_args(View):
        for posture in get_args(Posture):
            image = Image.open(io.BytesIO(pose_picture(view, posture, "full-body", 512, 768)))
            left, top, right, bottom = image.getbbox()  # type: ignore[misc]
            assert left > 0
            assert top > 0
            assert right < 512
            assert bottom < 768


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("below", "standing", "medium", 512, 512), "view"),
        (("front", "flying", "medium", 512, 512), "posture"),
        (("front", "standing", "wide", 512, 512), "framing"),
        (("front", "standing", "medium", 10, 512), "width"),
        (("front", "standing", "medium", 512, 9000), "height"),
    ],
)
def test_unknown_pose_is_refused(arguments: Any, field: str) -> None:
    """A word that nobody drew is an error, not a front view."""
    with pytest.raises(WorkflowError) as caught:
        pose_picture(*arguments)
    assert caught.value.field == field
