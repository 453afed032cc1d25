"""What an answer's headers say about asking again: `Retry-After` and `RateLimit`.

Belongs here: reading the two headers, which are as hostile as a body. What is done with the seconds is the limits' of
whoever asked: the jobs API's (`resources.gpu.backends.runpod.limits`) or the control API's (`resources.runpod.limits`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_ITEM = re.compile(r"(?:^|,)[^,;]*((?:;[^,;]+)+)")


def retry_after_s(headers: Mapping[str, str], wall: float) -> float:
    """Seconds that Retry-After asks for, given as a number or as an HTTP date; 0 without one that can be read.

    `wall` is the time now, in seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - wall) if value else 0.0
    except (ValueError, OverflowError):
        return 0.0


def exhausted_s(headers: Mapping[str, str]) -> float:
    """Seconds until the longest spent budget of `RateLimit: "minute";r=0;t=12, ...` is whole again; 0: none is spent.

    RunPod control API v2, example headers; the jobs host documents none.
    """
    longest = 0.0
    for item in _ITEM.finditer(headers.get("ratelimit", "")):
        parts = dict(re.findall(r";\s*([rt])=(\d{1,9})", item.group(1)))
        if parts.get("r") == "0":
            longest = max(longest, float(parts.get("t", 0)))
    return longest
