"""The age rule of the safety screen: which numbers in a text can be read as an age under 18.

Belongs here: how a number and its neighbours are judged. Does not belong here: finding numbers (`safety_numbers`), ages
of languages without spaces (`safety_east_asian`), the lists (`safety_words`, `safety_number_words`).

A number from 10 to 17 is an age unless its neighbours say otherwise (a lens, a count, a house number); a number under
10 is one only if they say so. Each number is judged by a fixed number of neighbours.
"""

import re
from typing import Final

from ryla_assets.domain import safety_number_words as foreign
from ryla_assets.domain import safety_words as words
from ryla_assets.domain.safety_east_asian import says_minor_age
from ryla_assets.domain.safety_languages import by_first_letters
from ryla_assets.domain.safety_numbers import STARTS, Number, Tokens
from ryla_assets.domain.safety_text import Reading

ADULT: Final = 18

_DIGIT = re.compile(r"\d")
_STEMS: Final = by_first_letters((*foreign.AGE_STEMS, *words.AGED), 3)
_STEM_STARTS: Final = frozenset(_STEMS)
_YEARS: Final = words.YEARS | foreign.YEARS
_UNITS: Final = words.AGE_UNITS | words.TIME_UNITS
_AGED_IN: Final = ("jahrig", "jaehrig", "jarig", "летн", "летк", "летий", "latk", "letni", "arig", "aring", "enne")
_AGE_WORDS: Final = words.AGE_WORDS | foreign.AGE_WORDS
_AGE_FILLERS: Final = words.AGE_FILLERS | foreign.LINKS
_YEAR_ENDS: Final = words.NUMBERS | {"twenty": 20}  # behind "twenty"
_COUNTED: Final = words.COUNTED | foreign.COUNTED
_NUMBERED: Final = words.NUMBERED | foreign.HOUR_BEFORE
_MEASURES: Final = (["out", "of"], ["\xb0", "c"], ["\xb0", "f"])
_LIMIT_TAILED: Final = foreign.LIMIT_LINKS | foreign.YEARS
_LIMIT_ENDS: Final = words.SENTENCE_GOES_ON | foreign.YEARS


def says_minor(reading: Reading) -> bool:
    """Whether a number in the text can be read as an age under 18. Raises TooManyNumbers."""
    if not words.AGED_WHOLE.isdisjoint(reading.all_words) or _one_word(reading.all_words):
        return True
    if not reading.plain.isascii() and says_minor_age(reading.plain):
        return True
    if not _DIGIT.search(reading.plain) and STARTS.isdisjoint(reading.all_words):
        return False
    tokens = Tokens(reading.plain)
    return any(_is_minor_age(tokens, number) for number in tokens.numbers())


def _one_word(told: frozenset[str]) -> bool:
    """Whether a word begins as an age that is written as one: "fünfzehnjährig", "sixteenyearold"."""
    likely = [word for word in told if word[:3] in _STEM_STARTS]
    return any(word.startswith(_STEMS[word[:3]]) for word in likely)


def _is_minor_age(tokens: Tokens, number: Number) -> bool:
    value, after = number.value, tokens.after(number)
    told = after[1:] if words.CLOSERS.issuperset(after[:1]) else after
    unit = [*told, ""][0]
    if unit in words.YEARS_IN and _is_old(told[1:]):
        return value < ADULT * words.YEARS_IN[unit]
    if words.MAX_LIMIT < value < words.FIRST_MINOR_BIRTH_YEAR:
        return False
    before = tokens.before(number)
    if _is_birth_year(number, before, after):
        return True
    if value >= ADULT:
        return value <= words.MAX_LIMIT and _is_limit(number, before, after) and not tokens.technical(number)
    digits = not number.word and unit in words.ORDINAL_ENDINGS and tokens.glued(number.last + 1)
    if number.ordinal or digits:
        return _is_ordinal_age(number, before, after[1:] if digits else after)
    if _is_unit_of(number, unit):
        return _unit_says_age(unit, before, told[1:])
    if _follows_age_word(number, before) or _school_year(before, value):
        return True
    suspicious = number.loose and (value >= 10 or _ends_as_age(tokens, number, before, after))
    return suspicious and not (_counts_something(before, after) or tokens.technical(number))


def _is_unit_of(number: Number, unit: str) -> bool:
    """Whether a word counts years of age; "to" and "due" are numbers in front of a word of their own language only."""
    if unit in foreign.YEARS or unit.startswith(_AGED_IN):
        return True
    return unit in _UNITS and (number.loose or number.word in words.ROMAN)


def _ends_as_age(tokens: Tokens, number: Number, before: list[str], after: list[str]) -> bool:
    """Whether a number under ten is told of somebody, or stands alone: "she is 8 and", "woman, 8, smiling"."""
    if number.word == "one" or [*after, ""][0] not in words.SENTENCE_GOES_ON:
        return False
    at = number.first
    model = tokens.glued(at) and tokens.bare[at - 1].isalpha()  # "M3", "S3"
    return (not model and not words.AGE_LEADS.isdisjoint(before[-1:])) or _stands_alone(tokens, number)


def _is_birth_year(number: Number, before: list[str], after: list[str]) -> bool:
    """Whether somebody is born in a year that makes a minor: "born 2012", "in twenty ten", "16 years ago"."""
    value = number.value
    if words.FIRST_MINOR_BIRTH_YEAR <= value <= words.LAST_BIRTH_YEAR:
        return not (words.BORN.isdisjoint(before) and words.BORN.isdisjoint(after[:1]))
    if value > 20 or words.BORN.isdisjoint(before):
        return False
    if value == 20:
        return _YEAR_ENDS.get([*after, ""][0], 0) >= words.FIRST_MINOR_BIRTH_YEAR - 2000
    ago = "ago" in after[1:2] or not foreign.AGO.isdisjoint(before[-1:])
    return value < ADULT and ago and not _YEARS.isdisjoint(after[:1])


def _is_old(rest: list[str]) -> bool:
    """Whether the words behind a unit of time make it an age: "6 months old", "of age"."""
    return bool(rest) and (rest[0] in {"old", "young"} or rest[:2] == ["of", "age"])


def _is_ordinal_age(number: Number, before: list[str], after: list[str]) -> bool:
    """Whether "16th" or "sixteenth" is a birthday, a grade, or somebody's year; Arabic tells ages in ordinals."""
    if number.word in foreign.ARABIC_ORDINALS:
        return _arabic_age(before, after)
    if not words.BIRTHDAYS.isdisjoint(after[:1]):
        return True
    own_year = not words.YEARS.isdisjoint(after[:1]) and not words.POSSESSIVES.isdisjoint(before[-1:])
    return own_year and words.AFTER_A_SPAN.isdisjoint(after[1:2])


def _arabic_age(before: list[str], after: list[str]) -> bool:
    """Whether an ordinal is an age: "في سن السادسة", "في السادسة من عمرها"."""
    if not foreign.ARABIC_AGE.isdisjoint(before[-1:]):
        return True
    return any(word.startswith(foreign.ARABIC_LIFE) for word in after[:3])


def _counts_something(before: list[str], after: list[str]) -> bool:
    """Whether a number is a count, a measure, a date, an hour, a house number or the number of something."""
    following, preceding = [*after, ""][0], ["", *before][-1]
    if following in _COUNTED or following in words.MONTHS or preceding in _NUMBERED:
        return True
    if following.startswith(foreign.COUNTERS):
        return True
    if after[:2] in _MEASURES or before[-2:] == ["out", "of"] or _is_hour(before, after):
        return True
    if (following == "by" and _digits(after[1:2])) or (preceding == "by" and _digits(before[-2:-1])):
        return True
    if preceding == "f" and not words.PHOTOGRAPHY.isdisjoint([*before, *after]):
        return True
    return not words.STREETS.isdisjoint(after[:3]) or (preceding not in words.IS and _many(after))


def _digits(told: list[str]) -> bool:
    return "".join(told).isdigit()


def _is_hour(before: list[str], after: list[str]) -> bool:
    """Whether a number is an hour: "half past ten", "from ten to six"."""
    if before[-1:] in (["past"], ["to"]) and before[-2:-1] in (["half"], ["quarter"]):
        return True
    return before[-1:] == ["from"] and after[:1] == ["to"] and 0 < words.NUMBERS.get([*after, "", ""][1], 0) < 10


def _many(after: list[str]) -> bool:
    """Whether the next word, or the one behind an adjective, is a plural: "twelve bridesmaids", "12 red lanterns"."""
    word, then = [*after, "", ""][:2]
    if word in words.ADJECTIVES or (len(word) > 4 and word.endswith(words.ADJECTIVE_ENDINGS)):
        word = then
    plural = len(word) > 3 and word[-1] == "s" and word[-2] not in "su'" and word[0] != "y"
    return plural and word not in words.NO_COUNT and word not in _YEARS


def _is_limit(number: Number, before: list[str], after: list[str]) -> bool:
    """Whether 18 to 21 is named as a limit that a minor is under: "under 18", "18 or younger", "almost 18"."""
    following = [*after, ""][0]
    if following in _COUNTED or following in words.MONTHS or _many(after):
        return False
    if following in _LIMIT_TAILED and not foreign.LIMIT_TAILS.isdisjoint(after[1:3]):
        return True
    leading = list(before)
    while leading and leading[-1] in words.LIMIT_FILLERS:
        leading.pop()
    last = ["", *leading][-1]
    if last in words.LIMITS or (following in {"or", "and"} and not words.LIMIT_TAILS.isdisjoint(after[1:2])):
        return True
    if number.value == ADULT and _not_yet(leading, before, after):
        return True
    while leading and leading[-1] in foreign.LIMIT_LINKS:
        leading.pop()
    return number.value == ADULT and not foreign.LIMITS.isdisjoint(leading[-1:]) and following in _LIMIT_ENDS


def _not_yet(leading: list[str], before: list[str], after: list[str]) -> bool:
    """Whether 18 lies ahead, or is just reached: "isn't 18", "about to turn 18", "18 tomorrow"."""
    if not words.NEVER_18_YET.isdisjoint(leading[-1:]) or not words.NOT_YET.isdisjoint(after[:1]):
        return True
    if leading[-1:] == ["t"] and not words.NEGATED.isdisjoint(leading[-2:-1]):
        return True
    return leading[-1:] == ["about"] and "to" in before[len(leading) :]


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
        span = not words.SPAN_BEFORE.isdisjoint(before[-1:]) or not words.AFTER_A_SPAN.isdisjoint(rest[:1])
        return unit in words.YEARS and not span
    since = before[-1:] == ["ha"] and unit in {"anos", "ano"}  # Portuguese "há"; Italian "ha otto anni" is an age
    return not (since or _foreign_span(before, rest))


def _foreign_span(before: list[str], rest: list[str]) -> bool:
    """Whether years are a span of work or time: "12 años de experiencia", "seit 10 Jahren"."""
    if foreign.SPAN_BEFORE.intersection(before[-1:]) or foreign.SPAN_AFTER.intersection(rest[:3]):
        return True
    return rest[:1] != [] and rest[0] in foreign.LINKS and not foreign.AGE_AFTER_LINK.intersection(rest[1:2])


def _follows_age_word(number: Number, before: list[str]) -> bool:
    """Whether "age", "aged" or "turned" leads to the number, directly or over fillers: "age of about 12".

    A word leads to numbers of its own language: "alter two buttons" and "age once" tell no age.
    """
    leading = list(before)
    while leading and leading[-1] in _AGE_FILLERS:
        leading.pop()
    last = ["", *leading][-1]
    if last not in _AGE_WORDS:
        return False
    if not number.word:
        return True
    if number.word in words.NUMBERS:
        return last in words.AGE_WORDS
    if number.word in words.ROMAN:
        return number.value > 5  # "Ice Age II"
    return last in foreign.AGE_WORDS or number.loose or number.word in foreign.BY_LANGUAGE["fr"]


def _school_year(before: list[str], number: int) -> bool:
    """ "grade 9", "in year 9": nobody is graded so in a university."""
    return number <= 13 and (before[-1:] == ["grade"] or before[-2:] == ["in", "year"])


def _stands_alone(tokens: Tokens, number: Number) -> bool:
    """Whether only punctuation or the text's end surrounds a number, as in "woman, 8, smiling"."""
    bare, at = tokens.bare, number.first
    left = at == 0 or not (bare[at - 1].isalnum() or (bare[at - 1] in "-_" and tokens.glued(at)))
    right = number.last + 1 == len(bare) or not bare[number.last + 1].isalnum()
    return bare[at].isdigit() and left and right
