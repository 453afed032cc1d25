"""What goes wrong when code and canvas drift apart: each edit is told at its node, and nothing else is."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflows.character_sheet import SheetImage, character_sheet
from workflows.convert import convert
from workflows.errors import WorkflowError
from workflows.examples import examples
from workflows.parity import Difference, check_template, check_templates, difference
from workflows.templates import TEMPLATES, export, write_templates

Ui = dict[str, Any]
Edit = Callable[[Ui], None]


def node(ui: Ui, title: str) -> Ui:
    """The node of that title."""
    found: Ui = next(n for n in ui["nodes"] if n["title"] == title)
    return found


def put(title: str, place: int, value: Any) -> Edit:
    """Change one widget."""
    return lambda ui: node(ui, title)["widgets_values"].__setitem__(place, value)


def mode(title: str, number: int) -> Edit:
    """Mute (2) or bypass (4) a node."""
    return lambda ui: node(ui, title).update(mode=number)


def wire(title: str, name: str, source: str | None, slot: int = 0) -> Edit:
    """Link an input to another node, or to none."""

    def edit(ui: Ui) -> None:
        target = node(ui, title)
        socket = next(i for i in target["inputs"] if i["name"] == name)
        if source is None:
            socket["link"] = None
            return
        socket["link"] = ui["last_link_id"] = ui["last_link_id"] + 1
        ui["links"].append([socket["link"], node(ui, source)["id"], slot, target["id"], 0, socket["type"]])

    return edit


def add(title: str, like: Ui, **changes: Any) -> Edit:
    """Add a node."""

    def edit(ui: Ui) -> None:
        ui["last_node_id"] += 1
        ui["nodes"].append(json.loads(json.dumps({**like, "id": ui["last_node_id"], "title": title, **changes})))

    return edit


def remove(title: str) -> Edit:
    """Delete a node."""
    return lambda ui: ui["nodes"].remove(node(ui, title))


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(ui: Ui) -> None:
        for one in edits:
            one(ui)

    return edit


LORA = node(export("lora-generation"), "Character LoRA")
ZERO: Ui = {
    "type": "ConditioningZeroOut",
    "mode": 0,
    "inputs": [{"name": "conditioning", "type": "CONDITIONING", "link": None}],
    "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING"}],
    "widgets_values": [],
}
FREE_NAMES = {"text", "seed", "filename_prefix", "image", "lora_name"}
SAMPLERS = [f"Sample example/{n}" for n in (1, 2, 3)]

# name, template, edit, (kind, class, title, input) of each difference that must be told, and no other
EDITS: list[tuple[str, str, Edit, set[tuple[str, str, str, str]]]] = [
    ("guidance", "face-swap", put("Guidance", 0, 2.5), {("input", "FluxGuidance", "Guidance", "guidance")}),
    ("steps of one", "face-swap", put(SAMPLERS[1], 2, 30), {("input", "KSampler", SAMPLERS[1], "steps")}),
    ("sampler", "base-image-generation", put(SAMPLERS[0], 4, "heun"),
     {("input", "KSampler", SAMPLERS[0], "sampler_name")}),
    ("model file", "base-image-generation", put("Base model", 0, "flux1-dev-nsfw.safetensors"),
     {("input", "UNETLoader", "Base model", "unet_name")}),
    ("a default changed", "lora-generation", put("Text encoders", 3, "cpu"),
     {("input", "DualCLIPLoader", "Text encoders", "device")}),
    ("identity weight", "face-swap", put("Identity", 0, 1.0), {("input", "ApplyPulidFlux", "Identity", "weight")}),
    ("batch size is not free", "face-swap", put("Canvas", 2, 4),
     {("input", "EmptySD3LatentImage", "Canvas", "batch_size")}),
    ("LoRA strength", "lora-generation", put("Character LoRA", 1, 0.5),
     {("input", "LoraLoaderModelOnly", "Character LoRA", "strength_model")}),
    ("identity bypassed", "face-swap", mode("Identity", 4),
     {("missing_node", "ApplyPulidFlux", "Identity", ""), *(("input", "KSampler", s, "model") for s in SAMPLERS)}),
    ("guidance muted", "base-image-generation", mode("Guidance", 2),
     {("missing_node", "FluxGuidance", "Guidance", ""), *(("input", "KSampler", s, "positive") for s in SAMPLERS)}),
    ("one sampler rewired", "base-image-generation", wire(SAMPLERS[2], "positive", "Negative prompt"),
     {("input", "KSampler", SAMPLERS[2], "positive")}),
    ("wrong slot", "character-sheet", wire("Sample example/front", "negative", "Pose control", 0),
     {("input", "KSampler", "Sample example/front", "negative")}),
    ("pose net without its vae", "character-sheet", both(wire("Pose control", "vae", None)),
     {("input", "ControlNetApplyAdvanced", "Pose control", "vae")}),
    ("pose strength of one view", "character-sheet", put("Pose control", 0, 0.9),
     {("input", "ControlNetApplyAdvanced", "Pose control", "strength")}),
    ("a LoRA added", "face-swap",
     both(add("Style", LORA), wire("Style", "model", "Base model"), wire("Identity", "model", "Style")),
     {("extra_node", "LoraLoaderModelOnly", "Style", ""), ("input", "ApplyPulidFlux", "Identity", "model")}),
    ("negative of another class", "base-image-generation",
     both(add("Zero", ZERO), wire("Zero", "conditioning", "Prompt"),
          *(wire(s, "negative", "Zero") for s in SAMPLERS), remove("Negative prompt")),
     {("extra_node", "ConditioningZeroOut", "Zero", ""), ("missing_node", "CLIPTextEncode", "Negative prompt", ""),
      *(("input", "KSampler", s, "negative") for s in SAMPLERS)}),
    ("a picture less", "face-swap", remove("Save example/3"), {("missing_node", "SaveImage", "Save example/3", "")}),
]  # fmt: skip


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_template_says_what_the_builder_says(name: str) -> None:
    """The four committed files, converted by the frontend's rules, are the builders' graphs."""
    assert check_template(name) == []


@pytest.mark.parametrize(("template", "edit", "wanted"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_edit_is_told_at_its_node(template: str, edit: Edit, wanted: set[tuple[str, str, str, str]]) -> None:
    """Somebody changed one thing in ComfyUI and exported again: exactly that is named."""
    ui = export(template)
    edit(ui)
    found = difference(examples()[TEMPLATES[template]], convert(ui))
    assert {(one.kind, one.class_type, one.title, one.input) for one in found} == wanted
    assert len(found) == len(wanted)


def test_difference_shows_both_values() -> None:
    """The sentence holds class, title, id, input, and what each side says; links are told by their source."""
    ui = export("face-swap")
    both(put("Guidance", 0, 2.5), mode("Identity", 4))(ui)
    told = [str(one) for one in difference(examples()["face-swap/flux-dev"], convert(ui))]
    assert "FluxGuidance 'Guidance' #10, guidance: builder 3.5, template 2.5" in told
    assert any(
        line.endswith("model: builder <- ApplyPulidFlux 'Identity'[0], template <- UNETLoader 'Base model'[0]")
        for line in told
    )
    assert any(line.startswith("ApplyPulidFlux 'Identity'") and "only the builder" in line for line in told)


def test_what_a_job_sets_is_free() -> None:
    """Texts, seed, size, prefix, picture and LoRA file may stand in a template as somebody left them."""
    ui = export("lora-generation")
    edits = [
        put("Prompt", 0, "other"), put(SAMPLERS[0], 0, 99), put("Canvas", 0, 832), put("Canvas", 1, 1216),
        put("Save example/2", 0, "mine"), put("Character LoRA", 0, "other.safetensors"),
    ]  # fmt: skip
    both(*edits)(ui)
    assert difference(examples()["lora-generation/flux-dev"], convert(ui)) == []


@pytest.mark.parametrize("label", list(examples()))
def test_ids_order_and_titles_mean_nothing(label: str) -> None:
    """A graph with other ids, in another order, without titles and with other free values is the same graph."""
    prompt = examples()[label]
    chance = random.Random(label)
    ids = [f"9:{n}" for n in range(len(prompt))]
    chance.shuffle(ids)
    new = dict(zip(prompt, ids, strict=True))
    other = {}
    for node_id in chance.sample(list(prompt), len(prompt)):
        inputs = {k: [new[v[0]], v[1]] if isinstance(v, list) else v for k, v in prompt[node_id]["inputs"].items()}
        literals = {key for key, value in inputs.items() if not isinstance(value, list)}
        inputs |= {key: chance.randrange(100) for key in FREE_NAMES & literals}
        other[new[node_id]] = {"class_type": prompt[node_id]["class_type"], "inputs": inputs}
    assert difference(prompt, other) == []
    assert difference(other, prompt) == []


def test_swapped_views_are_found_again() -> None:
    """Views that differ only far above (a weight, a missing pose) are matched by what stands there, not by place."""
    views = [
        SheetImage(f"a/{n}", "a woman", "", n, 512, 512, pose=None if n == 2 else f"p{n}.png", identity_weight=w)
        for n, w in enumerate([0.5, 0.7, 0.7, 0.9])
    ]
    one, other = (character_sheet(v, reference_image="r.png") for v in (views, views[::-1]))
    for prompt in (one, other):
        for found in prompt.values():
            del found["_meta"]
    assert difference(one, other) == []


def test_numbers_are_compared_by_value() -> None:
    """ComfyUI saves 1.0 as 1; true is no number."""
    prompt = examples()["base-image/flux-dev"]
    other = json.loads(json.dumps(prompt).replace("1.0", "1"))
    assert difference(prompt, other) == []
    next(n for n in other.values() if n["class_type"] == "KSampler")["inputs"]["cfg"] = True
    assert [one.input for one in difference(prompt, other)] == ["cfg"]


def test_circle_is_compared_to_the_end() -> None:
    """A graph that feeds itself is different, and does not hang."""
    prompt = examples()["base-image/flux-dev"]
    other = json.loads(json.dumps(prompt))
    sampler = next(k for k, n in other.items() if n["class_type"] == "KSampler")
    other[sampler]["inputs"]["latent_image"] = [sampler, 0]
    assert [one.input for one in difference(prompt, other)] == ["latent_image"]
    assert difference(other, other) == []


def test_nothing_is_all_missing() -> None:
    """An empty template lacks every node; every node of it is extra the other way round."""
    prompt = examples()["base-image/flux-dev"]
    assert {one.kind for one in difference(prompt, {})} == {"missing_node"}
    assert [one.kind for one in difference({}, prompt)] == ["extra_node"] * len(prompt)


def test_check_reads_the_files(tmp_path: Path) -> None:
    """What counts is the file that somebody exported, and an absent one is an error."""
    write_templates(tmp_path)
    assert check_templates(tmp_path) == {name: [] for name in TEMPLATES}
    ui = export("face-swap")
    put("Guidance", 0, 3)(ui)
    (tmp_path / "face-swap.json").write_text(json.dumps(ui))
    (one,) = check_templates(tmp_path)["face-swap"]
    assert one == Difference("input", "FluxGuidance", "Guidance", "10", "guidance", "3.5", "3")
    assert one.as_dict()["template"] == "3"
    (tmp_path / "face-swap.json").unlink()
    with pytest.raises(WorkflowError, match="export"):
        check_templates(tmp_path)


def test_ten_views_are_compared_quickly() -> None:
    """A full sheet against itself: 12 ms here."""
    views = [SheetImage(f"a/{n}", f"view {n}", "", n, 512, 512, pose=f"p{n}.png") for n in range(10)]
    prompt = character_sheet(views, reference_image="r.png")
    started = time.perf_counter()
    assert difference(prompt, prompt) == []
    assert time.perf_counter() - started < 0.25
