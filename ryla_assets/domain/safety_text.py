"""How the safety screen reads a text: escapes, look-alikes and spellings undone before any rule looks.

Belongs here: normalisation and the other ways in which a word may be spelled. Does not belong here: what is blocked
(`safety_words`, `safety_languages`), the rules (`safety`, `safety_age`, `safety_person`).

Everything is linear in the length of the text. Combining marks go before Unicode normalisation, whose reordering of
them is quadratic; what a character becomes is looked up once for each distinct character.
"""

import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

UNREAD: Final = "\ufffd"  # stands for every letter of an alphabet that no list of ours covers
MAX_UNESCAPES: Final = 3  # "&amp;amp;" and the like; deeper nesting is refused
MAX_NUMBERS: Final = 400  # in one text; each costs a look around
MAX_ESCAPES: Final = 1000  # ampersands in one text
MAX_IMITATIONS: Final = 400  # letters of one alphabet beside letters of another
MAX_GROWTH: Final = 2  # a single character may normalise to 18; ordinary text does not grow
MAX_KINDS: Final = 600  # different characters to fold in one text; letters that fold to themselves do not count

# Alphabets with a list of words. A letter of a neighbour (Ukrainian, Persian, Greek, Thai...) is not read.
_CYRILLIC: Final = "\u0430-\u044f"  # Russian, after its two accented letters are folded
_ARABIC: Final = "\u0621-\u063a\u0641-\u064a"
_DEVANAGARI: Final = "\u0900-\u0963\u0970-\u097f"
_EAST_ASIAN: Final = "\u3005\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\u3400-\u4dbf\uac00-\ud7a3"
_READ = re.compile(f"[a-z{_CYRILLIC}{_ARABIC}{_DEVANAGARI}{_EAST_ASIAN}]")
_KEEPS_MARKS = re.compile(f"(?![\u093c\u094d])[{_DEVANAGARI}{_EAST_ASIAN}\u3099\u309a]")  # but virama and nukta go
_GREEK_OR_OTHER_CYRILLIC = re.compile("[\u0370-\u03ff\u0400-\u052f]")

ARABIC: Final = re.compile(f"[{_ARABIC}]")
EAST_ASIAN: Final = re.compile(f"[{_EAST_ASIAN}]")
WORD: Final = re.compile(f"[^\\W\\d_{_DEVANAGARI}]+|[{_DEVANAGARI}]+")
_ASCII_WORD = re.compile("[a-z]+")
_TO_FOLD = re.compile(f"[^\x00-\x7f{_DEVANAGARI}{_EAST_ASIAN}]|[\u093c\u094d]")
_IMITATION = re.compile("[a-z0-9][\u0370-\u052f]|[\u0370-\u052f][a-z0-9]|[\u0370-\u042f\u0450-\u052f]")
_ALPHABETS = re.compile("[a-z0-9\u0370-\u03ff\u0400-\u052f]+")
_UNKNOWN_CYRILLIC = re.compile("[\u0370-\u042f\u0450-\u052f]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufdfa\ufdfb]")  # and two signs that unfold to a sentence
_DIGITS = re.compile(r"\d+")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_BACKSLASH = re.compile(r"\\(?:u\{?([0-9a-fA-F]{2,6})\}?|x([0-9a-fA-F]{2}))")
_TWICE = re.compile(r"[a-z02-9@$]{0,20}[1|!][a-z02-9@$]{1,20}[1|!][a-z02-9@$]{0,20}")
_LEET_SIGN: Final = "0-9@$!|\xa7"
_LEET_WORD = re.compile(
    f"[^\\W\\d_][{_LEET_SIGN}]|[{_LEET_SIGN}][^\\W\\d_]|[{_LEET_SIGN}]-[^\\W\\d_]|[^\\W\\d_][-.*][{_LEET_SIGN}]"
)
_TWO_WAYS = re.compile("[16|]")
_LATIN_LETTER = re.compile("[a-z]")
_SEPARATOR = re.compile(r"[^\w\s]|_")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_SINGLES = re.compile(r"\b(?:[^\W\d_] ){2,}[^\W\d_]\b")
_RUN = re.compile(r"([^\W\d_])\1+")
_LONG_RUN = re.compile(r"([^\W\d_])\1{2}")

# Letters that look Latin, used where a word mixes alphabets; and Latin letters that Unicode does not take apart.
_LOOK_ALIKES: Final = str.maketrans(
    dict(
        zip(
            "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u0501\u043a\u043c\u0442\u043d\u0432\u0433\u0438\u04bb\u051b\u051d\u04cf\u0437\u043f",
            "aeopcxyijsdkmthbruhqwlsn",
            strict=True,
        )
    )
    | dict(
        zip(
            "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c0\u03c1\u03c3\u03c4\u03c5\u03c7\u03c9",
            "abydeniKuvonpotuxw".lower(),
            strict=True,
        )
    )
)
_LATIN: Final = dict(
    zip(
        "\u0131\xf8\u0142\u0111\xf0\u0127\u0167\u0261\u0251\u1d00\u0299\u1d04\u1d05\u1d07\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22",
        "iolddhtgaabcdeghijklmnoprstuvwyz",
        strict=True,
    )
) | {"\xe6": "ae", "\u0153": "oe", "\xfe": "th"}
_SIGNS: Final = {
    **dict.fromkeys("\u2018\u2019\u02bc\u201b\u2032`\xb4", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fb\xb7", "-"),
    **dict.fromkeys("\u2044\u2215", "/"),
    **dict.fromkeys("\u3001\u3002\uff0c\u060c", ","),
    **dict.fromkeys("\u3164\u1160\u115f\uffa0\u2800", ""),  # letters and signs that show nothing
    "\u0649": "\u064a",  # Arabic letters that are written for each other
    "\u0629": "\u0647",
    "\u0640": "",
    "\u20ac": "e",
}
# Leetspeak, read twice, since some signs stand for two letters.
_LEET_PAIRS: Final = "0o 3e 4a 5s 7t 8b 9g @a $s !i \xa7s"
_LEET: Final = tuple(
    str.maketrans({pair[0]: pair[1] for pair in f"{_LEET_PAIRS} {more}".split()}) for more in ("1i 6g |l", "1l 6b |i")
)
_ONES: Final = _LEET[0] | {ord(sign): "1" for sign in "1|!"}


class TooManyNumbers(ValueError):
    """The text holds more numbers than any description does, and than the rules look at."""


class Unread(ValueError):
    """The text holds something that the screen cannot read."""


@dataclass(frozen=True)
class Reading:
    """A text as the rules see it.

    `plain` is folded: case, accents, widths, invisible letters and look-alikes are gone, white space is single spaces;
    `cased` is the same with its capitals. `words` are its words in order; `respelled` the same with leetspeak undone,
    once for each way of reading it; `joined` the words with separators inside left out ("ch-ild"); `runs` what single
    letters spell ("c h i l d"); `squeezed` the stretched words ("chiiild") with each letter once.
    """

    plain: str
    cased: str
    words: list[str]
    respelled: tuple[list[str], ...]
    joined: frozenset[str]
    runs: tuple[str, ...]
    squeezed: frozenset[str]
    all_words: frozenset[str]  # in every spelling but the stretched
    source: str

    def accented(self) -> set[str]:
        """The words before accents were dropped, with composed letters."""
        return set(WORD.findall(unicodedata.normalize("NFC", _without_piles(self.source)).casefold()))


def read(text: str) -> Reading:
    """Fold `text` and list its words in every spelling. Raises Unread (no list for a letter) and TooManyNumbers."""
    told = unescaped(text)
    if _CONTROL.search(told):
        raise Unread
    if told.isascii():
        cased, plain = told, told.lower()
    else:
        cased = _folded(told)
        plain = cased.lower()
        if UNREAD in plain:
            raise Unread
        plain = _one_alphabet_a_word(plain)
    cased, plain = " ".join(cased.split()), " ".join(plain.split())
    if len(_DIGITS.findall(plain)) > MAX_NUMBERS:
        raise TooManyNumbers
    in_order = words_of(plain)
    respelled, joined, runs = _spellings(plain, in_order)
    every = frozenset(in_order).union(joined, _capital_i(cased), *respelled)
    stretched = (word for word in every if _LONG_RUN.search(word)) if _LONG_RUN.search(plain) else ()
    squeezed = frozenset(_RUN.sub(r"\1", word) for word in stretched)
    return Reading(plain, cased, in_order, respelled, joined, runs, squeezed, every, told)


def words_of(plain: str) -> list[str]:
    """The words of a folded text, in order."""
    return _ASCII_WORD.findall(plain) if plain.isascii() else WORD.findall(plain)


def fold(text: str) -> str:
    """`text` in lower case without accents: how word lists are brought into the form that `read` produces."""
    return text.lower() if text.isascii() else _folded(text).lower()


def unescaped(text: str) -> str:
    """`text` with HTML entities, percent and backslash escapes undone. Raises Unread where they are nested deep."""
    for _ in range(MAX_UNESCAPES):
        if text.count("&") > MAX_ESCAPES:
            raise Unread
        told = html.unescape(text) if "&" in text else text
        told = _PERCENT.sub(_from_percent, told) if "%" in told else told
        told = _BACKSLASH.sub(_from_backslash, told) if "\\" in told else told
        if told == text:
            return text
        text = told
    raise Unread


def _from_percent(match: re.Match[str]) -> str:
    try:
        return urllib.parse.unquote(match.group(), errors="strict")
    except UnicodeDecodeError:
        return match.group()


def _from_backslash(match: re.Match[str]) -> str:
    code = int(match.group(1) or match.group(2), 16)
    return chr(code) if code <= 0x10FFFF else UNREAD


def _without_piles(text: str) -> str:
    """`text` with at most one mark on a letter: normalising piles of marks takes quadratic time."""
    marks = "".join(sorted(sign for sign in set(_TO_FOLD.findall(text)) if unicodedata.combining(sign)))
    return re.sub(f"([{marks}])[{marks}]+", r"\1", text) if marks else text


def _folded(text: str) -> str:
    piles = {ord(sign): None for sign in _distinct(text) if unicodedata.combining(sign)}
    composed = unicodedata.normalize("NFKC", text.translate(piles) if piles else text)
    if len(composed) > MAX_GROWTH * len(text) + 100:
        raise Unread
    return composed.translate({ord(sign): _letter(sign) for sign in _distinct(composed)})


def _distinct(text: str) -> set[str]:
    """The characters that may have to change. Raises Unread on more kinds of them than any language uses."""
    found = set(_TO_FOLD.findall(text))
    if len(found) > MAX_KINDS:
        raise Unread
    return found


@lru_cache(maxsize=8192)
def _letter(sign: str) -> str:
    """What one character becomes: itself, its plain form, nothing, or UNREAD."""
    if sign.isascii():
        return sign
    if "\U0001f150" <= sign <= "\U0001f189":  # letters in black circles and squares: Unicode takes only the white apart
        return chr(ord("A") + (ord(sign) - 0x1F150) % 32)
    small = sign.casefold()
    if small in _SIGNS:
        return _SIGNS[small]
    if _KEEPS_MARKS.match(small):
        return small
    parts = [_part(part) for part in unicodedata.normalize("NFKD", small)]
    plain = "".join(_SIGNS.get(part, part) for part in parts)
    return plain.upper() if sign.isupper() or sign.istitle() else plain


def _part(sign: str) -> str:
    kind = unicodedata.category(sign)
    if kind in {"Mn", "Me", "Cf"}:
        return ""
    if kind in {"Cc", "Cs", "Co", "Cn"} or sign == UNREAD:
        return " " if sign.isspace() else UNREAD
    if sign.isdigit():
        return str(unicodedata.digit(sign))
    if sign in _LATIN:
        return _LATIN[sign]
    known = not sign.isalpha() or _READ.match(sign) or _GREEK_OR_OTHER_CYRILLIC.match(sign)
    return sign if known and kind not in {"Mc", "Lm"} else UNREAD


def _one_alphabet_a_word(plain: str) -> str:
    """Words that mix alphabets, or hold letters of none that is read, as the Latin word that they imitate."""
    imitations = len(_IMITATION.findall(plain))
    if imitations > MAX_IMITATIONS:
        raise Unread
    return _ALPHABETS.sub(_imitated, plain) if imitations else plain


def _imitated(match: re.Match[str]) -> str:
    word = match.group()
    if word.isascii():
        return word
    mixed = re.search("[a-z]", word) is not None
    if not mixed and not _UNKNOWN_CYRILLIC.search(word):
        return word
    latin = word.translate(_LOOK_ALIKES)
    if not latin.isascii() or not (mixed or len(word) == 1):  # a Greek letter by itself is a sign of mathematics
        raise Unread
    return latin


def _capital_i(cased: str) -> list[str]:
    """Words with a capital I among small letters, where it looks like an l ("chiId")."""
    chunks = (chunk for chunk in cased.split() if "I" in chunk[1:] and not chunk.isupper()) if "I" in cased else ()
    return words_of(" ".join(chunks).replace("I", "l").lower())


def _spellings(plain: str, in_order: list[str]) -> tuple[tuple[list[str], ...], frozenset[str], tuple[str, ...]]:
    joined = set(_SEPARATOR.sub("", plain).split())
    respelled: list[list[str]] = []
    doubtful = _leet_chunks(plain)
    if doubtful:
        joined.update(_alike(doubtful))
        for leet in _LEET:
            letters = doubtful.translate(leet)
            respelled.append(words_of(letters))
            joined.update(_SEPARATOR.sub("", letters).split())
    runs = _runs(plain) if list(map(len, in_order)).count(1) > 1 else ()
    return tuple(respelled), frozenset(joined.union(runs)), runs


def _leet_chunks(plain: str) -> str:
    """The pieces of a text that mix letters with leet signs, each with its neighbours; else an empty string."""
    if not _LEET_WORD.search(plain):
        return ""
    chunks = plain.split()
    mixed = [at for at, chunk in enumerate(chunks) if _LEET_WORD.search(chunk)]
    near = {place for at in mixed for place in (at - 1, at, at + 1)}
    return " ".join(chunk for at, chunk in enumerate(chunks) if at in near)


def _runs(plain: str) -> tuple[str, ...]:
    """What the single letters of a text spell, three or more in a row: "t e e n", "t 3 3 n"."""
    found: set[str] = set()
    for leet in _LEET if _TWO_WAYS.search(plain) else _LEET[:1]:
        letters = _NO_LETTERS.sub(" ", plain.translate(leet))
        found.update(run.replace(" ", "") for run in _SINGLES.findall(letters))
    return tuple(run.translate(_LOOK_ALIKES) if _LATIN_LETTER.search(run) else run for run in sorted(found))


def _alike(plain: str) -> Iterator[str]:
    """Words in which one sign stands for both i and l ("g1r1"), with the first, then the last of them as an i."""
    for chunk in _TWICE.findall(plain):
        letters = chunk.translate(_ONES)
        head, _, tail = letters.partition("1")
        yield f"{head}i{tail}".replace("1", "l")
        head, _, tail = letters.rpartition("1")
        yield f"{head}i{tail}".replace("1", "l")
