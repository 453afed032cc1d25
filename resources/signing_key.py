"""The certificate chain and private key that sign pictures: read, matched, and told what is wrong with them.

Belongs here: PEM files and their errors. What is signed with them, and what c2pa thinks of it, is
`content_credentials`'. `cryptography` comes with the optional c2pa extra.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

INSTALL = "Install it (pip install 'ryla-assets[c2pa]'), or unset RYLA_C2PA_CERTIFICATE and RYLA_C2PA_PRIVATE_KEY."
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # curve -> C2PA's name of the algorithm


class CredentialsUnusable(Exception):
    """The certificate or its key cannot sign: `what` names the file or extra at fault, `way_out` the cure."""

    def __init__(self, message: str, *, what: str, way_out: str) -> None:
        super().__init__(message)
        self.message = message
        self.what = what
        self.way_out = way_out

    def __str__(self) -> str:
        return f"content credentials: {self.what}: {self.message}. {self.way_out}"


@dataclass(frozen=True)
class SigningKey:
    """A chain (leaf first) and the key of its leaf; `algorithm` is C2PA's name of what they sign with."""

    chain: list[Certificate]
    pem: str
    key: bytes = field(repr=False)
    algorithm: str

    @property
    def signer(self) -> str:
        """The leaf's subject."""
        return self.chain[0].subject.rfc4514_string()

    def check_dates(self, now: dt.datetime, path: Path) -> None:
        """Raise CredentialsUnusable unless every certificate of the chain, read from `path`, is valid `now` (UTC)."""
        for one in self.chain:
            if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
                dates = f"{one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d}"
                raise CredentialsUnusable(
                    f"the certificate of {one.subject.rfc4514_string()} is valid from {dates}, not now", what=str(path),
                    way_out="Renew it; for trials: ryla images certificate.",
                )  # fmt: skip


def load(certificate: Path, private_key: Path) -> SigningKey:
    """Both files, which belong together; their dates are not looked at. Raises CredentialsUnusable."""
    chain, pem = _chain(certificate)
    key, algorithm = _key(private_key, chain[0], certificate)
    return SigningKey(chain, pem, key, algorithm)


def first_line(error: Exception) -> str:
    """A library's error as one short line."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _chain(path: Path) -> tuple[list[Certificate], str]:
    data = _bytes_of(path, "RYLA_C2PA_CERTIFICATE")
    try:
        import c2pa  # noqa: F401  both come with the extra
        from cryptography import x509
    except ImportError:
        raise CredentialsUnusable("the c2pa extra is missing", what="c2pa", way_out=INSTALL) from None
    try:
        return x509.load_pem_x509_certificates(data), data.decode("ascii")
    except ValueError as error:
        raise CredentialsUnusable(
            f"it holds no certificates in PEM ({first_line(error)})", what=str(path),
            way_out="RYLA_C2PA_CERTIFICATE names the chain, the signing certificate first.",
        ) from error  # fmt: skip


def _key(path: Path, leaf: Certificate, certificate: Path) -> tuple[bytes, str]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _bytes_of(path, "RYLA_C2PA_PRIVATE_KEY")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise CredentialsUnusable(
            f"it holds no open private key in PEM ({type(error).__name__})", what=str(path),
            way_out="RYLA_C2PA_PRIVATE_KEY names a PKCS#8 key without a password.",
        ) from None  # fmt: skip
    if key.public_key() != leaf.public_key():
        raise CredentialsUnusable(
            f"it is not the key of the first certificate in {certificate}", what=str(path),
            way_out="Set RYLA_C2PA_CERTIFICATE and RYLA_C2PA_PRIVATE_KEY to files that belong together.",
        )  # fmt: skip
    return data, _algorithm(key, path)


def _algorithm(key: object, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise CredentialsUnusable(
        f"C2PA does not sign with a {type(key).__name__}", what=str(path), way_out="Use P-256, P-384, P-521 or RSA."
    )


def _bytes_of(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsUnusable(
            f"it cannot be read ({error.strerror})", what=str(path), way_out=f"Correct {setting}, or unset it."
        ) from error
