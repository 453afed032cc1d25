"""What goes wrong with a house on a ComfyUI server: no address, small pictures, noise that is taken for a character."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.gpu.backends.comfyui.backend import ComfyUIBackend
from ryla_assets.build import build_studio
from ryla_assets.demo import stages_of
from ryla_assets.doctor import Finding, examine
from ryla_assets.domain.errors import InputError, NotAccepted
from ryla_assets.domain.images import ImageSet
from ryla_assets.settings import Settings, settings
from ryla_assets.studio.base import make_base_images, selected_base_image
from ryla_assets.studio.content import first_look, generate
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio
from tests.fakes.fake_comfyui import FakeComfyUI, served
from tests.fakes.scripted_studio import ScriptedScorer, judged, scripted_parts, to_base

NOBODY = "http://127.0.0.1:9"  # the discard port: nobody listens
MARA = "mara-lind"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeComfyUI]:
    """A server to look at."""
    with served(FakeComfyUI()) as fake:
        yield fake


# ---- settings


def test_server_is_named_as_comfyui_users_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """COMFYUI_URL and COMFYUI_MODELS_DIR, without our prefix."""
    monkeypatch.setenv("RYLA_BACKEND", "comfyui")
    monkeypatch.setenv("COMFYUI_URL", "http://gpu:8188")
    monkeypatch.setenv("COMFYUI_MODELS_DIR", "/srv/comfyui/models")
    found = settings()
    assert (found.backend, found.comfyui_url) == ("comfyui", "http://gpu:8188")
    assert found.comfyui_models_dir == Path("/srv/comfyui/models")


@pytest.mark.parametrize(
    ("given", "px"),
    [({}, 512), ({"RYLA_BACKEND": "comfyui"}, 1024), ({"RYLA_BACKEND": "comfyui", "RYLA_IMAGE_PX": "256"}, 256)],
    ids=["preview", "a model", "as set"],
)
def test_model_draws_at_the_size_that_it_was_trained_at(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], px: int
) -> None:
    """The preview's small default would cost a model its faces; what is set holds everywhere."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert settings().image_px == px


@pytest.mark.parametrize("url", ["", "gpu:8188", "http://me:secret@gpu"])
def test_missing_address_is_told_by_its_name(home: Path, url: str) -> None:
    """Settings load without it (the doctor must); work does not begin."""
    with pytest.raises(InputError) as caught:
        build_studio(Settings(home=home, backend="comfyui", comfyui_url=url))
    assert caught.value.field == "COMFYUI_URL"
    assert "RYLA_BACKEND" in caught.value.way_out


def test_studio_works_on_the_server_of_the_settings(home: Path) -> None:
    """No connection is made until there is work."""
    home.mkdir()
    studio = build_studio(Settings(home=home, backend="comfyui", comfyui_url=f"{NOBODY}/"))
    studio.registry.engine.dispose()
    assert isinstance(studio.runner.backend, ComfyUIBackend)
    assert (studio.runner.backend.endpoint, studio.render_domain) == (NOBODY, "model")


# ---- the doctor


def finding(home: Path, **changes: Any) -> Finding:
    """What the doctor says of the backend."""
    config = Settings(**{"home": home, "public_url": NOBODY, "backend": "comfyui", **changes})
    return next(one for one in examine(config) if one.what == "backend")


@pytest.fixture
def ready_home(home: Path, migrated_database: Path) -> Path:
    """A home whose database needs no migration."""
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")
    return home


def test_doctor_names_version_and_missing_files(ready_home: Path, server: FakeComfyUI) -> None:
    """Reachable, which version, and which files our graphs would ask for in vain."""
    whole = finding(ready_home, comfyui_url=server.url)
    assert (whole.state, "0.18.1" in whole.detail, "1024 px" in whole.detail) == ("ok", True, True)
    server.lacks.add("ae.safetensors")
    lacking = finding(ready_home, comfyui_url=server.url)
    server.lacks.clear()
    assert (lacking.state, "lacks: ae.safetensors" in lacking.detail) == ("note", True)
    assert lacking.cure


@pytest.mark.parametrize(("url", "words"), [("", "COMFYUI_URL"), (NOBODY, "cannot be reached")])
def test_doctor_misses_a_server_that_is_not_there(ready_home: Path, url: str, words: str) -> None:
    """Missing, with the cure; the other findings are still looked at."""
    found = finding(ready_home, comfyui_url=url)
    assert found.state == "missing"
    assert words in found.detail
    assert found.cure


# ---- noise under RYLA_GATES=record


@pytest.fixture
def noise(open_studio: Callable[..., Studio], make_character: Callable[..., Any]) -> Callable[..., Studio]:
    """A studio on a model that draws noise: no picture shows a face."""

    def build(**changes: Any) -> Studio:
        parts = scripted_parts(domain="model") | {"scorer": ScriptedScorer(default=[])}
        studio = open_studio(parts=parts, sheet_images=7, **changes)
        make_character(studio)
        return studio

    return build


def test_noise_is_recorded_as_unaccepted(noise: Callable[..., Studio]) -> None:
    """The stages go on to the end; each judgement says that nothing can be verified, and the rows are not accepted."""
    studio = noise(gates="record")
    sheet = judged(studio, make_sheet(studio, to_base(studio, MARA)))
    pictures = judged(studio, generate(studio, first_look(studio, MARA)))
    assert {record.refused for record in sheet.rejected} <= {"no face, one was asked for"}, "noise shows nobody"
    for made in (sheet, pictures):
        assert isinstance(made, ImageSet)
        [identity] = [row for row in stages_of(studio, MARA) if row["asset"] == made.asset]
        assert identity["accepted"] is False
        [check] = [c for c in identity["checks"] if c["name"].endswith("identity")]
        assert (check["passed"], "exactly one face" in check["reason"]) == (False, True)
        head = studio.registry.head(made.asset, MARA)
        assert head is not None
        assert head.accepted_sha256 is None


def test_noise_is_refused_before_a_sheet_of_it_is_paid(noise: Callable[..., Studio]) -> None:
    """With gates enforced nothing is sent for a base image without a face."""
    studio = noise()
    judged(studio, make_base_images(studio, MARA))
    base = selected_base_image(studio, MARA, option=1, who="the test")
    assert base is not None
    judged(studio, base)
    backend: Any = studio.runner.backend
    sent = list(backend.sent)
    with pytest.raises(NotAccepted, match="0 faces"):
        make_sheet(studio, base)
    assert backend.sent == sent
