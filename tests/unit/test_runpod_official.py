"""What goes wrong with the pictures of worker-comfyui: broken base64, links that expire, break or point inside."""

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from resources.gpu.backends.runpod import downloads, official
from resources.gpu.backends.runpod.downloads import download, is_loopback, is_public
from resources.gpu.backends.runpod.ids import RemoteId
from resources.gpu.backends.runpod.official import OfficialContract, decoded
from resources.gpu.errors import BackendUnavailable, JobLost, OutputRejected, Retry

JOB = RemoteId("ep1", "job-1", "f" * 64)
DATA = bytes(range(256)) * 40


class Bucket(ThreadingHTTPServer):
    """An object store with one object; `answer` writes each answer."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        self.asked: list[dict[str, str]] = []
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """One answer."""
                bucket.asked.append({key.lower(): value for key, value in self.headers.items()})
                with contextlib.suppress(ConnectionError):
                    answer(self, len(bucket.asked))

            def log_message(self, *_: Any) -> None:
                """Be silent."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """A presigned URL."""
        return f"http://127.0.0.1:{self.server_port}/11-26/front.png?X-Amz-Signature=SECRET"


@pytest.fixture
def bucket() -> Iterator[Callable[..., Bucket]]:
    """Start object stores, and stop them."""
    started: list[Bucket] = []

    def start(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Bucket:
        made = Bucket(answer)
        Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.shutdown()
        made.server_close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)


def send(
    handler: BaseHTTPRequestHandler, status: int, data: bytes, *, length: int | None = None, **headers: str
) -> None:
    """One answer; `length` is what it promises."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(data) if length is None else length), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def fetch(url: str, **more: Any) -> bytes:
    """Download as from a test's jobs API."""
    return asyncio.run(download(url, "front", **{"max_bytes": 1_000_000, "inside": True, **more}))


def outputs(*images: Any) -> list[tuple[str, bytes]]:
    """What the contract makes of a COMPLETED body."""
    body = {"status": "COMPLETED", "output": {"images": list(images)}}
    return [(o.name, o.data) for o in asyncio.run(OfficialContract(inside=True).outputs(body, JOB))]


def picture(name: str = "front_00001_.png", data: Any = None, kind: Any = "base64") -> dict[str, Any]:
    """One picture."""
    return {"filename": name, "type": kind, "data": base64.b64encode(DATA).decode() if data is None else data}


def test_base64_with_and_without_a_prefix() -> None:
    """Documented without, seen with a data URI; line breaks are no harm."""
    plain = base64.b64encode(DATA).decode()
    assert decoded("x", plain) == decoded("x", f"data:image/png;base64,{plain}") == DATA
    assert decoded("x", "\n".join((plain[:40], plain[40:]))) == DATA


@pytest.mark.parametrize("data", ["%%%", "abc", "data:image/png;base64,@", "é", 7, None, ["x"]])
def test_broken_base64_is_rejected(data: Any) -> None:
    """It never reaches the decoder of pictures."""
    with pytest.raises(OutputRejected) as caught:
        outputs({**picture(), "data": data})
    assert caught.value.code == "bad_base64"


def test_same_name_twice_overwrites_nothing() -> None:
    """Both come back, and `accept` counts them."""
    assert [name for name, _ in outputs(picture(), picture())] == ["front_00001_.png"] * 2


def test_attempts_mark_is_taken_off() -> None:
    """Names come back as the job asked for them."""
    assert outputs(picture("front-a0123456789ab_00001_.png"))[0][0] == "front_00001_.png"
    assert outputs(picture("front-abc_00001_.png"))[0][0] == "front-abc_00001_.png"


def test_unknown_type_and_excess_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a new type nor more bytes than a job may return is taken."""
    with pytest.raises(OutputRejected, match="base64 or s3_url"):
        outputs(picture(kind="file"))
    monkeypatch.setattr(official, "TOTAL_BYTES", 15_000)
    with pytest.raises(OutputRejected, match="15000"):
        outputs(picture(), picture())
    monkeypatch.setattr(official, "MAX_BYTES", 100)
    with pytest.raises(OutputRejected, match="more than 100"):
        outputs(picture())


def test_link_is_followed_without_our_key(bucket: Callable[..., Bucket]) -> None:
    """No authorization header leaves for somebody else's bucket; the signed host name does."""
    store = bucket(lambda handler, _: send(handler, 200, DATA))
    assert outputs(picture(data=store.url, kind="s3_url")) == [("front_00001_.png", DATA)]
    assert "authorization" not in store.asked[0]
    assert store.asked[0]["host"] == f"127.0.0.1:{store.server_port}"


def test_half_download_goes_on_where_it_broke(bucket: Callable[..., Bucket]) -> None:
    """The rest is asked for by range, and only of the same object."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            send(handler, 200, DATA[:5000], length=len(DATA), ETag='"v1"')
            handler.close_connection = True
            return
        send(handler, 206, DATA[5000:], ETag='"v1"')

    store = bucket(answer)
    assert fetch(store.url) == DATA
    assert (store.asked[1]["range"], store.asked[1]["if-range"]) == ("bytes=5000-", '"v1"')


def test_half_download_begins_again_where_it_must(bucket: Callable[..., Bucket]) -> None:
    """A server that knows no ranges sends all of it once more."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, 200, DATA[: 5000 if number < 3 else None], length=len(DATA), ETag='"v1"')
        handler.close_connection = True

    assert fetch(bucket(answer).url) == DATA


def test_download_that_never_ends_well_is_asked_for_later(bucket: Callable[..., Bucket]) -> None:
    """The job is paid for, so nothing is concluded; the link's secret is not shown."""

    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        send(handler, 200, DATA[:10], length=len(DATA))
        handler.close_connection = True

    with pytest.raises(BackendUnavailable) as caught:
        fetch(bucket(answer).url)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "retry"),
    [(403, JobLost, Retry.TRANSIENT), (404, JobLost, Retry.PERMANENT), (503, BackendUnavailable, Retry.TRANSIENT),
     (302, OutputRejected, Retry.TRANSIENT)],
)  # fmt: skip
def test_refused_links_are_told_apart(
    bucket: Callable[..., Bucket], status: int, error: type[Exception], retry: Retry
) -> None:
    """Expired, missing (a month bucket that does not exist), not now, and somewhere else."""
    store = bucket(lambda handler, _: send(handler, status, b"", Location="http://127.0.0.1:1/"))
    with pytest.raises(error) as caught:
        fetch(store.url)
    assert caught.value.retry is retry  # type: ignore[attr-defined]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("promised", [True, False])
def test_file_that_is_too_large_is_not_read(bucket: Callable[..., Bucket], promised: bool) -> None:
    """Whether its length is announced or not."""

    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        if promised:
            send(handler, 200, DATA)
            return
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(DATA)

    with pytest.raises(OutputRejected, match=r"at most 100|more than 100"):
        fetch(bucket(answer).url, max_bytes=100)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8000/x", "http://localhost/x", "http://169.254.169.254/latest/meta-data", "http://10.0.0.7/x",
     "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://0.0.0.0/x", "http://192.168.1.1/x"],
)  # fmt: skip
def test_link_into_our_own_walls_is_refused(url: str) -> None:
    """A worker's answer makes this machine ask no private address."""
    with pytest.raises(OutputRejected, match="private network"):
        fetch(url, inside=False)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "https://u:p@x/y", "https://", "", "http://a\x00b/"]
)
def test_link_that_is_no_plain_one_is_refused(url: str) -> None:
    """Only http(s), without credentials."""
    with pytest.raises(OutputRejected, match="URL"):
        fetch(url)


def test_public_and_loopback_addresses() -> None:
    """What counts as outside, and as this machine."""
    assert is_public("8.8.8.8")
    assert is_public("2606:4700:4700::1111")
    assert not any(
        is_public(ip) for ip in ("127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "224.0.0.1", "fd00::1")
    )
    assert is_loopback("http://127.0.0.1:1/v2")
    assert is_loopback("http://localhost/v2")
    assert not is_loopback("https://api.runpod.ai/v2")
