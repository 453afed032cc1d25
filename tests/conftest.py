"""Fixtures for every test: clean settings, a home of its own, a studio on the preview backend, characters.

Belongs here: what several test files need, and the guards that hold for all of them. Fakes live in `tests/fakes`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.database import open_engine
from resources.gpu.backends.preview.backend import PreviewBackend
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.prompts.lexicon import lexicon
from ryla_assets.registry.migrate import ready
from ryla_assets.registry.registry import Character
from ryla_assets.settings import Settings, settings
from ryla_assets.studio.studio import Studio
from tests.postgres import serve
from tests.s3 import S3Server
from tests.s3 import serve as serve_s3

# Tests start some hundred processes: where bytecode may not be written, as in many containers, each of them compiles
# our modules (and whatever of the packages is not compiled) anew, which is more work than all that it does afterwards.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

SETTINGS = ("RYLA_", "RUNPOD_", "COMFYUI_")  # whatever the developer has set is not the tests' business
WORKER_IDLE_S = 2.0  # how long a preview worker may wait for another job before it ends
WORKER_GRACE_S = WORKER_IDLE_S + 3.0  # after the last test; one poll and a slow machine
WORKER_MODULE = b"resources.gpu.backends.preview.worker"
MARA: dict[str, Any] = {
    "name": "Mara Lind",
    "gender": "female",
    "ethnicity": "caucasian",
    "age": 34,
    "eye_color": "green",
    "hair_color": "auburn",
    "hair_style": "wavy",
    "body_type": "athletic",
}


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings come from the test alone, never from the developer's environment or from a test before."""
    for name in os.environ:
        if name.startswith(SETTINGS) or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def short_lived_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Preview workers outlive their caller on purpose: in tests for two seconds, and none outlives the session."""
    spawn = PreviewBackend._spawn

    def spawn_short_lived(backend: PreviewBackend, slot: int) -> None:
        backend.idle_s = min(backend.idle_s, WORKER_IDLE_S)
        spawn(backend, slot)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreviewBackend, "_spawn", spawn_short_lived)
        yield
    folder = os.fsencode(tmp_path_factory.getbasetemp())
    deadline = time.monotonic() + WORKER_GRACE_S
    while (left := _workers_under(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGTERM)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RYLA_HOME of the test's own; `settings()` sees it too."""
    path = tmp_path / "ryla"
    monkeypatch.setenv("RYLA_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite file with the whole schema, to be copied: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("schema") / "ryla.db"
    ready(open_engine(f"sqlite:///{path}")).dispose()
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a throwaway Postgres; skipped where no server is installed."""
    yield from serve()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A throwaway S3 that verifies signatures; skipped where its server is not installed."""
    yield from serve_s3()


@pytest.fixture
def open_studio(home: Path, migrated_database: Path) -> Iterator[Callable[..., Studio]]:
    """Open studios on one home: `open_studio(gates="record")` changes settings, `parts={...}` replaces parts."""
    opened: list[Studio] = []
    home.mkdir()
    shutil.copy(migrated_database, home / "ryla.db")

    def build(*, parts: dict[str, Any] | None = None, **changes: Any) -> Studio:
        config = Settings(**{"home": home, "image_px": 256, "preview_workers": 1, **changes})
        workers = {"workers": config.preview_workers, "idle_s": WORKER_IDLE_S}
        backend = PreviewBackend(config.home / "preview", lexicon=lexicon(), **workers)
        opened.append(build_studio(config, **{"backend": backend, **(parts or {})}))
        return opened[-1]

    yield build
    for studio in opened:
        studio.registry.engine.dispose()


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    """A studio on the preview backend: small pictures, one worker."""
    return open_studio()


@pytest.fixture
def make_character() -> Callable[..., Character]:
    """Put a character into a studio's registry: `make_character(studio, "mara-lind", active=True, age=40)`."""

    def make(
        studio: Studio, character: str = "mara-lind", *, active: bool = True, auto_select: bool = False, **changes: Any
    ) -> Character:
        spec = parse_character({"id": character, "config": MARA | changes}, source="the test")
        studio.registry.add_character(spec, auto_select=auto_select)
        if active:
            studio.registry.activate(character)
        return studio.registry.character(character)

    return make


def _workers_under(folder: bytes) -> list[int]:
    """Processes of preview workers whose spool lies in this session's temporary folder (Linux; elsewhere none)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        if WORKER_MODULE in command and folder in command:
            found.append(int(process.name))
    return found
