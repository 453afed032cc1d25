"""The safety screen: which texts may never reach a prompt, and the adult wording that every prompt carries.

Belongs here: the screen itself, the term rules, the adult phrase. Does not belong here: reading a text
(`safety_text`), ages (`safety_age`), real people (`safety_person`), the lists (`safety_words`, `safety_languages`),
judging pictures (`ryla_assets/checks/`), ratings and routes (`routing`).

The screen fails closed: a text it cannot clear is blocked with a reason code, and the text is never repeated, only its
hash. Which languages it reads, how often it is wrong, and what gets past it: docs/safety.md. Everything is linear in
the length of the text; tests/bench/screen.py measures it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Final

from ryla_assets.domain import safety_languages as languages
from ryla_assets.domain import safety_words as words
from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety_age import says_minor
from ryla_assets.domain.safety_east_asian import term_reason
from ryla_assets.domain.safety_fold import ARABIC, EAST_ASIAN, Unread, fold
from ryla_assets.domain.safety_person import DenyList, names_real_person
from ryla_assets.domain.safety_text import Reading, TooManyNumbers, read

MIN_AGE: Final = 18
MIN_WORDED_AGE: Final = 21  # models draw "18-year-old" younger than it says: a margin that costs nothing
MAX_TEXT: Final = 8_000  # characters; fields hold 500, prompts 2,000; longer is refused unread
MINOR_SAFETY_NEGATIVE: Final = "child, minor, underage, teenager, childlike, young-looking"
VERSION: Final = 3  # of the rules and lists; stands in the audit trail

NOUNS: Final = {"female": "woman", "male": "man"}

_TERMS: Final = (
    dict.fromkeys(words.SCHOOL_TERMS | languages.SCHOOL, "school_role")
    | dict.fromkeys(words.MINOR_TERMS | languages.MINORS, "minor_term")
)  # fmt: skip
_TERM_SET: Final = frozenset(_TERMS)
_ENGLISH: Final = words.MINOR_TERMS | words.SCHOOL_TERMS | words.TEEN_NUMBERS
_SPELLABLE: Final = (*sorted(term for term in _ENGLISH if len(term) >= 4), "kid", "boy")
_JOINABLE: Final = (
    frozenset(term for term in _ENGLISH if len(term) >= 4)
    | frozenset(term for term in languages.MINORS | languages.SCHOOL if len(term) >= 6)
    | words.COMPOUNDS
) - words.NEVER_JOINED

_HEADS: Final = frozenset(term[:length] for term in _JOINABLE for length in range(1, len(term)))


def _without_doubles(word: str) -> str:
    return word[:1] + "".join(letter for before, letter in pairwise(word) if letter != before)


def _with_gaps(terms: Iterable[str]) -> Iterator[str]:
    """How a word looks with one letter hidden inside, or two if it is long: "ch?ld", "m?n?r"."""
    for term in terms:
        for hidden in range(1, 3 if len(term) > 4 else 2):
            for places in combinations(range(1, len(term) - 1), hidden):
                yield "".join("?" if at in places else letter for at, letter in enumerate(term))


_INITIALS = re.compile(rf"\b{words.INITIALS}\b")
_STRETCHED: Final = frozenset(once for term in _ENGLISH if len(once := _without_doubles(term)) >= 3)
_HIDDEN: Final = frozenset(_with_gaps(term for term in _ENGLISH if 4 <= len(term) <= 12))
_STEMS: Final = languages.by_first_letters(languages.STEMS, 4)
_STEM_STARTS: Final = frozenset(_STEMS)
_SHORT_STEMS: Final = tuple(languages.SHORT_STEMS)
_PHRASES: Final = words.PHRASES | languages.PHRASES
_PHRASE_FIRSTS: Final = frozenset(phrase.split()[0] for phrase in _PHRASES)
_PHRASE_STARTS: Final = frozenset(tuple(phrase.split()[:2]) for phrase in _PHRASES)
_UNACCENTED: Final = frozenset(map(fold, languages.ACCENTED))
_LONGEST_PHRASE: Final = max(phrase.count(" ") + 1 for phrase in _PHRASES)


def adult_phrase(age: int, gender: str) -> str:
    """The words that make a prompt's person an adult: "34-year-old adult woman"; never words an age under 21.

    Raises ValueError below 18 and KeyError on an unknown gender: a validated config has neither.
    """
    if age < MIN_AGE:
        raise ValueError("RYLA draws adults only: age must be 18 or more")
    return f"{max(age, MIN_WORDED_AGE)}-year-old adult {NOUNS[gender]}"


def screen(text: str, *, field: str, denied: DenyList | None = None) -> None:
    """Pass `text`, or raise UnsafeText whose `value` is a reason code and whose `sha256` names the text.

    Codes: too_long, unreadable, too_many_numbers, minor_term, school_role, age_under_18, real_person. `denied` holds
    names of real people that no text may carry, besides the wordings that are blocked without it.
    """
    code = reason_against(text, denied)
    if code:
        raise blocked(text, code, field=field)


def blocked(text: object, code: str, *, field: str, fault: str = "", way_out: str = "") -> UnsafeText:
    """The error for a text that the screen blocks for `code`; `fault` says what else is wrong with it."""
    return UnsafeText(
        f"{fault} blocked by the safety screen ({code}).".lstrip(),
        field=field,
        value=code,
        way_out=way_out or words.WAYS_OUT[code],
        sha256=text_hash(str(text)),
    )


def text_hash(text: str) -> str:
    """sha256 (hex) of a blocked text in UTF-8: tells two blocks of one text as the same, and shows nothing of it.

    A short text can be guessed from its hash by trying; keep the audit trail as private as the registry.
    """
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def block_record(error: UnsafeText) -> dict[str, str | int]:
    """What the audit trail keeps of a block: field, reason code, the text's sha256, the version of the screen."""
    return {"field": error.field, "reason": str(error.value), "text_sha256": error.sha256, "screen": VERSION}


def reason_against(text: str, denied: DenyList | None = None) -> str:
    """The code of the first rule that blocks a text, or an empty string."""
    if len(text) > MAX_TEXT:
        return "too_long"
    if not text.isascii() and not words.MINOR_EMOJI.isdisjoint(text):
        return "minor_term"
    try:
        reading = read(text)
        code = _term_reason(reading)
        if not code and says_minor(reading):
            code = "age_under_18"
    except Unread:
        return "unreadable"
    except TooManyNumbers:
        return "too_many_numbers"
    return code or ("real_person" if names_real_person(reading, denied) else "")


def _term_reason(reading: Reading) -> str:
    """The code of the first blocked word or phrase, however it is spelled; else an empty string."""
    spelled = reading.all_words
    for word in sorted(_TERM_SET & spelled):
        if not _harmless_use(word, reading):
            return _TERMS[word]
    if not _UNACCENTED.isdisjoint(spelled) and not languages.ACCENTED.isdisjoint(reading.accented()):
        return "minor_term"
    if not words.TEEN_NUMBERS.isdisjoint(spelled.difference(reading.words)):
        return "age_under_18"  # a number spelled in leetspeak: nobody writes a lens that way
    if _is_disguised(reading) or _begins_as_term(spelled):
        return "minor_term"
    if _names_pupil(reading):
        return "school_role"
    return _phrase_reason(reading) or _other_scripts(reading)


def _names_pupil(reading: Reading) -> bool:
    """Whether initials or a German compound say so: "JK", "Grundschülerin", but not "Hochschülerin"."""
    if words.INITIALS in reading.cased and _INITIALS.search(reading.cased):
        return True
    if languages.PUPIL not in reading.plain:
        return False
    return any(languages.PUPIL in word and not word.startswith(languages.NO_PUPIL) for word in reading.all_words)


def _is_disguised(reading: Reading) -> bool:
    """Whether a blocked word is stretched, spelled in single letters, hidden behind signs, or cut in two."""
    if not _STRETCHED.isdisjoint(reading.squeezed) or not _HIDDEN.isdisjoint(reading.hidden):
        return True
    if any(len(run) > 3 and run.isascii() and any(term in run for term in _SPELLABLE) for run in reading.runs):
        return True  # three letters that spell a word stand among the words
    return any(map(_is_cut, reading.orders))


def _is_cut(told: list[str]) -> bool:
    """Whether two words side by side are one blocked word: "chi ld"; some stand side by side by themselves."""
    heads = [at for at, word in enumerate(told[:-1]) if word in _HEADS]
    return any(
        told[at] + told[at + 1] in _JOINABLE
        and not _side_by_side((told[at], told[at + 1]), [*told[at - 1 : at], *told[at + 2 : at + 3]])
        for at in heads
    )


def _side_by_side(halves: tuple[str, str], near: list[str]) -> bool:
    harmless = words.SIDE_BY_SIDE.get(halves)
    return harmless is not None and (not harmless or not harmless.isdisjoint(near))


def _begins_as_term(spelled: frozenset[str]) -> bool:
    likely = [word for word in spelled if word[:4] in _STEM_STARTS]
    return any(word.startswith(_STEMS[word[:4]]) for word in likely)


def _harmless_use(word: str, reading: Reading) -> bool:
    """Whether every use of a blocked word is a fixed harmless one, such as "baby blue"."""
    after, before = words.HARMLESS_AFTER.get(word), words.HARMLESS_BEFORE.get(word)
    if after is None and before is None:
        return False
    uses = 0
    for told in reading.orders:
        for at, found in enumerate(told):
            if found == word:
                uses += 1
                following, preceding = [*told[at + 1 : at + 2], ""][0], ["", *told[max(0, at - 1) : at]][-1]
                ending = tuple(told[at : at + 3]) in words.HARMLESS_ENDINGS
                if not (ending or following in (after or ()) or preceding in (before or ())):
                    return False
    return uses > 0


def _phrase_reason(reading: Reading) -> str:
    for told in reading.orders:
        for at in [at for at, word in enumerate(told[:-1]) if word in _PHRASE_FIRSTS]:
            code = _phrase_at(told, at)
            if code:
                return code
        if not words.STUDENT.isdisjoint(told):
            for at, word in enumerate(told):
                if word in words.STUDENT and not _studies_as_adult(told[max(0, at - 2) : at]):
                    return "school_role"
    return ""


def _studies_as_adult(before: list[str]) -> bool:
    """Whether the words before "student" make it one of a university: "law student", "law school student"."""
    if before[-1:] == ["school"]:
        return not words.ADULT_SCHOOLS.isdisjoint(before[:-1])
    return not words.ADULT_STUDENT.isdisjoint(before[-1:])


def _phrase_at(told: list[str], at: int) -> str:
    if (told[at], told[at + 1]) not in _PHRASE_STARTS:
        return ""
    for length in range(2, _LONGEST_PHRASE + 1):
        code = _PHRASES.get(" ".join(told[at : at + length]), "")
        if code and not (code == "school_role" and _school_of_adults(told, at)):
            return code
    return ""


def _school_of_adults(told: list[str], at: int) -> bool:
    """Whether a phrase is of a teacher or of adult students: "high school teacher", "law school student"."""
    if not words.ADULT_AFTER_SCHOOL.isdisjoint(told[at + 2 : at + 3]):
        return True
    return told[at + 1] in words.STUDENT and _studies_as_adult(told[max(0, at - 1) : at + 1])


def _other_scripts(reading: Reading) -> str:
    """Words of languages that write no spaces, or write the article into the word."""
    if reading.plain.isascii():
        return ""
    if any(word.startswith(_SHORT_STEMS) for word in reading.all_words):
        return "minor_term"
    if ARABIC.search(reading.plain) and any(term in word for word in reading.all_words for term in languages.ARABIC):
        return "minor_term"
    return term_reason(reading.words) if EAST_ASIAN.search(reading.plain) else ""
