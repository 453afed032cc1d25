"""What goes wrong with judgements: strangers that pass, damage nobody sees, numbers of two worlds compared.

Most faces here are scripted; `real_people` draws and measures some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from resources import images
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, Face
from ryla_assets.domain.errors import InputError, NotAccepted, TooEarly
from ryla_assets.domain.images import Caption, ImageRecord, ImageSet, LoraArtifact, LoraDataset, Timing
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.judge import CLAIMS, dataset, integrity, judge, judge_all, timing
from ryla_assets.studio.judgement import Judgement
from ryla_assets.studio.likeness import identity
from ryla_assets.studio.lora import make_dataset, start_training
from ryla_assets.studio.provenance import provenance
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio, name_of
from tests.fakes.scripted_backend import Script, ScriptedBackend, picture, png
from tests.fakes.scripted_studio import (
    IMAGE_PX,
    STRANGER,
    ScriptedScorer,
    decree,
    face,
    scripted_parts,
    to_base,
    to_content,
    to_sheet,
)

MARA, KOFI = "mara-lind", "kofi-mensah"
PX = 64
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio on scripted pictures and faces, with one active character."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX)
    make_character(made, MARA)
    return made


def stored(studio: Studio, shot: str, data: bytes, **changes: Any) -> ImageRecord:
    """A picture put into the store, and its record as `accept` would have written it."""
    image = images.decode(data)
    marked = images.mark(image, source="algorithmicMedia", tool="the test")
    told = {
        "name": f"{shot}.png", "sha256": studio.store.put("images", marked), "width": image.width,
        "pixels_sha256": images.pixels_sha256(image), "height": image.height, "shot": shot, "take": 10, "seed": 1,
        "prompt": "words", "expects_face": True, "method": "pulid", "workflow": "face-swap@1", "job": "f" * 64,
    }  # fmt: skip
    return ImageRecord(**{**told, **changes})


def of(studio: Studio, records: Sequence[ImageRecord], asset: str = "generated_images", **changes: Any) -> ImageSet:
    """A manifest of these records."""
    told = {
        "asset": asset, "character": MARA, "take": 1, "request_id": f"{MARA}/{asset}/1", "backend": "scripted",
        "render_domain": studio.render_domain, "route": "face_swap", "images": tuple(records),
    }  # fmt: skip
    return ImageSet(**{**told, **changes})


def three(studio: Studio) -> list[ImageRecord]:
    """Three different good pictures."""
    return [stored(studio, f"shot-{n}", picture(PX, PX, seed=n)) for n in range(3)]


def file_of(studio: Studio, record: ImageRecord) -> Path:
    """Where the picture lies."""
    return Path(studio.store.uri("images", record.sha256).removeprefix("file://"))


def scorer_of(studio: Studio) -> ScriptedScorer:
    """The scripted scorer, to write its script."""
    assert isinstance(studio.scorer, ScriptedScorer)
    return studio.scorer


# ---- integrity


def test_intact_pictures_pass(studio: Studio) -> None:
    """There, readable, unchanged, of their size, not blank, each once."""
    found = integrity(studio, of(studio, three(studio)))
    assert (found.passed, found.reason) == (True, "3 of 3 pictures are there and intact")
    assert found.numbers == {"images": 3, "faults": 0}


def damaged(studio: Studio, how: str) -> tuple[list[ImageRecord], str]:
    """Three records with one fault, and what must be said of it."""
    records = three(studio)
    victim = records[1]
    if how == "missing":
        file_of(studio, victim).unlink()
        return records, "shot-1: images object .* is not in the store"
    if how == "truncated":
        path = file_of(studio, victim)
        path.write_bytes(path.read_bytes()[:-100])
        return records, "shot-1: .* is damaged: its bytes are not what its name says"
    if how == "pixels":
        records[1] = stored(studio, "shot-1", picture(PX, PX, seed=9), pixels_sha256=victim.pixels_sha256)
        return records, "shot-1: its pixels are not those that were recorded"
    if how == "blank":
        from PIL import Image

        records[1] = stored(studio, "shot-1", png(Image.new("RGB", (PX, PX))))
        return records, "shot-1: blank"
    if how == "size":
        records[1] = victim.model_copy(update={"height": PX * 2})
        return records, f"shot-1: {PX}x{PX} came back, {PX}x{PX * 2} was asked for"
    records[1] = records[0].model_copy(update={"shot": "shot-1"})
    return records, "shot-1: the same picture as shot-0"


@pytest.mark.parametrize("how", ["missing", "truncated", "pixels", "blank", "size", "twice"])
def test_damage_is_found_and_named(studio: Studio, how: str) -> None:
    """Each fault names its shot; the good pictures beside it are not accused."""
    records, said = damaged(studio, how)
    found = integrity(studio, of(studio, records))
    assert not found.passed
    assert pytest.approx(1) == found.numbers["faults"]
    assert_matches(said, found.reason)
    assert "shot-2" not in found.reason


def assert_matches(pattern: str, text: str) -> None:
    """The whole text is that sentence."""
    import re

    assert re.fullmatch(pattern + "[^;]*", text), text


@pytest.mark.parametrize(("asset", "count", "wanted"), [("base_images", 2, 3), ("selected_base_image", 2, 1)])
def test_wrong_number_of_pictures_is_a_fault(studio: Studio, asset: str, count: int, wanted: int) -> None:
    """Two options of three, or two picks of one."""
    found = integrity(studio, of(studio, three(studio)[:count], asset))
    assert (found.passed, found.reason) == (False, f"{count} pictures, {wanted} were asked for")


def test_empty_set_is_not_intact(studio: Studio) -> None:
    """Nothing cannot pass as complete."""
    assert not integrity(studio, of(studio, [])).passed


# ---- provenance


def test_marked_pictures_pass(studio: Studio) -> None:
    """The mark of the set's own domain, re-read from the bytes."""
    found = provenance(studio, of(studio, three(studio)))
    assert found.passed
    assert "algorithmicMedia" in found.reason


def test_unmarked_bytes_fail(studio: Studio) -> None:
    """A picture that lost its mark must never be published."""
    records = three(studio)
    records[1] = records[1].model_copy(update={"sha256": studio.store.put("images", picture(PX, PX, seed=1))})
    found = provenance(studio, of(studio, records))
    assert (found.passed, found.numbers) == (False, {"marked": 2, "signed": 0})
    assert found.reason == "shot-1: marked not at all, algorithmicMedia is due"


def test_drawn_picture_cannot_pass_as_a_models(studio: Studio) -> None:
    """And a model's not as drawn: the mark must be that of the render domain."""
    found = provenance(studio, of(studio, three(studio), render_domain="model"))
    assert not found.passed
    assert "shot-0: marked algorithmicMedia, trainedAlgorithmicMedia is due" in found.reason


def test_missing_picture_has_no_mark(studio: Studio) -> None:
    """A lost file is a fault of every claim that reads it."""
    records = three(studio)
    file_of(studio, records[0]).unlink()
    found = provenance(studio, of(studio, records))
    assert not found.passed
    assert found.reason.startswith("shot-0: ")


# ---- identity, with scripted faces


@pytest.fixture
def set_of_mara(studio: Studio) -> ImageSet:
    """Five generated pictures of Mara, whose sheet and base image are their lineage."""
    base = to_content(studio, MARA)
    sheet = studio.current("character_sheet", MARA)
    assert isinstance(sheet, ImageSet)
    records = [stored(studio, f"shot-{n}", picture(PX, PX, seed=n)) for n in range(5)]
    return of(studio, records, parents=(name_of(sheet), name_of(base)))


def script(studio: Studio, record: ImageRecord, *faces: Face) -> None:
    """What the scorer sees on this picture, also if it looked before."""
    scorer_of(studio).sees[record.pixels_sha256] = list(faces)
    kept = [one.as_dict() for one in faces]
    studio.registry.keep_faces(record.pixels_sha256, studio.scorer.scorer_id, kept)


def test_everybody_is_mara(studio: Studio, set_of_mara: ImageSet) -> None:
    """All declared shots verified; the numbers that are always shown are there."""
    found = identity(studio, set_of_mara)
    assert found.passed
    assert found.numbers["identity_consistency"] == 1.0
    assert found.numbers["identity_gate"] == 0.80
    assert found.numbers["identity_threshold"] == 0.45
    assert found.numbers["identity_lower_bound"] < 1.0
    assert found.scorer_id == "scripted/1"
    assert [row["reason"] for row in found.per_image] == ["verified"] * 5


@pytest.mark.parametrize(
    ("faces", "reason"),
    [
        ([], "no_face"),
        ([face(), face()], "two_faces"),
        ([face(width=40.0)], "face_too_small"),
        ([face(STRANGER)], "distance"),
    ],
    ids=["nobody", "two people", "too small", "stranger"],
)
def test_what_is_not_verified_counts_against(
    studio: Studio, set_of_mara: ImageSet, faces: list[Face], reason: str
) -> None:
    """It stays in the denominator and is named, with its reason."""
    script(studio, set_of_mara.images[3], *faces)
    found = identity(studio, set_of_mara)
    assert (found.numbers["verified"], found.numbers["requested"]) == (4, 5)
    assert f"shot-3: {reason}" in found.reason
    assert found.passed, "four of five is the face-swap gate"
    script(studio, set_of_mara.images[0], face(STRANGER))
    studio.registry.keep_faces(set_of_mara.images[0].pixels_sha256, "scripted/1", [face(STRANGER).as_dict()])
    assert not identity(studio, set_of_mara).passed


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_lost_picture_is_not_verified(studio: Studio, set_of_mara: ImageSet, damage: str) -> None:
    """A judgement with the lost shot in its denominator, not an error that leaves the claim unjudged."""
    path = file_of(studio, set_of_mara.images[2])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:200])
    found = identity(studio, set_of_mara)
    assert (found.numbers["verified"], found.numbers["requested"]) == (4, 5)
    assert f"shot-2: {'missing' if damage == 'missing' else 'unreadable'}" in found.reason


def test_shot_without_declared_face_is_not_counted(studio: Studio, set_of_mara: ImageSet) -> None:
    """A back view is told and enters no share, whoever would be on it."""
    back = set_of_mara.images[0].model_copy(update={"expects_face": False})
    manifest = set_of_mara.model_copy(update={"images": (back, *set_of_mara.images[1:])})
    script(studio, back, face(STRANGER))
    found = identity(studio, manifest)
    assert (found.numbers["verified"], found.numbers["requested"]) == (4, 4)


def test_set_without_a_declared_face_does_not_pass(studio: Studio, set_of_mara: ImageSet) -> None:
    """Nothing measured is not consistent."""
    blind = tuple(image.model_copy(update={"expects_face": False}) for image in set_of_mara.images)
    assert not identity(studio, set_of_mara.model_copy(update={"images": blind})).passed


def test_lora_route_has_the_stricter_gate(studio: Studio, set_of_mara: ImageSet) -> None:
    """Four of five is enough for a face swap, not for the LoRA."""
    script(studio, set_of_mara.images[3], face(STRANGER))
    assert identity(studio, set_of_mara).passed
    found = identity(studio, set_of_mara.model_copy(update={"route": "lora"}))
    assert (found.passed, found.numbers["identity_gate"]) == (False, 0.95)


def test_margin_is_measured_against_the_nearest_other(
    studio: Studio, set_of_mara: ImageSet, make_character: Makes
) -> None:
    """Without another character there is no margin; with two, the nearer one counts."""
    assert identity(studio, set_of_mara).numbers["identity_margin"] is None
    for who, at in ((KOFI, 0.7), ("yuki-tanaka", 2.0)):
        make_character(studio, who)
        embedding = list(face(at).embedding)
        studio.registry.keep_template(
            who, "scripted/1", render_domain="preview", embedding=embedding, source_sha256="0" * 64
        )
    assert identity(studio, set_of_mara).numbers["identity_margin"] == pytest.approx(0.7)


def test_model_and_preview_are_never_compared(
    studio: Studio, set_of_mara: ImageSet, open_studio: Opens, make_character: Makes
) -> None:
    """A set of the preview, judged in a studio on a model backend, is an error and no verdict."""
    model = open_studio(parts={**scripted_parts(domain="model"), "scorer": studio.scorer}, image_px=IMAGE_PX)
    with pytest.raises(InputError, match="'preview' cannot be compared with a template of domain 'model'"):
        identity(model, set_of_mara)


def test_threshold_is_the_domains(open_studio: Opens, make_character: Makes) -> None:
    """A distance of 0.5 is the same person for a model and somebody else for the preview."""
    verdicts = {}
    for domain, who in (("preview", MARA), ("model", KOFI)):
        house = open_studio(parts=scripted_parts(domain=domain), image_px=IMAGE_PX)
        make_character(house, who)
        base = to_content(house, who)
        sheet = house.current("character_sheet", who)
        assert isinstance(sheet, ImageSet)
        record = stored(house, "shot", picture(PX, PX, seed=hash(domain) % 1000))
        script(house, record, face(0.5))
        manifest = of(house, [record], parents=(name_of(sheet), name_of(base)), character=who)
        verdicts[domain] = identity(house, manifest).numbers
    assert (verdicts["preview"]["verified"], verdicts["preview"]["identity_threshold"]) == (0, 0.45)
    assert (verdicts["model"]["verified"], verdicts["model"]["identity_threshold"]) == (1, 0.60)


def test_template_comes_from_the_lineage(studio: Studio) -> None:
    """A sheet is compared with the base image that it was drawn from, whoever is picked by now."""
    one = to_base(studio, MARA, option=1)
    script(studio, one.images[0], face())
    sheet = make_sheet(studio, one)
    studio.publish(sheet)
    two = to_base(studio, MARA, option=2)
    script(studio, two.images[0], face(STRANGER))
    assert studio.accepted("selected_base_image", MARA) == two
    found = judge(studio, "character_sheet", MARA, "identity")
    assert found.passed
    assert found.numbers["identity_worst"] == 0.0


def test_reference_with_two_people_is_no_reference(studio: Studio) -> None:
    """Which of the two would the character be? Another option must be selected."""
    base = to_base(studio, MARA)
    script(studio, base.images[0], face(), face(STRANGER))
    with pytest.raises(NotAccepted, match="2 faces were found on the selected base image") as caught:
        make_sheet(studio, base)
    assert "Select another option" in caught.value.way_out


# ---- the re-roll


def prefix(shot: str, take: int) -> str:
    """The output name of a sheet's shot; take 1 is 10, its re-roll 11."""
    return f"{MARA}/character-sheet-{take}-{shot}"


def on(studio: Studio, shot: str, take: int, *faces: Face) -> None:
    """Script what is seen on a shot that is not drawn yet."""
    scorer_of(studio).sees[prefix(shot, take)] = list(faces)


def test_reroll_keeps_the_better_take_and_records_the_other(studio: Studio) -> None:
    """One failed shot is drawn once more and is better now; one is worse; one shows nobody either time."""
    base = to_base(studio, MARA)
    for shot, first, second in (
        ("front-smile", [face(0.8)], [face(0.1)]),
        ("left-neutral", [face(0.6)], [face(0.7)]),
        ("front-sitting", [], []),
    ):
        on(studio, shot, 10, *first)
        on(studio, shot, 11, *second)
    sheet = make_sheet(studio, base)
    kept = {image.shot: image.take for image in sheet.images}
    assert [image.shot for image in sheet.images] == list(kept), "and each shot is in its place"
    assert {shot for shot, take in kept.items() if take == 11} == {"front-smile"}
    assert {(image.shot, image.take) for image in sheet.rejected} == {
        ("front-smile", 10),
        ("left-neutral", 11),
        ("front-sitting", 11),
    }
    assert sheet.timing.jobs == 2 + 2, "both rounds are paid for and told"


def test_reroll_draws_the_failed_shots_only(studio: Studio) -> None:
    """What verified is not paid twice, and a sheet without failures is not drawn again."""
    base = to_base(studio, MARA)
    on(studio, "front-smile", 10, face(STRANGER))
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    before = len(backend.sent)
    sheet = make_sheet(studio, base)
    again = [job for job in backend.sent[before:] if "re-roll" in job]
    assert len(again) == 1
    assert [image.shot for image in sheet.rejected] == ["front-smile"]


def test_reroll_happens_once(studio: Studio) -> None:
    """A sheet that stays refused is not drawn again and again; materializing it again adopts both rounds."""
    sheet = to_sheet(studio, MARA, accepted=False)
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    sent = len(backend.sent)
    base = studio.accepted("selected_base_image", MARA)
    assert isinstance(base, ImageSet)
    assert make_sheet(studio, base) == sheet
    assert len(backend.sent) == sent


def test_undeclared_shots_are_not_rerolled(studio: Studio) -> None:
    """Nobody's face is expected on a profile, so nothing failed there."""
    base = to_base(studio, MARA)
    on(studio, "side-left", 10)
    assert make_sheet(studio, base).rejected == ()


# ---- timing


def timed(
    open_studio: Opens, make_character: Makes, exec_s: float, domain: str = "model", **settings: Any
) -> Judgement:
    """The timing of base images on a backend that takes this long."""
    parts = scripted_parts(domain=domain, scripts=[Script(states=("succeeded",), exec_s=exec_s)])
    house = open_studio(parts=parts, image_px=256, **settings)
    make_character(house, MARA)
    made = make_base_images(house, MARA)
    return timing(house, made)


def test_slow_model_backend_fails_its_target(open_studio: Opens, make_character: Makes) -> None:
    """Over 30 s for three options; queue, cold start and overhead are told apart and not counted."""
    found = timed(open_studio, make_character, 31.5, gpu_profile="RTX 4090")
    assert (found.passed, found.evidence) == (False, True)
    assert found.reason == "execution 31.5 s of at most 30 s (RTX 4090)"
    assert (found.numbers["took_s"], found.numbers["target_s"]) == (31.5, 30.0)
    assert (found.numbers["queue_s"], found.numbers["cold_s"]) == (0.25, 0.5)
    assert found.numbers["cost_usd"] == 0.01


def test_fast_model_backend_meets_its_target(open_studio: Opens, make_character: Makes) -> None:
    """And what it was judged on is named, or that nobody named it."""
    found = timed(open_studio, make_character, 29.9)
    assert found.passed
    assert "no GPU profile named" in found.reason


def test_preview_timing_is_no_evidence(open_studio: Opens, make_character: Makes) -> None:
    """However slow or fast, a preview says nothing about the product's time."""
    found = timed(open_studio, make_character, 31.5, domain="preview")
    assert (found.passed, found.evidence) == (True, False)
    assert found.reason.startswith("preview timing, not evidence")


def test_failed_time_refuses_nothing(open_studio: Opens, make_character: Makes) -> None:
    """Time is told, never required: slow base images can be picked from."""
    parts = scripted_parts(domain="model", scripts=[Script(states=("succeeded",), exec_s=99.0)])
    house = open_studio(parts=parts, image_px=256)
    make_character(house, MARA)
    house.publish(make_base_images(house, MARA))
    found = {one.claim: one.passed for one in judge_all(house, "base_images", MARA)}
    assert found == {**dict.fromkeys(CLAIMS["base_images"], True), "timing": False}
    assert house.is_accepted("base_images", MARA)


@pytest.mark.parametrize(
    ("count", "jobs", "longest", "passed"), [(4, 2, 29.0, True), (4, 2, 31.0, False), (1, 1, 15.5, False)]
)
def test_generated_images_are_judged_by_the_image(
    studio: Studio, count: int, jobs: int, longest: float, passed: bool
) -> None:
    """15 s an image: a graph of two may take 30 s."""
    spent = Timing(exec_s=longest * jobs, longest_exec_s=longest, jobs=jobs)
    manifest = of(studio, (three(studio) * 2)[:count], render_domain="model", timing=spent)
    assert timing(studio, manifest).passed is passed


# ---- datasets, weights


def test_dataset_faults_are_named(studio: Studio) -> None:
    """No trigger, a lost picture, one twice, too few: a LoRA would learn all of that."""
    records = three(studio)
    file_of(studio, records[0]).unlink()
    rows = [(records[0], "bcdfghjk, a photo"), (records[1], "a photo"), (records[1], "bcdfghjk, again")]
    manifest = LoraDataset(
        character=MARA, take=1, request_id="r", render_domain="preview", base_model="flux-dev", trigger="bcdfghjk",
        images=tuple(
            Caption(sha256=r.sha256, pixels_sha256=r.pixels_sha256, caption=caption, shot=r.shot) for r, caption in rows
        ),
    )  # fmt: skip
    found = dataset(studio, manifest)
    assert not found.passed
    for fault in ("shot-1: no trigger", "shot-0: not in the store", "twice", "3 pictures; 6 are needed"):
        assert fault in found.reason


def test_dataset_of_a_sheet_leaves_out_what_is_not_mara(studio: Studio) -> None:
    """Each shot that was left out says why; the base image is always in."""
    base = to_base(studio, MARA)
    sheet = to_sheet_with(studio, base, "front-smile")
    made = make_dataset(studio, sheet)
    assert made.images[0].shot == "option-1"
    assert made.left_out["front-smile"] == "distance"
    assert made.left_out["side-left"] == "declared without a scorable face"
    assert len(made.images) == 1 + 5
    studio.publish(made)
    assert judge(studio, "lora_dataset", MARA, "dataset").passed


def test_copy_of_the_base_image_is_not_trained_on(studio: Studio) -> None:
    """A sheet picture that is the base image again would teach one picture twice; an accepted sheet may hold one."""
    sheet = to_sheet(studio, MARA)
    base = studio.manifest(sheet.parents[0])
    assert isinstance(base, ImageSet)
    spoilt = base.images[0].model_copy(update={"shot": "front-smile", "expects_face": True})
    images = tuple(spoilt if one.shot == "front-smile" else one for one in sheet.images)
    copied = sheet.model_copy(update={"images": images})
    decree(studio, copied)
    made = make_dataset(studio, copied)
    assert made.left_out["front-smile"] == "copy"
    assert [one.sha256 for one in made.images].count(base.images[0].sha256) == 1


def to_sheet_with(studio: Studio, base: ImageSet, stranger: str) -> ImageSet:
    """A sheet with one stranger in all takes, accepted by decree."""
    for take in (10, 11, 12):
        on(studio, stranger, take, face(STRANGER))
    sheet = make_sheet(studio, base)
    decree(studio, sheet)
    return sheet


def test_file_that_is_no_lora_is_refused(studio: Studio) -> None:
    """Whatever the worker said, the stored bytes decide, and the status says failed."""
    artifact = LoraArtifact(
        character=MARA, take=1, request_id="r", backend="scripted", render_domain="preview",
        sha256=studio.store.put("loras", b"not a LoRA at all"), file_name="x", base_model="flux-dev",
        trigger="bcdfghjk", steps=1000, rank=16, bytes=17, dataset_hash="d" * 64, job="f" * 64,
    )  # fmt: skip
    studio.publish(artifact)
    assert not judge(studio, "lora_weights", MARA, "lora_file").passed
    assert not studio.is_accepted("lora_weights", MARA)
    assert studio.registry.character(MARA).lora_status == "failed"


# ---- the gate row, and gates in hand


def test_nothing_to_judge_is_told(studio: Studio) -> None:
    """A check of what was never made."""
    with pytest.raises(TooEarly, match="has no character_sheet to judge"):
        judge(studio, "character_sheet", MARA, "identity")


def test_every_judgement_is_a_row(studio: Studio) -> None:
    """Claim, verdict, reason, numbers and scorer: what every way in asks."""
    sheet = to_sheet(studio, MARA, accepted=False)
    rows = {gate.claim: gate for gate in studio.registry.gates("character_sheet", MARA, name_of(sheet))}
    assert set(rows) == set(CLAIMS["character_sheet"])
    assert rows["identity"].passed is False
    assert rows["identity"].scorer_id == "scripted/1"
    assert rows["identity"].numbers["identity_consistency"] == 0.0
    assert rows["integrity"].passed is True
    assert studio.refusals("character_sheet", MARA, name_of(sheet)) == {"identity": rows["identity"].reason}


def test_two_runs_on_one_character_judge_their_own(studio: Studio, open_studio: Opens) -> None:
    """Two requests answered at once: each run's checks are about its own pictures, and neither set stays unjudged."""
    to_content(studio, MARA)
    other = open_studio(parts={**scripted_parts(), "scorer": studio.scorer}, image_px=IMAGE_PX)
    made = {}
    for house in (studio, other):
        made[id(house)] = generate(house, ask(house, MARA, ContentRequest(count=1)))
        house.publish(made[id(house)])
    for house in (studio, other):
        found = judge_all(house, "generated_images", MARA)
        assert {one.manifest_sha256 for one in found} == {name_of(made[id(house)])}
    for images_of_run in made.values():
        assert studio.refusals("generated_images", MARA, name_of(images_of_run)) == {}
    head = studio.registry.head("generated_images", MARA)
    assert head is not None
    assert head.accepted_sha256 == head.current_sha256 == name_of(made[id(other)])


def test_passing_is_not_remembered_for_other_bytes(studio: Studio) -> None:
    """A picture that was lost after the sheet was accepted takes the acceptance away, and its dataset's base."""
    sheet = to_sheet(studio, MARA)
    path = file_of(studio, sheet.images[0])
    path.unlink()
    assert not judge(studio, "character_sheet", MARA, "integrity").passed
    with pytest.raises(NotAccepted, match="front-neutral"):
        studio.accepted("character_sheet", MARA)


def test_refused_sheet_in_hand_makes_no_dataset(studio: Studio) -> None:
    """Handing the manifest over directly is a way in like any other."""
    base = to_base(studio, MARA)
    sheet = make_sheet(studio, base)
    studio.publish(sheet)
    with pytest.raises(NotAccepted, match="not yet judged"):
        make_dataset(studio, sheet)
    decree(studio, sheet, refused="identity")
    with pytest.raises(NotAccepted, match="identity: by decree") as caught:
        make_dataset(studio, sheet)
    assert "another on purpose" in caught.value.way_out


def test_dataset_of_a_sheet_that_is_refused_by_now_is_not_trained_on(studio: Studio) -> None:
    """The sheet was accepted when the dataset was made; a later judgement counts."""
    sheet = to_sheet(studio, MARA)
    made = make_dataset(studio, sheet)
    studio.publish(made)
    judge(studio, "lora_dataset", MARA, "dataset")
    file_of(studio, sheet.images[-1]).unlink()
    judge(studio, "character_sheet", MARA, "integrity")
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    sent = len(backend.sent)
    with pytest.raises(NotAccepted, match="integrity: front-dynamic"):
        start_training(studio, made)
    assert len(backend.sent) == sent


def test_content_on_an_unjudged_sheet_is_refused(studio: Studio) -> None:
    """Asked for it may be; sent it is not."""
    base = to_base(studio, MARA)
    studio.publish(make_sheet(studio, base))
    request = ask(studio, MARA, ContentRequest(count=1))
    with pytest.raises(NotAccepted, match="not yet judged") as caught:
        generate(studio, request)
    assert "Execute the checks of character_sheet" in caught.value.way_out


# ---- real faces


def test_strangers_are_not_verified(open_studio: Opens, make_character: Makes) -> None:
    """The negative control: pictures of another person against this template give no consistency."""
    house = open_studio(parts={**scripted_parts(), "scorer": DlibScorer()})
    make_character(house, MARA)
    mara, kofi = drawn(house, 101, "female", "caucasian"), drawn(house, 202, "male", "black")
    reference = of(house, [mara[0]], "selected_base_image", route="base")
    decree(house, reference)
    sheet = of(house, [], "character_sheet", route="sheet", parents=(name_of(reference),))
    decree(house, sheet)
    lineage = {"parents": (name_of(sheet), name_of(reference))}
    own, others = (identity(house, of(house, records[1:], **lineage)) for records in (mara, kofi))
    assert (own.passed, own.numbers["identity_consistency"]) == (True, 1.0)
    assert (others.passed, others.numbers["identity_consistency"]) == (False, 0.0)
    assert others.numbers["identity_mean"] > own.numbers["identity_worst"]
    assert own.scorer_id.startswith("dlib-resnet/")


def drawn(studio: Studio, seed: int, gender: str, ethnicity: str) -> list[ImageRecord]:
    """Five close-ups of one adult, each lit and dressed in its own way."""
    who = person(seed, {"gender": gender, "ethnicity": ethnicity, "age": "34"})
    looks = [Look(seed=n, expression=expression) for n, expression in enumerate(("neutral", "smile", "relaxed"))]
    return [stored(studio, f"{gender}-{n}", png(render(who, look, 256, 256))) for n, look in enumerate(looks)]
