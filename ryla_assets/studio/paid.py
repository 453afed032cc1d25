"""The one way from the studio to paid work: of every job it is asked here whether it may be done, then it is handed on.

Belongs here: the questions that are asked of what is about to be sent, not of what it was made from. A plan is a row,
and so is a recorded job; both can be written by hand, and both may be older than a rule. Assets, the daily batch, the
command line, sensors, re-rolls and reproductions all end here; a test holds that nobody goes around. What a picture's
words may say is `texts`', whose pictures it may look at `lineage`'s, what it may cost the runner's.

    may its owner spend     the character is active
    may it be rated so      nsfw has its three consents, and the graph loads only files of the job's rating
    does it read its own    every file of the job, and every file that the graph names
    does it say what we say each picture's words are those of its record, name an adult, and pass the screen
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ryla_assets.domain.errors import Refused, TooEarly
from ryla_assets.domain.routing import check_rating
from ryla_assets.domain.safety import adult_phrase
from ryla_assets.registry.records import Character
from ryla_assets.studio import texts
from ryla_assets.studio.lineage import own_inputs
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.studio import Studio
from workflows.contents import Contents, contents
from workflows.errors import WorkflowError
from workflows.models import model_files

if TYPE_CHECKING:
    from resources.gpu.backend import Backend
    from resources.gpu.errors import OutputRejected
    from resources.gpu.job import Job
    from resources.gpu.records import Attempt
    from resources.gpu.runner import JobResult, Runner

PLACE = "paid work"  # in the audit trail of the screen


def run(studio: Studio, plan: Sequence[PlannedJob], *, backend: Backend | None = None) -> list[JobResult]:
    """Run the jobs, adopting what was paid for; on `backend`, else on that of the settings.

    Raises Refused, TooEarly and UnsafeText with nothing sent; then as `Runner.run`.
    """
    runner = _runner(studio, backend)
    for planned in plan:
        admit(studio, planned, runner.backend)
    return _run(studio, runner, plan)


def answers(studio: Studio, plan: Sequence[PlannedJob]) -> list[JobResult | OutputRejected]:
    """As `run`; where every picture of a job was refused when it arrived, that is its answer."""
    for planned in plan:
        admit(studio, planned, studio.runner.backend)
    jobs = [planned.job for planned in plan]
    return studio.runner.answers(jobs, run_id=studio.caller.run_id or None, on_progress=studio.caller.on_progress)


def submit(studio: Studio, planned: PlannedJob) -> Attempt | JobResult:
    """Start a long job and return. Errors as `run`."""
    admit(studio, planned, studio.runner.backend)
    return studio.runner.submit(planned.job, run_id=studio.caller.run_id or None)


def run_unowned(studio: Studio, plan: Sequence[PlannedJob], *, backend: Backend) -> list[JobResult]:
    """Run jobs that draw nobody's character: they read no file, and are rated sfw. Errors as `run`."""
    for planned in plan:
        job = planned.job
        reads = _reads(job)
        if job.inputs or reads is None or reads.pictures or reads.loras or job.rating != "sfw":
            raise _refused(job, "a job without a character reads no file, and is rated sfw")
        _check_words(studio, planned, reads, None)
    return _run(studio, _runner(studio, backend), plan)


def active(studio: Studio, character: str) -> Character:
    """The character, if it may spend. Raises TooEarly while it is inactive."""
    found = studio.registry.character(character)
    if not found.active or found.retired:
        raise TooEarly(
            f"{character} is not active, so nothing is spent on it.",
            field="character",
            value=character,
            way_out=f"ryla characters activate {character}",
        )
    return found


def admit(studio: Studio, planned: PlannedJob, backend: Backend) -> None:
    """Pass a job that may be done for its owner on `backend`. Raises Refused, TooEarly, UnsafeText; records a block."""
    job = planned.job
    who, reads = active(studio, job.owner), _reads(job)
    check_rating(
        job.rating,
        character_nsfw=who.config.nsfw_enabled,
        deployment_nsfw=studio.settings.nsfw_allowed,
        self_run_backend=backend.self_run,
    )
    if reads is not None:
        _check_models(job, reads)
    own_inputs(studio, job, reads)
    _check_words(studio, planned, reads, who)


def _run(studio: Studio, runner: Runner, plan: Sequence[PlannedJob]) -> list[JobResult]:
    jobs = [planned.job for planned in plan]
    return runner.run(jobs, run_id=studio.caller.run_id or None, on_progress=studio.caller.on_progress)


def _reads(job: Job) -> Contents | None:
    """What a graph reads and says; None of a training, which has none."""
    if job.kind == "training":
        return None
    try:
        return contents(job.request)
    except WorkflowError as error:
        raise _refused(job, f"its graph is none of ours: {error.message}") from error


def _check_models(job: Job, reads: Contents) -> None:
    allowed = {file.file for file in model_files() if job.rating in file.ratings}
    for name in sorted(reads.models - allowed):
        raise _refused(job, f"its graph loads {name!r}, which no workflow of rating {job.rating} does")


def _check_words(studio: Studio, planned: PlannedJob, reads: Contents | None, who: Character | None) -> None:
    """What each picture is drawn of, or a LoRA learns of each picture, by the name of the picture."""
    job, said = planned.job, planned.said
    words = reads.prompts if reads is not None else dict(job.request.get("captions") or {})
    due = {spec.name for spec in job.outputs} if reads is not None else {file.name for file in job.inputs}
    if words.keys() != due:
        raise _refused(job, "the pictures that it makes or reads are not those that it names")
    for name, text in words.items():
        if name in said and text != said[name]:
            raise _refused(job, f"the words of {name} are not those that were recorded")
        if reads is not None and who is not None and adult_phrase(who.config.age, who.config.gender) not in text:
            raise _refused(job, f"the words of {name} do not name an adult of {who.config.age}")
        texts.check(studio, str(text), field="prompt", place=PLACE, character=job.owner)
    if reads is None:
        texts.check(studio, str(job.request.get("trigger")), field="trigger", place=PLACE, character=job.owner)


def _runner(studio: Studio, backend: Backend | None) -> Runner:
    from resources.gpu.runner import Runner

    own = studio.runner
    if backend is None or backend is own.backend:
        return own
    return Runner(own.ledger, backend, studio.store, own.budgets, policy=own.policy, signer=own.signer)


def _refused(job: Job, why: str) -> Refused:
    return Refused(
        f"{job.label}: {why}.",
        field="plan",
        value=job.label,
        way_out="Nothing was sent. Ask anew, or make a new take.",
    )
