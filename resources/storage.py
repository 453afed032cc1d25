"""The store: content-addressed objects (pictures, LoRA files, manifests) and nothing that can be overwritten.

An object's name is the sha256 of its bytes, so writing twice is writing once and every read is verified.
Belongs here: bytes under a hash. Which manifest is current or accepted is a registry row, never a file's date.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

KINDS = {"images": ".png", "inputs": ".png", "loras": ".safetensors", "manifests": ".json"}


class StorageError(Exception):
    """The store cannot do what was asked; the message says the object and the way out."""


class StorageFull(StorageError):
    """No room left: nothing was half-written, and the same run can be started again."""


class StoreUnreachable(StorageError):
    """The store does not answer just now; the same call may well work later."""


class ObjectMissing(StorageError):
    """No object of that hash is in the store."""


class ObjectCorrupt(StorageError):
    """The stored bytes are not what their name says: truncated or changed from outside."""


class Store(Protocol):
    """Where bytes live. `kind` is one of KINDS; a hash is 64 lower-case hex characters."""

    def put(self, kind: str, data: bytes) -> str:
        """Store `data` and return its sha256."""

    def get(self, kind: str, sha256: str) -> bytes:
        """Return the object's bytes, verified. Raises ObjectMissing, ObjectCorrupt."""

    def verify(self, kind: str, sha256: str) -> None:
        """Read the object through, a piece at a time: a LoRA needs no memory. Raises ObjectMissing, ObjectCorrupt."""

    def has(self, kind: str, sha256: str) -> bool:
        """True if an object of that hash is stored (its bytes are not read)."""

    def find(self, kind: str, prefix: str) -> str | None:
        """The only hash that begins with `prefix` (16 hex characters or more), or None."""

    def uri(self, kind: str, sha256: str) -> str:
        """Where the object lies, for people and metadata."""

    def probe(self) -> None:
        """Try all that it must be able to do on something of its own, and leave nothing. Raises StorageError."""


@dataclass(frozen=True)
class ResultUrls:
    """Where a worker puts what it made for one attempt, and finds what was made before; presigned, so secrets."""

    manifest_get: str
    manifest_put: str
    files_put: dict[str, str]  # output name -> URL


class SigningStore(Store, Protocol):
    """A store that a far worker can reach by presigned URLs: it reads inputs and leaves its results there.

    Results lie apart from the objects, under the job's fingerprint, as untrusted bytes until `accept` has taken them:
    `results/<fingerprint>/<attempt>/<name>` and, written last, `results/<fingerprint>/result.json` (workflows.wire).
    """

    def sign_get(self, kind: str, sha256: str, *, seconds: int) -> str:
        """A URL that reads one object for that long."""

    def sign_result(self, fingerprint: str, attempt_id: str, names: Sequence[str], *, seconds: int) -> ResultUrls:
        """The URLs for one attempt's results."""

    def result(self, fingerprint: str) -> bytes | None:
        """The `result.json` that a worker left, at most 1 MB of it; None if there is none."""

    def result_file(self, fingerprint: str, attempt_id: str, name: str, *, max_bytes: int) -> bytes:
        """One raw result. Raises ObjectMissing, or StorageError if it is larger than `max_bytes`."""

    def forget_result(self, fingerprint: str) -> None:
        """Delete a job's raw results: they were accepted, and raw worker bytes are not kept."""


class FileStore:
    """A store in a folder: `images/ab/abcd....png`; writes are atomic and survive a crash."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, kind: str, data: bytes) -> str:
        """Store `data` by rename after fsync; a full disk leaves nothing behind."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(kind, sha256)
        try:
            if path.exists() and _hashed(path) == sha256:
                return sha256  # a damaged file of that name is written anew: storing again heals it
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(
                    f"The store is full: {len(data)} bytes do not fit under {self.root}. "
                    "Nothing was half-written; free space and run the same command again."
                ) from error
            raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
        return sha256

    def get(self, kind: str, sha256: str) -> bytes:
        """Read and verify one object."""
        path = self._path(kind, sha256)
        with self._reading(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(path)
        return data

    def verify(self, kind: str, sha256: str) -> None:
        """Hash one object's file."""
        path = self._path(kind, sha256)
        with self._reading(path):
            found = _hashed(path)
        if found != sha256:
            raise damaged(path)

    def has(self, kind: str, sha256: str) -> bool:
        """True if the object's file exists."""
        return self._path(kind, sha256).exists()

    def find(self, kind: str, prefix: str) -> str | None:
        """Look a hash up by its first characters, as short URLs carry them."""
        if len(prefix) < 16 or not set(prefix) <= set("0123456789abcdef"):
            return None
        hits = list((self.root / kind / prefix[:2]).glob(f"{prefix}*{KINDS[kind]}"))
        return hits[0].stem if len(hits) == 1 else None

    def uri(self, kind: str, sha256: str) -> str:
        """The object's file URI."""
        return self._path(kind, sha256).resolve().as_uri()

    def probe(self) -> None:
        """Write, read and remove a file."""
        path = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, b"probe")
            path.read_bytes()
            path.unlink()
        except OSError as error:
            raise StorageError(f"{self.root} cannot be written to: {error.strerror}.") from error

    def _path(self, kind: str, sha256: str) -> Path:
        return self.root / object_name(kind, sha256)

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            kind = path.parent.parent.name
            raise ObjectMissing(f"{kind} object {path.stem} is not in the store ({self.root}).") from error
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class S3Access:
    """How an S3 is reached: RYLA_S3_*. Empty: AWS itself, with the region and the credentials of the machine."""

    endpoint_url: str = ""  # workers must reach it too: presigned URLs carry it
    region: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)


def open_store(url: str, s3: S3Access | None = None) -> Store:
    """The store behind RYLA_STORAGE_URL: a folder (path or file: URL), or s3://bucket/prefix. Nothing is contacted."""
    parts = urlsplit(url)
    if not parts.scheme:
        return FileStore(Path(url))  # a path is taken as it is: '#', '?' and '%' are letters in it
    if parts.scheme == "s3":
        return _open_s3(url, s3 or S3Access())
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise StorageError(
            f"RYLA_STORAGE_URL: {url!r} is not supported; give a folder, a file:///folder URL or s3://bucket/prefix."
        )
    return FileStore(Path(unquote(parts.path)))


def object_name(kind: str, sha256: str) -> str:
    """`images/ab/abcd....png`: an object's place in any store. Raises StorageError for what is no kind or no hash."""
    if kind not in KINDS or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise StorageError(f"{kind!r}/{sha256!r} names no object: a kind is one of {sorted(KINDS)}, a hash 64 hex.")
    return f"{kind}/{sha256[:2]}/{sha256}{KINDS[kind]}"


def damaged(place: object) -> ObjectCorrupt:
    """The error for an object whose bytes are not what its name says."""
    return ObjectCorrupt(
        f"{place} is damaged: its bytes are not what its name says. "
        "Materialize its asset again: the paid result is fetched anew, or re-made."
    )


def _open_s3(url: str, access: S3Access) -> SigningStore:
    from resources.storage_s3 import S3Store

    match = re.fullmatch(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,62})((?:/[\w-][\w.-]*)*)/?", url, re.ASCII)
    if not match:
        raise StorageError(  # without its value, which may hold a key
            "RYLA_STORAGE_URL: what follows s3:// is no bucket and prefix; give s3://bucket/prefix, keys in RYLA_S3_*."
        )

    def connect() -> object:
        from resources.s3_client import make_client

        return make_client(access)

    prefix = match[2].strip("/")
    return S3Store(match[1], f"{prefix}/" if prefix else "", connect)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_atomically(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
