"""The builders' graphs keep their structure, share what is equal, and refuse what no worker should be paid for."""

import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from workflows.base_image import base_image
from workflows.character_sheet import SheetImage, character_sheet
from workflows.errors import WorkflowError
from workflows.examples import examples, option_examples
from workflows.face_swap import face_swap
from workflows.lora_generation import lora_generation
from workflows.models import files_for, model_files
from workflows.precision import in_fp32
from workflows.requests import ImageRequest
from workflows.schema import validate
from workflows.versions import WORKFLOW_VERSIONS

Prompt = dict[str, Any]
GOOD: dict[str, Any] = {"prompt": "a woman", "negative": "blur", "seed": 7, "width": 512, "height": 768}

# Structure of each workflow's examples under the version that made it. A builder that changed on purpose gets a new
# number in workflows/versions.py, and the new digest here.
STRUCTURES = {
    ("base-image", "1"): "2e3460cdbd4d892c",
    ("character-sheet", "1"): "3eae6dfa2ba5f801",
    ("face-swap", "1"): "4724bbb838b29d16",
    ("lora-generation", "1"): "25f2a45430e55106",
}
STYLE = "face-swap/flux-dev-ip-adapter"
OPTIONS = {
    STYLE: "612067e7ddee841b",
    "lora-generation/flux-dev-clip": "5e6b274f021d1721",
    "base-image/flux-dev-fp32-vae": "ca49e455cba07459",
}  # what no stage runs has no version of its own


def request(prefix: str = "alice/front", **changes: Any) -> ImageRequest:
    """A good request, with changes."""
    return ImageRequest(**{**GOOD, "prefix": prefix, **changes})


def view(prefix: str = "alice/front", **changes: Any) -> SheetImage:
    """A good sheet view, with changes."""
    return SheetImage(**{**GOOD, "prefix": prefix, **changes})


def classes(prompt: Prompt) -> Counter[str]:
    """How many nodes of each class a graph has."""
    return Counter(node["class_type"] for node in prompt.values())


def source(prompt: Prompt, node: dict[str, Any], name: str) -> dict[str, Any]:
    """The node that an input is linked to."""
    found: dict[str, Any] = prompt[node["inputs"][name][0]]
    return found


def only(prompt: Prompt, class_type: str) -> dict[str, Any]:
    """The one node of that class."""
    (found,) = (node_id for node_id, node in prompt.items() if node["class_type"] == class_type)
    node: dict[str, Any] = prompt[found]
    return node


def structure(workflow: str) -> str:
    """A digest of all examples of a workflow."""
    return digest({label: prompt for label, prompt in examples().items() if label.startswith(f"{workflow}/")})


def digest(found: Any) -> str:
    """The short name of some JSON."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("workflow", list(WORKFLOW_VERSIONS))
def test_changed_builder_needs_a_new_version(workflow: str) -> None:
    """A graph that changed under an old version number would make old fingerprints lie."""
    assert structure(workflow) == STRUCTURES[workflow, WORKFLOW_VERSIONS[workflow]]


def test_option_changes_on_purpose_only() -> None:
    """An option's graph is nobody's fingerprint yet; its digest is pinned all the same."""
    assert {label: digest(prompt) for label, prompt in option_examples().items()} == OPTIONS


def test_precision_changes_the_vae_loader_alone() -> None:
    """Every other node, its id and its links stay; the graph that was given is left as it was."""
    prompt = face_swap([request()], reference_image="reference.png")
    exact = in_fp32(prompt)
    changed = {node_id for node_id in prompt if prompt[node_id] != exact[node_id]}
    assert [prompt[node_id]["class_type"] for node_id in changed] == ["VAELoader"]
    [node] = [exact[node_id] for node_id in changed]
    assert node["class_type"] == "VAELoaderKJ"
    assert node["inputs"] == {"vae_name": "ae.safetensors", "device": "main_device", "weight_dtype": "fp32"}
    assert validate(exact) == []


def test_three_seeds_share_loaders_and_texts() -> None:
    """Three base images are three samplers over one set of loaders, texts and canvas."""
    prompt = base_image("flux-dev", [request(f"alice/{seed}", seed=seed) for seed in (1, 2, 3)])
    assert classes(prompt) == {
        "UNETLoader": 1,
        "VAELoader": 1,
        "DualCLIPLoader": 1,
        "CLIPTextEncode": 2,
        "FluxGuidance": 1,
        "EmptySD3LatentImage": 1,
        "KSampler": 3,
        "VAEDecode": 3,
        "SaveImage": 3,
    }


def test_each_prefix_saves_its_own_seed() -> None:
    """Following the wires back from a prefix ends at the seed and text that were asked for under it."""
    wanted = {f"alice/{seed}": (seed, f"text {seed % 2}") for seed in (11, 12, 13)}
    prompt = base_image("flux-dev", [request(p, seed=s, prompt=t) for p, (s, t) in wanted.items()])
    found = {}
    for node in prompt.values():
        if node["class_type"] == "SaveImage":
            sampler = source(prompt, source(prompt, node, "images"), "samples")
            text = source(prompt, source(prompt, sampler, "positive"), "conditioning")
            found[node["inputs"]["filename_prefix"]] = (sampler["inputs"]["seed"], text["inputs"]["text"])
    assert found == wanted


def test_flux_is_sampled_as_a_distilled_model() -> None:
    """Cfg 1 with FluxGuidance: the original product's cfg 7 burnt its pictures."""
    prompt = base_image("flux-dev", [request()], guidance=2.5, steps=24)
    sampler = only(prompt, "KSampler")["inputs"]
    assert (sampler["cfg"], sampler["sampler_name"], sampler["scheduler"]) == (1.0, "euler", "simple")
    assert sampler["steps"] == 24
    assert only(prompt, "FluxGuidance")["inputs"]["guidance"] == 2.5


def test_zimage_is_sampled_as_a_turbo_model() -> None:
    """Eight steps, res_multistep, shift 3, an emptied negative, and the lumina2 encoder."""
    prompt = base_image("zimage-turbo", [request()])
    sampler = only(prompt, "KSampler")
    assert (sampler["inputs"]["steps"], sampler["inputs"]["cfg"]) == (8, 1.0)
    assert (sampler["inputs"]["sampler_name"], sampler["inputs"]["scheduler"]) == ("res_multistep", "simple")
    assert source(prompt, sampler, "model")["inputs"]["shift"] == 3.0
    assert source(prompt, sampler, "negative")["class_type"] == "ConditioningZeroOut"
    assert only(prompt, "CLIPLoader")["inputs"]["type"] == "lumina2"


def test_sheet_analyses_the_face_once() -> None:
    """Ten views load PuLID, its encoders, the pose net and the reference once."""
    views = [view(f"alice/{n}", seed=n, prompt=f"view {n}", pose=f"pose-{n}.png") for n in range(10)]
    found = classes(character_sheet(views, reference_image="base.png"))
    for class_type in (
        "PulidFluxModelLoader",
        "PulidFluxEvaClipLoader",
        "PulidFluxInsightFaceLoader",
        "ApplyPulidFlux",
        "ControlNetLoader",
        "UNETLoader",
    ):
        assert found[class_type] == 1, class_type
    assert found["LoadImage"] == 11
    assert found["ControlNetApplyAdvanced"] == 10


def test_sheet_wires_face_and_pose_into_the_sampler() -> None:
    """The original product's PuLID and ControlNet fed nothing: here the sampler hangs on both."""
    prompt = character_sheet([view(pose="pose.png", identity_weight=0.9)], reference_image="base.png")
    sampler = only(prompt, "KSampler")
    identity = source(prompt, sampler, "model")
    assert identity["class_type"] == "ApplyPulidFlux"
    assert (identity["inputs"]["weight"], identity["inputs"]["start_at"]) == (0.9, 0.1)
    assert source(prompt, identity, "image")["inputs"]["image"] == "base.png"
    net = source(prompt, sampler, "positive")
    assert net is source(prompt, sampler, "negative")
    assert (net["inputs"]["strength"], net["inputs"]["end_percent"]) == (0.7, 0.65)
    assert source(prompt, net, "vae")["class_type"] == "VAELoader"
    assert source(prompt, net, "image")["inputs"]["image"] == "pose.png"


def test_view_without_pose_loads_no_pose_net() -> None:
    """No pose, no net: nothing is loaded for nobody."""
    found = classes(character_sheet([view()], reference_image="base.png"))
    assert found["ControlNetLoader"] == found["ControlNetApplyAdvanced"] == 0


def test_unlike_identity_weights_are_not_shared() -> None:
    """Two weights are two patched models over the same loaders."""
    views = [view("alice/a", identity_weight=0.95), view("alice/b", identity_weight=0.5)]
    found = classes(character_sheet(views, reference_image="base.png"))
    assert (found["ApplyPulidFlux"], found["PulidFluxModelLoader"]) == (2, 1)


def test_face_swap_uses_pulid_at_its_own_weight() -> None:
    """Scenes hang on one PuLID at 0.8."""
    prompt = face_swap([request("alice/a"), request("alice/b", seed=8)], reference_image="base.png")
    assert only(prompt, "ApplyPulidFlux")["inputs"]["weight"] == 0.8
    assert all(
        source(prompt, node, "model")["class_type"] == "ApplyPulidFlux"
        for node in prompt.values()
        if node["class_type"] == "KSampler"
    )


def test_style_is_never_chosen_silently() -> None:
    """Without the word `ip_adapter` no graph of ours holds the adapter, and its default is PuLID's graph."""
    assert all(not classes(prompt)["ApplyIPAdapterFlux"] for prompt in examples().values())
    named = face_swap([request()], reference_image="base.png", identity_method="pulid")
    assert named == face_swap([request()], reference_image="base.png")


def test_style_stands_in_place_of_the_face() -> None:
    """Both replace Flux's forward function: a graph with both would run one of them, and not say which."""
    images = [request("alice/a"), request("alice/b", seed=8)]
    prompt = face_swap(
        images, reference_image="base.png", identity_method="ip_adapter", identity_weight=0.6, start_at=0.2
    )
    assert not [name for name in classes(prompt) if "Pulid" in name]
    style = only(prompt, "ApplyIPAdapterFlux")
    assert (style["inputs"]["weight"], style["inputs"]["start_percent"], style["inputs"]["end_percent"]) == (
        0.6,
        0.2,
        1.0,
    )
    assert source(prompt, style, "image")["inputs"]["image"] == "base.png"
    assert source(prompt, style, "ipadapter_flux")["inputs"]["ipadapter"] == "ip-adapter.bin"
    assert source(prompt, style, "model")["class_type"] == "UNETLoader"
    samplers = [node for node in prompt.values() if node["class_type"] == "KSampler"]
    assert [source(prompt, node, "model")["class_type"] for node in samplers] == ["ApplyIPAdapterFlux"] * 2


@pytest.mark.parametrize("label", [STYLE])
def test_option_s_graph_is_valid_where_its_files_are(label: str) -> None:
    """The stored node list takes it; a server without its files refuses it before anything is paid."""
    prompt = option_examples()[label]
    assert validate(prompt) == []
    present: dict[str, set[str]] = {"input": {"reference.png"}}
    for model in model_files():
        present.setdefault(model.folder, set()).add(model.file)
    assert [(p.type, p.class_type) for p in validate(prompt, files=present)] == [
        ("value_not_in_list", "IPAdapterFluxLoader")
    ]
    present["ipadapter-flux"] = {"ip-adapter.bin"}
    assert validate(prompt, files=present) == []


def test_lora_with_clip_reaches_the_texts_too() -> None:
    """Asked for by a clip strength: one LoraLoader, whose text encoder every prompt goes through."""
    prompt = lora_generation("flux-dev", [request()], lora_name="alice.safetensors", strength=0.9, clip_strength=0.7)
    loader = only(prompt, "LoraLoader")
    assert (loader["inputs"]["strength_model"], loader["inputs"]["strength_clip"]) == (0.9, 0.7)
    texts = [node for node in prompt.values() if node["class_type"] == "CLIPTextEncode"]
    assert [source(prompt, node, "clip")["class_type"] for node in texts] == ["LoraLoader"] * len(texts)
    assert validate(prompt) == []
    with pytest.raises(WorkflowError, match="clip_strength"):
        lora_generation("flux-dev", [request()], lora_name="alice.safetensors", clip_strength=2.5)


@pytest.mark.parametrize("base_model", ["flux-dev", "zimage-turbo"])
def test_lora_reaches_the_sampler(base_model: Any) -> None:
    """The LoRA was once dropped from the original product without any test noticing."""
    prompt = lora_generation(base_model, [request()], lora_name="loras-of/alice.safetensors", strength=0.8)
    node = only(prompt, "KSampler")
    while node["class_type"] != "LoraLoaderModelOnly":
        node = source(prompt, node, "model")
    assert node["inputs"]["lora_name"] == "loras-of/alice.safetensors"
    assert node["inputs"]["strength_model"] == 0.8
    assert source(prompt, node, "model")["class_type"] == "UNETLoader"


def test_rating_changes_the_unet_file_alone() -> None:
    """Nsfw is another file of the same loader class; everything else stays."""
    sfw, nsfw = (base_image("flux-dev", [request()], rating=rating) for rating in ("sfw", "nsfw"))
    assert only(nsfw, "UNETLoader")["inputs"]["unet_name"] == "flux1-dev-nsfw.safetensors"
    only(nsfw, "UNETLoader")["inputs"]["unet_name"] = only(sfw, "UNETLoader")["inputs"]["unet_name"]
    assert sfw == nsfw


def test_equal_calls_give_equal_graphs() -> None:
    """A fingerprint is made of the graph: no clock, no chance in it."""
    assert examples() == examples()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": -1}, "images[0].seed"),
        ({"seed": 2**53}, "images[0].seed"),
        ({"seed": 5.0}, "images[0].seed"),
        ({"seed": True}, "images[0].seed"),
        ({"width": 250}, "images[0].width"),
        ({"width": 1000}, "images[0].width"),
        ({"height": 4096}, "images[0].height"),
        ({"prompt": "  "}, "images[0].prompt"),
        ({"prefix": "Alice"}, "images[0].prefix"),
        ({"prefix": "../alice"}, "images[0].prefix"),
        ({"prefix": "/alice"}, "images[0].prefix"),
        ({"prefix": "alice/"}, "images[0].prefix"),
        ({"prefix": "alice_1"}, "images[0].prefix"),
        ({"prefix": "a" * 151}, "images[0].prefix"),
        ({"prefix": ""}, "images[0].prefix"),
    ],
)
def test_request_out_of_range_is_refused(changes: dict[str, Any], field: str) -> None:
    """Each range of a request is kept, and the error names field, value and way out."""
    with pytest.raises(WorkflowError) as caught:
        base_image("flux-dev", [request(**changes)])
    assert caught.value.field == field
    assert caught.value.way_out


def test_shared_prefix_is_refused() -> None:
    """Two images under one prefix could not be told apart in the result."""
    with pytest.raises(WorkflowError, match="twice") as caught:
        base_image("flux-dev", [request(), request(seed=8)])
    assert caught.value.field == "images[1].prefix"


def test_empty_request_is_refused() -> None:
    """A graph without images costs a cold start for nothing."""
    with pytest.raises(WorkflowError, match="empty"):
        base_image("flux-dev", [])


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: base_image("sdxl", [request()]), "base_model"),  # type: ignore[arg-type]
        (lambda: base_image("zimage-turbo", [request()], rating="nsfw"), "rating"),
        (lambda: base_image("flux-dev", [request()], rating="x"), "rating"),  # type: ignore[arg-type]
        (lambda: base_image("zimage-turbo", [request()], guidance=3.5), "guidance"),
        (lambda: base_image("flux-dev", [request()], guidance=11), "guidance"),
        (lambda: base_image("flux-dev", [request()], steps=0), "steps"),
        (lambda: base_image("flux-dev", [request()], steps=200), "steps"),
        (lambda: character_sheet([view(pose="../x.png")], reference_image="a.png"), "images[0].pose"),
        (lambda: character_sheet([view(start_at=1.0)], reference_image="a.png"), "images[0].start_at"),
        (lambda: character_sheet([view(identity_weight=3)], reference_image="a.png"), "images[0].identity_weight"),
        (lambda: face_swap([request()], reference_image="https://x/a.png"), "reference_image"),
        (lambda: face_swap([request()], reference_image="a.png [output]"), "reference_image"),
        (lambda: face_swap([request()], reference_image="a.png", identity_weight=float("nan")), "identity_weight"),
        (lambda: face_swap([request()], reference_image="a.png", identity_method="faceid"), "identity_method"),  # type: ignore[arg-type]
        (
            lambda: face_swap([request()], reference_image="a.png", identity_method="ip_adapter", identity_weight=2.0),
            "identity_weight",
        ),
        (lambda: lora_generation("flux-dev", [request()], lora_name="a.pt"), "lora_name"),
        (lambda: lora_generation("flux-dev", [request()], lora_name="/a.safetensors"), "lora_name"),
        (lambda: lora_generation("flux-dev", [request()], lora_name="a.safetensors", strength=2.5), "strength"),
    ],
)
def test_impossible_workflow_is_refused(build: Any, field: str) -> None:
    """What a base model, a node or a file name cannot take is an error, never a silent default."""
    with pytest.raises(WorkflowError) as caught:
        build()
    assert caught.value.field == field
    assert caught.value.as_dict()["way_out"]


def test_models_say_where_they_come_from_and_what_they_allow() -> None:
    """Every file has a source, a licence, a verdict on paid use, and workflows that exist."""
    for model in model_files(options=True):
        assert model.repository, model.file
        assert model.licence, model.file
        assert model.commercial in ("yes", "no", "ask"), model.file
        assert model.base_model in ("flux-dev", "zimage-turbo", "any"), model.file
        assert set(model.workflows) <= set(WORKFLOW_VERSIONS), model.file
        assert set(model.ratings) <= {"sfw", "nsfw"}, model.file
    everything = model_files(options=True)
    assert len({(model.folder, model.file) for model in everything}) == len(everything)


def test_option_s_files_are_nobody_s_lack() -> None:
    """A worker is asked for what the pipeline runs; the adapter is listed with its licence, for who wants it."""
    extra = {model.file: model for model in model_files(options=True) if model not in model_files()}
    assert extra.keys() == {"ip-adapter.bin", "google/siglip-so400m-patch14-384"}
    assert extra["ip-adapter.bin"].commercial == "ask"
    assert {model.option for model in extra.values()} == {"ip_adapter"}
    assert not extra.keys() & {model.file for model in files_for("face-swap")}


def test_files_are_listed_for_the_model_that_is_used() -> None:
    """A Z-Image worker needs no Flux file, and a paid product sees that the face analysis is not for sale."""
    names = {model.file for model in files_for("base-image", base_model="zimage-turbo", rating="sfw")}
    assert names == {"z_image_turbo_bf16.safetensors", "qwen_3_4b.safetensors", "ae.safetensors"}
    assert "no" in {model.commercial for model in files_for("face-swap")}
    with pytest.raises(WorkflowError, match="unknown"):
        files_for("nothing")
