"""Plan once: what a stage will send, as jobs plus the records of the pictures they make.

A plan is written to the request's row before anything is sent and read from there by whoever runs it, so that no two
versions of this code compute two fingerprints for one request. Building graphs from shots happens here; running
them in `rendering`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from resources.gpu.backend import Backend
from resources.gpu.job import InputFile, Job, OutputSpec
from ryla_assets.domain.costs import Capacity
from ryla_assets.domain.costs import plan as best_plan
from ryla_assets.domain.errors import Refused, TooEarly
from ryla_assets.domain.redraw import PLAIN, Drawing
from ryla_assets.domain.seeds import seed
from ryla_assets.domain.shots import Shot
from ryla_assets.prompts.build import PromptText
from ryla_assets.registry.records import Request
from ryla_assets.studio.lineage import named_by_content
from ryla_assets.studio.studio import Studio
from workflows.precision import LOADER, in_fp32
from workflows.versions import WORKFLOW_VERSIONS

IDENTITY_WEIGHT = 0.95  # PuLID's hold on the face in a sheet, as in the original product's graph
_FRESH = {"character_sheet": {"identity_weight": IDENTITY_WEIGHT}}  # a new take does not repeat an experiment
REROLLS = 10  # seeds of a stage's take n are n*10, its re-rolls n*10+1...: no two takes share a seed


@dataclass(frozen=True)
class Frame:
    """One picture to be made: its shot, its text, and everything that is fixed before it exists."""

    shot: Shot
    text: PromptText
    take: int  # n * REROLLS + re-roll
    seed: int
    width: int
    height: int
    prefix: str
    drawing: Drawing = PLAIN


@dataclass(frozen=True)
class PlannedJob:
    """A job and the records (without hashes yet) of its pictures, by output name."""

    job: Job
    records: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as the request's row holds it."""
        return {"job": self.job.as_dict(), "records": self.records}

    @property
    def said(self) -> dict[str, str]:
        """The words that the records give to each picture, by its name in the job."""
        return {name: record["prompt"] for name, record in self.records.items()}

    @property
    def is_whole(self) -> bool:
        """Whether every picture has its record, and every record its picture; a training makes no pictures."""
        pictures = {spec.name for spec in self.job.outputs if spec.media == "image"}
        return pictures == set(self.records)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PlannedJob:
        """Read back what `as_dict` wrote."""
        return cls(Job.from_dict(data["job"]), data["records"])


def plan_once(
    studio: Studio, request: Request, make: Callable[[], list[PlannedJob]], *, route: str | None = None
) -> list[PlannedJob]:
    """The request's plan: read if it was written, else made by `make` and written.

    Raises Refused for one that is no plan of this request; what its jobs may do is asked where they are run (`paid`).
    """
    plan = request.plan
    if plan is None:
        plan = studio.registry.plan(request.id, [planned.as_dict() for planned in make()], route=route)
    try:
        planned = [PlannedJob.from_dict(entry) for entry in plan]
        theirs = [one.job.label for one in planned if one.job.owner != request.character or not one.is_whole]
    except (KeyError, TypeError) as error:
        raise _no_plan(request, f"it cannot be read ({type(error).__name__})") from error
    if theirs:
        raise _no_plan(request, f"{theirs[0]} is for somebody else, or its records are not those of its pictures")
    return planned


def take_for(studio: Studio, character: str, stage: str, body: dict[str, Any], *, new_take: bool) -> Request:
    """The stage's request that holds for `body`: the latest one, or a new take.

    A take advances when it is asked for (`new_take`, regenerate) or when what the stage builds on changed. A
    re-execution of the run that asked for a new take is the same asking: it finds its own request again.
    """
    caller = studio.caller.run_id
    return studio.registry.open_take(
        character,
        stage,
        {**body, "asked_by": caller},
        reuse=("same_asker" if caller else "never") if new_take else "same",
    )


def regenerate(studio: Studio, character: str, stage: str) -> Request:
    """Ask for a new take of a stage on what its latest take was built on; a sensor makes it. Old takes stay."""
    studio.registry.character(character)
    earlier = studio.registry.requests(character, stage)
    if not earlier:
        raise TooEarly(
            f"{character} has no {stage} to make anew.",
            field=stage,
            way_out="Activate the character and make the first.",
        )
    body = {**earlier[-1].body, **_FRESH.get(stage, {}), "asked_by": "regenerate"}
    return studio.registry.open_take(character, stage, body, reuse="never", event=f"{stage}:regenerate")


def frame(
    studio: Studio,
    character: str,
    stage: str,
    shot: Shot,
    text: PromptText,
    *,
    take: int,
    fixed_seed: int | None = None,
    drawing: Drawing = PLAIN,
) -> Frame:
    """Fix seed, size and name of one picture."""
    width, height = shot.size(studio.settings.image_px)
    number = fixed_seed if fixed_seed is not None else seed(character, stage, shot.id, take)
    prefix = f"{character}/{stage.replace('_', '-')}-{take}-{shot.id}"
    return Frame(shot, text, take, number, width, height, prefix, drawing)


def alike(frames: Sequence[Frame], trait: Callable[[Drawing], Hashable]) -> list[list[Frame]]:
    """The frames in groups that one graph can draw: those whose `trait` is the same, in the order of the first."""
    groups: dict[Hashable, list[Frame]] = {}
    for one in frames:
        groups.setdefault(trait(one.drawing), []).append(one)
    return list(groups.values())


def image_job(
    studio: Studio,
    frames: Sequence[Frame],
    prompt: dict[str, Any],
    *,
    workflow: str,
    method: str,
    label: str,
    owner: str,
    inputs: Sequence[InputFile] = (),
    rating: Literal["sfw", "nsfw"] = "sfw",
) -> PlannedJob:
    """One graph as a job, with the records of its pictures; `frames` are alike in their precision."""
    job = Job(
        kind="image",
        request=prompt,
        outputs=tuple(OutputSpec(f.prefix, "image", f.width, f.height) for f in frames),
        inputs=tuple(inputs),
        label=label,
        owner=owner,
        rating=rating,
    )
    if any(f.drawing.fp32_vae for f in frames):
        job = _in_fp32(studio, job)
    records = {
        f.prefix: {
            "name": f"{f.shot.id}.png",
            "width": f.width,
            "height": f.height,
            "shot": f.shot.id,
            "take": f.take,
            "seed": f.seed,
            "prompt": f.text.positive,
            "expects_face": f.shot.expects_face(studio.settings.image_px),
            "method": method,
            "workflow": f"{workflow}@{WORKFLOW_VERSIONS[workflow]}",
            "framing": f.shot.framing,
            "view": f.shot.view,
            "expression": f.shot.expression or "",
            "lighting": f.shot.lighting or "",
        }
        for f in frames
    }
    return PlannedJob(job, records)


def _in_fp32(studio: Studio, job: Job) -> Job:
    """The job decoded in 32 bits, where the backend takes such a graph; else as it is."""
    exact = replace(job, request=in_fp32(job.request))
    if not studio.runner.backend.problems(exact):
        return exact
    studio.caller.tell(f"{job.label}: the backend lacks {LOADER}, so only the seed changes.")
    return job


def spread(frames: Sequence[Frame], backend: Backend) -> list[list[Frame]]:
    """Cut the frames, in order, into as many graphs as the backend's workers are worth (`domain.costs`)."""
    pace = backend.pace()
    capacity = Capacity(
        workers=backend.workers,
        image_s=pace.image_s,
        shared_s=pace.shared_s,
        cold_s=pace.cold_s,
        max_result_bytes=pace.max_result_bytes,
    )
    cuts = list(itertools.accumulate(best_plan(len(frames), capacity).sizes, initial=0))
    return [list(frames[start:end]) for start, end in itertools.pairwise(cuts)]


def input_image(folder_kind: str, sha256: str) -> InputFile:
    """A stored picture as LoadImage reads it."""
    return InputFile("input", named_by_content(sha256), folder_kind, sha256)


def drawn_input(studio: Studio, data: bytes) -> InputFile:
    """A picture of our own making (a pose skeleton), stored like any other input."""
    return input_image("inputs", studio.store.put("inputs", data))


def _no_plan(request: Request, why: str) -> Refused:
    return Refused(
        f"the plan of {request.id} was changed since it was made: {why}.",
        field="plan",
        value=request.id,
        way_out="Nothing was sent. Ask anew, or make a new take.",
    )


def short(text: str) -> str:
    """Twelve characters that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
