"""What goes wrong beside the identity gate: copies, polished evidence, drift unseen, two characters with one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from resources import images
from resources.identity import ScorerUnavailable, Seen
from ryla_assets.domain.errors import RylaError
from ryla_assets.domain.images import (
    Caption,
    ImageRecord,
    ImageSet,
    LoraArtifact,
    LoraDataset,
    TrainingTicket,
    to_json,
)
from ryla_assets.studio.faces import look_ahead, original_of, score_image, sheet_mean, template_history
from ryla_assets.studio.judge import judge
from ryla_assets.studio.likeness import distinct, drift, evidence, identity
from ryla_assets.studio.studio import Studio, name_of
from tests.fakes.scripted_backend import picture
from tests.fakes.scripted_studio import (
    IMAGE_PX,
    STRANGER,
    ScriptedScorer,
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
    """A studio whose pictures pass as a model's, with one active character."""
    made = open_studio(parts=scripted_parts(domain="model"), image_px=IMAGE_PX)
    make_character(made, MARA)
    return made


@pytest.fixture
def base(studio: Studio) -> ImageSet:
    """Mara's selected base image; content may be asked of her."""
    return to_content(studio, MARA)


def content(
    studio: Studio, base: ImageSet, distances: list[float], *, seed: int = 0, lost: int = 0, **changes: Any
) -> ImageSet:
    """A judged set of Mara whose faces are that far from hers; the last `lost` of them are rejected takes."""
    records = [_stored(studio, seed + n, at) for n, at in enumerate(distances)]
    kept = len(records) - lost
    sheet = studio.current("character_sheet", MARA)
    assert isinstance(sheet, ImageSet)
    manifest = ImageSet(
        **{"asset": "generated_images", "character": MARA, "take": 1 + seed, "request_id": f"r{seed}",
           "backend": "scripted", "render_domain": studio.render_domain, "route": "face_swap",
           "images": tuple(records[:kept]), "rejected": tuple(records[kept:]),
           "parents": (name_of(sheet), name_of(base)), **changes}
    )  # fmt: skip
    identity(studio, manifest)
    return manifest


def _stored(studio: Studio, seed: int, at: float) -> ImageRecord:
    data = picture(PX, PX, seed=seed)
    image = images.decode(data)
    assert isinstance(studio.scorer, ScriptedScorer)
    studio.scorer.sees[images.pixels_sha256(image)] = [face(at)]
    return ImageRecord(
        name=f"shot-{seed}.png", sha256=studio.store.put("images", data), pixels_sha256=images.pixels_sha256(image),
        width=PX, height=PX, shot=f"shot-{seed}", take=10, seed=1, prompt="words", expects_face=True, method="pulid",
        workflow="face-swap@1", job="f" * 64,
    )  # fmt: skip


def other(studio: Studio, make_character: Makes, who: str, at: float, *, source: str = "0" * 64) -> None:
    """Another character whose template lies there."""
    if not any(one.id == who for one in studio.registry.characters()):
        make_character(studio, who)
    studio.registry.keep_template(
        who, "scripted/1", render_domain=studio.render_domain, embedding=face(at).embedding, source_sha256=source
    )


# ---- copies


def test_base_image_handed_back_is_a_copy(studio: Studio, base: ImageSet) -> None:
    """The same picture, found in the set as a shot of its own, counts against the route."""
    good = content(studio, base, [0.2] * 4)
    copied = base.images[0].model_copy(update={"shot": "shot-9", "expects_face": True})
    found = identity(studio, good.model_copy(update={"images": (*good.images, copied)}))
    assert (found.numbers["verified"], found.numbers["requested"]) == (4, 5)
    assert "shot-9: copy" in found.reason


def test_another_picture_with_the_same_face_is_no_copy(studio: Studio, base: ImageSet) -> None:
    """A face exactly at the template's place is only a good one."""
    assert identity(studio, content(studio, base, [0.0] * 3)).numbers["verified"] == 3


def test_copy_is_in_no_template(studio: Studio) -> None:
    """A sheet that repeats its base image has not shown the face once more."""
    sheet = to_sheet(studio, MARA)
    base = studio.manifest(sheet.parents[0])
    assert isinstance(base, ImageSet)
    copied = base.images[0].model_copy(update={"shot": sheet.images[0].shot, "expects_face": True})
    original = original_of(studio, base)
    again = sheet.model_copy(update={"images": (copied, *sheet.images[1:])})
    _, shown = sheet_mean(studio, again, list(face().embedding), original)
    assert shown == [image.sha256 for image in sheet.images[1:] if image.expects_face]
    assert copied.sha256 in sheet_mean(studio, again, list(face().embedding))[1], "without the original nobody can say"


def trained_on(studio: Studio, base: ImageSet, learned: ImageRecord) -> tuple[str, ...]:
    """The parents of a set that a LoRA drew which learned from the base image and from that picture."""
    sheet = studio.current("character_sheet", MARA)
    assert isinstance(sheet, ImageSet)
    same: dict[str, Any] = {"character": MARA, "take": 1, "request_id": "r", "render_domain": studio.render_domain}
    captions = tuple(
        Caption(sha256=one.sha256, pixels_sha256=one.pixels_sha256, caption="words", shot=one.shot)
        for one in (base.images[0], learned)
    )
    same |= {"base_model": "flux-dev", "trigger": "bcdfghjk"}
    training = {**same, "backend": "scripted", "steps": 1, "dataset_hash": "d" * 64, "job": "f" * 64}
    dataset = LoraDataset(**same, images=captions, parents=(name_of(sheet), name_of(base)))
    ticket = TrainingTicket(**training, parents=(studio.store.put("manifests", to_json(dataset)),))
    lora = LoraArtifact(
        **training, sha256="a" * 64, file_name="x", rank=1, bytes=1,
        parents=(studio.store.put("manifests", to_json(ticket)),),
    )  # fmt: skip
    return name_of(sheet), name_of(base), studio.store.put("manifests", to_json(lora))


@pytest.mark.parametrize("lost", [False, True])
def test_training_picture_handed_back_is_a_copy(studio: Studio, base: ImageSet, lost: bool) -> None:
    """A LoRA that learned its pictures by heart scores well and shows nothing; one that is lost cannot be compared."""
    learned = _stored(studio, 40, 0.3)
    parents = trained_on(studio, base, learned)
    own = [_stored(studio, 41, 0.3), learned.model_copy(update={"shot": "shot-9"})]
    if lost:
        studio.registry.keep_faces(learned.pixels_sha256, "scripted/1", [face(0.3).as_dict()])
        Path(studio.store.uri("images", learned.sha256).removeprefix("file://")).unlink()
        own.pop()
    by_lora = content(studio, base, [], route="lora", parents=parents, images=tuple(own))
    found = identity(studio, by_lora)
    assert found.numbers["verified"] == 1
    assert ("shot-9: copy" in found.reason) is not lost
    by_swap = by_lora.model_copy(update={"route": "face_swap", "parents": parents[:2]})
    assert identity(studio, by_swap).numbers["verified"] == len(own), "nothing but the base image was shown to it"


# ---- templates


def test_sheet_follows_its_base_image_in_the_history(studio: Studio) -> None:
    """Which pictures made the face, in which order; judging again adds nothing."""
    sheet = to_sheet(studio, MARA)
    history = studio.registry.templates(MARA, "scripted/1")
    assert [template.version for template in history] == [1, 2]
    assert history[0].source_sha256 == sheet.parents[0]
    assert history[1].source_sha256 == name_of(sheet)
    assert set(history[1].images) == {image.sha256 for image in sheet.images if image.expects_face}
    judge(studio, "character_sheet", MARA, "identity")
    judge(studio, "selected_base_image", MARA, "distinct")
    assert studio.registry.templates(MARA, "scripted/1") == history
    told = template_history(studio, MARA)
    assert [(row["version"], row["source"], len(row["images"])) for row in told] == [
        (1, sheet.parents[0], 1), (2, name_of(sheet), len(history[1].images))
    ]  # fmt: skip
    assert {row["scorer"] for row in told} == {"scripted/1"}


# ---- evidence


def test_small_set_proves_little(studio: Studio, base: ImageSet) -> None:
    """8 of 8 prove 75 %, which is no 80; three more do."""
    found = evidence(studio, content(studio, base, [0.1] * 8))
    assert not found.passed
    assert found.numbers["evidence_lower_bound"] == pytest.approx(0.747, abs=1e-3)
    assert found.numbers["evidence_needed"] == 3
    assert found.reason.startswith("8 of the last 8 declared face_swap pictures verified, which proves 74.7%")
    assert evidence(studio, content(studio, base, [0.1] * 3, seed=50)).passed


def test_rejected_takes_and_refused_sets_count(studio: Studio, base: ImageSet) -> None:
    """Re-rolling polishes a set, not what is proven: every declared picture that was ever judged is in it."""
    content(studio, base, [STRANGER] * 2, seed=50)
    found = evidence(studio, content(studio, base, [0.1] * 12 + [STRANGER] * 3, lost=3))
    assert (found.numbers["evidence_verified"], found.numbers["evidence_requested"]) == (12, 17)
    assert not found.passed


def test_evidence_is_of_one_route(studio: Studio, base: ImageSet) -> None:
    """The face swap's good pictures prove nothing of the LoRA."""
    content(studio, base, [0.1] * 11)
    found = evidence(studio, content(studio, base, [0.1], seed=50, route="lora"))
    assert found.numbers["evidence_requested"] == 1
    assert found.numbers["identity_gate"] == 0.95


def test_undeclared_pictures_prove_nothing(studio: Studio, base: ImageSet) -> None:
    """A back view is in no denominator."""
    manifest = content(studio, base, [0.1] * 2)
    back = manifest.images[0].model_copy(update={"expects_face": False, "sha256": "f" * 64})
    identity(studio, manifest.model_copy(update={"images": (*manifest.images, back)}))
    assert evidence(studio, manifest).numbers["evidence_requested"] == 2


def test_evidence_does_not_wait_for_the_identity_check(studio: Studio, base: ImageSet) -> None:
    """Checks of a run come in any order: a set that nobody judged yet is in its own evidence."""
    manifest = content(studio, base, [0.1] * 2)
    moved = manifest.model_copy(update={"images": (_stored(studio, 99, 0.1),)})
    assert evidence(studio, moved).numbers["evidence_requested"] == 3


# ---- drift


@pytest.mark.parametrize(("latest", "steady"), [(0.3, True), (0.38, True), (0.42, False)])
def test_move_of_the_mean_is_told(studio: Studio, base: ImageSet, latest: float, steady: bool) -> None:
    """All of these verify: drift is seen before the gate fails."""
    content(studio, base, [0.3] * 8)
    manifest = content(studio, base, [latest] * 4, seed=50)
    found = drift(studio, manifest)
    assert found.passed is steady
    assert found.numbers["identity_drift"] == pytest.approx(latest - 0.3, abs=1e-6)
    assert identity(studio, manifest).passed


def test_first_set_has_nothing_to_drift_from(studio: Studio, base: ImageSet) -> None:
    """And a later one does not count as earlier."""
    first = content(studio, base, [0.3] * 4)
    assert drift(studio, first).numbers == {}
    content(studio, base, [0.5] * 8, seed=50)
    found = drift(studio, first)
    assert (found.passed, found.reason) == (True, "no earlier face_swap pictures to compare with")


# ---- neighbours


@pytest.mark.parametrize(("at", "passed"), [(0.49, False), (0.51, True)])
def test_two_characters_with_one_face_are_told(studio: Studio, make_character: Makes, at: float, passed: bool) -> None:
    """The nearest is named, and nothing is refused for it."""
    base = to_base(studio, MARA)
    other(studio, make_character, KOFI, at)
    other(studio, make_character, "yuki-tanaka", 0.9)
    found = distinct(studio, base)
    assert found.passed is passed
    assert found.numbers["nearest_character"] == KOFI
    assert found.numbers["nearest_distance"] == pytest.approx(at)
    judge(studio, "selected_base_image", MARA, "distinct")
    assert studio.is_accepted("selected_base_image", MARA)


def test_sheet_is_compared_by_its_mean_face(studio: Studio, make_character: Makes) -> None:
    """The approved face, not the base image's alone."""
    sheet = to_sheet(studio, MARA)
    assert distinct(studio, sheet).reason == "there is no other character to compare with"
    other(studio, make_character, KOFI, 0.2)
    assert not distinct(studio, sheet).passed


def test_drawn_faces_are_not_told_apart(open_studio: Opens, make_character: Makes) -> None:
    """They all lie near each other: the numbers are there, and no warning."""
    house = open_studio(parts=scripted_parts(), image_px=IMAGE_PX)
    make_character(house, MARA)
    base = to_base(house, MARA)
    other(house, make_character, KOFI, 0.1)
    found = distinct(house, base)
    assert (found.passed, found.evidence, found.numbers["nearest_character"]) == (True, False, KOFI)
    assert "not applicable" in found.reason


def test_newest_template_of_another_is_the_one_that_counts(
    studio: Studio, base: ImageSet, make_character: Makes
) -> None:
    """A template that is added later is seen at once, in the place of the older one."""
    manifest = content(studio, base, [0.0] * 2)
    other(studio, make_character, KOFI, 0.7)
    assert identity(studio, manifest).numbers["identity_margin"] == pytest.approx(0.7)
    other(studio, make_character, KOFI, 1.5, source="1" * 64)
    other(studio, make_character, "yuki-tanaka", 1.2)
    found = identity(studio, manifest).numbers
    assert (found["identity_margin"], found["nearest_character"]) == (pytest.approx(1.2), "yuki-tanaka")


def test_more_than_fifty_others_are_looked_at(studio: Studio, base: ImageSet, make_character: Makes) -> None:
    """The nearest may be the oldest of them."""
    manifest = content(studio, base, [0.0])
    for n in range(60):
        other(studio, make_character, f"who-{n:02d}", 0.5 + n / 100)
    assert identity(studio, manifest).numbers["nearest_character"] == "who-00"


# ---- looking ahead


def test_many_pictures_are_looked_at_at_once(studio: Studio, base: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, those that are lost left out, and nothing that is known is looked at again."""
    manifest = content(studio, base, [0.1] * 2)
    fresh = [_stored(studio, seed, 0.2) for seed in (70, 71)]
    gone = fresh[0].model_copy(update={"sha256": "e" * 64, "pixels_sha256": "e" * 64})
    looked = []
    real = ScriptedScorer.faces
    monkeypatch.setattr(ScriptedScorer, "faces", lambda self, image: looked.append(image) or real(self, image))
    look_ahead(studio, [*manifest.images, *fresh, gone])
    assert len(looked) == 2
    scores = [score_image(studio, record, manifest, list(face().embedding)) for record in (*fresh, gone)]
    assert [score.reason for score in scores] == ["verified", "verified", "missing"]
    assert len(looked) == 2


class Crashing(ScriptedScorer):
    """Looks at files in other processes, which die of them."""

    def see_all(self, files: Sequence[bytes]) -> list[Seen]:
        """Nothing came back."""
        return [Seen("", rejected="crashed") for _ in files]

    def faces(self, image: Any) -> list[Any]:
        """It would end this process too."""
        raise AssertionError("looked at here")


def test_picture_that_crashed_is_never_looked_at_here(studio: Studio, base: ImageSet) -> None:
    """It is unreadable, which is a score; not the end of the run."""
    manifest = content(studio, base, [0.1])
    fresh = _stored(studio, 70, 0.2)
    studio.scorer = Crashing()
    look_ahead(studio, [fresh])
    assert score_image(studio, fresh, manifest, list(face().embedding)).reason == "unreadable"


def test_scorer_that_does_not_start_refuses_no_picture(studio: Studio, base: ImageSet) -> None:
    """An error with a way out, which another run may mend; never a verdict."""

    def gone(files: Sequence[bytes]) -> list[Seen]:
        raise ScorerUnavailable(f"a process ended with 1, {len(files)} files before")

    manifest = content(studio, base, [0.1])
    studio.scorer = Crashing()
    studio.scorer.see_all = gone  # type: ignore[method-assign]
    with pytest.raises(RylaError, match="ryla doctor"):
        score_image(studio, _stored(studio, 70, 0.2), manifest, list(face().embedding))


def test_portrait_with_a_small_face_is_no_portrait(studio: Studio, base: ImageSet) -> None:
    """A close-up's face is 12 % of the short side at least; other framings need 64 px."""
    manifest = content(studio, base, [0.1])
    wide = manifest.images[0].model_copy(update={"width": 1200, "height": 1200})
    reasons = [
        score_image(studio, wide.model_copy(update={"framing": framing}), manifest, list(face().embedding)).reason
        for framing in ("close-up", "medium", "")
    ]
    assert reasons == ["face_too_small", "verified", "verified"]
