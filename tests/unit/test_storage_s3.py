"""The store on S3: signatures that hold, uploads that break off, answers that tell no secret."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from resources.storage import ObjectMissing, S3Access, StorageError, StorageFull, StoreUnreachable, open_store
from resources.storage_s3 import S3Store
from tests.fakes.faulty_proxy import Fault, FaultyProxy, before
from tests.s3 import BUCKET, S3Server
from workflows import wire
from workflows.errors import WireError

DATA = os.urandom(200_000)
SHA = hashlib.sha256(DATA).hexdigest()
BIG = os.urandom(1024) * 20 * 1024  # 20 MiB: three parts
FP = "ab" * 32
FIRST, SECOND = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def store(s3: S3Server) -> S3Store:
    """An empty store."""
    return s3.store()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    """A proxy before the server that can break requests."""
    with before(s3.access.endpoint_url) as made:
        yield made


@pytest.fixture
def shaky(s3: S3Server, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty store behind the proxy, whose retries do not wait."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    return s3.store(endpoint_url=proxy.url)


def put(url: str, data: bytes) -> int:
    """What a worker does with a presigned URL."""
    return httpx.put(url, content=data, headers={"Content-Type": "application/x-anything"}).status_code


def test_s3_speaks_through_dagster_aws() -> None:
    """The client is that of dagster-aws's resource, with the signature and checksums that other stores need."""
    from dagster_aws.s3 import S3Resource

    from resources.s3_client import SigningS3, make_client

    assert issubclass(SigningS3, S3Resource)
    config = make_client(S3Access("http://127.0.0.1:9", "eu-1", "k", "s")).meta.config
    assert (config.signature_version, config.s3["addressing_style"]) == ("s3v4", "path")
    assert config.request_checksum_calculation == config.response_checksum_validation == "when_required"
    assert config.retries["mode"] == "standard"


def test_opening_imports_nothing_heavy_and_contacts_nobody() -> None:
    """Definitions open the store; boto3's half second is paid by the first request."""
    code = (
        "import sys; from resources.storage import *; open_store('s3://b12/p', S3Access('http://127.0.0.1:9'));"
        "print(sorted({'boto3', 'botocore', 'dagster_aws', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("changes", [{"secret_access_key": "wrong-secret"}, {"access_key_id": "SOMEBODYELSE"}])
def test_wrong_key_is_refused_and_the_settings_are_named(s3: S3Server, changes: dict[str, str]) -> None:
    """The server verifies signatures; what it says names the settings, not their values."""
    refused = s3.store(**changes)
    for ask in (
        lambda: refused.put("images", DATA),
        lambda: refused.get("images", SHA),
        lambda: refused.has("images", SHA),
        lambda: refused.find("images", SHA[:16]),
    ):
        with pytest.raises(StorageError, match=r"403.*RYLA_S3_ACCESS_KEY_ID and RYLA_S3_SECRET_ACCESS_KEY") as caught:
            ask()
        for secret in (*changes.values(), s3.access.secret_access_key):
            assert secret not in str(caught.value)
        assert caught.value.__suppress_context__


def test_missing_bucket_is_named_not_taken_for_a_missing_object(s3: S3Server) -> None:
    """Also where a HEAD only says 404."""
    nowhere = s3.store(url="s3://no-such-bucket/x")
    for ask in (nowhere.has, nowhere.get, nowhere.find):
        with pytest.raises(StorageError, match=r"no bucket 'no-such-bucket'.*RYLA_STORAGE_URL"):
            ask("images", SHA)
    with pytest.raises(StorageError, match="no bucket"):
        nowhere.put("images", DATA)


def test_store_that_does_not_answer_may_answer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is a StoreUnreachable that names the setting."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    store = open_store("s3://bucket/x", S3Access("http://127.0.0.1:9", "", "k", "s"))
    with pytest.raises(StoreUnreachable, match=r"does not answer.*RYLA_S3_ENDPOINT_URL"):
        store.put("images", DATA)


@pytest.mark.parametrize(
    ("access", "setting"),
    [
        (S3Access("nonsense", "", "k", "s"), "RYLA_S3_ENDPOINT_URL"),
        (S3Access("http://127.0.0.1:9"), "RYLA_S3_ACCESS_KEY_ID"),
        (S3Access("http://127.0.0.1:9", "", "k"), "RYLA_S3_SECRET_ACCESS_KEY"),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, access: S3Access, setting: str) -> None:
    """Whatever botocore makes of it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(StorageError, match=setting):
        open_store("s3://bucket/x", access).has("images", SHA)


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:///x", "s3://b", "s3://AKID:tops3cret@bucket/x", "s3://bucket/../x", "s3://bucket/x?y", "s3://b/ "],
)
def test_url_without_bucket_or_with_keys_in_it_is_refused(url: str) -> None:
    """Keys belong into settings of their own; a prefix cannot climb; nothing of it is repeated."""
    with pytest.raises(StorageError, match="RYLA_STORAGE_URL") as caught:
        open_store(url)
    assert "tops3cret" not in str(caught.value)


def test_bucket_without_prefix_and_slashes_at_the_end() -> None:
    """All ways to write it mean the same keys."""
    for url, name in (
        ("s3://bucket", f"s3://bucket/images/{SHA[:2]}/{SHA}.png"),
        ("s3://bucket/", f"s3://bucket/images/{SHA[:2]}/{SHA}.png"),
        ("s3://bucket/a/b/", f"s3://bucket/a/b/images/{SHA[:2]}/{SHA}.png"),
    ):
        assert open_store(url).uri("images", SHA) == name


def test_object_says_what_it_is(s3: S3Server, store: S3Store) -> None:
    """Content type and hash go with it, for a browser and for other tools."""
    store.put("images", DATA)
    head = s3.client.head_object(Bucket=BUCKET, Key=store.uri("images", SHA).removeprefix(f"s3://{BUCKET}/"))
    assert head["ContentType"] == "image/png"
    assert {key.lower(): value for key, value in head["Metadata"].items()} == {"sha256": SHA}


def test_writing_twice_is_writing_once(shaky: S3Store, proxy: FaultyProxy) -> None:
    """The second time one HEAD is all."""
    for data, kind in ((DATA, "images"), (BIG, "loras")):
        shaky.put(kind, data)
        proxy.seen.clear()
        shaky.put(kind, data)
        assert [line.split()[0] for line in proxy.seen] == ["HEAD"]


def test_large_file_goes_in_parts_and_comes_back(shaky: S3Store, proxy: FaultyProxy) -> None:
    """Twenty megabytes in three parts; a part that is lost on the way is sent again."""
    proxy.faults.append(Fault("PUT", "partNumber=2", reset=True))
    sha256 = shaky.put("loras", BIG)
    assert proxy.faults == []
    assert sum(line.startswith("POST") for line in proxy.seen) == 2
    assert shaky.get("loras", sha256) == BIG


def test_upload_that_never_completes_leaves_no_object(s3: S3Server, shaky: S3Store, proxy: FaultyProxy) -> None:
    """The parts are thrown away, nothing is visible, and the same call works later."""
    proxy.faults += [Fault("POST", "uploadId", status=503, code="SlowDown")] * 9
    with pytest.raises(StoreUnreachable, match="503 SlowDown, several times"):
        shaky.put("loras", BIG)
    assert proxy.seen[-1].startswith("DELETE"), "the upload is aborted"
    assert s3.objects(shaky) == {}
    proxy.faults.clear()
    assert shaky.get("loras", shaky.put("loras", BIG)) == BIG


def test_object_damaged_on_the_way_is_refused_by_the_server(s3: S3Server, store: S3Store) -> None:
    """Other bytes than were announced are not stored: the MD5 goes with the request."""
    client = store._connected()
    send = client.put_object

    class Damaging:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def put_object(self, **arguments: Any) -> Any:
            return send(**{**arguments, "Body": arguments["Body"][:-1] + b"X"})

    store._client = Damaging()
    with pytest.raises(StorageError, match="400 BadDigest"):
        store.put("images", b"a picture, say")
    assert s3.objects(store) == {}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", status=500),
        Fault("PUT", status=503, code="SlowDown"),
        Fault("PUT", reset=True),
        Fault("PUT", reset=True, done=True),
        Fault("HEAD", reset=True),
    ],
    ids=["500", "slow-down", "reset-before", "reset-after", "head-reset"],
)
def test_put_that_fails_once_is_tried_again(shaky: S3Store, proxy: FaultyProxy, fault: Fault) -> None:
    """Whether or not the first try arrived: the object is there once, whole."""
    proxy.faults.append(fault)
    assert shaky.put("images", DATA) == SHA
    assert proxy.faults == []
    assert shaky.get("images", SHA) == DATA


def test_download_that_breaks_off_is_begun_again(shaky: S3Store, proxy: FaultyProxy) -> None:
    """Twice; the third time it is given up, and half a picture is never returned."""
    shaky.put("images", DATA)
    proxy.faults += [Fault("GET", cut=100_000)] * 2
    assert shaky.get("images", SHA) == DATA
    proxy.faults += [Fault("GET", cut=100_000)] * 3
    with pytest.raises(StoreUnreachable, match="does not answer"):
        shaky.get("images", SHA)


def test_slow_store_is_waited_for_but_not_for_ever(
    s3: S3Server, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow answer is an answer; one that never comes ends in our error."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    monkeypatch.setattr("resources.s3_client.READ_S", 0.4)
    store = s3.store(endpoint_url=proxy.url)
    proxy.faults.append(Fault("PUT", wait_s=0.2))
    store.put("images", DATA)
    proxy.faults += [Fault("GET", wait_s=0.5)] * 5
    with pytest.raises(StoreUnreachable, match="does not answer"):
        store.get("images", SHA)


@pytest.mark.parametrize(
    ("status", "code"), [(507, "InsufficientStorage"), (413, "EntityTooLarge"), (403, "QuotaExceeded")]
)
def test_full_store_says_the_way_out(shaky: S3Store, proxy: FaultyProxy, status: int, code: str) -> None:
    """As a full disk does; with room again the same call works."""
    proxy.faults.append(Fault("PUT", status=status, code=code))
    with pytest.raises(StorageFull, match="run the same command again"):
        shaky.put("images", DATA)
    assert shaky.put("images", DATA) == SHA


@pytest.mark.parametrize(
    ("status", "code", "setting"),
    [
        (403, "AccessDenied", "RYLA_S3_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "RYLA_S3_REGION"),
        (403, "RequestTimeTooSkewed", "clock"),
        (405, "MethodNotAllowed", "RYLA_STORAGE_URL"),
    ],
)
def test_refusal_says_what_to_look_at(shaky: S3Store, proxy: FaultyProxy, status: int, code: str, setting: str) -> None:
    """The code stays, the server's own words do not: they may quote the request."""
    proxy.faults.append(Fault("GET", status=status, code=code))
    with pytest.raises(StorageError, match=rf"{code}.*{setting}") as caught:
        shaky.get("images", SHA)
    assert "reflection" not in str(caught.value)


def test_nothing_secret_is_logged(store: S3Store, s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG: neither the key nor a signature, of a request or of a URL."""
    with caplog.at_level(logging.DEBUG):
        fresh = s3.store(url=store.uri("images", SHA).rsplit("/images")[0])
        fresh.put("images", DATA)
        url = fresh.sign_get("images", SHA, seconds=60)
    signature = url.rsplit("X-Amz-Signature=")[1]
    assert len(signature) == 64
    for secret in (s3.access.secret_access_key, signature, "Signature"):
        assert secret not in caplog.text
    assert s3.access.secret_access_key not in repr(s3.access) + repr(fresh)


def test_presigned_url_reads_one_object_and_no_other(store: S3Store) -> None:
    """SigV4; another name, another method or another signature is refused by the server."""
    store.put("images", DATA)
    url = store.sign_get("images", SHA, seconds=60)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    assert httpx.get(url).content == DATA
    assert httpx.get(url.replace(SHA, "0" * 64)).status_code == 403
    assert httpx.get(url.replace("Expires=60", "Expires=6000")).status_code == 403
    assert httpx.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    assert put(url, b"x") == 403
    assert store.get("images", SHA) == DATA


def test_presigned_url_expires(store: S3Store) -> None:
    """The server judges the time, as a worker that came too late would learn."""
    store.put("images", DATA)
    url = store.sign_get("images", SHA, seconds=1)
    time.sleep(2.1)
    assert httpx.get(url).status_code in (400, 403)
    for seconds in (0, -5, 604_801):
        with pytest.raises(StorageError, match="give 1 to 604800"):
            store.sign_get("images", SHA, seconds=seconds)


def test_worker_leaves_its_results_by_urls_alone(store: S3Store) -> None:
    """File, then manifest, with any content type; read back by name and by fingerprint; then forgotten."""
    urls = store.sign_result(FP, FIRST, ["mara/front", "mara/back"], seconds=60)
    assert store.result(FP) is None
    assert httpx.get(urls.manifest_get).status_code == 404
    assert [put(url, DATA) for url in urls.files_put.values()] == [200, 200]
    assert put(urls.manifest_put, b'{"ryla": 1}') == 200
    assert store.result(FP) == b'{"ryla": 1}' == httpx.get(urls.manifest_get).content
    assert store.result_file(FP, FIRST, "mara/back", max_bytes=len(DATA)) == DATA
    with pytest.raises(StorageError, match=f"larger than the {len(DATA) - 1} bytes"):
        store.result_file(FP, FIRST, "mara/back", max_bytes=len(DATA) - 1)
    with pytest.raises(ObjectMissing):
        store.result_file(FP, SECOND, "mara/back", max_bytes=len(DATA))


def test_result_of_another_size_than_a_result_is_refused(store: S3Store) -> None:
    """A worker cannot fill our memory."""
    urls = store.sign_result(FP, FIRST, [], seconds=60)
    assert put(urls.manifest_put, b" " * (wire.MAX_RESULT_BYTES + 1)) == 200
    with pytest.raises(StorageError, match="larger than the 1000000 bytes"):
        store.result(FP)


def test_worker_that_dies_between_file_and_manifest_loses_nothing_of_the_next(s3: S3Server, store: S3Store) -> None:
    """There is no result until its manifest is there; the next attempt's files do not mix with the dead one's."""
    dead = store.sign_result(FP, FIRST, ["front"], seconds=60)
    put(dead.files_put["front"], b"half of a pict")
    assert store.result(FP) is None
    following = store.sign_result(FP, SECOND, ["front"], seconds=60)
    put(following.files_put["front"], DATA)
    put(following.manifest_put, json.dumps({"attempt": SECOND}).encode())
    attempt = json.loads(store.result(FP) or b"")["attempt"]
    assert store.result_file(FP, attempt, "front", max_bytes=10**6) == DATA
    store.forget_result(FP)
    assert store.result(FP) is None
    assert s3.objects(store) == {}
    store.forget_result(FP)


def test_forgetting_that_breaks_off_leaves_no_result_without_files(
    s3: S3Server, shaky: S3Store, proxy: FaultyProxy
) -> None:
    """The manifest goes first: what can be read is complete. Forgetting again takes the rest; other jobs stay."""
    other = "cd" * 32
    for fingerprint in (FP, other):
        urls = s3.store(url=f"s3://{BUCKET}/{shaky.prefix}").sign_result(fingerprint, FIRST, ["front"], seconds=60)
        assert put(urls.files_put["front"], DATA) == put(urls.manifest_put, b"{}") == 200
    proxy.faults.append(Fault("DELETE", "front", status=403, code="AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        shaky.forget_result(FP)
    assert shaky.result(FP) is None
    shaky.forget_result(FP)
    assert sorted(s3.objects(shaky)) == [wire.file_key(other, FIRST, "front"), wire.result_key(other)]


@pytest.mark.parametrize("name", ["../../images/x", "/etc/passwd", "", "a\\b"])
def test_name_that_leads_elsewhere_is_not_signed(store: S3Store, name: str) -> None:
    """Neither signed nor read."""
    with pytest.raises(WireError, match="name"):
        store.sign_result(FP, FIRST, [name], seconds=60)
    with pytest.raises(WireError, match="name"):
        store.result_file(FP, FIRST, name, max_bytes=1)


def test_url_is_signed_for_the_endpoint_that_workers_reach(s3: S3Server, store: S3Store) -> None:
    """RYLA_S3_ENDPOINT_URL is what stands in it."""
    assert urlsplit(store.sign_get("images", SHA, seconds=5)).netloc == urlsplit(s3.access.endpoint_url).netloc
