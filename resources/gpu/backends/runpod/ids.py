"""How a RunPod job is named everywhere else: `endpoint/job/fingerprint`, and its endpoint as an address.

With these words alone another process on another machine finds the job, its endpoint and its stored result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

POD = "pod"  # stands for the endpoint of an attempt that has a pod of its own
NEVER_LEARNED = "-"  # the job id of an attempt whose result was found in the store
_ID = re.compile(r"[A-Za-z0-9_-]{1,60}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteId:
    """A job's name in its three parts."""

    endpoint: str
    job: str
    fingerprint: str

    def __str__(self) -> str:
        return self._words

    @cached_property
    def _words(self) -> str:
        return f"{self.endpoint}/{self.job}/{self.fingerprint}"

    @cached_property
    def key(self) -> tuple[str, str]:
        """Endpoint and job, as the jobs API knows it."""
        return self.endpoint, self.job


@lru_cache(maxsize=8192)  # all open jobs of a process, at every poll
def parse(remote_id: str) -> RemoteId | None:
    """Read a name back; None for what is none of ours."""
    endpoint, _, rest = remote_id.partition("/")
    job, _, fingerprint = rest.partition("/")
    if not _ID.fullmatch(endpoint) or not _ID.fullmatch(job) or not _HASH.fullmatch(fingerprint):
        return None
    return RemoteId(endpoint, job, fingerprint)


def is_id(value: str) -> bool:
    """True for what can be an endpoint's or a job's id."""
    return bool(_ID.fullmatch(value))
