"""The word lists of the safety screen for languages other than English: minors, school roles, ages.

Belongs here: data only. Does not belong here: English (`safety_words`), the rules that read the lists.
Lists are written as people write them and folded when they are loaded, so that accents read naturally. In each language
a word that means both "girl" and "young woman" is blocked, as "girl" is: prompts say "woman".
"""

from collections.abc import Iterable
from typing import Final

from ryla_assets.domain.safety_text import fold


def _words(text: str) -> frozenset[str]:
    return frozenset(fold(text).split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(" ".join(fold(line).split()) for line in text.split(";") if line.strip())


# ---- words that block as whole words

MINORS: Final = (
    _words(
        "niñita niñitas niñito niñitos muchacha muchachas muchacho muchachos muchachita chica chicas chiquilla"
    )  # es
    | _words("chiquillo chiquillos chiquita jovencita jovencitas jovencito adolescente adolescentes nena nenas nene")
    | _words("infantil infantiles chamaca chamaco quinceañera quinceañeras escuincle chavala chavalita preadolescente")
    | _words(
        "menina meninas menino meninos meninha criança crianças criancinha garota garotas garotinha garotinho"
    )  # pt
    | _words("rapariga raparigas miúda miúdo miúdos moleque bebezinho guria adolescência")
    | _words(
        "fille filles fillette fillettes garçonnet garçonnets enfant enfants enfantin enfantine gamin gamine"
    )  # fr
    | _words("gamins gamines gosse gosses môme mômes nourrisson nourrissons bambin mineure mineures mineurs minot ados")
    | _words("préado préadolescente préadolescent garçon garçons pucelle")
    | _words(
        "mädchen maedchen mädel mädels mädl kinder kindern kindes teenagerin teenagerinnen säugling kleinkind"
    )  # de
    | _words(
        "kleinkinder kindlich kindliche kindlicher kindliches bub buben bübchen knabe knaben göre gören halbwüchsige"
    )
    | _words(
        "bambina bambine bambino bambini ragazza ragazze ragazzo ragazzi ragazzina ragazzino ragazzini bimba bimbe"
    )  # it
    | _words("bimbo bimbi fanciulla fanciullo neonato neonata minorenne minorenni adolescenti infante")
    | _words(
        "meisje meisjes jongen jongens jongetje kinderen kindje tiener tieners kleuter kleuters peuter peuters"
    )  # nl
    | _words("puber pubers minderjarig minderjarige minderjarigen tienermeisje zuigeling jochie")
    | _words("chłopiec chłopca chłopcy chłopczyk dziecko dziecka dzieci dziecięcy dziecięca nieletnia nieletni")  # pl
    | _words("nieletniej małolata małolat niemowlę niemowlak bobas")
    | _words("kız kızı kızlar kızın çocuk çocuğu çocuğun çocuklar çocuksu ergen ergenler bebek bebekler oğlan")  # tr
    | _words("oğlanlar velet yeniyetme")
    | _words("flicka flickan flickor tjej tjejer pojke pojken pojkar tonåring tonåringar tonårsflicka bebis")  # sv
    | _words(
        "pige pigen piger dreng drengen drenge teenagepige jente jenta jenter gutten tenåring tenåringer"
    )  # da, no
    | _words("tyttö tytön tytöt poika lapsi lapsen lapset teini teinit teinityttö")  # fi
    | _words("dívka dívky holka holky holčička chlapec kluk dítě děti dospívající nezletilá nezletilý")  # cs
    | _words("fetiță fetița copil copii copilă băiețel băiat adolescentă")  # ro
    | _words("kislány kislányok gyerek gyerekek gyermek kisfiú tinédzser kamasz")  # hu
    | _words("gadis bocah remaja balita bayi")  # id
    | _words("девушка девушки девушку девушкой юная юный юные юной юную юного дети детей детям детьми детях дитя")  # ru
    | _words("детский детская детское детские детской ребята пацан пацаны пацанка момиче момчета момче дете деца")
    | _words("아이 아이들 아이가 아이의 아이와 아이를 아이는 애기 남아 여아 로리 쇼타 십대 어린 어린애 꼬마")  # ko
    | _words("بنت بنات البنت البنات فتاة الفتاة فتيات الفتيات ولد الولد اولاد الاولاد صبي الصبي صبية صبيان بنوتة")  # ar
    | _words("बच्चा बच्ची बच्चे बच्चों बच्चियां शिशु बालिका बालक किशोर किशोरी नाबालिग छोरी छोकरी")  # hi
)
SCHOOL: Final = (
    _words("colegiala colegialas colegial colegiales escolar escolares")
    | _words(
        "collégien collégienne collégiennes collégiens lycéen lycéenne lycéens lycéennes écolier écolière écoliers"
    )
    | _words("écolières élève élèves schülerin schülerinnen schüler schulmädchen schuluniform schulkind schulkinder")
    | _words("scolara scolaro liceale liceali schoolmeisje schoolmeisjes scholier scholieren schooluniform")
    | _words("uczennica uczennice uczeń uczniowie licealistka liseli ilkokul ortaokul skolflicka koululainen žačka")
    | _words("гимназистка школа школе छात्रा تلميذة تلميذ تلاميذ")
)
# Words that differ from a harmless one (a name, a verb) by their accents only.
_ACCENTED = "niña niñas niño niños bebé bebés bebê bebês bébé bébés crío cría críos gör"
ACCENTED: Final = frozenset(_ACCENTED.split())
# How a word of these begins, whatever its ending.
STEMS: Final = _words("""
    minderjähr jugendlich halbwüchsig adolesc dziewcz dzieci nastolat prepubes prépubère infantiliz çocuğ
    dospívaj maloletn
    девоч девчо девчат девчу ребенк ребено ребятиш мальчи мальчу пацанк подрост несовершеннол малолет младен малыш
    тинейдж лолит дошколь детсад школьни школьна школьно первоклас старшеклас
    नाबालिग
    """)
SHORT_STEMS: Final = _words("""
    소녀 소년 어린이 아동 유아 아기 미성년 청소년 여고생 남고생 여중생 고등학생 중학생 초등학생 여학생 남학생 갓난
    여자아이 남자아이 교복 लड़क किशोर बच्च
    """)
# Anywhere in a text of Chinese or Japanese, which writes no spaces; white space and punctuation are left out.
EAST_ASIAN: Final = _words("""
    孩 童 婴 嬰 幼 稚 少女 少年 未成年 萝莉 蘿莉 正太 小学 小學
    中学生 中學生 初中 高中 高校生 女子高 男子高 女子中 小朋友 女生 男生 小姑娘
    小妹妹 小弟弟 宝宝 寶寶 娃 校服 学生妹 學生妹 豆蔻 子供 子ども こども コドモ 女の子 男の子 女児 男児 赤ちゃん 赤ん坊
    生徒 園児 ロリ ろり ショタ ティーン 十代 10代 娘 女兒 女儿 姑娘 JK制服 セーラー服 ガキ 中二 jk
    """)
EAST_ASIAN_STUDENT: Final = ("学生", "學生", "학생")
EAST_ASIAN_ADULT: Final = ("大学生", "大學生", "研究生", "大学院生", "女子大学生", "대학생", "대학원생")
ARABIC: Final = _words("طفل اطفال مراهق قاصر رضيع تلميذ مدرسية")  # inside a word, which carries its article with it
PHRASES: Final = {
    **dict.fromkeys(
        _lines("""
            menor de edad;menores de edad;una menor;un menor;es menor;menor de idade;muy joven;
            la nina;una nina;las ninas;
            ninas de;nina de;el nino;un nino;los ninos;nino de;jeune fille;petite fille;petit garçon;une ado;un ado;
            enfant de;très jeune;ein kind;das kind;als kind;kleines kind;wie ein kind;mit kind;ein junge;der junge;
            kleiner junge;jungen von;sehr jung;noch minderjährig;een kind;het kind;als kind;klein kind;kind van;
            mooi kind;molto giovane;minore di età;bardzo młoda;küçük kız;genç kız;reşit olmayan;ett barn;litet barn;
            små barn;et barn;lille barn;anak kecil;anak anak;anak perempuan;di bawah umur;tre em;be gai;be trai;co be;
            cau be;non maggiorenne;no es adulta;mas menor
            """),
        "minor_term",
    ),
    **dict.fromkeys(
        _lines("""
            uniforme escolar;uniforme scolaire;divisa scolastica;mundurek szkolny;
            okul üniforması;lise öğrencisi;ensino médio;educación primaria
            """),
        "school_role",
    ),
    **dict.fromkeys(_lines("on yaşında;on yaş;on yaşındaki"), "age_under_18"),
}

# ---- ages

# Units of age. A number under 18 before one of these is an age, unless it is a span of work or time (below).
YEARS: Final = _words("""
    año años ano anos ans jahre jahren jahr jahrig jährig jährige jähriger jähriges jährigen anni anno jaar jarig
    jarige lat latka latek latki yaş yaşında yaşındaki yaşinda år årig årige vuotias vuotta letá éves ani
    tahun tuoi летняя летний летние летней летнюю летнего лет года год годик годика годиков
    살 세 살의 세의 살짜리 سنة سنوات عام عاما اعوام سنين साल वर्ष वर्षीय बरस añitos aninhos
    """)
# A span: the word before "12 años" or after it.
SPAN_BEFORE: Final = _words("hace seit vor sinds od depuis pendant durante per desde for through über mehr après")
SPAN_AFTER: Final = _words("""
    experiencia experiência expérience erfahrung berufserfahrung esperienza ervaring doświadczenia опыта стажа carrera
    carreira carrière trabajo trabalho travail lavoro назад temu geleden fa deneyim deneyimli पहले अनुभव خبرة 경력 전
    casada casado juntos
    """)
LINKS: Final = _words("de d di da van von von an pracy lang в")
AGE_AFTER_LINK: Final = _words("edad idade vida vita vie leben")
# Number words (Turkish "on", ten, is a phrase above). Those of eleven and more count as the
# English ones do; the others only before a unit of age.
_BY_VALUE: Final = {
    11: "undici elf onze once jedenaście jedenastu одиннадцать elva elleve 열하나 열한 ग्यारह",
    12: "doce doze douze zwölf zwoelf dodici twaalf dwanaście dwunastu двенадцать tolv 열둘 열두 बारह",
    13: "trece treze treize dreizehn tredici dertien trzynaście trzynastu тринадцать tretton tretten 열셋 열세 तेरह",
    14: """catorce catorze quatorze vierzehn quattordici veertien czternaście czternastu четырнадцать fjorton fjorten
        열넷 열네 चौदह""",
    15: """quince quinze fünfzehn fuenfzehn quindici vijftien piętnaście piętnastu пятнадцать femton femten 열다섯 पंद्रह
        पन्द्रह""",
    16: """dieciséis dezesseis dezasseis seize sechzehn sedici zestien szesnaście szesnastu шестнадцать sexton
        열여섯 सोलह""",
    17: """diecisiete dezessete dezassete siebzehn diciassette zeventien siedemnaście siedemnastu семнадцать sjutton
        열일곱 सत्रह सतरह""",
    10: "diez dez dix zehn dieci tien dziesięć десять tio 열 दस عشر عشرة",
    9: "nueve nove neuf neun negen dziewięć девять dokuz nio ni 아홉 नौ تسع",
    8: "ocho oito huit acht otto osiem восемь sekiz åtta otte 여덟 आठ ثماني",
    7: "siete sete sept sieben sette zeven siedem семь yedi sju syv 일곱 सात سبع",
    6: "seis six sechs sei zes sześć шесть altı 여섯 छह छः ست",
    5: "cinco cinq fünf fuenf cinque vijf pięć пять beş fem 다섯 पांच पाँच خمس",
    4: "cuatro quatro quatre vier quattro cztery четыре dört fyra fire 네 넷 चार اربع",
    3: "tres três trois drei tre drie trzy три üç 세 셋 तीन ثلاث",
}
NUMBERS: Final = {fold(word): n for n, spellings in _BY_VALUE.items() for word in spellings.split()}
# Words of other languages too: elf, once, doze, seize, quince.
NEEDS_UNIT: Final = frozenset(word for word, n in NUMBERS.items() if n < 11) | _words("elf once doze seize quince onze")
TENS: Final = _words("""
    veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa vinte trinta quarenta cinquenta sessenta oitenta
    vingt trente quarante cinquante soixante dwadzieścia trzydzieści czterdzieści pięćdziesiąt sześćdziesiąt двадцать
    тридцать сорок пятьдесят шестьдесят семьдесят yirmi otuz kırk elli altmış yetmiş seksen doksan cien cento cent
    venti trenta quaranta cinquanta tjugo trettio fyrtio
    """)
AND: Final = _words("y e et und en i ve och")
# A word for an age, or for somebody of that age, as one word: the beginning is enough.
_AGED: Final = {
    "jährig jaehrig": """drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn
        siebzehn""",
    "jarig": "drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien",
    "летн": """трех четырех пяти шести семи восьми девяти десяти одиннадцати двенадцати тринадцати четырнадцати
        пятнадцати шестнадцати семнадцати""",
    "latk letni latek": """trzy cztero pięcio sześcio siedmio ośmio dziewięcio dziesięcio jedenasto dwunasto trzynasto
        czternasto piętnasto szesnasto siedemnasto""",
    "enne enni": "undic dodic tredic quattordic quindic sedic diciassett diec nov ott",
    "årig åring": "tio elva tolv tretton fjorton femton sexton sjutton",
}
AGE_STEMS: Final = tuple(
    fold(start + end) for ends, starts in _AGED.items() for start in starts.split() for end in ends.split()
)
AGE_WORDS: Final = _words("возраст возрасте возраста 年龄 年齢 나이 عمر عمرها عمره العمر उम्र आयु yaşı")
EAST_ASIAN_DIGITS: Final = {sign: n for n, sign in enumerate("零一二三四五六七八九")} | {"两": 2, "兩": 2, "〇": 0}
_KOREAN = "한 두 세 네 다섯 여섯 일곱 여덟 아홉 열"
KOREAN_NUMBERS: Final = {word: n for n, word in enumerate(_KOREAN.split(), start=1)} | {
    f"열{word}": n for n, word in enumerate(_KOREAN.split()[:7], start=11)
}


def by_first_letters(stems: Iterable[str], length: int) -> dict[str, tuple[str, ...]]:
    """Stems under their first `length` letters, so that a word is compared with the few that it may begin with."""
    found: dict[str, tuple[str, ...]] = {}
    for stem in stems:
        found[stem[:length]] = (*found.get(stem[:length], ()), stem)
    return found
