"""Executing graphs: what would draw the wrong person, hide a failure, or not be repeatable."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resources.gpu.backends.preview import lora
from resources.gpu.backends.preview.interpreter import Drawn, ExecutionError, IdentityBook, run_workflow
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.nodes import NODES
from resources.gpu.backends.preview.render import render
from resources.images import pixels_sha256
from workflows.examples import examples

LEXICON = {"phrases": [{"phrase": "man", "set": {"gender": "male"}}, {"phrase": "night", "set": {"light": "night"}}]}
Graph = dict[str, dict[str, Any]]


def graph(text: str = "a man", *, seed: int = 5, size: int = 256, batch: int = 1) -> Graph:
    """The smallest Flux graph: loader, text, latent, sampler, decoder, saver."""

    def entry(class_type: str, **inputs: object) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "1": entry("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": entry("DualCLIPLoader", clip_name1="a", clip_name2="b", type="flux"),
        "3": entry("CLIPTextEncode", text=text, clip=["2", 0]),
        "4": entry("ConditioningZeroOut", conditioning=["3", 0]),
        "5": entry("EmptySD3LatentImage", width=size, height=size, batch_size=batch),
        "6": entry("KSampler", model=["1", 0], seed=seed, steps=8, cfg=1.0, sampler_name="euler", scheduler="simple",
                   positive=["3", 0], negative=["4", 0], latent_image=["5", 0], denoise=1.0),
        "7": entry("VAELoader", vae_name="ae"),
        "8": entry("VAEDecode", samples=["6", 0], vae=["7", 0]),
        "9": entry("SaveImage", images=["8", 0], filename_prefix="test/1"),
    }  # fmt: skip


def with_model_node(prompt: Graph, class_type: str, **inputs: object) -> Graph:
    """The graph with one more node between loader and sampler."""
    prompt["20"] = {"class_type": class_type, "inputs": {"model": ["1", 0], **inputs}}
    prompt["6"]["inputs"]["model"] = ["20", 0]
    return prompt


def with_pulid(prompt: Graph, weight: float = 1.0) -> Graph:
    prompt["21"] = {"class_type": "LoadImage", "inputs": {"image": "ref.png"}}
    return with_model_node(
        prompt, "ApplyPulidFlux", pulid_flux="p", eva_clip="e", face_analysis="f", image=["21", 0],
        weight=weight, start_at=0.0, end_at=1.0,
    )  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> IdentityBook:
    """An empty book."""
    return IdentityBook(tmp_path)


def run(
    prompt: Graph, book: IdentityBook, files: Mapping[str, bytes] = {}, loras: Mapping[str, bytes] = {}
) -> list[Drawn]:
    return run_workflow(prompt, files=files, loras=loras, book=book, lexicon=LEXICON)


def test_the_same_graph_draws_another_picture(book: IdentityBook) -> None:
    """Equal graphs give equal pixels and bytes; renamed ids and titles change nothing; another seed does."""
    first, again = run(graph(), book)[0], run(graph(), book)[0]
    assert first.png == again.png
    assert (first.node_id, first.filename_prefix, first.index) == ("9", "test/1", 0)
    assert run(graph(seed=6), book)[0].pixels_sha256 != first.pixels_sha256


def test_the_picture_is_not_the_one_in_the_book(book: IdentityBook) -> None:
    """The book's hash is that of the decoded PNG, and the person is the one who was drawn."""
    drawn = run(graph(), book)[0]
    with Image.open(io.BytesIO(drawn.png)) as image:
        assert image.info["Software"] == "procedural preview"
        assert pixels_sha256(image.convert("RGB")) == drawn.pixels_sha256
    assert book.get(drawn.pixels_sha256) == drawn.identity
    assert drawn.identity is not None
    assert not drawn.identity.is_female


def test_a_batch_repeats_one_picture(book: IdentityBook) -> None:
    """The first of a batch is the picture of a single run; the others differ; each is announced."""
    heard: list[int] = []
    drawn = run_workflow(graph(batch=2), files={}, loras={}, book=book, lexicon=LEXICON, on_image=heard.append)
    assert [one.index for one in drawn] == [0, 1]
    assert drawn[0].pixels_sha256 == run(graph(), book)[0].pixels_sha256
    assert drawn[0].pixels_sha256 != drawn[1].pixels_sha256
    assert heard == [1, 2]


def test_pulid_accepts_a_face_that_was_uploaded(book: IdentityBook) -> None:
    """A picture that the preview did not draw is refused as an unknown reference, with node and class."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 80, 70)).save(stream, "PNG")
    with pytest.raises(ExecutionError, match="unknown reference") as caught:
        run(with_pulid(graph()), book, files={"ref.png": stream.getvalue()})
    assert caught.value.as_dict()["node_id"] == "20"
    assert caught.value.as_dict()["node_type"] == "ApplyPulidFlux"


def test_scaling_the_reference_loses_the_person(book: IdentityBook) -> None:
    """A known picture stays known through ImageScale."""
    reference = run(graph(), book)[0]
    prompt = with_pulid(graph(seed=77))
    prompt["22"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["21", 0], "upscale_method": "lanczos", "width": 128, "height": 96, "crop": "center"},
    }
    prompt["20"]["inputs"]["image"] = ["22", 0]
    drawn = run(prompt, book, files={"ref.png": reference.png})[0]
    assert drawn.identity is not None
    assert reference.identity is not None
    assert abs(drawn.identity.nose_length - reference.identity.nose_length) < 0.04


def test_a_lora_of_another_base_model_has_an_effect(book: IdentityBook) -> None:
    """As in ComfyUI the run succeeds, and the pixels are those without any LoRA."""
    plain = run(graph(), book)[0]
    data = lora.train(
        [plain.png], book=book, base_model="zimage-turbo", trigger="ohwx", steps=500, on_progress=lambda *_: None
    )
    prompt = with_model_node(graph(), "LoraLoaderModelOnly", lora_name="a.safetensors", strength_model=1.0)
    assert run(prompt, book, loras={"a.safetensors": data})[0].pixels_sha256 == plain.pixels_sha256
    with pytest.raises(ExecutionError, match=r"lora_name 'a.safetensors' is not among the LoRAs here: none"):
        run(prompt, book)


def test_a_pose_net_without_vae_runs(book: IdentityBook) -> None:
    """The sampler fails with ComfyUI's sentence when the ControlNet has no VAE."""
    prompt = graph()
    stream = io.BytesIO()
    render(run(graph(), book)[0].identity, Look(), 256, 256).save(stream, "PNG")  # type: ignore[arg-type]
    prompt["30"] = {"class_type": "LoadImage", "inputs": {"image": "pose.png"}}
    prompt["31"] = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["3", 0], "negative": ["4", 0], "control_net": "c", "image": ["30", 0], "strength": 0.7},
    }
    prompt["6"]["inputs"] |= {"positive": ["31", 0], "negative": ["31", 1]}
    with pytest.raises(ExecutionError, match="needs a VAE but none was provided"):
        run(prompt, book, files={"pose.png": stream.getvalue()})
    prompt["31"]["inputs"]["vae"] = ["7", 0]
    assert run(prompt, book, files={"pose.png": stream.getvalue()})


def broken(change: str) -> Graph:
    prompt = graph()
    if change == "unknown class":
        prompt["8"]["class_type"] = "VAEDecodeTiled9"
    elif change == "missing input":
        del prompt["6"]["inputs"]["seed"]
    elif change == "missing node":
        prompt["6"]["inputs"]["model"] = ["99", 0]
    elif change == "missing slot":
        prompt["6"]["inputs"]["model"] = ["1", 3]
    elif change == "circle":
        prompt["3"]["inputs"]["clip"] = ["8", 0]
    elif change == "no output":
        del prompt["9"]
    else:
        prompt["5"]["inputs"]["width"] = 250
    return prompt


@pytest.mark.parametrize(
    ("change", "node_id", "kind"),
    [
        ("unknown class", "8", "missing_node_type"),
        ("missing input", "6", "required_input_missing"),
        ("missing node", "6", "bad_linked_input"),
        ("missing slot", "6", "bad_linked_input"),
        ("circle", "8", "dependency_cycle"),
        ("no output", "", "prompt_no_outputs"),
        ("odd width", "8", "ValueError"),
    ],
)
def test_a_broken_graph_fails_without_saying_where(book: IdentityBook, change: str, node_id: str, kind: str) -> None:
    """Each failure names its node and its kind."""
    with pytest.raises(ExecutionError) as caught:
        run(broken(change), book)
    assert (caught.value.node_id, caught.value.exception_type) == (node_id, kind)


def test_our_own_workflows_use_a_node_that_is_unknown() -> None:
    """Every node class of every example workflow is in the registry."""
    used = {node["class_type"] for prompt in examples().values() for node in prompt.values()}
    assert used - {"SaveImage"} <= NODES.keys()
