"""Every error the domain raises, as one tree.

Belongs here: errors about characters, gates, requests and policy. Errors of GPU work live in
`resources.gpu.errors`, errors of graphs in `workflows.errors`: nothing there knows a character.

    RylaError                    something a person can act on; always says what, and the way out
    ├── InputError               a description, option or file is wrong      (exit 2, never retried)
    │   ├── UnknownCharacter
    │   └── DuplicateCharacter
    ├── UnsafeText               a text the safety screen blocks              (exit 2, never retried)
    ├── Refused                  a gate or a policy says no                   (exit 1, never retried)
    │   ├── NotAccepted          an upstream manifest failed or was never judged
    │   └── TooEarly             the stage before has not happened yet
    └── Conflict                 somebody else moved the row first            (exit 1, run it again)
"""


class RylaError(Exception):
    """Base of all domain errors: what is wrong, where, and what to do about it."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, field: str = "", value: object = None, way_out: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.way_out = way_out

    def __str__(self) -> str:
        place = f"{self.field}: " if self.field else ""
        cure = f" {self.way_out}" if self.way_out else ""
        return f"{place}{self.message}{cure}"

    def as_dict(self) -> dict[str, object]:
        """The error as `--json` and the HTTP app show it."""
        value = None if self.value is None else str(self.value)
        return {
            "code": self.code,
            "field": self.field,
            "value": value,
            "message": self.message,
            "way_out": self.way_out,
        }


class InputError(RylaError):
    """A description, option or file is wrong: correct it and try again."""

    code = "input"
    exit_code = 2


class UnknownCharacter(InputError):
    """No character of that id is in the registry."""

    code = "unknown_character"


class DuplicateCharacter(InputError):
    """A character of that id exists already."""

    code = "duplicate_character"


class UnsafeText(RylaError):
    """The safety screen blocked a text; the text itself is never repeated, only `sha256` names it.

    `recorded` says that the audit trail has it.
    """

    code = "unsafe_text"
    exit_code = 2

    def __init__(
        self, message: str, *, field: str = "", value: object = None, way_out: str = "", sha256: str = ""
    ) -> None:
        super().__init__(message, field=field, value=value, way_out=way_out)
        self.sha256 = sha256
        self.recorded = False


class Refused(RylaError):
    """A gate or a policy refused the work before anything was paid."""

    code = "refused"


class NotAccepted(Refused):
    """The manifest this stage builds on failed its checks, or was never judged."""

    code = "not_accepted"


class TooEarly(Refused):
    """The stage before this one has not happened yet."""

    code = "too_early"


class Conflict(RylaError):
    """Somebody else changed the row first; nothing was written."""

    code = "conflict"
