"""What a submission's body is made of: the input, the execution policy, the webhook; refused here, if RunPod would.

Belongs here: RunPod's limits on a request. What stands under `input` is a contract's business, its way `client`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from resources.gpu.errors import InvalidJob

MAX_BYTES: Mapping[str, int] = {"run": 10_000_000, "runsync": 20_000_000}  # RunPod docs: send requests
POLICY_MS: Mapping[str, tuple[int, int]] = {  # least and most; RunPod docs: execution policies
    "executionTimeout": (5_000, 7 * 86_400_000),
    "ttl": (10_000, 7 * 86_400_000),
}
TTL_SLACK_S = 60.0  # beyond both deadlines: the runner ends a job before RunPod forgets it


def execution_policy(queue_limit_s: float, run_limit_s: float) -> dict[str, int]:
    """RunPod's execution policy in milliseconds, within its bounds; `ttl` counts from submission and ends all."""
    wanted = {"executionTimeout": run_limit_s, "ttl": queue_limit_s + run_limit_s + TTL_SLACK_S}
    return {key: int(min(max(1000 * wanted[key], least), most)) for key, (least, most) in POLICY_MS.items()}


def envelope(operation: str, job_input: Mapping[str, Any], policy: Mapping[str, int], webhook: str = "") -> bytes:
    """The body of /run or /runsync. Raises InvalidJob for one that RunPod would cut off, and for a job without end.

    A policy that is left out is the endpoint's: 5 or 10 minutes of execution, and a day until it is forgotten.
    """
    for key, (least, most) in POLICY_MS.items():
        value = policy.get(key)
        if type(value) is not int or not least <= value <= most:
            raise InvalidJob(
                f"policy.{key} is {value!r}, not {least} to {most} milliseconds.",
                way_out="Give both, executionTimeout and ttl: a job that nothing ends is paid for without end.",
            )
    body = {"input": job_input, "policy": dict(policy), **({"webhook": webhook} if webhook else {})}
    content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    if len(content) > MAX_BYTES[operation]:
        raise InvalidJob(
            f"The request for /{operation} has {len(content)} bytes; RunPod takes at most {MAX_BYTES[operation]}.",
            way_out="Give inputs by URL (RUNPOD_WORKER=ryla with a store on S3), or fewer inputs a job.",
        )
    return content
