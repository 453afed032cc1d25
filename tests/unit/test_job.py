"""A job's fingerprint: it changes with everything that changes a pixel, and with nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest

from resources.gpu.job import InputFile, Job, OutputSpec, canonical

NODE = {"class_type": "KSampler", "inputs": {"seed": 7, "cfg": 1.0, "model": ["1", 0]}, "_meta": {"title": "sampler"}}
JOB = Job(
    kind="image",
    request={"1": {"class_type": "Loader", "inputs": {}}, "2": NODE},
    outputs=(OutputSpec("a", "image", 512, 768), OutputSpec("b", "image", 512, 768)),
    inputs=(InputFile("input", "ref.png", "images", "a" * 64), InputFile("loras", "l.safetensors", "loras", "b" * 64)),
    label="sheet of mara",
    owner="mara-lind",
)
PRINT = JOB.fingerprint("preview/1")


def changed(**inputs: Any) -> Job:
    """The job with other values in its sampler."""
    node = {**NODE, "inputs": {**NODE["inputs"], **inputs}}  # type: ignore[dict-item]
    return replace(JOB, request={**JOB.request, "2": node})


@pytest.mark.parametrize(
    "same",
    [
        replace(JOB, label="another word"),
        replace(JOB, owner="somebody-else"),
        replace(JOB, request={"2": {**NODE, "_meta": {"title": "Sampler (edited)"}}, "1": JOB.request["1"]}),
        replace(JOB, request={"1": JOB.request["1"], "2": {k: v for k, v in NODE.items() if k != "_meta"}}),
        replace(JOB, inputs=JOB.inputs[::-1]),
        replace(JOB, inputs=(replace(JOB.inputs[0], kind="inputs"), JOB.inputs[1])),
    ],
    ids=["label", "owner", "title and order of nodes", "no title", "order of inputs", "where the store keeps an input"],
)
def test_fingerprint_ignores_what_changes_no_pixel(same: Job) -> None:
    """Else a renamed label would be paid for again."""
    assert same.fingerprint("preview/1") == PRINT


@pytest.mark.parametrize(
    "other",
    [
        changed(seed=8),
        changed(cfg=1.5),
        replace(JOB, inputs=(replace(JOB.inputs[0], sha256="c" * 64), JOB.inputs[1])),
        replace(JOB, inputs=(replace(JOB.inputs[0], name="other.png"), JOB.inputs[1])),
        replace(JOB, inputs=JOB.inputs[:1]),
        replace(JOB, outputs=(replace(JOB.outputs[0], width=768), JOB.outputs[1])),
        replace(JOB, outputs=(replace(JOB.outputs[0], name="c"), JOB.outputs[1])),
        replace(JOB, outputs=JOB.outputs[:1]),
        replace(JOB, kind="training"),
    ],
    ids=["seed", "cfg", "input's bytes", "input's name", "fewer inputs", "size", "name", "fewer outputs", "kind"],
)
def test_fingerprint_changes_with_what_changes_a_pixel(other: Job) -> None:
    """Else one picture would be adopted in the place of another."""
    assert other.fingerprint("preview/1") != PRINT


def test_fingerprint_changes_with_the_profile() -> None:
    """Another engine, another lexicon, other model files: other pixels."""
    assert JOB.fingerprint("preview/2") != PRINT
    assert len(PRINT) == 64


def test_training_keeps_every_word_of_its_config() -> None:
    """Only graphs have titles; a training's config counts as it is."""
    config = Job("training", {"steps": 10, "_meta": {"a": 1}}, (OutputSpec("l", "lora"),))
    assert config.fingerprint("p") != replace(config, request={"steps": 10}).fingerprint("p")


def test_job_read_back_from_a_plan_has_the_same_fingerprint() -> None:
    """A plan's row is JSON; what another process reads from it is the same job."""
    back = Job.from_dict(json.loads(json.dumps(JOB.as_dict())))
    assert back == JOB
    assert back.fingerprint("preview/1") == PRINT


def test_fingerprint_is_the_same_in_every_version() -> None:
    """Pinned: if this changes, every paid result is forgotten; raise "v" in `fingerprint` and say so in an ADR."""
    tiny = Job("image", {"1": {"class_type": "X", "inputs": {"s": "ü"}}}, (OutputSpec("a", "image", 8, 8),))
    assert tiny.fingerprint("p") == "409c8404e70f86670d84ae18fe559a70ce38f0bd98d993b5ad90a566ff4ce472"


def test_canonical_json_has_one_form_and_no_nan() -> None:
    """NaN is not JSON, and never equals itself."""
    assert canonical({"b": 1, "a": [1.5, "ü"]}) == '{"a":[1.5,"ü"],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"cfg": float("nan")})
