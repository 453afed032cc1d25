"""The rule of the safety screen against real people: wordings that ask for a likeness, and names on a deny list.

Belongs here: the wordings, the deny list. Does not belong here: judging pictures against known faces.

A name alone cannot be told from an invented one, so it passes unless a deny list holds it. What is blocked without a
list is the wording that points at somebody: "looks like" before a name, "lookalike", "with the face of".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ryla_assets.domain.safety_text import Reading, fold
from ryla_assets.domain.safety_words import words

MAX_NAME_WORDS: Final = 6

_OUTRIGHT = words("""
    lookalike lookalikes doppelganger doppelgangers doppelgangerin deepfake deepfakes impersonator impersonators sosie
    sosia dubbelganger sobowtor faceswap likeness
    """)
_OUTRIGHT_PHRASES: Final = (
    " look alike ", " spitting image ", " dead ringer ", " deep fake ", " face swap", " celebrity face ",
    " famous person ", " real person ", " well known actress ", " well known actor ",
)  # fmt: skip
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
# One of these stands in everything that the expression above finds; most texts have none, and are not searched.
_CUES = words("""
    like resembles resembling resemble after von wie face faces features eyes smile lips jaw nose cheekbones body hair
    similar identical twin clone based double modeled modelled ressemble ressemblant parece parecida parecido identica
    igualita semelhante cara rosto assomiglia viso visage lijkt gezicht wyglada twarz похож похожа похожи
    """)
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


@dataclass(frozen=True)
class DenyList:
    """Names of real people that no text may hold, folded, under their first word."""

    by_first: dict[str, tuple[tuple[str, ...], ...]]

    @classmethod
    def of(cls, lines: Iterable[str]) -> "DenyList":
        """From lines of a file: one name a line, "#" begins a comment. A one-word name blocks that word alone."""
        found: dict[str, tuple[tuple[str, ...], ...]] = {}
        for line in lines:
            name = tuple(re.findall(r"[^\W_]+", fold(line.partition("#")[0])))[:MAX_NAME_WORDS]
            if name:
                found[name[0]] = (*found.get(name[0], ()), name)
        return cls(found)

    def names_one(self, text_words: list[str]) -> bool:
        """Whether one of the names stands in these words, in order."""
        return any(
            tuple(text_words[at : at + len(name)]) == name
            for at, word in enumerate(text_words)
            for name in self.by_first.get(word, ())
        )


def names_real_person(reading: Reading, denied: DenyList | None = None) -> bool:
    """Whether the text asks for the likeness of somebody, or holds a name of the deny list."""
    if not _OUTRIGHT.isdisjoint(reading.all_words):
        return True
    spaced = f" {' '.join(reading.words)} "
    if any(phrase in spaced for phrase in _OUTRIGHT_PHRASES):
        return True
    if not reading.plain.isascii() and any(cue in reading.plain for cue in _OUTRIGHT_EAST_ASIAN):
        return True
    likes = _LIKE.finditer(reading.cased) if "like" in reading.all_words else ()
    if any(_is_name(match["rest"], strict=True) for match in likes):
        return True
    others = () if _CUES.isdisjoint(reading.all_words) else _LIKENESS.finditer(reading.cased)
    if any(_is_name(match["rest"], strict=False) for match in others):
        return True
    return denied is not None and any(map(denied.names_one, (reading.words, *reading.respelled)))


def _is_name(rest: str, *, strict: bool) -> bool:
    """Whether the words after "looks like" name somebody; `strict` takes any unknown beginning for a name."""
    told = re.findall(r"[^\W\d_]+|[,.;:!?()]", rest)
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
