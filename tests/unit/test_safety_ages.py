"""What must be read as an age under 18, value by value: the number words of each language in its sentences.

The words are those of `safety_cases/numbers.tsv`, which the rules do not read: a form that a language has and the
screen lacks fails here, and so does a value from 18 on that is taken for a part of itself ("dix-huit").
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.safety_sets import FOLDER, code_of

ADULT = 18
# Forms of numbers.tsv, the first value to try (one is an article in many languages), sentences.
SENTENCES: list[tuple[str, int, tuple[str, ...]]] = [
    ("en", 1, ("{} years old", "a {}-year-old woman", "aged {}", "age: {}", "at the age of {}", "{} year old")),
    ("en-roman", 11, ("aged {}", "{} years old")),
    ("es", 2, ("{} años", "mujer de {} años", "edad: {}", "a la edad de {}")),
    ("pt", 2, ("{} anos", "idade: {}", "mulher com {} anos de idade")),
    ("fr", 2, ("{} ans", "âgée de {} ans", "âge {}", "à l'âge de {} ans")),
    ("de", 2, ("{} Jahre alt", "Alter: {}", "im Alter von {} Jahren")),
    ("de-aged", 2, ("{}jährig", "eine {}jährige Frau")),
    ("it", 2, ("{} anni", "età: {}", "all'età di {} anni", "ha {} anni")),
    ("nl", 2, ("{} jaar oud", "leeftijd: {}", "op de leeftijd van {} jaar")),
    ("nl-aged", 2, ("een {}jarige",)),
    ("pl", 2, ("{} lat", "wiek: {}")),
    ("pl-genitive", 2, ("{} lat", "w wieku {} lat")),
    ("pl-aged", 2, ("{}letnia", "{}latka")),
    ("ru", 2, ("{} лет", "возраст: {}", "ей {} лет")),
    ("ru-genitive", 2, ("{} лет", "в возрасте {} лет", "в возрасте {}")),
    ("ru-aged", 2, ("{}летняя",)),
    ("tr-apart", 1, ("{} yaşında", "{} yaşındaki kadın", "yaşı {}")),
    ("tr-together", 1, ("{} yaşında", "yaşı {}")),
    ("ar", 3, ("عمرها {} سنة", "{} عاما", "عمرها {}")),
    ("ar-feminine-ordinal", 1, ("في سن {}", "في {} من عمرها")),
    ("hi", 2, ("{} साल की", "उम्र {}", "उम्र: {} वर्ष")),
    ("sv", 2, ("{} år",)),
    ("da", 2, ("{} år",)),
    ("ja", 1, ("{}歳", "{}才", "年齢{}", "{}岁", "今年{}岁", "年龄{}", "年龄：{}", "芳龄{}")),
    ("ko", 1, ("{}세", "{} 세", "만 {} 세", "나이 {}")),
    ("ko-native", 1, ("{} 살", "{}살")),
]


def numbers() -> dict[str, list[str]]:
    """The words for 1, 2, 3, ... by form."""
    lines = Path(FOLDER / "numbers.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {form: words.split("; ") for form, words in (line.split("\t") for line in lines)}


NUMBERS = numbers()
EVERY = [(form, first, sentence) for form, first, sentences in SENTENCES for sentence in sentences]


def misjudged(sentence: str, words: list[str], first: int) -> list[str]:
    """The sentences that are blocked and say 18 or more, or pass and say less."""
    told = [(value, sentence.format(word)) for value, word in enumerate(words, start=1) if value >= first]
    return [text for value, text in told if bool(code_of(text)) != (value < ADULT)]


@pytest.mark.parametrize(("form", "first", "sentence"), EVERY, ids=lambda part: f"{part!a}")
def test_number_words_tell_an_age(form: str, first: int, sentence: str) -> None:
    """In words, each value under 18 is blocked and each from 18 on passes."""
    if sentence == "{} 세":
        assert misjudged(sentence, NUMBERS[form], first) == ["이 세"], "this is also the beginning of 'these three'"
    else:
        assert misjudged(sentence, NUMBERS[form], first) == []


@pytest.mark.parametrize(
    "sentence",
    ["{} years old", "aged {}", "{}yo", "{} y/o", "({}:1.2) year old", "({}) years old", "age {}", "born {} years ago",
     "{} años", "edad: {}", "{} ans", "{} Jahre", "geboren vor {} Jahren", "{} anni", "{} jaar", "leeftijd {}",
     "{} lat", "{} лет", "возраст {}", "{} yaşında", "عمرها {} سنة", "{} साल", "{} år",
     "{}岁", "{}歳", "年龄{}", "{}세", "{} 살"],
)  # fmt: skip
def test_digits_tell_an_age(sentence: str) -> None:
    """So do digits, where a unit or a word of age stands by them."""
    assert misjudged(sentence, [str(value) for value in range(1, 80)], 1) == []


@pytest.mark.parametrize("sentence", ["{}yearold", "{}yo", "{}yearsold", "a {}yearold woman", "{}yrold"])
def test_age_in_one_word(sentence: str) -> None:
    """ "sixteenyearold" has no word of its own in any list."""
    words = [word for word in NUMBERS["en"] if word.isalpha()]
    assert misjudged(sentence, words, 1) == []


@pytest.mark.parametrize(("unit", "of_a_year"), [("months", 12), ("weeks", 52), ("days", 365)])
def test_age_in_smaller_units(unit: str, of_a_year: int) -> None:
    """192 months are 16 years; without "old" they are a span."""
    for years in range(1, 17):
        assert code_of(f"{years * of_a_year} {unit} old") == "age_under_18"
        assert code_of(f"{years * of_a_year} {unit} of age") == "age_under_18"
    assert code_of(f"{25 * of_a_year} {unit} old") == ""
    assert code_of(f"190 {unit} of training") == ""


@pytest.mark.parametrize("year", range(2008, 2027))
def test_birth_year_in_words(year: int) -> None:
    """ "born in twenty ten" is the same as "born in 2010"."""
    rest = NUMBERS["en"][year - 2001]
    assert code_of(f"born in two thousand and {rest}") == "age_under_18"
    assert year < 2010 or code_of(f"born in twenty {rest}") == "age_under_18"
    assert code_of(f"born in {year}") == "age_under_18"


@pytest.mark.parametrize("year", ["nineteen ninety", "nineteen eighty-five", "two thousand", "two thousand and two"])
def test_birth_year_of_an_adult_in_words_passes(year: str) -> None:
    """So are those of people who are old enough."""
    assert code_of(f"born in {year}") == ""


@pytest.mark.parametrize(
    "text",
    [
        "高一",
        "高三女生",
        "读高二",
        "中三",
        "初二",
        "三年级",
        "五年生",
        "小学六年生",
        "고1",
        "중3",
        "초6",
        "3학년",
        "중학교 2학년",
    ],
)
def test_school_year_is_an_age(text: str) -> None:
    """Chinese, Japanese and Korean count the years of school."""
    assert re.fullmatch("age_under_18|school_role|minor_term", code_of(text))


@pytest.mark.parametrize(
    "text",
    ["身高一米七", "最高一层", "其中一个", "心中一动", "大年初一", "九月初三", "大学三年级", "大学三年生", "一年生植物",
     "대학교 3학년", "그 중3명", "이 세 사람", "이 세상", "십오 세기", "어서 오세요", "十二月的北京", "今年十二月",
     "5月12日", "十五楼", "12個の星"],
)  # fmt: skip
def test_what_only_looks_like_a_school_year_or_an_age_passes(text: str) -> None:
    """The same signs in other words."""
    assert code_of(text) == ""
