"""Reading a message that may be hostile: each field is asked for by name, type and range.

Belongs here: how a JSON object is taken apart, and the error that names field, value and way out. What the fields of
our messages are, stands in `workflows.wire`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workflows.errors import WireError

HASH: Final = r"^[0-9a-f]{64}$"
UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
NAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}){0,3}$"
URL: Final = r"^https?://[!-~]{1,8000}$"
CODE: Final = r"^[a-z0-9][a-z0-9_]{0,63}$"

SAME_RELEASE: Final = "Run a worker of the same release as the pipeline."
_RULES: Final = {
    HASH: "64 lower-case hex characters",
    UUID: "a UUID in lower case",
    NAME: "a relative name: letters, digits, '.', '_', '-', at most 4 parts of 128 between '/', none begins with '.'",
    CODE: "at most 64 of a-z, 0-9 and '_'",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A JSON object that is being read; `place` is what its fields are called by in errors. Each raises WireError."""

    values: dict[str, Any]
    place: str = ""

    def at(self, key: str) -> str:
        """What errors call the field; its name may come from outside as well."""
        return self.place + ascii(key[:80])[1:-1]

    def take(self, key: str) -> Any:
        """The field as it is."""
        if key not in self.values:
            raise WireError("is missing.", field=self.at(key), way_out=SAME_RELEASE)
        return self.values[key]

    def text(self, key: str, pattern: str) -> str:
        """A text of one of the patterns above."""
        return matching(self.at(key), self.take(key), pattern)

    def words(self, key: str) -> str:
        """Any text."""
        value = self.take(key)
        if not isinstance(value, str):
            raise wrong(self.at(key), value, "a text")
        return value

    def url(self, key: str) -> str:
        """An http or https URL, which the error does not show: it may hold a signature."""
        value = self.take(key)
        if not isinstance(value, str) or not re.fullmatch(URL, value):
            raise WireError("is no http or https URL (not shown here).", field=self.at(key), way_out=SAME_RELEASE)
        return value

    def one_of(self, key: str, choices: Sequence[str]) -> str:
        """One of a few words."""
        value = self.take(key)
        if not isinstance(value, str) or value not in choices:
            raise wrong(self.at(key), value, f"one of {', '.join(choices)}")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number within bounds; true and 1.0 are none."""
        value = self.take(key)
        if type(value) is not int or not least <= value <= most:
            raise wrong(self.at(key), value, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, most: float) -> float:
        """A number from 0 to `most`; NaN and infinity are in no range."""
        value = self.take(key)
        if type(value) not in (int, float) or not 0 <= value <= most:
            raise wrong(self.at(key), value, f"a number from 0 to {most:.0f}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise wrong(self.at(key), value, "true or false")
        return value

    def table(self, key: str) -> "Table":
        """An object."""
        value = self.take(key)
        if not isinstance(value, dict):
            raise wrong(self.at(key), value, "an object")
        return Table(value, f"{self.at(key)}.")

    def tables(self, key: str, *, least: int, most: int) -> list["Table"]:
        """A list of objects, as many as allowed."""
        value = self.take(key)
        if not isinstance(value, list):
            raise wrong(self.at(key), value, "a list")
        if not least <= len(value) <= most:
            raise wrong(self.at(key), len(value), f"a number of entries from {least} to {most}")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise wrong(f"{self.at(key)}[{index}]", item, "an object")
        return [Table(item, f"{self.at(key)}[{index}].") for index, item in enumerate(value)]


def message(data: bytes | str | dict[str, Any], *, limit: int) -> Table:
    """Decode a message of at most `limit` bytes; one that came decoded is measured as well."""
    try:
        raw = data if isinstance(data, bytes | str) else json.dumps(data, allow_nan=False)
        size = len(raw if isinstance(raw, bytes) else raw.encode())
        if size > limit:
            raise WireError(
                f"has {size} bytes; at most {limit} are taken.",
                field="message",
                value=size,
                way_out="Split the job into smaller ones.",
            )
        value = json.loads(raw, parse_constant=_refuse) if isinstance(data, bytes | str) else data
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError("cannot be read as JSON.", field="message", way_out=SAME_RELEASE) from error
    if not isinstance(value, dict):
        raise wrong("message", value, "an object")
    return Table(value)


def matching(place: str, value: object, pattern: str) -> str:
    """The value, if it is a text of that pattern; WireError naming `place` otherwise."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value) or value.endswith("\n"):
        raise wrong(place, value, _RULES[pattern])
    return value


def wrong(place: str, value: object, expected: str) -> WireError:
    """The error for a value that is not `expected`; of a long text it shows the beginning, of an object its type."""
    if isinstance(value, dict | list):
        shown = "an object" if isinstance(value, dict) else "a list"
    else:
        shown = ascii(value[:80] if isinstance(value, str) else value)[:100]
    return WireError(f"{shown} is not {expected}.", field=place, value=shown, way_out=SAME_RELEASE)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
