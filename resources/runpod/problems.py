"""What RunPod's control API says when it does not do what was asked, as our errors; classified once, here.

Its errors are RFC 9457 problems (`title`, `status`, `detail`, `errors`). A 404 in any other shape comes from something
else: the retired v1, or an address that is not the control API at all.
"""

from __future__ import annotations

import json
from typing import Any

from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod.answers import table, texts
from resources.runpod.redaction import shown

MOVED = (
    "RunPod's REST API moved: v1 (rest.runpod.io/v1) was retired on 2026-11-15. "
    "Set RUNPOD_CONTROL_URL=https://api.runpod.io/v2, or unset it."
)
SHOWN_CHARS = 300  # of each of its words

# status -> code, what another try is worth, way out. 422, 400, 402, 403, 429 as the specification of pods has them.
_MEANING: dict[int, tuple[str, Retry, str]] = {
    400: ("rejected", Retry.ELSEWHERE, "Another GPU type may have room; if none is taken, the request is wrong."),
    401: ("key_refused", Retry.FATAL, "Set RUNPOD_API_KEY to a key that is valid; see ryla doctor."),
    402: ("balance_zero", Retry.FATAL, "Add credit to the RunPod account, then run the same command again."),
    403: ("forbidden", Retry.ELSEWHERE, "Give the key of RUNPOD_API_KEY the permission, or choose another GPU type."),
    404: ("not_found", Retry.PERMANENT, "Compare the id with the RunPod console; see ryla doctor."),
    409: ("conflict", Retry.PERMANENT, "Look at its present state first; it does not allow this action."),
    422: ("invalid_request", Retry.PERMANENT, "The request breaks the API's contract; never sent again unchanged."),
    429: ("rate_limited", Retry.TRANSIENT, "Wait; nothing was concluded meanwhile."),
}


class ControlProblem(BackendUnavailable):
    """The control API answered, and refused: `title` and `fields` in its words, cleaned."""

    def __init__(
        self, message: str, *, status: int = 0, title: str = "", fields: tuple[str, ...] = (), **rest: Any
    ) -> None:
        super().__init__(message, **rest)
        self.status = status
        self.title = title
        self.fields = fields

    @property
    def certain(self) -> bool:
        """True if what was asked certainly did not happen; a server that fails may have done it."""
        return self.status < 500


class ControlSilent(BackendUnavailable):
    """No answer, or none that can be read: what was asked may have happened."""

    code = "control_silent"


def problem(asked: str, status: int, body: bytes, key: str) -> ControlProblem:
    """The error for an answer that is no success; `asked` is method and path, `key` what must not be shown."""
    raw = _document(body)
    said = {name: clean(raw[name], key) for name in ("title", "detail", "message", "error") if name in raw}
    fields = tuple(clean(field, key) for field in texts(raw.get("errors"))[:5])
    is_v2 = "detail" in raw or "title" in raw
    if status == 410 or 300 <= status < 400 or (status in (404, 405) and not is_v2):
        return ControlProblem(
            f"{asked} answers {status}, and not as the control API v2 does. {MOVED}",
            status=status, code="api_moved", retry=Retry.FATAL, way_out="See ryla doctor.",
        )  # fmt: skip
    words = said.get("detail") or said.get("message") or said.get("error") or clean(body, key)
    detail = "; ".join(part for part in (said.get("title"), words, *fields) if part)
    fallback = ("control_down", Retry.TRANSIENT, "") if status >= 500 else ("control_refused", Retry.PERMANENT, "")
    code, retry, way_out = _MEANING.get(status, fallback)
    return ControlProblem(
        f"{asked} answers {status}{': ' + detail if detail else ''}.",
        status=status, title=said.get("title", ""), fields=fields, code=code, retry=retry, way_out=way_out,
    )  # fmt: skip


def clean(value: Any, key: str) -> str:
    """Somebody else's words, short and fit to be shown; what goes on after them is one sentence."""
    return shown(value, SHOWN_CHARS, key).rstrip(".")


def _document(body: bytes) -> dict[str, Any]:
    try:
        return dict(table(json.loads(body)))
    except (ValueError, RecursionError):
        return {}
