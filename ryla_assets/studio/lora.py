"""From an accepted sheet to a LoRA that can be used: dataset, training in two halves, weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from resources.gpu.job import InputFile, Job, OutputSpec
from ryla_assets.domain.errors import Refused
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet, LoraArtifact, LoraDataset, TrainingTicket
from ryla_assets.domain.shots import BASE_SHOTS, Shot, sheet_shots
from ryla_assets.studio import paid, texts
from ryla_assets.studio.faces import original_of, reference_template, score_image
from ryla_assets.studio.lineage import own_captions, own_picture
from ryla_assets.studio.paid import active
from ryla_assets.studio.plans import PlannedJob, plan_once, short, take_for
from ryla_assets.studio.rendering import timing
from ryla_assets.studio.studio import Studio, name_of

MIN_DATASET = 6  # AI Toolkit practice is 7-10 pictures with the base image; two shots of a sheet may be left out
STEPS = 1000  # 100-150 steps a picture, as AI Toolkit users train faces
RANK = 16
_CONSONANTS = "bcdfghjklmnpqrstvwxz"


def trigger_of(character: str) -> str:
    """A rare token, unique to the character and never its name: eight consonants from a hash."""
    digest = hashlib.sha256(f"trigger:{character}".encode()).digest()
    return "".join(_CONSONANTS[byte % len(_CONSONANTS)] for byte in digest[:8])


def make_dataset(studio: Studio, sheet: ImageSet, *, new_take: bool = False) -> LoraDataset:
    """The pictures a LoRA may learn from: the base image and every verified sheet picture, each with its caption.

    A sheet picture that is the base image again teaches nothing new and is left out (`copy`).
    Raises NotAccepted for a sheet that is not accepted, and Refused when fewer than MIN_DATASET remain.
    """
    who = active(studio, sheet.character)
    studio.demand(sheet)
    base = studio.accepted("selected_base_image", who.id)
    if not isinstance(base, ImageSet):
        raise Refused(f"{who.id} has no selected base image.", way_out="Select one.")
    template, original = reference_template(studio, base), original_of(studio, base)
    chosen: list[tuple[Shot, ImageRecord]] = [(BASE_SHOTS[0], base.images[0])]
    left_out: dict[str, str] = {}
    shots = {shot.id: shot for shot in sheet_shots(10)}
    for record in sheet.images:
        score = score_image(studio, record, sheet, template, original)
        if record.expects_face and score.verified:
            chosen.append((shots[record.shot], record))
        else:
            left_out[record.shot] = "declared without a scorable face" if not record.expects_face else score.reason
    if len(chosen) < MIN_DATASET:
        raise Refused(
            f"only {len(chosen)} pictures of {who.id} are fit to train on; {MIN_DATASET} are needed.",
            field="lora_dataset",
            value=len(chosen),
            way_out="Make a new take of the character sheet.",
        )
    for _, record in chosen:
        own_picture(studio, record, who.id)
    trigger = trigger_of(who.id)
    body = {"sheet": name_of(sheet), "base": name_of(base)}
    request = take_for(studio, who.id, "lora_dataset", body, new_take=new_take)
    return LoraDataset(
        character=who.id,
        take=request.take,
        request_id=request.id,
        render_domain=sheet.render_domain,
        base_model=who.config.base_model or studio.settings.base_model,
        trigger=trigger,
        images=tuple(
            Caption(
                sha256=record.sha256,
                pixels_sha256=record.pixels_sha256,
                caption=texts.caption(studio, who, shot, trigger, stage="lora_dataset"),
                shot=record.shot,
            )
            for shot, record in chosen
        ),
        left_out=left_out,
        parents=(name_of(sheet), name_of(base)),
    )


def start_training(studio: Studio, dataset: LoraDataset, *, new_take: bool = False) -> TrainingTicket:
    """First half: submit the training (or find it running, or done) and return at once.

    Raises NotAccepted if the dataset, or the sheet that it was made from, is refused by now.
    """
    from resources.gpu.runner import JobResult

    who = active(studio, dataset.character)
    studio.demand(dataset)
    studio.demand(studio.manifest(dataset.parents[0]))
    own_captions(studio, dataset.images, _sources(studio, dataset), who.id)
    body = {"dataset": dataset.data_hash, "base_model": dataset.base_model, "steps": STEPS, "rank": RANK}
    request = take_for(studio, who.id, "lora_training", body, new_take=new_take)
    plan = plan_once(studio, request, lambda: [PlannedJob(_job(dataset, request.take), {})])
    said = {file: {"prompt": caption} for file, caption in _captions(dataset).items()}
    started = paid.submit(studio, replace(plan[0], records=said))
    if isinstance(started, JobResult):
        studio.caller.tell("This dataset was trained earlier: its result is adopted, nothing was sent.")
    elif studio.registry.character(who.id).lora_status != "ready":
        studio.registry.set_lora_status(who.id, "training")
    return TrainingTicket(
        character=who.id,
        take=request.take,
        request_id=request.id,
        backend=studio.runner.backend.name,
        render_domain=dataset.render_domain,
        base_model=dataset.base_model,
        trigger=dataset.trigger,
        steps=STEPS,
        dataset_hash=dataset.data_hash,
        job=started.fingerprint,
        parents=(name_of(dataset),),
    )


def take_weights(studio: Studio, ticket: TrainingTicket) -> LoraArtifact | None:
    """Second half: the verified file of a finished training; None (with the reason told) while it runs.

    Raises Refused when the training failed.
    """
    studio.runner.collect("training")
    row = studio.runner.ledger.job(ticket.job)
    if row is None or row.result is None:
        last = studio.runner.ledger.attempts(ticket.job)[-1:]
        if last and not last[0].is_open:
            studio.registry.set_lora_status(ticket.character, "failed")
            raise Refused(
                f"the training of {ticket.character} {last[0].state}: {last[0].error or 'no reason was given'}.",
                field="lora_training",
                value=last[0].id,
                way_out="Materialize lora_training again; it starts a new attempt.",
            )
        studio.caller.tell(f"The training of {ticket.character} is still {last[0].state if last else 'unknown'}.")
        return None
    [result] = paid.run(studio, [PlannedJob(row.job, {})])  # adopts: nothing is sent unless its file was lost
    output = result.outputs[0]
    return LoraArtifact(
        character=ticket.character,
        take=ticket.take,
        request_id=ticket.request_id,
        backend=ticket.backend,
        render_domain=ticket.render_domain,
        sha256=output["sha256"],
        file_name=f"{ticket.character}-{output['sha256'][:12]}.safetensors",
        base_model=ticket.base_model,
        trigger=ticket.trigger,
        steps=ticket.steps,
        rank=int(output["rank"]),
        bytes=int(output["bytes"]),
        dataset_hash=ticket.dataset_hash,
        job=ticket.job,
        parents=(name_of(ticket),),
        timing=timing(studio.runner.ledger, [result.fingerprint]),
    )


def finished_trainings(studio: Studio) -> list[tuple[str, int, str]]:
    """(character, take, attempt id) of every training that ended and whose weights are not taken yet.

    One poll for all of them: what a sensor's tick may cost.
    """
    studio.runner.collect("training")
    ended = []
    for who in studio.registry.characters(active=True, lora_status="training"):
        ticket = studio.current("lora_training", who.id)
        if not isinstance(ticket, TrainingTicket):
            continue
        last = studio.runner.ledger.attempts(ticket.job)[-1:]
        if last and not last[0].is_open:
            ended.append((who.id, ticket.take, last[0].id))
    return ended


def _sources(studio: Studio, dataset: LoraDataset) -> list[ImageSet]:
    """The sets that a dataset was chosen from."""
    return [one for one in map(studio.manifest, dataset.parents) if isinstance(one, ImageSet)]


def _captions(dataset: LoraDataset) -> dict[str, str]:
    """File name on the worker -> caption, in the dataset's order."""
    return {f"{number:02d}-{image.shot}.png": image.caption for number, image in enumerate(dataset.images)}


def _job(dataset: LoraDataset, take: int) -> Job:
    name = f"{dataset.character}-{dataset.base_model}-{take}"
    captions = _captions(dataset)
    return Job(
        kind="training",
        request={
            "base_model": dataset.base_model,
            "trigger": dataset.trigger,
            "steps": STEPS,
            "rank": RANK,
            "take": take,
            "captions": captions,
            "dataset": short(dataset.data_hash),
        },
        outputs=(OutputSpec(name, "lora"),),
        inputs=tuple(
            InputFile("dataset", file, "images", image.sha256)
            for file, image in zip(captions, dataset.images, strict=True)
        ),
        label=f"{dataset.character}/lora_training/{take}",
        owner=dataset.character,
    )
