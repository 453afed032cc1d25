"""The catalogue as a phrase list for the embedded preview renderer.

Belongs here: which phrase of a prompt sets what of the picture. Does not belong here: reading a prompt (the preview
does), drawing, or the words themselves. The preview knows nothing of the catalogue; `build` hands it this list.

How to read a prompt with it: casefold the prompt, search the longest phrases first, let each found span count once;
where two phrases set one key, the earlier in the prompt wins (the structure comes before free details).
"""

from functools import lru_cache
from typing import Final

from ryla_assets.prompts.catalogue import LOOK, Entry, catalogue

# Sections whose ids are themselves the value of the trait or look of that name.
TRAIT_SECTIONS: Final = (
    *("gender", "ethnicity", "skin_color", "eye_color", "face_shape", "hair_color", "hair_style", "body_type"),
    *("freckles", "scars", "beauty_marks", "piercings", "tattoos", "style"),
)
SHOT_SECTIONS: Final = ("framing", "view", "posture", "expression")


@lru_cache(maxsize=1)
def lexicon() -> dict[str, list[dict[str, object]]]:
    """`{"phrases": [{"phrase": casefolded text, "set": {key: value}}]}`, longest phrase first; JSON-able.

    Keys are the trait sections and the looks of `catalogue.LOOK`. Treat the answer as read-only: it is built once.
    """
    phrases: list[dict[str, object]] = [
        {"phrase": entry.text.casefold(), "set": found}
        for section, entries in catalogue().sections.items()
        for entry_id, entry in entries.items()
        if entry.text and (found := _sets(section, entry_id, entry))
    ]
    return {"phrases": sorted(phrases, key=lambda phrase: (-len(str(phrase["phrase"])), str(phrase["phrase"])))}


def _sets(section: str, entry_id: str, entry: Entry) -> dict[str, str]:
    if section in TRAIT_SECTIONS or section in SHOT_SECTIONS:
        return {section: entry_id}
    return {key: value for key, value in entry.preview.items() if key in LOOK}
