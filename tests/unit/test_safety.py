"""What must never get past the safety screen, and what it must not block."""

import hashlib
import unicodedata

import pytest

from ryla_assets.domain import safety, safety_languages, safety_number_words, safety_words
from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety import MAX_TEXT, MINOR_SAFETY_NEGATIVE, adult_phrase, block_record, screen
from ryla_assets.domain.safety_fold import MAX_GROWTH, Unread, fold
from ryla_assets.domain.safety_text import MAX_NUMBERS, read
from ryla_assets.prompts.catalogue import catalogue
from tests.unit.safety_sets import DOCS, FOLDER, SETS, Case, cases, code_of, rewrite, wrong

TABLE = cases("table")
CODES = {
    "age": {"age_under_18", "minor_term"},
    "minor": {"minor_term", "age_under_18", "school_role"},
    "school": {"school_role", "minor_term"},
    "person": {"real_person"},
    "unread": {"unreadable"},
}
# sha256 of the held-out sets. Whoever changes one makes its numbers worthless: they would no longer be of unseen texts.
HELD_OUT_SHA256 = {
    "held_out": "9b2624626f356ca490dbad336afd32f3f89fa4e3368ec890a875b25f41b20732",
    "held_out_2": "ecedbe132635c1d84db0c8de48d676d8e1d9921143407e5e36fdaba5b5e041f9",
}


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.language}-{case.kind}-{case.text!a}")
def test_table(case: Case) -> None:
    """Each text of the table is blocked or passes as it must, for a reason of its kind."""
    code = code_of(case.text)
    assert bool(code) == case.must_block
    if case.must_block and case.kind in CODES:
        assert code in CODES[case.kind]


def test_table_is_large_and_has_no_text_twice() -> None:
    """At least 300 texts, both directions well filled."""
    texts = [case.text for case in TABLE]
    assert len(set(texts)) == len(texts) >= 300
    assert min(sum(case.must_block for case in TABLE), sum(not case.must_block for case in TABLE)) >= 100


@pytest.mark.parametrize("name", HELD_OUT_SHA256)
def test_held_out_set_was_not_touched_and_shares_no_text_with_another(name: str) -> None:
    """Its numbers are of texts that no rule was made for."""
    assert hashlib.sha256((FOLDER / f"{name}.tsv").read_bytes()).hexdigest() == HELD_OUT_SHA256[name]
    others = {case.text for other in SETS if other != name for case in cases(other)}
    assert not {case.text for case in cases(name)} & others
    assert len(cases(name)) >= 100


def test_published_numbers_are_a_fresh_count() -> None:
    """docs/safety.md says what the screen does today; count anew: python -m tests.unit.safety_sets"""
    document = DOCS.read_text(encoding="utf-8")
    assert document == rewrite(document)


@pytest.mark.parametrize("name", HELD_OUT_SHA256)
def test_held_out_rates_do_not_rot(name: str) -> None:
    """A change that lets a tenth of unseen texts through, or blocks a tenth of harmless ones, is no improvement."""
    every, missed = cases(name), wrong(name)
    for must in (True, False):
        assert 10 * sum(c.must_block is must for c in missed) < sum(c.must_block is must for c in every)


@pytest.mark.parametrize("text", ["woman\x00", "chi\x07ld", "\ud83d", "\ue000", "&amp;amp;amp;amp;#99;hild", "\ufdfa"])
def test_text_that_cannot_be_read_is_refused(text: str) -> None:
    """Controls, halves of characters, private characters, escapes in escapes in escapes, one sign for a sentence."""
    assert code_of(text) == "unreadable"


@pytest.mark.parametrize(
    "text", ["\\u0063hild", "\\x63hild", "%63%68ild", "&#99;&#104;ild", "&amp;#99;hild", "te%E2%80%8Ben"]
)
def test_escaped_word_is_read(text: str) -> None:
    """Whoever renders the text later may undo its escapes."""
    assert code_of(text) == "minor_term"


@pytest.mark.parametrize("text", ["50% off", "100% wool & silk", "C:\\photos", "R&B singer", "AT&T tower", "%fabric"])
def test_sign_of_an_escape_by_itself_is_harmless(text: str) -> None:
    """A percent sign, an ampersand and a backslash are punctuation."""
    assert code_of(text) == ""


def test_long_text_is_refused_unread() -> None:
    """Over the limit there is no screening, only refusal."""
    assert code_of("a" * (MAX_TEXT + 1)) == "too_long"
    assert code_of("woman " * (MAX_TEXT // 6)) == ""


def test_text_full_of_numbers_is_refused() -> None:
    """Each number costs a look around: a bound on them is a bound on the work."""
    assert code_of("8 images " * MAX_NUMBERS) == ""
    assert code_of("8 images " * (MAX_NUMBERS + 1)) == "too_many_numbers"
    assert code_of("two images " * (MAX_NUMBERS + 1)) == "too_many_numbers"


def test_pile_of_marks_is_gone_before_normalising() -> None:
    """Unicode sorts marks in quadratic time; what is normalised has none to sort."""
    pile = "a" + "\u0323\u0301" * 4000
    assert read(pile).plain == "a"
    assert read("te" + "\u0323\u0301" * 400 + "en").words == ["teen"]


@pytest.mark.parametrize("sign", ["\u3316", "\ufb03", "\u3326"])
def test_text_that_unfolds_is_bounded(sign: str) -> None:
    """A character may stand for eighteen; a text may not grow beyond a small factor."""
    try:
        assert len(read(sign * 5000).plain) <= MAX_GROWTH * 5000 + 100
    except Unread:
        assert len(unicodedata.normalize("NFKC", sign)) > MAX_GROWTH


def test_error_tells_the_way_out_and_never_the_text() -> None:
    """The blocked text appears nowhere in the error; field, code and cure do."""
    with pytest.raises(UnsafeText) as caught:
        screen("a gothic teen named Zelda", field="details")
    told = f"{caught.value} {caught.value.as_dict()}"
    assert "Zelda" not in told
    assert "teen" not in told
    assert (caught.value.field, caught.value.value) == ("details", "minor_term")
    assert "Describe an adult" in caught.value.way_out


def test_audit_record_names_the_text_by_its_hash_alone() -> None:
    """The same text gives the same record, another text another; neither can be read in it."""
    records = []
    for text in ("a teen", "a teen", "a kid", "half a character: \ud83d"):
        with pytest.raises(UnsafeText) as caught:
            screen(text, field="bio")
        records.append(block_record(caught.value))
    first, again, other, broken = records
    digest = hashlib.sha256(b"a teen").hexdigest()
    assert first == {"field": "bio", "reason": "minor_term", "text_sha256": digest, "screen": safety.VERSION}
    assert first == again
    assert len({first["text_sha256"], other["text_sha256"], broken["text_sha256"]}) == 3


def test_every_code_has_a_way_out() -> None:
    """A code without words would be a KeyError in front of a person."""
    codes = {
        *safety_words.PHRASES.values(),
        *safety_languages.PHRASES.values(),
        *(c for cs in CODES.values() for c in cs),
    }
    assert codes | {"too_long", "too_many_numbers"} == set(safety_words.WAYS_OUT)


def test_lists_are_written_as_they_are_read() -> None:
    """An entry that folding would change could never match."""
    entries = safety_words.MINOR_TERMS | safety_words.SCHOOL_TERMS | safety_languages.MINORS | safety_languages.SCHOOL
    assert [entry for entry in entries if read(entry).words != [entry]] == []
    for phrase in {**safety_words.PHRASES, **safety_languages.PHRASES}:
        assert read(phrase).words == phrase.split()
    assert all(fold(word) == word for word in safety_words.NUMBERS | safety_number_words.NUMBERS)


def test_own_catalogue_passes_the_screen() -> None:
    """No positive text that we ship is one that we block."""
    for section, entries in catalogue().sections.items():
        if section != "negative":
            for entry in entries.values():
                screen(entry.text, field=section)


@pytest.mark.parametrize(
    ("age", "gender", "phrase"),
    [
        (18, "female", "21-year-old adult woman"),
        (20, "male", "21-year-old adult man"),
        (21, "male", "21-year-old adult man"),
        (34, "female", "34-year-old adult woman"),
    ],
)
def test_young_adult_is_worded_clearly_adult(age: int, gender: str, phrase: str) -> None:
    """The wording is never under 21, and always says adult."""
    assert adult_phrase(age, gender) == phrase


def test_adult_phrase_refuses_a_minor() -> None:
    """Even past every validation no phrase exists for a minor."""
    with pytest.raises(ValueError, match="adults only"):
        adult_phrase(17, "female")


def test_adult_phrase_and_catalogue_say_the_same() -> None:
    """The phrase ends in the catalogue's words, which the preview reads."""
    for gender in safety.NOUNS:
        assert adult_phrase(30, gender).endswith(catalogue().text("gender", gender))


def test_minor_safety_negative_is_itself_blocked_in_positives() -> None:
    """Each word that keeps minors out of a picture is one that no positive prompt may carry."""
    for word in MINOR_SAFETY_NEGATIVE.split(", "):
        assert code_of(word)
