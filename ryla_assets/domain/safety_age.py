"""The age rule of the safety screen: which numbers in a text can be read as an age under 18.

Belongs here: how a number and its neighbours are judged. Does not belong here: the lists (`safety_words`,
`safety_languages`), how a text is folded (`safety_text`).

A number from 10 to 17 is an age unless its neighbours say otherwise (a lens, a count, a house number); a number under
10 is one only if they say so. Each number is judged by a fixed number of neighbours.
"""

import re
from itertools import accumulate
from typing import Final

from ryla_assets.domain import safety_languages as languages
from ryla_assets.domain import safety_words as words
from ryla_assets.domain.safety_text import MAX_NUMBERS, Reading, TooManyNumbers

ADULT: Final = 18

_TOKEN = re.compile(r" ?(?:[^\W\d_\u0900-\u097f]+|[\u0900-\u097f]+|\d+|\S)")
_ASCII_TOKEN = re.compile(r" ?(?:[a-z]+|[0-9]+|\S)")
_DIGIT = re.compile(r"\d")
# Numbers of photography and of everyday life that are no age. Bounded lengths, no nested repeats.
_TECHNICAL = re.compile(
    r"(?<![\d.])(?:"
    r"\d{1,4} ?[:x] ?\d{1,4}"  # aspect ratios, clock times, sizes: 16:9, 1024x1024
    r"|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"  # dates: 12.10.2020, 12 May 1990
    r"|\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6},? (?:19|20)\d\d"
    r"|1/\d{1,5}|10/10|24/7|f/\d{1,2}(?:\.\d)?"  # shutter and aperture: 1/16, f/11
    r"|\d\.\d{1,3}|[3-7]'\d{1,2}"  # decimals under ten, heights: 1.4, 5'11
    r"|\d{1,3} ?- ?\d{1,3} ?(?:mm|cm|px|fps|mp)"  # ranges with a unit: 16-35mm
    r")(?!\d)"
)
_EAST_ASIAN_AGE = re.compile(
    "([0-9]{1,3}|[一二三四五六七八九十两兩零〇]{1,5}) ?[个個]?(?:周|多|几|歲|歳|岁|才|半){0,3}?(?:岁|歲|歳|才)"
)
_KOREAN_AGE = re.compile("([\uac00-\ud7a3]{1,3}) ?살")
_STEMS = languages.by_first_letters(languages.AGE_STEMS, 3)
_STEM_STARTS = frozenset(_STEMS)
_NUMBER_WORDS = frozenset(words.NUMBERS | languages.NUMBERS | words.ROMAN | words.ORDINALS)
_LOOSE_NUMBERS = {word: n for word, n in languages.NUMBERS.items() if word not in languages.NEEDS_UNIT} | words.NUMBERS
_ALL_TENS = words.TENS | languages.TENS
_AGE_WORDS = words.AGE_WORDS | languages.AGE_WORDS
_UNITS = words.AGE_UNITS | words.TIME_UNITS | languages.YEARS
_SAYS_AGE_OF_ROMAN = words.AGE_UNITS | words.YEARS


class _Tokens:
    """The tokens of a text, with where each stands and whether it is glued to the one before."""

    def __init__(self, plain: str) -> None:
        self.raw = (_ASCII_TOKEN if plain.isascii() else _TOKEN).findall(plain)
        self.bare = [token.lstrip() for token in self.raw]
        self._plain = plain

    def numbers(self) -> list[tuple[int, int]]:
        """(position, value) of every number, in digits or words. Raises TooManyNumbers."""
        found = [at for at, token in enumerate(self.bare) if token in _NUMBER_WORDS or token.isdigit()]
        if len(found) > MAX_NUMBERS:
            raise TooManyNumbers
        valued = ((at, self._value(at)) for at in found)
        return [(at, value) for at, value in valued if value is not None]

    def technical(self, numbers: list[tuple[int, int]]) -> set[int]:
        """The positions of those numbers that stand inside a number of photography."""
        inside = {n for match in _TECHNICAL.finditer(self._plain) for n in range(match.start(), match.end())}
        ends = list(accumulate(map(len, self.raw))) if inside else []
        return {at for at, _ in numbers if ends[at] - 1 in inside} if inside else set()

    def before(self, at: int) -> list[str]:
        return [token for token in self.bare[max(0, at - 5) : at] if token not in words.JOINERS]

    def after(self, at: int) -> list[str]:
        return [token for token in self.bare[at + 1 : at + 7] if token not in words.JOINERS]

    def glued(self, at: int) -> bool:
        """Whether no white space stands between a token and the one before it."""
        return 0 < at < len(self.raw) and not self.raw[at].startswith(" ")

    def _value(self, at: int) -> int | None:
        token = self.bare[at]
        following = ["", *self.after(at)[:1]][-1]
        if token.isdigit():
            digits = token.lstrip("0") or "0"
            return int(digits) if len(digits) <= 4 else None
        before = self.before(at)
        if _part_of_a_larger(before):
            return None
        if token in words.ORDINALS:
            return words.ORDINALS[token] if following in words.BIRTHDAYS else None
        if token in _LOOSE_NUMBERS:
            return _LOOSE_NUMBERS[token]
        if token in words.ROMAN and token not in languages.NUMBERS:
            return words.ROMAN[token] if following in _SAYS_AGE_OF_ROMAN and len(token) > 1 else None
        return languages.NUMBERS[token] if following in languages.YEARS else None


def says_minor(reading: Reading) -> bool:
    """Whether a number in the text can be read as an age under 18. Raises TooManyNumbers."""
    if not _STEM_STARTS.isdisjoint([word[:3] for word in reading.words]) and any(map(_begins_as_age, reading.words)):
        return True
    if not reading.plain.isascii() and _east_asian(reading.plain):
        return True
    if not _DIGIT.search(reading.plain) and _NUMBER_WORDS.isdisjoint(reading.all_words):
        return False
    tokens = _Tokens(reading.plain)
    numbers = tokens.numbers()
    technical = tokens.technical(numbers)
    return any(_is_minor_age(tokens, at, number, technical=at in technical) for at, number in numbers)


def _part_of_a_larger(before: list[str]) -> bool:
    """Whether the words before make a number word a part: "two" of "forty-two", "cinco" of "treinta y cinco"."""
    if before and before[-1] in _ALL_TENS:
        return True
    return len(before) > 1 and before[-2] in _ALL_TENS and (before[-1] in languages.AND or before[-1] == "dix")


def _begins_as_age(word: str) -> bool:
    return word.startswith(_STEMS.get(word[:3], ("\n",)))


def _east_asian(plain: str) -> bool:
    """Whether "十六岁", "16歳" or "열여섯 살" says an age under 18."""
    for match in _EAST_ASIAN_AGE.finditer(plain):
        if _han_number(match.group(1)) < ADULT:
            return True
    return any(match.group(1) in languages.KOREAN_NUMBERS for match in _KOREAN_AGE.finditer(plain))


def _han_number(text: str) -> int:
    """The value of digits or of Chinese numerals under a hundred; what is no such number counts as 0."""
    if text.isdigit() and text.isascii():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return int("".join(str(languages.EAST_ASIAN_DIGITS.get(sign, 0)) for sign in text))
    digit = languages.EAST_ASIAN_DIGITS
    return 10 * (digit.get(tens, 0) if tens else 1) + (digit.get(ones, 0) if ones else 0)


def _is_minor_age(tokens: _Tokens, at: int, number: int, *, technical: bool) -> bool:
    before, after = tokens.before(at), tokens.after(at)
    if words.FIRST_MINOR_BIRTH_YEAR <= number <= words.LAST_BIRTH_YEAR:
        return bool(words.BORN.intersection(before) or words.BORN.intersection(after[:1]))
    if number >= ADULT:
        return number <= words.MAX_LIMIT and _is_limit(number, before, after)
    following, preceding = [*after, ""][0], ["", *before][-1]
    if following in _UNITS or _foreign_unit(following):
        return _unit_says_age(following, before, after[1:])
    if following in words.ORDINAL_ENDINGS and tokens.glued(at + 1):
        return bool(words.BIRTHDAYS.intersection(after[1:2]))
    if _follows_age_word(before) or _school_year(before, number):
        return True
    if tokens.bare[at] in words.ORDINALS:
        return following in words.BIRTHDAYS
    if technical or _counts_something(preceding, after):
        return False
    ends = following in words.SENTENCE_GOES_ON and tokens.bare[at] != "one"
    return number >= 10 or (ends and (preceding in words.AGE_LEADS or _stands_alone(tokens, at)))


def _counts_something(preceding: str, after: list[str]) -> bool:
    """Whether a number is a count, a measure, a date, a house number or the number of something."""
    following = [*after, ""][0]
    if following in words.COUNTED or following in words.MONTHS or preceding in words.NUMBERED:
        return True
    return not words.STREETS.isdisjoint(after[:3])


def _is_limit(number: int, before: list[str], after: list[str]) -> bool:
    """Whether 18 to 21 is named as a limit that a minor is under: "under 18", "18 or younger", "almost 18"."""
    if [*after, ""][0] in words.COUNTED or words.MONTHS.intersection(after[:1]):
        return False
    leading = [word for word in before if word not in {"than", "the", "age", "of"}]
    last = ["", *leading][-1]
    tail = after[:1] != [] and after[0] in {"or", "and"} and bool(words.LIMIT_TAILS.intersection(after[1:2]))
    return last in words.LIMITS or tail or (number == ADULT and last in words.NEVER_18_YET)


def _foreign_unit(word: str) -> bool:
    return word.startswith(("jahrig", "jaehrig", "jarig", "летн", "летк", "летий"))


def _unit_says_age(unit: str, before: list[str], rest: list[str]) -> bool:
    """Whether "12 <unit> <rest>" tells an age: "12 years old" does; "12 years of experience", "12 days" do not."""
    if unit in words.AGE_UNITS:
        return True
    if rest and rest[0] in {"old", "young"}:
        thing = rest[1:2] and rest[1] in words.OLD_THINGS
        return not (thing and [*rest, ""][2] in words.SENTENCE_GOES_ON)
    if rest[:2] == ["of", "age"]:
        return True
    if unit in words.TIME_UNITS:
        return unit in words.YEARS and (not rest or rest[0] not in words.AFTER_A_SPAN)
    since = before[-1:] == ["ha"] and unit in {"anos", "ano"}  # Portuguese "há"; Italian "ha otto anni" is an age
    return not (since or _foreign_span(before, rest))


def _foreign_span(before: list[str], rest: list[str]) -> bool:
    """Whether years are a span of work or time: "12 años de experiencia", "seit 10 Jahren"."""
    if languages.SPAN_BEFORE.intersection(before[-1:]) or languages.SPAN_AFTER.intersection(rest[:3]):
        return True
    return rest[:1] != [] and rest[0] in languages.LINKS and not languages.AGE_AFTER_LINK.intersection(rest[1:2])


def _follows_age_word(before: list[str]) -> bool:
    """Whether "age", "aged" or "turned" leads to the number, directly or over fillers: "age of about 12"."""
    leading = list(before)
    while leading and leading[-1] in words.AGE_FILLERS:
        leading.pop()
    return bool(leading) and leading[-1] in _AGE_WORDS


def _school_year(before: list[str], number: int) -> bool:
    """ "grade 9", "in year 9": nobody is graded so in a university."""
    return number <= 13 and (before[-1:] == ["grade"] or before[-2:] == ["in", "year"])


def _stands_alone(tokens: _Tokens, at: int) -> bool:
    """Whether only punctuation or the text's end surrounds a number, as in "woman, 8, smiling"."""
    bare = tokens.bare
    left = at == 0 or not (bare[at - 1].isalnum() or (bare[at - 1] in "-_" and tokens.glued(at)))
    right = at + 1 == len(bare) or not bare[at + 1].isalnum()
    return bare[at].isdigit() and left and right
