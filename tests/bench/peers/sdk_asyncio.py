"""A contestant: the runpod SDK's asyncio endpoint, `at_once` jobs at a time in one event loop.

RUNPOD_ENDPOINT_BASE_URL is set before: the SDK reads it when it is imported.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bench.peers.contestant import orders, perform
from tests.bench.peers.load import picture_job
from tests.bench.peers.pictures import save, stored

PATIENCE_S = 3600


async def run_all(runpod: Any, given: dict[str, Any], graphs: list[dict[str, Any]], errors: list[str]) -> None:
    """All jobs, a bounded number at a time."""
    import aiohttp

    turns = asyncio.Semaphore(given["at_once"])
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(given["endpoint"], session)

        async def one(number: int) -> None:
            async with turns:
                try:
                    job = await endpoint.run({"workflow": graphs[number]})
                    save(given["folder"], number, await job.output(timeout=PATIENCE_S))
                except Exception as error:  # noqa: BLE001  whatever the SDK raises, it is the job's end
                    errors.append(repr(error))

        await asyncio.gather(*map(one, range(given["count"])))


def main() -> None:
    """Run `count` jobs."""
    import runpod

    given = orders()
    runpod.api_key = given["api_key"]
    graphs = [picture_job(number, given["px"]).request for number in range(given["count"])]
    errors: list[str] = []
    perform(
        lambda: asyncio.run(run_all(runpod, given, graphs, errors)),
        lambda: {"stored": stored(given["folder"]), "errors": errors},
    )


if __name__ == "__main__":
    main()
