"""Capability URLs: short, unguessable links to thumbnails and galleries, since `<img>` in Dagster's UI sends no key.

A link is the object's name and a keyed hash of it. The key lies in RYLA_HOME, readable by its owner only, and is made
on first use; deleting it invalidates every link.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

PREFIX_BYTES = 12  # of the picture's sha256: 96 bits name one object among any number we will ever have
MAC_BYTES = 12  # 96 bits: not guessable over HTTP


class Links:
    """Makes and checks links; `public_url` is where browsers reach the HTTP app."""

    def __init__(self, home: Path, public_url: str) -> None:
        self.home = home
        self.public_url = public_url.rstrip("/")

    def thumbnail(self, image_sha256: str) -> str:
        """The URL of a picture's thumbnail; about 60 characters."""
        name = bytes.fromhex(image_sha256)[:PREFIX_BYTES]
        return f"{self.public_url}/t/{_text(name + self._mac('thumbnail', name))}.webp"

    def image_prefix(self, token: str) -> str | None:
        """The first 24 hex characters of the picture that a thumbnail token names; None for a forged token."""
        raw = _raw(token)
        if raw is None or len(raw) != PREFIX_BYTES + MAC_BYTES:
            return None
        name, mac = raw[:PREFIX_BYTES], raw[PREFIX_BYTES:]
        return name.hex() if hmac.compare_digest(mac, self._mac("thumbnail", name)) else None

    def gallery(self, character: str) -> str:
        """The URL of a character's page."""
        return f"{self.public_url}/g/{character}/{_text(self._mac('gallery', character.encode()))}"

    def opens_gallery(self, character: str, token: str) -> bool:
        """Whether the token opens this character's page."""
        raw = _raw(token)
        return raw is not None and hmac.compare_digest(raw, self._mac("gallery", character.encode()))

    def _mac(self, purpose: str, name: bytes) -> bytes:
        return hmac.new(self._key(), purpose.encode() + b":" + name, hashlib.sha256).digest()[:MAC_BYTES]

    def _key(self) -> bytes:
        path = self.home / "capability.key"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".capability-{os.getpid()}")
            part.touch(mode=0o600)
            part.write_bytes(secrets.token_bytes(32))
            try:
                os.link(part, path)  # the first writer wins, and no reader ever sees half a key
            except FileExistsError:
                pass
            finally:
                part.unlink()
        return path.read_bytes()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(token: str) -> bytes | None:
    if len(token) > 64 or not token.isascii():
        return None
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
