"""The fault matrix of the RunPod notes (section 8) as things to install: `fake.install("S2")`.

Belongs here: how each case is injected, in one line of text and one function. What the product must do about it is
asserted elsewhere. Cases that only a client can bring about (a body that is too large, a clock that jumps) install
nothing: their text says who does it.
# runpod facts 7, 8 [issue] [doc], as the rows there say
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod import case_outputs as out

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.fake import FakeRunPod

Install = Callable[["FakeRunPod", str], object]
REFUSED_S = 0.6  # real seconds without a listener (S1)
NO_ANSWER_S = 60.0  # real seconds of silence (S2): the client gives up first
SLOW_S = 30.0  # real seconds of one slow poll (P19)
HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass(frozen=True)
class Case:
    """One row of the matrix. `install(fake, endpoint)` makes it happen from now on."""

    id: str
    text: str
    install: Install


def _rule(operation: str, action: str, **options: Any) -> Install:
    return lambda fake, endpoint: fake.faults.add(operation, action, endpoint=endpoint, **options)  # type: ignore[arg-type]


def _anywhere(operation: str, action: str, **options: Any) -> Install:
    return lambda fake, _: fake.faults.add(operation, action, **options)  # type: ignore[arg-type]


def _fate(*, times: int | None = None, **script: Any) -> Install:
    return lambda fake, endpoint: fake.faults.script(endpoint, times=times, **script)


def _all(*installs: Install) -> Install:
    return lambda fake, endpoint: [install(fake, endpoint) for install in installs]


def _nothing(fake: FakeRunPod, endpoint: str) -> None:
    """The client brings it about."""


def _problem(status: int, title: str, detail: str) -> dict[str, Any]:
    body = {"title": title, "status": status, "detail": detail}
    return {"status": status, "body": body, "content_type": "application/problem+json"}


def _no_workers(fake: FakeRunPod, endpoint: str) -> None:
    fake.pool(endpoint).config.workers_max = fake.pool(endpoint).config.workers_min = 0


def _burst(fake: FakeRunPod, endpoint: str) -> None:
    now = fake.world.elapsed
    body = {"error": "rate limit exceeded"}
    fake.faults.add("status", status=429, body=body, endpoint=endpoint, from_s=now, until_s=now + 20.0)


def _stuck_pod(fake: FakeRunPod, _: str) -> None:
    fake.world.pods.stick = 1


def _foreign(fake: FakeRunPod, _: str) -> None:
    for name in ("somebody-else", "ryla-but-not-ours"):
        fake.world.pods.add_foreign(name)


def _by_url(*, operation: str = "answer", **options: Any) -> Install:
    def install(fake: FakeRunPod, endpoint: str) -> None:
        fake.faults.script(endpoint, mutate=out.by_url(fake))
        fake.faults.add("files", operation, **options)  # type: ignore[arg-type]

    return install


def _foreign_id(body: Any) -> Any:
    return {**body, "id": "somebody-elses-job"} if body.get("status") == "COMPLETED" else body


_SUBMIT = (
    Case("S1", "connections are refused for 0.6 s, then all is well", lambda fake, _: fake.refuse_for(REFUSED_S)),
    Case("S2", "the job is stored, no answer comes", _rule("run", "delay", seconds=NO_ANSWER_S, after=True, times=1)),
    Case("S3", "the job is stored, the answer breaks off in the middle", _rule("run", "cut_response", times=1)),
    Case("S4", "stored, the answer is 200 and empty", _rule("run", "done_but", status=200, body="", times=1)),
    Case("S5", "429 with Retry-After 3, once", _rule(
        "run", "answer", status=429, headers={"retry-after": "3"}, body={"error": "rate limit exceeded"}, times=1)),
    Case("S6", "429 without any header, five times", _rule(
        "run", "answer", status=429, body={"error": "rate limit exceeded"}, times=5)),
    Case("S7", "500, yet the job was stored", _rule("run", "done_but", status=500, body={"error": "no"}, times=1)),
    Case("S8", "502 with an HTML page, nothing stored", _rule(
        "run", "answer", status=502, body=HTML, content_type="text/html", times=1)),
    Case("S9", "401 for every request", _rule("*", "answer", status=401, body={"error": "unauthorized"})),
    Case("S10", "404: no such endpoint", _rule("*", "answer", status=404, body={"error": "endpoint not found"})),
    Case("S11", "400 with a reason", _rule("run", "answer", status=400, body={"error": "input.workflow is required"})),
    Case("S12", "a body over 10 MB: the client's; the fake would answer 400", _nothing),
    Case("S13", "200 that says IN_PROGRESS", _rule(
        "run", "mutate", change=lambda body: {**body, "status": "IN_PROGRESS"})),
    Case("S14", "the first answer is lost, a second submission gets a new id", _rule("run", "drop_response", times=1)),
)  # fmt: skip
_POLL = (
    Case("P1", "IN_QUEUE for ever: no worker at all", lambda fake, ep: fake.set_mode("no_capacity", ep)),
    Case("P2", "IN_QUEUE for ever: workers crash again and again", lambda fake, ep: fake.set_mode("unhealthy", ep)),
    Case("P3", "IN_QUEUE for ever: workers are throttled", lambda fake, ep: fake.set_mode("throttled", ep)),
    Case("P4", "the endpoint was scaled down to max workers 0", _no_workers),
    Case("P5", "IN_PROGRESS past executionTimeout, without end", _fate(hang=True)),
    Case("P6", "TIMED_OUT, but files and manifest lie in the store", _fate(times=1, end="TIMED_OUT")),
    Case("P7", "TIMED_OUT and nothing in the store, once", _fate(times=1, end="TIMED_OUT", deliver=False)),
    Case("P8", "404 for 5 s after submission", _fate(hidden_s=5.0)),
    Case("P9", "404 for good while it runs, the result arrives in the store", _fate(times=1, lose_after_s=0.1)),
    Case("P10", "404 for good, nothing in the store", _fate(times=1, lose_after_s=0.1, deliver=False)),
    Case("P11", "ttl ends while it runs: 404, the run is stopped", _fate(
        times=1, duration_s=1e6, expire_s=60.0, deliver=False)),
    Case("P12", "status RUNNING instead of IN_PROGRESS, then PAUSED in later jobs", _all(
        _fate(show="PAUSED"), _fate(times=1, show="RUNNING"))),
    Case("P13", "COMPLETED once, IN_PROGRESS after it", _fate(regress=True)),
    Case("P14", "status answers cut short, then as a page", _all(
        _rule("status", "truncate", keep=12, times=2),
        _rule("status", "done_but", status=200, body=HTML, content_type="text/html", times=2))),
    Case("P15", "429 on every status for 20 s", _burst),
    Case("P16", "the client's wall clock jumps by an hour: the client's", _nothing),
    Case("P17", "the worker dies half a second into the run, the job is queued again", _fate(
        times=1, kill_at_s=[0.5], duration_s=2.0)),
    Case("P18", "somebody else cancels it", _fate(times=1, duration_s=1e6, cancel_after_s=15.0)),
    Case("P19", "one status answer takes 30 s", _rule("status", "delay", seconds=SLOW_S, times=1)),
    Case("P20", "health without a single key", _rule("health", "mutate", change=lambda _: {})),
)  # fmt: skip
_RESULT = (
    Case("R1", "COMPLETED without output", _fate(drop_output=True, deliver=False)),
    Case("R2", "COMPLETED, success_no_images", _fate(
        output={"status": "success_no_images", "images": []}, deliver=False)),
    Case("R3", "pictures and errors", _fate(mutate=out.with_errors)),
    Case("R4", "a picture fewer than asked for", _fate(damage="missing")),
    Case("R5", "base64 that is none", _fate(mutate=out.first_image(out.invalid_base64))),
    Case("R6", "base64 behind a data-URI prefix", _fate(mutate=out.first_image(out.data_uri))),
    Case("R7", "output.message of an old worker", _fate(mutate=out.old_shape)),
    Case("R8", "half a PNG in one job, a page in the next", _all(
        _fate(damage="html"), _fate(times=1, damage="truncated"))),
    Case("R9", "a blank picture", _fate(damage="blank")),
    Case("R10", "s3_url that expired: 403", _by_url(status=403, body="<Error><Code>AccessDenied</Code></Error>")),
    Case("R11", "s3_url without bucket: 404", _by_url(status=404, body="<Error><Code>NoSuchBucket</Code></Error>")),
    Case("R12", "s3_url whose download breaks off once", _by_url(operation="cut_response", times=1)),
    Case("R13", "output is a list", _fate(mutate=out.as_list)),
    Case("R14", "FAILED with a traceback as JSON string", _fate(error=out.TRACEBACK, deliver=False)),
    Case("R15", "FAILED with output.details", _fate(
        error="Job processing failed", output={"details": ["Node 7: boom"]}, deliver=False)),
    Case("R16", "FAILED: out of GPU memory", _fate(error=out.OOM, deliver=False)),
    Case("R17", "FAILED: a model file is missing", _fate(error=out.MISSING_MODEL, deliver=False)),
    Case("R18", "FAILED: a node class is missing", _fate(error=out.MISSING_NODE, deliver=False)),
    Case("R19", "two files of one name", _fate(mutate=out.double_name)),
    Case("R20", "25 MB of base64", _fate(mutate=out.first_image(out.heavy(25)), unlimited=True)),
    Case("R21", "the same worker crashes three times", _fate(
        times=3, error=out.CRASH, deliver=False, worker_id="poisoned1worker")),
    Case("R22", "the answer is another job's", _all(
        _fate(mutate=out.other_fingerprint), _rule("status", "mutate", change=_foreign_id))),
)  # fmt: skip
_WEBHOOK = (
    Case("W1", "no webhook ever", _fate(webhook="never")),
    Case("W2", "the webhook three times", _fate(webhook="thrice")),
    Case("W3", "the webhook before the status says it", _fate(webhook="early")),
    Case("W4", "a webhook with a forged body", _fate(webhook="forged")),
    Case("W5", "a webhook with a wrong token", _fate(webhook="wrong_path")),
    Case("W6", "the receiver answers 500: the receiver's; the fake comes back after 10 s", _nothing),
    Case("W7", "a webhook for a cancelled job", lambda fake, _: setattr(
        fake.switches, "webhook_on", ("COMPLETED", "FAILED", "CANCELLED"))),
)  # fmt: skip
_CONTROL = (
    Case("C1", "pod create answers 500, the pod exists", _anywhere(
        "pods.create", "done_but", **_problem(500, "Internal Server Error", "unexpected error"), times=1)),
    Case("C2", "no capacity for the first two GPU types", _anywhere(
        "pods.create", "answer", **_problem(400, "Bad Request", "no instances available"), times=2)),
    Case("C3", "402: no money", _anywhere(
        "pods.create", "answer", **_problem(402, "Payment Required", "insufficient balance"))),
    Case("C4", "409: the action is not possible now", _anywhere(
        "pods.action", "answer", **_problem(409, "Conflict", "action not valid for the pod's status"))),
    Case("C5", "422: the request is wrong", _anywhere(
        "pods.create", "answer", **_problem(422, "Unprocessable Entity", "Request validation failed."))),
    Case("C6", "the next pod never gets past PROVISIONING", _stuck_pod),
    Case("C7", "the pod is gone by the time it is deleted: 404", _anywhere(
        "pods.delete", "done_but", **_problem(404, "Not Found", "pod not found"))),
    Case("C8", "DELETE answers 500 three times, and nothing happens", _anywhere(
        "pods.delete", "answer", **_problem(500, "Internal Server Error", "unexpected error"), times=3)),
    Case("C9", "two pods of somebody else on the account", _foreign),
    Case("C10", "the control URL is the retired v1: 410", _anywhere(
        "*.*", "answer", status=410, body={"message": "The v1 API has been retired."})),
    Case("C11", "billing knows nothing yet", _anywhere(
        "billing.*", "mutate", change=lambda body: {**body, "records": []})),
    Case("C12", "RateLimit says that nothing is left this minute", _anywhere(
        "*.*", "mutate", headers={"RateLimit": '"minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012'})),
)  # fmt: skip
CASES: Mapping[str, Case] = {case.id: case for case in (*_SUBMIT, *_POLL, *_RESULT, *_WEBHOOK, *_CONTROL)}
