"""What goes wrong with the nearest of many: oneself, old templates, float32, mixed lengths."""

from __future__ import annotations

import numpy as np
import pytest

from resources.face_index import FaceIndex, Neighbour, pack, unpack


def index(**faces: list[float]) -> FaceIndex:
    """An index of these."""
    made = FaceIndex()
    made.update((name, pack(face)) for name, face in faces.items())
    return made


def test_nearest_is_what_a_loop_finds() -> None:
    """Over 2,000 faces, added in three parts, for one face and for several of one person."""
    rng = np.random.default_rng(7)
    faces = rng.normal(0, 0.1, (2000, 128)).astype("<f4")
    made = FaceIndex()
    for part in np.array_split(np.arange(2000), 3):
        made.update((f"who-{n}", faces[n].tobytes()) for n in part)
    for asked in (rng.normal(0, 0.1, (1, 128)), faces[3:4] + 0.01, rng.normal(0, 0.1, (8, 128))):
        apart = [float(np.mean([np.linalg.norm(face - one) for one in asked.astype("<f4")])) for face in faces]
        apart[3] = 99.0
        found = made.nearest(asked.tolist(), excluding="who-3")
        assert found is not None
        assert found.name == f"who-{int(np.argmin(apart))}"
        assert found.distance == pytest.approx(min(apart), abs=1e-6)


def test_nobody_is_their_own_neighbour() -> None:
    """Alone, or with nothing asked, there is none."""
    made = index(mara=[0.0, 0.0])
    assert made.nearest([[0.0, 0.0]], excluding="mara") is None
    assert made.nearest([[0.0, 0.0]]) == Neighbour("mara", 0.0)
    assert made.nearest([], excluding="kofi") is None
    assert FaceIndex().nearest([[0.0]]) is None


def test_newer_template_replaces_the_older() -> None:
    """In one update and in the next."""
    made = index(mara=[1.0, 0.0], kofi=[5.0, 0.0])
    made.update([("mara", pack([2.0, 0.0])), ("mara", pack([3.0, 0.0]))])
    assert len(made) == 2
    assert made.nearest([[0.0, 0.0]], excluding="kofi") == Neighbour("mara", 3.0)


def test_two_hardly_different_faces_are_told_apart() -> None:
    """Squares of float32 lose what lies between them; the answer is measured again."""
    made = index(far=[1000.0, 0.002], near=[1000.0, 0.001])
    assert made.nearest([[1000.0, 0.0]]) == Neighbour("near", pytest.approx(0.001, abs=1e-9))


def test_two_scorers_are_not_mixed() -> None:
    """Embeddings of another length are another scorer's."""
    made = index(mara=[0.0, 0.0])
    with pytest.raises(ValueError, match="3 floats among those of 2"):
        made.update([("kofi", pack([0.0, 0.0, 0.0]))])
    assert len(made) == 1
    with pytest.raises(ValueError, match="do not compare with 2"):
        made.nearest([[0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="different lengths"):
        FaceIndex().update([("a", pack([0.0])), ("b", pack([0.0, 1.0]))])


def test_packed_embedding_comes_back() -> None:
    """What dlib computes in float32 loses nothing."""
    face = [float(np.float32(0.1)), -1.5, 0.0]
    assert unpack(pack(face)) == face
    assert len(pack(face)) == 12
