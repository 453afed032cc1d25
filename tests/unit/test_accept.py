"""Nothing that a worker returns is believed before it was checked; what is refused says why."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resources import images
from resources.gpu.accept import Answer, accept
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import OutputRejected, Retry
from resources.gpu.job import Job, OutputSpec
from resources.storage import FileStore, StorageError
from tests.fakes.scripted_backend import Damage, damaged, lora, picture, png

JOB = Job(
    "image",
    {},
    (OutputSpec("front", "image", 64, 48), OutputSpec("back_00002_", "image", 48, 64)),
    label="sheet of mara",
)
TRAINING = Job("training", {"base_model": "zimage-turbo", "steps": 20}, (OutputSpec("mara", "lora"),), label="lora")
LORA = lora("zimage-turbo", 20)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def returned() -> list[RemoteOutput]:
    """What a good worker sends for JOB, in any order."""
    return [
        RemoteOutput("back_00002__00001_.png", picture(48, 64, seed=2)),
        RemoteOutput("front_00001_.png", picture(64, 48, seed=1)),
    ]


def answered(store: FileStore, outputs: list[RemoteOutput], job: Job = JOB) -> Answer:
    """`accept` as the runner calls it."""
    return accept(job, outputs, store, source="trainedAlgorithmicMedia", tool="RYLA Assets")


def taken(store: FileStore, outputs: list[RemoteOutput], job: Job = JOB) -> list[dict[str, Any]]:
    """The records of an answer of which nothing is refused."""
    answer = answered(store, outputs, job)
    assert answer.refused == []
    return answer.outputs


def nothing_stored(store: FileStore) -> bool:
    """True if no object was written."""
    return not store.root.exists() or not [p for p in store.root.rglob("*") if p.is_file()]


def test_good_pictures_are_stored_marked_and_in_the_jobs_order(store: FileStore) -> None:
    """The record names what lies in the store, and the pixels are the worker's."""
    first, second = taken(store, returned())
    assert (first["name"], first["width"], first["height"]) == ("front", 64, 48)
    assert (second["name"], second["width"], second["height"]) == ("back_00002_", 48, 64)
    stored = store.get("images", first["sha256"])
    assert images.read_mark(stored) == "trainedAlgorithmicMedia"
    assert images.pixels_sha256(images.decode(stored)) == first["pixels_sha256"]
    assert first["pixels_sha256"] == images.pixels_sha256(images.decode(picture(64, 48, seed=1)))


def test_accepting_twice_is_the_same(store: FileStore) -> None:
    """A result fetched anew lands on the same hashes: lineage does not break."""
    assert taken(store, returned()) == taken(store, returned()[::-1])


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        ("extra", "extra_output", "'surprise_00001_.png' came back, nobody asked for it"),
        ("double", "extra_output", "2 files came back for 'front', one was asked for"),
        ("missing", "missing_output", "0 files came back for 'front', one was asked for"),
    ],
)
def test_answer_of_other_files_is_refused_as_a_whole(store: FileStore, damage: Damage, code: str, words: str) -> None:
    """It is not what was asked for: nothing of it is stored, and the error says where to look."""
    with pytest.raises(OutputRejected, match=words) as caught:
        answered(store, damaged(damage, returned()[::-1]))
    assert (caught.value.code, caught.value.retry, caught.value.refused) == (code, Retry.TRANSIENT, [])
    assert "sheet of mara" in caught.value.message
    assert "Mend the worker" in caught.value.way_out
    assert nothing_stored(store)


def blank(name: str, width: int, height: int) -> RemoteOutput:
    """A black picture: what NaN latents become."""
    return RemoteOutput(f"{name}_00001_.png", png(Image.new("RGB", (width, height))))


@pytest.mark.parametrize(
    ("bad", "code", "words"),
    [
        (blank("front", 64, 48), "blank", "it came back blank"),
        (RemoteOutput("front_00001_.png", picture(48, 40)), "wrong_size", "48x40 came back, 64x48 was asked for"),
    ],
)
def test_picture_that_is_none_is_quarantined_and_the_others_are_taken(
    store: FileStore, bad: RemoteOutput, code: str, words: str
) -> None:
    """They are paid for. It is stored and marked like them, and its record says why nobody may use it."""
    answer = answered(store, [returned()[0], bad])
    assert [one["name"] for one in answer.outputs] == ["back_00002_"]
    [refused] = answer.refused
    assert (refused["name"], refused["code"]) == ("front", code)
    assert words in refused["reason"]
    stored = store.get("images", refused["sha256"])
    assert images.read_mark(stored) == "trainedAlgorithmicMedia"
    assert images.pixels_sha256(images.decode(stored)) == refused["pixels_sha256"]


def test_bytes_that_are_no_picture_are_noted_and_not_kept(store: FileStore) -> None:
    """What cannot be decoded cannot be marked; its hash and size tell it again. The others are taken."""
    torn = picture(64, 48)[:200]
    answer = answered(store, [returned()[0], RemoteOutput("front_00001_.png", torn)])
    [refused] = answer.refused
    assert (refused["code"], refused["bytes"], "sha256" in refused) == ("unreadable", 200, False)
    assert refused["raw_sha256"] == hashlib.sha256(torn).hexdigest()
    assert not store.has("images", refused["raw_sha256"])
    assert [one["name"] for one in answer.outputs] == ["back_00002_"]


def test_job_of_blank_pictures_alone_is_an_answer_too(store: FileStore) -> None:
    """Both are kept, neither may be used; what that is worth is the runner's to say."""
    answer = answered(store, [blank("front", 64, 48), blank("back_00002_", 48, 64)])
    assert answer.outputs == []
    assert [one["code"] for one in answer.refused] == ["blank", "blank"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "front.exe", "", "front_1_.png", "FRONT_00001_.png"])
def test_name_that_nobody_asked_for_is_refused(store: FileStore, name: str) -> None:
    """A name is compared, never used as a path."""
    with pytest.raises(OutputRejected, match="nobody asked for it") as caught:
        taken(store, [*returned(), RemoteOutput(name, picture(64, 48))])
    assert caught.value.code == "extra_output"
    assert nothing_stored(store)


def test_lora_is_verified_and_stored_as_it_is(store: FileStore) -> None:
    """Its record says what was verified."""
    [record] = taken(store, [RemoteOutput("mara.safetensors", LORA)], TRAINING)
    assert record["name"] == "mara"
    assert (record["base_model"], record["rank"], record["bytes"]) == ("zimage-turbo", 4, len(LORA))
    assert store.get("loras", record["sha256"]) == LORA


@pytest.mark.parametrize(
    "damage",
    [
        LORA[:-1],
        lora("zimage-turbo", 10),
        lora("flux-dev", 20),
        struct.pack("<Q", 2) + b"{}",
        picture(64, 48),
    ],
    ids=["cut", "stopped early", "of another base", "empty", "a picture"],
)
def test_bad_lora_is_refused(store: FileStore, damage: bytes) -> None:
    """Whatever the worker's exit code was."""
    with pytest.raises(OutputRejected) as caught:
        taken(store, [RemoteOutput("mara.safetensors", damage)], TRAINING)
    assert caught.value.code == "lora_file"
    assert nothing_stored(store)


def test_huge_lora_is_not_even_read(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's disk is filled by one answer."""
    monkeypatch.setattr("resources.gpu.accept.MAX_LORA_BYTES", 100)
    with pytest.raises(OutputRejected, match="at most 100 are taken"):
        taken(store, [RemoteOutput("mara.safetensors", LORA)], TRAINING)


def test_store_that_fails_is_not_the_workers_fault(tmp_path: Path) -> None:
    """A good result that cannot be stored is no rejected output: it must be fetched again, not paid again."""
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        taken(FileStore(tmp_path / "store"), returned())
