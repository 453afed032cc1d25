"""What /health counts of an endpoint's workers and jobs: all that is known of it without the control API.

Belongs here: the counts, and how long they are believed. What a want of workers means is `verdicts`'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from copy import copy

from resources.gpu.backends.runpod.client import JobsClient
from resources.gpu.backends.runpod.service import Service
from resources.gpu.errors import BackendUnavailable

HEALTH_S = 5.0  # how long an answer is believed, a failure too
WARMING_S = 1.0  # how long a cancel waits for it
Counts = tuple[dict[str, int], dict[str, int]]  # of workers, of jobs: word -> number, as far as RunPod says


class Health:
    """Asks for all jobs of the process, each endpoint at most every HEALTH_S seconds, and never twice at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, tuple[float, Counts | BackendUnavailable]] = {}
        self._asking: dict[str, asyncio.Task[Counts | BackendUnavailable]] = {}  # in the service's loop

    async def counts(self, endpoint_id: str) -> Counts:
        """Its workers and jobs, at most HEALTH_S old. Raises BackendUnavailable."""
        found = await self._service.ask(lambda client: self._newest(client, endpoint_id))
        if isinstance(found, BackendUnavailable):
            raise copy(found)  # each caller gets its own traceback
        return found

    async def warming(self, endpoint_id: str) -> bool | None:
        """Whether some worker is starting or free, so that cancelling a waiting job may leave a bill.

        None: unknown, also where the answer takes longer than WARMING_S: a cancel must not wait for it.
        """
        try:
            async with asyncio.timeout(WARMING_S):
                workers, _ = await self.counts(endpoint_id)
        except (BackendUnavailable, TimeoutError):
            return None
        if "initializing" not in workers:
            return None
        return any(workers.get(word, 0) > 0 for word in ("initializing", "ready", "idle"))

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = list(self._asking.values())
        self._asking.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _newest(self, client: JobsClient, endpoint_id: str) -> Counts | BackendUnavailable:
        at, found = self._known.get(endpoint_id, (float("-inf"), ({}, {})))
        if time.monotonic() - at <= HEALTH_S:
            return found
        if endpoint_id not in self._asking:
            task = asyncio.get_running_loop().create_task(self._ask(client, endpoint_id))
            self._asking[endpoint_id] = task
            task.add_done_callback(lambda _: self._asking.pop(endpoint_id, None))
        return await asyncio.shield(self._asking[endpoint_id])  # who gives up waiting ends nobody else's question

    async def _ask(self, client: JobsClient, endpoint_id: str) -> Counts | BackendUnavailable:
        found: Counts | BackendUnavailable
        try:
            body = await client.health(endpoint_id)
            found = _counts(body.get("workers")), _counts(body.get("jobs"))
        except BackendUnavailable as error:
            found = error
        self._known[endpoint_id] = (time.monotonic(), found)
        return found


def _counts(found: object) -> dict[str, int]:
    """Counts of /health, as far as they are some."""
    if not isinstance(found, Mapping):
        return {}
    return {str(key)[:40]: value for key, value in found.items() if type(value) is int and value >= 0}
