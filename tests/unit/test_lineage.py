"""What goes wrong with the origin of faces: a file from outside, another one's picture, a changed record.

Each kind of stranger is tried at every stage that looks at a face; each is refused with nothing sent.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from resources import images
from resources.database import writing
from resources.gpu import tables as ledger
from ryla_assets.domain.errors import InputError, Refused
from ryla_assets.domain.images import ImageRecord, ImageSet, LoraArtifact, to_json
from ryla_assets.registry import tables
from ryla_assets.registry.records import Request
from ryla_assets.studio.base import make_base_images, pick, selected_base_image
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.lineage import own_lora, own_picture
from ryla_assets.studio.lora import make_dataset, start_training
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio, name_of
from tests.fakes.scripted_backend import ScriptedBackend, picture
from tests.fakes.scripted_studio import IMAGE_PX, decree, judged, scripted_parts, to_base, to_content, to_sheet

MARA, KOFI = "mara-lind", "kofi-mensah"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]
STRANGERS = ("from outside", "another character's", "other pixels", "other job", "damaged")


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio on scripted pictures, with two active characters."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7)
    for who in (MARA, KOFI):
        make_character(made, who)
    return made


def sent(studio: Studio) -> int:
    """How many jobs reached the backend."""
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    return len(backend.sent)


def stranger(studio: Studio, own: ImageRecord, kind: str) -> ImageRecord:
    """A record that stands where `own` stood, and is not it."""
    if kind == "another character's":
        other = judged(studio, make_base_images(studio, KOFI)).images[0]
        return other.model_copy(update={"shot": own.shot})
    if kind == "other job":
        other = judged(studio, make_base_images(studio, KOFI)).images[0]
        return own.model_copy(update={"job": other.job})
    if kind == "damaged":
        path = studio.settings.home / "store" / "images" / own.sha256[:2] / f"{own.sha256}.png"
        path.write_bytes(path.read_bytes()[:-20])
        return own
    data = picture(own.width, own.height, seed=77)
    image = images.decode(data)
    marked = images.mark(image, source="algorithmicMedia", tool="RYLA Assets")
    hashes = {"sha256": studio.store.put("images", marked), "pixels_sha256": images.pixels_sha256(image)}
    if kind == "other pixels":
        hashes["pixels_sha256"] = own.pixels_sha256  # claims to be the picture that the job made
    return own.model_copy(update=hashes)


def test_own_pictures_pass(studio: Studio) -> None:
    """Base images and sheet, as the stages made them."""
    sheet = to_sheet(studio, MARA)
    base = studio.accepted("selected_base_image", MARA)
    assert isinstance(base, ImageSet)
    for record in (*base.images, *sheet.images):
        own_picture(studio, record, MARA)
    with pytest.raises(Refused, match="it was made for mara-lind"):
        own_picture(studio, base.images[0], KOFI)


@pytest.mark.parametrize("kind", STRANGERS)
def test_stranger_is_no_own_picture(studio: Studio, kind: str) -> None:
    """The rule itself: the refusal says which part of the origin is missing."""
    base = to_base(studio, MARA)
    told = {
        "from outside": "made something else",
        "another character's": f"it was made for {KOFI}",
        "other pixels": "its stored pixels are not those",
        "other job": f"it was made for {KOFI}",
        "damaged": "is damaged",
    }
    with pytest.raises(Refused, match=told[kind]) as caught:
        own_picture(studio, stranger(studio, base.images[0], kind), MARA)
    assert caught.value.field == "lineage"
    assert "Faces come only from pictures that were made here" in caught.value.way_out


def test_result_that_was_never_accepted_is_no_origin(studio: Studio) -> None:
    """A job's row without an accepted result proves nothing; nor does no row at all."""
    record = to_base(studio, MARA).images[0]
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(ledger.jobs).where(ledger.jobs.c.fingerprint == record.job).values(accepted_attempt=None))
    with pytest.raises(Refused, match="no job of ours with an accepted result"):
        own_picture(studio, record, MARA)
    with pytest.raises(Refused, match="no job of ours with an accepted result"):
        own_picture(studio, record.model_copy(update={"job": "0" * 64}), MARA)


def test_own_picture_with_another_behind_it_is_a_stranger(studio: Studio) -> None:
    """ComfyUI loads every frame of a file: the first one being own is not enough."""
    base = to_base(studio, MARA)
    own = images.decode(studio.store.get("images", base.images[0].sha256))
    out = io.BytesIO()
    own.save(out, format="PNG", save_all=True, append_images=[images.decode(picture(*own.size, seed=77))])
    two = base.images[0].model_copy(update={"sha256": studio.store.put("images", out.getvalue())})
    with pytest.raises(Refused, match="shows something else than its pixels \\(frames\\)"):
        own_picture(studio, two, MARA)


# ---- each stage


def forged(studio: Studio, manifest: ImageSet, kind: str) -> ImageSet:
    """The manifest with a stranger in it, published and judged good by hand: only its origin is wrong."""
    record = stranger(studio, manifest.images[0], kind)
    made = manifest.model_copy(update={"images": (record, *manifest.images[1:])})
    decree(studio, made)
    return made


def refused(studio: Studio, call: Callable[[], object], *, field: str = "lineage") -> None:
    """The call is refused, by the lineage rule unless `field` says otherwise, and nothing is sent."""
    before = sent(studio)
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.field == field
    assert sent(studio) == before


def rewrite_plan(studio: Studio, request: Request, plan: object) -> None:
    """Write another plan into a request's row by hand."""
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(tables.requests).where(tables.requests.c.id == request.id).values(plan=plan))


@pytest.mark.parametrize("kind", STRANGERS)
def test_pick_of_a_stranger_is_refused(studio: Studio, kind: str) -> None:
    """No selection is written."""
    base = judged(studio, make_base_images(studio, MARA))
    forged(studio, base, kind)
    refused(studio, lambda: pick(studio, MARA, option=1, who="x", why="y"))
    assert studio.registry.selection(MARA) is None


@pytest.mark.parametrize("kind", STRANGERS)
def test_sheet_of_a_stranger_is_refused(studio: Studio, kind: str) -> None:
    """However good its gates are: the face that PuLID is given must be of this character's making."""
    base = forged(studio, to_base(studio, MARA), kind)
    refused(studio, lambda: make_sheet(studio, base))


@pytest.mark.parametrize("kind", STRANGERS)
def test_content_from_a_stranger_is_refused(studio: Studio, kind: str) -> None:
    """The face-swap route looks at the selected base image: it is asked for its origin with every plan."""
    base = to_content(studio, MARA)
    forged(studio, base, kind)
    request = ask(studio, MARA, ContentRequest(count=1))
    refused(studio, lambda: generate(studio, request))


@pytest.mark.parametrize("kind", ["from outside", "another character's", "damaged"])
def test_planned_content_is_asked_again(studio: Studio, kind: str) -> None:
    """A plan is a row: one that was changed by hand sends no stranger's face."""
    base = to_content(studio, MARA)
    request = ask(studio, MARA, ContentRequest(count=1))
    generate(studio, request)
    other = stranger(studio, base.images[0], kind)
    found = studio.registry.request(request.id)
    assert found is not None
    assert found.plan is not None
    for job in found.plan:
        for file in job["job"]["inputs"]:
            file["sha256"] = other.sha256
    rewrite_plan(studio, request, found.plan)
    refused(studio, lambda: generate(studio, request))


def test_plan_for_somebody_else_is_refused(studio: Studio) -> None:
    """A job's owner is who pays and whose face it may see."""
    to_content(studio, MARA)
    request = ask(studio, MARA, ContentRequest(count=1))
    generate(studio, request)
    found = studio.registry.request(request.id)
    assert found is not None
    assert found.plan is not None
    found.plan[0]["job"]["owner"] = KOFI
    rewrite_plan(studio, request, found.plan)
    refused(studio, lambda: generate(studio, request), field="plan")


@pytest.mark.parametrize("kind", ["from outside", "another character's", "other job"])
def test_dataset_with_a_stranger_is_refused(studio: Studio, kind: str) -> None:
    """Nobody's face is learned from a picture that was not made here for this character."""
    sheet = to_sheet(studio, MARA)
    made = forged(studio, sheet, kind)
    refused(studio, lambda: make_dataset(studio, made))


@pytest.mark.parametrize("kind", ["from outside", "another character's", "other pixels", "not of the sheet"])
def test_training_on_a_stranger_is_refused(studio: Studio, kind: str) -> None:
    """A dataset names its pictures by hash alone: each must be an own picture of the sets that it was chosen from."""
    sheet = to_sheet(studio, MARA)
    whole = make_dataset(studio, sheet)
    decree(studio, whole)  # type: ignore[arg-type]
    first = whole.images[0]
    if kind == "not of the sheet":
        other = judged(studio, make_base_images(studio, MARA)).images[1]
    else:
        base = studio.accepted("selected_base_image", MARA)
        assert isinstance(base, ImageSet)
        other = stranger(studio, base.images[0], kind)
    caption = first.model_copy(update={"sha256": other.sha256, "pixels_sha256": other.pixels_sha256})
    made = whole.model_copy(update={"images": (caption, *whole.images[1:])})
    decree(studio, made)  # type: ignore[arg-type]
    refused(studio, lambda: start_training(studio, made))


def test_lora_from_elsewhere_is_refused(studio: Studio) -> None:
    """A file that no training of ours made for this character renders nothing, whatever its manifest says."""
    base = to_content(studio, MARA)
    file = studio.store.put("loras", b"somebody else's weights")
    artifact = LoraArtifact(
        character=MARA, take=1, request_id="r", backend="scripted", render_domain="preview", sha256=file,
        file_name=f"{MARA}-{file[:12]}.safetensors", base_model="flux-dev", trigger="bcdfghjk", steps=1000, rank=16,
        bytes=23, dataset_hash="d", job=base.images[0].job,
    )  # fmt: skip
    decree(studio, artifact)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="made something else"):
        own_lora(studio, artifact, MARA)
    request = ask(studio, MARA, ContentRequest(count=1, method="lora"))
    refused(studio, lambda: generate(studio, request))


# ---- rows and manifests that were changed


def rewrite(studio: Studio, **values: object) -> None:
    """Change the selection's row by hand."""
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(tables.selections).values(**values))


def test_selection_of_another_character_s_set_is_refused(studio: Studio) -> None:
    """Both hashes point at Kofi's accepted picture: it is not of Mara's base images."""
    to_base(studio, MARA)
    other = judged(studio, make_base_images(studio, KOFI))
    rewrite(studio, manifest_sha256=name_of(other), image_sha256=other.images[0].sha256)
    with pytest.raises(InputError, match="names no picture of its base images"):
        selected_base_image(studio, MARA, who="x")


def test_selection_of_a_file_from_outside_is_refused(studio: Studio) -> None:
    """A sha256 that is in the store, and in no set."""
    base = to_base(studio, MARA)
    outside = stranger(studio, base.images[0], "from outside")
    rewrite(studio, image_sha256=outside.sha256)
    with pytest.raises(InputError, match="names no picture of its base images"):
        selected_base_image(studio, MARA, who="x")


def test_selection_of_a_written_manifest_is_refused(studio: Studio) -> None:
    """A manifest put into the store by hand, naming a sha that no job made."""
    to_base(studio, MARA)
    base = studio.accepted("base_images", MARA)
    assert isinstance(base, ImageSet)
    outside = stranger(studio, base.images[0], "from outside")
    written = base.model_copy(update={"images": (outside,)})
    manifest = studio.store.put("manifests", to_json(written))
    assert manifest == hashlib.sha256(to_json(written)).hexdigest()
    rewrite(studio, manifest_sha256=manifest, image_sha256=outside.sha256)
    refused(studio, lambda: selected_base_image(studio, MARA, who="x"))


def test_recording_gates_let_no_stranger_in(open_studio: Opens, make_character: Makes) -> None:
    """RYLA_GATES=record is about quality, never about whose face it is."""
    studio = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7, gates="record")
    for who in (MARA, KOFI):
        make_character(studio, who)
    base = forged(studio, to_base(studio, MARA), "another character's")
    refused(studio, lambda: make_sheet(studio, base))
