"""C2PA content credentials: sign a marked picture, and read what a file's signature says.

Belongs here: the optional `c2pa` extra and everything that is known of it. Nothing here opens a connection: no
timestamp server, no revocation server, and a manifest that a file only links to is not fetched. A signature covers
every byte, so signing comes after the XMP mark, and whatever saves the file again removes both.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from resources.containers import TooManyParts, opened
from resources.images import MAX_BYTES, SourceType
from resources.signing_key import CredentialsUnusable, SigningKey, first_line, load
from resources.storage import StorageError
from resources.xmp import DIGITAL_SOURCE_TYPE

State = Literal["absent", "unchecked", "invalid", "untrusted", "trusted"]

MAKER = "RYLA Assets"  # claim generator, and organisation of development certificates
DEVELOPMENT = "RYLA Assets development, proves nothing about who signed"  # common name of such a certificate
# c2pa 0.38.1 adds a preview picture of 90 to 480 KB unless told not to; the verify keys keep it off the network.
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_SIGNING = {"builder": {"thumbnail": {"enabled": False}}, "verify": {**_OFFLINE, "verify_after_sign": False}}
_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


class SigningFailed(StorageError):
    """A picture could not be given the form that it is stored in; whoever fetched it may fetch it again."""


@dataclass(frozen=True)
class Credentials:
    """What a file's content credentials say.

    `absent`: it carries none. `unchecked`: it carries some, and the extra is not installed here; or it only links to
    them, or has more pieces than are looked at. `invalid`: bytes were changed since signing, or the signature is
    broken. `untrusted`: nothing was changed, the signer is unknown here or has a development certificate. `trusted`:
    nothing was changed, and the signer's certificate comes from the authority of this deployment's own.
    """

    state: State
    reason: str
    signed_by: str = ""
    source: str = ""  # the signed digitalSourceType, the last word of its URI


@dataclass
class Signer:
    """Signs with the certificate chain (PEM, leaf first) and private key (PKCS#8 PEM) in two files; read once."""

    certificate: Path
    private_key: Path
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    _loaded: SigningKey | None = field(default=None, repr=False)

    def ready(self) -> None:
        """Raise CredentialsUnusable unless a picture could be signed now. Costs 0.1 s once, then nothing."""
        self._load()

    def sign(self, data: bytes, *, source: SourceType, tool: str) -> bytes:
        """The file with a signed manifest: created, by what kind of making. About 3 KB and 15 ms; no pixel changes.

        Raises SigningFailed. A signature is random, so signing twice gives two files.
        """
        try:
            return _signed(data, self._load(), source=source, tool=tool)
        except _signing_errors() as error:
            raise SigningFailed(
                f"A picture cannot be signed: {error} Nothing is lost: run again when the certificate is usable."
            ) from error

    @property
    def anchors(self) -> str:
        """The certificate at the end of the chain, PEM: what is signed under it is trusted. Empty if it is unusable."""
        try:
            pem = self._load().pem
        except CredentialsUnusable:
            return ""
        return "-----BEGIN CERTIFICATE-----" + pem.rpartition("-----BEGIN CERTIFICATE-----")[2]

    @property
    def expires(self) -> dt.datetime:
        """When the first certificate of the chain ends (UTC). Raises CredentialsUnusable."""
        return min(one.not_valid_after_utc for one in self._load().chain)

    @property
    def is_development(self) -> bool:
        """Whether the certificate is one of `resources.development_certificate`. Raises CredentialsUnusable."""
        return DEVELOPMENT in self._load().signer.replace("\\", "")

    def _load(self) -> SigningKey:
        loaded = self._loaded or load(self.certificate, self.private_key)
        loaded.check_dates(self.clock(), self.certificate)
        if self._loaded is None:
            _try(loaded, self.certificate)
            self._loaded = loaded
        return loaded


def read(data: bytes, *, anchors: str = "") -> Credentials:
    """What the file's content credentials say; `anchors` (PEM) are the certificates that make a signer trusted.

    Never raises: bytes that are no picture carry no credentials, and a manifest that cannot be parsed is invalid.
    """
    mime = next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")
    # jumb and c2pa name the box that holds a manifest, in every one of the three formats
    if not mime or len(data) > MAX_BYTES or b"jumb" not in data or b"c2pa" not in data:
        return Credentials("absent", "it carries no content credentials")
    try:
        opened(data)  # c2pa looks at each piece: two million empty ones keep it busy for half a minute
    except TooManyParts as error:
        return Credentials("unchecked", f"it has {error}, and is not looked at")
    try:
        import c2pa
    except ImportError:
        return Credentials("unchecked", "it carries content credentials; the c2pa extra, which checks them, is missing")
    settings: dict[str, Any] = {"verify": _OFFLINE}
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    try:
        with (
            c2pa.Settings.from_dict(settings) as how,
            c2pa.Context(how) as context,
            c2pa.Reader(mime, io.BytesIO(data), context=context) as reader,
        ):
            return _told(
                reader.get_validation_state() or "",
                reader.get_validation_results() or {},
                reader.get_active_manifest() or {},
            )
    except c2pa.C2paError as error:
        if str(error).startswith("ManifestNotFound"):
            return Credentials("absent", "it carries no content credentials")
        if str(error).startswith("Remote:"):
            return Credentials("unchecked", "it only links to content credentials elsewhere, which are not fetched")
        return Credentials("invalid", f"its content credentials cannot be read ({first_line(error)})")


# ---- signing


def _try(loaded: SigningKey, path: Path) -> None:
    """Sign a picture of 16 px and read it back: whatever else c2pa asks of a certificate shows here."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, format="PNG")
    try:
        found = read(_signed(out.getvalue(), loaded, source="algorithmicMedia", tool=MAKER))
        problem = found.reason if found.state == "invalid" else ""
    except _signing_errors() as error:
        problem = first_line(error)
    if problem:
        raise CredentialsUnusable(
            f"c2pa refuses it ({problem})", what=str(path),
            way_out="It wants a chain of two or more, and a leaf with digitalSignature and emailProtection: "
            "docs/provenance.md.",
        )  # fmt: skip


def _signed(data: bytes, loaded: SigningKey, *, source: SourceType, tool: str) -> bytes:
    import c2pa

    created = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE + source,
        "softwareAgent": {"name": tool},
    }
    manifest = {
        "claim_generator_info": [{"name": MAKER}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
    mime = next(kind for magic, kind in _MAGIC if data.startswith(magic))
    # ta_url=None: no timestamp server; an empty string fails inside c2pa 0.38.1
    info = c2pa.C2paSignerInfo(
        alg=loaded.algorithm.encode(), sign_cert=loaded.pem.encode(), private_key=loaded.key, ta_url=None
    )
    out = io.BytesIO()
    with (
        c2pa.Settings.from_dict(_SIGNING) as how,
        c2pa.Context(how) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(json.dumps(manifest), context=context) as builder,
    ):
        builder.sign(signer, mime, io.BytesIO(data), out)
    return out.getvalue()


def _signing_errors() -> tuple[type[Exception], ...]:
    try:
        from c2pa import C2paError
    except ImportError:
        return (CredentialsUnusable,)
    return (CredentialsUnusable, C2paError)


# ---- reading


def _told(state: str, results: dict[str, Any], manifest: dict[str, Any]) -> Credentials:
    signature = manifest.get("signature_info") or {}
    names = ", ".join(str(signature[key])[:200] for key in ("common_name", "issuer") if signature.get(key))
    signed_by = "".join(letter for letter in names if letter.isprintable())  # a stranger's text goes to terminals
    told = {"signed_by": signed_by, "source": _source(manifest)}
    failures = [
        str(one.get("code"))
        for one in (results.get("activeManifest") or {}).get("failure", ())
        if one.get("code") != "signingCredential.untrusted"
    ]
    if state not in ("Valid", "Trusted") or failures:
        why = ", ".join(sorted(set(failures))) or "no reason given"
        return Credentials("invalid", f"changed since it was signed, or not signed rightly ({why})", **told)
    if DEVELOPMENT in signed_by:
        return Credentials("untrusted", "unchanged since it was signed with a development certificate", **told)
    if state == "Trusted":
        return Credentials("trusted", "unchanged since it was signed, under this deployment's authority", **told)
    return Credentials("untrusted", "unchanged since it was signed, by a signer that is not known here", **told)


def _source(manifest: dict[str, Any]) -> str:
    for assertion in manifest.get("assertions") or ():
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in (assertion.get("data") or {}).get("actions") or ():
                found = re.search(r"/digitalsourcetype/([A-Za-z]{1,60})$", str(action.get("digitalSourceType", "")))
                if found:
                    return found[1]
    return ""
