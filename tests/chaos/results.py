"""A store whose far half is the fake's own: workers put results there by URL, and it survives every kill.

Belongs here: what `SigningStore` asks, over plain HTTP. How URLs are signed is the S3 store's business and tested with
it; here they carry a word that stands for a signature, so that it can be looked for where it must not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resources.storage import FileStore, ObjectMissing, ResultUrls, StorageError, StoreUnreachable

if TYPE_CHECKING:
    import httpx


class ResultStore(FileStore):
    """Objects in a folder, workers' results under `files_url`; `signature` is in every signed URL."""

    def __init__(self, root: Path, files_url: str, signature: str) -> None:
        super().__init__(root)
        self.files_url, self._signature = files_url, signature
        self._http: httpx.Client | None = None

    def sign_get(self, kind: str, sha256: str, *, seconds: int) -> str:
        """Where a worker would read an object; the scripted ones read none."""
        return self._signed(f"{kind}/{sha256}")

    def sign_result(self, fingerprint: str, attempt_id: str, names: Sequence[str], *, seconds: int) -> ResultUrls:
        """The URLs for one attempt's results."""
        manifest = self._signed(_manifest(fingerprint))
        files = {name: self._signed(_place(fingerprint, attempt_id, name)) for name in names}
        return ResultUrls(manifest, manifest, files)

    def result(self, fingerprint: str) -> bytes | None:
        """The `result.json` that a worker left."""
        return self._ask("GET", _manifest(fingerprint))

    def result_file(self, fingerprint: str, attempt_id: str, name: str, *, max_bytes: int) -> bytes:
        """One raw result. Raises ObjectMissing, StorageError."""
        data = self._ask("GET", _place(fingerprint, attempt_id, name))
        if data is None:
            raise ObjectMissing(f"{name} of attempt {attempt_id} is not in the store.")
        if len(data) > max_bytes:
            raise StorageError(f"{name} has {len(data)} bytes; at most {max_bytes} are taken.")
        return data

    def forget_result(self, fingerprint: str) -> None:
        """Delete the manifest first, then the files of every attempt."""
        self._ask("DELETE", _manifest(fingerprint))
        self._ask("DELETE", f"results/{fingerprint}")

    def lose(self, kind: str, sha256: str) -> None:
        """An object's bytes are gone, as after a restored backup: nobody but the harness does that."""
        self._path(kind, sha256).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections to it."""
        if self._http is not None:
            self._http.close()

    def _signed(self, place: str) -> str:
        return f"{self.files_url}/{place}?X-Amz-Signature={self._signature}"

    def _ask(self, method: str, place: str) -> bytes | None:
        """The object's bytes (none of a DELETE); None where there is no such object."""
        import httpx

        if self._http is None:
            self._http = httpx.Client(trust_env=False, verify=False)  # loopback, no TLS
        try:
            answer = self._http.request(method, f"{self.files_url}/{place}")
        except httpx.HTTPError as error:
            raise StoreUnreachable(f"the store does not answer: {error}") from error
        if answer.status_code == 404:
            return None
        if not answer.is_success:
            raise StoreUnreachable(f"the store answers {answer.status_code}")
        return answer.content


def _manifest(fingerprint: str) -> str:
    return f"results/{fingerprint}/result.json"


def _place(fingerprint: str, attempt_id: str, name: str) -> str:
    return f"results/{fingerprint}/{attempt_id}/{name.replace('/', '__')}"
