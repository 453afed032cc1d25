"""The face scorer: finds faces in a picture and gives each an embedding. Protocol, and the default one (dlib).

Belongs here: pixels in, faces out. Whose face it is, thresholds and gates are the domain's; files are looked at in
processes of `resources.face_pool`, and the embedding is computed by `resources.face_embedding`. The choices were
measured on a CPU: 5-point alignment, ResNet-29, 128 floats, L2 distance (docs/adr/0005), and three detectors in a row,
of which the next is asked only if the one before found nobody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resources.images import ImageRejected, SourceType, as_shown, pixels_sha256

if TYPE_CHECKING:
    from PIL.Image import Image

    from resources.face_embedding import FaceEmbedder

ALIGNER, EMBEDDER = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
PROFILES = "mmod_human_face_detector.dat"  # dlib's CNN detector; CC0 like the two others
WEIGHTS = (ALIGNER, EMBEDDER, PROFILES)
DETECTORS = "hog+far+mmod"  # part of the scorer id: another chain finds other faces, so its numbers are other numbers

# HOG finds faces from about 80 px. A picture is looked at as it is, then twice enlarged for people far away; large
# ones smaller, so that no look takes longer than at 1.4 (first) and 5.2 megapixels (second), docs/identity.md.
NEAR_PIXELS = 2_000_000
FAR_PIXELS = 5_200_000
FAR_SCALE = 2.0
# The CNN also finds profiles, from 80 px of the copy that it is given: a quarter of a square picture's side. At 512 px
# it takes 2.7 times as long and found not one more of 12 drawn profiles; at 1024 px it takes 6 s.
PROFILE_PIXELS = 320 * 320
PROFILE_SCORE = 0.5  # profiles had 0.7 to 1.1, false boxes up to 0.25
# On a copy under 10 pixels wide or 7 high the CNN raises, overwrites memory or ends the process (tried on all sides up
# to 16 and on long strips). It finds nothing that small anyway.
PROFILE_LEAST_PX = 32

# A second box counts as a person only if it is convincing or large: HOG has small false positives (docs/adr/0005).
FALSE_BOX_SCORE = 0.5
FALSE_BOX_WIDTH = 0.5  # of the main face's width

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture; may reach over its edges


@dataclass(frozen=True)
class Face:
    """One face: `width` in pixels of the picture, `score` of its detector, `embedding` of 128 floats, its `box`."""

    width: float
    score: float
    embedding: tuple[float, ...]
    box: Box | None = None  # None: kept before boxes were

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        box = None if self.box is None else list(self.box)
        return {"width": self.width, "score": self.score, "embedding": list(self.embedding), "box": box}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Face:
        """Read back what `as_dict` wrote, now or before it wrote boxes."""
        left, top, right, bottom = data.get("box") or (0, 0, 0, 0)
        box = (left, top, right, bottom) if data.get("box") else None
        return cls(float(data["width"]), float(data["score"]), tuple(data["embedding"]), box)


@dataclass(frozen=True)
class Seen:
    """What is in one file: the people on it, and its AI mark.

    `rejected` is the reason code of a file that nobody can look at (`too_large`, `unreadable`, `crashed`); then there
    are no pixels.
    """

    pixels_sha256: str
    faces: tuple[Face, ...] = ()
    rejected: str = ""
    mark: SourceType | None = None


class ScorerUnavailable(Exception):
    """The scorer cannot work here: nothing was found out about any file."""


class Scorer(Protocol):
    """Finds faces. Distances are comparable only between faces of one `scorer_id`."""

    @property
    def scorer_id(self) -> str:
        """Name, version, detectors and weights hash: changes whenever a number could by more than rounding."""

    def faces(self, image: Image) -> list[Face]:
        """The people in the picture, the main face first."""


@runtime_checkable
class ParallelScorer(Protocol):
    """A scorer that looks at files itself: many at once, and away from this process, which a file may end."""

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """What is in each file, in their order."""


def see(scorer: Scorer, data: bytes) -> Seen:
    """Decode one file, of whatever origin, and look at it as a viewer shows it."""
    try:
        image, mark = as_shown(data)
        return Seen(pixels_sha256(image), tuple(scorer.faces(image)), mark=mark)
    except ImageRejected as error:
        return Seen("", rejected=error.reason)
    except (RuntimeError, ValueError, MemoryError):  # dlib's own
        return Seen("", rejected="unreadable")


def see_all(scorer: Scorer, files: Sequence[bytes]) -> list[Seen]:
    """What is in each file, in their order; what is wrong with a file is said of it. Raises ScorerUnavailable."""
    if isinstance(scorer, ParallelScorer):
        return scorer.see_all(files)
    return [see(scorer, data) for data in files]


class DlibScorer:
    """dlib's detectors and ResNet embedding, on the CPU, offline; its speed is in docs/benchmarks.md."""

    @cached_property
    def _folder(self) -> Path:
        from importlib.metadata import distribution

        # Located, not imported: importing the package needs pkg_resources, which new setuptools no longer have.
        return Path(str(distribution("face_recognition_models").locate_file("face_recognition_models/models")))

    @cached_property
    def scorer_id(self) -> str:
        """`dlib-resnet/<version>/<detectors>/<weights sha256, 12 characters>`."""
        from importlib.metadata import version

        digest = hashlib.sha256()
        for name in WEIGHTS:
            digest.update((self._folder / name).read_bytes())
        return f"dlib-resnet/{version('dlib-bin')}/{DETECTORS}/{digest.hexdigest()[:12]}"

    def load(self) -> None:
        """Load what every picture needs. Raises where a package or its weights are missing or not what they were."""
        _ = self._detector, self._aligner, self._embedder

    @cached_property
    def _detector(self) -> Any:
        import dlib

        return dlib.get_frontal_face_detector()

    @cached_property
    def _aligner(self) -> Any:
        import dlib

        return dlib.shape_predictor(str(self._folder / ALIGNER))

    @cached_property
    def _embedder(self) -> FaceEmbedder:
        from resources.face_embedding import FaceEmbedder

        return FaceEmbedder(self._folder / EMBEDDER)

    @cached_property
    def _profiles(self) -> Any:
        import dlib

        return dlib.cnn_face_detection_model_v1(str(self._folder / PROFILES))

    def faces(self, image: Image) -> list[Face]:
        """Detect, drop false boxes, align and embed, in the picture's own pixels."""
        image = image.convert("RGB")
        boxes = next((found for found in self._looks(image) if found), [])
        return self._embedded(image, _people(boxes)) if boxes else []

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """What is in each file, looked at by other processes: up to one a core. Raises ScorerUnavailable."""
        from resources.face_pool import shared_pool

        return shared_pool().see_all(files)

    def _looks(self, image: Image) -> Iterator[list[tuple[Box, float]]]:
        """Boxes and detector scores of each look, made only when it is asked for."""
        pixels = image.width * image.height
        near, far = min(1.0, math.sqrt(NEAR_PIXELS / pixels)), min(FAR_SCALE, math.sqrt(FAR_PIXELS / pixels))
        yield self._hog(image, near)
        if far > near:
            yield self._hog(image, far)
        small = min(1.0, math.sqrt(PROFILE_PIXELS / pixels))
        if small * min(image.size) >= PROFILE_LEAST_PX:
            yield self._cnn(image, small)

    def _hog(self, image: Image, scale: float) -> list[tuple[Box, float]]:
        boxes, scores, _ = self._detector.run(_pixels(image, scale), 0, 0.0)
        return [(_box(box, scale), float(score)) for box, score in zip(boxes, scores, strict=True)]

    def _cnn(self, image: Image, scale: float) -> list[tuple[Box, float]]:
        found = self._profiles(_pixels(image, scale), 0)
        return [(_box(one.rect, scale), float(one.confidence)) for one in found if one.confidence >= PROFILE_SCORE]

    def _embedded(self, image: Image, people: list[tuple[Box, float]]) -> list[Face]:
        import dlib

        from resources.face_embedding import CHIP_PX

        pixels = _pixels(image, 1.0)
        faces = []
        for box, score in people:
            shape = self._aligner(pixels, dlib.rectangle(*box))
            embedding = self._embedder.embed(dlib.get_face_chip(pixels, shape, CHIP_PX))
            faces.append(Face(float(_width(box)), score, embedding, box))
        return faces


def _people(boxes: list[tuple[Box, float]]) -> list[tuple[Box, float]]:
    """The widest first, without those that are neither convincing nor large."""
    found = sorted(boxes, key=lambda pair: -_width(pair[0]))
    large = FALSE_BOX_WIDTH * _width(found[0][0])
    return [(box, score) for box, score in found if score >= FALSE_BOX_SCORE or _width(box) >= large]


def _width(box: Box) -> int:
    return box[2] - box[0] + 1  # dlib's rectangles hold their last column


def _pixels(image: Image, scale: float) -> Any:
    import numpy as np
    from PIL.Image import Resampling

    if scale != 1.0:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image))


def _box(rectangle: Any, scale: float) -> Box:
    left, top = round(rectangle.left() / scale), round(rectangle.top() / scale)
    right, bottom = round((rectangle.right() + 1) / scale) - 1, round((rectangle.bottom() + 1) / scale) - 1
    return left, top, right, bottom
