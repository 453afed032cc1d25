"""The store in a folder: half a file is worse than none, a full disk says so."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from resources.storage import (
    FileStore,
    StorageError,
    StorageFull,
    open_store,
)

DATA = b"some bytes" * 100
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def files(store: FileStore) -> list[Path]:
    """Every file under the store, hidden ones too."""
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_writing_twice_is_writing_once(store: FileStore) -> None:
    """The second time nothing is written at all."""
    store.put("images", DATA)
    [path] = files(store)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    store.put("images", DATA)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "os.fdopen"])
def test_full_disk_leaves_nothing_and_says_the_way_out(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """Wherever the disk is full, no part of a file stays; with room again the same call works."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(StorageFull, match="free space and run the same command again") as caught:
            store.put("images", DATA)
    assert str(store.root) in str(caught.value)
    assert files(store) == []
    assert store.put("images", DATA) == SHA


def test_real_device_without_room_is_storage_full(tmp_path: Path) -> None:
    """The same through the real write path: what /dev/full answers, with the descriptor closed after it."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    store = FileStore(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / "part")))
        with pytest.raises(StorageFull):
            store.put("images", DATA)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert files(store) == []


def test_store_that_cannot_be_written_or_read_says_where(tmp_path: Path) -> None:
    """A file in the place of a folder: our error with the path, not a bare OSError."""
    store = FileStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "images").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        store.put("images", DATA)
    folder = store.root / "loras" / SHA[:2] / f"{SHA}.safetensors"
    folder.mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        store.get("loras", SHA)


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost"])
def test_folder_is_taken_as_it_is_written(tmp_path: Path, prefix: str) -> None:
    """A path or a file: URL, with letters that mean something in URLs."""
    folder = tmp_path / "a b#1?x"
    url = (
        str(folder) if not prefix else prefix + str(folder).replace(" ", "%20").replace("#", "%23").replace("?", "%3F")
    )
    assert open_store(url).put("manifests", b"{}") == hashlib.sha256(b"{}").hexdigest()
    assert (folder / "manifests").is_dir()


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "http://host/x", "file://data/store"])
def test_store_that_is_not_supported_is_refused_by_name(url: str) -> None:
    """Also a file: URL with one slash too few, which would silently be another folder."""
    with pytest.raises(StorageError, match="RYLA_STORAGE_URL"):
        open_store(url)
