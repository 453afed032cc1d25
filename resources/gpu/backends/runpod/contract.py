"""What a worker image must be told and what it answers: the protocol that both contracts keep.

Belongs here: the protocol alone. Worker-comfyui's is `official`, our own worker's is `ours`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from resources.gpu.backend import RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod.ids import RemoteId
from resources.gpu.job import Job


class Contract(Protocol):
    """One worker image's language."""

    @property
    def max_result_bytes(self) -> int | None:
        """Raw bytes that one job may return; None: no limit of its own."""

    def problems(self, job: Job) -> list[tuple[str, str, str]]:
        """(type, message, details) of what such a worker can never do."""

    def payload(self, submission: Submission) -> dict[str, Any]:
        """What goes under `input`. Blocking; raises InvalidJob, and the store's errors for a missing input."""

    def read(self, body: Mapping[str, Any], job: RemoteId, expected: Sequence[str]) -> RemoteStatus:
        """A status body; COMPLETED is judged. `expected` are the outputs asked for, empty where not known here."""

    def stored(self, job: RemoteId, attempt_id: str = "") -> RemoteStatus | None:
        """The job as a result in the store tells it; None without one (of that attempt, if given). Blocking."""

    def forget(self, job: RemoteId) -> None:
        """Delete what lies in the store of it, so that no later attempt is given it. Blocking."""

    def is_of(self, body: Mapping[str, Any], job: RemoteId, attempt_id: str) -> bool:
        """True if a status body shows that it is this very attempt's job, which it does only once it has succeeded.

        RunPod tells no job's input, and what a running or failed job tells is the same for any attempt.
        """

    async def outputs(self, body: Mapping[str, Any] | None, job: RemoteId) -> list[RemoteOutput]:
        """The files of a succeeded job, from its status body (None: there is none any more). Raises JobLost."""
