"""The S3 client: dagster-aws's S3Resource, with what stores other than AWS need.

Imported inside functions only: boto3 costs half a second. Belongs here: how requests are signed, retried and timed.
"""

from __future__ import annotations

import logging
from typing import Any

from dagster_aws.s3 import S3Resource  # noqa: TID253  a base class has to be there; who imports this module pays

from resources.storage import S3Access

CONNECT_S = 5.0  # seconds
READ_S = 60.0  # completing a multipart upload takes the longest: no byte comes while the store puts it together
POOL = 32  # connections; a sheet's pictures and a few downloads at a time


class SigningS3(S3Resource):
    """S3Resource signs URLs by SigV2 and sends checksums that several S3-compatible stores refuse (boto3#4392)."""

    def get_client(self) -> Any:
        """A client on this resource's fields: SigV4, bucket in the path, no optional checksums, standard retries."""
        import boto3
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": self.max_attempts},
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=POOL,
        )
        session = boto3.session.Session(profile_name=self.profile_name)
        return session.client(
            "s3",
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            use_ssl=self.use_ssl,
            verify=self.verify,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            config=config,
        )


def make_client(access: S3Access) -> Any:
    """A thread-safe client. Raises botocore's errors, ValueError for an endpoint that is no URL."""
    logging.getLogger("botocore").setLevel(logging.INFO)  # its DEBUG prints signatures, which are secrets
    return SigningS3(
        region_name=access.region or None,
        endpoint_url=access.endpoint_url or None,
        aws_access_key_id=access.access_key_id or None,
        aws_secret_access_key=access.secret_access_key or None,
    ).get_client()
