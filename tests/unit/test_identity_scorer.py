"""The face scorer finds the people in a picture, and only them. Faces are drawn by the preview's renderer."""

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import WEIGHTS, DlibScorer, Face
from tests.fakes.scripted_backend import picture


@pytest.fixture(scope="module")
def scorer() -> DlibScorer:
    """One scorer: its models take a moment to load."""
    return DlibScorer()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """An adult, close up."""
    return render(person(11, {"age": "34"}), Look(seed=1), 256, 256)


@pytest.fixture(scope="module")
def other() -> Image.Image:
    """Another adult."""
    return render(person(12, {"age": "52"}), Look(seed=2), 256, 256)


def distance(one: Face, two: Face) -> float:
    """L2, as the domain measures it."""
    return float(np.linalg.norm(np.subtract(one.embedding, two.embedding)))


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Both on one picture."""
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "gray")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def test_picture_without_people_has_no_faces(scorer: DlibScorer) -> None:
    """Grey and noise: nobody is invented."""
    assert scorer.faces(Image.new("RGB", (128, 128), "gray")) == []
    with Image.open(io.BytesIO(picture(128, 128))) as noise:
        assert scorer.faces(noise) == []


def test_one_face_has_a_width_and_128_numbers(scorer: DlibScorer, portrait: Image.Image) -> None:
    """And twice the same numbers, whatever the picture's mode."""
    [face] = scorer.faces(portrait)
    assert 40 < face.width <= 256
    assert len(face.embedding) == 128
    assert all(isinstance(number, float) for number in face.embedding)
    assert scorer.faces(portrait.convert("RGBA")) == [face]


def test_same_person_is_nearer_than_another(scorer: DlibScorer, portrait: Image.Image, other: Image.Image) -> None:
    """In other light and with another expression too."""
    again = render(person(11, {"age": "34"}), Look(seed=9, expression="smile", light="natural"), 256, 256)
    [one], [two], [stranger] = scorer.faces(portrait), scorer.faces(again), scorer.faces(other)
    assert distance(one, one) == 0.0
    assert distance(one, two) < distance(one, stranger)
    assert distance(two, one) < distance(two, stranger)


def test_two_people_are_two_faces_the_larger_first(
    scorer: DlibScorer, portrait: Image.Image, other: Image.Image
) -> None:
    """The main face is the widest, wherever it stands."""
    small = portrait.resize((220, 220))
    for both in (side_by_side(small, other), side_by_side(other, small)):
        main, second = scorer.faces(both)
        assert main.width >= second.width
        assert distance(main, scorer.faces(other)[0]) < 0.3


def test_small_face_is_found_by_a_second_look(scorer: DlibScorer, portrait: Image.Image) -> None:
    """A person far away in a large picture is still a person."""
    far = Image.new("RGB", (300, 300), "gray")
    far.paste(portrait.resize((90, 90)), (100, 100))
    [face] = scorer.faces(far)
    assert face.width < 80


@dataclass(frozen=True)
class Box:
    """What the detector returns, as much of it as the scorer asks for."""

    wide: int

    def width(self) -> int:
        """Pixels."""
        return self.wide


class Detector:
    """Answers each look with the next list of (width, score)."""

    def __init__(self, *looks: list[tuple[int, float]]) -> None:
        self.looks = list(looks)
        self.upsampled: list[int] = []

    def run(self, _: Any, upsample: int, __: float) -> tuple[list[Box], list[float], list[int]]:
        """One look."""
        self.upsampled.append(upsample)
        found = self.looks.pop(0)
        return [Box(wide) for wide, _ in found], [score for _, score in found], [0] * len(found)


def seen(detector: Detector) -> list[float]:
    """Widths of the people that a scorer with this detector sees."""
    scorer = DlibScorer()
    embedder = type("Embedder", (), {"compute_face_descriptor": lambda *_: [0.0] * 128})()
    scorer.__dict__["_models"] = (detector, lambda *_: None, embedder)
    return [face.width for face in scorer.faces(Image.new("RGB", (64, 64)))]


@pytest.mark.parametrize(
    ("found", "people"),
    [
        ([(100, 0.1)], [100.0]),
        ([(40, 0.2), (100, 1.0)], [100.0]),
        ([(40, 0.5), (100, 1.0)], [100.0, 40.0]),
        ([(50, 0.1), (100, 1.0)], [100.0, 50.0]),
        ([(49, 0.49), (100, 1.0)], [100.0]),
    ],
    ids=["alone", "small and unsure", "small but convincing", "unsure but large", "just under both"],
)
def test_unsure_small_box_is_nobody(found: list[tuple[int, float]], people: list[float]) -> None:
    """A pattern on a shirt does not make a second person; a person in the background does."""
    assert seen(Detector(found)) == people


def test_picture_is_enlarged_only_if_nobody_was_found() -> None:
    """The second look costs four times the first."""
    once = Detector([(100, 1.0)])
    assert seen(once) == [100.0]
    twice = Detector([], [(45, 0.9)])
    assert seen(twice) == [45.0]
    assert (once.upsampled, twice.upsampled) == ([0], [0, 1])


def test_scorer_id_changes_with_the_weights(scorer: DlibScorer, tmp_path: Path) -> None:
    """Distances of other weights are other distances: nothing cached under the old id may be compared with them."""
    name, version, digest = scorer.scorer_id.split("/")
    assert (name, len(digest)) == ("dlib-resnet", 12)
    for file in WEIGHTS:
        shutil.copy(scorer._folder / file, tmp_path / file)
    moved = DlibScorer()
    moved.__dict__["_folder"] = tmp_path
    assert moved.scorer_id == scorer.scorer_id
    (tmp_path / WEIGHTS[0]).write_bytes(b"other weights")
    changed = DlibScorer()
    changed.__dict__["_folder"] = tmp_path
    assert changed.scorer_id.rsplit("/", 1) != scorer.scorer_id.rsplit("/", 1)
    assert changed.scorer_id.startswith(f"dlib-resnet/{version}/")


def test_face_survives_its_row() -> None:
    """Faces are kept as JSON in the registry."""
    face = Face(91.0, 1.25, tuple(float(n) / 7 for n in range(128)))
    assert Face.from_dict(json.loads(json.dumps(face.as_dict()))) == face
