"""What goes wrong with signing in a deployment: half a setting, a certificate that fails after the money is spent."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resources import images
from resources.content_credentials import Signer, read
from resources.development_certificate import make_development_certificate
from resources.gpu.accept import accept
from resources.gpu.backend import RemoteOutput
from resources.gpu.errors import BackendUnavailable, Retry
from resources.gpu.job import Job, OutputSpec
from resources.storage import FileStore, StorageError
from ryla_assets.doctor import Finding, examine
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.images import ImageSet
from ryla_assets.settings import Settings, settings
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.provenance import provenance
from ryla_assets.studio.studio import Studio
from tests.fakes.scripted_backend import ScriptedBackend, picture
from tests.fakes.scripted_studio import IMAGE_PX, judged, scripted_parts

pytest.importorskip("c2pa")

MARA = "mara-lind"
JOB = Job("image", {}, (OutputSpec("front", "image", 64, 48),), label="front of mara")
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    """The two settings of a development certificate."""
    chain, key = make_development_certificate(tmp_path / "c2pa")
    return {"c2pa_certificate": chain, "c2pa_private_key": key}


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes, certificate: dict[str, Path]) -> Studio:
    """A studio that signs, on scripted pictures."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, **certificate)
    make_character(made, MARA)
    return made


def backend_of(studio: Studio) -> ScriptedBackend:
    """The studio's scripted backend."""
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    return backend


def stored(studio: Studio, manifest: ImageSet) -> list[bytes]:
    """The set's pictures as they lie in the store."""
    return [studio.store.get("images", record.sha256) for record in manifest.images]


def signer_of_studio(studio: Studio) -> Signer:
    """What signs there."""
    signer = studio.runner.signer
    assert signer is not None
    return signer


def expire(studio: Studio) -> None:
    """Two years pass for the certificate."""
    signer_of_studio(studio).clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=730)


# ---- accept


def test_what_is_stored_is_signed_and_marked(tmp_path: Path, certificate: dict[str, Path]) -> None:
    """Signed last, over the mark: the stored bytes carry both, and the record names the stored bytes."""
    signer = Signer(*certificate.values())
    store = FileStore(tmp_path / "store")
    how: dict[str, Any] = {"source": "trainedAlgorithmicMedia", "tool": "RYLA Assets", "signer": signer}
    outputs = [RemoteOutput("front_00001_.png", picture(64, 48))]
    [first], [second] = (accept(JOB, outputs, store, **how).outputs for _ in range(2))
    data = store.get("images", first["sha256"])
    assert images.read_mark(data) == read(data).source == "trainedAlgorithmicMedia"
    assert images.claimed_original(data) == first["pixels_sha256"] == second["pixels_sha256"]
    assert first["sha256"] != second["sha256"]  # signatures are random: lineage of a second acceptance goes by pixels


def test_picture_that_cannot_be_signed_is_not_the_workers_fault(tmp_path: Path, certificate: dict[str, Path]) -> None:
    """Nothing is stored unsigned, and the output may be fetched again."""
    certificate["c2pa_private_key"].unlink()
    store = FileStore(tmp_path / "store")
    outputs = [RemoteOutput("front_00001_.png", picture(64, 48))]
    with pytest.raises(StorageError, match="Nothing is lost"):
        accept(JOB, outputs, store, source="algorithmicMedia", tool="t", signer=Signer(*certificate.values()))
    assert not store.root.exists()


# ---- the studio


def test_pictures_of_a_run_are_signed_and_the_check_says_so(studio: Studio) -> None:
    """From the settings to the stored bytes; the claim counts them."""
    manifest = make_base_images(studio, MARA)
    assert {read(data).state for data in stored(studio, manifest)} == {"untrusted"}
    judgement = provenance(studio, manifest)
    assert (judgement.passed, judgement.numbers) == (True, {"marked": 3, "signed": 3})


def test_running_again_adopts_the_signed_pictures(studio: Studio) -> None:
    """The same bytes, though a new signature would be another file: nothing is accepted twice."""
    first = make_base_images(studio, MARA)
    again = make_base_images(studio, MARA)
    assert again.images == first.images
    assert len(backend_of(studio).sent) == len({record.job for record in first.images})


def test_unsigned_pictures_from_before_are_told_and_pass(
    studio: Studio, open_studio: Opens, certificate: dict[str, Path]
) -> None:
    """What is paid for is adopted as it is; setting a certificate does not refuse last week's pictures."""
    signer, studio.runner.signer = studio.runner.signer, None
    manifest = make_base_images(studio, MARA)
    studio.runner.signer = signer
    judgement = provenance(studio, make_base_images(studio, MARA))
    assert (judgement.passed, judgement.numbers) == (True, {"marked": 3, "signed": 0})
    assert judgement.manifest_sha256 == provenance(studio, manifest).manifest_sha256


def test_signer_that_stopped_is_found(studio: Studio) -> None:
    """Once pictures are signed here, one that is made later without a signature is a fault, while signing is set."""
    early = judged(studio, make_base_images(studio, MARA))
    signer, studio.runner.signer = studio.runner.signer, None
    late = make_base_images(studio, MARA, new_take=True)
    studio.runner.signer = signer
    judgement = provenance(studio, late)
    assert (judgement.passed, judgement.numbers["signed"]) == (False, 0)
    assert "not signed, though it was made after pictures were signed here" in judgement.reason
    assert provenance(studio, early).passed
    unset = replace(studio, settings=studio.settings.model_copy(update={"c2pa_certificate": None}))
    assert provenance(unset, late).passed, "nobody asks for signatures"


def test_broken_signature_is_refused(studio: Studio) -> None:
    """A picture that was edited and stored under its new hash carries a signature that no longer holds."""
    manifest = make_base_images(studio, MARA)
    data = bytearray(stored(studio, manifest)[0])
    data[data.index(b"DigitalSourceType") - 200] ^= 1  # in the mark's packet, not in what it says
    edited = manifest.images[0].model_copy(update={"sha256": studio.store.put("images", bytes(data))})
    judgement = provenance(studio, manifest.model_copy(update={"images": (edited, *manifest.images[1:])}))
    assert not judgement.passed
    assert "content credentials: changed since it was signed" in judgement.reason
    assert judgement.numbers["signed"] == 2


def test_expired_certificate_refuses_before_anything_is_sent(studio: Studio) -> None:
    """A paid picture never waits for a certificate."""
    expire(studio)
    with pytest.raises(BackendUnavailable, match="not now") as caught:
        make_base_images(studio, MARA)
    assert (caught.value.code, caught.value.retry) == ("content_credentials", Retry.FATAL)
    assert backend_of(studio).sent == []


def test_certificate_that_ends_meanwhile_loses_no_picture(studio: Studio) -> None:
    """The attempt stays open; with a certificate that holds, the next run takes what was paid for."""
    backend = backend_of(studio)
    backend.on_submit = lambda: expire(studio)
    with pytest.raises(StorageError, match="Nothing is lost"):
        make_base_images(studio, MARA)
    sent = len(backend.sent)
    signer_of_studio(studio).clock = lambda: dt.datetime.now(dt.UTC)
    backend.on_submit = lambda: None
    manifest = make_base_images(studio, MARA)
    assert len(backend.sent) == sent
    assert {read(data).state for data in stored(studio, manifest)} == {"untrusted"}


# ---- settings and doctor


@pytest.mark.parametrize("name", ["RYLA_C2PA_CERTIFICATE", "RYLA_C2PA_PRIVATE_KEY"])
def test_half_a_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A certificate without its key would sign nothing, silently."""
    monkeypatch.setenv(name, "a.pem")
    with pytest.raises(InputError, match="set together or not at all"):
        settings()


def looked_at(home: Path, **changes: Any) -> Finding:
    """The doctor's finding on content credentials."""
    findings = examine(Settings(**{"home": home, "public_url": "http://127.0.0.1:9", **changes}))
    return next(one for one in findings if one.what == "content credentials")


def test_doctor_says_whether_pictures_are_signed(
    home: Path, migrated_database: Path, certificate: dict[str, Path]
) -> None:
    """Not set, a development certificate, and one whose key is gone: with the file and the cure."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    unset = looked_at(home)
    assert (unset.state, "not signed" in unset.detail) == ("note", True)
    found = looked_at(home, **certificate)
    assert (found.state, "development certificate" in found.detail) == ("note", True)
    certificate["c2pa_private_key"].unlink()
    broken = looked_at(home, **certificate)
    assert (broken.state, "development-key.pem" in broken.detail) == ("missing", True)
    assert "RYLA_C2PA_PRIVATE_KEY" in broken.cure
