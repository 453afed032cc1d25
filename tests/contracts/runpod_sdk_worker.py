"""A program for a process of its own: the runpod SDK's worker loop with a small handler.

`python runpod_sdk_worker.py`, with the variables of `FakeRunPod.worker_environment`. It works until it is ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any


async def handler(job: dict[str, Any]) -> Any:
    """What the input asks for: echo, an error in three ways, progress, or a long sleep."""
    wish = job["input"]
    if wish.get("raise"):
        raise ValueError(wish["raise"])
    if wish.get("fail"):
        return {"error": {"code": "oom", "message": "no memory", "retry": "elsewhere"}, "details": [1]}
    if "progress" in wish:
        import runpod

        await asyncio.to_thread(runpod.serverless.progress_update, job, wish["progress"])
        await asyncio.sleep(0.7)
    if "sleep" in wish:
        await asyncio.sleep(wish["sleep"])
    if wish.get("large"):
        return {"data": "x" * wish["large"]}
    return {"echo": wish, "at": time.time()}


if __name__ == "__main__":
    import runpod

    runpod.serverless.start({"handler": handler})
