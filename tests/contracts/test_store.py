"""One contract for every store: a hash is a promise, whether a folder or an S3 keeps it."""

import hashlib
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.storage import KINDS, FileStore, ObjectCorrupt, ObjectMissing, StorageError, Store
from tests.s3 import S3Server

DATA = b"some bytes" * 100
MB = 1024 * 1024
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass(frozen=True)
class Place:
    """A store and its back door: `overwrite` changes what lies there, `objects` names it."""

    store: Store
    overwrite: Callable[[str, bytes], object]
    objects: Callable[[], list[str]]


def in_folder(root: Path) -> Place:
    """A store in a folder."""
    return Place(
        FileStore(root),
        lambda name, data: (root / name).write_bytes(data),
        lambda: sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
    )


def in_s3(server: S3Server) -> Place:
    """A store on the S3 server, with a client as the back door."""
    store = server.store()
    return Place(
        store,
        lambda name, data: server.overwrite(store, name, data),
        lambda: sorted(server.objects(store)),
    )


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store of each sort."""
    return in_folder(tmp_path) if request.param == "folder" else in_s3(request.getfixturevalue("s3"))


@pytest.mark.parametrize("kind", list(KINDS))
def test_bytes_come_back_under_their_hash(place: Place, kind: str) -> None:
    """Put, has, get, uri: all by the same name, and every store uses the same."""
    name = f"{kind}/{SHA[:2]}/{SHA}{KINDS[kind]}"
    assert not place.store.has(kind, SHA)
    assert place.store.put(kind, DATA) == SHA
    assert place.store.has(kind, SHA)
    assert place.store.get(kind, SHA) == DATA
    assert place.store.uri(kind, SHA).endswith("/" + name)
    assert place.objects() == [name]
    assert not any(place.store.has(other, SHA) for other in KINDS if other != kind)


def test_empty_object_is_an_object(place: Place) -> None:
    """Nothing has a hash as well."""
    sha256 = place.store.put("manifests", b"")
    assert place.store.get("manifests", sha256) == b""


def test_missing_object_is_named(place: Place) -> None:
    """With its hash, by its own error."""
    for ask in (place.store.get, place.store.verify):
        with pytest.raises(ObjectMissing, match=SHA):
            ask("images", SHA)


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"x", b"X" + DATA[1:]], ids=["empty", "cut", "more", "bit"])
def test_damaged_object_is_noticed_and_healed_by_storing_again(place: Place, damage: bytes) -> None:
    """Reading never returns other bytes; the way out is in the message and works."""
    place.store.put("images", DATA)
    place.overwrite(place.objects()[0], damage)
    for ask in (place.store.get, place.store.verify):
        with pytest.raises(ObjectCorrupt, match="Materialize its asset again"):
            ask("images", SHA)
    place.store.put("images", DATA)
    place.store.verify("images", SHA)
    assert place.store.get("images", SHA) == DATA


def test_file_of_a_lora_is_in_memory_once_or_not_at_all(place: Place) -> None:
    """Reading it takes its size; holding it to its name takes a piece of it, and so does storing what is there."""
    data = hashlib.sha256(DATA).digest() * (MB * 60 // 32)
    assert peak_of(lambda: place.store.put("loras", data)) < 48 * MB, "what is on its way, of however much"
    sha256 = hashlib.sha256(data).hexdigest()
    assert peak_of(lambda: place.store.verify("loras", sha256)) < 4 * MB
    assert peak_of(lambda: place.store.get("loras", sha256)) < len(data) + 4 * MB
    assert peak_of(lambda: place.store.put("loras", data)) < 10 * MB


def peak_of(work: Callable[[], object]) -> int:
    """The most that it had in memory beside what was there before, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_short_names_find_one_object_or_none(place: Place) -> None:
    """Sixteen characters are enough for a URL; fewer find nothing; two candidates are no answer."""
    place.store.put("images", DATA)
    assert place.store.find("images", SHA[:16]) == SHA
    assert place.store.find("images", SHA) == SHA
    assert place.store.find("inputs", SHA[:16]) is None
    for prefix in (SHA[:15], "*" * 16, "../" * 8, SHA[:16].upper() + "G", "0" * 16, ""):
        assert place.store.find("images", prefix) is None
    place.overwrite(f"images/{SHA[:2]}/{SHA[:20]}{'0' * 44}.png", b"")
    assert place.store.find("images", SHA[:16]) is None


@pytest.mark.parametrize(
    ("kind", "sha"), [("images", "../../x"), ("images", SHA[:-1]), ("images", SHA.upper()), ("x", SHA)]
)
def test_name_that_is_no_hash_is_never_looked_up(place: Place, kind: str, sha: str) -> None:
    """Names come from manifests and URLs; a path or a key is never built from anything else."""
    for ask in (place.store.get, place.store.verify, place.store.has, place.store.uri):
        with pytest.raises(StorageError, match="names no object"):
            ask(kind, sha)


def test_many_writers_of_one_object_leave_one(place: Place) -> None:
    """Eight threads store the same picture at once: none fails, and it is whole."""
    failures: list[BaseException] = []

    def write() -> None:
        try:
            place.store.put("images", DATA)
        except Exception as error:  # noqa: BLE001  whatever a thread meets is the test's business
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert place.store.get("images", SHA) == DATA
    assert len(place.objects()) == 1
