"""A certificate for trials: made here, trusted by nobody, accepted by c2pa.

Belongs here: the shape of chain that c2pa asks for (docs/provenance.md). A certificate for publication comes from an
authority of the C2PA trust list and is no business of this code.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any, Literal

from resources.content_credentials import DEVELOPMENT, MAKER
from resources.signing_key import INSTALL, CredentialsUnusable

CERTIFICATE_FILE, KEY_FILE = "development-certificate.pem", "development-key.pem"
_ROOT = "RYLA Assets development root"


def make_development_certificate(folder: Path, *, days: int = 365) -> tuple[Path, Path]:
    """Write a certificate chain and its key into `folder`; returns both paths. Raises CredentialsUnusable.

    Anyone can make such a certificate, so it proves that a file is unchanged, and not who made it. The key of the
    authority above it is thrown away: nothing else can be signed under it. Files that exist are kept.
    """
    certificate, private_key = folder / CERTIFICATE_FILE, folder / KEY_FILE
    for path in (certificate, private_key):
        if path.exists():
            raise CredentialsUnusable("it exists already", what=str(path), way_out="Use it, or name another folder.")
    try:
        chain, key = _development_chain(days)
    except ImportError:
        raise CredentialsUnusable("the c2pa extra is missing", what="c2pa", way_out=INSTALL) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(key)
        certificate.write_bytes(chain)
    except OSError as error:
        raise CredentialsUnusable(
            f"it cannot be written ({error.strerror})", what=str(folder), way_out="Name another folder."
        ) from error
    return certificate, private_key


def _development_chain(days: int) -> tuple[bytes, bytes]:
    """A root and a leaf under it, as c2pa asks for: P-256, digitalSignature, emailProtection, key identifiers."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)  # clocks differ

    def name(common: str) -> x509.Name:
        attribute = x509.NameAttribute
        return x509.Name([attribute(NameOID.ORGANIZATION_NAME, MAKER), attribute(NameOID.COMMON_NAME, common)])

    def certificate(who: x509.Name, key: ec.EllipticCurvePrivateKey, *, signs: Literal["files", "certificates"]) -> Any:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False,
        )  # fmt: skip
        authority = signs == "certificates"
        built = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(name(_ROOT))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not authority:
            built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return built.sign(root_key, hashes.SHA256())

    leaf = certificate(name(DEVELOPMENT), leaf_key, signs="files")
    root = certificate(name(_ROOT), root_key, signs="certificates")
    chain = b"".join(one.public_bytes(form.Encoding.PEM) for one in (leaf, root))
    return chain, leaf_key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
