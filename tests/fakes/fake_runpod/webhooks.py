"""POSTs to jobs' webhooks: the status body, up to three tries ten seconds apart, no signature.

Belongs here: sending and its faults (never, thrice, early, forged, to a wrong path). # runpod facts 1 [doc]
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod.state import Job

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.world import World

TRIES = 3  # one, and up to two more
PAUSE_S = 10.0
FORGED = {"id": "forged-0000", "status": "COMPLETED", "output": {"images": []}}


def ended(world: World, job: Job) -> None:
    """A job came to its end: tell its webhook, if this end is told."""
    if job.status not in world.config.switches.webhook_on or job.script.webhook == "never":
        return
    body = {**job.body(world.clock.now()), **(FORGED if job.script.webhook == "forged" else {})}
    for _ in range(3 if job.script.webhook == "thrice" else 1):
        send(world, job, body)


def send(world: World, job: Job, body: dict[str, Any], tries: int = 1) -> None:
    """Post once in a thread, and again later if the answer is not 200."""
    if not job.webhook:
        return
    url = job.webhook + ("x" if job.script.webhook == "wrong_path" else "")
    posted = world.io(_post, world, job.id, url, body)
    world.clock.at(world.clock.now(), lambda: _posted(world, job, body, tries, posted), ready=posted)


def _posted(world: World, job: Job, body: dict[str, Any], tries: int, posted: Future[int]) -> None:
    if posted.result() != 200 and tries < TRIES:
        world.clock.after(PAUSE_S, lambda: send(world, job, body, tries + 1))


def _post(world: World, job_id: str, url: str, body: dict[str, Any]) -> int:
    import httpx

    try:
        status = world.http().post(url, json=body).status_code
    except httpx.HTTPError:
        status = 0
    world.webhooks_sent.append((job_id, url, status))
    return status
