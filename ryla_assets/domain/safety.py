"""The safety screen: which texts may never reach a prompt, and the adult wording that every prompt carries.

Belongs here: normalisation, the block lists, age patterns, the adult phrase. Does not belong here: judging pictures
(`ryla_assets/checks/`), ratings and routes (`routing`).

The screen fails closed: a text it cannot clear is blocked with a reason code, and the text is never repeated. It reads
English in Latin letters; other scripts are refused as unreadable. Everything is linear in the length of the text
(20,000 characters take 0.2 s at worst): it is cut into tokens, and each rule looks at a token and its neighbours.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from ryla_assets.domain import safety_words as words
from ryla_assets.domain.errors import UnsafeText

MIN_AGE: Final = 18
MIN_WORDED_AGE: Final = 21  # models draw "18-year-old" younger than it says: a margin that costs nothing
MAX_TEXT: Final = 20_000  # characters; longer is refused unread
MINOR_SAFETY_NEGATIVE: Final = "child, minor, underage, teenager, childlike, young-looking"

NOUNS: Final = {"female": "woman", "male": "man"}

_TOKEN = re.compile(r"[a-z]+|[0-9]+|[^a-z0-9\s]")
_CHUNK = re.compile(r"\S+")
# Numbers of photography and of everyday life that are no age. Bounded lengths, no nested repeats.
_TECHNICAL = re.compile(
    r"(?<![\d.])(?:"
    r"\d{1,4} ?[:x] ?\d{1,4}"  # aspect ratios, clock times, sizes: 16:9, 1024x1024
    r"|1/\d{1,5}|24/7|f/\d{1,2}(?:\.\d)?"  # shutter and aperture: 1/16, f/11
    r"|\d\.\d{1,3}|[3-7]'\d{1,2}"  # decimals under ten, heights: 1.4, 5'11
    r"|\d{1,3} ?- ?\d{1,3} ?(?:mm|cm|px|fps|mp)"  # ranges with a unit: 16-35mm
    r")(?!\d)"
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")  # controls and lone surrogates


@dataclass(frozen=True)
class _Token:
    text: str
    glued: bool  # no white space between it and the token before
    start: int


def adult_phrase(age: int, gender: str) -> str:
    """The words that make a prompt's person an adult: "34-year-old adult woman"; never words an age under 21.

    Raises ValueError below 18 and KeyError on an unknown gender: a validated config has neither.
    """
    if age < MIN_AGE:
        raise ValueError("RYLA draws adults only: age must be 18 or more")
    return f"{max(age, MIN_WORDED_AGE)}-year-old adult {NOUNS[gender]}"


def screen(text: str, *, field: str) -> None:
    """Pass `text`, or raise UnsafeText whose `value` is a reason code.

    Codes: too_long, unreadable, minor_term, school_role, age_under_18.
    """
    if len(text) > MAX_TEXT:
        raise _blocked("too_long", field)
    if words.MINOR_EMOJI.intersection(text):
        raise _blocked("minor_term", field)
    plain = normalised(text)
    if _CONTROL.search(text) or any(letter.isalpha() and not letter.isascii() for letter in plain):
        raise _blocked("unreadable", field)
    for code in (_term_reason(plain), _age_reason(plain)):
        if code:
            raise _blocked(code, field)


def normalised(text: str) -> str:
    """`text` as the rules see it: NFKC, casefolded, without accents or invisible letters, look-alikes as ASCII."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    visible = (letter for letter in decomposed if unicodedata.category(letter) not in {"Mn", "Me", "Cf"})
    ascii_digits = (str(unicodedata.digit(letter)) if letter.isdigit() else letter for letter in visible)
    return " ".join("".join(ascii_digits).translate(words.LOOK_ALIKES).split())


def _blocked(code: str, field: str) -> UnsafeText:
    return UnsafeText(
        f"blocked by the safety screen ({code}).", field=field, value=code, way_out=words.WAYS_OUT.get(code, "")
    )


def _term_reason(plain: str) -> str:
    """The code of the first blocked word or phrase, however it is spelled; else an empty string."""
    spelled = [*re.findall(r"[a-z]+", plain), *_respelled(plain)]
    for word in spelled:
        if word in words.MINOR_TERMS and not _harmless_use(word, plain):
            return "minor_term"
        if word in words.SCHOOL_TERMS:
            return "school_role"
        if word in words.TEEN_NUMBERS and word not in plain:
            return "age_under_18"  # a number spelled in leetspeak: nobody writes a lens that way
    return _phrase_reason(plain)


def _respelled(plain: str) -> list[str]:
    """The words hidden in leetspeak (t33n), in separators (ch-ild) and in single letters (t e e n)."""
    found: list[str] = []
    singles: list[str] = []
    for match in _CHUNK.finditer(plain):
        chunk = match.group()
        for one in ("i", "l"):
            leet = chunk.translate(words.LEET).replace("1", one)
            found += re.findall(r"[a-z]+", leet)
            found.append(re.sub(r"[^a-z]", "", leet))
        bare = re.sub(r"[^a-z]", "", chunk.translate(words.LEET).replace("1", "i"))
        if len(bare) == 1:
            singles.append(bare)
        elif bare or chunk.isalnum():
            found += _hidden(singles)
            singles = []
    return found + _hidden(singles)


def _hidden(singles: list[str]) -> list[str]:
    """Blocked terms inside a run of single letters; under three letters it is no word."""
    run = "".join(singles)
    return [term for term in words.SPELLABLE if term in run] if len(run) >= 3 else []


def _harmless_use(word: str, plain: str) -> bool:
    """Whether every use of a blocked word is a fixed harmless one, such as "baby blue"."""
    following = words.HARMLESS_AFTER.get(word)
    if following is None:
        return False
    uses = re.findall(rf"\b{word}\b(?: ([a-z]+))?", plain)
    return bool(uses) and all(after in following for after in uses)


def _phrase_reason(plain: str) -> str:
    tokens = re.findall(r"[a-z]+", plain)
    for n, first in enumerate(tokens):
        for length in (2, 3):
            code = words.PHRASES.get(" ".join([first, *tokens[n + 1 : n + length]]))
            if code:
                return code
        pair = first + (tokens[n + 1] if n + 1 < len(tokens) else "")
        if pair in words.COMPOUNDS:
            return "minor_term"
        if first in words.STUDENT and (n == 0 or tokens[n - 1] not in words.ADULT_STUDENT):
            return "school_role"
    return ""


def _age_reason(plain: str) -> str:
    tokens = [
        _Token(match.group(), match.start() > 0 and plain[match.start() - 1] != " ", match.start())
        for match in _TOKEN.finditer(plain)
    ]
    technical = {n for match in _TECHNICAL.finditer(plain) for n in range(match.start(), match.end())}
    for at, token in enumerate(tokens):
        number = _number(tokens, at)
        if number is not None and _reads_as_minor_age(tokens, at, number, technical=token.start in technical):
            return "age_under_18"
    return ""


def _number(tokens: list[_Token], at: int) -> int | None:
    """The number a token says, when it is under 18 or a late birth year; "two" of "forty-two" says none."""
    text = tokens[at].text
    if text.isdigit():
        digits = text.lstrip("0") or "0"
        return int(digits) if len(digits) <= 4 else None
    number = words.NUMBERS.get(text)
    tens = [token.text for token in tokens[max(0, at - 2) : at] if token.text != "-"][-1:]
    return None if tens and tens[0] in words.TENS else number


def _reads_as_minor_age(tokens: list[_Token], at: int, number: int, *, technical: bool) -> bool:
    before = [token.text for token in tokens[max(0, at - 4) : at] if token.text not in words.JOINERS]
    after = [token.text for token in tokens[at + 1 : at + 6] if token.text not in words.JOINERS]
    if number >= words.FIRST_MINOR_BIRTH_YEAR and "born" in before:
        return True
    if number >= MIN_AGE:
        return False
    following, preceding = [*after, ""][0], ["", *before][-1]
    if following in words.AGE_UNITS or following in words.TIME_UNITS:
        return _age_unit_follows(following, after[1:])
    if following in words.ORDINAL_ENDINGS and tokens[at + 1].glued:
        return bool(words.BIRTHDAYS.intersection(after[1:2]))
    if _follows_age_word(before):
        return True
    if technical or following in words.COUNTED or preceding in words.NUMBERED:
        return False
    if number >= 10:
        return True
    spelled_one = tokens[at].text == "one"
    ends = following in words.SENTENCE_GOES_ON
    return ends and not spelled_one and (preceding in words.AGE_LEADS or _stands_alone(tokens, at))


def _follows_age_word(before: list[str]) -> bool:
    """Whether "age", "aged" or "turned" leads to the number, directly or over fillers: "age of about 12"."""
    leading = list(before)
    while leading and leading[-1] in words.AGE_FILLERS:
        leading.pop()
    return bool(leading) and leading[-1] in words.AGE_WORDS


def _age_unit_follows(unit: str, rest: list[str]) -> bool:
    """Whether "12 <unit> <rest>" tells an age: "12 years old" does, "12 years of experience" and "12 days" do not."""
    if unit in words.AGE_UNITS:
        return True
    if (rest and rest[0] in {"old", "young"}) or rest[:2] == ["of", "age"]:
        return True
    return unit in words.YEARS and (not rest or rest[0] not in words.AFTER_A_SPAN)


def _stands_alone(tokens: list[_Token], at: int) -> bool:
    """Whether only punctuation or the text's end surrounds a number, as in "woman, 8, smiling"."""
    left = at == 0 or not (tokens[at - 1].text.isalnum() or (tokens[at - 1].text in "-_" and tokens[at - 1].glued))
    right = at + 1 == len(tokens) or not tokens[at + 1].text.isalnum()
    return tokens[at].text.isdigit() and left and right
