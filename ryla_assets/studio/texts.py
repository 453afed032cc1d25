"""The one door for texts: whatever is said of a person goes through here to the screen, and what it blocks is recorded.

Belongs here: the deny list of this deployment, the audit trail (by hash, never the text), and the functions through
which stages, the command line and the HTTP app make prompts and characters. A test holds that nobody in the studio or
above it goes to the screen, to the prompts or to character files by another way. What is blocked, and why, is
`ryla_assets.domain.safety`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ryla_assets.domain.character import CharacterSpec, parse_character
from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.safety import block_record, screen
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.shots import Shot
from ryla_assets.prompts.build import PromptText, build_caption, build_prompt
from ryla_assets.registry.files import load_character
from ryla_assets.registry.records import Character
from ryla_assets.studio.studio import Studio

MAX_LIST_BYTES = 4 * 1024 * 1024  # 200,000 names


def prompt(studio: Studio, who: Character, shot: Shot, *, stage: str, asked_by: str = "", **words: Any) -> PromptText:
    """The prompt of one shot, as `build_prompt` makes it of `words`, for a stage. Errors as `build_prompt`."""
    with recorded(studio, place=stage, character=who.id, who=asked_by):
        return build_prompt(who.config, shot, denied=studio.denied, **words)


def caption(studio: Studio, who: Character, shot: Shot, trigger: str, *, stage: str) -> str:
    """The caption of one training picture. Errors as `build_caption`."""
    with recorded(studio, place=stage, character=who.id):
        return build_caption(who.config, shot, trigger, denied=studio.denied)


def check(studio: Studio, text: str, *, field: str, place: str, character: str, who: str = "") -> None:
    """Pass a free text about a character, or raise UnsafeText."""
    with recorded(studio, place=place, character=character, who=who):
        screen(text, field=field, denied=studio.denied)


def character_from(studio: Studio, data: Mapping[str, object], *, source: str, who: str = "") -> CharacterSpec:
    """A character's description from outside. Errors as `parse_character`; nothing is added yet."""
    with recorded(studio, place="character add", who=who):
        return parse_character(data, source=source, denied=studio.denied)


def character_file(studio: Studio, path: Path, *, who: str = "") -> CharacterSpec:
    """A character's description from a YAML file. Errors as `load_character`; nothing is added yet."""
    with recorded(studio, place="character add", who=who):
        return load_character(path, denied=studio.denied)


def deny_list(path: Path | None) -> DenyList | None:
    """The names in RYLA_DENIED_NAMES; None where it is unset. Raises InputError: on half a list nothing starts."""
    if path is None:
        return None
    try:
        raw = path.read_bytes()
        lines = raw.decode("utf-8-sig").splitlines() if len(raw) <= MAX_LIST_BYTES else []
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _unusable(path, "is no UTF-8 text") from None
    found = DenyList.of(lines)
    if not found.names:
        raise _unusable(path, "holds no name" if raw[:1] and len(raw) <= MAX_LIST_BYTES else "is empty or too large")
    return found


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} {why}, so no text can be checked against it.",
        field="RYLA_DENIED_NAMES",
        value=str(path),
        way_out="Name a UTF-8 file with one name a line, at most 4 MB, or unset it.",
    )


@contextmanager
def recorded(studio: Studio, *, place: str, character: str | None = None, who: str = "") -> Iterator[None]:
    """Whatever the screen blocks inside is written down, once however many of these it passes, and raised on."""
    try:
        yield
    except UnsafeText as error:
        if error.recorded:
            raise
        error.recorded = True
        caller = studio.caller
        name = who or caller.who or (f"run {caller.run_id}" if caller.run_id else "nobody named")
        studio.registry.keep_block(block_record(error), place=place, who=name, character=character)
        raise
