"""A face scorer whose answers are scripted, and a character's way through the stages on it, in milliseconds.

Belongs here: what makes a studio fast enough to try every way in. Pictures come from `scripted_backend`; real faces are
the business of tests that draw them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resources.gpu.backend import RemoteOutput
from resources.identity import Face
from resources.images import decode, pixels_sha256
from ryla_assets.domain.images import ImageSet
from ryla_assets.registry.registry import Gate
from ryla_assets.studio.base import make_base_images, pick, selected_base_image
from ryla_assets.studio.judge import judge_all
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import REQUIRED_CLAIMS, Studio, name_of
from tests.fakes.scripted_backend import Script, ScriptedBackend, png

IMAGE_PX = 368  # the smallest multiple of 16 at which a medium framing declares a face
STRANGER = 0.9  # a distance beyond every threshold
Harm = Literal["blank", "noise", "blurred", "small", "torn", "duplicate", "missing"]


def face(distance: float = 0.0, *, width: float = 120.0, score: float = 1.0) -> Face:
    """A face at this distance from `face()`."""
    return Face(width, score, (distance, 0.0, 0.0))


@dataclass
class ScriptedScorer:
    """Sees `default` on every picture, unless `sees` says otherwise for its pixels or for its output's name."""

    default: list[Face] = field(default_factory=lambda: [face()])
    sees: dict[str, list[Face]] = field(default_factory=dict)  # pixels_sha256, or "character/stage-take-shot" -> faces
    names: dict[str, str] = field(default_factory=dict)  # pixels_sha256 -> output name, as the backend drew them
    scorer_id: str = "scripted/1"

    def faces(self, image: Any) -> list[Face]:
        """What the script says."""
        pixels = pixels_sha256(image)
        return self.sees.get(pixels, self.sees.get(self.names.get(pixels, ""), self.default))


@dataclass
class ScriptedGuard:
    """Scores every picture `default`, unless `scores` says otherwise for its pixels; counts how often it looked."""

    default: float = 0.03
    scores: dict[str, float] = field(default_factory=dict)  # pixels_sha256 -> score
    guard_id: str = "scripted-guard/1"
    looked: int = 0

    def judge(self, image: Any) -> float:
        """What the script says."""
        self.looked += 1
        return self.scores.get(pixels_sha256(image), self.default)


@dataclass
class NamingBackend(ScriptedBackend):
    """A scripted backend that tells the scorer which picture is which: a script may name it before it exists.

    Its good pictures are coarse blocks of colour, another for each name: noise costs more to encode than a test to run.
    Those whose output begins as `harm` says come back damaged.
    """

    scorer: ScriptedScorer = field(default_factory=ScriptedScorer)
    harm: dict[str, Harm] = field(default_factory=dict)  # beginning of an output's name -> what happens to it

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """As scripted; names are kept by the pixels' hash."""
        remote = self.remotes.get(remote_id)
        if remote is None or remote.script.damage != "none" or remote.submission.job.kind == "training":
            return await super().fetch(remote_id)
        outputs = []
        for spec in remote.submission.job.outputs:
            image = _blocks(spec.name, spec.width, spec.height)
            self.scorer.names[pixels_sha256(image)] = spec.name
            outputs.append(RemoteOutput(f"{spec.name}_00001_.png", png(image)))
        return [one for output in outputs for one in self._harmed(output, outputs)]

    def _harmed(self, output: RemoteOutput, outputs: list[RemoteOutput]) -> list[RemoteOutput]:
        how = next((how for name, how in self.harm.items() if output.name.startswith(name)), None)
        if how == "missing":
            return []
        if how == "duplicate":
            return [replace(output, data=next(one.data for one in outputs if one is not output))]
        return [output if how is None else replace(output, data=harmed(output.data, how))]


def harmed(data: bytes, how: Harm) -> bytes:
    """A picture as a broken worker returns it."""
    import numpy as np
    from PIL import Image, ImageFilter

    image = decode(data)
    if how == "torn":
        return data[: len(data) // 2]
    if how == "small":
        return png(image.resize((image.width // 2, image.height // 2)))
    if how == "blank":
        return png(Image.new("RGB", image.size))
    if how == "noise":  # what a latent looks like that was never decoded
        shape = (image.height, image.width, 3)
        return png(Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, np.uint8)))
    return png(image.filter(ImageFilter.GaussianBlur(6)))


def _blocks(name: str, width: int, height: int) -> Any:
    import numpy as np
    from PIL import Image

    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def scripted_parts(*, domain: str = "preview", **backend: Any) -> dict[str, Any]:
    """Parts for `build_studio`: a backend that succeeds at the first look, and its scorer."""
    script = [Script(states=("succeeded",))]
    made = NamingBackend(**{"scripts": script, "render_domain": domain, **backend})
    return {"backend": made, "scorer": made.scorer, "guard": ScriptedGuard()}


def judged(studio: Studio, manifest: ImageSet) -> ImageSet:
    """Publish a manifest and judge all its claims, as a run does."""
    studio.publish(manifest)
    judge_all(studio, manifest.asset, manifest.character)
    return manifest


def to_base(studio: Studio, character: str, *, option: int = 1) -> ImageSet:
    """Base images, and a pick of one of them: the reference of everything after."""
    judged(studio, make_base_images(studio, character))
    pick(studio, character, option=option, who="the test", why="looks right")
    chosen = selected_base_image(studio, character, who="the test")
    assert chosen is not None
    return judged(studio, chosen)


def to_sheet(studio: Studio, character: str, *, accepted: bool = True, **how: Any) -> ImageSet:
    """Everything up to the sheet; not `accepted`: every shot of it shows somebody else."""
    base = to_base(studio, character)
    scorer = studio.scorer
    assert isinstance(scorer, ScriptedScorer)
    scorer.sees[base.images[0].pixels_sha256] = [face()]
    scorer.default = [face() if accepted else face(STRANGER)]
    sheet = judged(studio, make_sheet(studio, base, **how))
    scorer.default = [face()]
    assert studio.is_accepted("character_sheet", character) is accepted
    return sheet


def to_content(studio: Studio, character: str) -> ImageSet:
    """A character of whom content may be asked: the sheet has no pictures and is accepted by decree."""
    base = to_base(studio, character)
    sheet = base.model_copy(update={"asset": "character_sheet", "images": (), "take": 1, "parents": (name_of(base),)})
    decree(studio, sheet)
    return base


def decree(studio: Studio, manifest: ImageSet, *, refused: str = "") -> None:
    """Publish a manifest and write that its claims hold, all but the `refused` one."""
    studio.publish(manifest)
    required = REQUIRED_CLAIMS[manifest.asset]
    for claim in required:
        gate = Gate(claim, claim != refused, "by decree", {}, "bytes")
        studio.registry.judge(manifest.asset, manifest.character, name_of(manifest), gate, required=required)
