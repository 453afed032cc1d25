"""What an S3 store answers, in our words: the setting to look at, and never a key, a signature or a signed URL.

Belongs here: the one mapping from botocore's errors to `resources.storage`'s. Their own texts are dropped (they may
quote the request); the error code and the HTTP status stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resources.storage import ObjectMissing, StorageError, StorageFull, StoreUnreachable

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_FULL = {"EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "StorageQuotaExceeded", "XMinioStorageFull"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
_KEYS = "RYLA_S3_ACCESS_KEY_ID and RYLA_S3_SECRET_ACCESS_KEY"


@contextmanager
def told(what: str, bucket: str) -> Iterator[None]:
    """Turn botocore's errors into ours; `what` says which object or bucket it is about."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _answered(error, what, bucket) from None
    except BotoCoreError as error:
        raise unanswered(error, what) from None


def _answered(error: ClientError, what: str, bucket: str) -> StorageError:
    code = re.sub(r"\W", "", str(error.response.get("Error", {}).get("Code", "")))[:60]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{what}: the store answered {' '.join(dict.fromkeys((str(status), code)))}"
    if code == "NoSuchBucket":
        return StorageError(f"{what}: there is no bucket {bucket!r}. Make it, or correct RYLA_STORAGE_URL.")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{said}: this machine's clock is wrong. Set it.")
    if code in _REGION or status == 301:
        return StorageError(f"{said}. Set RYLA_S3_REGION to the bucket's region.")
    if status == 404:
        return ObjectMissing(f"{what} is not in the store (s3://{bucket}).")
    if status in (413, 507) or code in _FULL:
        return StorageFull(
            f"{said}: there is no room for it. Nothing was half-written; free space, raise the quota or the size limit "
            f"of bucket {bucket!r}, and run the same command again."
        )
    if status in (401, 403):
        may = f"that this key may list, read, write and delete in bucket {bucket!r}"
        return StorageError(f"{said}. Check {_KEYS}, and {may}.")
    if status >= 500 or status == 429:
        return StoreUnreachable(f"{said}, several times. Run the same command again later.")
    return StorageError(f"{said}. Check RYLA_STORAGE_URL and RYLA_S3_ENDPOINT_URL.")


def unanswered(error: BotoCoreError, what: str) -> StorageError:
    """The error for a request that got no answer, or could not even be made."""
    from botocore.exceptions import (
        ConnectionError,  # noqa: A004  botocore's name
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
        SSLError,
    )

    name = type(error).__name__
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(f"{what}: there are no credentials. Set {_KEYS}.")
    if isinstance(error, NoRegionError):
        return StorageError(f"{what}: the region is not known. Set RYLA_S3_REGION.")
    if isinstance(error, SSLError):
        return StorageError(f"{what}: the store's certificate is not trusted ({name}). Check RYLA_S3_ENDPOINT_URL.")
    if isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError):
        return StoreUnreachable(
            f"{what}: the store does not answer ({name}). Check RYLA_S3_ENDPOINT_URL, or run the same command later."
        )
    return StorageError(f"{what}: the request could not be made ({name}). Check the RYLA_S3_ settings.")
