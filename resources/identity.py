"""The face scorer: finds faces in a picture and gives each an embedding. Protocol, and the default one (dlib).

Belongs here: pixels in, faces out. Whose face it is, thresholds and gates are the domain's. The choices
were measured on a CPU: HOG detector, 5-point alignment, ResNet-29, 128 floats, L2 distance (docs/adr/0005).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
# A second box counts as a person only if it is convincing or large: HOG has small false positives (docs/adr/0005).
FALSE_BOX_SCORE = 0.5
FALSE_BOX_WIDTH = 0.5  # of the main face's width


@dataclass(frozen=True)
class Face:
    """One face: `width` in pixels of the picture, `score` of the detector, `embedding` of 128 floats."""

    width: float
    score: float
    embedding: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"width": self.width, "score": self.score, "embedding": list(self.embedding)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Face:
        """Read back what `as_dict` wrote."""
        return cls(float(data["width"]), float(data["score"]), tuple(data["embedding"]))


class Scorer(Protocol):
    """Finds faces. Distances are comparable only between faces of one `scorer_id`."""

    @property
    def scorer_id(self) -> str:
        """Name, version and weights hash: changes whenever the numbers could."""

    def faces(self, image: Image) -> list[Face]:
        """The people in the picture, the main face first."""


class DlibScorer:
    """dlib's HOG detector and ResNet embedding, on the CPU, offline; about 60 ms for a 512 px picture."""

    @cached_property
    def _folder(self) -> Path:
        from importlib.metadata import distribution

        # Located, not imported: importing the package needs pkg_resources, which new setuptools no longer have.
        return Path(str(distribution("face_recognition_models").locate_file("face_recognition_models/models")))

    @cached_property
    def scorer_id(self) -> str:
        """`dlib-resnet/<version>/<weights sha256, 12 characters>`."""
        from importlib.metadata import version

        digest = hashlib.sha256()
        for name in WEIGHTS:
            digest.update((self._folder / name).read_bytes())
        return f"dlib-resnet/{version('dlib-bin')}/{digest.hexdigest()[:12]}"

    @cached_property
    def _models(self) -> tuple[Any, Any, Any]:
        import dlib

        aligner = dlib.shape_predictor(str(self._folder / WEIGHTS[0]))
        embedder = dlib.face_recognition_model_v1(str(self._folder / WEIGHTS[1]))
        return dlib.get_frontal_face_detector(), aligner, embedder

    def faces(self, image: Image) -> list[Face]:
        """Detect, drop false boxes, align and embed; a second, upsampled look if nothing was found."""
        import numpy as np

        detector, aligner, embedder = self._models
        pixels = np.ascontiguousarray(np.asarray(image.convert("RGB")))
        boxes, scores, _ = detector.run(pixels, 0, 0.0)
        if not boxes:  # HOG finds faces from about 80 px, enlarged once from 40 px
            boxes, scores, _ = detector.run(pixels, 1, 0.0)
        found = sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[0].width())
        people = []
        for box, score in found:
            convincing = score >= FALSE_BOX_SCORE or box.width() >= FALSE_BOX_WIDTH * found[0][0].width()
            if convincing:
                shape = aligner(pixels, box)
                people.append(
                    Face(float(box.width()), float(score), tuple(embedder.compute_face_descriptor(pixels, shape)))
                )
        return people
