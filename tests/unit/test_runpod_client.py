"""What goes wrong between us and RunPod's jobs API: doubt about a submission, hostile answers, a key that leaks."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from resources.gpu.backends.runpod import answer as module
from resources.gpu.backends.runpod.address import checked_id, checked_key, checked_url
from resources.gpu.backends.runpod.client import JobsClient, Throttled
from resources.gpu.backends.runpod.limits import Limits
from resources.gpu.errors import BackendUnavailable, GpuError, InvalidJob, NotSent, OutcomeUnknown, Retry

KEY = "rpa_SECRETSECRETSECRET"
URL = "https://api.example/v2"
POLICY = {"executionTimeout": 60_000, "ttl": 120_000}


class Far:
    """The far side: answers in order, the last one again and again; keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept += seconds

    def ask(self, question: Callable[[JobsClient], Coroutine[Any, Any, Any]]) -> Any:
        """One question of a client that talks to this."""

        async def asked() -> Any:
            limits = Limits(sleep=self.sleep, clock=lambda: self.slept, chance=lambda: 1.0)
            client = JobsClient(URL, KEY, limits, transport=httpx.MockTransport(self))
            try:
                return await question(client)
            finally:
                await client.aclose()

        return asyncio.run(asked())

    def run(self) -> Any:
        """Submit a job."""
        return self.ask(lambda client: client.run("ep1", {"workflow": {}}, policy=POLICY, webhook="https://us/hook"))

    def status(self) -> Any:
        """Ask about a job."""
        return self.ask(lambda client: client.status("ep1", "job-1"))


def says(status: int = 200, body: Any = None, **headers: str) -> httpx.Response:
    """An answer: JSON, or a text as it is."""
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return httpx.Response(status, content=content, headers=headers)


TAKEN = says(200, {"id": "job-1", "status": "IN_QUEUE"})


def test_envelope_holds_policy_and_webhook() -> None:
    """The policy is always ours; the key travels in the header alone."""
    far = Far(TAKEN)
    assert far.run().id == "job-1"
    [request] = far.asked
    assert (request.method, str(request.url)) == ("POST", f"{URL}/ep1/run")
    assert json.loads(request.content) == {"input": {"workflow": {}}, "policy": POLICY, "webhook": "https://us/hook"}
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_status_never_sends_a_ttl() -> None:
    """GET /status?ttl= would set the job's time to live."""
    far = Far(says(200, {"id": "job-1", "status": "IN_QUEUE"}))
    far.status()
    assert (far.asked[0].method, str(far.asked[0].url)) == ("GET", f"{URL}/ep1/status/job-1")


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [("cancel", "POST", "cancel/job-1"), ("retry", "POST", "retry/job-1"), ("stream", "GET", "stream/job-1")],
)
def test_other_operations_find_their_route(operation: str, method: str, path: str) -> None:
    """Each on the endpoint's own path; 404 is None."""
    far = Far(says(200, {"id": "job-1", "status": "CANCELLED"}), says(404, {"error": "no"}))
    assert far.ask(lambda c: getattr(c, operation)("ep1", "job-1"))["id"] == "job-1"
    assert far.ask(lambda c: getattr(c, operation)("ep1", "job-1")) is None
    assert (far.asked[0].method, str(far.asked[0].url)) == (method, f"{URL}/ep1/{path}")


def test_runsync_waits_there_and_may_come_back_early() -> None:
    """?wait in milliseconds; an answer that is not the end is an answer."""
    far = Far(says(200, {"id": "sync-1", "status": "IN_PROGRESS"}))
    body = far.ask(lambda c: c.runsync("ep1", {}, policy=POLICY, wait_s=5))
    assert body["status"] == "IN_PROGRESS"
    assert far.asked[0].url.params["wait"] == "5000"
    with pytest.raises(ValueError, match="1 to 300"):
        far.ask(lambda c: c.runsync("ep1", {}, policy=POLICY, wait_s=0.5))
    with pytest.raises(OutcomeUnknown):
        Far(says(200, "<html>")).ask(lambda c: c.runsync("ep1", {}, policy=POLICY))


def test_refused_connection_is_tried_again_and_was_not_sent() -> None:
    """Connect refused twice, then taken: one job. Refused for good: certainly nothing arrived."""
    far = Far(httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), TAKEN)
    assert far.run().id == "job-1"
    assert len(far.asked) == 3
    with pytest.raises(NotSent) as caught:
        Far(httpx.ConnectError("refused")).run()
    assert caught.value.retry is Retry.TRANSIENT


@pytest.mark.parametrize(
    "answer",
    [httpx.ReadTimeout("silence"), httpx.ReadError("reset"), httpx.RemoteProtocolError("cut"),
     httpx.WriteError("reset"), says(500, "oops"), says(502, "<html>Bad gateway</html>"), says(408, ""), says(200, ""),
     says(202, "{}"), says(200, {"id": 7}), says(200, {"id": "../other"}), says(200, [1]), says(200, {"id": ""})],
)  # fmt: skip
def test_doubtful_submission_is_not_repeated(answer: httpx.Response | Exception) -> None:
    """Whatever may have reached the queue leaves the outcome unknown, after one request."""
    far = Far(answer)
    if isinstance(answer, httpx.Response) and answer.content == b'{"id": 7}':
        assert far.run().id == "7", "a number is an id too"
        return
    with pytest.raises(OutcomeUnknown):
        far.run()
    assert len(far.asked) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "key_refused"), (403, "key_refused"), (402, "no_balance"), (404, "unknown_endpoint"), (405, "refused"),
     (302, "refused")],
)  # fmt: skip
def test_refusal_at_the_door_was_not_sent_and_is_not_repeated(status: int, code: str) -> None:
    """Only a person can help: fatal, with the way out; no redirect is followed with the key."""
    far = Far(says(status, {"error": f"no {KEY}"}, location="https://elsewhere.example/"))
    with pytest.raises(NotSent) as caught:
        far.run()
    assert (caught.value.retry, caught.value.code) == (Retry.FATAL, code)
    assert caught.value.way_out
    assert len(far.asked) == 1
    assert KEY not in str(caught.value)


def test_invalid_request_shows_the_words() -> None:
    """A 400's text is shown, and nothing was queued."""
    with pytest.raises(InvalidJob, match="wait is invalid"):
        Far(says(400, {"error": "wait is invalid; must be between 1000 and 300000"})).run()


def test_refusals_for_haste_are_waited_out() -> None:
    """429 with Retry-After 3 waits three seconds; five without a header back off; then it is taken once."""
    far = Far(says(429, {"error": "slow down"}, **{"Retry-After": "3"}), TAKEN)
    far.run()
    assert far.slept >= 3
    far = Far(*[says(429, "")] * 5, TAKEN)
    assert far.run().id == "job-1"
    assert len(far.asked) == 6
    with pytest.raises(NotSent) as caught:
        Far(says(429, "")).run()
    assert (caught.value.code, caught.value.retry) == ("throttled", Retry.TRANSIENT)


def test_request_that_is_too_large_never_leaves() -> None:
    """RunPod takes 10 MB: refused here, with both sizes and the way out."""
    far = Far(TAKEN)
    with pytest.raises(InvalidJob, match="10000000") as caught:
        far.ask(lambda c: c.run("ep1", {"x": "y" * 10_000_000}, policy=POLICY))
    assert "by URL" in caught.value.way_out
    assert far.asked == []
    far.ask(lambda c: c.runsync("ep1", {"x": "y" * 10_000_000}, policy=POLICY))
    with pytest.raises(InvalidJob, match="20000000"):
        far.ask(lambda c: c.runsync("ep1", {"x": "y" * 20_000_000}, policy=POLICY))


@pytest.mark.parametrize(
    "answer",
    [httpx.ReadTimeout("silence"), httpx.ConnectError("refused"), says(500, "x"), says(502, "<html>"), says(429, ""),
     says(200, '{"status": "COMPL'), says(200, "<html>hello</html>"), says(200, "[1]"), says(200, "[" * 100_000)],
)  # fmt: skip
def test_question_without_an_answer_is_asked_again(answer: httpx.Response | Exception) -> None:
    """Transport, 5xx, 429, HTML and half a JSON: nothing is concluded."""
    with pytest.raises(BackendUnavailable) as caught:
        Far(answer).status()
    assert caught.value.retry is Retry.TRANSIENT
    assert isinstance(caught.value, Throttled) == (isinstance(answer, httpx.Response) and answer.status_code == 429)


def test_unknown_job_is_none_and_refused_key_is_fatal() -> None:
    """404 says nothing about why; 401 stops everything."""
    assert Far(says(404, "not found")).status() is None
    with pytest.raises(BackendUnavailable) as caught:
        Far(says(401, {"error": "bad key"})).status()
    assert (caught.value.retry, caught.value.code) == (Retry.FATAL, "key_refused")


def test_health_of_an_endpoint_that_is_not_there() -> None:
    """Every key of /health is optional; a 404 is an endpoint that does not exist."""
    assert Far(says(200, {})).ask(lambda c: c.health("ep1")) == {}
    with pytest.raises(BackendUnavailable, match="no such endpoint"):
        Far(says(404, "")).ask(lambda c: c.health("ep1"))


@pytest.mark.parametrize("status", [400, 422])
def test_refused_question_says_why_and_is_not_asked_again(status: int) -> None:
    """It is neither the network's fault nor the address's: the server's reason, and what can be done instead."""
    reason = "job job-1 is COMPLETED; only FAILED and TIMED_OUT jobs can be retried"
    with pytest.raises(BackendUnavailable, match="only FAILED and TIMED_OUT jobs") as caught:
        Far(says(status, {"error": reason})).ask(lambda c: c.retry("ep1", "job-1"))
    assert (caught.value.retry, caught.value.code) == (Retry.PERMANENT, "question_refused")
    assert "submitted anew" in caught.value.way_out
    with pytest.raises(BackendUnavailable) as caught:
        Far(says(status, {"error": "no"})).status()
    assert "refused again" in caught.value.way_out


@pytest.mark.parametrize("operation", ["run", "runsync"])
@pytest.mark.parametrize(
    "policy",
    [{}, {"executionTimeout": 60_000}, {"ttl": 60_000}, {**POLICY, "ttl": 0}, {**POLICY, "ttl": 8 * 86_400_000},
     {**POLICY, "executionTimeout": True}, {**POLICY, "executionTimeout": 1e9}],
)  # fmt: skip
def test_job_without_an_end_is_refused_before_it_is_sent(operation: str, policy: dict[str, int]) -> None:
    """RunPod would take it, and pay out a day."""
    far = Far(TAKEN)
    with pytest.raises(InvalidJob, match=r"policy\.(ttl|executionTimeout) is .* milliseconds"):
        far.ask(lambda c: getattr(c, operation)("ep1", {}, policy=policy))
    assert far.asked == []


def test_html_body_is_shown_short_and_clean() -> None:
    """Without tags, control characters and the key; at most 500 characters."""
    page = f"<html><script>var x = 1</script><h1>Bad\x00 gateway</h1>{KEY}{'y' * 5000}</html>"
    with pytest.raises(BackendUnavailable) as caught:
        Far(says(502, page)).status()
    text = caught.value.message
    assert "Bad gateway" in text
    assert "[key]" in text
    assert not any(bad in text for bad in ("<", "var x", "\x00", KEY))
    assert len(text) < 700


def test_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than any result has are not read."""
    monkeypatch.setattr(module, "ANSWER_BYTES", 600_000)
    with pytest.raises(BackendUnavailable, match="more than 600000 bytes"):
        Far(says(200, b"x" * 700_000)).status()


def test_large_answer_is_read_whole() -> None:
    """A 25 MB base64 result is a result."""
    body = {"id": "job-1", "status": "COMPLETED", "output": {"images": [{"data": "A" * 25_000_000}]}}
    assert len(Far(says(200, body)).status()["output"]["images"][0]["data"]) == 25_000_000


class Drip(httpx.AsyncByteStream):
    """A large body whose second half comes when it is let go."""

    def __init__(self, body: bytes) -> None:
        self.body, self.go, self.begun = body, asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self.body) // 2
        yield self.body[:half]
        self.begun.set()
        await self.go.wait()
        yield self.body[half:]


def large(drip: Drip) -> httpx.Response:
    """An answer of it, with its length told."""
    return httpx.Response(200, headers={"content-length": str(len(drip.body))}, stream=drip)


BODY = json.dumps({"id": "job-1", "output": "A" * 1_000_000}).encode()


def test_large_answer_that_drips_holds_up_no_other_one() -> None:
    """Large ones share a room of bytes, not a single seat."""

    async def test() -> None:
        answers, slow, fast = module.Answers(KEY), Drip(BODY), Drip(BODY)
        fast.go.set()
        async with asyncio.timeout(10) as clock, asyncio.timeout(10) as other:
            dripping = asyncio.ensure_future(answers.read(large(slow), "slow", clock))
            await slow.begun.wait()
            assert (await answers.read(large(fast), "fast", other)).body
            assert not dripping.done()
            slow.go.set()
            assert (await dripping).body

    asyncio.run(test())


def test_large_answers_together_are_bounded_and_who_waits_loses_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one that does not fit waits, and its time limit stands still meanwhile; then it is read."""
    monkeypatch.setattr(module, "ROOM_BYTES", 1_500_000)

    async def test() -> None:
        answers, first, second = module.Answers(KEY), Drip(BODY), Drip(BODY)
        second.go.set()
        async with asyncio.timeout(10) as clock, asyncio.timeout(10) as other:
            reading = [asyncio.ensure_future(answers.read(large(first), "first", clock))]
            await first.begun.wait()
            reading.append(asyncio.ensure_future(answers.read(large(second), "second", other)))
            while other.when() is not None:
                await asyncio.sleep(0)
            assert not second.begun.is_set()
            first.go.set()
            assert [answer.body is not None for answer in await asyncio.gather(*reading)] == [True, True]
            assert other.when() is not None

    asyncio.run(test())


@pytest.mark.parametrize(
    "far",
    [Far(httpx.ReadError("reset")), Far(httpx.ConnectError("x")), Far(says(500, f"key {KEY}")), Far(says(200, KEY)),
     Far(says(401, KEY)), Far(says(400, KEY)), Far(says(429, KEY))],
)  # fmt: skip
def test_key_is_in_no_error_log_or_repr(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    """Not in messages, causes, tracebacks, log lines at any level, or reprs."""
    caplog.set_level(logging.DEBUG)
    for work in (far.run, far.status):
        with pytest.raises(GpuError) as caught:
            work()
        shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value)
        assert KEY not in shown
    assert KEY not in caplog.text
    assert KEY not in repr(JobsClient(URL, KEY))


@pytest.mark.parametrize(
    "url", ["", "api.example", "ftp://x/v2", "https://u:p@x/v2", "https://x/v2?a=1", "https:///v2"]
)
def test_wrong_address_is_refused(url: str) -> None:
    """Only plain http(s) addresses; the message does not repeat it."""
    with pytest.raises(ValueError, match=r"is not|holds"):
        checked_url(url)
    assert checked_url("https://x/v2/") == "https://x/v2"


@pytest.mark.parametrize("key", ["", "my key", "rpa_\n", "schlüssel"])
def test_key_that_no_header_carries_is_refused_without_being_shown(key: str) -> None:
    """httpx would repeat it in its own error."""
    with pytest.raises(ValueError, match=r"is not set|holds") as caught:
        checked_key(key)
    assert not key or key.strip() not in str(caught.value)


@pytest.mark.parametrize("value", ["", "a/b", "..", "a?b", "a b", "x" * 101])
def test_id_that_would_change_the_path_is_refused(value: str) -> None:
    """Ids come from settings and from answers: neither may lead elsewhere."""
    with pytest.raises(ValueError, match="is"):
        checked_id(value)
