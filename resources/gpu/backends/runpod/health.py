"""What /health counts of an endpoint's workers and jobs: all that is known of it without the control API.

Belongs here: the counts, and how long they are believed. What a want of workers means is `verdicts`'.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from resources.gpu.backends.runpod.service import Service
from resources.gpu.errors import BackendUnavailable

HEALTH_S = 5.0  # how long counts are believed
Counts = tuple[dict[str, int], dict[str, int]]  # of workers, of jobs: word -> number, as far as RunPod says


class Health:
    """Asks for all jobs of the process, each endpoint at most every HEALTH_S seconds."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, tuple[float, Counts]] = {}

    async def counts(self, endpoint_id: str) -> Counts:
        """Its workers and jobs, at most HEALTH_S old. Raises BackendUnavailable."""
        at, found = self._known.get(endpoint_id, (float("-inf"), ({}, {})))
        if time.monotonic() - at > HEALTH_S:
            body = await self._service.ask(lambda client: client.health(endpoint_id))
            found = _counts(body.get("workers")), _counts(body.get("jobs"))
            self._known[endpoint_id] = (time.monotonic(), found)
        return found

    async def warming(self, endpoint_id: str) -> bool | None:
        """Whether some worker is starting or free, so that cancelling a waiting job may leave a bill; None: unknown."""
        try:
            workers, _ = await self.counts(endpoint_id)
        except BackendUnavailable:
            return None
        if "initializing" not in workers:
            return None
        return any(workers.get(word, 0) > 0 for word in ("initializing", "ready", "idle"))


def _counts(found: object) -> dict[str, int]:
    """Counts of /health, as far as they are some."""
    if not isinstance(found, Mapping):
        return {}
    return {str(key)[:40]: value for key, value in found.items() if type(value) is int and value >= 0}
