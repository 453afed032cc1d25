"""What goes wrong with ratings: a hit that is accepted, a set unjudged and untold, a picture judged twice.

No explicit picture exists in this project: a scripted guard gives the hit, the real classifier sees harmless drawings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from resources import content_guard, images
from resources.content_guard import PACKAGE, GuardUnusable, OpenNsfw, installed_guard
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from ryla_assets.checks.judged import result
from ryla_assets.domain.errors import NotAccepted
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.studio.base import make_base_images, pick
from ryla_assets.studio.judge import judge, judge_all
from ryla_assets.studio.rating import SFW_LIMIT, rating
from ryla_assets.studio.standing import standing_report
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio
from tests.fakes.scripted_studio import ScriptedGuard, judged, scripted_parts

WHO = "mara-lind"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio on scripted pictures and a scripted guard, with base images that nobody judged yet."""
    made = open_studio(parts=scripted_parts())
    make_character(made, WHO)
    made.publish(make_base_images(made, WHO))
    return made


def guard_of(studio: Studio) -> ScriptedGuard:
    """The scripted guard, to write its script."""
    assert isinstance(studio.guard, ScriptedGuard)
    return studio.guard


def base_of(studio: Studio) -> ImageSet:
    """The base images."""
    found = studio.current("base_images", WHO)
    assert isinstance(found, ImageSet)
    return found


def test_rating_is_required_of_every_set_of_pictures() -> None:
    """What may be built on or shown has passed it."""
    assets = ("base_images", "selected_base_image", "character_sheet", "generated_images")
    assert all("rating" in REQUIRED_CLAIMS[asset] for asset in assets)


def test_harmless_set_passes_with_its_highest_score(studio: Studio) -> None:
    """The number plots; the classifier's name and weights say what it is comparable with."""
    found = judge(studio, "base_images", WHO, "rating")
    assert (found.passed, found.warned, found.scorer_id) == (True, False, "scripted-guard/1")
    assert found.numbers == {"judged": 3, "nsfw_worst": 0.03, "nsfw_limit": SFW_LIMIT}
    assert {row["nsfw_score"] for row in found.per_image} == {0.03}


@pytest.mark.parametrize("score", [SFW_LIMIT, 0.99, float("nan")], ids=["at the limit", "certain", "no number"])
def test_hit_is_refused(studio: Studio, score: float) -> None:
    """One picture of three: an error that names the shot, and nobody may pick from the set."""
    victim = base_of(studio).images[1]
    guard_of(studio).scores[victim.pixels_sha256] = score
    found = rating(studio, base_of(studio))
    assert not found.passed
    assert found.reason.startswith(f"{victim.shot}: ")
    for one in judge_all(studio, "base_images", WHO):
        assert one.passed is (one.claim != "rating")
    assert not studio.is_accepted("base_images", WHO)
    with pytest.raises(NotAccepted, match="rating: "):
        pick(studio, WHO, option=1, who="x", why="y")


def test_check_of_a_hit_is_an_error_and_stops_the_run(studio: Studio) -> None:
    """Blocking, as Dagster shows it."""
    guard_of(studio).default = 0.9
    with dg.DagsterInstance.ephemeral() as instance:
        add_partition(instance, WHO)
        run = materialize(studio, instance, ["base_images"], character=WHO)
    assert not run.success
    assert "base_images__rating" in why(run)


def test_without_a_classifier_the_check_warns_and_the_gate_opens(studio: Studio) -> None:
    """An extra that is not installed refuses nobody; that nothing judged is told, in the check and while it stands."""
    studio.guard = None
    for one in judge_all(studio, "base_images", WHO):
        assert one.passed
    found = judge(studio, "base_images", WHO, "rating")
    shown = result(found, blocking=True)
    assert (shown.passed, shown.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(shown.description).startswith("not judged: no classifier is installed")
    assert studio.is_accepted("base_images", WHO)
    [row] = [row for row in standing_report(studio).rows if row["what"] == "rating not judged"]
    assert (row["level"], row["character"], row["asset"]) == ("warn", WHO, "base_images")
    assert "ryla-assets[nsfw]" in row["next"]


def test_installing_it_later_judges_and_ends_the_warning(studio: Studio) -> None:
    """The unjudged row stays in the history; what was judged since counts, for and against."""
    guard, studio.guard = studio.guard, None
    judge_all(studio, "base_images", WHO)
    studio.guard = guard
    assert standing_report(studio).numbers["unrated_sets"] == 1
    judge(studio, "base_images", WHO, "rating")
    assert standing_report(studio).numbers["unrated_sets"] == 0
    assert studio.is_accepted("base_images", WHO)


def test_set_rated_nsfw_is_not_judged_and_says_so(studio: Studio) -> None:
    """Nothing is looked for in it: no picture reaches the classifier."""
    manifest = base_of(studio).model_copy(update={"rating": "nsfw"})
    found = rating(studio, manifest)
    assert (found.passed, found.warned) == (True, False)
    assert found.reason == "not judged: the set is rated nsfw, so nothing is looked for"
    assert guard_of(studio).looked == 0


def test_same_pixels_are_judged_once(studio: Studio) -> None:
    """A score is kept by the pixels and the classifier: a check that runs again costs reading, not judging."""
    judge(studio, "base_images", WHO, "rating")
    judge(studio, "base_images", WHO, "rating")
    assert guard_of(studio).looked == 3
    guard_of(studio).guard_id = "scripted-guard/2"
    judge(studio, "base_images", WHO, "rating")
    assert guard_of(studio).looked == 6, "another classifier looks for itself"


@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_picture_that_cannot_be_read_is_not_sfw(studio: Studio, damage: str) -> None:
    """Fail closed."""
    record = base_of(studio).images[0]
    path = Path(studio.store.uri("images", record.sha256).removeprefix("file://"))
    path.unlink() if damage == "lost" else path.write_bytes(path.read_bytes()[:-9])
    found = rating(studio, base_of(studio))
    assert not found.passed
    assert found.reason.startswith(f"{record.shot}: ")


# ---- the real classifier


@pytest.fixture(scope="module")
def real() -> OpenNsfw:
    """The classifier of the extra; it is in the development environment."""
    found = installed_guard()
    assert isinstance(found, OpenNsfw)
    return found


def test_previews_score_low(real: OpenNsfw) -> None:
    """Three procedural people in clothes: far below the limit."""
    scores = [real.judge(render(person(seed, {"age": "34"}), Look(seed=seed), 256, 256)) for seed in (1, 2, 3)]
    assert max(scores) < 0.3 < SFW_LIMIT
    assert min(scores) >= 0.0


def test_classifier_is_named_with_its_weights(real: OpenNsfw) -> None:
    """Scores of two classifiers are never compared, so the name says all that matters."""
    name, version, weights = real.guard_id.split("/")
    assert (name, weights) == (PACKAGE, content_guard.WEIGHTS_SHA256[:12])
    assert version


def test_large_pictures_are_judged_small(real: OpenNsfw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 4096 px picture costs half a second otherwise; the network sees 256 x 256 anyhow."""
    seen: list[tuple[int, int]] = []

    class Network:
        def classify(self, image: Any) -> Any:
            seen.append(image.size)
            return type("Told", (), {"nsfw": 0.1})

    monkeypatch.setattr(real, "_network", Network())
    original = Image.new("RGB", (2048, 1024))
    assert real.judge(original) == 0.1
    assert seen == [(512, 256)]
    assert original.size == (2048, 1024), "the caller's picture stays as it is"


def test_other_weights_judge_nothing(tmp_path: Path) -> None:
    """A package that was changed is not the pinned one: no score is better than a wrong one."""
    path = tmp_path / "open-nsfw.onnx"
    path.write_bytes(b"other weights")
    picture = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(GuardUnusable, match="not those of the pinned release"):
        OpenNsfw("0.1.0", str(path)).judge(picture)


def test_unusable_classifier_refuses_the_set(studio: Studio, tmp_path: Path) -> None:
    """Installed and broken is not "not installed": nothing passes unjudged by accident."""
    studio.guard = OpenNsfw("0.1.0", str(tmp_path / "nowhere.onnx"))
    found = rating(studio, base_of(studio))
    assert not found.passed
    assert "install it again" in found.reason


def test_without_the_extra_there_is_no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by the package's name; nothing is imported to find out."""
    before = "onnxruntime" in sys.modules
    assert installed_guard() is not None
    assert ("onnxruntime" in sys.modules) is before

    def missing(name: str) -> Any:
        raise content_guard.PackageNotFoundError(name)

    monkeypatch.setattr(content_guard, "distribution", missing)
    assert installed_guard() is None


def test_pixels_of_a_picture_are_its_name(studio: Studio) -> None:
    """The kept score belongs to the decoded pixels, so a re-marked file is the same picture."""
    record = base_of(studio).images[0]
    judged(studio, base_of(studio))
    image = images.decode(studio.store.get("images", record.sha256))
    assert studio.registry.rating(images.pixels_sha256(image), "scripted-guard/1") == 0.03
