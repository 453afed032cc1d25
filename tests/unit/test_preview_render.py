"""Pictures: what would make them unreproducible, faceless, clipped, unlabelled, or alike for different people."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from resources.gpu.backends.preview.identity import Identity, person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import _caption, render
from resources.identity import DlibScorer

SIZE = 384  # the smallest square at which the detector finds the face of a close-up at once
ALIKE = {"gender": "female", "ethnicity": "caucasian", "hair_color": "brown", "hair_style": "long", "age": "30"}
SCORER = DlibScorer()


@cache
def close_up(seed: int, look: Look) -> Image.Image:
    """One test picture, drawn once."""
    return render(person(seed, ALIKE), look, SIZE, SIZE)


def embedding(image: Image.Image) -> np.ndarray:
    faces = SCORER.faces(image)
    assert len(faces) == 1
    return np.array(faces[0].embedding)


def test_another_process_draws_other_pixels() -> None:
    """The same arguments give the same pixels in a process with another hash seed."""
    code = (
        "import hashlib\n"
        "from resources.gpu.backends.preview.identity import person\n"
        "from resources.gpu.backends.preview.look import Look\n"
        "from resources.gpu.backends.preview.render import render\n"
        "print(hashlib.sha256(render(person(3, {}), Look(seed=8), 256, 256).tobytes()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(render(person(3, {}), Look(seed=8), 256, 256).tobytes()).hexdigest()
    assert run.stdout.strip() == here


def test_two_seeds_draw_the_same_picture() -> None:
    """The look's seed alone changes the pixels."""
    assert close_up(10, Look(seed=1)).tobytes() != close_up(10, Look(seed=2)).tobytes()


@pytest.mark.parametrize(
    "look", [Look(seed=1), Look(seed=5, view="three-quarter-left", expression="smile", light="night")]
)
def test_no_face_is_found(look: Look) -> None:
    """The detector finds exactly one face, as wide as a face-scorable shot needs."""
    faces = SCORER.faces(close_up(10, look))
    assert len(faces) == 1
    assert faces[0].width >= 80


def test_the_same_person_is_not_recognised_and_others_are() -> None:
    """Looks of one person stay within 0.45 of the front picture; people of equal traits are farther on average."""
    front = embedding(close_up(10, Look(seed=1)))
    for look in (Look(seed=5, view="three-quarter-left", expression="smile", light="night"), Look(seed=2)):
        assert np.linalg.norm(embedding(close_up(10, look)) - front) < 0.45
    people = [embedding(close_up(seed, Look(seed=1))) for seed in (10, 11, 12, 13)]
    apart = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(people, 2)]
    assert np.median(apart) > 0.45


def test_pale_skin_clips_to_white() -> None:
    """Light skin under studio light keeps its tones."""
    pixels = np.asarray(close_up(10, Look(seed=1)))[: SIZE * 9 // 10]
    assert (pixels.min(axis=2) >= 250).mean() < 0.002


def test_the_caption_is_missing_or_lies_on_the_face() -> None:
    """The caption is written into the lower left corner and nowhere else."""
    blank = Image.new("RGB", (512, 512), (120, 120, 120))
    _caption(blank)
    rows, columns = np.nonzero((np.asarray(blank) != 120).any(axis=2))
    assert rows.min() > 512 * 0.93
    assert columns.max() < 512 * 0.35
    assert np.asarray(blank).max() > 200
    drawn = np.asarray(close_up(10, Look(seed=1)))
    assert (drawn[-12:, :120].min(axis=2) > 190).sum() > 20


@pytest.mark.parametrize(("width", "height"), [(250, 512), (248, 512), (512, 4096)])
def test_a_size_is_silently_rounded(width: int, height: int) -> None:
    """A side that is no multiple of 8 within 256..2048 is an error that names it."""
    with pytest.raises(ValueError, match="multiple of 8 from 256"):
        render(person(1, {}), Look(), width, height)


def test_a_portrait_or_full_figure_fails() -> None:
    """Every posture can be drawn as a full figure in portrait format, and a back view shows no face."""
    for posture in ("standing", "sitting", "dynamic"):
        image = render(person(4, {}), Look("full-body", posture=posture), 256, 448)
        assert image.size == (256, 448)
    assert SCORER.faces(render(person(4, {}), Look(view="back"), SIZE, SIZE)) == []


def test_a_look_of_unknown_words_is_drawn() -> None:
    """An unknown word is an error that lists the choices."""
    with pytest.raises(ValueError, match="look light is 'disco'; choose one of studio"):
        Look(light="disco")


def test_a_bald_man_has_hair() -> None:
    """Every hair style of both genders can be built; bald has no surface."""
    from resources.gpu.backends.preview import hair

    styles = ("long", "short", "braids", "ponytail", "bangs", "bun", "wavy", "crew-cut", "pompadour", "layered-cut")
    for gender, style in itertools.product(("female", "male"), styles):
        assert hair.parts(_styled(gender, style))
    assert hair.parts(_styled("male", "bald")) == []


def _styled(gender: str, style: str) -> Identity:
    return person(2, {"gender": gender, "hair_style": style})
