"""Somebody else's words, fit to be shown: without secrets, in one line, of a bounded length.

Belongs here: what in a text from afar may be a secret. Workers, proxies and servers repeat what they were given:
presigned URLs, the address of a webhook, a header with our key. Whatever of theirs gets into an error, the ledger or a
log goes through `shown`, which cuts last: half a secret looks like none. Not here: what the words mean.
"""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from urllib.parse import quote

HIDDEN = "[hidden]"
KEY = "[key]"
READ_CHARS = 20_000  # of a text that are looked at
_LONGEST = 4_096  # characters of one secret: a presigned URL with a session token has about 2,000
_SHORTEST_KEY = 8  # what is shorter is no key, and may be a word

_VALUE = r"[\w.~+/%=-]{16,}"
_NAME = r"(?:token|signature|secret|password|passwd|credential|api[_-]?key)[\w-]{0,24}"
_SUSPECT = re.compile(r"[:/?=%>]|bearer|eyJ|(?:rpa|rps|hf)_", re.IGNORECASE)  # without one of these no rule applies
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/\"'<>]{1,1000}@", re.IGNORECASE)
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s?#\"'<>\\]*)([?#][^\s\"'<>]*)?", re.IGNORECASE)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), rest)
    for pattern, rest in (
        (r"(?<=[\w/.~%-])\?[\w.~%\[\]-]{1,100}=[^\s\"'<>]*", f"?{HIDDEN}"),  # urllib3 names a URL without its host
        (r"(webhooks(?:/|%2f)[\w-]{1,60}(?:/|%2f)[\w-]{1,60}(?:/|%2f))[\w.~-]+", rf"\1{HIDDEN}"),
        (r"(authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?)(?:\w{1,20} +)?[^\s\"',;)}<>\\]+", rf"\1{HIDDEN}"),
        (rf"(\bbearer\s+){_VALUE}", rf"\1{HIDDEN}"),
        (rf"({_NAME}[\"']?\s{{0,3}}(?:[=:>]|%3d)\s{{0,3}}[\"']?){_VALUE}", rf"\1{HIDDEN}"),
        (r"\b(?:rpa|rps|hf)_[a-z0-9]{20,}", HIDDEN),  # keys of RunPod, of its S3, of Hugging Face
        (r"\beyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?", HIDDEN),  # a JWT: Supabase's keys are some
    )
)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|title|h1|center|\?xml|error)\b", re.IGNORECASE)


def shown(value: object, most: int, key: str = "") -> str:
    """Any value as one line of at most `most` characters, without secrets, control characters, and a page's tags.

    `key` is a secret by itself, in whatever clothes: as it is, percent-encoded, in base64.
    """
    text = _text(value)
    words = redacted(text[:READ_CHARS], key)
    if len(text) > READ_CHARS:  # what the cut went through is at the end, and not recognised
        words = words[:-_LONGEST]
    if _PAGE.match(words):
        words = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", words)
    return " ".join(re.sub(r"[^\x20-\x7e\u00a0-\uffff]", " ", words).split())[:most]


def redacted(text: str, key: str = "") -> str:
    """The text without what may be a secret in it; slow for one of megabytes."""
    for form in _forms(key):
        text = text.replace(form, KEY)
    if not _SUSPECT.search(text):
        return text
    text = _USER.sub(r"\1", text.replace("\\/", "/"))  # as some write JSON
    text = _URL.sub(lambda url: f"{url[1]}?{HIDDEN}" if url[2] else url[1], text)
    for pattern, rest in _RULES:
        text = pattern.sub(rest, text)
    return text


def without_key(data: bytearray, key: str) -> bytearray:
    """The same bytes without `key`, whatever they are."""
    for form in _forms(key):
        if (secret := form.encode()) in data:
            data = data.replace(secret, KEY.encode())
    return data


@lru_cache(maxsize=16)
def _forms(key: str) -> tuple[str, ...]:
    """How a key may stand in a text. In base64 it depends on what stands before it: three ways."""
    if len(key) < _SHORTEST_KEY:
        return ()
    found = [key, quote(key, safe="")]
    for before in range(3):
        whole = base64.b64encode(bytes(before) + key.encode()).decode()
        found.append(whole[-(-8 * before // 6) : 8 * (before + len(key)) // 6])  # letters that are the key's alone
    return tuple(dict.fromkeys(found + [form.replace("+", "-").replace("/", "_") for form in found[2:]]))


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value[: 4 * READ_CHARS]).decode("utf-8", "replace")
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
