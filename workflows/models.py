"""The model files the workflows need, read from `models.yaml`.

Belongs here: which file, from where, under which licence. Not whether a worker has it: that is asked of the worker.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from workflows.errors import WorkflowError
from workflows.versions import WORKFLOW_VERSIONS

Commercial: TypeAlias = Literal["yes", "no", "ask"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file on a worker.

    `size_gb` is 10^9 bytes (None: unknown); `named` is False for a file that no graph spells, but a node reads;
    `option` is what a person must ask for by name before a workflow needs the file at all.
    """

    folder: str
    file: str
    repository: str
    licence: str
    commercial: Commercial
    base_model: str
    workflows: tuple[str, ...]
    path: str = ""
    size_gb: float | None = None
    ratings: tuple[str, ...] = ("sfw", "nsfw")
    named: bool = True
    place: Literal["volume", "image"] = "volume"
    option: str = ""


@cache
def model_files(*, options: bool = False) -> tuple[ModelFile, ...]:
    """Every model file that the pipeline's own graphs need, in the order of `models.yaml`; with `options` all of them.

    A worker that lacks an option's file lacks nothing until somebody asks for the option.
    """
    text = Path(__file__).with_name("models.yaml").read_text(encoding="utf-8")
    found = (_model_file(entry) for entry in yaml.safe_load(text)["models"])
    return tuple(model for model in found if options or not model.option)


def files_for(workflow: str, *, base_model: str | None = None, rating: str | None = None) -> tuple[ModelFile, ...]:
    """The files that `workflow` needs, for one base model and rating or for all; without those of options.

    Raises `WorkflowError` for a workflow that does not exist.
    """
    if workflow not in WORKFLOW_VERSIONS:
        raise WorkflowError(
            f"{workflow!r} is unknown.",
            field="workflow",
            value=workflow,
            way_out=f"Use one of {', '.join(WORKFLOW_VERSIONS)}.",
        )
    return tuple(
        model
        for model in model_files()
        if workflow in model.workflows
        and (base_model is None or model.base_model in (base_model, "any"))
        and (rating is None or rating in model.ratings)
    )


def _model_file(entry: dict[str, object]) -> ModelFile:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return ModelFile(**{**entry, **lists})  # type: ignore[arg-type]  # the file's keys are checked by a test
