"""What goes wrong with the doctor's look at the store: a right that is missing shows only once work was paid for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ryla_assets import doctor
from ryla_assets.settings import Settings
from tests.fakes.faulty_proxy import Fault, FaultyProxy, before
from tests.s3 import S3Server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    """A proxy before the server, which refuses what it is told to."""
    with before(s3.access.endpoint_url) as made:
        yield made


def settings(s3: S3Server, proxy: FaultyProxy, url: str) -> Settings:
    """A deployment whose store is behind the proxy."""
    return Settings(storage_url=url, **{**s3.settings(), "s3_endpoint_url": proxy.url})


def left(s3: S3Server, url: str) -> list[str]:
    """What lies there afterwards."""
    return sorted(s3.objects(s3.store(url=url)))


def test_probe_asks_for_every_right_and_leaves_nothing(s3: S3Server, proxy: FaultyProxy) -> None:
    """Ours: put, get, list, delete; a worker's: two PUTs and a GET by URL alone."""
    url = s3.url()
    found = doctor._store(settings(s3, proxy, url))
    assert (found.state, "presigned URLs too" in found.detail) == ("ok", True)
    asked = [request.split()[0] for request in proxy.seen]
    assert {"PUT", "GET", "DELETE"} <= set(asked)
    assert left(s3, url) == []


@pytest.mark.parametrize(
    ("fault", "may_stay"),
    [
        (Fault(method="PUT", path="/probe/", status=403, code="AccessDenied"), False),
        (Fault(method="GET", path="/probe/", status=403, code="AccessDenied"), False),
        (Fault(method="GET", path="list-type=2", status=403, code="AccessDenied"), False),
        (Fault(method="DELETE", path="/probe/", status=403, code="AccessDenied"), True),
    ],
    ids=["write", "read", "list", "delete"],
)
def test_right_that_is_missing_is_told(s3: S3Server, proxy: FaultyProxy, fault: Fault, may_stay: bool) -> None:
    """With the four that the key needs; the way out is in the finding."""
    url = s3.url()
    proxy.faults.append(fault)
    found = doctor._store(settings(s3, proxy, url))
    assert found.state == "missing"
    assert "list, read, write and delete" in found.detail
    assert found.cure
    assert bool(left(s3, url)) is may_stay


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_store_that_refuses_its_own_urls_is_noted(s3: S3Server, proxy: FaultyProxy, method: str) -> None:
    """Our side works, workers would not: which request, and what to use instead. No signature is shown."""
    url = s3.url()
    proxy.faults.append(Fault(method=method, path="X-Amz-Signature", status=403, code="AccessDenied"))
    found = doctor._store(settings(s3, proxy, url))
    assert (found.state, f"presigned {method} (" in found.detail) == ("note", True)
    assert "Signature" not in found.detail + found.cure
    assert left(s3, url) == []


def test_results_that_cannot_be_forgotten_are_told(s3: S3Server, proxy: FaultyProxy) -> None:
    """A refused result that stays would be given to every later attempt."""
    proxy.faults.append(Fault(method="DELETE", path="/results/", status=403, code="AccessDenied"))
    found = doctor._store(settings(s3, proxy, s3.url()))
    assert (found.state, "delete in bucket" in found.detail) == ("missing", True)


def test_folder_is_left_as_it_was(tmp_path: Path) -> None:
    """A probe of a folder is one file that is gone again."""
    store = tmp_path / "store"
    assert doctor._store(Settings(storage_url=str(store))).state == "ok"
    assert list(store.iterdir()) == []


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With its place."""
    (tmp_path / "store").write_text("not a folder")
    found = doctor._store(Settings(storage_url=str(tmp_path / "store")))
    assert (found.state, str(tmp_path / "store") in found.detail) == ("missing", True)
