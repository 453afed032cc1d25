"""What goes wrong with the house itself: arrows that point back, heavy imports, files that say too much.

The arrows are one table: a room imports itself and the rooms listed beside it, all of which stand above it.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("workflows", "resources", "ryla_assets", "sensors", "deploy")
OURS = (*FOLDERS, "tests")

_DOMAIN, _BELOW_STUDIO = ("ryla_assets.domain",), ("ryla_assets.domain", "resources", "workflows")
_STUDIO = (*_BELOW_STUDIO, "ryla_assets.registry", "ryla_assets.settings", "ryla_assets.studio")
_SHOWN = ("ryla_assets.failures", "ryla_assets.links", "ryla_assets.metadata", "ryla_assets.partitions")
_STAGES = ("ryla_assets.checks", "ryla_assets.assets", "sensors", "ryla_assets.manifest_io")
_BUILD = (*_STUDIO, "ryla_assets.prompts", *_SHOWN, *_STAGES)
_ABOVE = (*_BUILD, "ryla_assets.build")

# Room -> the rooms that it may import besides itself. A room is a package or a module; the longest name wins, so
# `ryla_assets` is whatever has no room of its own: the instance, the demo, reports. Lower rooms stand first.
ROOMS: dict[str, tuple[str, ...]] = {
    "workflows": (),
    "ryla_assets.domain": (),
    "resources": ("workflows",),
    "ryla_assets.prompts": _DOMAIN,
    "ryla_assets.settings": _DOMAIN,
    "ryla_assets.registry": (*_DOMAIN, "resources"),
    "ryla_assets.studio": (*_BELOW_STUDIO, "ryla_assets.registry", "ryla_assets.settings", "ryla_assets.prompts"),
    "ryla_assets.partitions": (),
    "ryla_assets.metadata": (),
    "ryla_assets.links": (),
    "ryla_assets.failures": _BELOW_STUDIO,
    "ryla_assets.manifest_io": (*_STUDIO, "ryla_assets.failures"),
    "ryla_assets.checks": (*_STUDIO, *_SHOWN),
    "ryla_assets.assets": (*_STUDIO, *_SHOWN, "ryla_assets.checks"),
    "sensors": (*_STUDIO, "ryla_assets.partitions"),
    "ryla_assets.build": _BUILD,
    "ryla_assets.definitions": ("ryla_assets.build",),
    "ryla_assets": _ABOVE,
    "ryla_assets.api": (*_ABOVE, "ryla_assets"),
    "ryla_assets.dev": (*_ABOVE, "ryla_assets", "ryla_assets.api"),  # Dagster and the HTTP app together
    "ryla_assets.cli": (*_ABOVE, "ryla_assets", "ryla_assets.api", "ryla_assets.dev"),
    "deploy": ("workflows",),
    "tests": (),
}
HEAVY = (
    "runpod", "dlib", "pandas", "numpy", "PIL", "boto3", "botocore", "dagster_aws", "uvicorn", "rich", "alembic",
    "safetensors", "c2pa", "cryptography", "sqlalchemy", "pydantic_settings", "httpx",
)  # fmt: skip

# Needles in two halves, so that this file is not one of the files it looks for.
REGISTRY_HOSTS = tuple(
    name + end
    for name, end in (
        ("pypi", ".org"),
        ("files.python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("registry.yarn", "pkg.com"),
        ("repo.ana", "conda.com"),
        ("conda.ana", "conda.org"),
        ("proxy.gol", "ang.org"),
        ("crates", ".io"),
        ("ruby", "gems.org"),
    )
)
MACHINE_PATHS = tuple(
    start + end
    for start, end in (("/ho", "me/"), ("/Us", "ers/"), ("C:\\Us", "ers"), ("/wo", "rk/main"), ("/wo", "rk/shared"))
)


def room_of(module: str) -> str:
    """The room a module belongs to: the longest name in ROOMS that is a prefix of it; `cli_jobs` is a part of `cli`."""
    parts = re.sub(r"^ryla_assets\.cli_\w+", "ryla_assets.cli", module).split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in ROOMS:
            return name
    raise KeyError(module)


@cache
def parsed(path: Path) -> ast.Module:
    """The file's syntax tree; several tests walk it."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything of ours that a file imports, wherever in the file the import stands."""
    for node in ast.walk(parsed(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; arrows are read from absolute names"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in OURS)


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted module name, file) of every module in our folders."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), path


def wrong_arrows(root: Path) -> list[str]:
    """Every import from a room into one that it may not know."""
    wrong = []
    for module, path in sources(root):
        own = room_of(module)
        for line, name in imports(path):
            if room_of(name) not in (own, *ROOMS[own]):
                wrong.append(f"{path.relative_to(root)}:{line}: {own} imports {name}")
    return wrong


def published() -> list[Path]:
    """Every file that a clone would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def tree(root: Path, files: Mapping[str, str]) -> Path:
    """A small repository of its own."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_no_arrow_points_back() -> None:
    """Rooms import only what the design lets them know."""
    assert wrong_arrows(ROOT) == []


def test_rooms_are_layered() -> None:
    """A room lists only rooms above itself in the table, so no chain of allowed arrows can close a circle."""
    names = list(ROOMS)
    upward = [(room, known) for room in names for known in ROOMS[room] if names.index(known) >= names.index(room)]
    assert upward == []


def test_every_room_of_the_table_exists() -> None:
    """A rule about a room that was renamed would hold nothing."""
    later = {
        "ryla_assets.api",
        "ryla_assets.dev",
        "ryla_assets.cli",
        "deploy",
    }  # the last to be written; empty folders are no rooms yet
    found = {room_of(module) for module, _ in sources(ROOT)}
    assert set(ROOMS) - {"tests"} - later <= found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("workflows/base.py", "from ryla_assets.domain.shots import Shot"),
        ("workflows/base.py", "import resources.gpu.job"),
        ("resources/gpu/runner.py", "from ryla_assets.domain.errors import RylaError"),
        ("resources/gpu/runner.py", "def late():\n    from ryla_assets.registry import tables"),
        ("ryla_assets/domain/shots.py", "from workflows import versions"),
        (
            "ryla_assets/domain/shots.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import resources.job",
        ),
        ("ryla_assets/prompts/build.py", "from ryla_assets.settings import settings"),
        ("ryla_assets/registry/registry.py", "from ryla_assets.studio.studio import Studio"),
        ("ryla_assets/studio/base.py", "from ryla_assets.checks import judged"),
        ("ryla_assets/studio/base.py", "from ryla_assets import build"),
        ("ryla_assets/checks/identity.py", "from ryla_assets.assets.results import metadata_of"),
        ("sensors/intake.py", "from ryla_assets.assets.base_images import base_images"),
        ("ryla_assets/assets/lora.py", "from ryla_assets.build import build_studio"),
        ("ryla_assets/build.py", "from ryla_assets.cli import main"),
        ("ryla_assets/build.py", "from ryla_assets.cli_workflows import workflows"),
        ("ryla_assets/api/app.py", "from ryla_assets.cli import main"),
        ("ryla_assets/demo.py", "import ryla_assets.cli"),
        ("ryla_assets/contact_sheet.py", "from ryla_assets.dev import serve"),
        ("resources/storage.py", "from tests.fakes import store"),
        ("deploy/workers/comfyui/handler.py", "from resources.images import decode"),
    ],
)
def test_wrong_arrow_is_found(tmp_path: Path, file: str, text: str) -> None:
    """Each of these would break the house, at the top of a file, in a function or behind TYPE_CHECKING alike."""
    wrong = wrong_arrows(tree(tmp_path, {file: text}))
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{file}:")


def test_right_arrow_is_let_through(tmp_path: Path) -> None:
    """What the design allows is no fault."""
    files = {
        "resources/gpu/runner.py": "from resources.storage import Store\nfrom workflows import models",
        "ryla_assets/studio/base.py": "from ryla_assets.prompts.build import build_prompt",
        "sensors/intake.py": "from ryla_assets.studio.studio import Studio\nimport dagster as dg",
        "ryla_assets/cli/jobs.py": "from ryla_assets.api.app import app\nfrom ryla_assets.build import build_studio",
        "deploy/workers/trainer/handler.py": "from workflows import lora_file",
    }
    assert wrong_arrows(tree(tmp_path, files)) == []


def test_definitions_load_without_heavy_modules_or_traces(tmp_path: Path) -> None:
    """Every run is a process that loads the definitions: what costs seconds waits until it is used, and disk stays."""
    code = (
        "import json, sys; import dagster as dg\n"
        f"heavy = {HEAVY!r}\n"
        "before = [name for name in heavy if name in sys.modules]\n"
        "from ryla_assets.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs())\n"
        "print(json.dumps([before, [name for name in heavy if name in sys.modules]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert after == before, "import it in the function that uses it"
    assert list(tmp_path.iterdir()) == [], "loading definitions wrote files"


@pytest.mark.parametrize("name", ["ryla_assets", "resources", "workflows", "sensors", "tests"])
def test_package_is_this_repository_s(name: str) -> None:
    """Generic names may be shadowed by an installed package of the same name."""
    assert Path(str(import_module(name).__file__)) == ROOT / name / "__init__.py"


def test_init_files_are_empty() -> None:
    """An import in an __init__ is paid by everyone and closes circles."""
    assert [path for path in published() if path.name == "__init__.py" and path.read_bytes()] == []


def test_every_module_says_what_belongs_in_it() -> None:
    """Each file opens with a docstring."""
    files = [path for path in published() if path.suffix == ".py" and path.name != "__init__.py"]
    assert [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(parsed(path))] == []


def test_environment_is_read_by_settings_alone() -> None:
    """A variable read anywhere else is a setting that nobody documented. Workers in deploy/ have their own."""

    def reads(path: Path) -> bool:
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Attribute(value=ast.Attribute(attr="environ"), attr="get" | "setdefault" | "pop"):
                    return True
                case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Load()):
                    return True
                case ast.Attribute(value=ast.Name(id="os"), attr="getenv"):
                    return True
        return False

    readers = [module for module, path in sources(ROOT) if reads(path)]
    assert [m for m in readers if m != "ryla_assets.settings" and not m.startswith("deploy.")] == []


def test_runner_is_the_only_caller_of_submit() -> None:
    """The promise on paid work holds as long as nobody else can send a job."""

    def submits(path: Path) -> bool:
        calls = (node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))
        return any(isinstance(f, ast.Attribute) and f.attr == "submit" and _ends_in(f.value, "backend") for f in calls)

    assert [module for module, path in sources(ROOT) if submits(path)] == ["resources.gpu.life"]


def _ends_in(node: ast.expr, name: str) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)


@pytest.mark.parametrize("needles", [REGISTRY_HOSTS, MACHINE_PATHS], ids=["registry host", "machine path"])
def test_no_file_names_an_address_of_somebody_s_machine(needles: tuple[str, ...]) -> None:
    """Neither where packages were downloaded from, nor where somebody's files lie."""
    found = []
    for path in published():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {needle}" for needle in needles if needle in text]
    assert found == []


def test_cited_documents_exist() -> None:
    """A comment that says where its number comes from names a file that a reader of the clone can open."""
    missing = []
    for path in published():
        if path.suffix in {".py", ".toml", ".md", ".yaml"}:
            for name in re.findall(r"\b(?:docs|facts)/[a-z0-9/._-]*[a-z0-9]", path.read_text()):
                number = re.fullmatch(r"docs/adr/\d{4}", name)  # a decision is cited by its number
                if not any(ROOT.glob(f"{name}-*.md" if number else name)):
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert missing == []
