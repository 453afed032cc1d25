"""RFC 9457 errors of the control API, and the few checks of bodies that refuse them.  # runpod facts 1 [spec]"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from tests.fakes.fake_runpod.http import Reply, Request


class Problem(Exception):
    """An error answer: status, sentence, and the fields that are wrong."""

    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors or []

    def reply(self) -> Reply:
        """As application/problem+json."""
        body: dict[str, Any] = {
            "title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail,
        }  # fmt: skip
        if self.errors:
            body["errors"] = self.errors
        return Reply(body, self.status, content_type="application/problem+json")


def body_of(request: Request, known: set[str], required: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """The JSON object of a request: 400 if it is none, 422 if fields are unknown or missing."""
    try:
        body = request.json()
    except ValueError as error:
        raise Problem(400, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object")
    wrong = [f"unknown field: {name}" for name in sorted(set(body) - known)]
    wrong += [f"missing field: {name}" for name in sorted(required - set(body))]
    if wrong:
        raise Problem(422, "Request validation failed.", wrong)
    return body


def whole(value: Any, name: str, least: int, most: int | None = None) -> int:
    """A whole number within bounds, else 422."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise Problem(422, "Request validation failed.", [f"{name} is {value!r}; it must be from {least} to {most}"])
    return value
