"""The preview's perception: who is on a picture that the preview drew.

Belongs here: one JSON file per pixels hash in a directory, written atomically. Does not belong here: drawing, hashing.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from resources.gpu.backends.preview.identity import Identity

_HASH = re.compile(r"[0-9a-f]{64}")


class IdentityBook:
    """Identities by `pixels_sha256`; safe for several processes, since an entry appears whole, under its final name."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def get(self, pixels_sha256: str) -> Identity | None:
        """The person on the picture with these pixels, or None for a picture that was not drawn here."""
        path = self._path(pixels_sha256)
        if not path.exists():
            return None
        try:
            return Identity.from_dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} does not hold an identity: {error}; delete it and draw the picture again"
            ) from error

    def put(self, pixels_sha256: str, identity: Identity) -> None:
        """Record who is on the picture with these pixels; a later entry for the same pixels replaces the earlier."""
        path = self._path(pixels_sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(identity.as_dict(), file)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, pixels_sha256: str) -> Path:
        if not _HASH.fullmatch(pixels_sha256):
            raise ValueError(f"pixels_sha256 is {pixels_sha256!r}; it must be 64 hexadecimal digits")
        return self.directory / pixels_sha256[:2] / f"{pixels_sha256}.json"
