"""The word lists of the safety screen: English, and what all languages share.

Belongs here: data only, each list with what it is for. Does not belong here: other languages (`safety_languages`), the
rules that read the lists (`safety`, `safety_age`, `safety_person`).
All entries are folded: lower case a-z. A term blocks as a whole word, never as a part of one ("kidney" passes).
"""

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())


WAYS_OUT: Final = {
    "minor_term": "Describe an adult: write 'woman' or 'man', and leave out every word for a minor.",
    "school_role": "Describe an adult: leave out school roles and uniforms.",
    "age_under_18": "Leave out numbers that can be read as an age under 18; the age comes from the config.",
    "real_person": "Describe features of your own, not a person who exists.",
    "too_long": "Shorten it to 8,000 characters.",
    "too_many_numbers": "Leave most of the numbers out.",
    "unreadable": "Write it in English or another language of docs/safety.md, without control characters.",
}

# Nouns and adjectives for minors. "girl" and "boy" are among them: prompts say "woman" and "man".
MINOR_TERMS: Final = words("""
    child children childlike childish childs kid kids kiddo kiddos kiddie kiddies kiddy minor minors underage
    underaged
    juvenile juveniles teen teens teenz teenage teenaged teenager teenagers teenie teenies teeny teenybopper
    teenyboppers
    tenager teeneger teenagey preteen preteens tween tweens tweenie adolescent adolescents adolescence pubescent
    prepubescent prepubertal puberty toddler toddlers toddlerhood infant infants infantile newborn newborns
    baby babies
    babyface babyfaced babygirl babyboy youngster youngsters youngling younglings youth youths youthful girl
    girls girly
    girlie girlies girlish girlchild gurl gurls grl girlz boy boys boyish boyz kidz manchild childe lass lasses lassie
    lassies laddie laddies loli lolis lolita lolitas lolicon shota shotas shotacon jailbait nymphet nymphets schoolage
    chibi shoujo shojo bishoujo bishojo shounen shonen bishounen bishonen youngest orphan orphans diaper diapers
    pacifier pacifiers daughter daughters quinceanera moppet tots
    """) | {noun + end for noun in words("child kid teen girl boy baby infant toddler") for end in ("like", "ish")}
SCHOOL_TERMS: Final = words("""
    schoolgirl schoolgirls schoolboy schoolboys schoolkid schoolkids schoolchild schoolchildren schooler schoolers
    schoolmate schoolmates schoolyard schoolbag highschool highschooler highschoolers preschool preschooler
    preschoolers kindergarten kindergartner kindergartener kindergarteners cheerleader cheerleaders sophomore
    sophomores
    freshman seifuku serafuku gakuran randoseru kogal pupil prom homeroom playground daycare
    """)
INITIALS: Final = "JK"  # Japanese slang for a pupil of a high school; "jk" and "J. K." are other things
# Two words that are one blocked word written apart; so are the halves of any term of four letters and more.
COMPOUNDS: Final = words("preteen underage underaged jailbait babyface babyfaced lolicon")
# Words of other languages whose halves are words: "chic as", "gut ten", "kind er".
NEVER_JOINED: Final = words("chicas kinder kindes gutten")
# Halves that stand side by side by themselves: with one of these words before or after; with none named, always.
SIDE_BY_SIDE: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("min", "or"): frozenset(), ("shot", "a"): frozenset(), ("lol", "i"): frozenset(), ("lol", "is"): frozenset(),
    ("pro", "m"): frozenset(), ("child", "s"): frozenset(), ("daughter", "s"): frozenset(),
    ("high", "school"): frozenset(),
    ("te", "en"): words("un el del de su mi con toma tomar tomando bebe bebiendo"),  # Spanish: tea in
    ("tee", "n"): words("jeans shorts trousers pants leggings skirt boots sneakers"),  # a tee 'n' jeans
    ("t", "een"): words("in met van op aan bij uit voor of en"),  # Dutch: 't een
}  # fmt: skip
_SCHOOLS = "high middle elementary primary grade secondary junior grammar boarding nursery"
_PHRASES: Final = {
    "school_role": """
        junior high;jr high;sixth form;sixth former;sixth formers;fifth former;school uniform;school uniforms;
        school student;school age;school aged;school outfit;school skirt;
        school desk;school bag;school backpack;school dance;school locker;school playground;at school;
        in school;goes to school;going to school;walks to school;walking to school;after school;still in school;
        school classroom;school break;jk uniform;jk outfit;jk skirt;jk style;jk look;first grader;
        student uniform;cheer squad;cheer team;home room;
        """
    + ";".join(f"{kind} school" for kind in _SCHOOLS.split()),
    "minor_term": """
        very young;too young;so young;looks young;looking young;look young;looks younger;look younger;young looking;
        younger looking;young body;young face;young lad;young lads;young one;young ones;not adult;
        not an adult;not yet an adult;sweet sixteen;little one;little ones;little sister;little brother;little sis;
        little bro;kid sister;lil sis;little lady;little princess;her son;his son;their son;young son;little son;
        age regression;age regressed;coming of age;barely legal;just legal;newly legal;not legal;not of age;
        under the legal age;underneath the legal age;childhood photo;childhood picture;childhood self;bat mitzvah;
        bar mitzvah;first communion;tiny tot;little tot;cute tot;tot with;tot in;tot on;tot holding;
        joshi kosei;joshi kousei
        """,
    "real_person": """
        look alike;look alikes;spitting image;dead ringer;deep fake;deep fakes;face swap;face swaps;face swapped;
        face swapping;celebrity face;famous person;real person;well known actress;well known actor
        """,
}
PHRASES: Final = {
    phrase.strip(): code
    for code, phrases in _PHRASES.items()
    for phrase in phrases.replace("\n", " ").split(";")
    if phrase.strip()
}
STUDENT: Final = words("student students")
ADULT_STUDENT: Final = words("university college graduate postgraduate phd medical law doctoral masters mature mba")
ADULT_SCHOOLS: Final = words("""
    law medical med business graduate grad postgraduate dental nursing veterinary vet film art fashion design
    drama acting
    culinary cooking flight flying driving sailing diving architecture journalism engineering
    """)
# Occupations of adults: a teacher may name the school.
ADULT_AFTER_SCHOOL: Final = words("teacher teachers principal headmaster headmistress")
HARMLESS_AFTER: Final[dict[str, frozenset[str]]] = {
    "baby": words("blue pink grand hair hairs oil"),
    "minor": words("""
        scar scars detail details key keys chord chords flaw flaws imperfections imperfection blemish blemishes role
        injury changes adjustments edits wear scratches retouching league seventh scale
        """),
    "kid": words("glove gloves leather suede mohair"),
    "pupil": words("size dilation reflection reflections"),
    "daughter": words("of"),
    "youngest": words("professor surgeon partner"),
    "teeny": words("tiny weeny"),
}
HARMLESS_BEFORE: Final[dict[str, frozenset[str]]] = {
    "minor": words("b c d e f g flat sharp asia ursa canis leo"),  # "A minor" is not told from "a minor"
    "pupil": words("left right eye dilated"),
}
HARMLESS_ENDINGS: Final = {("baby", "s", "breath")}  # a flower
MINOR_EMOJI: Final = frozenset(
    "\U0001f476\U0001f467\U0001f466\U0001f9d2\U0001f47c\U0001f6bc\U0001f6b8\U0001f46a\U0001f931"
)

# ---- ages

_WORDED = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_ORDINALS = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth
    """
NUMBERS: Final = {word: n for n, word in enumerate(f"{_WORDED} eighteen nineteen".split(), start=1)}
ORDINALS: Final = {word: n for n, word in enumerate(_ORDINALS.split(), start=1)}
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii"
ROMAN: Final = {word: n for n, word in enumerate(_ROMAN.split(), start=1)}
TEEN_NUMBERS: Final = frozenset(word for word, n in NUMBERS.items() if 10 < n < 18)
# One word for an age: "sixteenyearold", "nineyo".
AGED: Final = tuple(f"{number}{unit}" for number in _WORDED.split() for unit in ("year", "yrold", "yrsold"))
AGED_WHOLE: Final = frozenset(f"{number}{unit}" for number in _WORDED.split() for unit in ("yo", "yos", "yr", "yrs"))
FIRST_MINOR_BIRTH_YEAR: Final = 2008  # some are 17 until the end of 2026; the passing of time only makes it stricter
LAST_BIRTH_YEAR: Final = 2099

JOINERS: Final = frozenset({"-", ".", "'", ":", "=", "~", "_", "+", '"', "*"})  # between a number and its neighbour
CLOSERS: Final = frozenset(")]}>")  # between a number and its unit
AGE_UNITS: Final = words("yo yos y yearold yearolds summers winters springs birthday birthdays bday bdays")
YEARS: Final = words("year years yr yrs")
YEARS_IN: Final = {
    unit: n
    for n, units in ((12, "month months mo mos"), (52, "week weeks"), (365, "day days"))
    for unit in units.split()
}  # in a year
TIME_UNITS: Final = YEARS | frozenset(YEARS_IN)
SPAN_BEFORE: Final = words("for in after within every last these another since")  # "married for 12 years"
POSSESSIVES: Final = words("her his their my your")  # "in her 16th year"
AFTER_A_SPAN: Final = words("""
    of ago in later as experience together abroad since before after with on at for now running career
    mortgage marriage
    relationship anniversary contract plan tenure veteran lease warranty working teaching sober
    """)
AGE_WORDS: Final = words("age aged ages turned turning turns")
AGE_LEADS: Final = words("""
    is am was be shes hes im s m looks look looking only just nearly almost barely around about under below like on
    appears seems
    """)
IS: Final = words("is am was be shes hes im s m looks look looking appears seems")  # what follows is told of a person
# Between an age word and its number: "age of about 12", "aged only 15".
AGE_FILLERS: Final = words(
    "of is was about around only just like to at under below a approx than between ( group range s"
)
ORDINAL_ENDINGS: Final = words("st nd rd th")
BIRTHDAYS: Final = words("birthday bday grade grader graders")
BORN: Final = words("""
    born birth birthyear birthdate dob b nee nes nacida nacido nascida nascido geboren geb nata nato urodzona
    urodzony fodd dogum
    """)
# "under 21" may be a minor, "just turned 18" is meant to look like one. Between the word and the number: fillers.
LIMITS: Final = words("under below younger less < before u")
LIMIT_FILLERS: Final = words("than the age of her his their be become to turn reach reached quite even yet a")
LIMIT_TAILS: Final = words("younger under less below")
NEVER_18_YET: Final = words("""
    almost nearly barely not yet turned turning turns only freshly newly sub pre un til until soon shy short
    approaching
    nearing isnt wasnt hasnt aint
    """)
NEGATED: Final = words("isn wasn hasn aren ain haven won")  # "isn't", whose words are "isn" and "t"
NOT_YET: Final = words("yet soon tomorrow")  # after the number
MAX_LIMIT: Final = 21
OLD_THINGS: Final = words("whisky whiskey scotch rum malt brandy wine cheese car house building truck camera")
# What may be counted, or measured: a number before one of these is no age.
COUNTED: Final = words("""
    mm cm km ft feet inch inches kg lb lbs mp megapixel megapixels px pixel pixels k sec secs second seconds
    ms min mins minute minutes hour hours hz fps ev iso am pm percent bit stops degrees degree c % oclock o
    image images picture pictures photo photos shot shots frame frames option options take takes lens lenses panel
    tattoo tattoos piercing piercings ring rings cat cats dog dogs horse horses plant plants tree trees flower flowers
    country countries city cities language languages book books film films marathon marathons step steps times people
    persons adults women men friends sisters brothers light lights candle candles
    table tables chair chairs window windows button buttons floor floors storey stories mile miles meter meters metre
    metres dollars euros pounds usd eur seat seats guests employees colleagues patients clients novels songs albums
    awards medals paintings sculptures restaurants hotels cups espressos beers bottles glasses string strings rows
    layers points pages chapters episodes seasons series models cars bikes boats rooms apartments
    exposures versions variations panels looks outfits dresses suits coats shoes shirts pairs gears speeds karat carat
    string metre piece course seater storey door cylinder track hundred thousand million billion dozen
    fighter jet jets
    yards yachts $ \u20ac \xa3 \xa5
    roses petals toes fingers foot artists stars stripes suitcases monitors screens columns arches balloons players
    gb mb tb denier ply ounce ounces gram grams kilo kilos litre litres liter liters volt volts watt watts
    mph kmh rpm acre acres
    """)
STREETS: Final = words("street avenue road lane boulevard square highway motorway rue strasse calle via plaza")
# What is numbered: a number after one of these is no age.
NUMBERED: Final = words("""
    iso no number nr version v option take shot seed size chapter part scene level stage room floor table apartment
    channel formula route highway gate track january february march april june july august september october november
    december top seat bus line tram pier platform suite act episode season volume windows iphone apollo eos
    leica canon
    nikon sony fuji fujifilm galaxy pixel model mark article section page row cfg clip skip gallery hall terminal opus
    may jan feb mar apr jun jul aug sep sept oct nov dec # $ \u20ac \xa3 \xa5
    """)
PHOTOGRAPHY: Final = words("mm iso lens aperture shutter exposure bokeh stop / tripod")  # "f 16" beside one of these
# What ends in -s behind a number and counts nothing: it is of a person, who may be that old ("sixteen, freckles").
NO_COUNT: Final = words("""
    freckles dimples eyes eyebrows eyelashes lashes lips cheeks cheekbones shoulders arms hands legs hips
    braids pigtails
    plaits curls bangs locks braces glasses jeans shorts tights leggings stockings socks boots heels sneakers trainers
    sandals pajamas pyjamas overalls trousers pants clothes features looks smiles wears stands sits likes loves lives
    poses walks runs plays works holds says does goes dances sings laughs leans turns seems appears wants
    always perhaps
    sometimes besides towards afterwards nowadays girls boys teens kids enjoys eats reads writes studies sleeps rides
    drives swims wakes carries keeps takes gives makes gets comes rests meets visits travels dreams thinks knows feels
    hopes needs stays returns relaxes giggles winks waves shows tries blushes grins listens speaks talks waits dresses
    """)
# "twelve red balloons": a word of these, or with such an ending, may stand between a number and what it counts.
ADJECTIVES: Final = words("""
    red blue green white black golden gold silver orange pink purple small little big large tall long short
    old new paper
    glass wooden stone metal bright dark different more other great grand double single
    """)
ADJECTIVE_ENDINGS: Final = ("al", "ic", "ive", "ous", "ary", "ian", "ese", "less", "able", "ible")

MONTHS: Final = words("january february march april june july august september october november december of")
# The words (or the end) after "is 8" that make it an age, where "is 8 steps away" is none.
SENTENCE_GOES_ON: Final = words(
    ", ; ! ? ( ) / and with but or in at on who wearing has having smiling that which as from now today soon going"
) | {""}
