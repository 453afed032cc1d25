"""The face scorer finds the people in a picture, and only them. Faces are drawn by the preview's renderer."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dlib
import numpy as np
import pytest
from PIL import Image

from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import WEIGHTS, DlibScorer, Face, Seen, see
from tests.fakes.scripted_backend import picture

VIEWS = ("side-left", "back")


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


class Detector:
    """Answers each look with the next list of (width, score), in the pixels of the copy that it is given."""

    def __init__(self, *looks: list[tuple[int, float]]) -> None:
        self.looks = list(looks)
        self.widths: list[int] = []

    def run(self, pixels: Any, _: int, __: float) -> tuple[list[Any], list[float], list[int]]:
        """One look of HOG."""
        self.widths.append(pixels.shape[1])
        found = self.looks.pop(0)
        return [rectangle(wide) for wide, _ in found], [score for _, score in found], [0] * len(found)

    def __call__(self, pixels: Any, _: int) -> list[Any]:
        """One look of the CNN."""
        self.widths.append(pixels.shape[1])
        return [SimpleNamespace(rect=rectangle(wide), confidence=score) for wide, score in self.looks.pop(0)]


def rectangle(wide: int) -> Any:
    """A square box in a corner."""
    return dlib.rectangle(0, 0, wide - 1, wide - 1)


def scripted(detector: Detector, size: tuple[int, int] = (64, 64)) -> list[Face]:
    """The people that a scorer with this detector sees on an empty picture."""
    scorer = DlibScorer()
    points = [dlib.point(x, y) for x, y in ((40, 20), (30, 20), (10, 20), (20, 20), (25, 35))]
    scorer.__dict__ |= {
        "_detector": detector,
        "_profiles": detector,
        "_aligner": lambda _, box: dlib.full_object_detection(box, points),
        "_embedder": SimpleNamespace(embed=lambda _: (0.0,) * 128),
    }
    return scorer.faces(Image.new("RGB", size))


def seen(detector: Detector) -> list[float]:
    """Their widths."""
    return [face.width for face in scripted(detector)]


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


def test_next_look_is_taken_only_if_nobody_was_found() -> None:
    """The second look costs four times the first, the third as much again."""
    once = Detector([(100, 1.0)])
    assert seen(once) == [100.0]
    twice = Detector([], [(90, 0.9)])
    assert seen(twice) == [45.0], "found on a copy of twice the size"
    thrice = Detector([], [], [(40, 0.6), (60, 0.4)])
    assert seen(thrice) == [40.0], "what the CNN is not sure of is nobody"
    assert seen(Detector([], [], [])) == []
    assert (once.widths, twice.widths, thrice.widths) == ([64], [64, 128], [64, 128, 64])


@pytest.mark.parametrize(
    ("size", "widths"),
    [((1024, 1024), [1024, 2048, 320]), ((2048, 2048), [1414, 2280, 320]), ((4096, 2048), [2000, 3225, 453])],
)
def test_no_look_grows_with_the_picture(size: tuple[int, int], widths: list[int]) -> None:
    """A picture of 16 megapixels is looked at no longer than one of two."""
    detector = Detector([], [], [])
    scripted(detector, size)
    assert detector.widths == widths


@pytest.mark.parametrize(("size", "looks"), [((31, 4000), 2), ((16, 200_000), 2), ((32, 3200), 3), ((1, 1), 2)])
def test_cnn_is_shown_no_strip(size: tuple[int, int], looks: int) -> None:
    """On a copy of a few pixels' width or height dlib's CNN overwrites memory, and ends the process."""
    detector = Detector([], [], [])
    assert scripted(detector, size) == []
    assert len(detector.widths) == looks


def test_box_is_in_pixels_of_the_picture() -> None:
    """Whatever the size of the copy that it was found on: blur of a face is measured there."""
    [face] = scripted(Detector([], [(90, 0.9)]))
    assert face.box == (0, 0, 44, 44)
    [face] = scripted(Detector([(707, 1.0)]), (2048, 2048))
    assert face.box == (0, 0, 1023, 1023)


def test_profile_is_found_where_the_first_detectors_find_nobody(scorer: DlibScorer) -> None:
    """A side view is seen by the CNN alone, in the picture's pixels; the back of a head is nobody."""
    side, back = (render(person(1, {"age": "34"}), Look(seed=1, framing="medium", view=v), 512, 512) for v in VIEWS)
    looks = scorer._looks(side)
    assert [next(looks), next(looks)] == [[], []]
    [face] = scorer.faces(side)
    assert 100 <= face.width <= 160
    assert face.box is not None
    assert 0 < face.box[0] < face.box[2] < 512
    assert scorer.faces(back) == []


def test_scorer_id_changes_with_the_weights(scorer: DlibScorer, tmp_path: Path) -> None:
    """Distances of other weights are other distances: nothing cached under the old id may be compared with them."""
    name, version, detectors, digest = scorer.scorer_id.split("/")
    assert (name, detectors, len(digest)) == ("dlib-resnet", "hog+far+mmod", 12)
    for file in WEIGHTS:
        shutil.copy(scorer._folder / file, tmp_path / file)
    moved = DlibScorer()
    moved.__dict__["_folder"] = tmp_path
    assert moved.scorer_id == scorer.scorer_id
    (tmp_path / WEIGHTS[0]).write_bytes(b"other weights")
    changed = DlibScorer()
    changed.__dict__["_folder"] = tmp_path
    assert changed.scorer_id.rsplit("/", 1) != scorer.scorer_id.rsplit("/", 1)
    assert changed.scorer_id.startswith(f"dlib-resnet/{version}/hog+far+mmod/")


def test_68_point_file_is_never_opened(scorer: DlibScorer, tmp_path: Path) -> None:
    """Its author asks not to use it commercially; a scorer without it works as well."""
    for file in WEIGHTS:
        (tmp_path / file).symlink_to(scorer._folder / file)
    bare = DlibScorer()
    bare.__dict__["_folder"] = tmp_path
    assert bare.faces(Image.new("RGB", (64, 64))) == []
    assert not any("68" in name for name in WEIGHTS)


@pytest.mark.parametrize("error", [RuntimeError("bad allocation"), MemoryError(), ValueError("an array of no pixels")])
def test_picture_that_breaks_the_scorer_is_an_answer(error: Exception) -> None:
    """dlib raises what it likes; a picture of it is not verified, and the others are looked at."""

    def broken(_: Any) -> list[Face]:
        raise error

    scorer = SimpleNamespace(scorer_id="broken", faces=broken)
    assert see(scorer, picture(32, 32)) == Seen("", rejected="unreadable")


def test_photograph_is_looked_at_as_it_is_shown(portrait: Image.Image, scorer: DlibScorer) -> None:
    """A telephone writes what its sensor saw, and in EXIF how to turn it; a head on its side is somebody else."""
    exif, lying = Image.Exif(), portrait.transpose(Image.Transpose.ROTATE_90)
    exif[0x0112] = 6  # turn it by 90 degrees to the right
    bare, told = io.BytesIO(), io.BytesIO()
    lying.save(bare, "JPEG", quality=95)
    lying.save(told, "JPEG", quality=95, exif=exif)
    [face], [upright] = see(scorer, told.getvalue()).faces, scorer.faces(portrait)
    assert distance(face, upright) < 0.1
    assert all(distance(one, upright) > 0.2 for one in see(scorer, bare.getvalue()).faces)


def test_face_survives_its_row() -> None:
    """Faces are kept as JSON in the registry, those of before there were boxes too."""
    face = Face(91.0, 1.25, tuple(float(n) / 7 for n in range(128)), (-4, 0, 86, 90))
    row = json.loads(json.dumps(face.as_dict()))
    assert Face.from_dict(row) == face
    del row["box"]
    assert Face.from_dict(row) == Face(face.width, face.score, face.embedding)
    assert Face.from_dict(Face(1.0, 1.0, (0.0,)).as_dict()).box is None
