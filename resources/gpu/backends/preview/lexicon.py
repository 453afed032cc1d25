"""Reads a prompt text: which traits and which look its words ask for.

Belongs here: matching phrases of a handed-in lexicon. Does not belong here: any phrase; they are the caller's data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from resources.gpu.backends.preview.look import CHOICES

TRAITS = (
    "gender", "age", "ethnicity", "skin_color", "eye_color", "face_shape", "hair_color", "hair_style", "body_type",
    "freckles", "beauty_marks", "scars", "piercings", "tattoos", "style",
)  # fmt: skip
_AGE = re.compile(r"(?<!\d)(\d{2})[- ]years?[- ]old")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a text asks for: `traits` of the person and words of the `look`; absent keys are free."""

    traits: Mapping[str, str]
    look: Mapping[str, str]


def read(text: str, lexicon: Mapping[str, object]) -> Meaning:
    """The meaning of `text` under `{"phrases": [{"phrase": ..., "set": {key: value}}, ...]}`.

    Case does not count, phrases end at word boundaries, longer phrases win and use up their words. Where two phrases
    set the same key, the one that stands first in the text counts. ValueError when the lexicon sets an unknown key.
    """
    rest = text.lower()
    found: list[tuple[int, Mapping[str, str]]] = []
    if age := _AGE.search(rest):
        found.append((age.start(), {"age": age.group(1)}))
    for phrase, values in _longest_first(lexicon):
        pattern = re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])")
        found.extend((match.start(), values) for match in pattern.finditer(rest))
        rest = pattern.sub(lambda match: "\0" * len(match.group()), rest)
    merged: dict[str, str] = {}
    for _, sets in sorted(found, key=lambda item: item[0]):
        for key, value in sets.items():
            merged.setdefault(key, value)
    return Meaning(
        traits={key: value for key, value in merged.items() if key in TRAITS},
        look={key: value for key, value in merged.items() if key in CHOICES},
    )


def _longest_first(lexicon: Mapping[str, object]) -> list[tuple[str, dict[str, str]]]:
    entries = lexicon.get("phrases", [])
    if not isinstance(entries, list):
        raise TypeError("the lexicon's phrases must be a list of {phrase, set}")
    pairs = [(str(entry["phrase"]).lower(), {str(k): str(v) for k, v in entry["set"].items()}) for entry in entries]
    for phrase, sets in pairs:
        unknown = [key for key in sets if key not in TRAITS and key not in CHOICES]
        if unknown:
            raise ValueError(
                f"lexicon phrase {phrase!r} sets {', '.join(unknown)}; known keys: {', '.join((*TRAITS, *CHOICES))}"
            )
    return sorted(pairs, key=lambda pair: -len(pair[0]))
