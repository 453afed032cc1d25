"""How a wrong value from outside is told: by field and way out, and repeated only if the safety screen lets it pass.

Belongs here: errors that would repeat a value or the name of a field. Does not belong here: closed sets of ids
(`choices`), what is wrong with a description (`character`), the screen (`safety`).
"""

from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.safety import blocked, reason_against
from ryla_assets.domain.safety_person import DenyList

WrongValue = InputError | UnsafeText  # the second where the value may not be repeated


def reason_not_to_repeat(value: object, denied: DenyList | None = None) -> str:
    """The screen's code against showing `value`, or an empty string; a number by itself tells nothing."""
    return "" if isinstance(value, (int, float, type(None))) else reason_against(str(value), denied)


def shown(value: object) -> str:
    """`value` as an error may repeat it."""
    return "(not shown)" if reason_not_to_repeat(value) else str(value)[:60]


def wrong_value(
    value: object, *, field: str, fault: str, way_out: str = "", denied: DenyList | None = None
) -> WrongValue:
    """The error for a value of a known field; it says what stands there."""
    code = reason_not_to_repeat(value, denied)
    if code:
        return blocked(value, code, field=field, fault=f"{fault}; what stands there is", way_out=way_out)
    return InputError(f"{fault} (got {repr(value)[:60]}).", field=field, value=repr(value)[:60], way_out=way_out)


def unknown_field(
    value: object, *, field: str, inside: str, fault: str, way_out: str, denied: DenyList | None = None
) -> WrongValue:
    """The error for a field that does not exist, `inside` of something: names it unless its name is blocked.

    What stands in it is not told, but screened: somebody meant it for a picture.
    """
    code = reason_against(field, denied)
    if code:
        return blocked(field, code, field=inside, fault="an unknown field, whose name is", way_out=way_out)
    code = reason_not_to_repeat(value, denied)
    if code:
        return blocked(value, code, field=field, fault=f"{fault}; what stands there is", way_out=way_out)
    return InputError(f"{fault}.", field=field, way_out=way_out)
