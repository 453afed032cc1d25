"""What must never get past the safety screen, and what it must not block."""

import contextlib
import time

import pytest

from ryla_assets.domain import safety
from ryla_assets.domain.errors import UnsafeText
from ryla_assets.domain.safety import MINOR_SAFETY_NEGATIVE, adult_phrase, screen
from ryla_assets.prompts.catalogue import catalogue

HARMLESS = [
    *("8 images", "35mm lens", "shot at 1/16 s", "iso 16", "16:9", "f/1.4", "f/16", "16 mm lens", "16-35mm zoom"),
    *("85mm f/1.8 at 1/125 s", "aperture is 1.4", "4k photo, 8k uhd", "version 2.1, 1024x1024", "16 megapixels"),
    *("34-year-old adult woman", "a 21-year-old adult man", "forty-two, loves two cats", "twenty-seven", "5'11 tall"),
    *("12 years of experience as a photographer", "10 days in Rome", "size 8 shoes", "one of the best", "ten shots"),
    *("baby blue dress", "a minor scar on the chin", "the 16th century castle", "cowboy boots, boyfriend jeans"),
    *(
        "open 24/7",
        "since childhood",
        "dilated pupils",
        "university student of law",
        "kidney beans",
        "old-school music",
    ),
    *("two hands, three buttons", "8 candles, and 12 chairs", "young adult woman", "3 tattoos", "in 2012 she moved"),
    *("at the age of 30 she had 2 cats", "age 30, 2 cats", "middle-aged woman with 3 tattoos", "Søren Łukasz", "Zoë"),
    *("mara_lind", "mara-lind-2", "naïve café", "U S A", "", "   "),
]
AGES = [
    *("17", "seventeen", "17yo", "age 12", "aged 16", "age: 15", "she is 8", "woman, 8, smiling", "12 years old"),
    *(
        "sixteen year old",
        "16-year-old",
        "15 y/o",
        "13 yrs",
        "14 y.o.",
        "she turned 16",
        "12th birthday",
        "17.",
        "(16)",
    ),
    *("16-17 years", "ages 12-15", "nine years old", "she is nine", "looks fifteen", "barely 16 and pretty", "17f"),
    *("born in 2012", "6 months old", "17 years", "she's 17", "16, blonde", "5 year-old", "age of eleven", "17 m"),
    *("16/17 years old", "a 16.5 year old", "she's 16/17", "she is 16.5", "17°", "under eighteen", "ages of 16 to 20"),
    *("１７", "١٧", "s3v3nteen", "00017", "aged about 15", "age group 12", "she is 16 in this", "twelve"),
]
MINORS = [
    *("kid", "baby", "minor", "teen", "preteen", "pre teen", "under age", "under-age", "loli", "girl", "boy", "1girl"),
    *("ch1ld", "t33n", "k1ds", "l0li", "1oli", "c h i l d", "c-h-i-l-d", "ch-ild", "b o y", "CHILD", "Children's"),
    *("𝓉𝑒𝑒𝓃", "te\u200ben", "tëen", "t\u0435en", "a girl of 30", "very young woman", "young-looking", "\U0001f467"),
]
SCHOOL = [
    *("schoolgirl", "school girl's uniform", "school-age", "SCHOOL_UNIFORM", "sch00lgirl", "s c h o o l g i r l"),
    *("high school", "student", "student uniform", "cheerleader", "kindergarten"),
]


def code_of(text: str) -> str:
    with pytest.raises(UnsafeText) as caught:
        screen(text, field="bio")
    return str(caught.value.value)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_not_blocked(text: str) -> None:
    """Lenses, shutter speeds, counts, adult ages and everyday words pass."""
    screen(text, field="bio")


@pytest.mark.parametrize("text", AGES)
def test_age_under_18_is_blocked_however_written(text: str) -> None:
    """Digits, words, units, birthdays, birth years, other scripts' digits, leetspeak."""
    assert code_of(text) in {"age_under_18", "minor_term"}


@pytest.mark.parametrize("text", MINORS)
def test_word_for_a_minor_is_blocked_however_spelled(text: str) -> None:
    """Plain, leetspeak, separators, single letters, accents, look-alikes, invisible letters, emoji."""
    assert code_of(text) == "minor_term"


@pytest.mark.parametrize("text", SCHOOL)
def test_school_role_is_blocked(text: str) -> None:
    """School roles and uniforms have no place on an adult character."""
    assert code_of(text) in {"school_role", "minor_term"}


@pytest.mark.parametrize("text", ["девочка", "少女", "woman\x00", "chi\x07ld", "\ud83d"])
def test_text_that_cannot_be_read_is_refused(text: str) -> None:
    """The screen reads English in Latin letters: what it cannot read it does not pass."""
    assert code_of(text) == "unreadable"


def test_long_text_is_refused_unread() -> None:
    """Over 20,000 characters there is no screening, only refusal."""
    assert code_of("adult woman " * 2000) == "too_long"


@pytest.mark.parametrize(
    "hostile",
    ["9" * 20_000, "1 " * 10_000, "a " * 10_000, "1/" * 10_000, "a1" * 10_000, "-" * 20_000, "minor " * 3_333],
)
def test_hostile_text_costs_no_time(hostile: str) -> None:
    """The worst texts of the full length stay linear: measured 0.2 s, where a quadratic rule takes minutes."""
    started = time.perf_counter()
    with contextlib.suppress(UnsafeText):
        screen(hostile, field="bio")
    assert time.perf_counter() - started < 3


def test_error_tells_the_way_out_and_never_the_text() -> None:
    """The blocked text appears nowhere in the error; field, code and cure do."""
    with pytest.raises(UnsafeText) as caught:
        screen("a gothic teen named Zelda", field="details")
    told = f"{caught.value} {caught.value.as_dict()}"
    assert "Zelda" not in told
    assert "teen" not in told
    assert (caught.value.field, caught.value.value) == ("details", "minor_term")
    assert "Describe an adult" in caught.value.way_out


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
