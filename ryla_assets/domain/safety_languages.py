"""The word lists of the safety screen for languages other than English: minors and school roles.

Belongs here: data only. Does not belong here: English (`safety_words`), numbers and
ages (`safety_number_words`), the rules that read the lists.
Lists are written as people write them and folded when they are loaded, so that accents read naturally. In each language
a word that means both "girl" and "young woman" is blocked, as "girl" is: prompts say "woman".
"""

from collections.abc import Iterable
from typing import Final

from ryla_assets.domain.safety_fold import fold, folded_words


def _lines(text: str) -> tuple[str, ...]:
    return tuple(" ".join(fold(line).split()) for line in text.split(";") if line.strip())


# ---- words that block as whole words

MINORS: Final = (
    folded_words(
        "niñita niñitas niñito niñitos muchacha muchachas muchacho muchachos muchachita chica chicas chiquilla"
    )  # es
    | folded_words(
        "chiquillo chiquillos chiquita jovencita jovencitas jovencito adolescente adolescentes nena nenas nene"
    )
    | folded_words(
        "infantil infantiles chamaca chamaco quinceañera quinceañeras escuincle chavala chavalita preadolescente"
    )
    | folded_words(
        "menina meninas menino meninos meninha criança crianças criancinha garota garotas garotinha garotinho"
    )  # pt
    | folded_words("rapariga raparigas miúda miúdo miúdos moleque bebezinho guria adolescência")
    | folded_words(
        "fille filles fillette fillettes garçonnet garçonnets enfant enfants enfantin enfantine gamin gamine"
    )  # fr
    | folded_words(
        "gamins gamines gosse gosses môme mômes nourrisson nourrissons bambin mineure mineures mineurs minot ados"
    )
    | folded_words("préado préadolescente préadolescent garçon garçons pucelle")
    | folded_words(
        "mädchen maedchen mädel mädels mädl kinder kindern kindes teenagerin teenagerinnen säugling kleinkind"
    )  # de
    | folded_words(
        "kleinkinder kindlich kindliche kindlicher kindliches bub buben bübchen knabe knaben göre gören halbwüchsige"
    )
    | folded_words(
        "bambina bambine bambino bambini ragazza ragazze ragazzo ragazzi ragazzina ragazzino ragazzini bimba bimbe"
    )  # it
    | folded_words("bimbo bimbi fanciulla fanciullo neonato neonata minorenne minorenni adolescenti infante")
    | folded_words(
        "meisje meisjes jongen jongens jongetje kinderen kindje tiener tieners kleuter kleuters peuter peuters"
    )  # nl
    | folded_words("puber pubers minderjarig minderjarige minderjarigen tienermeisje zuigeling jochie")
    | folded_words(
        "chłopiec chłopca chłopcy chłopczyk dziecko dziecka dzieci dziecięcy dziecięca nieletnia nieletni"
    )  # pl
    | folded_words("nieletniej małolata małolat niemowlę niemowlak bobas")
    | folded_words(
        "kız kızı kızlar kızın çocuk çocuğu çocuğun çocuklar çocuksu ergen ergenler bebek bebekler oğlan"
    )  # tr
    | folded_words("oğlanlar velet yeniyetme")
    | folded_words(
        "flicka flickan flickor tjej tjejer pojke pojken pojkar tonåring tonåringar tonårsflicka bebis"
    )  # sv
    | folded_words(
        "pige pigen piger dreng drengen drenge teenagepige jente jenta jenter gutten tenåring tenåringer"
    )  # da, no
    | folded_words("tyttö tytön tytöt poika lapsi lapsen lapset teini teinit teinityttö")  # fi
    | folded_words("dívka dívky holka holky holčička chlapec kluk dítě děti dospívající nezletilá nezletilý")  # cs
    | folded_words("fetiță fetița copil copii copilă băiețel băiat adolescentă")  # ro
    | folded_words("kislány kislányok gyerek gyerekek gyermek kisfiú tinédzser kamasz")  # hu
    | folded_words("gadis bocah remaja balita bayi")  # id
    | folded_words(
        "девушка девушки девушку девушкой юная юный юные юной юную юного дети детей детям детьми детях дитя"
    )  # ru
    | folded_words("детский детская детское детские детской ребята пацан пацаны пацанка момиче момчета момче дете деца")
    | folded_words(
        "아이 아이들 아이가 아이의 아이와 아이를 아이는 애기 남아 여아 로리 쇼타 십대 어린 어린애 꼬마"
    )  # ko
    | folded_words(
        "بنت بنات البنت البنات فتاة الفتاة فتيات الفتيات ولد الولد اولاد الاولاد صبي الصبي صبية صبيان بنوتة"
    )  # ar
    | folded_words("बच्चा बच्ची बच्चे बच्चों बच्चियां शिशु बालिका बालक किशोर किशोरी नाबालिग छोरी छोकरी")  # hi
)
SCHOOL: Final = (
    folded_words("colegiala colegialas colegial colegiales escolar escolares")
    | folded_words(
        "collégien collégienne collégiennes collégiens lycéen lycéenne lycéens lycéennes écolier écolière écoliers"
    )
    | folded_words(
        "écolières élève élèves schülerin schülerinnen schüler schulmädchen schuluniform schulkind schulkinder"
    )
    | folded_words("scolara scolaro liceale liceali schoolmeisje schoolmeisjes scholier scholieren schooluniform")
    | folded_words(
        "uczennica uczennice uczeń uczniowie licealistka liseli ilkokul ortaokul skolflicka koululainen žačka"
    )
    | folded_words(
        "alunna alunno alunne alunni ученица ученицы ученицу ученик ученики гимназистка школа школе छात्रा تلميذة تلميذ"
    )
    | folded_words("تلاميذ grundschule hauptschule realschule")
)
PUPIL, NO_PUPIL = fold("schüler"), fold("hochschüler")  # inside German words; the second is a student
# Words that differ from a harmless one (a name, a verb) by their accents only.
_ACCENTED = "niña niñas niño niños bebé bebés bebê bebês bébé bébés crío cría críos gör"
ACCENTED: Final = frozenset(_ACCENTED.split())
# How a word of these begins, whatever its ending.
STEMS: Final = folded_words("""
    minderjähr jugendlich halbwüchsig adolesc dziewcz dzieci nastolat prepubes prépubère infantiliz çocuğ
    dospívaj maloletn
    девоч девчо девчат девчу ребенк ребено ребятиш мальчи мальчу пацанк подрост несовершеннол малолет младен малыш
    тинейдж лолит дошколь детсад школьни школьна школьно первоклас старшеклас
    नाबालिग
    """)
SHORT_STEMS: Final = folded_words("""
    소녀 소년 어린이 아동 유아 아기 미성년 청소년 여고생 남고생 여중생 고등학생 중학생 초등학생 여학생 남학생 갓난
    여자아이 남자아이 교복 लड़क किशोर बच्च
    """)
# Anywhere in a text of Chinese or Japanese, which writes no spaces; white space and punctuation are left out.
EAST_ASIAN: Final = folded_words("""
    孩 童 婴 嬰 幼 稚 少女 少年 未成年 萝莉 蘿莉 正太 小学 小學
    中学生 中學生 初中 高中 高校生 女子高 男子高 女子中 小朋友 女生 男生 小姑娘
    小妹妹 小弟弟 宝宝 寶寶 娃 校服 学生妹 學生妹 豆蔻 子供 子ども こども コドモ 女の子 男の子 女児 男児 赤ちゃん 赤ん坊
    生徒 園児 ロリ ろり ショタ ティーン 十代 10代 娘 女兒 女儿 姑娘 JK制服 セーラー服 ガキ 中二 jk
    """)
EAST_ASIAN_STUDENT: Final = ("学生", "學生", "학생", "초등학교", "중학교", "고등학교")
EAST_ASIAN_ADULT: Final = ("大学生", "大學生", "研究生", "大学院生", "女子大学生", "대학생", "대학원생", *(
    f"{school}{who}" for school in ("초등학교", "중학교", "고등학교") for who in ("교사", "선생", "교장")
))  # fmt: skip
ARABIC: Final = folded_words(
    "طفل اطفال مراهق قاصر رضيع تلميذ مدرسية"
)  # inside a word, which carries its article with it
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
            okul üniforması;lise öğrencisi;ensino médio;ensino fundamental;educación primaria;educación secundaria;
            de primaria;de secundaria;école primaire;école maternelle;scuola media;scuola elementare;delle medie;
            delle elementari
            """),
        "school_role",
    ),
}


def by_first_letters(stems: Iterable[str], length: int) -> dict[str, tuple[str, ...]]:
    """Stems under their first `length` letters, so that a word is compared with the few that it may begin with."""
    found: dict[str, tuple[str, ...]] = {}
    for stem in stems:
        found[stem[:length]] = (*found.get(stem[:length], ()), stem)
    return found
