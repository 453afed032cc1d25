"""What goes wrong with content credentials: a certificate that cannot sign, a changed file, a reader that calls."""

from __future__ import annotations

import datetime as dt
import io
import socket
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from resources import images
from resources.content_credentials import Credentials, Signer, SigningFailed, read
from resources.development_certificate import make_development_certificate
from resources.signing_key import CredentialsUnusable
from resources.storage import StorageError
from tests.fakes.scripted_backend import picture

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")

FORMATS: tuple[images.Format, ...] = ("PNG", "JPEG", "WEBP")
_PIXELS = {"PNG": b"IDAT", "JPEG": b"\xff\xda", "WEBP": b"VP8 "}  # what stands before them
AI = "trainedAlgorithmicMedia"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a development certificate."""
    made = tmp_path_factory.mktemp("c2pa")
    make_development_certificate(made)
    return made


@pytest.fixture
def signer(folder: Path) -> Signer:
    """A signer with it."""
    return signer_in(folder)


def signer_in(folder: Path) -> Signer:
    """The signer of a folder's development certificate."""
    return Signer(folder / "development-certificate.pem", folder / "development-key.pem")


def marked(as_format: images.Format = "PNG") -> bytes:
    """A small picture with its mark."""
    image = images.decode(picture(64, 48))
    return images.mark(image, source="trainedAlgorithmicMedia", tool="the test", as_format=as_format)


def signed(signer: Signer, as_format: images.Format = "PNG") -> bytes:
    """The same, signed."""
    return signer.sign(marked(as_format), source="trainedAlgorithmicMedia", tool="the test")


def other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next certificate be no development one: as if an authority had issued it."""
    monkeypatch.setattr("resources.development_certificate.DEVELOPMENT", "Studio Mara")


@pytest.mark.parametrize("as_format", FORMATS)
def test_signed_file_is_whole_and_says_how_it_was_made(signer: Signer, as_format: images.Format) -> None:
    """The signature repeats the mark; mark and pixels are untouched; a development certificate is never trusted."""
    data = signed(signer, as_format)
    found = read(data, anchors=signer.anchors)
    assert (found.state, found.source) == ("untrusted", AI)
    assert "development" in found.reason
    assert "RYLA Assets" in found.signed_by
    assert images.read_mark(data) == AI
    before, after = (images.pixels_sha256(images.decode(d)) for d in (marked(as_format), data))
    assert before == after


@pytest.mark.parametrize("as_format", FORMATS)
def test_signature_is_small(signer: Signer, as_format: images.Format) -> None:
    """No preview picture is added, which would be 90 to 480 KB: under 10 KB an image."""
    assert len(signed(signer, as_format)) - len(marked(as_format)) < 5_000


def test_signer_of_ours_is_trusted_here_and_unknown_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust needs the certificate above: the deployment has its own, a stranger does not."""
    other_name(monkeypatch)
    make_development_certificate(tmp_path)
    ours = signer_in(tmp_path)
    data = signed(ours)
    assert not ours.is_development
    assert read(data, anchors=ours.anchors).state == "trusted"
    assert read(data).state == "untrusted"
    make_development_certificate(tmp_path / "other")
    assert read(data, anchors=signer_in(tmp_path / "other").anchors).state == "untrusted"


@pytest.mark.parametrize("as_format", FORMATS)
def test_changed_byte_is_found(signer: Signer, as_format: images.Format) -> None:
    """One bit of what was drawn, and the signature no longer holds."""
    data = bytearray(signed(signer, as_format))
    data[data.index(_PIXELS[as_format]) + 24] ^= 1
    found = read(bytes(data), anchors=signer.anchors)
    assert found.state == "invalid"
    assert "dataHash.mismatch" in found.reason


def test_saved_again_there_are_no_credentials(signer: Signer) -> None:
    """Absent, not invalid: whoever re-encodes drops them, as the mark."""
    out = io.BytesIO()
    images.decode(signed(signer)).save(out, format="PNG")
    assert read(out.getvalue()) == Credentials("absent", "it carries no content credentials")


def test_two_signatures_differ_and_the_pixels_do_not(signer: Signer) -> None:
    """A result that is fetched anew gets another name in the store; lineage goes by pixels."""
    one, two = signed(signer), signed(signer)
    assert one != two
    assert images.pixels_sha256(images.decode(one)) == images.pixels_sha256(images.decode(two))


def test_garbage_has_an_answer(signer: Signer) -> None:
    """Three hundred ways to break a signed file: a state, never an exception."""
    rng = np.random.default_rng(5)
    for as_format in FORMATS:
        good = signed(signer, as_format)
        for number in range(100):
            broken = np.frombuffer(good, np.uint8).copy()
            broken[rng.integers(0, len(broken), 3)] = rng.integers(0, 256, 3)
            cut = int(rng.integers(1, len(good))) if number % 3 == 0 else len(good)
            assert read(broken.tobytes()[:cut]).state in ("absent", "invalid", "untrusted")
    for data in (b"", b"jumb c2pa", b"\x89PNG jumb c2pa", b"RIFF....WEBP jumb c2pa", b"\xff\xd8\xff jumb c2pa"):
        assert read(data).state in ("absent", "invalid")


def test_reading_and_signing_open_no_connection(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's file that only links to its manifest makes nobody call: no request leaves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        linked = _linked(marked(), f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa", signer)
        assert read(linked + b"jumb c2pa").state == "unchecked"
        signed(signer)
        with pytest.raises(TimeoutError):
            server.accept()


def _linked(data: bytes, url: str, signer: Signer) -> bytes:
    """The file with a link to its manifest instead of the manifest."""
    info = c2pa.C2paSignerInfo(
        alg=b"es256",
        sign_cert=signer.certificate.read_bytes(),
        private_key=signer.private_key.read_bytes(),
        ta_url=None,
    )
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as with_key, c2pa.Builder({"assertions": []}) as builder:
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
        builder.set_no_embed()
        builder.set_remote_url(url)
        builder.sign(with_key, "image/png", io.BytesIO(data), out)
    assert url.encode() in out.getvalue()
    return out.getvalue()


# ---- what cannot sign


def test_missing_file_is_told_with_its_setting(folder: Path, tmp_path: Path) -> None:
    """Either of the two."""
    for certificate, key, setting in (
        (tmp_path / "none.pem", folder / "development-key.pem", "RYLA_C2PA_CERTIFICATE"),
        (folder / "development-certificate.pem", tmp_path / "none.pem", "RYLA_C2PA_PRIVATE_KEY"),
    ):
        with pytest.raises(CredentialsUnusable, match="none\\.pem: it cannot be read") as caught:
            Signer(certificate, key).ready()
        assert setting in caught.value.way_out


def test_file_that_is_no_certificate_is_told(folder: Path, tmp_path: Path) -> None:
    """A key in the certificate's place, an empty file, noise."""
    for text in (b"", b"\xff\x00", (folder / "development-key.pem").read_bytes()):
        (tmp_path / "wrong.pem").write_bytes(text)
        with pytest.raises(CredentialsUnusable, match="no certificates in PEM"):
            Signer(tmp_path / "wrong.pem", folder / "development-key.pem").ready()
        assert Signer(tmp_path / "wrong.pem", folder / "development-key.pem").anchors == ""


def test_key_of_another_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    """Before c2pa would make a signature that nobody can verify."""
    make_development_certificate(tmp_path)
    with pytest.raises(CredentialsUnusable, match="not the key of the first certificate"):
        Signer(folder / "development-certificate.pem", tmp_path / "development-key.pem").ready()


def test_key_with_a_password_is_refused(folder: Path, tmp_path: Path) -> None:
    """Nothing asks for passwords while jobs run; the key's text is not repeated."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key((folder / "development-key.pem").read_bytes(), None)
    locked = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"pass"))
    (tmp_path / "locked.pem").write_bytes(locked)
    with pytest.raises(CredentialsUnusable, match="no open private key") as caught:
        Signer(folder / "development-certificate.pem", tmp_path / "locked.pem").ready()
    assert "BEGIN" not in str(caught.value)


def test_expired_certificate_is_refused(tmp_path: Path) -> None:
    """Also one that ends while the process runs: a later picture is not signed with it."""
    make_development_certificate(tmp_path, days=1)
    today = dt.datetime.now(dt.UTC)
    signer, late = signer_in(tmp_path), signer_in(tmp_path)
    signer.ready()
    for one in (signer, late):
        one.clock = lambda: today + dt.timedelta(days=2)
        with pytest.raises(CredentialsUnusable, match=r"is valid from 20.* not now"):
            one.ready()
    with pytest.raises(SigningFailed, match="Nothing is lost") as caught:
        signed(signer)
    assert isinstance(caught.value, StorageError)  # the runner leaves the attempt open, what was paid for is kept


def test_leaf_alone_is_refused_before_anything_is_signed(folder: Path, tmp_path: Path) -> None:
    """What c2pa asks beyond dates and keys is asked by a trial signature: a chain, and what the leaf is for."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    who = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "self-signed")])
    alone = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "c.pem").write_bytes(alone.public_bytes(form.Encoding.PEM))
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (tmp_path / "k.pem").write_bytes(pem)
    with pytest.raises(CredentialsUnusable, match="c2pa refuses it"):
        Signer(tmp_path / "c.pem", tmp_path / "k.pem").ready()


def test_without_the_extra_it_is_told(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing is refused with the install line; reading says that it could not check."""
    data = signed(signer)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(CredentialsUnusable, match="pip install") as caught:
        signer_in(signer.certificate.parent).ready()
    assert caught.value.what == "c2pa"
    assert read(data).state == "unchecked"
    assert read(marked()).state == "absent"


# ---- the development certificate


def test_key_is_readable_by_its_owner_alone(folder: Path) -> None:
    """Whoever has the key signs in our name."""
    assert stat.S_IMODE((folder / "development-key.pem").stat().st_mode) == 0o600


def test_existing_certificate_is_kept(folder: Path) -> None:
    """A second one would make all earlier files a stranger's."""
    before = (folder / "development-key.pem").read_bytes()
    with pytest.raises(CredentialsUnusable, match="exists already"):
        make_development_certificate(folder)
    assert (folder / "development-key.pem").read_bytes() == before


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(CredentialsUnusable, match="cannot be written"):
        make_development_certificate(tmp_path / "file" / "c2pa")


def test_key_never_shows_in_a_signer_s_words(signer: Signer) -> None:
    """A studio may be logged."""
    signer.ready()
    assert "PRIVATE" not in repr(signer)
    assert "PRIVATE" not in repr(vars(signer))
