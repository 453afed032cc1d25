"""Files that a worker left behind a URL of its own: fetched without our key, and never from inside our own walls.

A worker's answer is hostile until decoded, and a URL in it would make this machine ask whatever it names. So only
http(s), only public addresses (unless the jobs API itself is on loopback: a test), and the connection goes to the very
address that was checked. No redirect is followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resources.gpu.errors import BackendUnavailable, JobLost, OutputRejected, Retry
from resources.runpod.redaction import shown

if TYPE_CHECKING:
    import httpx

logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells whole URLs at INFO, and a presigned one is a secret

TRIES = 4  # of one file; what came before a break is kept where the server can go on from there
WHOLE_S = 300.0  # one file, all tries together
WORDS = 200  # characters of a transport error's text
_PAUSE_S = 0.5


@dataclass
class _Part:
    """What came of a file so far."""

    data: bytearray = field(default_factory=bytearray)
    etag: str = ""

    def headers(self) -> dict[str, str]:
        """What asks for the rest, and only for the rest of the same object."""
        if not self.data or not self.etag:
            return {}
        return {"Range": f"bytes={len(self.data)}-", "If-Range": self.etag}


async def download(url: str, name: str, *, max_bytes: int, inside: bool = False) -> bytes:
    """The file behind a presigned URL, whole. `inside`: private addresses may be asked.

    Raises OutputRejected for a URL or a size that is refused, JobLost where the file is gone, BackendUnavailable where
    it may come later. No message holds the URL: its query is a secret.
    """
    import httpx

    target, headers, extensions = await _resolved(url, name, inside=inside)
    part = _Part()
    trouble = ""
    async with httpx.AsyncClient(
        follow_redirects=False, trust_env=False, timeout=httpx.Timeout(30.0, connect=5.0)
    ) as http:
        try:
            async with asyncio.timeout(WHOLE_S):
                for attempt in range(TRIES):
                    if attempt:
                        await asyncio.sleep(_PAUSE_S * attempt)
                    try:
                        request = http.build_request(
                            "GET",
                            target,
                            headers={**headers, "Accept-Encoding": "identity", **part.headers()},
                            extensions=extensions,
                        )
                        if await _received(http, request, part, name, max_bytes):
                            return bytes(part.data)
                        trouble = f"{len(part.data)} bytes came, and the connection ended"
                    except httpx.HTTPError as error:
                        trouble = f"{type(error).__name__}: {shown(error, WORDS)}"
        except TimeoutError:
            trouble = f"it takes more than {WHOLE_S:.0f} s"
    raise BackendUnavailable(f"{name} cannot be fetched from {urlsplit(url).hostname}: {trouble}.")


async def _received(http: httpx.AsyncClient, request: httpx.Request, part: _Part, name: str, most: int) -> bool:
    """One try; True if the file is whole."""
    response = await http.send(request, stream=True)
    try:
        _check_status(response.status_code, name, request.url.host)
        if response.status_code != 206:
            part.data.clear()
        part.etag = response.headers.get("etag", "")
        length = response.headers.get("content-length", "")
        wanted = len(part.data) + int(length) if length.isdigit() else None
        if wanted is not None and wanted > most:
            raise OutputRejected(f"{name} has {wanted} bytes; at most {most} are taken.", code="too_large")
        async for chunk in response.aiter_raw():
            part.data += chunk
            if len(part.data) > most:
                raise OutputRejected(f"{name} has more than {most} bytes.", code="too_large")
        return wanted is None or len(part.data) == wanted
    finally:
        await response.aclose()


def _check_status(status: int, name: str, host: str) -> None:
    if status in (200, 206):
        return
    if status in (401, 403):
        raise JobLost(
            f"{name}: {host} answers {status}; the worker's link to it has expired (worker-comfyui signs for 7 days), "
            "or its bucket refuses.",
            code="result_expired",
        )
    if status in (404, 410):
        raise JobLost(
            f"{name}: {host} answers {status}; the file is not in the worker's bucket. Worker-comfyui writes to a "
            "bucket named after the month (MM-YY), which must exist on the first of each.",
            code="result_missing",
            retry=Retry.PERMANENT,
            way_out="Check the endpoint's BUCKET_* settings, then run it again.",
        )
    if status >= 500 or status in (408, 429):
        raise BackendUnavailable(f"{name}: {host} answers {status}.")
    raise OutputRejected(f"{name}: {host} answers {status}; only the file itself is taken.", code="bad_url")


async def _resolved(url: str, name: str, *, inside: bool) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and TLS name that lead to an address which was checked. Raises OutputRejected."""
    import httpx

    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise OutputRejected(f"{name}: its URL cannot be read.", code="bad_url") from None
    if target.scheme not in ("http", "https") or not target.host or target.userinfo:
        raise OutputRejected(f"{name}: its URL is not a plain http(s) one.", code="bad_url")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BackendUnavailable(f"{name}: {target.host} has no address ({error}).") from error
    addresses = [str(item[4][0]) for item in found]
    if not inside and not all(is_public(address) for address in addresses):
        raise OutputRejected(
            f"{name}: {target.host} is an address inside a private network, which no worker may make us ask.",
            code="bad_url",
        )
    host = target.netloc.decode()
    return str(target.copy_with(host=addresses[0])), {"Host": host}, {"sni_hostname": target.host}


def is_public(address: str) -> bool:
    """True for an address of the public internet, an IPv4 one in IPv6 clothes read as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return ip.is_global and not ip.is_multicast and (mapped is None or mapped.is_global)


def is_loopback(url: str) -> bool:
    """True if `url` names this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
