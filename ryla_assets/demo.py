"""The demo: characters from description to routed images on the preview backend, and one that must be refused.

Belongs here: the order of things and what is reported. Everything it does, it does through Dagster runs on the real
instance, so that `ryla dev` shows all of it; running it again adopts what was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from resources.gpu.runner import Progress
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.images import ImageSet, LoraArtifact
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.studio.content import STAGE, ContentRequest, ask
from ryla_assets.studio.faces import score_image
from ryla_assets.studio.likeness import compared
from ryla_assets.studio.plans import IDENTITY_WEIGHT
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, name_of
from ryla_assets.studio.texts import character_file

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "characters"
ORDER = ("mara-lind", "kofi-mensah", "lucia-ferrer", "arjun-rao", "samira-haddad", "yuki-tanaka")
DRIFT_WEIGHT = 0.2  # PuLID's hold turned down on purpose: most shots show somebody else
TRAINING_WAIT_S = 120.0
FACE_SWAP = ContentRequest(scene="candid-lifestyle", environment="cafe", count=5, asked_by="demo", method="face_swap")
LORA = ContentRequest(scene="beach-day", environment="beach", count=4, asked_by="demo", method="lora")

Tell = Callable[[str, float], None]  # what is being done, and how far it is (0..1)


@dataclass
class Story:
    """One character's way: its Dagster runs and what they made."""

    character: str
    drifting: bool
    runs: list[dict[str, Any]] = field(default_factory=list)
    refused: str = ""
    seconds: float = 0.0
    stages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        """A character ends with LoRA images; the drifting one is refused before its training."""
        done = {stage["asset"] for stage in self.stages if stage["accepted"]}
        if self.drifting:
            return bool(self.refused) and "lora_training" not in {stage["asset"] for stage in self.stages}
        return {"character_sheet", "lora_weights", STAGE} <= done and all(run["success"] for run in self.runs)


def example_files(count: int) -> list[Path]:
    """The first `count` example characters. Raises InputError if there are fewer."""
    if not 1 <= count < len(ORDER):
        raise InputError(
            f"{count} is outside 1..{len(ORDER) - 1}.", field="--characters", value=count, way_out="Ask for fewer."
        )
    return [EXAMPLES / f"{name}.yaml" for name in ORDER[: count + 1]]


def run_demo(
    studio: Studio, instance: dg.DagsterInstance, *, count: int, tell: Callable[[str, str, float], None]
) -> list[Story]:
    """Run the pipeline for `count` characters and one whose drift is turned up; `tell(character, doing, fraction)`."""
    files = example_files(count)
    tell("all characters", "model files", 0.0)
    materialize(studio, instance, ["model_files"])
    stories = []
    for number, file in enumerate(files):
        spec = character_file(studio, file)
        known = {who.id for who in studio.registry.characters()}
        if spec.id not in known:
            studio.registry.add_character(spec)
        studio.registry.activate(spec.id)
        add_partition(instance, spec.id)
        story = Story(spec.id, drifting=number == count)
        begun = time.monotonic()
        Way(studio, instance, story, partial(tell, spec.id)).walk()
        story.seconds = time.monotonic() - begun
        story.stages = stages_of(studio, spec.id)
        stories.append(story)
    return stories


@dataclass
class Way:
    """The steps of one character."""

    studio: Studio
    instance: dg.DagsterInstance
    story: Story
    tell: Tell

    def walk(self) -> None:
        """Base images, the pick, the sheet; then face swap while the LoRA trains, then the LoRA route."""
        who = self.story.character
        weight = DRIFT_WEIGHT if self.story.drifting else IDENTITY_WEIGHT
        self.step("base images", 0.00, ["character", "base_images"])
        self.step(
            "the pick", 0.20, ["selected_base_image"], selected_base_image={"policy": "best_score", "who": "demo"}
        )
        self.step("character sheet", 0.25, ["character_sheet"], character_sheet={"identity_weight": weight})
        trained = self.step("dataset and training", 0.60, ["lora_dataset", "lora_training"])
        if not trained:
            self.story.refused = self.story.runs[-1]["why"]
            self.tell("refused before training" if self.story.drifting else "stopped", 1.0)
            return
        self.answer("face-swap images while the LoRA trains", 0.65, FACE_SWAP, "demo-face-swap")
        deadline = time.monotonic() + TRAINING_WAIT_S
        while not self.weights() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.answer("LoRA images", 0.85, LORA, "demo-lora")
        self.tell(f"done: {who}", 1.0)

    @property
    def good(self) -> bool:
        """Whether every run so far succeeded."""
        return all(run["success"] for run in self.story.runs)

    def weights(self) -> bool:
        """Take the weights; False while the training runs."""
        self.step("LoRA weights", 0.80, ["lora_weights"])
        return self.studio.is_accepted("lora_weights", self.story.character) or not self.story.runs[-1]["success"]

    def answer(self, doing: str, done: float, wanted: ContentRequest, name: str) -> None:
        """Ask for content (once) and materialize the answer."""
        who = self.story.character
        request = self.studio.registry.request(f"{who}/{STAGE}/{name}") or ask(self.studio, who, wanted, name=name)
        self.step(doing, done, [STAGE], generated_images={"request": request.id})

    def step(self, doing: str, done: float, assets: Sequence[str], **config: Any) -> bool:
        """One Dagster run."""
        self.tell(doing, done)
        begun = time.monotonic()

        def heard(progress: Progress) -> None:
            self.tell(doing, done + 0.15 * progress.fraction)

        result = materialize(
            self.studio, self.instance, assets, character=self.story.character, config=config, listen=heard
        )
        self.story.runs.append(
            {
                "assets": list(assets),
                "run_id": result.run_id,
                "success": result.success,
                "seconds": round(time.monotonic() - begun, 2),
                "why": why(result),
            }
        )
        return bool(result.success)


def stages_of(studio: Studio, character: str) -> list[dict[str, Any]]:
    """Everything that was made of a character, with its judgements and, for pictures, their distances."""
    return list(_stages(studio, character))


def _stages(studio: Studio, character: str) -> Iterator[dict[str, Any]]:
    for asset in (
        "base_images",
        "selected_base_image",
        "character_sheet",
        "lora_dataset",
        "lora_training",
        "lora_weights",
    ):
        manifest = studio.current(asset, character)
        if manifest is not None:
            yield _stage(studio, asset, character, name_of(manifest))
    for sha256 in studio.registry.manifests(STAGE, character):
        yield _stage(studio, STAGE, character, sha256)


def _stage(studio: Studio, asset: str, character: str, sha256: str) -> dict[str, Any]:
    manifest = studio.manifest(sha256)
    gates = studio.registry.gates(asset, character, sha256)
    row: dict[str, Any] = {
        "asset": asset,
        "take": manifest.take,
        "request": manifest.request_id,
        "manifest_sha256": sha256,
        "accepted": not studio.refusals(asset, character, sha256),
        "checks": [
            {"name": f"{asset}__{gate.claim}", "passed": gate.passed, "reason": gate.reason, "numbers": gate.numbers}
            for gate in gates
        ],
    }
    if isinstance(manifest, ImageSet | LoraArtifact):
        row |= {"exec_s": manifest.timing.exec_s, "cost_usd": manifest.timing.cost_usd}
    if isinstance(manifest, ImageSet):
        row |= {"route": manifest.route, "route_reason": manifest.route_reason, "images": _images(studio, manifest)}
        row["rejected"] = [
            {"shot": one.shot, "sha256": one.sha256, "take": one.take, "refused": one.refused}
            for one in manifest.rejected
        ]
    return row


def _images(studio: Studio, manifest: ImageSet) -> list[dict[str, Any]]:
    judged = "identity" in REQUIRED_CLAIMS[manifest.asset]
    against = compared(studio, manifest) if judged else None
    rows = []
    for record in manifest.images:
        score = score_image(studio, record, manifest, *against) if against else None
        rows.append(
            {
                "name": record.name,
                "shot": record.shot,
                "sha256": record.sha256,
                "pixels_sha256": record.pixels_sha256,
                "method": record.method,
                "expects_face": record.expects_face,
                "refused": record.refused,
                "identity_distance": round(score.distance, 4) if score and score.distance is not None else None,
                "verified": score.verified if score else None,
            }
        )
    return rows
