"""Every answer of the fake's control API is one that RunPod's published OpenAPI allows: status, body, content type.

The document lies beside a checkout where it is at hand; what is held to it is skipped where it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contracts.fake_runpod_client import ATTEMPT, FINGERPRINT, Client, wire_request
from tests.contracts.fake_runpod_client import OPEN as OPENED
from tests.fakes.fake_runpod.config import PodSettings
from tests.fakes.fake_runpod.fake import FakeRunPod

OPENAPI = Path(__file__).resolve().parents[3] / "shared" / "runpod" / "openapi-control-v2.json"
published = pytest.mark.skipif(not OPENAPI.exists(), reason="no published OpenAPI beside this checkout")
POD = {"name": "ryla-train-1", "image": "trainer:1", "gpu": {"id": "NVIDIA A40", "count": 1}, "env": {}}
ENDPOINT = {
    "name": "new", "type": "QUEUE", "image": "a:1", "gpu": {"pools": ["ADA_24"]},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
}  # fmt: skip
VOLUME = {"name": "models", "size": 200, "dataCenter": "EU-RO-1"}


@cache
def spec() -> Any:
    """The published document."""
    return json.loads(OPENAPI.read_text())


def path_of(path: str) -> str:
    """The document's template for a path."""
    parts = path.strip("/").split("/")
    for template in spec()["paths"]:
        wanted = template.removeprefix("/v2/").split("/")
        if len(wanted) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(wanted, parts, strict=True)):
            if "{id}" in wanted and f"/v2/{'/'.join(parts)}" in spec()["paths"]:
                continue
            return str(template)
    raise AssertionError(f"the document has no path {path}")


def resolve(node: Any) -> Any:
    """A node, or what its $ref points to."""
    while "$ref" in node:
        target: Any = spec()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def hold(answer: httpx.Response, path: str) -> None:
    """Fail unless the document allows this answer to this request."""
    import jsonschema  # type: ignore[import-untyped]

    operation = spec()["paths"][path_of(path)][answer.request.method.lower()]
    said = resolve(operation["responses"].get(str(answer.status_code), operation["responses"]["default"]))
    if "content" not in said:
        assert answer.content == b""
        return
    kind = answer.headers["content-type"].split(";")[0]
    assert kind in said["content"], f"{kind} is not among {list(said['content'])}"
    schema = {**said["content"][kind]["schema"], "components": spec()["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(answer.json())


class Control:
    """A client of the control API that holds every answer to the document, where there is one."""

    def __init__(self, fake: FakeRunPod) -> None:
        self.fake = fake
        key = {"authorization": f"Bearer {fake.api_key}"}
        self.http = OPENED.enter_context(httpx.Client(headers=key, trust_env=False, verify=False))

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """One request."""
        answer = self.http.request(method, f"{self.fake.control_url}/{path}", json=body, params=query)
        if OPENAPI.exists():
            hold(answer, path)
        return answer


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    OPENED.close()


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """A virtual account with one endpoint."""
    with FakeRunPod() as running:
        yield running


@pytest.fixture
def control(fake: FakeRunPod) -> Control:
    """Its client."""
    return Control(fake)


@published
def test_every_operation_is_held_to_the_document(control: Control, fake: FakeRunPod) -> None:
    """One walk over all that the fake answers, good and bad."""
    pod = control.ask("POST", "pods", POD).json()["id"]
    volume = control.ask("POST", "network-volumes", VOLUME).json()["id"]
    endpoint = control.ask("POST", "serverless", ENDPOINT).json()["id"]
    Client(fake).run()
    walked = [
        ("GET", "serverless", None, 200),
        ("GET", f"serverless/{endpoint}", None, 200),
        ("PATCH", f"serverless/{endpoint}", {"workers": {"min": 0, "max": 5}, "flashboot": "FLASHBOOT"}, 200),
        ("PATCH", f"serverless/{endpoint}", {"workers": {"idleTimeout": 0}}, 422),
        ("GET", "serverless/ep1/workers", None, 200),
        ("GET", f"serverless/{endpoint}/releases", None, 200),
        ("GET", "serverless/unknown", None, 404),
        ("POST", "serverless", {"name": "x"}, 422),
        ("GET", "pods", None, 200),
        ("GET", f"pods/{pod}", None, 200),
        ("PATCH", f"pods/{pod}", {"name": "other"}, 200),
        ("POST", f"pods/{pod}/action", {"action": "start"}, 409),
        ("POST", f"pods/{pod}/action", {"action": "dance"}, 422),
        ("POST", f"pods/{pod}/action", {"action": "stop"}, 200),
        ("POST", f"pods/{pod}/action", {"action": "start"}, 200),
        ("POST", "pods", {**POD, "gpu": {"id": "no such GPU"}}, 422),
        ("POST", "pods", {**POD, "surprise": 1}, 422),
        ("POST", f"pods/{pod}/action", {"action": "terminate"}, 204),
        ("DELETE", f"pods/{pod}", None, 404),
        ("GET", "network-volumes", None, 200),
        ("GET", f"network-volumes/{volume}", None, 200),
        ("PATCH", f"network-volumes/{volume}", {"size": 300}, 200),
        ("PATCH", f"network-volumes/{volume}", {"size": 100}, 400),
        ("POST", "network-volumes", {**VOLUME, "size": 1}, 422),
        ("DELETE", f"network-volumes/{volume}", None, 204),
        ("GET", "catalog/gpus", None, 200),
        ("GET", "catalog/gpus/NVIDIA A40", None, 200),
        ("GET", "catalog/gpus/none", None, 404),
        ("GET", "billing", None, 200),
        ("GET", "billing/serverless", None, 200),
        ("GET", "billing/pods", None, 200),
        ("GET", "billing/endpoints", None, 200),
        ("GET", "billing/network-volumes", None, 200),
        ("DELETE", f"serverless/{endpoint}", None, 204),
    ]
    fake.clock.advance(30)
    for method, path, body, status in walked:
        answer = control.ask(method, path, body)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"


def test_availability_needs_a_product(control: Control) -> None:
    """include=AVAILABILITY and product go together, 400 either way."""
    assert control.ask("GET", "catalog/gpus", include="AVAILABILITY").status_code == 400
    assert control.ask("GET", "catalog/gpus", product="POD").status_code == 400
    gpus = control.ask("GET", "catalog/gpus", include="AVAILABILITY", product="SERVERLESS").json()["gpus"]
    assert {gpu["availability"] for gpu in gpus} == {"HIGH"}
    rtx = next(gpu for gpu in gpus if gpu["id"] == "NVIDIA GeForce RTX 4090")
    assert rtx["price"]["serverless"] == pytest.approx(0.00031 * 3600)


def test_key_is_asked_for(fake: FakeRunPod) -> None:
    """401 as problem+json."""
    answer = httpx.get(f"{fake.control_url}/pods", trust_env=False)
    assert answer.status_code == 401
    if OPENAPI.exists():
        hold(answer, "pods")


def test_rate_limit_of_a_minute(control: Control, fake: FakeRunPod) -> None:
    """Sixty a minute, told in headers each time; then 429 with Retry-After, then again."""
    answers = [control.ask("GET", "pods") for _ in range(61)]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    assert answers[0].headers["ratelimit"].startswith('"minute";r=59;t=')
    assert answers[0].headers["ratelimit-policy"].startswith('"minute";q=60;w=60')
    wait = int(answers[-1].headers["retry-after"])
    fake.clock.advance(wait)
    assert control.ask("GET", "pods").status_code == 200


def test_workers_tell_why_a_job_waits(control: Control, fake: FakeRunPod) -> None:
    """Throttled and crashing workers are listed and counted."""
    fake.set_mode("unhealthy")
    Client(fake).run()
    body = control.ask("GET", "serverless/ep1/workers").json()
    assert body["summary"] == {
        "running": 0, "idle": 0, "initializing": 0, "throttled": 0, "unhealthy": 1, "total": 1,
    }  # fmt: skip
    assert [worker["status"] for worker in body["workers"]] == ["UNHEALTHY"]


def test_patch_changes_the_pool(control: Control, fake: FakeRunPod) -> None:
    """workers.max 0 stops scaling; a change is a release."""
    control.ask("PATCH", "serverless/ep1", {"workers": {"max": 0}})
    job = Client(fake).run()
    fake.clock.advance(100)
    assert Client(fake).status(job)["status"] == "IN_QUEUE"
    control.ask("PATCH", "serverless/ep1", {"workers": {"max": 1}})
    fake.clock.advance(20)
    assert Client(fake).status(job)["status"] == "COMPLETED"
    releases = control.ask("GET", "serverless/ep1/releases").json()["releases"]
    assert [entry["field"] for entry in releases[0]["diff"]] == ["workers"]


def test_request_urls_work(control: Control, fake: FakeRunPod) -> None:
    """The URLs that an endpoint tells are those of its jobs API."""
    urls = control.ask("GET", "serverless/ep1").json()["requestUrls"]
    job = control.http.post(urls["run"], json={"input": {}}).json()["id"]
    assert control.http.get(urls["status"].replace("{job_id}", job)).json()["status"] == "IN_QUEUE"
    assert control.http.get(urls["health"]).status_code == 200


def test_life_of_a_pod(control: Control, fake: FakeRunPod) -> None:
    """PROVISIONING, STARTING, RUNNING; it costs by the second until it is stopped."""
    pod = control.ask("POST", "pods", POD).json()["id"]
    seen = []
    for seconds in (0, 6, 20):
        fake.clock.advance(seconds)
        seen.append(control.ask("GET", f"pods/{pod}").json()["status"])
    assert seen == ["PROVISIONING", "STARTING", "RUNNING"]
    assert fake.alive() == [f"pod/{pod} RUNNING"]
    control.ask("DELETE", f"pods/{pod}")
    assert fake.bill.total(pod) == pytest.approx(26 * 0.44 / 3600)
    fake.clock.advance(1000)
    assert fake.alive() == []
    assert fake.bill.total() == pytest.approx(26 * 0.44 / 3600)


@pytest.mark.parametrize("by_url", [True, False])
def test_pod_works_on_a_request(control: Control, fake: FakeRunPod, by_url: bool) -> None:
    """Given by its environment, as JSON or by URL; results in the store, then EXITED and no more cost."""
    body = json.dumps(wire_request(fake))
    fake.world.files["request.json"] = body.encode()
    env = {"RYLA_REQUEST_URL": f"{fake.files_url}/request.json"} if by_url else {"RYLA_REQUEST": body}
    pod = control.ask("POST", "pods", {**POD, "env": env}).json()["id"]
    fake.clock.advance(26)
    assert f"results/{FINGERPRINT}/result.json" not in fake.world.files
    fake.clock.advance(60)
    assert control.ask("GET", f"pods/{pod}").json()["status"] == "EXITED"
    result = json.loads(fake.world.files[f"results/{FINGERPRINT}/result.json"])
    assert (result["attempt"], len(result["files"])) == (ATTEMPT, 2)
    assert fake.bill.total() == pytest.approx(55 * 0.44 / 3600)
    assert fake.alive() == []


def test_pod_may_stay_up() -> None:
    """[infer] Whether a pod ends with its command is unverified: the switch keeps it RUNNING, and costing."""
    with FakeRunPod(pods=PodSettings(exits_after=False)) as fake:
        env = {"RYLA_REQUEST": json.dumps(wire_request(fake))}
        pod = Control(fake).ask("POST", "pods", {**POD, "env": env}).json()["id"]
        fake.clock.advance(500)
        assert fake.alive() == [f"pod/{pod} RUNNING"]


def test_no_capacity_for_a_gpu() -> None:
    """400, without a code to tell it by."""
    with FakeRunPod(pods=PodSettings(no_capacity=("NVIDIA A40",))) as fake:
        control = Control(fake)
        assert control.ask("POST", "pods", POD).status_code == 400
        assert control.ask("POST", "pods", {**POD, "gpu": {"id": "NVIDIA L40S"}}).status_code == 201


def test_pod_needs_an_hour_of_money() -> None:
    """402."""
    with FakeRunPod(balance_usd=0.2) as fake:
        assert Control(fake).ask("POST", "pods", POD).status_code == 402
        assert fake.alive() == []


@pytest.mark.parametrize(
    ("case", "codes", "pods"),
    [("C1", [500, 201], 2), ("C2", [400, 400, 201], 1), ("C3", [402], 0), ("C5", [422], 0)],
)
def test_cases_of_pod_create(fake: FakeRunPod, control: Control, case: str, codes: list[int], pods: int) -> None:
    """What is answered, and how many pods exist."""
    fake.install(case)
    assert [control.ask("POST", "pods", POD).status_code for _ in codes] == codes
    assert len(fake.alive()) == pods


def test_other_cases_of_pods(fake: FakeRunPod, control: Control) -> None:
    """C6 stays PROVISIONING; C7 and C8 delete or do not; C9 pods are somebody else's."""
    fake.install("C6")
    pod = control.ask("POST", "pods", POD).json()["id"]
    fake.clock.advance(1000)
    assert control.ask("GET", f"pods/{pod}").json()["status"] == "PROVISIONING"
    fake.install("C8")
    assert [control.ask("DELETE", f"pods/{pod}").status_code for _ in range(4)] == [500, 500, 500, 204]
    fake.install("C7")
    second = control.ask("POST", "pods", POD).json()["id"]
    assert control.ask("DELETE", f"pods/{second}").status_code == 404
    fake.install("C9")
    assert len(control.ask("GET", "pods").json()["pods"]) == 2
    assert fake.alive() == []


def test_other_cases_of_control(fake: FakeRunPod) -> None:
    """C10 the retired host, C11 an empty bill, C12 nothing left this minute."""
    control = Control(fake)
    assert control.http.get(f"{fake.world.base_url}/control/v1/pods").status_code == 410
    fake.install("C11")
    assert control.ask("GET", "billing/serverless").json()["records"] == []
    fake.install("C12")
    assert '"minute";r=0' in control.ask("GET", "serverless").headers["ratelimit"]
    fake.faults.clear()
    fake.install("C10")
    assert control.http.get(f"{fake.control_url}/pods").status_code == 410


def test_billing_is_the_bill(fake: FakeRunPod, control: Control) -> None:
    """Hours add up to what the fake charged; the filter keeps one endpoint."""
    Client(fake).run(input={"scripted_s": 5000}, policy={"executionTimeout": 6_000_000})
    fake.clock.advance(6000)
    hours = control.ask("GET", "billing/serverless", bucketSize="hour", serverlessId="ep1").json()
    assert len(hours["records"]) == 2
    assert hours["metadata"]["totals"]["totalAmount"] == pytest.approx(fake.bill.total())
    assert control.ask("GET", "billing/serverless", serverlessId="other").json()["records"] == []
    last = control.ask("GET", "billing", bucketSize="day", lastN=1).json()
    assert last["metadata"]["totals"]["serverlessGpuAmount"] == pytest.approx(fake.bill.total())


def test_balance_by_graphql(fake: FakeRunPod) -> None:
    """What is left, what runs an hour, the limit; only what is asked for."""
    Client(fake).run()
    fake.clock.advance(11)
    url = fake.graphql_url
    query = {"query": "query { myself { clientBalance currentSpendPerHr spendLimit } }"}
    key = {"authorization": f"Bearer {fake.api_key}"}
    facts = httpx.post(url, json=query, headers=key, trust_env=False).json()["data"]["myself"]
    assert facts == {
        "clientBalance": pytest.approx(100 - 11 * 0.00031),
        "currentSpendPerHr": pytest.approx(0.00031 * 3600),
        "spendLimit": 80.0,
    }
    assert httpx.post(url, json=query, trust_env=False).status_code == 401
    only = httpx.post(url, json={"query": "{ myself { clientBalance } }"}, headers=key, trust_env=False).json()
    assert set(only["data"]["myself"]) == {"clientBalance"}
