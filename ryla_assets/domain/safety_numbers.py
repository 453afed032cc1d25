"""The numbers of a text for the safety screen: digits and number words, put together to values, with their neighbours.

Belongs here: finding numbers and adding up their words ("quatre-vingt-dix", "on altı", "خمسة عشر"). Does not belong
here: the words (`safety_words`, `safety_number_words`), numerals of languages without spaces (`safety_east_asian`),
whether a number is an age (`safety_age`).
"""

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

from ryla_assets.domain import safety_number_words as foreign
from ryla_assets.domain import safety_words as words
from ryla_assets.domain.safety_text import MAX_NUMBERS, TooManyNumbers

_TOKEN = re.compile(r" ?(?:[^\W\d_\u0900-\u097f]+|[\u0900-\u097f]+|\d+|\S)")
_ASCII_TOKEN = re.compile(r" ?(?:[a-z]+|[0-9]+|\S)")
_WEIGHT = re.compile(r"(?<=\d): ?\d?\.\d{1,3} ?(?=\))")  # of a number in a prompt: "(34:1.2)-year-old"
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
_LONGEST: Final = 30  # characters of such a number
STARTS: Final = frozenset(
    words.NUMBERS | words.ORDINALS | {n: 0 for n in words.ROMAN if len(n) > 1} | foreign.NUMBERS | foreign.TENS
    | foreign.BEFORE_TEN | foreign.ARABIC_ORDINALS | dict.fromkeys(foreign.TEN_THEN)
)  # fmt: skip
_LOOSE: Final = words.NUMBERS | {w: n for w, n in foreign.NUMBERS.items() if w not in foreign.NEEDS_CONTEXT}
_CARDINALS: Final = foreign.NUMBERS | words.NUMBERS


class Number(NamedTuple):
    """A number at tokens `first` to `last`. A `loose` one counts by itself, another only beside a word of age."""

    value: int
    first: int
    last: int
    loose: bool = True
    word: str = ""  # its first word; empty when it is written in digits
    ordinal: bool = False

    def grown(self, by: int, last: int, *, ordinal: bool = False) -> "Number":
        """This number with the words up to `last` added."""
        return Number(self.value + by, self.first, last, self.loose, self.word, ordinal)


class Tokens:
    """The tokens of a folded text: words, runs of digits, signs."""

    def __init__(self, plain: str) -> None:
        self._plain = _WEIGHT.sub("", plain) if ":" in plain else plain
        self._raw: list[str] = (_ASCII_TOKEN if plain.isascii() else _TOKEN).findall(self._plain)
        self.bare = " ".join(self._raw).split()

    def numbers(self) -> Iterator[Number]:
        """Every number, in order. Raises TooManyNumbers."""
        starts = {token for token in set(self.bare) if token in STARTS or token.isdigit()}
        found = [at for at, token in enumerate(self.bare) if token in starts]
        if len(found) > MAX_NUMBERS:
            raise TooManyNumbers
        end = -1
        for at in found:
            number = self._number(at) if at > end else None
            if number:
                end = number.last
                yield number

    def before(self, number: Number) -> list[str]:
        """The nearest tokens before a number, without those that only join."""
        return [token for token in self.bare[max(0, number.first - 5) : number.first] if token not in words.JOINERS]

    def after(self, number: Number) -> list[str]:
        """The nearest tokens after a number, without those that only join."""
        return [token for token in self.bare[number.last + 1 : number.last + 7] if token not in words.JOINERS]

    def glued(self, at: int) -> bool:
        """Whether no white space stands between a token and the one before it."""
        return 0 < at < len(self._raw) and not self._raw[at].startswith(" ")

    def technical(self, number: Number) -> bool:
        """Whether a number in digits stands inside a number of photography."""
        last = self._ends[number.last] - 1
        near = _TECHNICAL.finditer(self._plain, max(0, last - _LONGEST), last + _LONGEST)
        return not number.word and any(match.start() <= last < match.end() for match in near)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self._raw)))

    def _number(self, at: int) -> Number | None:
        token = self.bare[at]
        if token.isdigit():
            digits = token.lstrip("0") or "0"
            return Number(int(digits), at, at) if len(digits) <= 4 else None
        start = Number(0, at, at, word=token)
        if token in foreign.TENS:
            return self._with_ones(start.grown(foreign.TENS[token], at))
        return self._composed(start) or self._single(start)

    def _composed(self, start: Number) -> Number | None:
        """A number of two words or more that does not begin with a ten: "dix-sept", "خمسة عشر", "quatre-vingts"."""
        word, at = start.word, self._next(start.first)
        following = self._token(at)
        small = Number(0, start.first, start.first, loose=False, word=word)
        if word == "quatre" and following in {"vingt", "vingts"}:
            return self._with_ones(small.grown(80, at))
        if word in foreign.TEN_THEN:
            at = self._next(at) if following in foreign.AND else at
            digit = foreign.TEN_THEN[word].get(self._token(at))
            return small.grown(10 + digit, at) if digit else self._ten(small)
        ones = foreign.BEFORE_TEN.get(word) or foreign.ARABIC_ORDINALS.get(word)
        return self._arabic(small, ones) if ones else None

    def _arabic(self, start: Number, ones: int) -> Number:
        """Ones with the ten behind them: "خمسة عشر" is 15, "خمسة وثلاثون" is more than 20."""
        at, ordinal = start.first + 1, start.word in foreign.ARABIC_ORDINALS
        following = self._token(at)
        if following in foreign.THEN_TEN:
            return start.grown(10 + ones, at, ordinal=ordinal)
        if following == foreign.ARABIC_AND:
            at, following = at + 1, following + self._token(at + 1)
        if following.startswith(foreign.ARABIC_TENS):
            return start.grown(20 + ones, at, ordinal=ordinal)
        return start.grown(ones, start.first, ordinal=ordinal)

    def _ten(self, start: Number) -> Number | None:
        """A ten without a digit; the English "on" is one only beside a Turkish word of age."""
        beside = (self._token(start.first - 1), self._token(start.first + 1))
        turkish = start.word != "on" or any(word.startswith("yas") for word in beside)
        return start.grown(10, start.first) if turkish else None

    def _single(self, start: Number) -> Number | None:
        token = start.word
        if self._token(self._next(start.first)) in foreign.MAGNITUDES:
            return self._year(start)
        if token in words.ORDINALS:
            return start.grown(words.ORDINALS[token], start.first, ordinal=True)
        if token in _LOOSE:
            return start.grown(_LOOSE[token], start.first)
        small = Number(0, start.first, start.first, loose=False, word=token)
        value = foreign.NUMBERS.get(token) or words.ROMAN.get(token)
        return small.grown(value, start.first) if value else None

    def _year(self, start: Number) -> Number | None:
        """A year in words, "two thousand and nine"; any other large number is none of ours: "twelve hundred"."""
        if self.bare[start.first : start.first + 2] != ["two", "thousand"]:
            return None
        at = start.first + (3 if self._token(start.first + 2) == "and" else 2)
        word = self._token(at)
        if word in foreign.ENGLISH_TENS:
            return self._with_ones(start.grown(2000 + foreign.ENGLISH_TENS[word], at))
        return start.grown(2000 + words.NUMBERS.get(word, 0), at if word in words.NUMBERS else start.first + 1)

    def _with_ones(self, tens: Number) -> Number:
        """A ten with what follows it: "twenty-one", "treinta y cinco", "soixante-dix-sept"."""
        at = self._next(tens.last)
        at = self._next(at) if self._token(at) in foreign.AND else at
        word = self._token(at)
        if word in words.ORDINALS and words.ORDINALS[word] < 10:
            return tens.grown(words.ORDINALS[word], at, ordinal=True)
        ones = _CARDINALS.get(word, 0)
        if tens.word in {"soixante", "quatre"} and 10 <= ones < 17:
            tail = foreign.TEN_THEN["dix"].get(self._token(self._next(at)), 0) if word == "dix" else 0
            return tens.grown(ones + tail, self._next(at) if tail else at)
        return tens.grown(ones, at) if 0 < ones < 10 and word not in foreign.TEN_THEN else tens

    def _next(self, at: int) -> int:
        """The place after a token, over a hyphen."""
        return at + 2 if self._token(at + 1) == "-" else at + 1

    def _token(self, at: int) -> str:
        return self.bare[at] if 0 <= at < len(self.bare) else ""
