"""RunPod's jobs API over HTTP: its operations, limits and failures, and nothing of what a job is.

Source: RunPod docs, operation reference ("send requests", "rate limits", "job states"); no schema is published, so
every answer is untrusted: read up to a size, believed as far as its shape allows. No redirect is followed with the
key, no proxy of the environment is used, and no message, repr or log line holds the key.

Emptying an endpoint's queue is left out on purpose: it would end other people's jobs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from resources.gpu.backends.runpod.address import checked_id, checked_key, checked_url
from resources.gpu.backends.runpod.answer import ANSWER_S, Answer, Answers
from resources.gpu.backends.runpod.connections import Connections
from resources.gpu.backends.runpod.envelope import envelope
from resources.gpu.backends.runpod.ids import is_id
from resources.gpu.backends.runpod.limits import Limits, Turn
from resources.gpu.errors import BackendUnavailable, InvalidJob, NotSent, OutcomeUnknown, Retry
from resources.runpod.redaction import shown

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
SILENCE_S = 30.0  # between two reads
CONNECT_TRIES = 4  # of a submission; nothing was sent before a connection stands
PATIENCE_S = 120.0  # how long a submission waits out 429s
WORDS = 200  # characters of a transport error's text
_KEY_OUT = "Set RUNPOD_API_KEY to a key that may use this endpoint; see ryla doctor."
_RETRY_OUT = "Only a job that FAILED or TIMED_OUT has another try under its id; any other is to be submitted anew."
_URL_OUT = "Check RUNPOD_JOBS_URL and the network; see ryla doctor."


class Throttled(BackendUnavailable):
    """429: asked too often. The pause is kept by the limits; nothing was done."""


class NotReached(BackendUnavailable):
    """No connection was made: whatever was to be sent certainly did not arrive."""


@dataclass(frozen=True)
class Accepted:
    """A submission that was taken."""

    id: str
    status: str


class JobsClient:
    """The operations on the endpoints of one account. Lives in one event loop.

    All but the submissions raise BackendUnavailable where the answer says nothing about the job: transient, unless
    only a person can mend it, and permanent where this very question is refused (400, 422). None stands for 404: an
    unknown endpoint, an unknown id, or an expired job.
    """

    def __init__(
        self, url: str, key: str, limits: Limits | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        import httpx

        self.url = checked_url(url)
        self._answers = Answers(checked_key(key))
        self._limits = limits or Limits()
        options: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {key}", "Accept": "application/json", "Accept-Encoding": "identity"},
            "timeout": httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            "follow_redirects": False,
            "trust_env": False,
            "verify": _certificates(),
            "transport": transport,
        }
        self._questions = Connections(lambda: httpx.AsyncClient(**options, limits=httpx.Limits(keepalive_expiry=30.0)))
        # A kept connection that the server closes under a submission leaves its outcome unknown: it is kept shortly.
        self._submissions = Connections(lambda: httpx.AsyncClient(**options, limits=httpx.Limits(keepalive_expiry=2.0)))

    def __repr__(self) -> str:
        return f"JobsClient({self.url!r})"

    async def aclose(self) -> None:
        """Close all connections."""
        await self._questions.aclose()
        await self._submissions.aclose()

    # ---- operations

    async def run(
        self, endpoint: str, job_input: Mapping[str, Any], *, policy: Mapping[str, int], webhook: str = ""
    ) -> Accepted:
        """POST /run: queue a job. `policy` is {executionTimeout, ttl} in milliseconds and always sent.

        Raises NotSent where it certainly was not taken, InvalidJob where it never would be, and OutcomeUnknown where
        it may have been: then nothing was tried again.
        """
        content = envelope("run", job_input, policy, webhook)
        answer = await self._submitted(endpoint, content)
        job_id = str((answer.body or {}).get("id") or "")
        if not is_id(job_id):
            raise OutcomeUnknown(
                f"{self._place(endpoint, 'run')} answers {answer.status} without a job id{answer.text}."
            )
        return Accepted(job_id, str((answer.body or {}).get("status", "")))

    async def runsync(
        self, endpoint: str, job_input: Mapping[str, Any], *, policy: Mapping[str, int], wait_s: float = 90.0
    ) -> dict[str, Any]:
        """POST /runsync: queue a job and wait for it, 1 to 300 s; the answer may still be IN_QUEUE or IN_PROGRESS.

        Raises what `run` raises; a silence longer than `wait_s` leaves the outcome unknown.
        """
        if not 1 <= wait_s <= 300:
            raise ValueError(f"wait_s is {wait_s}; RunPod takes 1 to 300 s")
        content = envelope("runsync", job_input, policy)
        params = {"wait": str(int(wait_s * 1000))}
        answer = await self._submitted(endpoint, content, "runsync", params=params, silence_s=wait_s + SILENCE_S)
        if answer.body is None:
            raise OutcomeUnknown(f"{self._place(endpoint, 'runsync')} answers {answer.status}, no JSON{answer.text}.")
        return answer.body

    async def status(self, endpoint: str, job_id: str) -> dict[str, Any] | None:
        """GET /status/{id}; never with ?ttl, which would set the job's."""
        return await self._question(endpoint, "status", "GET", job_id)

    async def opened(self, endpoint: str) -> None:
        """Return once `status` of that endpoint's jobs may be asked without waiting for its limits."""
        await self._limits.opened(endpoint, "status")

    async def stream(self, endpoint: str, job_id: str) -> dict[str, Any] | None:
        """GET /stream/{id}: {"status", "stream": [{"output"}, ...]} since the last call; waits up to 10 s there."""
        return await self._question(endpoint, "stream", "GET", job_id)

    async def cancel(self, endpoint: str, job_id: str) -> dict[str, Any] | None:
        """POST /cancel/{id}, queued or running."""
        return await self._question(endpoint, "cancel", "POST", job_id)

    async def retry(self, endpoint: str, job_id: str) -> dict[str, Any] | None:
        """POST /retry/{id}: a FAILED or TIMED_OUT job once more, under its id; its old output is gone."""
        return await self._question(endpoint, "retry", "POST", job_id)

    async def health(self, endpoint: str) -> dict[str, Any]:
        """GET /health: counts of jobs and workers; any key may be absent. Raises also where the endpoint is unknown."""
        body = await self._question(endpoint, "health", "GET")
        if body is None:
            raise BackendUnavailable(
                f"{self._place(endpoint, 'health')} answers 404: there is no such endpoint.",
                code="unknown_endpoint",
                retry=Retry.FATAL,
                way_out=_endpoint_out(endpoint),
            )
        return body

    # ---- parts

    async def _submitted(
        self, endpoint: str, content: bytes, operation: str = "run", *, silence_s: float = SILENCE_S, **request: Any
    ) -> Answer:
        """One POST that was taken; tried again only where it certainly did not arrive."""
        tries, give_up = 0, self._limits.clock() + PATIENCE_S
        while True:
            tries += 1
            try:
                answer = await self._exchange(
                    endpoint, operation, "POST", content=content, silence_s=silence_s, **request
                )
            except NotReached as error:
                if tries >= CONNECT_TRIES:
                    raise NotSent(error.message, way_out=_URL_OUT) from error
                await self._limits.sleep(0.5 * 2**tries * self._limits.chance())
            except Throttled as error:  # the next turn waits the pause out
                if self._limits.clock() >= give_up:
                    raise NotSent(error.message, code="throttled") from error
            except BackendUnavailable as error:
                raise OutcomeUnknown(f"{error.message} The job may have been queued.") from error
            else:
                return self._taken(endpoint, operation, answer)

    def _taken(self, endpoint: str, operation: str, answer: Answer) -> Answer:
        """The answer to a submission if it is a 2xx; else what its status means."""
        status, place = answer.status, self._place(endpoint, operation)
        if 200 <= status < 300:
            return answer
        message = f"{place} answers {status}{answer.text}."
        if status in (400, 413, 422):
            raise InvalidJob(message)
        if status >= 500 or status == 408:
            raise OutcomeUnknown(f"{message} The job may have been queued.")
        code, way_out = _refusal(status, endpoint)
        raise NotSent(message, code=code, retry=Retry.FATAL, way_out=way_out)

    async def _question(self, endpoint: str, operation: str, method: str, job_id: str = "") -> dict[str, Any] | None:
        answer = await self._exchange(endpoint, operation, method, job_id)
        if answer.status == 404:
            return None
        place = self._place(endpoint, operation, job_id)
        if 200 <= answer.status < 300:
            if answer.body is None:
                raise BackendUnavailable(f"{place} answers {answer.status}, but no JSON object{answer.text}.")
            return answer.body
        message = f"{place} answers {answer.status}{answer.text}."
        if answer.status >= 500 or answer.status == 408:
            raise BackendUnavailable(message)
        if answer.status in (400, 422):
            way_out = _RETRY_OUT if operation == "retry" else "Asked again the same way it is refused again."
            raise BackendUnavailable(message, code="question_refused", retry=Retry.PERMANENT, way_out=way_out)
        code, way_out = _refusal(answer.status, endpoint)
        raise BackendUnavailable(message, code=code, retry=Retry.FATAL, way_out=way_out)

    async def _exchange(
        self,
        endpoint: str,
        operation: str,
        method: str,
        job_id: str = "",
        *,
        content: bytes | None = None,
        silence_s: float = SILENCE_S,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, when it is its turn. Raises Throttled, NotReached, BackendUnavailable."""
        import httpx

        path = "/".join([checked_id(endpoint), operation, *([checked_id(job_id)] if job_id else [])])
        connections = self._questions if content is None else self._submissions
        headers = {"Content-Type": "application/json"} if content is not None else {}
        timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
        async with self._limits.turn(endpoint, operation) as turn:
            with self._trouble_named(f"{self.url}/{path}"), connections.lease() as http:
                async with (
                    asyncio.timeout(max(ANSWER_S, silence_s)) as clock,
                    http.stream(
                        method,
                        f"{self.url}/{path}",
                        content=content,
                        headers=headers,
                        params=params,
                        timeout=timeout,
                    ) as response,
                ):
                    self._noted(turn, response, f"{self.url}/{path}")
                    return await self._answers.read(response, f"{self.url}/{path}", clock)

    def _noted(self, turn: Turn, response: httpx.Response, place: str) -> None:
        pause = self._limits.answered(turn, response.status_code, response.headers)
        if response.status_code == 429:
            raise Throttled(f"{place} answers 429: asked too often; quiet for {pause:.0f} s.")

    def _place(self, endpoint: str, operation: str, job_id: str = "") -> str:
        return "/".join([self.url, endpoint, operation, *([job_id] if job_id else [])])

    @contextmanager
    def _trouble_named(self, place: str) -> Iterator[None]:
        """Whatever httpx raises, as ours."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            words = shown(error, WORDS) or type(error).__name__
            raise NotReached(f"{place} cannot be reached ({words}).", way_out=_URL_OUT) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError) as error:
            words = f"{type(error).__name__}: {shown(error, WORDS)}"
            raise BackendUnavailable(f"{place} does not answer ({words}).") from error


def _refusal(status: int, endpoint: str) -> tuple[str, str]:
    """Code and way out of an answer that only a person can change."""
    if status in (401, 403):
        return "key_refused", _KEY_OUT
    if status == 402:
        return "no_balance", "Add money to the RunPod account; see ryla doctor."
    if status == 404:
        return "unknown_endpoint", _endpoint_out(endpoint)
    return "refused", _URL_OUT


def _endpoint_out(endpoint: str) -> str:
    return f"Check that endpoint {endpoint} still exists, and RUNPOD_*_ENDPOINT_ID; see ryla doctor."


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
