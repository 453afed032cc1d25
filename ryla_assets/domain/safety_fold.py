"""How the safety screen folds a text: escapes, case, width, accents and look-alikes undone, letter by letter.

Belongs here: what one character becomes, and what cannot be read. Does not belong here: words and the ways to spell
them (`safety_text`), what is blocked (`safety_words`, `safety_languages`).

Everything is linear in the length of the text. Combining marks go before Unicode normalisation, whose reordering of
them is quadratic; what a character becomes is looked up once for each distinct character.
"""

import html
import re
import unicodedata
import urllib.parse
from functools import lru_cache
from itertools import pairwise
from typing import Final

UNREAD: Final = "\ufffd"  # stands for every letter of an alphabet that no list of ours covers
MAX_UNESCAPES: Final = 3  # "&amp;amp;" and the like; deeper nesting is refused
MAX_ESCAPES: Final = 1000  # ampersands in one text
MAX_IMITATIONS: Final = 400  # letters of one alphabet beside letters of another
MAX_GROWTH: Final = 2  # a single character may normalise to 18; ordinary text does not grow
MAX_KINDS: Final = 600  # different characters to fold in one text; letters that fold to themselves do not count

# Alphabets with a list of words. A letter of a neighbour (Ukrainian, Persian, Greek, Thai...) is not read.
_CYRILLIC: Final = "\u0430-\u044f"  # Russian, after its two accented letters are folded
_ARABIC: Final = "\u0621-\u063a\u0641-\u064a"
DEVANAGARI: Final = "\u0900-\u0963\u0970-\u097f"
_EAST_ASIAN: Final = "\u3005\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\u3400-\u4dbf\uac00-\ud7a3"
ARABIC: Final = re.compile(f"[{_ARABIC}]")
EAST_ASIAN: Final = re.compile(f"[{_EAST_ASIAN}]")
_READ = re.compile(f"[a-z{_CYRILLIC}{_ARABIC}{DEVANAGARI}{_EAST_ASIAN}]")
_KEEPS_MARKS = re.compile(f"(?![\u093c\u094d])[{DEVANAGARI}{_EAST_ASIAN}\u3099\u309a]")  # but virama and nukta go
_GREEK_OR_OTHER_CYRILLIC = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_TO_FOLD = re.compile(f"[^\x00-\x7f{DEVANAGARI}{_EAST_ASIAN}]|[\u093c\u094d]")
_IMITATION = re.compile("[a-z0-9][\u0370-\u052f]|[\u0370-\u052f][a-z0-9]|[\u0370-\u042f\u0450-\u052f]")
_ALPHABETS = re.compile("[a-z0-9\u0370-\u03ff\u0400-\u052f]+")
_UNKNOWN_CYRILLIC = re.compile("[\u0370-\u042f\u0450-\u052f]")
_LATIN_LETTER = re.compile("[a-z]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufdfa\ufdfb]")  # and two signs that unfold to a sentence
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_BACKSLASH = re.compile(r"\\(?:u\{?([0-9a-fA-F]{2,6})\}?|x([0-9a-fA-F]{2}))")

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
}


class Unread(ValueError):
    """The text holds something that the screen cannot read."""


def fold(text: str) -> str:
    """`text` in lower case without accents: how word lists are brought into the form that a reading has."""
    return text.lower() if text.isascii() else _folded(text).lower()


def folded_words(text: str) -> frozenset[str]:
    """The words of a list that is written as one text, folded."""
    return frozenset(fold(text).split())


def folded(text: str) -> tuple[str, str]:
    """(`text` without escapes, accents, look-alikes and spare white space, the same in lower case). Raises Unread."""
    if not (text.isascii() and text.isprintable()) and _CONTROL.search(text):
        raise Unread
    cased = " ".join((text if text.isascii() else _folded(text)).split())
    plain = cased.lower()
    if text.isascii():
        return cased, plain
    if UNREAD in plain:
        raise Unread
    return cased, _one_alphabet_a_word(plain)


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


def composed(text: str) -> str:
    """`text` in lower case with its accents, each composed with its letter; of a pile of marks the first stays."""
    marks = {sign for sign in set(_TO_FOLD.findall(text)) if unicodedata.combining(sign)}
    if marks:  # normalising a pile takes quadratic time
        text = text[:1] + "".join(
            sign for before, sign in pairwise(text) if not (sign in marks and before in marks)
        )  # fmt: skip
    return unicodedata.normalize("NFC", text).casefold()


def imitated(word: str) -> str:
    """`word` with letters of other alphabets as the Latin ones that they look like, if it holds any Latin one."""
    return word.translate(_LOOK_ALIKES) if _LATIN_LETTER.search(word) else word


def _from_percent(match: re.Match[str]) -> str:
    try:
        return urllib.parse.unquote(match.group(), errors="strict")
    except UnicodeDecodeError:
        return match.group()


def _from_backslash(match: re.Match[str]) -> str:
    code = int(match.group(1) or match.group(2), 16)
    return chr(code) if code <= 0x10FFFF else UNREAD


def _folded(text: str) -> str:
    piles = {ord(sign): None for sign in _distinct(text) if unicodedata.combining(sign)}
    normal = unicodedata.normalize("NFKC", text.translate(piles) if piles else text)
    if len(normal) > MAX_GROWTH * len(text) + 100:
        raise Unread
    return normal.translate({ord(sign): _letter(sign) for sign in _distinct(normal)})


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
    if "\U0001f1e6" <= sign <= "\U0001f1ff":  # letters of which two make a flag
        return chr(ord("A") + ord(sign) - 0x1F1E6)
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
    return _ALPHABETS.sub(_as_latin, plain) if imitations else plain


def _as_latin(match: re.Match[str]) -> str:
    word = match.group()
    if word.isascii():
        return word
    mixed = _LATIN_LETTER.search(word) is not None
    if not mixed and not _UNKNOWN_CYRILLIC.search(word):
        return word
    latin = word.translate(_LOOK_ALIKES)
    if not latin.isascii() or not (mixed or len(word) == 1):  # a Greek letter by itself is a sign of mathematics
        raise Unread
    return latin
