"""The store on S3: the same objects under the same names as in a folder, and URLs by which far workers reach it.

Belongs here: keys, uploads, downloads and presigned URLs. Which S3 it is (AWS, Supabase Storage, R2, MinIO) is a
matter of settings; how its requests are signed is `resources.s3_client`'s, what its errors mean `resources.s3_errors`'.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from resources.s3_errors import told, unanswered
from resources.storage import KINDS, ObjectCorrupt, ObjectMissing, ResultUrls, StorageError, damaged, object_name
from workflows.wire import MAX_FILE_BYTES, MAX_RESULT_BYTES, file_key, result_key

T = TypeVar("T")
CONTENT_TYPES = {".png": "image/png", ".json": "application/json", ".safetensors": "application/octet-stream"}
PART = 8 * 1024**2  # bytes; objects above it are uploaded in parts of it (S3 takes 5 MiB to 5 GiB, 10,000 of them)
PARTS_AT_ONCE = 4
CHUNK = 1024**2  # bytes read at a time
READS = 3  # times a download is begun before it is given up: botocore retries requests, but not bodies that break off
MAX_SIGNED_S = 7 * 24 * 3600  # SigV4's own limit


@dataclass
class S3Store:
    """A store in a bucket, under a prefix; safe to use from several threads. `make_client` is called once, lazily."""

    bucket: str
    prefix: str
    make_client: Callable[[], Any] = field(repr=False)
    _client: Any = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _bucket_seen: bool = False

    def put(self, kind: str, data: bytes) -> str:
        """Store `data` unless it lies there; an object becomes visible whole or not at all, and is checked on the way.

        "Lies there" means that size and ETag (S3's MD5 of what it stored) are right, so a damaged object is healed.
        Where ETags are no MD5 (encrypted buckets) the object is written anew each time: a waste, never a wrong answer.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        key = self._key(kind, sha256)
        if not self._holds(key, data):
            about = {"ContentType": CONTENT_TYPES[KINDS[kind]], "Metadata": {"sha256": sha256}}
            if len(data) <= PART:
                md5 = base64.b64encode(_md5(data).digest()).decode()
                self._call("put_object", key, Body=data, ContentMD5=md5, **about)
            else:
                self._put_in_parts(key, data, sha256, about)
        return sha256

    def get(self, kind: str, sha256: str) -> bytes:
        """Read and verify one object."""
        key = self._key(kind, sha256)
        data = self._read(key, MAX_FILE_BYTES)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(self._uri(key))
        return data

    def verify(self, kind: str, sha256: str) -> None:
        """Hash one object as it comes."""
        key = self._key(kind, sha256)
        if self._through(key, _hashed) != sha256:
            raise damaged(self._uri(key))

    def has(self, kind: str, sha256: str) -> bool:
        """True if the object is there."""
        return self._head(self._key(kind, sha256)) is not None

    def find(self, kind: str, prefix: str) -> str | None:
        """Look a hash up by its first characters, as short URLs carry them."""
        if len(prefix) < 16 or not set(prefix) <= set("0123456789abcdef"):
            return None
        start = f"{self.prefix}{kind}/{prefix[:2]}/"
        hits = [key.removeprefix(start) for key in self._list(f"{start}{prefix}", at_most=2)]
        return hits[0].removesuffix(KINDS[kind]) if len(hits) == 1 else None

    def uri(self, kind: str, sha256: str) -> str:
        """The object's s3: URI."""
        return self._uri(self._key(kind, sha256))

    def probe(self) -> None:
        """Write, read, list and delete an object: what the key must be allowed under the prefix."""
        key = f"{self.prefix}probe/{uuid.uuid4().hex}"
        self._call("put_object", key, Body=b"probe")
        try:
            self._read(key, CHUNK)
            if list(self._list(key)) != [key]:
                raise StorageError(f"{self._uri(key)} was written and is not listed. Use a store that lists at once.")
        finally:
            self._call("delete_object", key)

    def sign_get(self, kind: str, sha256: str, *, seconds: int) -> str:
        """A URL that reads one object for that long (at most seven days); it is not looked up here."""
        return self._signed("get_object", self._key(kind, sha256), seconds)

    def sign_result(self, fingerprint: str, attempt_id: str, names: Sequence[str], *, seconds: int) -> ResultUrls:
        """The URLs for one attempt's results; a PUT may have any content type. Raises WireError for a bad name."""
        manifest = self.prefix + result_key(fingerprint)
        return ResultUrls(
            manifest_get=self._signed("get_object", manifest, seconds),
            manifest_put=self._signed("put_object", manifest, seconds),
            files_put={
                name: self._signed("put_object", self.prefix + file_key(fingerprint, attempt_id, name), seconds)
                for name in names
            },
        )

    def result(self, fingerprint: str) -> bytes | None:
        """The `result.json` that a worker left; StorageError if it is larger than any result."""
        try:
            return self._read(self.prefix + result_key(fingerprint), MAX_RESULT_BYTES)
        except ObjectMissing:
            return None

    def result_file(self, fingerprint: str, attempt_id: str, name: str, *, max_bytes: int) -> bytes:
        """One raw result, as untrusted as it came."""
        return self._read(self.prefix + file_key(fingerprint, attempt_id, name), max_bytes)

    def forget_result(self, fingerprint: str) -> None:
        """Delete result.json first, so that a result that can be read is complete; then the files of every attempt."""
        first = self.prefix + result_key(fingerprint)
        self._call("delete_object", first)
        for key in list(self._list(first.removesuffix("result.json"))):
            self._call("delete_object", key)

    def _put_in_parts(self, key: str, data: bytes, sha256: str, about: dict[str, Any]) -> None:
        """Upload the parts side by side; a failure aborts the upload. What was stored is checked at the end."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=PARTS_AT_ONCE)
        config.max_in_memory_upload_chunks = PARTS_AT_ONCE  # copies of parts: all that an upload needs beside its data
        with told(self._uri(key), self.bucket):
            self._connected().upload_fileobj(io.BytesIO(data), self.bucket, key, ExtraArgs=about, Config=config)
        if not self._holds(key, data) and self._through(key, _hashed) != sha256:
            raise ObjectCorrupt(f"{self._uri(key)} was stored damaged. Run the same command again.")

    def _holds(self, key: str, data: bytes) -> bool:
        """True if the object is there and its size and ETag are those of `data`."""
        head = self._head(key)
        if head is None or head["ContentLength"] != len(data):
            return False
        return str(head.get("ETag", "")).strip('"') in _etags(data)

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return dict(self._call("head_object", key))
        except ObjectMissing:
            self._see_bucket()  # a HEAD's 404 does not say what is missing
            return None

    def _see_bucket(self) -> None:
        if not self._bucket_seen:
            next(self._list(self.prefix, at_most=1), None)
            self._bucket_seen = True

    def _list(self, prefix: str, at_most: int = 1000) -> Iterator[str]:
        """Keys that begin so: `at_most` of them, or all of them if that is a page's full size."""
        more: dict[str, Any] = {}
        while True:
            with told(self._uri(prefix), self.bucket):
                page = self._connected().list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=at_most, **more)
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if at_most < 1000 or not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _read(self, key: str, max_bytes: int) -> bytes:
        """The object's bytes, at most so many, and in memory once."""

        def whole(body: Any, size: int) -> bytes:
            if size > max_bytes:
                raise StorageError(
                    f"{self._uri(key)} has {size} bytes, larger than the {max_bytes} bytes that are taken. "
                    "Look at what wrote it."
                )
            return bytes(body.read())

        return self._through(key, whole)

    def _through(self, key: str, take: Callable[[Any, int], T]) -> T:
        """What `take` makes of the object's stream and size; begun again where the connection breaks in the middle."""
        from botocore.exceptions import BotoCoreError

        for left in reversed(range(READS)):
            answer = self._call("get_object", key)
            try:
                with closing(answer["Body"]) as body:
                    return take(body, int(answer["ContentLength"]))
            except BotoCoreError as error:
                if not left:
                    raise unanswered(error, self._uri(key)) from None
        raise AssertionError("unreachable: the last read returns or raises")

    def _signed(self, operation: str, key: str, seconds: int) -> str:
        if not 1 <= seconds <= MAX_SIGNED_S:
            raise StorageError(f"A URL cannot be signed for {seconds} seconds; give 1 to {MAX_SIGNED_S}.")
        with told(self._uri(key), self.bucket):
            return str(
                self._connected().generate_presigned_url(
                    operation, Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
                )
            )

    def _call(self, operation: str, key: str, **arguments: Any) -> Any:
        with told(self._uri(key), self.bucket):
            return getattr(self._connected(), operation)(Bucket=self.bucket, Key=key, **arguments)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                try:
                    self._client = self.make_client()
                except ValueError:
                    raise StorageError(
                        "RYLA_S3_ENDPOINT_URL is no URL. Give https://host or http://host:port."
                    ) from None
            return self._client

    def _key(self, kind: str, sha256: str) -> str:
        return f"{self.prefix}{object_name(kind, sha256)}"

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


def _hashed(body: Any, _: int) -> str:
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _etags(data: bytes) -> set[str]:
    """What S3 calls these bytes: their MD5; or, uploaded in parts, the MD5 of the parts' MD5s and their number."""
    parts = [_md5(data[at : at + PART]).digest() for at in range(0, len(data), PART)]
    return {_md5(data).hexdigest(), f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"}


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)
