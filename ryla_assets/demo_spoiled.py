"""The spoiled demo: a batch in which one image in five is damaged on purpose, and every damage has to be caught.

Belongs here: the damage, where it is done, and what is reported of it. Nothing that looks at pictures knows of it: a
preview backend of our own hands out damaged files for some outputs, as a broken worker would, and from there on
everything is as always. Only first takes are spoiled, so that a re-roll can end well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from resources.gpu.backend import Pace, RemoteOutput
from resources.gpu.backends.preview.backend import PreviewBackend, default_workers
from resources.gpu.job import Job
from ryla_assets.build import build_studio
from ryla_assets.demo import EXAMPLES, Story, Way, stages_of
from ryla_assets.domain.costs import Capacity
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.domain.shots import content_shots
from ryla_assets.instance import add_partition
from ryla_assets.prompts.lexicon import lexicon
from ryla_assets.registry.records import Request
from ryla_assets.settings import Settings
from ryla_assets.studio.content import STAGE, ContentRequest, ask
from ryla_assets.studio.plans import REROLLS
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.texts import character_file

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["blank", "other person", "blurred", "duplicate", "two faces"]
WHO = "mara-lind"
COUNT = 5  # pictures of a request, one of them spoiled
BLUR = 4 / 512  # of the shorter side: what a wrong VAE or an upscaled thumbnail looks like
ANOTHER_S = 60.0  # in which some picture of a request that is being drawn is fetched
STRANGER = (7, {"gender": "female", "ethnicity": "caucasian", "age": "34"})  # somebody of her description, not her


@dataclass(frozen=True)
class Spoiling:
    """One request of the batch, and what happens to which of its pictures."""

    kind: Kind
    scene: str
    environment: str
    picture: int  # 0-based
    alone: bool  # each picture of the request is a job of its own, so that the damage costs a whole job

    @property
    def wanted(self) -> ContentRequest:
        """What is asked for."""
        return ContentRequest(
            scene=self.scene, environment=self.environment, count=COUNT, asked_by="spoiled demo", method="face_swap"
        )

    def prefix(self, request: Request) -> str:
        """The output name of the picture's first take."""
        shot = content_shots(scene=self.scene, environment=self.environment, count=COUNT)[self.picture]
        return f"{request.character}/{STAGE.replace('_', '-')}-{request.take * REROLLS}-{shot.id}"


SPOILINGS = (
    Spoiling("blank", "candid-lifestyle", "cafe", 3, alone=True),
    Spoiling("other person", "beach-day", "beach", 0, alone=False),
    Spoiling("blurred", "cozy-home", "home-living-room", 2, alone=False),
    Spoiling("duplicate", "professional-portrait", "office", 1, alone=True),
    Spoiling("two faces", "morning-vibes", "home-bedroom", 4, alone=False),
)


@dataclass
class SpoilingBackend(PreviewBackend):
    """The preview backend, which damages the outputs named in `spoilt` when they are fetched, each time alike."""

    spoilt: dict[str, Kind] = field(default_factory=dict)
    alone: bool = False  # plan every picture as a job of its own
    drawn: dict[str, bytes] = field(default_factory=dict)  # what was fetched, by output name

    def pace(self) -> Pace:
        """As the preview's; where pictures go alone, of a worker that can return one at a time."""
        most = Capacity(workers=1, image_s=1.0).image_bytes if self.alone else None
        return replace(super().pace(), max_result_bytes=most)

    def profile(self, job: Job) -> str:
        """Damage determines pixels too: a spoiled result is never adopted by a deployment that spoils nothing."""
        kinds = [self.spoilt[output.name] for output in job.outputs if output.name in self.spoilt]
        return "/".join([super().profile(job), *(f"spoiled:{kind}" for kind in kinds)])

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """What was drawn, with the damage done."""
        outputs = await super().fetch(remote_id)
        self.drawn |= {output.name: output.data for output in outputs}
        return [await self._spoiled(output) for output in outputs]

    async def _spoiled(self, output: RemoteOutput) -> RemoteOutput:
        kind = next((kind for name, kind in self.spoilt.items() if output.name.startswith(name)), None)
        if kind == "duplicate":
            return replace(output, data=await self._another(output))
        return output if kind is None else replace(output, data=damaged(kind, output.data))

    async def _another(self, output: RemoteOutput) -> bytes:
        """Another picture of its request, as soon as one was fetched; after ANOTHER_S its own, which spoils nothing."""
        request, deadline = output.name.rpartition("-")[0], time.monotonic() + ANOTHER_S
        while time.monotonic() < deadline:
            for name, data in self.drawn.items():
                if name != output.name and name.startswith(request):
                    return data
            await asyncio.sleep(0.05)
        return output.data


@dataclass(frozen=True)
class Case:
    """One spoiled picture and what became of it. `caught` is the reason that it was refused for; empty: missed."""

    image: str
    spoiled: Kind
    caught: str
    take: int | None  # of the picture that stands in its place; None: none was accepted
    cost_usd: float  # of the take that replaced it


@dataclass(frozen=True)
class Outcome:
    """What the batch came to."""

    story: Story
    cases: list[Case]
    good_refused: list[dict[str, Any]]  # pictures that nobody spoiled and the gates refused all the same
    accepted_images: int
    images: int
    cost_usd: float

    @property
    def as_expected(self) -> bool:
        """Every damage caught, every request accepted in the end."""
        content = [stage for stage in self.story.stages if stage["asset"] == STAGE]
        accepted = len(content) == len(SPOILINGS) and all(stage["accepted"] for stage in content)
        return accepted and all(case.caught and case.take is not None for case in self.cases)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "as_expected": self.as_expected,
            "cases": [asdict(case) for case in self.cases],
            "good_refused": self.good_refused,
            "images": self.images,
            "accepted_images": self.accepted_images,
            "cost_usd": round(self.cost_usd, 6),
            "cost_per_accepted_usd": round(self.cost_usd / self.accepted_images, 6) if self.accepted_images else None,
        }


def spoiling_studio(config: Settings) -> Studio:
    """A studio on these settings whose backend spoils."""
    workers = config.preview_workers or default_workers()
    return build_studio(config, backend=SpoilingBackend(config.home / "preview", lexicon=lexicon(), workers=workers))


def run_spoiled(studio: Studio, instance: dg.DagsterInstance, *, tell: Callable[[str, str, float], None]) -> Outcome:
    """One character up to her sheet, then the batch; running it again adopts everything."""
    if WHO not in {who.id for who in studio.registry.characters()}:
        studio.registry.add_character(character_file(studio, EXAMPLES / f"{WHO}.yaml"))
    studio.registry.activate(WHO)
    add_partition(instance, WHO)
    story = Story(WHO, drifting=False)
    way = Way(studio, instance, story, partial(tell, WHO))
    way.step("base images", 0.00, ["character", "base_images"])
    way.step("the pick", 0.15, ["selected_base_image"], selected_base_image={"policy": "best_score", "who": "demo"})
    way.step("character sheet", 0.20, ["character_sheet"])
    requests = {one: _asked(studio, one) for one in SPOILINGS} if way.good else {}
    backend = studio.runner.backend
    if isinstance(backend, SpoilingBackend):
        backend.spoilt = {one.prefix(request): one.kind for one, request in requests.items()}
    for number, (one, request) in enumerate(requests.items()):
        if isinstance(backend, SpoilingBackend):
            backend.alone = one.alone
        doing = f"spoiled on purpose: {one.kind}"
        way.step(doing, 0.4 + 0.6 * number / len(SPOILINGS), [STAGE], generated_images={"request": request.id})
    way.tell("done", 1.0)
    return _outcome(studio, story, requests)


def damaged(kind: Kind, data: bytes) -> bytes:
    """The picture in `data` spoiled by itself."""
    from resources.images import decode

    image = decode(data)
    if kind == "blank":
        from PIL import Image as pil

        return _png(pil.new("RGB", image.size))
    if kind == "blurred":
        from PIL import ImageFilter

        return _png(image.filter(ImageFilter.GaussianBlur(BLUR * min(image.size))))
    stranger = _stranger(*image.size)
    return _png(stranger if kind == "other person" else _side_by_side(image, stranger))


def _stranger(width: int, height: int) -> Image:
    from resources.gpu.backends.preview.identity import person
    from resources.gpu.backends.preview.look import Look
    from resources.gpu.backends.preview.render import render

    seed, traits = STRANGER
    return render(person(seed, traits), Look(framing="medium", background="outdoor", seed=seed), width, height)


def _side_by_side(left: Image, right: Image) -> Image:
    """The middle halves of two pictures of one size."""
    width, height = left.size
    quarter = width // 4
    both = left.copy()
    both.paste(left.crop((quarter, 0, quarter + width // 2, height)), (0, 0))
    both.paste(right.crop((quarter, 0, quarter + width // 2, height)), (width // 2, 0))
    return both


def _png(image: Image) -> bytes:
    from io import BytesIO

    out = BytesIO()
    image.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _asked(studio: Studio, one: Spoiling) -> Request:
    name = f"spoiled-{one.kind.replace(' ', '-')}"
    return studio.registry.request(f"{WHO}/{STAGE}/{name}") or ask(studio, WHO, one.wanted, name=name)


def _outcome(studio: Studio, story: Story, requests: Mapping[Spoiling, Request]) -> Outcome:
    sets = _sets(studio)
    cases, good_refused = [], []
    accepted = images = 0
    cost = 0.0
    for one, request in requests.items():
        made = sets.get(request.id)
        if made is None:
            continue
        victim = one.prefix(request).rpartition(f"-{request.take * REROLLS}-")[2]
        cases.append(_case(studio, one, made, victim, request.take * REROLLS))
        good_refused += [
            {"image": record.shot, "take": record.take, "why": record.refused}
            for record in (*made.rejected, *(image for image in made.images if image.refused))
            if (record.shot, record.take) != (victim, request.take * REROLLS)
        ]
        images += len(made.images)
        accepted += sum(not record.refused for record in made.images)
        cost += made.timing.cost_usd
    ours = {request.id for request in requests.values()}
    story.stages = [stage for stage in stages_of(studio, WHO) if stage["asset"] != STAGE or stage["request"] in ours]
    return Outcome(story, cases, good_refused, accepted, images, cost)


def _sets(studio: Studio) -> dict[str, ImageSet]:
    manifests = (studio.manifest(sha256) for sha256 in studio.registry.manifests(STAGE, WHO))
    return {made.request_id: made for made in manifests if isinstance(made, ImageSet)}


def _case(studio: Studio, one: Spoiling, made: ImageSet, shot: str, take: int) -> Case:
    spoiled = next((record for record in made.rejected if (record.shot, record.take) == (shot, take)), None)
    kept = next(record for record in made.images if record.shot == shot)
    good = kept.take != take and not kept.refused
    why = spoiled.refused if spoiled else kept.refused if kept.take == take else ""
    image = f"{one.scene} {one.picture + 1:02d}"
    return Case(image, one.kind, why, kept.take if good else None, _cost(studio, kept) if good else 0.0)


def _cost(studio: Studio, record: ImageRecord) -> float:
    """The picture's share of what its job cost."""
    row = studio.runner.ledger.job(record.job)
    if row is None or row.accepted_attempt is None:
        return 0.0
    return studio.runner.ledger.attempt(row.accepted_attempt).cost_usd / len(row.job.outputs)
