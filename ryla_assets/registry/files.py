"""Character files: YAML in, a validated spec out."""

from __future__ import annotations

from pathlib import Path

import yaml

from ryla_assets.domain.character import CharacterSpec, parse_character
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.safety_person import DenyList

MAX_BYTES = 64 * 1024  # a full description is 2 kB


def load_character(path: Path, *, denied: DenyList | None = None) -> CharacterSpec:
    """Read one character file. Raises InputError naming the file, and the field if the description is wrong."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}).", field="file", value=str(path), way_out="Check the path."
        ) from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path} has {len(raw)} bytes; at most {MAX_BYTES} are read.", field="file", value=str(path))
    try:
        data = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" (line {line + 1})" if line is not None else ""
        raise InputError(f"{path} is not valid YAML{place}.", field="file", value=str(path)) from None
    if not isinstance(data, dict):
        raise InputError(
            f"{path} holds no mapping.", field="file", value=str(path), way_out="Start it with id: and config:."
        )
    return parse_character(data, source=str(path), denied=denied)
