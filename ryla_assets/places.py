"""Where a deployment keeps its ledger, and what is told where the ledger or the home cannot be used.

Belongs here: errors of others (the database's, the operating system's) that name a setting of ours. Errors of the store
are `resources.storage`'s; what is configured and reachable at large is the doctor's.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from resources.database import DatabaseUnusable
from ryla_assets.domain.errors import InputError
from ryla_assets.settings import Settings

_NO_RIGHT = "42501"  # insufficient_privilege (Postgres manual, appendix A)


def ledger_place(settings: Settings) -> str:
    """The database as people know it: a file, or an address without its password; "" for what is none."""
    address = _address(settings)
    if address is None:
        return ""
    return _file(address) or address.set(query={}).render_as_string(hide_password=True)


def unusable(error: Exception, settings: Settings) -> InputError | None:
    """What stands in the way of the database or the home: field, value and way out. None for any other error."""
    if isinstance(error, OSError):
        return _folder_unusable(error, settings)
    if not isinstance(error, DatabaseUnusable) and not _of_database(error):
        return None
    address, place = _address(settings), ledger_place(settings)
    field = "RYLA_DATABASE_URL" if settings.database_url else "RYLA_HOME"
    reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0].rstrip(".")
    return InputError(
        f"the database{place and ' '}{place} cannot be used: {_without_secrets(reason, address)}.",
        field=field,
        value=place or None,
        way_out=_way_out(reason, field, is_file=bool(_file(address))),
    )


def _way_out(reason: str, field: str, *, is_file: bool) -> str:
    if "locate revision" in reason:  # alembic's words
        return f"A newer version of RYLA Assets wrote it: install that one, or point {field} elsewhere."
    if "locked" in reason:
        return "Another process writes to it: try again."
    if is_file:
        return f"Repair or restore it, or set {field} to another place."
    return f"Correct {field}, or start its server."


def _of_database(error: Exception) -> bool:
    """Whether the database is damaged, locked, gone, closed to us or newer than we are; no wrong statement of ours."""
    from alembic.util import CommandError

    if isinstance(error, sa.exc.ProgrammingError):
        return getattr(error.orig, "pgcode", "") == _NO_RIGHT
    if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
        return False
    return isinstance(error, sa.exc.DBAPIError | CommandError)


def _folder_unusable(error: OSError, settings: Settings) -> InputError | None:
    """An error about the home, or about the folder of a SQLite file that lies elsewhere."""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    folders = {"RYLA_HOME": settings.home}
    if file := _file(_address(settings)):
        folders["RYLA_DATABASE_URL"] = Path(file).parent
    for field, folder in folders.items():
        if place and Path(place).resolve().is_relative_to(folder.resolve()):
            return InputError(
                f"{place} cannot be used: {error.strerror}.",
                field=field,
                value=str(folder),
                way_out="Set it to a place that this user may write, on a disk with room.",
            )
    return None


def _address(settings: Settings) -> sa.URL | None:
    try:
        return sa.make_url(settings.database)
    except (sa.exc.ArgumentError, ValueError):
        return None


def _file(address: sa.URL | None) -> str:
    """The file of a SQLite database, else ""."""
    return (address.database or "") if address is not None and address.get_backend_name() == "sqlite" else ""


def _without_secrets(text: str, address: sa.URL | None) -> str:
    """A driver's words without the passwords of the address."""
    if address is None:
        return text
    given = [address.password, *(value for name, value in address.query.items() if "pass" in name)]
    for secret in given:
        text = text.replace(secret, "***") if isinstance(secret, str) and secret else text
    return text
