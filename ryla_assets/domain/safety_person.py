"""The rule of the safety screen against real people: wordings that ask for a likeness, and names on a deny list.

Belongs here: the wordings, the deny list. Does not belong here: judging pictures against known faces.

A name alone cannot be told from an invented one, so it passes unless a deny list holds it. What is blocked without a
list is the wording that points at somebody: "looks like" before a name, "lookalike", "with the face of".
"""

import re
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Final

from ryla_assets.domain.safety_fold import fold
from ryla_assets.domain.safety_text import Reading
from ryla_assets.domain.safety_words import words

_START: Final = 5  # letters by which names are looked up
_NAME_WORD = re.compile(r"[^\W_]+")
_DIGIT = re.compile(r"\d")
_NAME_PART = re.compile(r"[^\W\d_]+|\d+")
_TOLD_PART = re.compile(r"[^\W\d_]+|[,.;:!?()]")
_WRITTEN_TOGETHER = re.compile("[\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\uac00-\ud7a3]{2,}")

_OUTRIGHT = words("""
    lookalike lookalikes doppelganger doppelgangers doppelgangerin deepfake deepfakes impersonator impersonators sosie
    sosia dubbelganger sobowtor faceswap likeness
    """)
_OUTRIGHT_EAST_ASIAN: Final = ("明星脸", "长得像", "長得像", "そっくり", "に似て", "に似た", "닮은")
# "looks like" is followed by a name, or by something that these words begin.
_LIKE = re.compile(
    r"\b(?:looks?|looking|looked)(?: \w{1,12}){0,2} like (?P<rest>\S+(?: \S+){0,5})", re.IGNORECASE | re.ASCII
)
_LIKENESS = re.compile(
    r"\b(?:(?:faces?|features|eyes|smile|lips|jaw|nose|cheekbones|body|hair) (?:of|like)|resembl(?:es?|ing)"
    r"|(?:similar|identical) to|twin of|clone of|modell?ed (?:on|after)|based on|double of|ressemble a|ressemblant a"
    r"|(?:se parece|parecid[ao]|identica|igualita|semelhante) a|parecid[ao] com|parece com|cara de|rosto de"
    r"|(?:sieht|aussieht|aussehen|aussehend)(?: \w{1,12})? (?:aus )?wie|gesicht von|assomiglia a|viso di|visage de"
    r"|lijkt op|gezicht van|wyglada jak|twarz|похож[аи]? на) (?P<rest>\S+(?: \S+){0,5})",
    re.IGNORECASE,
)
# One of these words or pairs stands in everything that the expression finds; most texts have none and are not searched.
_CUES = words("""
    resembles resembling resemble parecida parecido identica igualita semelhante parece cara rosto ressemble ressemblant
    wie gesicht assomiglia viso visage lijkt gezicht wyglada twarz похож похожа похожи
    """)
_FEATURES: Final = words("face faces features eyes smile lips jaw nose cheekbones body hair")
_CUE_PAIRS: Final = frozenset(
    tuple(pair.split())
    for pair in (
        "similar to", "identical to", "twin of", "clone of", "double of", "based on", "modeled on", "modeled after",
        "modelled on", "modelled after", *(f"{feature} {link}" for feature in _FEATURES for link in ("of", "like")),
    )
)  # fmt: skip
_DETERMINERS = words("""
    a an the this that these those she he it her his their its my our your they we i you someone somebody something
    nothing anyone one two no if when what un una uno une um uma ein eine einer einem einen der die das den dem el la
    los las le les il lo gli o os as een de het another every all in on at from as
    """)
_EVERYDAY = words("""
    autumn spring summer winter fall rain snow sunshine sunlight moonlight fog fire ice silk velvet satin gold silver
    marble porcelain glass water wine honey magic home fun money trouble art film new old polished freshly real dawn
    dusk evening morning night stone velvet leather
    """)
_CAPITAL_OK = words("""
    january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday christmas italian french spanish german english british american japanese chinese
    korean greek roman renaissance victorian parisian scandinavian european african asian vogue mount
    """)


class DenyList:
    """Names of real people that no text may hold, however their words are cut apart or run together.

    Names and texts are compared as letters without white space. A name is found where its letters begin and end with a
    word; one in Chinese, Japanese or Korean anywhere. The work grows with the words of the text, times the different
    lengths of those names that begin with the same letters; not with the number of names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Final = frozenset(names)
        self._lengths = _lengths_by_start(self.names, _START)
        self._sizes = sorted({len(start) for start in self._lengths})
        self._numbered = any(map(_DIGIT.search, self.names))
        self._inside = _lengths_by_start(filter(_WRITTEN_TOGETHER.fullmatch, self.names), 2)

    @classmethod
    def of(cls, lines: Iterable[str]) -> "DenyList":
        """From lines of a file: one name a line, "#" begins a comment."""
        names = ("".join(_NAME_WORD.findall(fold(line.partition("#")[0]))) for line in lines)
        return cls(filter(None, names))

    def names_one(self, reading: Reading) -> bool:
        """Whether one of the names stands in a text, in any spelling, also with initials between its words."""
        numbered = _NAME_PART.findall(reading.plain) if self._numbered else []
        longer = [word for word in reading.words if len(word) > 1]
        return any(map(self._holds, (*reading.orders, longer, numbered)))

    def _holds(self, told: list[str]) -> bool:
        text, ends = "".join(told), list(accumulate(map(len, told)))
        borders = frozenset(ends)
        for size in self._sizes:
            for at in [at for at in (0, *ends) if text[at : at + size] in self._lengths]:
                for length in self._lengths[text[at : at + size]]:
                    if at + length in borders and text[at : at + length] in self.names:
                        return True
        return bool(self._inside) and not text.isascii() and self._holds_inside(text)

    def _holds_inside(self, text: str) -> bool:
        return any(
            text[at : at + length] in self.names
            for at in range(len(text) - 1)
            for length in self._inside.get(text[at : at + 2], ())
        )


def _lengths_by_start(names: Iterable[str], letters: int) -> dict[str, set[int]]:
    """How long the names are that begin with the same letters, by these (by all of a name that is shorter)."""
    found: dict[str, set[int]] = {}
    for name in names:
        found.setdefault(name[:letters], set()).add(len(name))
    return found


def names_real_person(reading: Reading, denied: DenyList | None = None) -> bool:
    """Whether the text asks for the likeness of somebody, or holds a name of the deny list."""
    if not _OUTRIGHT.isdisjoint(reading.all_words):
        return True
    if not reading.plain.isascii() and any(cue in reading.plain for cue in _OUTRIGHT_EAST_ASIAN):
        return True
    likes = _LIKE.finditer(reading.cased) if "like" in reading.all_words else ()
    if any(_is_name(match["rest"], strict=True) for match in likes):
        return True
    cued = not _CUES.isdisjoint(reading.all_words) or not _CUE_PAIRS.isdisjoint(pairwise(reading.words))
    others = _LIKENESS.finditer(reading.cased) if cued else ()
    if any(_is_name(match["rest"], strict=False) for match in others):
        return True
    return denied is not None and denied.names_one(reading)


def _is_name(rest: str, *, strict: bool) -> bool:
    """Whether the words after "looks like" name somebody; `strict` takes any unknown beginning for a name."""
    told = _TOLD_PART.findall(rest)
    if not told or not told[0].isalpha():
        return False
    first = told[0].lower()
    if first in _DETERMINERS:
        return _has_full_name(told[1:])
    if told[0][0].isupper():
        return first not in _CAPITAL_OK or _has_full_name(told[1:])
    return strict and first not in _EVERYDAY


def _has_full_name(told: list[str]) -> bool:
    """Whether two capitalised words stand side by side, as in "a young Marie Curie"."""
    named = [word[:1].isupper() and word.lower() not in _CAPITAL_OK for word in told]
    return any(one and two for one, two in pairwise(named))
