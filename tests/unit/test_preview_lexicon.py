"""Reading a prompt: what would give a person the wrong hair or a picture the wrong light."""

from __future__ import annotations

import pytest

from resources.gpu.backends.preview.lexicon import read

LEXICON = {
    "phrases": [
        {"phrase": "long hair", "set": {"hair_style": "long"}},
        {"phrase": "long wavy black hair", "set": {"hair_style": "wavy", "hair_color": "black"}},
        {"phrase": "black hair", "set": {"hair_color": "black"}},
        {"phrase": "man", "set": {"gender": "male"}},
        {"phrase": "woman", "set": {"gender": "female"}},
        {"phrase": "soft smile", "set": {"expression": "smile"}},
        {"phrase": "city", "set": {"background": "city"}},
        {"phrase": "black", "set": {"ethnicity": "black"}},
    ]
}


def test_a_short_phrase_steals_words_of_a_longer_one() -> None:
    """The longest phrase wins and uses up its words: black hair is no ethnicity."""
    meaning = read("a Woman with Long Wavy Black Hair, soft smile", LEXICON)
    assert meaning.traits == {"gender": "female", "hair_style": "wavy", "hair_color": "black"}
    assert meaning.look == {"expression": "smile"}


def test_man_is_found_in_woman_and_city_in_velocity() -> None:
    """Phrases end at word boundaries."""
    meaning = read("woman, velocity, mancity", LEXICON)
    assert meaning.traits == {"gender": "female"}
    assert meaning.look == {}


def test_the_age_is_not_read() -> None:
    """`NN-year-old` gives the age, with hyphens or spaces."""
    assert read("a 34-year-old woman", LEXICON).traits["age"] == "34"
    assert read("a 34 year old woman", LEXICON).traits["age"] == "34"
    assert "age" not in read("a 134-year-old tree", LEXICON).traits


def test_a_later_phrase_overrules_the_first() -> None:
    """Of two phrases that set one key, the one that stands first counts."""
    assert read("woman beside a man", LEXICON).traits["gender"] == "female"


def test_a_lexicon_sets_an_unknown_key() -> None:
    """An unknown key is an error, not a silent no-op."""
    with pytest.raises(ValueError, match="sets mood"):
        read("x", {"phrases": [{"phrase": "grim", "set": {"mood": "grim"}}]})
