"""The word lists of the safety screen.

Belongs here: data only, each list with what it is for. The rules that read them are in `safety`.
All entries are normalised: lower case a-z. A term blocks as a whole word, never as a part of one ("kidney" passes).
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WAYS_OUT: Final = {
    "minor_term": "Describe an adult: write 'woman' or 'man', and leave out every word for a minor.",
    "school_role": "Describe an adult: leave out school roles and uniforms.",
    "age_under_18": "Leave out numbers that can be read as an age under 18; the age comes from the config.",
    "too_long": "Shorten it to 20,000 characters.",
    "unreadable": "Write it in Latin letters, without control characters.",
}

# Nouns and adjectives for minors. "girl" and "boy" are among them: prompts say "woman" and "man".
MINOR_TERMS: Final = _words("""
    child children childlike childish kid kids kiddo kiddie kiddies minor minors underage underaged juvenile juveniles
    teen teens teenage teenaged teenager teenagers teeny preteen preteens tween tweens adolescent adolescents
    adolescence pubescent prepubescent prepubertal puberty toddler toddlers infant infants newborn newborns baby babies
    babyface babyfaced youngster youngsters youth youths youthful girl girls girly girlish boy boys boyish loli lolis
    lolita lolicon shota shotas shotacon jailbait nymphet schoolage
    """)
SCHOOL_TERMS: Final = _words("""
    schoolgirl schoolgirls schoolboy schoolboys schoolkid schoolkids schoolchild schoolchildren schooler schoolers
    highschool highschooler highschoolers preschool preschooler preschoolers kindergarten kindergartner kindergartener
    kindergarteners cheerleader cheerleaders sophomore seifuku
    """)
# Written apart, two tokens make one blocked word: "pre teen", "under-age".
COMPOUNDS: Final = frozenset({"preteen", "underage", "underaged", "jailbait", "babyface", "babyfaced", "lolicon"})
PHRASES: Final = {
    **dict.fromkeys(
        ["high school", "middle school", "elementary school", "primary school", "grade school", "secondary school"],
        "school_role",
    ),
    **dict.fromkeys(["junior high", "nursery school", "school uniform", "school student", "school age"], "school_role"),
    **dict.fromkeys(["first grader", "school skirt", "student uniform", "school outfit"], "school_role"),
    **dict.fromkeys(["very young", "too young", "so young", "looks young", "looking young"], "minor_term"),
    **dict.fromkeys(["young looking", "young body", "young face", "not adult", "sweet sixteen"], "minor_term"),
    **dict.fromkeys(["not an adult", "under eighteen", "not yet eighteen", "below eighteen"], "age_under_18"),
    **dict.fromkeys(["younger than eighteen", "almost eighteen", "nearly eighteen"], "age_under_18"),
}
STUDENT: Final = frozenset({"student", "students"})
ADULT_STUDENT: Final = frozenset(
    {"university", "college", "graduate", "postgraduate", "phd", "medical", "law", "doctoral"}
)
HARMLESS_AFTER: Final[dict[str, frozenset[str]]] = {
    "baby": frozenset({"blue", "pink"}),
    "minor": frozenset({"scar", "scars", "detail", "details", "key", "chord", "flaw", "flaws", "imperfections"}),
}
SPELLABLE: Final = (*sorted(term for term in MINOR_TERMS | SCHOOL_TERMS if len(term) >= 4), "kid", "boy")
MINOR_EMOJI: Final = frozenset("\U0001f476\U0001f467\U0001f466\U0001f9d2")  # baby, girl, boy, child

# Leetspeak; "1" is tried as i and as l by the screen itself.
LEET: Final = str.maketrans({"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i"})
# Cyrillic and Greek letters that look Latin.
LOOK_ALIKES: Final = str.maketrans(
    dict(
        zip(
            "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u0501\u043a\u043c\u0442\u043d",
            "aeopcxyijsdkmth",
            strict=True,
        )
    )
    | dict(zip("\u03b1\u03b5\u03bf\u03c1\u03c7\u03b9\u03ba\u03bd\u03c4\u03c5", "aeopxikvtu", strict=True))
    | {
        "\u0131": "i",
        "\xf8": "o",
        "\u0142": "l",
        "\u0111": "d",
        "\xf0": "d",
        "\xe6": "ae",
        "\u0153": "oe",
        "\xfe": "th",
    }
    | {"\u2019": "'", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\u2044": "/"}
)

_WORDED = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
NUMBERS: Final = {word: n for n, word in enumerate(_WORDED.split(), start=1)}
TEEN_NUMBERS: Final = frozenset(word for word, n in NUMBERS.items() if n > 10)
TENS: Final = frozenset({"twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"})
FIRST_MINOR_BIRTH_YEAR: Final = 2009  # under 18 in 2026; the passing of time only makes it stricter

JOINERS: Final = frozenset({"-", ".", "'", ":", "=", "~", "_", "+"})  # skipped between a number and its neighbour
AGE_UNITS: Final = frozenset({"yo", "yos", "yrs", "yr", "y", "yearold", "yearolds", "summers", "winters", "birthday"})
YEARS: Final = frozenset({"year", "years"})
TIME_UNITS: Final = YEARS | {"month", "months", "week", "weeks", "day", "days"}
AFTER_A_SPAN: Final = _words(
    "of ago in later as experience together abroad since before after with on at for now running"
)
AGE_WORDS: Final = frozenset({"age", "aged", "ages", "turned", "turning", "turns"})
AGE_LEADS: Final = _words(
    "is am was be shes hes im s m looks look looking only just nearly almost barely around about under below"
)
# Between an age word and its number: "age of about 12", "aged only 15".
AGE_FILLERS: Final = _words("of is was about around only just like to at under below a approx than ( group range s")
ORDINAL_ENDINGS: Final = frozenset({"st", "nd", "rd", "th"})
BIRTHDAYS: Final = frozenset({"birthday", "bday", "grade", "grader", "graders"})
# What may be counted, or measured: a number before one of these is no age.
COUNTED: Final = _words("""
    mm cm km ft feet inch inches kg lb lbs mp megapixel megapixels px pixel pixels k sec secs second seconds
    ms min mins minute minutes hour hours hz fps ev iso am pm percent bit stops degrees
    image images picture pictures photo photos shot shots frame frames option options take takes lens lenses panel
    tattoo tattoos piercing piercings ring rings cat cats dog dogs horse horses plant plants tree trees flower flowers
    country countries city cities language languages book books film films marathon marathons step steps times people
    persons adults women men friends sisters brothers light lights candle candles
    table tables chair chairs window windows button buttons floor floors storey stories mile miles
    """)
# What is numbered: a number after one of these is no age.
NUMBERED: Final = _words("""
    iso no number nr version v option take shot seed size chapter part scene level stage room floor table apartment
    channel formula route highway gate track january february march april june july august september october november
    december top
    """)
# The words (or the end) after "is 8" that make it an age, where "is 8 steps away" is none.
SENTENCE_GOES_ON: Final = _words(
    ", ; ! ? ( ) / and with but or in at on who wearing has having smiling that which as from now today soon"
) | {""}
