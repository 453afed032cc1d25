"""What is asked before anything is sent: would the backend take the job, can it work at all, can we keep its pictures.

A gate belongs to one call: what it let through once is not asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from resources.content_credentials import Signer
from resources.gpu import errors
from resources.gpu.backend import Backend
from resources.gpu.job import Job
from resources.signing_key import CredentialsUnusable

REFUSAL_S = 5.0  # how long a refusal holds, so that a thousand jobs do not ask a thousand times


@dataclass
class Gate:
    """Stands before one backend."""

    backend: Backend
    signer: Signer | None = None
    _open: set[str] = field(default_factory=set)
    _refused: dict[str, tuple[float, errors.BackendUnavailable]] = field(default_factory=dict)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    def check(self, jobs: Sequence[Job]) -> None:
        """Raises InvalidJob for the first one that would be refused, BackendUnavailable where nothing can be signed."""
        self._ready_to_sign(jobs)
        for job in jobs:
            problems = self.backend.problems(job)
            if problems:
                lines = "; ".join(
                    f"node {p.get('node_id') or '-'}: {p['message']}: {p['details']}" for p in problems[:3]
                )
                raise errors.InvalidJob(
                    f"{job.label}: {self.backend.name} would refuse this job: {lines}.",
                    problems=tuple(problems),
                    way_out="Nothing was sent.",
                )

    async def pass_through(self, endpoints: Iterable[str]) -> None:
        """Ask once whether work sent to these can run at all. Raises BackendUnavailable."""
        async with self._one:
            asked = sorted(set(endpoints) - self._open)
            for endpoint in asked:
                since, refusal = self._refused.get(endpoint, (float("-inf"), None))
                if refusal is not None and time.monotonic() - since < REFUSAL_S:
                    raise refusal
            if asked:
                await self._preflight(asked)

    async def _preflight(self, endpoints: list[str]) -> None:
        try:
            await self.backend.preflight(endpoints)
        except errors.BackendUnavailable as error:
            if len(endpoints) == 1:  # of several nobody knows which one it was
                self._refused[endpoints[0]] = (time.monotonic(), error)
            raise
        self._open.update(endpoints)

    def _ready_to_sign(self, jobs: Sequence[Job]) -> None:
        """A certificate that cannot sign is told while nothing was sent: a paid picture never waits for it."""
        if self.signer is None or not any(output.media == "image" for job in jobs for output in job.outputs):
            return
        try:
            self.signer.ready()
        except CredentialsUnusable as error:
            raise errors.BackendUnavailable(
                f"{error.what}: {error.message}. Nothing was sent.",
                code="content_credentials",
                retry=errors.Retry.FATAL,
                way_out=error.way_out,
            ) from error
