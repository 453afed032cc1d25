"""The number words that the safety screen reads, language by language, and how each language puts them together.

Belongs here: data only: the forms of 1 to 18, the tens, what joins them, the words of age around them. Does not belong
here: English beyond its numbers and Chinese, Japanese and Korean numerals (`safety_words`, `safety_east_asian`), the
parser (`safety_numbers`), the rules (`safety_age`).
Written as people write them, and folded when loaded. Cases and genders count: "szesnastu", "шестнадцати".
"""

from typing import Final

from ryla_assets.domain.safety_fold import fold, folded_words

# Forms of 1, 2, 3, ... between semicolons. "One year" is mostly a span, so that 1 is left out where it is an article; a
# language without forms of 11 and more composes them (below).
_CARDINALS: Final = {
    "es": """;dos;tres;cuatro;cinco;seis;siete;ocho;nueve;diez;once;doce;trece;catorce;quince;dieciséis;diecisiete;
        dieciocho""",
    "pt": """;dois duas;três;quatro;cinco;seis;sete;oito;nove;dez;onze;doze;treze;catorze quatorze;quinze;dezesseis
        dezasseis;dezessete dezassete;dezoito""",
    "fr": ";deux;trois;quatre;cinq;six;sept;huit;neuf;dix;onze;douze;treize;quatorze;quinze;seize",
    "de": """;zwei;drei;vier;fünf fuenf;sechs;sieben;acht;neun;zehn;elf;zwölf zwoelf;dreizehn;vierzehn;fünfzehn
        fuenfzehn;sechzehn;siebzehn;achtzehn""",
    "it": """;due;tre;quattro;cinque;sei;sette;otto;nove;dieci;undici;dodici;tredici;quattordici;quindici;sedici;
        diciassette;diciotto""",
    "nl": """;twee;drie;vier;vijf;zes;zeven;acht;negen;tien;elf;twaalf;dertien;veertien;vijftien;zestien;zeventien;
        achttien""",
    "pl": """;dwa dwie dwóch;trzy trzech;cztery czterech;pięć pięciu;sześć sześciu;siedem siedmiu;osiem ośmiu;
        dziewięć dziewięciu;dziesięć dziesięciu;jedenaście jedenastu;dwanaście dwunastu;trzynaście trzynastu;
        czternaście czternastu;piętnaście piętnastu;szesnaście szesnastu;siedemnaście siedemnastu;osiemnaście
        osiemnastu""",
    "ru": """;два две двух;три трех;четыре четырех;пять пяти;шесть шести;семь семи;восемь восьми;девять девяти;десять
        десяти;одиннадцать одиннадцати;двенадцать двенадцати;тринадцать тринадцати;четырнадцать четырнадцати;
        пятнадцать пятнадцати;шестнадцать шестнадцати;семнадцать семнадцати;восемнадцать восемнадцати""",
    "tr": """bir;iki;üç;dört;beş;altı;yedi;sekiz;dokuz;;onbir;oniki;onüç;ondört;onbeş;onaltı;onyedi;onsekiz""",
    "ko": "한 하나;두 둘;세 셋;네 넷;다섯;여섯;일곱;여덟;아홉;열",
    "ar": ";;ثلاث ثلاثة;اربع اربعة;خمس خمسة;ست ستة;سبع سبعة;ثماني ثمانية ثمان;تسع تسعة;عشر عشرة",
    "hi": """;दो;तीन;चार;पांच पाँच;छह छः छे;सात;आठ;नौ;दस;ग्यारह;बारह;तेरह;चौदह;पंद्रह पन्द्रह;सोलह;सत्रह सतरह;
        अठारह""",
    "sv": ";två;tre;fyra;fem;sex;sju;åtta;nio;tio;elva;tolv;tretton;fjorton;femton;sexton;sjutton;arton",
    "da": ";to;tre;fire;fem;seks;syv;otte åtte;ni;ti;elleve;tolv;tretten;fjorten;femten;seksten;sytten;atten",
}
_TENS: Final = {
    20: "veinte vinte vingt vingts venti dwadzieścia dwudziestu двадцать двадцати yirmi tjugo zwanzig 스물 스무",
    30: "treinta trinta trente trenta trzydzieści trzydziestu тридцать тридцати otuz trettio dreißig 서른",
    40: "cuarenta quarenta quarante quaranta czterdzieści czterdziestu сорок сорока kırk fyrtio vierzig 마흔",
    50: "cincuenta cinquenta cinquante cinquanta pięćdziesiąt pięćdziesięciu пятьдесят пятидесяти elli femtio 쉰",
    60: "sesenta sessenta soixante sessanta sześćdziesiąt sześćdziesięciu шестьдесят шестидесяти altmış sextio 예순",
    70: "setenta settanta siedemdziesiąt siedemdziesięciu семьдесят семидесяти yetmiş sjuttio 일흔",
    80: "ochenta oitenta ottanta osiemdziesiąt osiemdziesięciu восемьдесят восьмидесяти seksen åttio 여든",
    90: "noventa novanta dziewięćdziesiąt dziewięćdziesięciu девяносто doksan nittio 아흔",
    100: "cien ciento cento cent sto сто ста yüz hundra",
}
_ENGLISH_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
ENGLISH_TENS: Final = {word: 10 * n for n, word in enumerate(_ENGLISH_TENS.split(), 2)}


def _by_value(forms: str) -> dict[str, int]:
    return {word: n for n, spellings in enumerate(fold(forms).split(";"), 1) for word in spellings.split()}


BY_LANGUAGE: Final = {language: _by_value(forms) for language, forms in _CARDINALS.items()}
NUMBERS: Final = {word: n for numbers in BY_LANGUAGE.values() for word, n in numbers.items()}
TENS: Final = {word: n for n, forms in _TENS.items() for word in fold(forms).split()} | ENGLISH_TENS
AND: Final = folded_words("y e et und en i ve och and")  # in "treinta y cinco"
# A ten that a digit follows: "dix-sept", "on altı", "열 여섯"; "diez y seis" has a word between.
TEN_THEN: Final = {
    "dix": {word: n for word, n in BY_LANGUAGE["fr"].items() if 6 < n < 10},
    "on": {word: n for word, n in BY_LANGUAGE["tr"].items() if n < 10},
    "열": {word: n for word, n in BY_LANGUAGE["ko"].items() if n < 10},
    "diez": {word: n for word, n in BY_LANGUAGE["es"].items() if 5 < n < 10},
    "dez": {word: n for word, n in BY_LANGUAGE["pt"].items() if 5 < n < 10},
}
# A digit that a ten follows: "خمسة عشر". Eleven and twelve have digits of their own.
THEN_TEN: Final = folded_words("عشر عشرة")
BEFORE_TEN: Final = {word: n for word, n in BY_LANGUAGE["ar"].items() if n < 10} | {
    fold(word): n for n, forms in ((1, "احد احدى"), (2, "اثنا اثني اثنتا اثنتي")) for word in forms.split()
}
_ORDINALS: Final = "الاولى;الثانية;الثالثة;الرابعة;الخامسة;السادسة;السابعة;الثامنة;التاسعة;العاشرة"
ARABIC_ORDINALS: Final = _by_value(_ORDINALS) | {fold("الحادية"): 1}
ARABIC_AGE: Final = folded_words("سن بسن لسن")  # before an ordinal that is an age
ARABIC_LIFE: Final = tuple(fold("عمرها عمره العمر عمري").split())  # after it
# What a digit belongs to that comes first: "خمسة وثلاثون" is 35, "quatre-vingts" is 80.
ARABIC_AND: Final = "و"  # mostly written together with what follows
_TEN_STEMS: Final = fold("عشر ثلاث اربع خمس ست سبع ثمان تسع").split()
ARABIC_TENS: Final = tuple(prefix + ten for prefix in (ARABIC_AND, f"{ARABIC_AND}ال") for ten in _TEN_STEMS)
MAGNITUDES: Final = folded_words("""
    hundred thousand million millions billion vingt vingts cent cents cientos mil mille milles mila tausend hundert
    duizend honderd сто тысяч тысячи yüz bin مئة مليون الف
    """)
# Words of other languages, and Turkish, whose sentences are full of counted months: only beside a word of age.
NEEDS_CONTEXT: Final = frozenset(
    {word for word, n in NUMBERS.items() if n < 11}
    | set(BY_LANGUAGE["tr"])
    | folded_words("elf once doze seize quince onze sexton")
)

# ---- ages

# Units of age. A number under 18 before one of these is an age, unless it is a span of work or time (below).
YEARS: Final = folded_words("""
    año años ano anos añitos aninhos ans jahre jahren jahr jahrig jährig jährige jähriger jähriges jährigen lebensjahr
    anni anno jaar jarig jarige levensjaar lat latka latek latki yaş yaşa yaşta yaşım yaşına yaşını yaşında
    yaşından yaşındaki yaşındayken yaşlarında yaşlarındaki yaşinda år årig årige åring vuotias vuotta letá
    éves ani tahun
    tuoi летняя летний летние летней летнюю летнего лет годам лета год годик года годика годиков
    살 세 살의 세의 살짜리 سنة سنوات عام عاما اعوام سنين ربيعا साल वर्ष वर्षीय बरस
    primaveras abriles printemps primavere
    """)
# The word before "12 años" that makes them a span, and words after.
SPAN_BEFORE: Final = folded_words("""
    hace seit vor sinds od depuis pendant durante per desde for through über mehr après за через منذ
    работает работал работала живет замужем женат
    """)
AGO: Final = frozenset(("hace", "vor"))  # before "15 años", behind which English says "ago"
SPAN_AFTER: Final = folded_words("""
    experiencia experiência expérience erfahrung berufserfahrung esperienza ervaring doświadczenia опыта стажа carrera
    carreira carrière trabajo trabalho travail lavoro назад temu geleden fa deneyim deneyimli पहले अनुभव خبرة 경력 전
    casada casado juntos
    """)
LINKS: Final = folded_words("de d di da van von an pracy lang в")
AGE_AFTER_LINK: Final = folded_words("edad idade vida vita vie leben leeftijd zycia жизни")
# What is counted or measured in other languages, mostly time; and what stands before an hour.
COUNTED: Final = folded_words("""
    fotos foto imagenes imagens bilder euro horas minutos segundos días dias semanas meses personas pessoas
    heures minutes
    jours semaines mois personnes fois stunden stunde minuten sekunden tage tagen wochen monate monaten uhr
    mal personen
    leute meter ore minuti secondi giorni settimane mesi volte persone metri uur dagen weken maanden keer
    mensen godzin
    minut dni tygodni miesięcy razy osób metrów часов часа минут дней недель месяцев раз человек метров saat
    dakika gün
    hafta ay yıl yıldır kere kişi metre घंटे मिनट दिन महीने बार लोग ساعة دقيقة يوما ايام اشهر شهرا مرات timmar minuter
    dagar veckor månader
    """)
# The same in Chinese, Japanese and Korean, where the next word goes on.
COUNTERS: Final = tuple(
    fold("""
    月 日 号 號 時 时 分 秒 点 點 個 个 人 名 枚 張 张 本 階 楼 樓 層 层 度 回 次 年 米 円 元
    개 월 일 시 분 초 명 층 번 장 도 년 원 마리 권 잔
    """).split()
)
HOUR_BEFORE: Final = folded_words("alle dalle um om klockan klokken kl saat الساعة")
# What says that a number is an age, before it. English has its own; French "âge" is folded to the English one.
AGE_WORDS: Final = folded_words("""
    edad edades idade alter alters età leeftijd wiek wieku возраст возрасте возраста 나이 عمر عمرها عمره العمر
    उम्र आयु
    yaşı yaşım yaş
    """)
# Limits that a minor is under: "menor de 18", "unter 18", "до 18 лет"; and after: "18 yaş altı".
LIMITS: Final = folded_words("""
    menor menores menos mineur moins unter jünger sotto meno minore minder onder jonger poniżej mniej młodsza
    młodszy przed
    младше моложе меньше до اقل دون تحت
    """)
LIMIT_LINKS: Final = folded_words("de di a i als dan niż чем من alle से")
LIMIT_TAILS: Final = folded_words("altı altında küçük aşağı कम")

# ---- one word for an age, or for somebody of that age: the beginning is enough
_AGED: Final = {
    "jährig jaehrig": """zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn
        siebzehn""",
    "jarig": """twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien""",
    "летн": "двух трех четырех пяти шести семи восьми девяти десяти",
    "лет": "одиннадцати двенадцати тринадцати четырнадцати пятнадцати шестнадцати семнадцати",
    "latk letni latek": """dwu trzy cztero pięcio sześcio siedmio ośmio dziewięcio dziesięcio jedenasto dwunasto
        trzynasto czternasto piętnasto szesnasto siedemnasto""",
    "enne enni": "undic dodic tredic quattordic quindic sedic diciassett diec nov ott",
    "årig åring": "två tre fyra fem sju åtta nio tio elva tolv tretton fjorton femton sexton sjutton",
    "añer": "quince trece catorce dieciséis diecisiete",
}
AGE_STEMS: Final = tuple(
    fold(start + end) for ends, starts in _AGED.items() for start in starts.split() for end in ends.split()
)
