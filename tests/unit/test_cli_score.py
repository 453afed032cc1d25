"""What goes wrong with `ryla images score`: hostile files, two domains, exit codes, a reference of two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from resources import images
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from ryla_assets.cli import main
from tests.fakes.scripted_backend import png
from tests.unit.test_images import bomb


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of one person, another person, and what no scorer should be handed."""
    made = tmp_path_factory.mktemp("score")
    one, other = person(11, {"age": "34", "gender": "female"}), person(12, {"age": "52", "gender": "male"})
    shots = {"a": render(one, Look(seed=1), 256, 256), "b": render(one, Look(seed=2, expression="smile"), 256, 256)}
    shots["other"] = render(other, Look(seed=3), 256, 256)
    for name, image in shots.items():
        (made / f"{name}.png").write_bytes(images.mark(image, source="algorithmicMedia", tool="the test"))
    both = Image.new("RGB", (512, 256))
    both.paste(shots["a"], (0, 0))
    both.paste(shots["other"], (256, 0))
    (made / "both.png").write_bytes(png(both))
    (made / "photo.png").write_bytes(png(shots["b"]))  # no mark, as a photograph has none
    (made / "empty.png").write_bytes(b"")
    (made / "cut.png").write_bytes((made / "a.png").read_bytes()[:900])
    (made / "bomb.png").write_bytes(bomb(30_000, 30_000))
    (made / "nobody.png").write_bytes(png(Image.new("RGB", (64, 64), "gray")))
    return made


def score(folder: Path, *names: str, reference: tuple[str, ...] = ("a.png",), more: tuple[str, ...] = ()) -> Result:
    """Run the command."""
    asked = [argument for name in reference for argument in ("--reference", str(folder / name))]
    return CliRunner().invoke(main, ["images", "score", *asked, *more, *(str(folder / name) for name in names)])


def told(result: Result) -> dict[str, Any]:
    """Its JSON."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_same_person_is_verified(folder: Path) -> None:
    """Exit 0, in the scale of the references' own domain."""
    result = score(folder, "b.png", more=("--json",))
    found = told(result)
    assert result.exit_code == 0, result.output
    assert (found["domain"], found["threshold"]) == ("preview", 0.45)
    assert found["scorer"].startswith("dlib-resnet/")
    [row] = found["images"]
    assert (row["image"], row["faces"], row["verified"], row["reason"]) == (str(folder / "b.png"), 1, True, "verified")
    assert row["distance"] == found["totals"]["worst"] < 0.45
    assert (found["totals"]["verified"], found["totals"]["share"]) == (1, 1.0)


def test_hostile_files_are_rows_with_a_reason(folder: Path) -> None:
    """No traceback, and each stays in the denominator; one that is not verified is exit 1."""
    names = ("b.png", "other.png", "both.png", "empty.png", "cut.png", "bomb.png", "nobody.png", "none.png", ".")
    result = score(folder, *names, more=("--json",))
    found = told(result)
    assert result.exit_code == 1
    reasons = [row["reason"] for row in found["images"]]
    assert reasons == [
        "verified", "distance", "two_faces", "unreadable", "unreadable", "unreadable", "no_face", "missing", "missing",
    ]  # fmt: skip
    assert (found["totals"]["verified"], found["totals"]["requested"]) == (1, 9)
    assert 0 < found["totals"]["lower_bound"] < found["totals"]["share"]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (8, 4096), (9, 300), (4096, 8), (16, 200_000)])
def test_hostile_sizes_are_nobody(folder: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    """Alone as among others, and as a reference too: sides on which dlib's CNN ends its process."""
    (tmp_path / "strip.png").write_bytes(png(Image.new("RGB", size, "gray")))
    strip = str(tmp_path / "strip.png")
    result = score(folder, strip, more=("--json",))
    assert (result.exit_code, told(result)["images"][0]["reason"]) == (1, "no_face")
    refused = score(folder, "b.png", reference=(strip,), more=("--json",))
    assert (refused.exit_code, "strip.png' shows 0 faces" in refused.stderr) == (2, True)


def test_file_named_twice_counts_once(folder: Path) -> None:
    """Two lines of a shell's pattern are no second proof; of references, no second weight."""
    names = ("b.png", "other.png", "./b.png", "b.png")
    found = told(score(folder, *names, reference=("a.png", "a.png"), more=("--json",)))
    assert [Path(row["image"]).name for row in found["images"]] == ["b.png", "other.png"]
    once = told(score(folder, *names[:2], more=("--json",)))
    assert found["totals"] == once["totals"]


@pytest.mark.parametrize("reference", ["both.png", "nobody.png", "cut.png", "none.png", "."])
def test_reference_is_a_picture_of_one_face(folder: Path, reference: str) -> None:
    """Else nothing is measured: exit 2, and the file is named."""
    result = score(folder, "b.png", reference=("a.png", reference), more=("--json",))
    assert result.exit_code == 2
    assert told(result)["error"]["value"] == str(folder / reference)


def test_two_domains_are_not_compared(folder: Path, tmp_path: Path) -> None:
    """A drawn picture against a model's says nothing, unless the caller says what they are."""
    with Image.open(folder / "b.png") as image:
        data = images.mark(image.convert("RGB"), source="trainedAlgorithmicMedia", tool="the test")
    (tmp_path / "model.png").write_bytes(data)
    result = score(folder, str(tmp_path / "model.png"))
    assert result.exit_code == 2
    assert "cannot be compared" in result.stderr
    assert score(folder, str(tmp_path / "model.png"), more=("--domain", "model")).exit_code == 0
    mixed = score(folder, "b.png", reference=("a.png", str(tmp_path / "model.png")))
    assert (mixed.exit_code, "say --domain" in mixed.stderr) == (2, True)


def test_photograph_is_of_the_references_domain(folder: Path) -> None:
    """What carries no mark is compared as what it is compared with."""
    assert told(score(folder, "photo.png", more=("--json",)))["domain"] == "preview"
    found = told(score(folder, "photo.png", reference=("photo.png",), more=("--json",)))
    assert (found["domain"], found["threshold"], found["images"][0]["distance"]) == ("model", 0.60, 0.0)


def test_threshold_is_the_callers(folder: Path) -> None:
    """A stricter one refuses what the default verifies, and is told."""
    result = score(folder, "b.png", more=("--threshold", "0.01", "--json"))
    assert result.exit_code == 1
    assert told(result)["threshold"] == 0.01
    assert told(result)["images"][0]["reason"] == "distance"


@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf", "-0.1", "2.1", "1e300"])
def test_threshold_is_a_distance(folder: Path, threshold: str) -> None:
    """NaN is no JSON, and whatever verifies nobody or everybody measures nothing."""
    result = score(folder, "b.png", more=("--threshold", threshold, "--json"))
    assert result.exit_code == 2
    assert told(result)["error"]["field"] == "--threshold"
    assert "0 to 2" in told(result)["error"]["way_out"]


def test_people_get_a_table(folder: Path) -> None:
    """The scorer above it, the totals below."""
    result = score(folder, "b.png", "other.png", reference=("a.png", "b.png"))
    assert result.exit_code == 1
    for word in ("dlib-resnet", "0.45", "verified", "distance", "lower_bound"):
        assert word in result.stdout
