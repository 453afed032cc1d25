"""Faces come only from pictures that were made here for this character: the rule, and the one place that holds it.

Belongs here: what counts as an own picture. A picture is own if the ledger has a job of this character whose accepted
result holds exactly these pixels, and the store still has them. A manifest proves nothing, nor does a row: both can be
written by hand. `own_inputs` stands where a plan is made or read (`plans.plan_once`), so from whatever
manifest, selection or plan a stranger's face comes, it is refused before anything is paid; RYLA_GATES does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from resources import images
from resources.gpu.job import InputFile, Job
from resources.storage import StorageError
from ryla_assets.domain.errors import Refused
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet, LoraArtifact
from ryla_assets.studio.studio import PICTURES, Studio, pictures_of

_WAY_OUT = "Faces come only from pictures that were made here for this character: make its base images anew, and pick."


def own_picture(studio: Studio, record: ImageRecord, character: str) -> None:
    """Pass a picture that this pipeline made for this character, whole as it was accepted.

    Raises Refused for a file from outside, a picture of another character, changed bytes or pixels, a changed record.
    """
    why = _foreign(studio, record.job, character, "image", record.pixels_sha256) or _damage(studio, record)
    if why:
        raise _refused(record.sha256, character, why)


def own_lora(studio: Studio, file: LoraArtifact, character: str) -> None:
    """Pass a LoRA that was trained here on this character. Raises Refused; its bytes are verified when sent."""
    why = _foreign(studio, file.job, character, "lora", file.sha256)
    if why or file.character != character:
        raise _refused(file.sha256, character, why or f"it is a LoRA of {file.character}")


def own_captions(studio: Studio, captions: Iterable[Caption], sources: Iterable[ImageSet], character: str) -> None:
    """Pass training pictures that are own pictures of the sets that they were chosen from. Raises Refused."""
    records = {one.sha256: one for source in sources for one in source.images}
    for caption in captions:
        record = records.get(caption.sha256)
        if record is None or record.pixels_sha256 != caption.pixels_sha256:
            raise _refused(caption.sha256, character, "it is in none of the sets that the dataset was made from")
        own_picture(studio, record, character)


def own_inputs(studio: Studio, jobs: Iterable[Job], character: str) -> None:
    """Pass jobs whose every picture and LoRA is this character's own; poses are drawn here. Raises Refused."""
    for job in jobs:
        if job.owner != character:
            raise _refused(job.label, character, f"the job is for {job.owner or 'nobody'}")
    for file in sorted({file for job in jobs for file in job.inputs}, key=lambda one: (one.kind, one.sha256)):
        if file.kind == "loras":
            _known_lora(studio, file, character)
        elif file.kind == "images" or file.folder == "dataset":
            _known_picture(studio, file, character)


def index_old(studio: Studio) -> None:
    """Index the sets that were published before there was an index of their pictures."""
    for manifest_sha256 in studio.registry.unindexed(PICTURES):
        with suppress(StorageError):
            studio.registry.index(manifest_sha256, pictures_of(studio.manifest(manifest_sha256)))


def _known_picture(studio: Studio, file: InputFile, character: str) -> None:
    """A picture that only its hash names: own if one of the character's manifests has a true record of it."""
    named = studio.registry.named(sha256=file.sha256)
    if not named:
        index_old(studio)
        named = studio.registry.named(sha256=file.sha256)
    why = "no set of pictures names it"
    for one in named:
        manifest = studio.manifest(one.manifest_sha256)
        records = (*manifest.images, *manifest.rejected) if isinstance(manifest, ImageSet) else ()
        for record in records:
            if record.sha256 == file.sha256:
                try:
                    own_picture(studio, record, character)
                except Refused as error:
                    why = error.message
                else:
                    return
    raise _refused(file.sha256, character, why)


def _known_lora(studio: Studio, file: InputFile, character: str) -> None:
    for sha256 in reversed(studio.registry.manifests("lora_weights", character)):
        manifest = studio.manifest(sha256)
        if isinstance(manifest, LoraArtifact) and manifest.sha256 == file.sha256:
            own_lora(studio, manifest, character)
            return
    raise _refused(file.sha256, character, "no training of this character made it")


def _foreign(studio: Studio, fingerprint: str, character: str, media: str, expected: str) -> str:
    """Why the ledger does not know it as the accepted result of a job of this character; empty if it does."""
    ledger = studio.runner.ledger
    row = ledger.job(fingerprint)
    if row is None or row.result is None or row.accepted_attempt is None:
        return "no job of ours with an accepted result made it"
    if row.job.owner != character:
        return f"it was made for {row.job.owner or 'nobody'}"
    if not any(one.id == row.accepted_attempt and one.state == "succeeded" for one in ledger.attempts(fingerprint)):
        return "the attempt that is said to have made it did not succeed"
    key = "pixels_sha256" if media == "image" else "sha256"
    if not any(output["media"] == media and output.get(key) == expected for output in row.result):
        return "the job that is said to have made it made something else"
    return ""


def _damage(studio: Studio, record: ImageRecord) -> str:
    try:
        pixels = images.pixels_sha256(images.decode(studio.store.get("images", record.sha256)))
    except (StorageError, images.ImageRejected) as error:
        return str(error)
    return "" if pixels == record.pixels_sha256 else "its stored pixels are not those that were made"


def _refused(name: str, character: str, why: str) -> Refused:
    return Refused(
        f"{name[:12]} is no picture of {character}: {why}.", field="lineage", value=name[:12], way_out=_WAY_OUT
    )
