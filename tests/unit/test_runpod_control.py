"""What goes wrong between us and RunPod's control plane, over a transport that answers as its specification says."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from resources.gpu.errors import BackendUnavailable, NotSent, Retry
from resources.runpod import limits
from resources.runpod.asking import MAX_BYTES, PATIENCE_S, TRIES
from resources.runpod.problems import ControlProblem, ControlSilent
from resources.runpod_control import SHARED_S, ControlClient

URL = "https://control.test/v2"
KEY = "rpa_SECRET0123456789"
ENDPOINT = {
    "id": "ep1",
    "name": "images",
    "workers": {"min": 0, "max": 3, "idleTimeout": 5},
    "gpu": {"pools": ["ADA_24"], "count": 1, "allowedCudaVersions": [], "minCudaVersion": None},
    "dataCenterIds": ["EU-RO-1"],
    "networkVolumes": ["vol1"],
    "timeout": 300000,
}
SUMMARY = {"running": 1, "idle": 1, "initializing": 0, "throttled": 0, "unhealthy": 0, "total": 2}
WORKER = {"id": "w1", "status": "RUNNING", "isStale": False, "gpuCount": 1, "gpuTypeId": "NVIDIA GeForce RTX 4090"}
POD = {"id": "p1", "name": "ryla-x", "status": "RUNNING", "cost": 0.5, "createdAt": "2026-06-01T00:00:00Z"}
Answer = httpx.Response | Exception


class Wire:
    """A scripted control plane, a clock that only waiting moves, and everything that was asked."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.now = 1000.0
        self.slept: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer; the last one for ever."""
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def ask(self, work: Callable[[ControlClient], Awaitable[Any]], **options: Any) -> Any:
        """What a client of this wire answers."""

        async def run() -> Any:
            client = ControlClient(
                URL, KEY, transport=httpx.MockTransport(self), clock=lambda: self.now, sleep=self.sleep, **options
            )
            async with client:
                return await work(client)

        return asyncio.run(run())


def told(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer."""
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def trouble(status: int, detail: str, **more: Any) -> httpx.Response:
    """An RFC 9457 problem, as every error of v2 is."""
    return told({"title": "Trouble", "status": status, "detail": detail, **more}, status)


def refused(wire: Wire, work: Callable[[ControlClient], Awaitable[Any]]) -> BackendUnavailable:
    """The error that asking raises."""
    with pytest.raises(BackendUnavailable) as caught:
        wire.ask(work)
    return caught.value


# ---- answers


def test_endpoint_is_read_as_the_specification_shapes_it() -> None:
    """Every field that a diagnosis needs."""
    wire = Wire(told(ENDPOINT))
    found = wire.ask(lambda client: client.endpoint("ep1"))
    assert (found.workers_min, found.workers_max, found.idle_timeout_s) == (0, 3, 5)
    assert (found.pools, found.data_centers, found.volumes, found.timeout_ms) == (
        ("ADA_24",), ("EU-RO-1",), ("vol1",), 300000,
    )  # fmt: skip
    assert str(wire.asked[0].url) == f"{URL}/serverless/ep1"
    assert wire.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("junk", [None, "3", -1, True, 1e300, 2.5, [], {}, float("1e13")])
def test_worker_limit_that_cannot_be_read_is_unknown_and_not_zero(junk: Any) -> None:
    """An endpoint would be called switched off, and every job refused."""
    body = json.dumps({**ENDPOINT, "workers": {"max": junk}})
    found = Wire(httpx.Response(200, content=body)).ask(lambda client: client.endpoint("ep1"))
    assert found.workers_max is None


@pytest.mark.parametrize("junk", [{}, [], None, 7, "text", {"id": 3}, {"workers": "none"}])
def test_answer_of_another_shape_is_no_endpoint(junk: Any) -> None:
    """Something else than the control API answered: nothing is concluded from it."""
    error = refused(Wire(told(junk)), lambda client: client.endpoint("ep1"))
    assert error.retry is Retry.TRANSIENT


def test_hostile_lists_lose_only_what_is_wrong_in_them() -> None:
    """One pod that is junk does not hide the others."""
    wire = Wire(told({"pods": [None, 3, {"id": ""}, {"name": "x"}, POD, {"id": "p2", "cost": "NaN", "env": [1]}]}))
    found = wire.ask(lambda client: client.pods())
    assert [(pod.id, pod.usd_h) for pod in found] == [("p1", 0.5), ("p2", None)]


def test_workers_are_counted_where_the_summary_is_missing() -> None:
    """The summary is a roll-up of the list: either tells it."""
    workers = [WORKER, {**WORKER, "id": "w2", "status": "UNHEALTHY"}, {**WORKER, "id": "w3", "status": "ELSEWHERE"}]
    found = Wire(told({"workers": workers})).ask(lambda client: client.workers("ep1"))
    assert (found.running, found.unhealthy, found.total) == (1, 1, 3)
    summed = Wire(told({"workers": workers, "summary": SUMMARY})).ask(lambda client: client.workers("ep1"))
    assert summed.counts() == SUMMARY


def test_id_from_outside_cannot_leave_its_place_in_the_path() -> None:
    """An id comes from settings and from stored rows; neither chooses the route."""
    wire = Wire(told(POD))
    wire.ask(lambda client: client.pod("../account/ssh-keys?x="))
    assert wire.asked[0].url.raw_path == b"/v2/pods/..%2Faccount%2Fssh-keys%3Fx%3D"


def test_answer_without_end_is_cut() -> None:
    """Memory is bounded whatever the far side sends."""
    wire = Wire(httpx.Response(200, content=b"[" + b" " * MAX_BYTES))
    assert "more than" in refused(wire, lambda client: client.pods()).message


# ---- refusals and retries


@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (400, "rejected", Retry.ELSEWHERE),
        (401, "key_refused", Retry.FATAL),
        (402, "balance_zero", Retry.FATAL),
        (403, "forbidden", Retry.ELSEWHERE),
        (404, "not_found", Retry.PERMANENT),
        (409, "conflict", Retry.PERMANENT),
        (422, "invalid_request", Retry.PERMANENT),
    ],
)
def test_refusal_is_never_asked_again(status: int, code: str, retry: Retry) -> None:
    """The specification's table: what is refused once is refused the same way again."""
    wire = Wire(trouble(status, "because", errors=["$: additional properties 'bogus' not allowed"]))
    error = refused(wire, lambda client: client.create_pod({"name": "x"}))
    assert isinstance(error, ControlProblem)
    assert error.certain
    assert (error.status, error.code, error.retry, error.title) == (status, code, retry, "Trouble")
    assert error.fields == ("$: additional properties 'bogus' not allowed",)
    assert "because" in error.message
    assert "bogus" in error.message
    assert len(wire.asked) == 1


@pytest.mark.parametrize("failure", [trouble(503, "down"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
def test_create_that_may_have_happened_is_sent_once(failure: Any) -> None:
    """C1: a second POST could start a second pod that bills."""
    wire = Wire(failure)
    error = refused(wire, lambda client: client.create_pod({"name": "x"}))
    assert len(wire.asked) == 1
    assert not (isinstance(error, ControlProblem) and error.certain)
    assert not isinstance(error, NotSent)


@pytest.mark.parametrize(
    "failure", [trouble(502, "down"), httpx.ReadTimeout("slow"), httpx.Response(200, text="<html>")]
)
def test_question_is_repeated_until_it_is_answered(failure: Any) -> None:
    """Reading changes nothing, so one dropped answer costs a moment and no more."""
    wire = Wire(failure, failure, told(ENDPOINT))
    assert wire.ask(lambda client: client.endpoint("ep1")).id == "ep1"
    assert wire.slept == [0.5, 1.0]


def test_question_is_given_up_after_a_few_tries() -> None:
    """The caller has other things to do, and asks again later."""
    wire = Wire(trouble(500, "down"))
    error = refused(wire, lambda client: client.endpoint("ep1"))
    assert (error.code, error.retry, len(wire.asked)) == ("control_down", Retry.TRANSIENT, TRIES)


def test_host_that_is_not_reached_got_nothing() -> None:
    """Without a connection nothing was sent, so even a create is certain, and tried again."""
    wire = Wire(httpx.ConnectError("refused"), told(POD, 201))
    assert wire.ask(lambda client: client.create_pod({"name": "x"})).id == "p1"
    assert isinstance(refused(Wire(httpx.ConnectError("refused")), lambda client: client.pods()), NotSent)


def test_terminating_a_pod_that_is_gone_is_success() -> None:
    """C7: somebody else was faster."""
    Wire(trouble(404, "pod not found")).ask(lambda client: client.delete_pod("p1"))
    wire = Wire(trouble(500, "down"), httpx.Response(204))
    wire.ask(lambda client: client.delete_pod("p1"))
    assert [request.method for request in wire.asked] == ["DELETE", "DELETE"]


def test_terminating_at_a_wrong_address_is_no_success() -> None:
    """A 404 of some other server would leave a pod running for ever."""
    for answer in (httpx.Response(404, text="<html>not here"), told({"message": "not found"}, 404)):
        assert refused(Wire(answer), lambda client: client.delete_pod("p1")).code == "api_moved"


@pytest.mark.parametrize("answer", [told({"message": "Gone"}, 410), told({"message": "x"}, 404), httpx.Response(301)])
def test_retired_v1_says_where_the_api_went(answer: httpx.Response) -> None:
    """C10: rest.runpod.io/v1 ended on 2026-11-15."""
    error = refused(Wire(answer), lambda client: client.endpoint("ep1"))
    assert (error.code, error.retry) == ("api_moved", Retry.FATAL)
    assert "RUNPOD_CONTROL_URL=https://api.runpod.io/v2" in error.message


# ---- quota


def test_waits_as_long_as_it_is_told() -> None:
    """S5 of the control plane: the longest of Retry-After and the window that is used up."""
    busy = told({"title": "x", "status": 429, "detail": "slow"}, 429, Retry_After="3", RateLimit='"minute";r=0;t=12')
    wire = Wire(busy, told(POD, 201))
    wire.ask(lambda client: client.create_pod({"name": "x"}))
    assert sum(wire.slept) >= 12


def test_quota_that_is_used_up_holds_the_next_question() -> None:
    """C12: r=0 stands on a success as well; whoever asks next waits for the window."""
    wire = Wire(told(ENDPOINT, RateLimit='"minute";r=0;t=9, "hour";r=2800;t=1812'), told(ENDPOINT))

    async def two(client: ControlClient) -> None:
        await client.endpoint("ep1")
        await client.endpoint("ep2")

    wire.ask(two)
    assert 9 <= sum(wire.slept) < 10


def test_quota_of_an_hour_is_said_at_once() -> None:
    """Nobody sits through a window that is longer than one call's patience."""
    wire = Wire(told(ENDPOINT, RateLimit=f'"hour";r=0;t={PATIENCE_S * 40:.0f}'))

    async def two(client: ControlClient) -> None:
        await client.endpoint("ep1")
        await client.endpoint("ep2")

    error = refused(wire, two)
    assert (error.code, wire.slept, len(wire.asked)) == ("rate_limited", [], 1)


@pytest.mark.parametrize("words", ["", "minute;q=3", '"minute";r=x;t=1', "-" * 10_000])
def test_quota_header_that_is_junk_says_nothing(words: str) -> None:
    """A header is as hostile as a body."""
    assert limits.pause_of(200, {"ratelimit": words, "retry-after": "soon"}) == 0.0
    assert limits.pause_of(429, {"ratelimit": words}) == limits.BLIND_PAUSE_S


def test_pause_given_as_a_date_is_waited_for() -> None:
    """RFC 9110: Retry-After is seconds or a date; both APIs are read by the same words."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < limits.pause_of(503, {"retry-after": later}) <= 90


def test_quota_header_cannot_stop_us_for_ever() -> None:
    """Nobody pauses for longer than the longest window there is."""
    assert limits.pause_of(429, {"ratelimit": '"m";r=0;t=' + "9" * 99, "retry-after": "9" * 9}) == limits.MOST_PAUSE_S


def test_two_hundred_jobs_ask_once() -> None:
    """The control plane takes 60 requests a minute: settings and workers are shared by all jobs of the process."""
    wire = Wire(told(ENDPOINT))

    async def crowd(client: ControlClient) -> None:
        await asyncio.gather(*(client.endpoint("ep1") for _ in range(200)))
        assert len(wire.asked) == 1
        wire.now += SHARED_S
        await client.endpoint("ep1")

    wire.ask(crowd)
    assert len(wire.asked) == 2


def test_failure_is_shared_as_well() -> None:
    """With the API down, two hundred jobs do not try it one after the other."""
    wire = Wire(trouble(500, "down"))

    async def crowd(client: ControlClient) -> list[Any]:
        return await asyncio.gather(*(client.workers("ep1") for _ in range(200)), return_exceptions=True)

    errors = wire.ask(crowd)
    assert len(wire.asked) == TRIES
    assert len({id(error) for error in errors}) == 200
    assert all(isinstance(error, ControlProblem) and error.status == 500 for error in errors)


# ---- secrets


@pytest.mark.parametrize(
    "answer",
    [
        told({"title": KEY, "status": 400, "detail": f"bad key {KEY}", "errors": [KEY]}, 400),
        httpx.Response(500, text="x" * 150 + KEY),
        httpx.Response(200, text=f"no JSON, {KEY}"),
        httpx.ConnectError(f"proxy refused {KEY}"),
        httpx.ReadError(f"reset {KEY}"),
        told({"title": "x", "status": 422, "detail": "put https://s3.test/r?X-Amz-Signature=SIGNED first"}, 422),
    ],
)
def test_no_secret_is_in_an_error(answer: Any) -> None:
    """Whatever the far side repeats: neither our key nor a signed query reaches a log."""
    error = refused(Wire(answer), lambda client: client.pods())
    shown = " ".join([str(error), repr(error), error.message, str(getattr(error, "fields", "")), repr(error.__cause__)])
    assert "SECRET" not in shown
    assert "SIGNED" not in shown


def test_key_is_in_no_repr() -> None:
    """A client is shown in tracebacks and logs."""
    client = ControlClient(URL, KEY)
    assert KEY not in repr(client) + repr(vars(client))


def test_key_that_fits_in_no_header_is_refused_without_being_shown() -> None:
    """httpx would name it in its error."""
    with pytest.raises(ValueError, match="no key has") as caught:
        ControlClient(URL, "rpa_SECRET\nX-Other: 1")
    assert "SECRET" not in str(caught.value)


# ---- money


def test_bill_is_read_hour_by_hour() -> None:
    """What reconciliation compares the ledger with."""
    record = {"startTime": "2026-06-01T10:00:00Z", "serverlessId": "ep1", "totalAmount": 0.25, "gpuAmount": 0.2}
    junk: list[Any] = [None, {}, {**record, "totalAmount": -1}, {**record, "startTime": "noon"}]
    other = {**record, "serverlessId": "ep9"}
    wire = Wire(told({"records": [record, *junk, other], "metadata": {}}))
    start = datetime(2026, 6, 1, 10, tzinfo=UTC)
    bill = wire.ask(lambda client: client.billed(["ep1"], start, start + timedelta(hours=2)))
    assert [(line.hour, line.resource, line.usd) for line in bill.lines] == [(start, "ep1", 0.25)]
    assert (bill.usd, bill.unreconciled) == (0.25, "records of the bill that cannot be read: 1")
    assert dict(wire.asked[0].url.params) == {
        "bucketSize": "hour", "serverlessId": "ep1",
        "startTime": "2026-06-01T10:00:00Z", "endTime": "2026-06-01T12:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize("answer", [told({"records": []}), trouble(500, "down"), told([]), httpx.ReadTimeout("slow")])
def test_bill_that_lags_is_flagged_and_never_raises(answer: Any) -> None:
    """C11: no record is no zero."""
    start = datetime(2026, 6, 1, tzinfo=UTC)
    bill = Wire(answer).ask(lambda client: client.billed(["ep1"], start, start + timedelta(hours=1)))
    assert bill.lines == ()
    assert "ep1" in bill.unreconciled


def test_bill_of_many_pods_is_one_question() -> None:
    """The quota is 60 a minute; what other people's pods cost is left out, and those without a record are counted."""
    start = datetime(2026, 6, 1, 10, tzinfo=UTC)
    records = [{"startTime": start.isoformat(), "podId": f"p{n}", "totalAmount": 0.5} for n in range(200)]
    wire = Wire(told({"records": [*records, {**records[0], "podId": "foreign"}]}))
    bill = wire.ask(lambda client: client.billed_pods([f"p{n}" for n in range(210)], start, start + timedelta(hours=2)))
    assert (len(wire.asked), bill.usd) == (1, 100.0)
    assert "podId" not in wire.asked[0].url.params
    assert bill.unreconciled == "there is no record of p200, p201, p202 and 7 more yet"


def test_bill_of_the_last_hours_is_not_final() -> None:
    """What was just worked on is billed later."""
    now = datetime.now(UTC)
    record = {"startTime": now.isoformat(), "podId": "p1", "totalAmount": 0.25}
    bill = Wire(told({"records": [record]})).ask(
        lambda client: client.billed_pods(["p1"], now - timedelta(hours=1), now)
    )
    assert bill.usd == 0.25
    assert "still be billed" in bill.unreconciled


def test_balance_is_asked_by_graphql_alone() -> None:
    """REST v2 has none."""
    wire = Wire(told({"data": {"myself": {"clientBalance": -1.5, "currentSpendPerHr": 0.2, "spendLimit": 80}}}))
    found = wire.ask(lambda client: client.balance(), graphql_url="https://graphql.test/graphql")
    assert (found.usd, found.spend_usd_h, found.limit_usd_h) == (-1.5, 0.2, 80.0)
    assert b"clientBalance currentSpendPerHr spendLimit" in wire.asked[0].content


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(410), trouble(500, "down"), told({"errors": [{"message": "gone"}]}), told(None), told([1]),
        httpx.Response(200, text="<html>"), httpx.ConnectError("refused"), httpx.ReadTimeout("slow"),
        told({"data": {"myself": {"clientBalance": "much"}}}),
    ],
)  # fmt: skip
def test_balance_that_is_not_known_stops_nobody(answer: Any) -> None:
    """GraphQL retires early in 2027: unknown is an answer."""
    assert Wire(answer).ask(lambda client: client.balance(), graphql_url="https://graphql.test/graphql") is None


def test_balance_is_never_asked_without_an_address() -> None:
    """RUNPOD_GRAPHQL_URL empty: never."""
    wire = Wire(told({}))
    assert wire.ask(lambda client: client.balance()) is None
    assert wire.asked == []


def test_pod_that_is_gone_is_none() -> None:
    """The only 404 that means something; a silent server stays unknown."""
    assert Wire(trouble(404, "pod not found")).ask(lambda client: client.pod("p1")) is None
    assert isinstance(refused(Wire(httpx.ReadTimeout("slow")), lambda client: client.pod("p1")), ControlSilent)
