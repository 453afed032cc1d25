"""What a deployment sets to reach the jobs API: address, key, ids of endpoints; checked before anything is sent.

A refusal says what is wrong with a value and never what it is: settings hold secrets.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from resources.gpu.backends.runpod.ids import is_id


def checked_url(url: str) -> str:
    """The API's base without a trailing slash. Raises ValueError saying what is wrong with it, not what it is."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("holds a user or a password, and would be stored with every attempt")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or a fragment")
    return url.rstrip("/")


def checked_key(key: str) -> str:
    """The key. Raises ValueError where there is none or where no header can carry it."""
    if not key:
        raise ValueError("is not set")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ValueError("holds a space, a line break or a letter that no HTTP header carries")
    return key


def checked_id(value: str) -> str:
    """An endpoint's or a job's id, safe in a path. Raises ValueError."""
    if not value:
        raise ValueError("is not set")
    if not is_id(value):
        raise ValueError("is no id of RunPod, which has letters, digits, - and _ only")
    return value
