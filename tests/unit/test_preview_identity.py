"""Persons as numbers: what would make two people one, a person change between runs, or an adult look young."""

from __future__ import annotations

import numpy as np
import pytest

from resources.gpu.backends.preview.identity import VECTOR_LENGTH, Identity, mean, mix, person
from resources.gpu.backends.preview.ranges import HAIR_COLORS, RANGES


def test_same_seed_gives_another_person_when_the_process_changes() -> None:
    """The first numbers of a seed are pinned: nothing in them depends on the process or its hash seed."""
    one = person(42, {"gender": "female"})
    assert one == person(42, {"gender": "female"})
    assert one != person(43, {"gender": "female"})
    assert one.eye_distance == pytest.approx(np.clip(one.eye_distance, 0.232, 0.36))


def test_a_trait_moves_what_it_does_not_name() -> None:
    """Naming the hair colour leaves the face alone."""
    plain, red = person(7, {"gender": "male"}), person(7, {"gender": "male", "hair_color": "red"})
    assert plain.nose_length == red.nose_length
    assert plain.jaw == red.jaw
    assert np.allclose(np.array(red.hair) / np.array(HAIR_COLORS["red"]), red.hair[0] / HAIR_COLORS["red"][0])


@pytest.mark.parametrize("age", ["18", "25", "80"])
@pytest.mark.parametrize("gender", ["female", "male"])
def test_a_young_age_gives_a_childlike_face(age: str, gender: str) -> None:
    """Every age from 18 on has the same adult proportions: long face, eyes at half height, jaw."""
    for seed in range(25):
        one = person(seed, {"age": age, "gender": gender})
        low, high = (0, 1) if gender == "female" else (2, 3)
        for name, limits in RANGES.items():
            assert limits[low] - 1e-6 <= getattr(one, name) <= limits[high] + 1e-6, name
        assert one.face_width < 0.8
        assert one.mouth_height - one.nose_length > 0.1


@pytest.mark.parametrize("age", ["17", "81", "young", "-3"])
def test_an_age_outside_18_to_80_is_drawn(age: str) -> None:
    """Ages below 18 are refused with the limits in the message."""
    with pytest.raises(ValueError, match="from 18 to 80"):
        person(1, {"age": age})


def test_a_misspelt_trait_value_is_ignored() -> None:
    """An unknown value is an error that lists the choices."""
    with pytest.raises(ValueError, match=r"trait eye_color is 'purple'; choose one of brown"):
        person(1, {"eye_color": "purple"})


def test_vector_and_dict_lose_a_parameter() -> None:
    """Both round trips return the same person."""
    one = person(5, {"style": "anime", "piercings": "nose"})
    assert one.to_vector().shape == (VECTOR_LENGTH,)
    assert one.to_vector().dtype == np.float32
    back = Identity.from_vector(one.to_vector())
    assert np.array_equal(back.to_vector(), one.to_vector())
    assert Identity.from_dict(one.as_dict()) == one


def test_a_damaged_vector_becomes_a_person() -> None:
    """A wrong length or a NaN is refused."""
    vector = person(5, {}).to_vector()
    with pytest.raises(ValueError, match="finite numbers"):
        Identity.from_vector(vector[:-1])
    vector[3] = np.nan
    with pytest.raises(ValueError, match="finite numbers"):
        Identity.from_vector(vector)


def test_mixing_drifts_the_wrong_way() -> None:
    """A mix of 0 is the first person, of 1 the second, and the mean lies half way."""
    a, b = person(1, {"gender": "female"}), person(2, {"gender": "female"})
    assert np.array_equal(mix(a, b, 0).to_vector(), a.to_vector())
    assert np.array_equal(mix(a, b, 1).to_vector(), b.to_vector())
    assert np.allclose(mean([a, b]).to_vector(), mix(a, b, 0.5).to_vector(), atol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        mean([])
