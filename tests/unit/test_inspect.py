"""What goes wrong when somebody asks where a file comes from: ours denied, a stranger's claimed, a crash on garbage."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from PIL import Image, PngImagePlugin

from resources import images
from resources.database import writing
from resources.gpu.accept import accept
from resources.gpu.backend import RemoteOutput
from resources.gpu.job import Job, OutputSpec
from resources.storage import ObjectMissing
from ryla_assets.cli import main
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.registry import tables
from ryla_assets.studio.inspect import Inspection, inspect, signer_of
from ryla_assets.studio.quality import look_at, looking_like
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, name_of
from tests.fakes.scripted_backend import png
from tests.fakes.scripted_studio import decree
from tests.unit.test_images import bomb

MARA, PX = "mara-lind", 96
GRAPH = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}},
    "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 7}},
}
PROMPT = "a secret prompt of a worker"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio with one character; no job is run here."""
    made = open_studio()
    make_character(made, MARA)
    return made


def drawn(seed: int = 1) -> Image.Image:
    """Blobs with finer ones on them: a picture that survives scaling and JPEG, as a photograph does."""
    rng, found = np.random.default_rng(seed), np.full((PX, PX, 3), 128.0)
    for cells, strength in ((6, 60), (12, 30), (24, 15)):
        small = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        found += strength * (np.asarray(small.resize((PX, PX), Image.Resampling.BICUBIC)) / 127.5 - 1)
    return Image.fromarray(found.clip(0, 255).astype(np.uint8))


def from_comfyui(image: Image.Image, as_format: str = "PNG") -> bytes:
    """A file as ComfyUI saves it: with the whole graph, prompts and paths in it."""
    out = io.BytesIO()
    if as_format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("prompt", json.dumps({"6": {"inputs": {"text": PROMPT}}}))
        info.add_itxt("workflow", json.dumps({"note": PROMPT}), zip=True)
        image.save(out, format="PNG", pnginfo=info)
    else:
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = f"workflow:{PROMPT}", f"prompt:{PROMPT}"
        image.save(out, format=as_format, exif=exif.tobytes(), **({"lossless": True} if as_format == "WEBP" else {}))
    return out.getvalue()


def made(studio: Studio, *seeds: int, rejected: tuple[int, ...] = (), **changes: Any) -> ImageSet:
    """A published set, accepted as a run accepts it; `seeds` say what is drawn."""
    records = {seed: _record(studio, seed) for seed in (*seeds, *rejected)}
    manifest = ImageSet(
        **{"asset": "selected_base_image", "character": MARA, "take": 1, "request_id": "r", "backend": "comfyui",
           "render_domain": "model", "route": "base", "images": tuple(records[s] for s in seeds),
           "rejected": tuple(records[s] for s in rejected), **changes}
    )  # fmt: skip
    studio.publish(manifest)
    return manifest


def _record(studio: Studio, seed: int) -> ImageRecord:
    job = Job("image", GRAPH | {"seed": {"inputs": {"seed": seed}}}, (OutputSpec("front", "image", PX, PX),))
    row = studio.runner.ledger.open(job, backend="comfyui", profile="comfyui/test")
    [output] = accept(
        job, [RemoteOutput("front_00001_.png", from_comfyui(drawn(seed)))], studio.store,
        source="trainedAlgorithmicMedia", tool="RYLA Assets", signer=signer_of(studio.settings),
    ).outputs  # fmt: skip
    return ImageRecord(
        name="front.png", sha256=output["sha256"], pixels_sha256=output["pixels_sha256"], width=PX, height=PX,
        shot="front", take=10, seed=seed, prompt="words", expects_face=True, method="text",
        workflow="base-image-generation@1", job=row.fingerprint,
    )  # fmt: skip


def stored(studio: Studio, manifest: ImageSet) -> bytes:
    """The bytes of a set's first picture."""
    return studio.store.get("images", manifest.images[0].sha256)


def saved(data: bytes, **how: Any) -> bytes:
    """The picture, opened and saved again by somebody."""
    out = io.BytesIO()
    images.decode(data).save(out, **{"format": "PNG", **how})
    return out.getvalue()


def resized(data: bytes, side: int, **how: Any) -> bytes:
    """The picture, scaled to a square of that side and saved by somebody."""
    out = io.BytesIO()
    images.decode(data).resize((side, side)).save(out, **how)
    return out.getvalue()


def flipped(data: bytes, position: int) -> bytes:
    """The file with one bit changed."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def seen(studio: Studio, data: bytes) -> Inspection:
    """The answer for these bytes."""
    return inspect(studio, data, file="a.png")


def run(*words: object) -> Result:
    """The command line."""
    return CliRunner().invoke(main, [str(word) for word in words])


# ---- four right answers


@pytest.mark.parametrize("with_certificate", [False, True], ids=["marked", "signed"])
def test_four_files_four_right_answers(
    studio: Studio, open_studio: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_certificate: bool
) -> None:
    """A good file, re-saved ones, one with a byte flipped, a foreign one: by the command, as anybody asks."""
    if with_certificate:
        certify(monkeypatch)
    manifest = made(_again(studio), 1)
    good = stored(studio, manifest)
    look_at(studio, manifest)
    files = {
        "good.png": good,
        "saved.png": saved(good),
        "saved.jpg": saved(good, format="JPEG"),
        "flipped.png": flipped(good, good.index(b"IDAT") + 60),
        "foreign.png": saved(png(drawn(99))),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    answers = {}
    for name in files:
        result = run("images", "inspect", tmp_path / name, "--json")
        [answers[name]] = json.loads(result.stdout)
        assert result.exit_code == (0 if name == "good.png" else 1), result.output
    verdicts = {name: (one["verdict"], one["ours"], one["intact"]) for name, one in answers.items()}
    assert verdicts == {
        "good.png": ("intact", "yes", True),
        "saved.png": ("re-saved", "yes", False),
        "saved.jpg": ("look-alike", "likely", False),
        "flipped.png": ("changed", "claimed", False),
        "foreign.png": ("foreign", "no", False),
    }
    states = [one["credentials"]["state"] for one in answers.values()]
    assert states == (["untrusted", "absent", "absent", "invalid", "absent"] if with_certificate else ["absent"] * 5)
    assert [one["mark"] for one in answers.values()][1:3] == ["", ""], "a plain save drops the mark"
    assert answers["foreign.png"]["origin"] is None
    for name in ("good.png", "saved.png", "saved.jpg", "flipped.png"):
        origin = answers[name]["origin"]
        assert (origin["character"], origin["asset"], origin["take"]) == (MARA, "selected_base_image", 1)
        assert (origin["shot"], origin["seed"], origin["workflow"]) == ("front", 1, "base-image-generation@1")
        assert (origin["job"], origin["models"]) == (manifest.images[0].job, ["flux1-dev.safetensors"])
        assert (origin["route"], origin["method"], origin["backend"]) == ("base", "text", "comfyui")
        assert (origin["accepted"], origin["why_not"]["integrity"]) == (False, "not yet judged")


def certify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a development certificate by command and set it."""
    pytest.importorskip("c2pa")
    result = run("images", "certificate", "--json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)
    for name, value in row.items():
        monkeypatch.setenv(name, value)
    from ryla_assets.settings import settings

    settings.cache_clear()


def _again(studio: Studio) -> Studio:
    """The studio on the settings as they are now."""
    from ryla_assets.settings import settings

    studio.settings = settings()
    return studio


def test_any_flipped_byte_is_neither_intact_nor_denied(studio: Studio) -> None:
    """Wherever one bit changes, the file is still known as ours by its pixels or by its name, and never as intact."""
    good = stored(studio, made(studio, 1))
    positions = np.linspace(0, len(good) - 1, 150).astype(int)
    verdicts = {position: seen(studio, flipped(good, position)).verdict for position in positions}
    assert set(verdicts.values()) == {"re-saved", "changed"}


def test_cut_file_is_found_by_its_name(studio: Studio) -> None:
    """Half a download cannot be decoded; the mark at its beginning says what it was."""
    manifest = made(studio, 1)
    found = seen(studio, stored(studio, manifest)[:4000])
    assert (found.verdict, found.ours, found.looks_alike) == ("changed", "claimed", None)
    assert "not a readable" in found.reason
    assert found.origin is not None
    assert found.origin.manifest_sha256 == name_of(manifest)


# ---- claims are claims


def test_thumbnail_is_a_copy_that_looks_like_its_original(studio: Studio) -> None:
    """It names its original; its own pixels are others."""
    found = seen(studio, images.thumbnail(stored(studio, made(studio, 1))))
    assert (found.verdict, found.looks_alike, found.mark, found.format) == (
        "changed", True, "trainedAlgorithmicMedia", "WEBP",
    )  # fmt: skip
    assert found.tool == "RYLA Assets thumbnail"


def test_forged_name_is_only_a_claim(studio: Studio) -> None:
    """Anyone can write our picture's name into another picture: it is claimed, and does not look like it."""
    ours = made(studio, 1).images[0].pixels_sha256
    forged = images.mark(drawn(77), source="algorithmicMedia", tool="x", original=ours)
    found = seen(studio, forged)
    assert (found.ours, found.intact, found.looks_alike) == ("claimed", False, False)
    assert "does not look like" in found.reason


def test_name_of_nothing_is_foreign(studio: Studio) -> None:
    """A name that nobody here has is no claim on anything."""
    forged = images.mark(drawn(77), source="algorithmicMedia", tool="x", original="0" * 64)
    assert seen(studio, forged).verdict == "foreign"


@pytest.mark.parametrize("how", ["jpeg", "webp", "half", "double"])
def test_lossy_copy_without_a_mark_is_known_by_its_looks(studio: Studio, how: str) -> None:
    """What most people call re-saved: neither bytes nor pixels nor a name are left. It is found, and proves nothing."""
    manifest = made(studio, *range(1, 9))
    look_at(studio, manifest)
    record = manifest.images[4]
    good = studio.store.get("images", record.sha256)
    side = {"half": PX // 2, "double": 2 * PX}.get(how, PX)
    kind = {"jpeg": "JPEG", "webp": "WEBP"}.get(how, "PNG")
    found = seen(studio, resized(good, side, format=kind))
    assert (found.verdict, found.ours, found.intact, found.looks_alike) == ("look-alike", "likely", False, True)
    assert found.origin is not None
    assert (found.origin.sha256, found.origin.seed) == (record.sha256, 5)


def test_likeness_is_asked_of_pixels_too(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash of 256 bits may agree by chance, or by somebody's design: then the pixels decide."""
    look_at(studio, made(studio, 1))
    monkeypatch.setattr("ryla_assets.studio.quality.COPY_BITS", 256)
    assert seen(studio, saved(png(drawn(99)), format="JPEG")).verdict == "foreign"


def test_blank_picture_is_like_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every black picture looks like every other: one that was drawn here does not make them all ours."""
    look_at(studio, made(studio, 1))
    monkeypatch.setattr("ryla_assets.studio.quality.COPY_BITS", 256)
    assert len(looking_like(studio, drawn(99))) == 1
    assert looking_like(studio, Image.new("RGB", (PX, PX))) == []


def test_copy_of_what_nobody_looked_at_is_foreign(studio: Studio) -> None:
    """The limit: its looks are known from the quality check on."""
    assert seen(studio, saved(stored(studio, made(studio, 1)), format="JPEG")).verdict == "foreign"


def test_lost_original_has_no_copies(studio: Studio) -> None:
    """Without its pixels nothing can be said of a likeness; that is an answer, not an error."""
    manifest = made(studio, 1)
    look_at(studio, manifest)
    copy = saved(stored(studio, manifest), format="JPEG")
    Path(studio.store.uri("images", manifest.images[0].sha256).removeprefix("file://")).unlink()
    assert seen(studio, copy).verdict == "foreign"


# ---- what is known of it


def test_gates_and_uses_are_told(studio: Studio) -> None:
    """Accepted by its judgements; the set where it was made first, and every asset that names it."""
    first = made(studio, 1)
    decree(studio, first)
    studio.publish(first.model_copy(update={"asset": "character_sheet"}))
    origin = seen(studio, stored(studio, first)).origin
    assert origin is not None
    assert (origin.accepted, origin.why_not) == (True, {})
    assert (origin.asset, origin.used_by) == ("selected_base_image", ["selected_base_image", "character_sheet"])
    told = {gate["claim"]: gate["passed"] for gate in origin.gates}
    assert told == dict.fromkeys(REQUIRED_CLAIMS["selected_base_image"], True)


def test_rejected_take_is_ours_and_not_accepted(studio: Studio) -> None:
    """A re-rolled picture must not be taken for one of the set."""
    manifest = made(studio, 1, rejected=(2,))
    found = seen(studio, studio.store.get("images", manifest.rejected[0].sha256))
    assert found.intact
    assert found.origin is not None
    assert not found.origin.accepted
    assert "re-rolled" in found.origin.why_not["shot"]


def test_stored_picture_that_no_manifest_names_is_ours(studio: Studio) -> None:
    """A run that died between storing and publishing leaves pictures behind."""
    record = _record(studio, 5)
    found = seen(studio, studio.store.get("images", record.sha256))
    assert (found.verdict, found.origin) == ("intact", None)
    assert "no manifest names it" in found.reason


def test_lost_manifest_leaves_what_the_registry_knows(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Character and asset come from the index; the rest is left out, and nothing raises."""
    manifest = made(studio, 1)
    good = stored(studio, manifest)

    def lost(_: str) -> None:
        raise ObjectMissing("gone")

    monkeypatch.setattr(studio, "manifest", lost)
    origin = seen(studio, good).origin
    assert origin is not None
    assert (origin.character, origin.seed, origin.accepted) == (MARA, 0, False)
    assert "cannot be read" in origin.why_not["lineage"]


def test_set_from_before_the_index_is_found(studio: Studio) -> None:
    """An older database has manifests and no index of their pictures."""
    good = stored(studio, made(studio, 1))
    with writing(studio.registry.engine) as db:
        db.execute(sa.delete(tables.images))
    assert seen(studio, saved(good)).verdict == "re-saved"
    assert studio.registry.unindexed(["selected_base_image"]) == []


# ---- hostile files


@pytest.mark.parametrize("as_format", ["PNG", "JPEG", "WEBP"])
def test_workers_prompt_is_in_what_it_sent_and_not_in_what_is_stored(studio: Studio, as_format: str) -> None:
    """Graph, words and paths of a ComfyUI file are not published, in whatever chunk they came; the ledger has them."""
    theirs = from_comfyui(drawn(), as_format)
    assert seen(studio, theirs).texts == (("prompt", "workflow") if as_format == "PNG" else ("exif",))
    job = Job("image", GRAPH, (OutputSpec("front", "image", PX, PX),))
    [output] = accept(
        job, [RemoteOutput(f"front_00001_.{as_format.lower()}", theirs)], studio.store,
        source="trainedAlgorithmicMedia", tool="RYLA Assets",
    ).outputs  # fmt: skip
    kept = studio.store.get("images", output["sha256"])
    for ours in (kept, images.thumbnail(kept)):
        found = seen(studio, ours)
        assert (found.texts, found.mark) == ((), "trainedAlgorithmicMedia")
        assert not [word for word in (b"prompt", b"workflow", PROMPT.encode(), b"Exif", b"eXIf") if word in ours]


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 5000, b"GIF89a", b"%PDF-1.7", bomb(10_000, 10_000), bomb(64, 64), b"\x89PNG\r\n\x1a\n" * 40],
    ids=["empty", "zeros", "gif", "pdf", "bomb", "no pixels", "only signatures"],
)
def test_garbage_is_unreadable_and_nothing_worse(studio: Studio, data: bytes) -> None:
    """Each has an answer with a reason."""
    found = seen(studio, data)
    assert (found.verdict, found.ours, found.intact) == ("unreadable", "no", False)
    assert "(" in found.reason


def test_file_over_the_limit_is_not_looked_at(studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No more is read than is ever decoded."""
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    (tmp_path / "big.png").write_bytes(b"\x89PNG" * 1000)
    [found] = json.loads(run("images", "inspect", tmp_path / "big.png", "--json").stdout)
    assert (found["verdict"], found["bytes"], found["sha256"]) == ("unreadable", 1001, "")


def test_strangers_words_do_not_reach_the_terminal_raw(studio: Studio) -> None:
    """Escape sequences in a tool's name or a chunk's key would rewrite somebody's screen."""
    info = PngImagePlugin.PngInfo()
    info.add_text("bad\x1b[2Jkey", "x")
    info.add_itxt("XML:com.adobe.xmp", '<x xmp:CreatorTool="evil\x1b[2J\x07tool"/>')
    out = io.BytesIO()
    drawn().save(out, format="PNG", pnginfo=info)
    found = seen(studio, out.getvalue())
    assert (found.tool, found.texts) == ("evil[2Jtool", ("bad[2Jkey",))


# ---- the command


def test_table_shows_what_people_ask(studio: Studio, tmp_path: Path) -> None:
    """Verdict, character, job and models without --json too."""
    manifest = made(studio, 1)
    (tmp_path / "a.png").write_bytes(stored(studio, manifest))
    result = run("images", "inspect", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    for word in ("intact", MARA, "flux1-dev.safetensors", manifest.images[0].job[:12], "not yet judged"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.png", "does not exist"),
        ("", "is a folder, not a file"),
        ("a-folder", "is a folder, not a file"),
        ("a-pipe", "is a pipe, not a file"),
        ("a-loop", "is a loop of symbolic links"),
        ("/dev/zero", "is a device, not a file"),
        ("a-folder/" + "n" * 300, "cannot be read: File name too long"),
    ],
    ids=["missing", "empty", "folder", "pipe", "loop", "device", "too long"],
)
def test_what_is_no_file_is_named_with_its_reason(studio: Studio, tmp_path: Path, name: str, why: str) -> None:
    """Exit 2, with one sentence that says which file, and what is wrong with it; a pipe keeps nobody waiting."""
    (tmp_path / "a-folder").mkdir()
    os.mkfifo(tmp_path / "a-pipe")
    (tmp_path / "a-loop").symlink_to("a-loop")
    result = run("images", "inspect", tmp_path / name, "--json")
    [answer] = json.loads(result.stdout)
    error = answer["error"]
    assert (result.exit_code, error["field"]) == (2, "FILES")
    shown = str(tmp_path / name)
    assert error["message"].startswith(f"{shown} {why}")
    assert error["value"] == shown


def test_bad_file_hides_no_answer(studio: Studio, tmp_path: Path) -> None:
    """What can be read is answered in its place, whatever stands before it; the exit code is the worst."""
    good = tmp_path / "good.png"
    good.write_bytes(stored(studio, made(studio, 1)))
    words = ("images", "inspect", tmp_path / "none.png", good, tmp_path)
    result = run(*words, "--json")
    assert result.exit_code == 2
    assert [one.get("verdict", one.get("error", {}).get("code")) for one in json.loads(result.stdout)] == [
        "input", "intact", "input",
    ]  # fmt: skip
    told = run(*words)
    assert told.exit_code == 2
    assert "intact" in told.stdout
    assert told.stderr.count("Error: FILES: ") == 2


def test_files_are_read_one_at_a_time(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred files of 64 MiB are not held at once: each has its answer before the next one is opened."""
    from ryla_assets import cli_images
    from ryla_assets.studio import inspect as asked

    order: list[str] = []
    read, answer = cli_images._read, asked.inspect
    monkeypatch.setattr(cli_images, "_read", lambda file: order.append(f"read {file.name}") or read(file))
    monkeypatch.setattr(asked, "inspect", lambda s, data, *, file: order.append("answer") or answer(s, data, file=file))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    run("images", "inspect", tmp_path / "a.png", tmp_path / "b.png")
    assert order == ["read a.png", "answer", "read b.png", "answer"]


def test_hashes_can_be_copied(studio: Studio, tmp_path: Path) -> None:
    """Whole, on one line each: `images reproduce` and a manifest are asked for by them."""
    manifest = made(studio, 1)
    (tmp_path / "a.png").write_bytes(stored(studio, manifest))
    lines = [line.split() for line in run("images", "inspect", tmp_path / "a.png").stdout.splitlines()]
    for wanted in (manifest.images[0].sha256, manifest.images[0].job, name_of(manifest)):
        assert any(wanted in line for line in lines), wanted


def test_certificate_is_made_once(home: Path) -> None:
    """A second command keeps the first certificate and says so."""
    pytest.importorskip("c2pa")
    assert run("images", "certificate").exit_code == 0
    result = run("images", "certificate", "--json")
    assert result.exit_code == 2
    assert "exists already" in json.loads(result.stdout)["error"]["message"]
    assert sorted(p.name for p in (home / "c2pa").iterdir()) == ["development-certificate.pem", "development-key.pem"]


def test_picture_whose_pixels_cannot_be_read_is_foreign(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that can be read before pixels that cannot: an answer, not an error."""
    look_at(studio, made(studio, 1))

    def broken(_: bytes) -> Image.Image:
        raise images.ImageRejected("unreadable", "its pixels are broken")

    monkeypatch.setattr(images, "decode", broken)
    assert seen(studio, png(drawn(99))).verdict == "foreign"
