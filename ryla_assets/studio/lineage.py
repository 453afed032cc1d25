"""Faces come only from pictures that were made here for this character: the rule, and the one place that holds it.

Belongs here: what counts as an own picture, and what a job may read. A picture is own if the ledger has a job of this
character whose accepted result holds exactly these pixels, and the store still has them. A manifest proves nothing, nor
does a row: both can be written by hand. So `own_inputs` is asked of the job that is about to be sent (`paid`), of its
graph as well as of its list of files: from whatever manifest, selection, plan or ledger row a stranger's face comes, it
is refused before anything is paid; RYLA_GATES does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from resources import images
from resources.gpu.job import InputFile, Job
from resources.storage import StorageError
from ryla_assets.domain.errors import Refused
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet, LoraArtifact
from ryla_assets.domain.shots import SHEET_SHOTS
from ryla_assets.studio.review import demand_reviewed
from ryla_assets.studio.studio import PICTURES, Studio, pictures_of
from workflows.contents import Contents
from workflows.poses.picture import pose_picture

_BASE = ("base_images", "selected_base_image")
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


def own_inputs(studio: Studio, job: Job, reads: Contents | None) -> None:
    """Pass a job that reads nothing but own pictures and the own LoRA of its owner, and poses that are drawn here.

    `reads` is what its graph names (None: it has no graph). Raises Refused, and TooEarly for a base image of a model
    that no person has reviewed.
    """
    for file in job.inputs:
        known = _INPUTS.get((file.folder, file.kind))
        if known is None:
            raise _refused(file.sha256, job.owner, f"a job has no {file.kind} in {file.folder}")
        known(studio, file, job)
    if reads is None:
        return
    for folder, named in (("input", reads.pictures), ("loras", reads.loras)):
        for name in sorted(named - {file.name for file in job.inputs if file.folder == folder}):
            raise _refused(name, job.owner, "the graph reads it, and it is none of the files that are sent with it")


def named_by_content(sha256: str) -> str:
    """What a stored picture is called on a server: no upload meets another's name."""
    return f"{sha256[:32]}.png"


def index_old(studio: Studio) -> None:
    """Index the sets that were published before there was an index of their pictures."""
    for manifest_sha256 in studio.registry.unindexed(PICTURES):
        with suppress(StorageError):
            studio.registry.index(manifest_sha256, pictures_of(studio.manifest(manifest_sha256)))


def _known_picture(studio: Studio, file: InputFile, job: Job) -> None:
    """A picture that only its hash names: own if one of the character's manifests has a true record of it."""
    if file.folder == "input":
        _check_name(file, job)
    named = studio.registry.named(sha256=file.sha256)
    if not named:
        index_old(studio)
        named = studio.registry.named(sha256=file.sha256)
    why = "no set of pictures names it"
    for one in named:
        manifest = studio.manifest(one.manifest_sha256)
        records = (*manifest.images, *manifest.rejected) if isinstance(manifest, ImageSet) else ()
        for record in records:
            if record.sha256 == file.sha256 and isinstance(manifest, ImageSet):
                try:
                    own_picture(studio, record, job.owner)
                except Refused as error:
                    why = error.message
                    continue
                if manifest.asset in _BASE:
                    demand_reviewed(studio, job.owner, record.sha256, manifest.render_domain)
                return
    raise _refused(file.sha256, job.owner, why)


def _drawn_pose(studio: Studio, file: InputFile, job: Job) -> None:
    """A skeleton: own if the very pixels are drawn again from the shot of one of the job's pictures.

    Its bytes need not be: another version of an encoder writes the same picture otherwise.
    """
    _check_name(file, job)
    poses = list(_poses(job))
    try:
        data = studio.store.get("inputs", file.sha256)
        known = data in poses or _pixels(data) in map(_pixels, poses)
    except (StorageError, images.ImageRejected) as error:
        raise _refused(file.sha256, job.owner, str(error)) from error
    if not known:
        raise _refused(file.sha256, job.owner, "it is no pose that is drawn here for these shots")


def _known_lora(studio: Studio, file: InputFile, job: Job) -> None:
    for sha256 in reversed(studio.registry.manifests("lora_weights", job.owner)):
        manifest = studio.manifest(sha256)
        if isinstance(manifest, LoraArtifact) and (manifest.sha256, manifest.file_name) == (file.sha256, file.name):
            own_lora(studio, manifest, job.owner)
            studio.demand(manifest)
            return
    raise _refused(file.sha256, job.owner, "no training of this character made it")


_INPUTS: dict[tuple[str, str], Callable[[Studio, InputFile, Job], None]] = {  # by folder and kind
    ("input", "images"): _known_picture,
    ("dataset", "images"): _known_picture,
    ("input", "inputs"): _drawn_pose,
    ("loras", "loras"): _known_lora,
}


def _check_name(file: InputFile, job: Job) -> None:
    """A server that has a file of that name already may not be asked to look at it instead."""
    if file.name != named_by_content(file.sha256):
        raise _refused(file.name, job.owner, "it is not named by its content")


def _poses(job: Job) -> Iterator[bytes]:
    """The skeletons that belong to the job's pictures: those of a sheet are called by their shots."""
    for spec in job.outputs:
        for shot in SHEET_SHOTS:
            if spec.name.endswith(f"-{shot.id}"):
                yield pose_picture(shot.view, shot.posture, shot.framing, spec.width, spec.height)


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
    """Why the stored file is not the picture that was made; empty if it is."""
    try:
        pixels = _pixels(studio.store.get("images", record.sha256))
    except (StorageError, images.ImageRejected) as error:
        return str(error)
    return "" if pixels == record.pixels_sha256 else "its stored pixels are not those that were made"


def _pixels(data: bytes) -> str:
    """The hash of what a file shows. Raises ImageRejected, also where it shows more than its pixels."""
    return images.pixels_sha256(images.plain(data))


def _refused(name: str, character: str, why: str) -> Refused:
    return Refused(
        f"{name[:12]} is no picture of {character}: {why}.", field="lineage", value=name[:12], way_out=_WAY_OUT
    )
