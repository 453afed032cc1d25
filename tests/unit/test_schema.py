"""Graphs that a server would refuse, and graphs that it would swallow, are both told apart from good ones."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from workflows.errors import WorkflowError
from workflows.examples import LORA_FILES, POSE_IMAGES, REFERENCE_IMAGE, examples, option_examples
from workflows.lora_file import LoraInfo
from workflows.models import model_files
from workflows.object_info import STORED, node_specs
from workflows.problems import SILENT_TYPES
from workflows.schema import Problem, as_server_error, validate
from workflows.trim import trim

Prompt = dict[str, Any]
Mutation = Callable[[Prompt], None]

FILES = {"input": [REFERENCE_IMAGE, *POSE_IMAGES], "loras": list(LORA_FILES.values())}


def fresh(label: str = "character-sheet/flux-dev") -> Prompt:
    """A good graph to spoil: small and short, since a server is asked about it too."""
    return examples(size=256, steps=2)[label]


def find(prompt: Prompt, class_type: str) -> str:
    """The id of the first node of that class."""
    return next(node_id for node_id, node in prompt.items() if node["class_type"] == class_type)


def put(class_type: str, name: str, value: Any) -> Mutation:
    """A mutation that sets one input of the first node of a class."""

    def mutate(prompt: Prompt) -> None:
        prompt[find(prompt, class_type)]["inputs"][name] = value

    return mutate


def drop(class_type: str, name: str) -> Mutation:
    """A mutation that removes one input of the first node of a class."""

    def mutate(prompt: Prompt) -> None:
        del prompt[find(prompt, class_type)]["inputs"][name]

    return mutate


def link(class_type: str, name: str, source: str, slot: int = 0) -> Mutation:
    """A mutation that links one input of the first node of a class to the first node of another."""

    def mutate(prompt: Prompt) -> None:
        prompt[find(prompt, class_type)]["inputs"][name] = [find(prompt, source), slot]

    return mutate


def nth(class_type: str, number: int, name: str, value: Any) -> Mutation:
    """A mutation that sets (None: removes) one input of the n-th node of a class."""

    def mutate(prompt: Prompt) -> None:
        inputs = [node["inputs"] for node in prompt.values() if node["class_type"] == class_type][number]
        if value is None:
            del inputs[name]
        else:
            inputs[name] = value

    return mutate


def without_outputs(prompt: Prompt) -> None:
    """Remove every SaveImage."""
    for node_id in [key for key, node in prompt.items() if node["class_type"] == "SaveImage"]:
        del prompt[node_id]


def rename(class_type: str, to: str) -> Mutation:
    """A mutation that gives the first node of a class another class."""
    return lambda prompt: prompt[find(prompt, class_type)].update(class_type=to)


def add_orphan(prompt: Prompt) -> None:
    """Add a second VAE loader that nobody reads."""
    prompt["99"] = {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}}


MUTATIONS: list[tuple[str, Mutation, str]] = [
    ("a class nobody has", rename("KSampler", "KSamplr"), "missing_node_type"),
    ("no class", lambda prompt: prompt["1"].pop("class_type"), "missing_node_type"),
    ("no outputs", without_outputs, "prompt_no_outputs"),
    ("nothing at all", lambda prompt: prompt.clear(), "prompt_no_outputs"),
    ("a missing link", drop("KSampler", "model"), "required_input_missing"),
    ("a missing literal", drop("KSampler", "seed"), "required_input_missing"),
    ("a missing prefix", drop("SaveImage", "filename_prefix"), "required_input_missing"),
    ("an unknown sampler", put("KSampler", "sampler_name", "eular"), "value_not_in_list"),
    ("an unknown scheduler", put("KSampler", "scheduler", "exponantial"), "value_not_in_list"),
    ("an unet that is not there", put("UNETLoader", "unet_name", "flux2.safetensors"), "value_not_in_list"),
    ("a vae that is not there", put("VAELoader", "vae_name", "vae.safetensors"), "value_not_in_list"),
    ("a text encoder that is not there", put("DualCLIPLoader", "clip_name2", "t5.bin"), "value_not_in_list"),
    ("a pose net that is not there", put("ControlNetLoader", "control_net_name", "pose.bin"), "value_not_in_list"),
    ("a PuLID file that is not there", put("PulidFluxModelLoader", "pulid_file", "0.9.0"), "value_not_in_list"),
    ("a text encoder of another type", put("DualCLIPLoader", "type", "flux3"), "value_not_in_list"),
    ("an image that was not uploaded", put("LoadImage", "image", "nobody.png"), "custom_validation_failed"),
    ("no steps", put("KSampler", "steps", 0), "value_smaller_than_min"),
    ("seed -1", put("KSampler", "seed", -1), "value_smaller_than_min"),
    ("negative guidance", put("FluxGuidance", "guidance", -0.5), "value_smaller_than_min"),
    ("too many steps", put("KSampler", "steps", 10_001), "value_bigger_than_max"),
    ("denoise above one", put("KSampler", "denoise", 1.5), "value_bigger_than_max"),
    ("seed above 64 bits", put("KSampler", "seed", 2**64), "value_bigger_than_max"),
    ("a pose that ends after the end", put("ControlNetApplyAdvanced", "end_percent", 2.0), "value_bigger_than_max"),
    ("a seed of letters", put("KSampler", "seed", "abc"), "invalid_input_type"),
    ("no width", put("EmptySD3LatentImage", "width", None), "invalid_input_type"),
    ("a text encoder for a model", link("KSampler", "model", "DualCLIPLoader"), "return_type_mismatch"),
    ("pixels for a latent", link("VAEDecode", "samples", "LoadImage"), "return_type_mismatch"),
    ("a mask for an image", link("ApplyPulidFlux", "image", "LoadImage", 1), "return_type_mismatch"),
    ("a link of three", put("KSampler", "model", ["1", 0, 0]), "bad_linked_input"),
    ("a link to nobody", put("KSampler", "model", ["99", 0]), "exception_during_inner_validation"),
    ("a link to a slot too far", put("KSampler", "model", ["1", 5]), "exception_during_inner_validation"),
    ("an integer id in a link", put("KSampler", "model", [1, 0]), "exception_during_inner_validation"),
    ("an output that saves nobody", put("SaveImage", "images", ["99", 0]), "exception_during_validation"),
    ("a cycle", link("KSampler", "latent_image", "KSampler"), "cycle"),
    ("a misspelt optional input", put("ControlNetApplyAdvanced", "vea", ["2", 0]), "unknown_input"),
    ("an input of another node", put("KSampler", "guidance", 3.5), "unknown_input"),
    ("a width off the step", put("EmptySD3LatentImage", "width", 250), "value_off_step"),
    ("a float seed", put("KSampler", "seed", 5.9), "value_coerced"),
    ("a seed in quotes", put("KSampler", "seed", "7"), "value_coerced"),
    ("steps that are true", put("KSampler", "steps", True), "value_coerced"),
    ("a number for a text", put("CLIPTextEncode", "text", 5), "value_coerced"),
    ("a seed that JavaScript rounds", put("KSampler", "seed", 2**53), "seed_not_portable"),
    ("a value in a socket", put("KSampler", "model", "flux1-dev"), "literal_in_socket"),
    ("a node that feeds nothing", add_orphan, "unreachable_node"),
    # The original product's graphs, as its builders made them.
    ("a text encoded by nothing", drop("CLIPTextEncode", "clip"), "required_input_missing"),
    ("one PuLID class for the whole chain", rename("ApplyPulidFlux", "PuLID"), "missing_node_type"),
    ("a gguf in the wrong loader", put("UNETLoader", "unet_name", "flux1-dev-Q8_0.gguf"), "value_not_in_list"),
    ("schnell for dev", put("UNETLoader", "unet_name", "flux1-schnell.safetensors"), "value_not_in_list"),
    ("Z-Image's encoder type in Flux's loader", put("DualCLIPLoader", "type", "lumina"), "value_not_in_list"),
    # One output of several is spoilt: the server answers 200, runs the others, and lists this one under node_errors.
    ("one output without pixels", nth("SaveImage", 2, "images", None), "required_input_missing"),
    ("one output with a latent for pixels", link("SaveImage", "images", "KSampler"), "return_type_mismatch"),
    ("one of the samplers without steps", nth("KSampler", 2, "steps", 0), "value_smaller_than_min"),
    ("one of the poses not uploaded", nth("LoadImage", 2, "image", "pose.png"), "custom_validation_failed"),
    ("a decoder without its vae", nth("VAEDecode", 1, "vae", None), "required_input_missing"),
    # Ranges, types and lists of the nodes between.
    ("an unknown precision", put("UNETLoader", "weight_dtype", "fp16"), "value_not_in_list"),
    ("an unknown face provider", put("PulidFluxInsightFaceLoader", "provider", "GPU"), "value_not_in_list"),
    ("an identity weight above five", put("ApplyPulidFlux", "weight", 6.0), "value_bigger_than_max"),
    ("an identity that starts before the start", put("ApplyPulidFlux", "start_at", -0.1), "value_smaller_than_min"),
    ("a pose strength above ten", put("ControlNetApplyAdvanced", "strength", 11), "value_bigger_than_max"),
    ("a canvas of no size", put("EmptySD3LatentImage", "width", 0), "value_smaller_than_min"),
    ("a canvas too high", put("EmptySD3LatentImage", "height", 20_000), "value_bigger_than_max"),
    ("a batch of none", put("EmptySD3LatentImage", "batch_size", 0), "value_smaller_than_min"),
    ("cfg above a hundred", put("KSampler", "cfg", 101), "value_bigger_than_max"),
    ("guidance in words", put("FluxGuidance", "guidance", "strong"), "invalid_input_type"),
    ("a height off the step", put("EmptySD3LatentImage", "height", 1000), "value_off_step"),
    ("half a step", put("KSampler", "steps", 2.5), "value_coerced"),
    ("guidance in quotes", put("FluxGuidance", "guidance", "3.5"), "value_coerced"),
    ("a number for a prefix", put("SaveImage", "filename_prefix", 5), "value_coerced"),
    ("a misspelt prefix beside the right one", put("SaveImage", "prefix", "x"), "unknown_input"),
    # Links.
    ("a link of one", put("KSampler", "model", ["1"]), "bad_linked_input"),
    ("an empty link", put("KSampler", "positive", []), "bad_linked_input"),
    ("a vae for a picture", link("ControlNetApplyAdvanced", "image", "VAELoader"), "return_type_mismatch"),
    ("a pose net for a model", link("KSampler", "model", "ControlNetLoader"), "return_type_mismatch"),
    ("a third conditioning", link("KSampler", "negative", "ControlNetApplyAdvanced", 2),
     "exception_during_inner_validation"),
    ("a file name for the pose net", put("ControlNetApplyAdvanced", "control_net", "pose.bin"), "literal_in_socket"),
]  # fmt: skip


@pytest.mark.parametrize("label", list(examples()))
def test_every_example_is_valid(label: str) -> None:
    """Our own graphs have no problem of any kind."""
    assert validate(fresh(label), files=FILES) == []


@pytest.mark.parametrize(("mutate", "kind"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
def test_spoilt_graph_is_caught(mutate: Mutation, kind: str) -> None:
    """Each way of spoiling a good graph is found, under the server's own name for it."""
    prompt = fresh()
    mutate(prompt)
    assert kind in {problem.type for problem in validate(prompt, files=FILES)}


def test_one_fault_is_one_problem_at_its_place() -> None:
    """A single fault is reported once, with node, class and input."""
    prompt = fresh("base-image/flux-dev")
    put("KSampler", "steps", 0)(prompt)
    node_id = find(prompt, "KSampler")
    assert validate(prompt) == [
        Problem("value_smaller_than_min", "Value 0 smaller than min of 1", "steps", node_id, "KSampler", "steps")
    ]


def test_misspelt_input_is_answered_with_the_right_name() -> None:
    """An unknown input names the one that was probably meant."""
    prompt = fresh()
    put("ControlNetApplyAdvanced", "vea", ["2", 0])(prompt)
    (problem,) = validate(prompt, files=FILES)
    assert problem.details.endswith("did you mean vae?")
    assert problem.silent


def test_integer_node_ids_are_caught() -> None:
    """Ids that are ints in Python become strings on the way, and no link finds them."""
    prompt: Any = fresh("base-image/flux-dev")
    prompt[99] = prompt.pop(find(prompt, "SaveImage"))
    assert [problem.type for problem in validate(prompt)] == ["integer_node_id"]


def test_truth_value_in_quotes_is_caught() -> None:
    """The server reads "false" as true."""
    info = {
        "Flag": {
            "input": {"required": {"on": ["BOOLEAN", {}], "mode": ["COMBO", {"options": ["a"]}]}},
            "output": [],
            "output_node": True,
        }
    }
    prompt = {"1": {"class_type": "Flag", "inputs": {"on": "false", "mode": "b"}}}
    assert [problem.type for problem in validate(prompt, object_info=info)] == ["value_coerced", "value_not_in_list"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_number_that_is_none_is_caught(value: float) -> None:
    """NaN passes every comparison of a server; here it does not."""
    prompt = fresh()
    put("FluxGuidance", "guidance", value)(prompt)
    assert [problem.type for problem in validate(prompt)] == ["invalid_input_type"]


def test_files_of_the_backend_win_over_our_list() -> None:
    """A folder that the caller lists is judged by that list alone."""
    prompt = fresh("base-image/flux-dev")
    assert validate(prompt, files={"vae": ["other.safetensors"]})[0].type == "value_not_in_list"
    put("VAELoader", "vae_name", "other.safetensors")(prompt)
    assert validate(prompt, files={"vae": ["other.safetensors"]}) == []


def test_absent_lora_is_caught_when_the_caller_knows_the_folder() -> None:
    """A LoRA that never reached the worker stops the job before it is paid for; unknown folders are not guessed."""
    prompt = fresh("lora-generation/zimage-turbo")
    assert validate(prompt) == []
    assert [problem.type for problem in validate(prompt, files={"loras": ["other.safetensors"]})] == [
        "value_not_in_list"
    ]


@pytest.mark.parametrize(
    ("mutate", "hint"),
    [
        (put("KSampler", "sampler_name", "euler_ancestrl"), "euler_ancestral"),
        (put("UNETLoader", "unet_name", "flux1_dev.safetensors"), "flux1-dev.safetensors"),
        (put("LoadImage", "image", "referense.png"), "reference.png"),
        (put("KSampler", "sceduler", "simple"), "scheduler"),
        (rename("KSampler", "KSamplr"), "KSampler"),
        (put("KSampler", "model", ["11x", 0]), "11"),
    ],
)
def test_near_miss_is_answered_with_what_was_meant(mutate: Mutation, hint: str) -> None:
    """Values, files, inputs, classes and node ids: the nearest that exists is named."""
    prompt = fresh()
    mutate(prompt)
    assert any(problem.details.endswith(f"; did you mean {hint}?") for problem in validate(prompt, files=FILES))


def test_far_miss_is_not_guessed() -> None:
    """Nonsense gets no advice."""
    prompt = fresh()
    put("KSampler", "scheduler", "zzz")(prompt)
    assert "did you mean" not in validate(prompt, files=FILES)[0].details


def lora(base_model: Any) -> LoraInfo:
    """What a sound LoRA file for that base says."""
    return LoraInfo(base_model, 16, 2, 100, True, True, 1000, {}, "0" * 64, 1000)


@pytest.mark.parametrize(
    ("base", "trained_for", "fits"),
    [
        ("flux-dev", "flux-dev", True),
        ("zimage-turbo", "zimage-turbo", True),
        ("flux-dev", "zimage-turbo", False),
        ("zimage-turbo", "flux-dev", False),
        ("flux-dev", "unknown", False),
        ("zimage-turbo", "unknown", False),
    ],
)
def test_lora_of_another_base_is_caught(base: str, trained_for: str, fits: bool) -> None:
    """The server would load it without a word and without effect; through the timestep shift of Z-Image, too."""
    prompt = fresh(f"lora-generation/{base}")
    problems = validate(prompt, files=FILES, loras={LORA_FILES[base]: lora(trained_for)})
    assert [problem.type for problem in problems] == ([] if fits else ["lora_of_another_base"])
    if not fits:
        assert problems[0].node_id == find(prompt, "LoraLoaderModelOnly")
        assert f"trained for {trained_for}" in problems[0].details


def test_lora_behind_another_is_judged_on_the_same_model() -> None:
    """A second LoRA in a row still sits on the base model."""
    prompt = fresh("lora-generation/flux-dev")
    first = find(prompt, "LoraLoaderModelOnly")
    second = {"model": [first, 0], "lora_name": "style.safetensors", "strength_model": 0.5}
    prompt["77"] = {"class_type": "LoraLoaderModelOnly", "inputs": second}
    put("KSampler", "model", ["77", 0])(prompt)
    problems = validate(prompt, loras={"style.safetensors": lora("zimage-turbo")})
    assert [(problem.node_id, problem.type) for problem in problems] == [("77", "lora_of_another_base")]


def test_lora_that_nobody_can_judge_is_not_judged() -> None:
    """An unknown file, an unknown model, a LoRA that hangs on nothing or on itself: no claim is made."""
    prompt = fresh("lora-generation/flux-dev")
    foreign = {LORA_FILES["flux-dev"]: lora("zimage-turbo")}
    assert validate(prompt, loras={"other.safetensors": lora("zimage-turbo")}) == []
    put("UNETLoader", "unet_name", "mine.safetensors")(prompt)
    assert validate(prompt, files={"diffusion_models": ["mine.safetensors"]}, loras=foreign) == []
    node_id = find(prompt, "LoraLoaderModelOnly")
    for model in ([node_id, 0], "flux", None):
        put("LoraLoaderModelOnly", "model", model)(prompt)
        assert "lora_of_another_base" not in {problem.type for problem in validate(prompt, loras=foreign)}


def test_long_lists_are_not_quoted() -> None:
    """Like the server, a problem does not repeat forty sampler names."""
    prompt = fresh()
    put("KSampler", "sampler_name", "eular")(prompt)
    assert validate(prompt)[0].details == "sampler_name: 'eular' not in (list of length 44); did you mean euler?"


def test_server_error_has_the_servers_shape() -> None:
    """The body of a 400: one error, and per node its errors, its class and its dependent outputs."""
    prompt = fresh()
    put("KSampler", "seed", -1)(prompt)
    body = as_server_error(validate(prompt))
    node_id = find(prompt, "KSampler")
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert body["error"]["details"] == "Value -1 smaller than min of 0: seed"
    assert body["node_errors"][node_id] == {
        "errors": [
            {
                "type": "value_smaller_than_min",
                "message": "Value -1 smaller than min of 0",
                "details": "seed",
                "extra_info": {"input_name": "seed"},
            }
        ],
        "dependent_outputs": [],
        "class_type": "KSampler",
    }


@pytest.mark.parametrize(
    "mutate", [without_outputs, rename("KSampler", "Nobody"), link("KSampler", "latent_image", "KSampler")]
)
def test_server_error_without_a_place_has_no_node_errors(mutate: Mutation) -> None:
    """Missing classes, missing outputs and cycles come back with empty node_errors."""
    prompt = fresh()
    mutate(prompt)
    problems = [problem for problem in validate(prompt) if problem.type != "unreachable_node"]
    assert as_server_error(problems)["node_errors"] == {}


def test_what_is_no_prompt_is_said_so() -> None:
    """A list is no prompt."""
    assert [problem.type for problem in validate([])] == ["no_prompt"]


def test_damaged_nodes_do_not_break_the_judgement() -> None:
    """Nodes that are no tables, and inputs that are no tables, are problems and not exceptions."""
    assert validate({"1": None})[0].type == "missing_node_type"
    assert validate({"1": {"class_type": "SaveImage", "inputs": []}})[0].type == "required_input_missing"
    assert validate({"1": {"class_type": "SaveImage"}})[0].type == "required_input_missing"


def test_stored_object_info_knows_every_class_and_no_local_file() -> None:
    """The stored copy serves every example, stays small, and names no file of the server it came from."""
    specs = node_specs()
    prompts = (examples() | option_examples()).values()
    assert {node["class_type"] for prompt in prompts for node in prompt.values()} == set(specs)
    assert all(not spec.options for node in specs.values() for spec in node.inputs.values() if spec.folder)


def test_trimming_again_changes_nothing() -> None:
    """The stored copy is what the command writes, and a server without our node packs is said to lack them."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert trim(stored) == stored
    del stored["ApplyPulidFlux"]
    with pytest.raises(WorkflowError, match="lacks ApplyPulidFlux"):
        trim(stored)


def test_mutations_cover_every_kind() -> None:
    """No kind of problem is left without a case (two have tests of their own)."""
    kinds = {kind for _, _, kind in MUTATIONS}
    assert len(MUTATIONS) >= 60
    assert len({name for name, _, _ in MUTATIONS}) == len(MUTATIONS)
    assert kinds >= SILENT_TYPES - {"integer_node_id", "lora_of_another_base"}


def test_every_file_that_a_graph_names_is_in_the_model_list() -> None:
    """Each file a builder puts into a graph has its source and licence in models.yaml, and the other way round."""
    named = {
        (spec.folder, node["inputs"][spec.name])
        for prompt in examples().values()
        for node in prompt.values()
        for spec in node_specs()[node["class_type"]].inputs.values()
        if spec.folder not in (None, "input", "loras")
    }
    assert named == {(model.folder, model.file) for model in model_files() if model.named}
