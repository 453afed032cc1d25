"""The prompt catalogue: one set of data files behind prompt text, validation, the HTTP schema and the preview.

Belongs here: loading and checking `catalogue/*.yaml`. Does not belong here: the order of words in a prompt (`build`),
the preview's phrase list (`lexicon`).

Shape of every file: `section: {id: {text: ..., preview: {look key: value}, lighting: id}}`. `text` is what the prompt
says; `preview` what the embedded renderer shows for it; `lighting` (scenes only) the light used where none is named.
An unknown id is an error with its near matches, never a literal in a prompt.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ryla_assets.domain import shots
from ryla_assets.domain.character import SLUG
from ryla_assets.domain.choices import unknown_choice
from ryla_assets.domain.errors import InputError

FOLDER: Final = Path(__file__).parent / "catalogue"

# What the embedded renderer can show besides the person; `build` hands the same words to it.
LOOK: Final[dict[str, tuple[str, ...]]] = {
    "framing": get_args(shots.Framing),
    "view": get_args(shots.View),
    "posture": get_args(shots.Posture),
    "expression": get_args(shots.Expression),
    "light": ("studio", "natural", "dramatic", "golden", "night", "backlit"),
    "background": ("studio", "bokeh", "outdoor", "indoor", "city", "beach", "dark"),
    "outfit": ("casual", "formal", "sport", "summer", "cozy"),
}


class Entry(BaseModel):
    """One id of the catalogue."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    text: str
    preview: dict[str, str] = {}
    lighting: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """All sections by name; an entry by section and id."""

    sections: Mapping[str, Mapping[str, Entry]]

    def ids(self, section: str) -> tuple[str, ...]:
        """The ids of a section, in the file's order."""
        return tuple(self.sections[section])

    def entry(self, section: str, entry_id: str, *, field: str = "") -> Entry:
        """The entry of `entry_id`. Raises InputError (named `field`, else the section) with near matches."""
        entries = self.sections[section]
        if entry_id not in entries:
            raise unknown_choice(field or section, entry_id, entries)
        return entries[entry_id]

    def text(self, section: str, entry_id: str, *, field: str = "") -> str:
        """What the prompt says for `entry_id`; errors as `entry`."""
        return self.entry(section, entry_id, field=field).text


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The shipped catalogue, read once a process."""
    return load_catalogue(FOLDER)


def load_catalogue(folder: Path) -> Catalogue:
    """Read and check every `*.yaml` of `folder`.

    Raises InputError on a duplicate key or section, an unknown key, a preview value that the renderer does not know, or
    a scene's lighting that does not exist.
    """
    sections: dict[str, dict[str, Entry]] = {}
    for path in sorted(folder.glob("*.yaml")):
        for section, entries in _read(path).items():
            if section in sections:
                raise InputError(f"section is in two files, one is {path.name}.", field=section, way_out="Merge them.")
            sections[section] = {entry_id: _entry(f"{section}.{entry_id}", raw) for entry_id, raw in entries.items()}
    for section, found in sections.items():
        for entry_id, entry in found.items():
            if entry.lighting is not None and entry.lighting not in sections.get("lighting", {}):
                raise unknown_choice(f"{section}.{entry_id}.lighting", entry.lighting, sections.get("lighting", {}))
    return Catalogue(sections)


def _read(path: Path) -> dict[str, dict[str, object]]:
    # _UniqueKeys is a SafeLoader: it builds plain data only.
    content = yaml.load(path.read_text("utf-8"), Loader=_UniqueKeys)  # noqa: S506
    if not isinstance(content, dict) or not all(isinstance(entries, dict) for entries in content.values()):
        raise InputError("not a mapping of sections to entries.", field=path.name, way_out="See the other files.")
    return content


def _entry(name: str, raw: object) -> Entry:
    if not SLUG.fullmatch(name.partition(".")[2]):
        raise InputError("an id is lower case letters, digits and '-'.", field=name)
    try:
        entry = Entry.model_validate(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}.", field=name) from None
    for key, value in entry.preview.items():
        if key not in LOOK:
            raise unknown_choice(f"{name}.preview", key, LOOK)
        if value not in LOOK[key]:
            raise unknown_choice(f"{name}.preview.{key}", value, LOOK[key])
    return entry


class _UniqueKeys(yaml.CSafeLoader):
    """YAML keeps the last of two equal keys in silence; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise InputError("is written twice.", field=str(min(twice)), way_out=f"See {node.start_mark}.".strip())
        return super().construct_mapping(node, deep=deep)
