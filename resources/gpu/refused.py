"""Answers of which no picture can be used: their error, and whether the same job is worth one more attempt.

A job is asked once more in the call that was refused: a damaged file anywhere, a blank or wrongly sized picture where
there is another endpoint (precision, kernel and code are the machine's). After that the refusal is the answer: no later
call pays for the same seed again. What is done about it then, a new seed or a new take, is for who asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resources.gpu.backend import Backend
from resources.gpu.errors import OutputRejected, Retry
from resources.gpu.job import Job
from resources.gpu.ledger import Ledger
from resources.gpu.records import Attempt, JobRow

DAMAGED = frozenset({"unreadable", "too_large"})  # the file's fault, not the seed's: the same job may do better
WAY_OUT = "The same seed is not paid again: ask for a new take, or for new images."


def refusal(job: Job, refused: Sequence[dict[str, Any]], *, retry: Retry = Retry.PERMANENT) -> OutputRejected:
    """The error of a job whose pictures were refused; `refused` are their records (`accept`)."""
    single = len(job.outputs) == 1
    text = "; ".join(one["reason"] if single else f"{one['name']}: {one['reason']}" for one in refused)
    return OutputRejected(
        f"{job.label}: {text}.", code=refused[0]["code"], retry=retry, way_out=WAY_OUT, refused=refused
    )


def first_refusal(
    ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, tried: Sequence[str], refused: list[dict[str, Any]]
) -> OutputRejected:
    """The error of an answer that just came; it says whether another attempt is worth its money.

    `tried` are the endpoints that failed the job in this call, the attempt's among them.
    """
    before = any(one.refused for one in ledger.attempts(attempt.fingerprint) if one.id != attempt.id)
    retry = Retry.PERMANENT
    if not before and any(one["code"] in DAMAGED for one in refused):
        retry = Retry.TRANSIENT
    elif not before and backend.endpoint_for(job, tried) not in tried:
        retry = Retry.ELSEWHERE
    return refusal(job, refused, retry=retry)


def earlier_refusal(ledger: Ledger, row: JobRow) -> OutputRejected | None:
    """The refusal that a job's last attempt ended with, if it brought nothing that can be used; None: it may be sent.

    Where another attempt was lost after it, or accepted and its bytes lost, the job may be sent again.
    """
    last = next(iter(ledger.attempts(row.fingerprint)[-1:]), None)
    if last is None or last.state != "failed" or not last.refused:
        return None
    error = refusal(row.job, last.refused)
    error.cost_usd = ledger.cost_usd([row.fingerprint])
    return error
