"""Shots: the pictures a stage asks for, declared before anything is generated.

Belongs here: what a shot is, the fixed lists of base images and character sheet, the mix of a content request, sizes.
Does not belong here: the words of a prompt (`ryla_assets/prompts/`), seeds (`seeds`), files.

The sheet is the original product's ten variations, with two changes. They are in a fixed order (the original drew them
at random, so no sheet could be made twice), and each carries a framing, so that the planned mix of 70 % medium, 20 %
close-up and 10 % full-body really happens. Left and right are those of the picture: in a `left` view the nose points to
the left edge.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from ryla_assets.domain.choices import unknown_choice
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.targets import MIN_DECLARED_FACE_PX

Framing = Literal["close-up", "medium", "full-body"]
View = Literal["front", "three-quarter-left", "three-quarter-right", "side-left", "side-right", "back"]
Posture = Literal["standing", "sitting", "dynamic"]
Expression = Literal["neutral", "smile", "confident", "relaxed", "energetic", "thoughtful"]
Aspect = Literal["1:1", "2:3", "9:16"]

MODEL_IMAGE_PX: Final = 1024  # what Flux and Z-Image were trained at; a preview draws 512, which is enough to see
# Width and height at that size: multiples of 16, as the models' latents need (the original's 768x1365 was not).
ASPECT_SIZES: Final[dict[Aspect, tuple[int, int]]] = {"1:1": (1024, 1024), "2:3": (896, 1344), "9:16": (832, 1472)}
# Face width as a share of the picture's short side; declared low, so that a declared shot is one a detector can find.
FACE_FRACTIONS: Final[dict[Framing, float]] = {"close-up": 0.40, "medium": 0.22, "full-body": 0.10}
VIEW_YAW: Final[dict[View, int]] = {
    "front": 0,
    "three-quarter-left": 30,
    "three-quarter-right": 30,
    "side-left": 90,
    "side-right": 90,
    "back": 180,
}
MAX_SCORABLE_YAW: Final = 45  # degrees; HOG detectors lose faces beyond it
SHEET_COUNTS: Final = range(7, 11)  # the product: 7-10 images
CONTENT_COUNTS: Final = range(1, 11)  # the product's API: 1-10 images a request


@dataclass(frozen=True)
class Shot:
    """One requested picture.

    `id` is a stable slug, unique within its stage. `expression` is None where no face shows. `scene`, `environment`,
    `pose` and `lighting` are catalogue ids; where they are None the prompt builder decides as its docstring says.
    """

    id: str
    framing: Framing
    view: View
    posture: Posture
    expression: Expression | None
    aspect: Aspect = "1:1"
    lighting: str | None = None
    environment: str | None = None
    scene: str | None = None
    pose: str | None = None

    @property
    def yaw(self) -> int:
        """The intended turn of the head away from the camera, in degrees, 0..180."""
        return VIEW_YAW[self.view]

    @property
    def face_fraction(self) -> float:
        """The declared width of the face as a share of the picture's short side."""
        return FACE_FRACTIONS[self.framing]

    def size(self, px: int = 1024) -> tuple[int, int]:
        """(width, height) in pixels at a base of `px`, 256..2048; both are multiples of 16. Raises InputError."""
        return aspect_size(self.aspect, px)

    def expects_face(self, px: int = 1024) -> bool:
        """Whether the face of this shot is scorable at base `px`: declared before generation, never after."""
        face_px = self.face_fraction * min(self.size(px))
        return self.yaw <= MAX_SCORABLE_YAW and face_px >= MIN_DECLARED_FACE_PX


def aspect_size(aspect: str, px: int = 1024) -> tuple[int, int]:
    """(width, height) of an aspect at base `px`; raises InputError on an unknown aspect or a base outside 256..2048."""
    if aspect not in get_args(Aspect):
        raise unknown_choice("aspect", aspect, get_args(Aspect))
    if not 256 <= px <= 2048:
        raise InputError(f"{px} is outside 256..2048.", field="px", value=px, way_out="Use 512, 768 or 1024.")
    width, height = ASPECT_SIZES[aspect]  # type: ignore[index]  # checked above
    return _scaled(width, px), _scaled(height, px)


def _scaled(side: int, px: int) -> int:
    return max(16, round(side * px / 1024 / 16) * 16)


_STUDIO_LIGHT, _DAYLIGHT, _DRAMATIC = "studio-softbox", "natural-daylight", "dramatic-shadows"

BASE_SHOTS: Final = tuple(
    Shot(f"option-{n}", "medium", "front", "standing", "neutral", lighting=_STUDIO_LIGHT, environment="studio")
    for n in (1, 2, 3)
)

SHEET_SHOTS: Final = (
    Shot("front-neutral", "close-up", "front", "standing", "neutral", "1:1", _STUDIO_LIGHT, "studio"),
    Shot("front-smile", "medium", "front", "standing", "smile", "1:1", _DAYLIGHT, "urban-street"),
    Shot("left-neutral", "close-up", "three-quarter-left", "standing", "neutral", "1:1", _STUDIO_LIGHT, "studio"),
    Shot("right-confident", "medium", "three-quarter-right", "standing", "confident", "1:1", _DAYLIGHT, "cafe"),
    Shot("side-left", "medium", "side-left", "standing", "neutral", "1:1", _STUDIO_LIGHT, "studio"),
    Shot("front-sitting", "medium", "front", "sitting", "relaxed", "1:1", _DAYLIGHT, "home-living-room"),
    Shot("left-sitting", "medium", "three-quarter-left", "sitting", "neutral", "1:1", _STUDIO_LIGHT, "office"),
    Shot("front-dynamic", "full-body", "front", "dynamic", "energetic", "2:3", _DRAMATIC, "studio"),
    Shot("side-right", "medium", "side-right", "standing", "neutral", "1:1", _DAYLIGHT, "beach"),
    Shot("back", "medium", "back", "standing", None, "1:1", _STUDIO_LIGHT, "studio"),
)

_CONTENT_MIX: Final[tuple[tuple[Framing, View, Expression], ...]] = (
    ("medium", "front", "smile"),
    ("medium", "three-quarter-left", "confident"),
    ("close-up", "front", "relaxed"),
    ("medium", "three-quarter-right", "neutral"),
    ("medium", "front", "thoughtful"),
)


def short_name(shot: str) -> str:
    """A shot's id where there is no room for it: a content shot's number, another one's name."""
    return shot.rpartition("-")[2] if shot[-2:].isdigit() else shot


def sheet_shots(count: int = 8) -> tuple[Shot, ...]:
    """The first `count` shots of the sheet, 7..10; the same ones every time. Raises InputError."""
    if count not in SHEET_COUNTS:
        raise InputError(
            f"a sheet has 7 to 10 shots, not {count}.", field="count", value=count, way_out="Ask for 7, 8, 9 or 10."
        )
    return SHEET_SHOTS[:count]


def content_shots(
    *,
    scene: str | None = None,
    environment: str | None = None,
    count: int = 1,
    aspect: str = "1:1",
    pose: str | None = None,
    lighting: str | None = None,
    posture: Posture = "standing",
) -> tuple[Shot, ...]:
    """The shots of a content request: medium and close framings, front and three-quarter views, in a fixed cycle.

    The ids name scene, environment, pose and aspect, so that two different requests never share a seed. Catalogue ids
    are checked by the prompt builder; here only `count` (1..10) and `aspect` are. Raises InputError.
    """
    if count not in CONTENT_COUNTS:
        raise InputError(
            f"a request has 1 to 10 images, not {count}.", field="count", value=count, way_out="Split the request."
        )
    if aspect not in get_args(Aspect):
        raise unknown_choice("aspect", aspect, get_args(Aspect))
    stem = "-".join([*filter(None, (scene, environment, pose, lighting)), aspect.replace(":", "x")])
    return tuple(
        Shot(
            id=f"{stem}-{n + 1:02d}",
            framing=framing,
            view=view,
            posture=posture,
            expression=expression,
            aspect=aspect,  # type: ignore[arg-type]  # checked above
            lighting=lighting,
            environment=environment,
            scene=scene,
            pose=pose,
        )
        for n, (framing, view, expression) in ((n, _CONTENT_MIX[n % len(_CONTENT_MIX)]) for n in range(count))
    )
