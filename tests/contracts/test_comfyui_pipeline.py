"""The pipeline's images come from a real ComfyUI, and our backend keeps its protocol there.

Runs against the server at COMFYUI_URL with the files of `models.yaml` of any weights; random ones draw noise, so
nothing is accepted and RYLA_GATES=record lets the stages go on. Without the variable everything here is skipped.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.gpu.backend import RemoteStatus, Submission
from resources.gpu.backends.comfyui.backend import ComfyUIBackend
from resources.gpu.errors import InvalidJob
from resources.gpu.job import InputFile, Job, OutputSpec
from resources.images import decode
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.settings import settings
from ryla_assets.studio.studio import Studio
from tests.conftest import MARA
from workflows.examples import POSE_IMAGES, REFERENCE_IMAGE, examples
from workflows.poses.picture import pose_picture
from workflows.poses.skeleton import View

URL = os.environ.get("COMFYUI_URL", "")
DEADLINE = 300.0  # seconds for one graph of small pictures on a slow CPU
WHO = "mara-lind"
SHEET = 7
pytestmark = pytest.mark.skipif(not URL, reason="COMFYUI_URL is not set")


@pytest.fixture
def studio(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio as a deployment's environment makes it, with one active character."""
    environment = {
        "COMFYUI_URL": URL,
        "RYLA_BACKEND": "comfyui",
        "RYLA_GATES": "record",
        "RYLA_IMAGE_PX": "256",
        "RYLA_SHEET_IMAGES": str(SHEET),
        "RYLA_CONTENT_IMAGES": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    home.mkdir()
    built = build_studio(settings())
    built.registry.add_character(parse_character({"id": WHO, "config": MARA}, source="the test"))
    built.registry.activate(WHO)
    yield built
    built.registry.engine.dispose()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that knows the character."""
    with dg.DagsterInstance.ephemeral() as made:
        add_partition(made, WHO)
        yield made


def job(label: str, *, size: int = 256, steps: int = 2) -> Job:
    """An example's graph as a job; an equal call gives an equal graph."""
    graph = examples(size=size, steps=steps, prefix="contract/pipeline")[label]
    saved = [node["inputs"]["filename_prefix"] for node in graph.values() if node["class_type"] == "SaveImage"]
    named = {str(node["inputs"]["image"]) for node in graph.values() if node["class_type"] == "LoadImage"}
    return Job(
        kind="image",
        request=graph,
        outputs=tuple(OutputSpec(name, "image", size, size) for name in saved),
        inputs=tuple(InputFile("input", name, "inputs", "0" * 64) for name in sorted(named)),
        label=label,
    )


def drawn(file: InputFile) -> bytes:
    """The pictures that the examples name."""
    view: View = "side-left" if file.name == POSE_IMAGES[1] else "front"
    return pose_picture(view, "standing", "close-up" if file.name == REFERENCE_IMAGE else "medium", 256, 256)


def submission(wanted: Job) -> Submission:
    """A new attempt at a job."""
    return Submission(str(uuid.uuid4()), wanted.fingerprint("test"), wanted, drawn)


async def ended(backend: ComfyUIBackend, remote_id: str) -> tuple[RemoteStatus, list[float]]:
    """How a prompt ended, and the fractions that were reported on the way."""
    fractions: list[float] = []
    give_up = time.monotonic() + DEADLINE
    while time.monotonic() < give_up:
        status = (await backend.poll([remote_id]))[remote_id]
        if status.state not in ("queued", "running"):
            return status, fractions
        fractions.append(status.progress)
        await asyncio.sleep(0.05)
    pytest.fail(f"no end within {DEADLINE} s")


async def made(backend: ComfyUIBackend, wanted: Job) -> tuple[RemoteStatus, dict[str, bytes], list[float]]:
    """Submit, wait, fetch."""
    remote_id = await backend.submit(submission(wanted))
    status, fractions = await ended(backend, remote_id)
    return status, {output.name: output.data for output in await backend.fetch(remote_id)}, fractions


def step(studio: Studio, instance: dg.DagsterInstance, *assets: str, **config: Any) -> None:
    """One run; its pictures are there whatever its checks say of them."""
    result = materialize(studio, instance, assets, character=None if assets == ("model_files",) else WHO, config=config)
    written = {key.to_user_string() for event in result.get_asset_materialization_events() if (key := event.asset_key)}
    assert written == set(assets), why(result)


def unaccepted(studio: Studio, asset: str) -> ImageSet:
    """The asset's pictures, complete, made by the server, and refused by identity alone."""
    manifest = studio.current(asset, WHO)
    assert isinstance(manifest, ImageSet)
    head = studio.registry.head(asset, WHO)
    assert head is not None
    gates = {gate.claim: gate for gate in studio.registry.gates(asset, WHO, head.current_sha256)}
    assert {claim for claim, gate in gates.items() if not gate.passed and claim != "timing"} == {"identity"}, gates
    assert head.accepted_sha256 is None
    return manifest


def test_image_assets_materialize(studio: Studio, instance: dg.DagsterInstance) -> None:
    """From description to face-swap pictures: all made by the server, none of them accepted, and the rows say so."""
    step(studio, instance, "model_files")
    step(studio, instance, "character", "base_images")
    step(studio, instance, "selected_base_image", selected_base_image={"option": 1, "who": "the test"})
    step(studio, instance, "character_sheet")
    step(studio, instance, "generated_images")
    sheet, pictures = unaccepted(studio, "character_sheet"), unaccepted(studio, "generated_images")
    assert len(sheet.images) == SHEET
    assert len(pictures.images) == 2
    assert (pictures.backend, pictures.render_domain, pictures.route) == ("comfyui", "model", "face_swap")
    everything = [*sheet.images, *pictures.images]
    assert len({image.pixels_sha256 for image in everything}) == len(everything)
    assert sheet.timing.exec_s > 0.1
    assert sheet.timing.cost_usd == 0.0
    assert {a.state for r in everything for a in studio.runner.ledger.attempts(r.job)} == {"succeeded"}


def test_same_graph_gives_its_pictures_again() -> None:
    """A warm server has the whole graph in its cache: a second attempt still gets files, of the same pixels."""
    backend, wanted = ComfyUIBackend(URL), job(next(iter(examples())))

    async def twice() -> tuple[dict[str, bytes], dict[str, bytes]]:
        return (await made(backend, wanted))[1], (await made(backend, wanted))[1]

    first, second = asyncio.run(twice())
    assert len(first) == len(wanted.outputs)
    assert first.keys() == second.keys()
    assert all(decode(first[name]).tobytes() == decode(second[name]).tobytes() for name in first)


def test_progress_is_heard() -> None:
    """The bar moves while the sampler works, and never backwards."""
    status, pictures, fractions = asyncio.run(made(ComfyUIBackend(URL), job(next(iter(examples())), steps=5)))
    assert (status.state, len(pictures) > 0) == ("succeeded", True)
    assert status.exec_s > 0.1
    assert fractions == sorted(fractions)
    assert len({round(fraction, 3) for fraction in fractions}) > 3


def test_cancelled_prompt_stops() -> None:
    """A running prompt is interrupted at its next step, a waiting one leaves the queue."""
    backend = ComfyUIBackend(URL)
    long = job(next(iter(examples())), steps=60)

    async def both() -> list[str]:
        running, waiting = await backend.submit(submission(long)), await backend.submit(submission(long))
        while (await backend.poll([running]))[running].state == "queued":
            await asyncio.sleep(0.05)
        assert running in (await backend.diagnose(waiting, 0.0)).text
        await backend.cancel(waiting)
        await backend.cancel(running)
        return [(await ended(backend, remote_id))[0].state for remote_id in (running, waiting)]

    assert asyncio.run(both()) == ["cancelled", "cancelled"]


def test_refused_graph_is_told_in_the_server_s_words() -> None:
    """What validation would have caught is refused by the server with node, class and input."""
    wanted = job(next(iter(examples())))
    loader = next(node for node in wanted.request.values() if node["class_type"] == "UNETLoader")
    loader["inputs"]["unet_name"] = "no-such-model.safetensors"
    backend = ComfyUIBackend(URL)
    assert [problem["type"] for problem in backend.problems(wanted)] == ["value_not_in_list"]
    with pytest.raises(InvalidJob, match=r"UNETLoader.*unet_name") as caught:
        asyncio.run(backend.submit(submission(wanted)))
    assert {problem["type"] for problem in caught.value.problems} == {"value_not_in_list"}


def test_unknown_attempt_is_never_claimed_to_run() -> None:
    """An attempt that nobody sent is lost at the latest when its state is asked for."""
    backend, nobody = ComfyUIBackend(URL), str(uuid.uuid4())
    assert asyncio.run(backend.poll([nobody]))[nobody].state == "lost"


def test_nothing_is_missing_on_the_server() -> None:
    """Every file that a graph names is in the lists that jobs are validated against."""
    from workflows.models import model_files

    present = ComfyUIBackend(URL).model_files()
    assert [model.file for model in model_files() if model.named and model.file not in present[model.folder]] == []
