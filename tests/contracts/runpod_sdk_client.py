"""A program for a process of its own: the runpod SDK's clients, unmodified, against a jobs host. Prints JSON.

`python runpod_sdk_client.py`, with RUNPOD_ENDPOINT_BASE_URL and RUNPOD_API_KEY set. Importing runpod takes seconds and
reconfigures logging, so no test imports it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any


def synchronous(endpoint: Any) -> dict[str, Any]:
    """run, status, output, run_sync, health, cancel, purge_queue of `runpod.Endpoint`."""
    told: dict[str, Any] = {"health": endpoint.health()}
    job = endpoint.run({"input": {"scripted_s": 4, "word": "a"}})
    told["first_status"] = job.status()
    told["output"] = job.output(timeout=30)
    told["last_status"] = job.status()
    told["run_sync"] = endpoint.run_sync({"input": {"word": "b"}}, timeout=30)
    long = endpoint.run({"input": {"scripted_s": 5000}})
    told["cancel"] = long.cancel()
    told["cancelled"] = long.status()
    told["purge"] = endpoint.purge_queue()
    return told


def failing(endpoint: Any) -> dict[str, Any]:
    """What the client makes of a job that fails: None, and the text is lost."""
    job = endpoint.run({"input": {"fail": True}})
    return {"failed_output": job.output(timeout=30), "failed_status": job.status()}


async def asynchronous(runpod: Any, name: str) -> dict[str, Any]:
    """run, status, output, cancel, health of `runpod.AsyncioEndpoint`."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(name, session)
        job = await endpoint.run({"word": "c"})
        output = await job.output(timeout=30)
        long = await endpoint.run({"scripted_s": 5000})
        cancelled = await long.cancel()
        return {
            "async_output": output,
            "async_status": await job.status(),
            "async_cancel": cancelled["status"],
            "async_health": sorted(await endpoint.health()),
        }


def main() -> None:
    """Do all of it, on endpoint ep1."""
    import runpod

    runpod.api_key = os.environ["RUNPOD_API_KEY"]
    told = synchronous(runpod.Endpoint("ep1")) | failing(runpod.Endpoint("ep1"))
    told |= asyncio.run(asynchronous(runpod, "ep1"))
    try:
        runpod.Endpoint("ep1", api_key="wrong").health()
    except RuntimeError as error:
        told["wrong_key"] = type(error).__name__
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
