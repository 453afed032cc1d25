"""How the safety screen reads a text: its words, in every way in which they may have been spelled.

Belongs here: the spellings that are undone before any rule looks (leetspeak, separators, single letters, stretched
letters, hidden letters). Does not belong here: what a character is folded to (`safety_fold`), what is blocked
(`safety_words`, `safety_languages`), the rules (`safety`, `safety_age`, `safety_person`).

Everything is linear in the length of the text: an expression repeats without bound only at its end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ryla_assets.domain.safety_fold import DEVANAGARI, composed, folded, imitated, unescaped

MAX_NUMBERS: Final = 400  # in one text; each costs a look around

_WORD = re.compile(f"[^\\W\\d_{DEVANAGARI}]+|[{DEVANAGARI}]+")
_ASCII_WORD = re.compile("[a-z]+")
_DIGITS = re.compile(r"\d+")
_SEPARATOR = re.compile(r"[^\w\s]|_")
_ASCII_SEPARATORS: Final = {n: None for n in range(33, 127) if not chr(n).isalnum()}
_NO_LETTERS = re.compile(r"[\W\d_]+")
# Single letters in a row, with whatever stands between them: "t 3 3 n".
_SPELLED = re.compile(r"[\W\d_][^\W\d_](?:[\W\d_]{1,24}[^\W\d_](?![^\W\d_]))+")
_ASCII_SPELLED = re.compile("[^a-z][a-z](?:[^a-z]{1,24}[a-z](?![a-z]))+")
_SINGLES = re.compile(r"\b[^\W\d_](?: [^\W\d_]\b){2,}")
_INNER_I = re.compile(r"I(?<=[^\W\d_]I)")
_RUN = re.compile(r"([a-z])\1+")
_LONG_RUN = re.compile(r"([a-z])\1\1")
# What a renderer takes away inside a word: HTML tags, and the weights of prompts: "t<b></b>een", "(t:1.2)een".
_MARKUP = re.compile(r"<[^<>]{0,40}>|:\s?-?\d?\.?\d{0,3}\s?(?=\))")
# A word with one or two signs in place of letters: "ch*ld". An apostrophe belongs to the word.
_HIDDEN = re.compile(r"(?<![^\W\d_])[a-z]{1,12}(?:[^\sa-z']{1,2}[a-z]{1,12}){1,2}(?![^\W\d_])")
_HIDING = re.compile("[^a-z]")
_OPENED = re.compile(r"[(<\[{]([a-z]{3,20})")  # a bracket that is written for a c
# Leetspeak, read twice, since some signs stand for two letters.
_LEET_PAIRS: Final = "0o 3e 4a 5s 7t 8b 9g @a $s !i \xa7s \xa2c \xa9c \u20ace \xa3l \xa5y \xa1i"
_LEET_MAPS: Final = tuple(
    str.maketrans({pair[0]: pair[1] for pair in f"{_LEET_PAIRS} {more}".split()}) for more in ("1i 6g |l", "1l 6b |i")
)
_LEET_SIGN: Final = "0-9@$!|\xa1-\xa9\u20ac"
# A sign beside a letter, directly or over a separator; it begins with the sign, which is rare, and so looked for fast.
_LEET = re.compile(f"[{_LEET_SIGN}](?:-?[^\\W\\d_]|(?<=[^\\W\\d_][{_LEET_SIGN}])|(?<=[^\\W\\d_][-.*][{_LEET_SIGN}]))")
_TWO_WAYS = re.compile("[16|]")
_TWICE = re.compile(r"[a-z02-9@$]{0,20}[1|!][a-z02-9@$]{1,20}[1|!][a-z02-9@$]{0,20}")
_ONES: Final = _LEET_MAPS[0] | {ord(sign): "1" for sign in "1|!"}


class TooManyNumbers(ValueError):
    """The text holds more numbers than any description does, and than the rules look at."""


@dataclass(frozen=True)
class Reading:
    """A text as the rules see it.

    `plain` is folded: case, accents, widths, invisible letters and look-alikes are gone, white space is single spaces;
    `cased` is the same with its capitals. `orders` are its words in order, first as they stand (`words`), then with
    leetspeak undone, once for each way of reading it; `runs` what single letters spell ("c h i l d"); `squeezed` the
    stretched words ("chiiild") with each letter once; `hidden` words with "?" for each letter behind a sign ("ch?ld").
    """

    plain: str
    cased: str
    orders: tuple[list[str], ...]
    runs: tuple[str, ...]
    squeezed: frozenset[str]
    hidden: frozenset[str]
    all_words: frozenset[str]  # in every spelling but the stretched and the hidden, also with separators left out
    source: str

    @property
    def words(self) -> list[str]:
        """The words in order, as they stand."""
        return self.orders[0]

    def accented(self) -> set[str]:
        """The words before accents were dropped, with composed letters."""
        return set(_WORD.findall(composed(self.source)))


def read(text: str) -> Reading:
    """Fold `text` and list its words in every spelling. Raises Unread (no list for a letter) and TooManyNumbers."""
    told = unescaped(text)
    cased, plain = folded(told)
    if sum(map(plain.count, "0123456789")) > MAX_NUMBERS and len(_DIGITS.findall(plain)) > MAX_NUMBERS:
        raise TooManyNumbers
    words = words_of(plain)
    odd = " ".join(set(plain.split()).difference(words))  # pieces that are more than a word
    joined = set(_together(odd))
    bare = _MARKUP.sub("", plain) if "<" in odd or ":" in odd else plain
    if bare != plain:
        joined.update(_together(bare))
    respelled = list(_without_leet(plain, joined))
    runs = _runs(plain) if _has_singles(words) else ()
    every = frozenset(words).union(joined, runs, _capital_i(cased), *respelled)
    stretched = (word for word in every if _LONG_RUN.search(word)) if _LONG_RUN.search(" ".join(every)) else ()
    squeezed = frozenset(_RUN.sub(r"\1", word) for word in stretched)
    hidden = frozenset(_HIDING.sub("?", word) for word in _HIDDEN.findall(odd))
    return Reading(plain, cased, (words, *respelled), runs, squeezed, hidden, every, told)


def words_of(plain: str) -> list[str]:
    """The words of a folded text, in order."""
    return _ASCII_WORD.findall(plain) if plain.isascii() else _WORD.findall(plain)


def _together(plain: str) -> list[str]:
    """The pieces between white space, without the signs inside them, and with an opening bracket as a c."""
    pieces = (plain.translate(_ASCII_SEPARATORS) if plain.isascii() else _SEPARATOR.sub("", plain)).split()
    return pieces + [f"c{rest}" for rest in _OPENED.findall(plain)]


def _has_singles(words: list[str]) -> bool:
    """Whether two words side by side are single letters."""
    lengths = list(map(len, words))
    return lengths.count(1) > 1 and (1, 1) in pairwise(lengths)


def _without_leet(plain: str, joined: set[str]) -> Iterator[list[str]]:
    """The words around leetspeak, with it undone, once for each way of reading it; adds their pieces to `joined`."""
    doubtful = _leet_pieces(plain)
    if doubtful:
        joined.update(_alike(doubtful))
        for leet in _LEET_MAPS:
            letters = doubtful.translate(leet)
            joined.update(_together(letters))
            yield words_of(letters)


def _leet_pieces(plain: str) -> str:
    """The pieces of a text that mix letters with leet signs, each with its neighbours."""
    found, end = [], 0
    for match in _LEET.finditer(plain):
        if match.start() >= end:
            before = max(end, plain.rfind(" ", 0, max(0, plain.rfind(" ", 0, match.start()))) + 1)
            stop = plain.find(" ", match.end())
            end = plain.find(" ", stop + 1) if stop >= 0 else -1
            end = len(plain) if end < 0 else end
            found.append(plain[before:end])
    return " ".join(found)


def _capital_i(cased: str) -> list[str]:
    """Words with a capital I among small letters, where it looks like an l ("chiId")."""
    if not _INNER_I.search(cased):
        return []
    chunks = (chunk for chunk in cased.split() if "I" in chunk[1:] and not chunk.isupper())
    return words_of(" ".join(chunks).replace("I", "l").lower())


def _runs(plain: str) -> tuple[str, ...]:
    """What the single letters of a text spell, three or more in a row: "t e e n", "t 3 3 n"."""
    found: set[str] = set()
    spaced = f" {plain} "
    for match in (_ASCII_SPELLED if plain.isascii() else _SPELLED).finditer(spaced):
        piece = spaced[max(0, match.start() - 24) : match.end() + 24]
        for leet in _LEET_MAPS if _TWO_WAYS.search(piece) else _LEET_MAPS[:1]:
            letters = _NO_LETTERS.sub(" ", piece.translate(leet))
            found.update(run.replace(" ", "") for run in _SINGLES.findall(letters))
    return tuple(imitated(run) for run in sorted(found))


def _alike(plain: str) -> Iterator[str]:
    """Words in which one sign stands for both i and l ("g1r1"), with the first, then the last of them as an i."""
    for chunk in _TWICE.findall(plain):
        letters = chunk.translate(_ONES)
        head, _, tail = letters.partition("1")
        yield f"{head}i{tail}".replace("1", "l")
        head, _, tail = letters.rpartition("1")
        yield f"{head}i{tail}".replace("1", "l")
