"""What goes wrong when a job does not move: every verdict, from workers and settings in the specification's shapes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from resources.gpu.backend import Diagnosis
from resources.gpu.backends.runpod.diagnosis import BREAK_S, LASTS_S, Diagnoser
from resources.gpu.backends.runpod.verdicts import RULES
from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod_control import SHARED_S, ControlClient

KEY = "rpa_SECRET0123456789"
STATES = ("running", "idle", "initializing", "throttled", "unhealthy")
RTX = {
    "id": "NVIDIA GeForce RTX 4090",
    "pool": "ADA_24",
    "price": {"secure": 0.4, "community": 0.3},
    "availability": "HIGH",
}


class Plane:
    """A control plane whose answers a test sets, and a clock that only it moves."""

    def __init__(self) -> None:
        self.endpoint: dict[str, Any] = {
            "id": "ep1", "name": "images", "workers": {"min": 0, "max": 3},
            "gpu": {"pools": ["ADA_24"], "count": 1}, "dataCenterIds": [], "networkVolumes": [],
        }  # fmt: skip
        self.summary: dict[str, int] = {}
        self.gpus: list[dict[str, Any]] = [RTX]
        self.gpus_of_cuda: list[dict[str, Any]] | None = None  # what the catalogue lists under a CUDA filter
        self.balance: Any = 12.5
        self.failing: dict[str, httpx.Response | Exception] = {}  # last part of the path -> what happens there
        self.now = 0.0
        self.asked: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail where a test says so."""
        last = request.url.path.rsplit("/", 1)[-1]
        self.asked.append(last)
        if (failure := self.failing.get(last)) is not None:
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(failure.status_code, content=failure.content)
        if last == "graphql":
            return httpx.Response(200, json={"data": {"myself": {"clientBalance": self.balance}}})
        if last == "workers":
            counts = {state: self.summary.get(state, 0) for state in STATES}
            return httpx.Response(200, json={"workers": [], "summary": {**counts, "total": sum(counts.values())}})
        if last == "gpus":
            filtered = "minCudaVersion" in request.url.params or "cudaVersions" in request.url.params
            found = self.gpus_of_cuda if filtered and self.gpus_of_cuda is not None else self.gpus
            return httpx.Response(200, json={"gpus": found})
        return httpx.Response(200, json=self.endpoint)

    async def sleep(self, seconds: float) -> None:
        """Waiting moves the clock, and nothing else does."""
        self.now += seconds
        await asyncio.sleep(0)

    def with_diagnoser(self, work: Callable[[Diagnoser], Awaitable[Any]], queued: int | None = None) -> Any:
        """What a diagnoser of this plane says."""

        async def jobs_waiting(_: str) -> int | None:
            return queued

        async def run() -> Any:
            control = ControlClient(
                "https://control.test/v2", KEY, graphql_url="https://control.test/graphql",
                transport=httpx.MockTransport(self), clock=lambda: self.now, sleep=self.sleep,
            )  # fmt: skip
            async with control:
                return await work(Diagnoser(control, jobs_waiting=jobs_waiting, clock=lambda: self.now))

        return asyncio.run(run())

    def diagnosed(self, *, waited_s: float = 90.0, after_s: float = 0.0, queued: int | None = None) -> Diagnosis:
        """The verdict; the second one, `after_s` later, where that is given."""

        async def work(diagnoser: Diagnoser) -> Diagnosis:
            first = await diagnoser.diagnose("ep1", "job1", waited_s)
            if not after_s:
                return first
            end = self.now + after_s
            while self.now < end:
                self.now += SHARED_S
                first = await diagnoser.diagnose("ep1", "job1", waited_s)
            return first

        found: Diagnosis = self.with_diagnoser(work, queued)
        return found

    def refused(self) -> BackendUnavailable:
        """Why preflight stops everything."""
        with pytest.raises(BackendUnavailable) as caught:
            self.with_diagnoser(lambda diagnoser: diagnoser.preflight("ep1"))
        return caught.value


@pytest.fixture
def plane() -> Plane:
    """An endpoint that works."""
    return Plane()


# ---- the table, row by row: summary, waited seconds, then code, hopeless at once, what the sentence must name


@pytest.mark.parametrize(
    ("summary", "waited_s", "code", "hopeless", "named"),
    [
        ({"unhealthy": 2}, 40, "crash_loop", True, "2 of 2 unhealthy"),
        ({"unhealthy": 1, "throttled": 2}, 40, "crash_loop", True, "1 of 3 unhealthy"),
        ({"unhealthy": 1, "initializing": 1}, 40, "initializing", False, "1 unhealthy"),
        ({"initializing": 1}, 40, "initializing", False, "starting (1 of 1; 0 unhealthy)"),
        ({"running": 3}, 40, "busy", False, "(3 of at most 3; 0 throttled)"),
        ({"running": 1, "throttled": 2}, 40, "busy", False, "2 throttled"),
        ({"throttled": 2}, 40, "throttled", False, "(throttled), 2 of 2"),
        ({}, 10, "initializing", False, "no worker yet, after 10 s"),
        ({}, 40, "no_capacity", False, "0 of at most 3"),
        ({"idle": 1}, 90, "unknown", False, "Workers of ep1 are idle (1 of 1)"),
    ],
)
def test_verdict(plane: Plane, summary: dict[str, int], waited_s: float, code: str, hopeless: bool, named: str) -> None:
    """One row a state of the workers: the code for programs, the numbers for people."""
    plane.summary = summary
    found = plane.diagnosed(waited_s=waited_s)
    assert (found.code, found.hopeless) == (code, hopeless)
    assert named in found.text
    assert "ep1" in found.text
    assert found.next_command.endswith(".")
    assert found.evidence["workers"]["total"] == sum(summary.values())
    assert found.evidence["job"] == "job1"


def test_endpoint_without_requests_was_switched_off(plane: Plane) -> None:
    """P4, the weekly batch: 7 idle days set workers.max to 0, and only a person raises it."""
    plane.endpoint["workers"]["max"] = 0
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("workers_max_zero", True)
    assert "0 after 7" in found.text
    assert "Raise Max workers of ep1" in found.next_command
    error = plane.refused()
    assert (error.code, error.retry) == ("workers_max_zero", Retry.ELSEWHERE)
    assert "Raise Max workers of ep1" in str(error)


@pytest.mark.parametrize("usd", [0, -3.25])
def test_empty_account_starts_nothing(plane: Plane, usd: float) -> None:
    """F16: at a balance of zero everything stops."""
    plane.balance = usd
    found = plane.diagnosed()
    assert (found.code, found.hopeless, found.evidence["balance_usd"]) == ("balance_zero", True, usd)
    assert plane.refused().code == "balance_zero"


def test_want_of_machines_is_hopeless_only_once_it_lasted(plane: Plane) -> None:
    """P1: capacity comes and goes within minutes."""
    assert not plane.diagnosed(after_s=LASTS_S - 2 * SHARED_S).hopeless
    assert plane.diagnosed(after_s=LASTS_S).hopeless
    plane.summary = {"throttled": 1}
    assert plane.diagnosed(after_s=LASTS_S).hopeless


def test_want_that_ended_in_between_counts_anew(plane: Plane) -> None:
    """A worker that came and went proves that machines come."""

    async def work(diagnoser: Diagnoser) -> bool:
        for summary in ({}, {"running": 1}, {"throttled": 1}):
            plane.summary = summary
            plane.now += LASTS_S
            found = await diagnoser.diagnose("ep1", "job1", 90.0)
        return found.hopeless

    assert plane.with_diagnoser(work) is False


def test_want_that_nobody_watched_counts_anew(plane: Plane) -> None:
    """What was seen an hour ago says nothing of the hour."""

    async def work(diagnoser: Diagnoser) -> bool:
        await diagnoser.diagnose("ep1", "job1", 90.0)
        plane.now += BREAK_S + 1
        return (await diagnoser.diagnose("ep1", "job2", 90.0)).hopeless

    assert plane.with_diagnoser(work) is False


def test_idle_workers_beside_a_waiting_job_are_the_funnel(plane: Plane) -> None:
    """SDK 1.7.11 to 1.10.0 sends all jobs of an endpoint with a volume to one worker."""
    plane.endpoint["networkVolumes"] = ["vol1"]
    plane.summary = {"running": 1, "idle": 2}
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("funnel", False)
    assert "vol1" in found.text
    assert "runpod>=1.10.1" in found.next_command
    assert plane.diagnosed(waited_s=5).code == "busy"


def test_pool_that_is_sold_out_is_named(plane: Plane) -> None:
    """No worker, and the catalogue says why."""
    plane.gpus = [{**RTX, "availability": "NONE"}, {**RTX, "id": "other", "pool": "AMPERE_80"}]
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("wrong_gpu_list", False)
    assert "no NVIDIA GeForce RTX 4090 is free (pools ADA_24)" in found.text
    assert found.evidence["gpu_availability"] == {RTX["id"]: "NONE"}
    assert plane.diagnosed(after_s=LASTS_S).hopeless


def test_pool_that_does_not_exist_never_has_a_machine(plane: Plane) -> None:
    """A typing error in the pool, or all its types excluded."""
    plane.endpoint["gpu"]["pools"] = ["ADA_42"]
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("wrong_gpu_list", True)
    assert "ADA_42" in found.text
    plane.endpoint["gpu"] = {"pools": ["ADA_24"], "excludedTypes": [RTX["id"]]}
    assert plane.diagnosed().code == "wrong_gpu_list"


@pytest.mark.parametrize("wanted", [{"minCudaVersion": "13.0"}, {"allowedCudaVersions": ["13.0"]}])
def test_cuda_that_no_machine_has_is_named(plane: Plane, wanted: dict[str, Any]) -> None:
    """T12: an image that needs a newer driver than what is free."""
    plane.endpoint["gpu"].update(wanted)
    plane.gpus_of_cuda = [{**RTX, "availability": "NONE"}]
    found = plane.diagnosed()
    assert found.code == "wrong_gpu_list"
    assert "with CUDA 13.0" in found.text


def test_endpoint_tied_to_a_full_place_is_told_so(plane: Plane) -> None:
    """A volume pins the data centre: stock elsewhere is of no use."""
    plane.endpoint["dataCenterIds"] = ["EU-RO-1"]
    plane.gpus = [{**RTX, "dataCenters": [{"id": "US-KS-2", "availability": "HIGH"}]}]
    found = plane.diagnosed()
    assert found.code == "wrong_gpu_list"
    assert "in EU-RO-1" in found.text
    plane.gpus[0]["dataCenters"].append({"id": "EU-RO-1", "availability": "LOW"})
    assert plane.diagnosed().code == "no_capacity"


def test_queue_is_shown_where_it_is_known(plane: Plane) -> None:
    """How long it will take is a matter of how many wait."""
    plane.summary = {"running": 3}
    found = plane.diagnosed(queued=41)
    assert "jobs waiting: 41" in found.text
    assert found.evidence["queued"] == 41


@pytest.mark.parametrize("queued", [0, 1, 2])
@pytest.mark.parametrize("summary", [{}, {"running": 1}, {"throttled": 1}])
def test_counts_read_right_whatever_they_are(plane: Plane, summary: dict[str, int], queued: int) -> None:
    """No sentence says "1 jobs wait", "All 1 workers", or twice that jobs wait."""
    plane.summary = summary
    text = plane.diagnosed(waited_s=40, queued=queued).text
    assert not re.search(r"\b1 (jobs|workers|of at most \d+ workers|wait|work|are)\b|1 of \d+ (are|workers)", text)
    assert text.count("wait for a machine") + text.count("waiting") <= 1
    if "throttled" not in summary:
        assert f"; jobs waiting: {queued})" in text


# ---- what is not known


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.Response(500, text="oops"), httpx.Response(403)])
def test_silent_control_plane_is_said_and_stops_nobody(plane: Plane, failure: httpx.Response | Exception) -> None:
    """P20's sister: no verdict is made up, and preflight lets the work through."""
    plane.failing = {"ep1": failure}
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("unknown", False)
    assert "is unknown" in found.text
    assert found.evidence["error"]
    plane.with_diagnoser(lambda diagnoser: diagnoser.preflight("ep1"))


def test_silent_balance_stops_nobody(plane: Plane) -> None:
    """GraphQL retires early in 2027."""
    plane.failing = {"graphql": httpx.Response(410)}
    plane.with_diagnoser(lambda diagnoser: diagnoser.preflight("ep1"))
    plane.summary = {"running": 3}
    assert plane.diagnosed().code == "busy"


def test_settings_that_cannot_be_read_stop_nobody(plane: Plane) -> None:
    """A workers.max that is missing is not one of zero."""
    plane.endpoint["workers"] = {}
    plane.with_diagnoser(lambda diagnoser: diagnoser.preflight("ep1"))
    assert plane.diagnosed().code == "no_capacity"


def test_catalogue_that_is_silent_leaves_the_workers_verdict(plane: Plane) -> None:
    """What is known is used; what is not is in the evidence."""
    plane.failing = {"gpus": httpx.Response(500)}
    found = plane.diagnosed()
    assert found.code == "no_capacity"
    assert "gpus" in found.evidence["error"]


def test_workers_that_are_silent_leave_the_settings_verdict(plane: Plane) -> None:
    """An endpoint that may start none needs no further question."""
    plane.failing = {"workers": httpx.Response(500)}
    plane.endpoint["workers"]["max"] = 0
    assert plane.diagnosed().code == "workers_max_zero"
    plane.endpoint["workers"]["max"] = 3
    assert plane.diagnosed().code == "unknown"


# ---- preflight


def problem(status: int) -> httpx.Response:
    """An RFC 9457 problem."""
    return httpx.Response(status, json={"title": "x", "status": status, "detail": "refused"})


def test_endpoint_id_that_is_wrong_stops_before_anything_is_sent(plane: Plane) -> None:
    """S10: the id in the settings names nothing."""
    plane.failing = {"ep1": problem(404)}
    error = plane.refused()
    assert (error.code, error.retry) == ("unknown_endpoint", Retry.ELSEWHERE)
    assert "ENDPOINT_ID" in str(error)
    found = plane.diagnosed()
    assert (found.code, found.hopeless) == ("unknown_endpoint", True)


def test_key_that_is_refused_stops_before_anything_is_sent(plane: Plane) -> None:
    """S9: the message names the setting and never its value."""
    plane.failing = {"ep1": problem(401)}
    error = plane.refused()
    assert (error.code, error.retry) == ("key_refused", Retry.FATAL)
    assert "RUNPOD_API_KEY" in str(error)
    assert "SECRET" not in str(error)


def test_healthy_endpoint_passes(plane: Plane) -> None:
    """And costs two questions."""
    plane.with_diagnoser(lambda diagnoser: diagnoser.preflight("ep1"))
    assert sorted(plane.asked) == ["ep1", "graphql"]


def test_many_jobs_are_diagnosed_by_three_questions(plane: Plane) -> None:
    """The control plane takes 60 requests a minute, however many jobs are stuck."""
    plane.summary = {"running": 3}

    async def crowd(diagnoser: Diagnoser) -> None:
        await asyncio.gather(*(diagnoser.diagnose("ep1", f"job{number}", 90.0) for number in range(200)))

    plane.with_diagnoser(crowd)
    assert sorted(plane.asked) == ["ep1", "graphql", "workers"]


def test_every_rule_reads_as_a_sentence() -> None:
    """No rule names what no case has."""

    class Anything(dict[str, Any]):
        def __missing__(self, key: str) -> str:
            raise AssertionError(key)

    from resources.gpu.backends.runpod.verdicts import Case
    from resources.runpod.answers import Workers

    words: Mapping[str, Any] = Anything(Case("ep1", 1.0, workers=Workers()).words())
    for rule in RULES:
        assert rule.text.format_map(words).endswith(".")
        assert not rule.command.format_map(words).endswith(".")


@pytest.mark.parametrize("helps", [True, False])
def test_fallback_endpoint_is_named_where_it_helps(plane: Plane, helps: bool) -> None:
    """It takes sfw pictures only: whoever waits for a training would set it in vain."""

    async def work(diagnoser: Diagnoser) -> str:
        return (await diagnoser.diagnose("ep1", "job1", 90.0, may_fall_back=helps)).next_command

    command = plane.with_diagnoser(work)
    assert command.startswith("Add GPU pools or data centres to ep1")
    assert ("RUNPOD_FALLBACK_ENDPOINT_ID" in command) == helps
