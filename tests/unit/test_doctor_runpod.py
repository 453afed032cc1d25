"""What goes wrong before the first job on RunPod: a key, an endpoint, a balance or a store is not what it seems."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from resources.gpu.backends.runpod.pod_launch import TRAINING_GPUS
from ryla_assets.doctor import examine
from ryla_assets.doctor_finding import Finding
from ryla_assets.settings import Settings
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod

NOBODY = "http://127.0.0.1:9"  # the discard port: nobody listens
ROWS = ("RUNPOD_API_KEY", "RUNPOD_IMAGE_ENDPOINT_ID", "RunPod balance", "worker and store", "webhooks")
KEY = "rp-fake-key"
PODS = "RUNPOD_TRAINING_POD_IMAGE"
ON_PODS = {
    "runpod_training_pod_image": "registry.example/trainer:1",
    "runpod_worker": "ryla",
    "storage_url": "s3://bucket/prefix",
}


@pytest.fixture(scope="module")
def account() -> Iterator[FakeRunPod]:
    """An account with a good endpoint and one that was scaled down after a week."""
    idle = EndpointConfig(id="idle1", name="idle", workers_max=0)
    with FakeRunPod((EndpointConfig(id="ep1"), idle), api_key=KEY, balance_usd=12.5) as made:
        yield made


@pytest.fixture
def ready_home(home: Path, migrated_database: Path) -> Path:
    """A home whose database needs no migration."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    return home


def found(home: Path, account: FakeRunPod, **changes: Any) -> dict[str, Finding]:
    """What the doctor finds about RunPod, by row."""
    given: dict[str, Any] = {
        "home": home,
        "public_url": NOBODY,
        "backend": "runpod",
        "runpod_api_key": SecretStr(KEY),
        "runpod_image_endpoint_id": "ep1",
        "runpod_worker": "worker-comfyui",
        "runpod_control_url": account.control_url,
        "runpod_graphql_url": account.graphql_url,
        **changes,
    }
    return {one.what: one for one in examine(Settings(**given))}


def test_good_account_is_told_with_its_numbers(ready_home: Path, account: FakeRunPod) -> None:
    """Workers, GPUs, balance, contract: nothing is missing."""
    rows = found(ready_home, account)
    assert set(ROWS) <= set(rows)
    assert {name: rows[name].state for name in ROWS} == dict.fromkeys(ROWS, "ok")
    assert "ep1, workers 0 to 3, ADA_24" in rows["RUNPOD_IMAGE_ENDPOINT_ID"].detail
    assert rows["RunPod balance"].detail == "$12.50"


def test_preview_is_not_asked_about_runpod(ready_home: Path, account: FakeRunPod) -> None:
    """Whoever tries the demo is not told of keys."""
    assert not set(ROWS) & set(found(ready_home, account, backend="preview"))


def test_missing_key_is_the_first_thing_told(ready_home: Path, account: FakeRunPod) -> None:
    """And nothing is asked without it."""
    rows = found(ready_home, account, runpod_api_key=SecretStr(""))
    assert rows["RUNPOD_API_KEY"].state == rows["RUNPOD_IMAGE_ENDPOINT_ID"].state == "missing"
    assert rows["RunPod balance"].detail == "unknown"


def test_refused_key_is_told_without_it(ready_home: Path, account: FakeRunPod) -> None:
    """What a typo in a secret looks like."""
    rows = found(ready_home, account, runpod_api_key=SecretStr("rp-wrong-s3cr3t"))
    assert rows["RUNPOD_IMAGE_ENDPOINT_ID"].state == "missing"
    assert "s3cr3t" not in str(rows)


@pytest.mark.parametrize(("endpoint", "says"), [("idle1", "0"), ("nothere", "nothere"), ("", "no endpoint for images")])
def test_endpoint_that_cannot_work_is_missing(ready_home: Path, account: FakeRunPod, endpoint: str, says: str) -> None:
    """Scaled down to nothing, deleted, or never set: each with its cure."""
    row = found(ready_home, account, runpod_image_endpoint_id=endpoint)["RUNPOD_IMAGE_ENDPOINT_ID"]
    assert row.state == "missing"
    assert says in row.detail
    assert row.cure


def test_other_endpoints_are_looked_at_where_they_are_set(ready_home: Path, account: FakeRunPod) -> None:
    """The training's and the fallback's are optional; what is set must work."""
    assert "RUNPOD_TRAINING_ENDPOINT_ID" not in found(ready_home, account)
    rows = found(ready_home, account, runpod_training_endpoint_id="ep1", runpod_fallback_endpoint_id="idle1")
    assert rows["RUNPOD_TRAINING_ENDPOINT_ID"].state == "ok"
    assert rows["RUNPOD_FALLBACK_ENDPOINT_ID"].state == "missing"


def test_silent_control_api_is_a_note(ready_home: Path, account: FakeRunPod) -> None:
    """Jobs live on another host: what cannot be asked stops nobody."""
    rows = found(ready_home, account, runpod_control_url=f"{NOBODY}/v2", runpod_graphql_url="")
    assert rows["RUNPOD_IMAGE_ENDPOINT_ID"].state == "note"
    assert rows["RunPod balance"].state == "note"


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({"runpod_worker": "ryla"}, "missing", "RYLA_STORAGE_URL"),
        ({"runpod_worker": "ryla", "storage_url": "s3://bucket/prefix"}, "ok", "RUNPOD_WORKER=ryla"),
        ({"runpod_engine": "preview"}, "note", "procedural"),
    ],
    ids=["store in a folder", "store on S3", "trial"],
)
def test_worker_must_reach_the_store(
    ready_home: Path, account: FakeRunPod, changes: dict[str, Any], state: str, says: str
) -> None:
    """Our worker puts results into our store: a folder on this machine is none."""
    row = found(ready_home, account, **changes)["worker and store"]
    assert (row.state, says in row.detail) == (state, True)


def test_webhooks_over_http_are_noted(ready_home: Path, account: FakeRunPod) -> None:
    """Their tokens could be read on the way."""
    assert found(ready_home, account, webhook_url="http://ryla.example")["webhooks"].state == "note"
    assert found(ready_home, account, webhook_url="https://ryla.example")["webhooks"].state == "ok"


# ---- trainings on pods


def test_pods_are_told_with_what_is_free(ready_home: Path, account: FakeRunPod) -> None:
    """Which image, which GPU types for which price, and what nobody can know for free; no training endpoint."""
    rows = found(ready_home, account, **ON_PODS)
    assert rows[PODS].state == "ok"
    assert "registry.example/trainer:1 on A40 ($0.44/h), RTX A6000 ($0.49/h), L40" in rows[PODS].detail
    assert "may the key create them?" in rows[PODS].detail
    assert "RUNPOD_TRAINING_ENDPOINT_ID" not in rows
    assert PODS not in found(ready_home, account)


def test_gpu_types_that_are_sold_out_are_noted(
    ready_home: Path, account: FakeRunPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training would be refused, today; some or all of them."""
    monkeypatch.setattr(account.world.config.pods, "no_capacity", TRAINING_GPUS[:2])
    row = found(ready_home, account, **ON_PODS)[PODS]
    assert (row.state, "A40" in row.detail, "L40" in row.detail) == ("ok", False, True)
    monkeypatch.setattr(account.world.config.pods, "no_capacity", TRAINING_GPUS)
    row = found(ready_home, account, **ON_PODS)[PODS]
    assert (row.state, "none of the GPU types" in row.detail, bool(row.cure)) == ("note", True, True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"runpod_training_pod_image": "https://registry.example/trainer"}, "no container image"),
        ({"runpod_worker": "worker-comfyui"}, "a store that they reach"),
        ({"storage_url": ""}, "a store that they reach"),
        ({"runpod_api_key": SecretStr("")}, "without a key"),
        ({"runpod_api_key": SecretStr("rp-wrong-s3cr3t")}, "401"),
    ],
    ids=["image", "worker", "store", "key", "refused key"],
)
def test_pods_that_cannot_train_are_missing(
    ready_home: Path, account: FakeRunPod, changes: dict[str, Any], says: str
) -> None:
    """Each with its cure, and never with the key."""
    row = found(ready_home, account, **{**ON_PODS, **changes})[PODS]
    assert (row.state, says in row.detail, bool(row.cure)) == ("missing", True, True)
    assert "s3cr3t" not in str(row)


@pytest.mark.parametrize(("status", "state"), [(403, "missing"), (418, "note")])
def test_refusal_to_list_pods_is_told(ready_home: Path, account: FakeRunPod, status: int, state: str) -> None:
    """A key that may not list pods may not create them; an answer that nobody expects proves nothing."""
    rule = account.faults.add("pods.list", "answer", status=status, body={"title": "No", "detail": "no"})
    row = found(ready_home, account, **ON_PODS)[PODS]
    account.faults.rules.remove(rule)
    assert (row.state, str(status) in row.detail, bool(row.cure)) == (state, True, True)
