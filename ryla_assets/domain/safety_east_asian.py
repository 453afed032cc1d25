"""The safety screen for Chinese, Japanese and Korean: words and ages in languages that write few spaces or none.

Belongs here: their numerals, ages, school years and the words that may stand anywhere in a text. Does not belong here:
reading a text (`safety_text`), languages with spaces.
"""

import re
from typing import Final

from ryla_assets.domain import safety_languages as languages
from ryla_assets.domain.safety_fold import EAST_ASIAN

ADULT: Final = 18

_DIGITS: Final = {sign: n for n, sign in enumerate("零一二三四五六七八九")} | {"两": 2, "兩": 2, "〇": 0}
_HAN: Final = "一二三四五六七八九十两兩零〇"
_NUMBER: Final = f"([0-9]{{1,3}}|[{_HAN}]{{1,5}})"
_HAN_AGE = re.compile(f"{_NUMBER} ?[个個]?(?:周|多|几|歲|歳|岁|才|半){{0,3}}?(?:岁|歲|歳|才)")
# An age without its unit: "年龄十六", "芳龄16", "今年十六"; a counter behind the number makes it something else.
_HAN_AGED = re.compile(
    f"(?:年[龄齡齢令]|芳[龄齡]|年方|年[纪紀]|今年|刚满|剛滿|年[满滿])[ ,:：是为為は约約才仅僅]{{0,3}}{_NUMBER}"
    f"(?![0-9{_HAN}月日号號年个個次场場届屆天周部首本名位件张張台])"
)
_HAN_LIMIT = re.compile(
    "未[满滿] ?(?:18|十八|20|二十)|(?:18|十八|20|二十) ?[岁歲歳才]?(?:未[満满滿]|以下)"
    "|(?:18|19|십팔|십구) ?세? ?(?:미만|이하)"
)
# School years: "高一" but not "身高一米七", "中三" but not "其中三"; "三年级", "五年生" but not those of a university.
_SCHOOL_YEAR = re.compile(
    "(?<![身最更提增升拔比])高[一二三](?![米些点點倍层層尺头頭个個致截筹籌])|(?<![年月])初[一二三](?![次个個月日])"
    "|(?<![\u3041-\u30ff\u4e00-\u9fff])中[一二三](?![个個人位名件])"
    "|(?<!大学)(?<!大學)(?<!大)[一二三四五六七八九1-9] ?(?:年[级級]|年生(?![植草]))"
    "|(?<![\uac00-\ud7a3])[초중고][1-6](?![0-9개명번권곳가점층])|(?<!대학)(?<!대학 )(?<!대학교)(?<!대학교 )[1-6] ?학년"
)
_SINO: Final = {sign: n for n, sign in enumerate("일이삼사오육칠팔구", start=1)} | {"륙": 6}
_ONES: Final = "일이삼사오육륙칠팔구"
_SINO_NUMBER: Final = f"([{_ONES}]?십[{_ONES}]?|[{_ONES}])"
_SINO_AGED = re.compile(f"나이[는가]? ?{_SINO_NUMBER}(?![\uac00-\ud7a3])")
# "십육 세"; but not a century ("세기"), a generation ("세대"), "이 세 사람" (these three), a verb's ending ("오세요").
_SINO_AGE = re.compile(
    f"(?<![\uac00-\ud7a3])(?:만 ?|약 ?)?{_SINO_NUMBER}( ?)세(?=[^\uac00-\ud7a3]|[의인에이은는도부미까쯤짜]|$)"
)
_NATIVE_NUMBERS: Final = "한 두 세 네 다섯 여섯 일곱 여덟 아홉 열"
_NATIVE: Final = {word: n for n, word in enumerate(_NATIVE_NUMBERS.split(), start=1)}
_NATIVE_AGES: Final = _NATIVE | {f"열{ones}": 10 + n for ones, n in _NATIVE.items() if n < 8}
_NATIVE_TENS: Final = ("열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔", "백")
_NATIVE_AGE = re.compile("((?:[\uac00-\ud7a3] ?){1,4})살(?![림아았던며])")


def says_minor_age(plain: str) -> bool:
    """Whether "十六岁", "年龄十六", "高一", "16歳", "열여섯 살" or "십육 세" says an age under 18."""
    if not EAST_ASIAN.search(plain):
        return False
    if _SCHOOL_YEAR.search(plain) or _HAN_LIMIT.search(plain):
        return True
    return any(
        is_minor(match)
        for cues, rule, is_minor in _RULES
        if any(cue in plain for cue in cues)
        for match in rule.finditer(plain)
    )


def term_reason(words: list[str]) -> str:
    """The code of the first blocked word anywhere in a text, over white space and punctuation; else an empty string."""
    together = "".join(words)
    for adult in languages.EAST_ASIAN_ADULT:
        together = together.replace(adult, "/")
    if any(student in together for student in languages.EAST_ASIAN_STUDENT):
        return "school_role"
    return "minor_term" if any(term in together for term in languages.EAST_ASIAN) else ""


def _han(text: str) -> int:
    """The value of digits or of Chinese numerals under a hundred; what is no such number counts as 0."""
    if text.isdigit() and text.isascii():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return int("".join(str(_DIGITS.get(sign, 0)) for sign in text))
    return 10 * (_DIGITS.get(tens, 0) if tens else 1) + (_DIGITS.get(ones, 0) if ones else 0)


def _is_minor_han(match: re.Match[str]) -> bool:
    return _han(match[1]) < ADULT


def _is_minor_sino(match: re.Match[str]) -> bool:
    """Whether Sino-Korean numerals say an age under 18."""
    tens, ten, ones = match[1].rpartition("십")
    return (10 * _SINO.get(tens, 1) if ten else 0) + _SINO.get(ones, 0) < ADULT and match[0] != "이 세"


def _is_minor_native(match: re.Match[str]) -> bool:
    """Whether native Korean numerals end in an age under 18: "열여섯", but not "스물여섯"."""
    text = match[1].replace(" ", "")
    found = next((text[-length:] for length in (3, 2, 1) if text[-length:] in _NATIVE_AGES), "")
    return found != "" and not text[: -len(found)].endswith(_NATIVE_TENS)


# One of the signs stands in everything that the expression finds.
_RULES: Final = (
    ("岁歲歳才", _HAN_AGE, _is_minor_han),
    ("年芳刚剛", _HAN_AGED, _is_minor_han),
    ("세", _SINO_AGE, _is_minor_sino),
    (("나이",), _SINO_AGED, _is_minor_sino),
    ("살", _NATIVE_AGE, _is_minor_native),
)
