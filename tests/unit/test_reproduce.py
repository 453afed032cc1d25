"""What goes wrong with reproduction: the old result adopted, the original replaced, a difference unmeasured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from resources.database import writing
from resources.gpu import tables as ledger
from resources.gpu.backends.comfyui.backend import ComfyUIBackend
from resources.gpu.backends.preview.backend import PreviewBackend
from resources.gpu.errors import OverBudget
from ryla_assets.cli import main
from ryla_assets.domain.errors import InputError, Refused, TooEarly, UnsafeText
from ryla_assets.domain.images import ImageSet
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.registry import tables
from ryla_assets.studio import paid
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.ledger import books_of
from ryla_assets.studio.lineage import named_by_content
from ryla_assets.studio.reproduce import reproduce
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.visual import backend_named
from tests.fakes.fake_comfyui import FakeComfyUI, served
from tests.fakes.house import Killed
from tests.fakes.scripted_backend import Script, picture
from tests.fakes.scripted_studio import (
    IMAGE_PX,
    NamingBackend,
    ScriptedGuard,
    ScriptedScorer,
    judged,
    scripted_parts,
    to_base,
)

WHO = "mara-lind"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]


@dataclass
class SteadyBackend(NamingBackend):
    """Draws by what a picture is called behind its folder of a reproduction, as seeds would have it."""

    shift: int = 0  # added to every channel of what is drawn again

    async def fetch(self, remote_id: str) -> Any:
        """The same picture whatever `again-` folder it is asked for in."""

        import numpy as np
        from PIL import Image

        from resources.gpu.backend import RemoteOutput
        from tests.fakes.scripted_backend import png
        from tests.fakes.scripted_studio import _blocks

        outputs = []
        for spec in self.remotes[remote_id].submission.job.outputs:
            folder, _, rest = spec.name.partition("/")
            again = folder.startswith("again-")
            image = _blocks(rest if again else spec.name, spec.width, spec.height)
            if again and self.shift:
                image = Image.fromarray(np.clip(np.asarray(image, np.int16) + self.shift, 0, 255).astype(np.uint8))
            outputs.append(RemoteOutput(f"{spec.name}_00001_.png", png(image)))
        return outputs


class SteadyServer(FakeComfyUI):
    """Draws by what a picture is called before an attempt marked its name, as seeds would have it."""

    def _save(self, node: dict[str, Any]) -> list[dict[str, str]]:
        """As the fake does, but squares of 256 pixels that come out again."""
        saved = super()._save(node)
        stem = re.sub("-a[0-9a-f]{12}$", "", node["inputs"]["filename_prefix"].rpartition("/")[2])
        for file in saved:
            self.outputs[file["subfolder"], file["filename"]] = picture(256, 256, seed=sum(stem.encode()))
        return saved


def steady(domain: str = "preview", shift: int = 0, **more: Any) -> dict[str, Any]:
    """Parts of a studio whose pictures come out again."""
    backend = SteadyBackend(scripts=[Script(states=("succeeded",))], render_domain=domain, shift=shift, **more)  # type: ignore[arg-type]
    return {"backend": backend, "scorer": backend.scorer, "guard": ScriptedGuard()}


@pytest.fixture
def made(open_studio: Opens, make_character: Makes) -> Callable[..., tuple[Studio, ImageSet]]:
    """A studio on these parts, with the base images of one character."""

    def make(parts: dict[str, Any], **settings: Any) -> tuple[Studio, ImageSet]:
        studio = open_studio(parts=parts, **settings)
        make_character(studio, WHO)
        return studio, judged(studio, make_base_images(studio, WHO))

    return make


def test_preview_comes_out_bit_equal(open_studio: Opens, make_character: Makes) -> None:
    """Drawn anew by a worker, not adopted: one more execution, the same pixels, the same face; then by command."""
    studio = open_studio()
    make_character(studio, WHO)
    base = judged(studio, make_base_images(studio, WHO))
    backend = studio.runner.backend
    assert isinstance(backend, PreviewBackend)
    before, files = sum(backend.executions().values()), len(list(studio.settings.home.glob("store/images/*/*")))
    record = base.images[1]
    found = reproduce(studio, record.sha256[:20])
    assert sum(backend.executions().values()) == before + 1
    assert (found.verdict, found.reproduced, found.shot) == ("equal", True, record.shot)
    assert (found.mean_abs, found.max_abs, found.psnr_db, found.phash_bits) == (0.0, 0, None, 0)
    assert found.identity_distance == 0.0
    assert found.cost_usd > 0
    assert found.again_job != found.job == record.job
    assert len(list(studio.settings.home.glob("store/images/*/*"))) >= files
    said = CliRunner().invoke(main, ["images", "reproduce", record.sha256, "--json"])
    assert said.exit_code == 0, said.output
    [told] = json.loads(said.stdout)
    assert (told["verdict"], told["sha256"]) == ("equal", record.sha256)


def test_every_reproduction_runs(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Twice asked is twice drawn, booked on the character; nothing points at what came out."""
    studio, base = made(steady())
    head = studio.registry.head("base_images", WHO)
    spent = studio.runner.ledger.committed_usd()
    jobs = {reproduce(studio, base.images[0].sha256).again_job for _ in range(2)}
    assert len(jobs) == 2
    assert studio.runner.ledger.committed_usd() == pytest.approx(spent + 2 * 0.01)
    [row] = [row for row in books_of(studio).spend("character", since=0) if row.key == WHO]
    assert row.attempts == 3
    assert studio.registry.head("base_images", WHO) == head
    assert studio.current("base_images", WHO) == base
    row_of = studio.runner.ledger.job(base.images[0].job)
    assert row_of is not None
    assert row_of.result is not None
    assert row_of.result[0]["sha256"] == base.images[0].sha256, "the original's result stays"


def test_killed_reproduction_is_taken_up(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """What was paid for when the process died is what the next call shows: one attempt, one price."""
    parts = steady()
    studio, base = made(parts)
    backend, spent = studio.runner.backend, studio.runner.ledger.committed_usd()
    sent = len(backend.sent)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "fetch", dies)
        with pytest.raises(Killed):
            reproduce(studio, base.images[0].sha256)
    found = reproduce(studio, base.images[0].sha256)
    assert found.reproduced
    assert len(backend.sent) == sent + 1  # type: ignore[attr-defined]
    assert studio.runner.ledger.committed_usd() == pytest.approx(spent + 0.01)


async def dies(_: str) -> None:
    """The process ends while the finished pictures are fetched."""
    raise Killed


def test_difference_is_measured(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """A preview that differs by one step is not reproduced: there, equal means equal."""
    studio, base = made(steady(shift=1))
    found = reproduce(studio, base.images[0].sha256)
    assert (found.verdict, found.reproduced) == ("close", False)
    assert found.max_abs == 1
    assert 0 < found.mean_abs <= 1  # type: ignore[operator]
    assert found.psnr_db is not None
    assert found.psnr_db > 47
    assert found.phash_bits <= 8


def test_close_is_enough_for_a_model(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Two GPU types never round alike; far apart is a difference there too."""
    studio, base = made(steady(domain="model", shift=2))
    assert reproduce(studio, base.images[0].sha256).reproduced
    studio.runner.backend.shift = 60  # type: ignore[attr-defined]
    found = reproduce(studio, base.images[0].sha256)
    assert (found.verdict, found.reproduced) == ("different", False)


def test_another_picture_is_told_as_another(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """A backend that draws something else under the new name: many bits apart."""
    studio, base = made(scripted_parts())
    found = reproduce(studio, base.images[0].sha256)
    assert (found.verdict, found.reproduced) == ("different", False)
    assert found.phash_bits > 8


def test_how_a_hash_begins_is_enough(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Twelve characters, as tables show them; where two pictures begin so, more are asked for."""
    studio, base = made(steady())
    assert reproduce(studio, base.images[0].sha256[:12]).sha256 == base.images[0].sha256
    with writing(studio.registry.engine) as db:
        for number, one in enumerate(base.images[:2]):
            where = tables.images.c.sha256 == one.sha256
            db.execute(sa.update(tables.images).where(where).values(sha256="ab" * 31 + f"{number:02d}"))
    with pytest.raises(InputError, match="2 pictures begin so"):
        reproduce(studio, "ab" * 20)


def test_unknown_picture_is_an_error(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Nothing is sent, and where to find a sha256 is told."""
    studio, _ = made(steady())
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    for name in ("0" * 64, "f" * 16, "abc", "../../etc/passwd", "%%%%%%%%%%%%", ""):
        with pytest.raises(InputError, match="no manifest here names a picture"):
            reproduce(studio, name)
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]


def test_missing_input_is_named_before_anything_is_paid(open_studio: Opens, make_character: Makes) -> None:
    """A pose that was deleted: which object, and that nothing was sent."""
    studio = open_studio(parts=steady(), image_px=IMAGE_PX, sheet_images=7)
    make_character(studio, WHO)
    sheet = judged(studio, make_sheet(studio, to_base(studio, WHO)))
    row = studio.runner.ledger.job(sheet.images[0].job)
    assert row is not None
    pose = next(file for file in row.job.inputs if file.kind == "inputs")
    Path(studio.store.uri("inputs", pose.sha256).removeprefix("file://")).unlink()
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=f"inputs object {pose.sha256[:12]}, which is not in the store"):
        reproduce(studio, sheet.images[0].sha256)
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]


def test_lost_original_and_lost_job_are_errors(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Without either there is nothing to compare, or nothing to run."""
    studio, base = made(steady())
    Path(studio.store.uri("images", base.images[0].sha256).removeprefix("file://")).unlink()
    with pytest.raises(InputError, match="the original cannot be read"):
        reproduce(studio, base.images[0].sha256)
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(ledger.jobs).values(result=sa.null(), accepted_attempt=None))
    with pytest.raises(InputError, match="no result of its job: all that it returned was refused"):
        reproduce(studio, base.images[1].sha256)
    with writing(studio.registry.engine) as db:
        for table in (ledger.events, ledger.attempts, ledger.jobs):
            db.execute(sa.delete(table))
    with pytest.raises(InputError, match="the ledger has no such job"):
        reproduce(studio, base.images[1].sha256)


def test_other_backend_is_named_on_purpose(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Settings that moved on compare nothing by accident, and a preview never stands for a model."""
    studio, base = made(steady())
    other = steady(name="comfyui")["backend"]
    assert reproduce(studio, base.images[0].sha256, backend=other).backend == "comfyui"
    studio.runner.backend = other
    with pytest.raises(InputError, match="made on scripted, these settings work on comfyui"):
        reproduce(studio, base.images[0].sha256)
    with pytest.raises(InputError, match="never compared"):
        reproduce(studio, base.images[0].sha256, backend=steady(domain="model")["backend"])


def test_backend_of_the_settings_is_named_by_its_name(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """A picture of a ComfyUI server is made again on RunPod by a house that works there now: it has no address."""
    studio, base = made(steady(domain="model", name="comfyui"))
    studio.runner.backend = steady(domain="model", name="runpod")["backend"]
    again = backend_named(studio, "runpod", field="--backend")
    assert again is studio.runner.backend
    found = reproduce(studio, base.images[0].sha256, backend=again)
    assert (found.reproduced, found.backend, found.recorded_backend) == (True, "runpod", "comfyui")


def test_picture_of_one_server_is_made_again_on_another(
    open_studio: Opens, make_character: Makes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By command, over the wire: the second server is sent the recorded graph under fresh names, and nothing else."""
    first, second = SteadyServer(), SteadyServer()
    first.auto = second.auto = True
    with served(first), served(second):
        monkeypatch.setenv("RYLA_BACKEND", "comfyui")
        monkeypatch.setenv("COMFYUI_URL", first.url)
        parts = {"backend": ComfyUIBackend(first.url), "scorer": ScriptedScorer(), "guard": ScriptedGuard()}
        studio = open_studio(parts=parts, rerolls=0)
        make_character(studio, WHO)
        record = judged(studio, make_base_images(studio, WHO)).images[0]
        said = CliRunner().invoke(main, ["images", "reproduce", record.sha256, "--backend", second.url, "--json"])
    assert said.exit_code == 0, said.output
    [told] = json.loads(said.stdout)
    assert (told["verdict"], told["recorded_backend"], told["backend"]) == ("equal", "comfyui", "comfyui")
    assert [len(first.posted), len(second.posted)] == [1, 1]
    graphs = [fake.posted[0]["prompt"] for fake in (first, second)]
    assert [seeds(graph) for graph in graphs] == [seeds(graphs[0])] * 2
    assert graphs[0] != graphs[1]


def seeds(graph: dict[str, Any]) -> list[int]:
    """Those of a graph, in its order."""
    found = [node["inputs"].get("seed", node["inputs"].get("noise_seed")) for node in graph.values()]
    return [seed for seed in found if seed is not None]


def test_budget_is_asked(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """It is paid work like any other."""
    studio, base = made(steady(), daily_budget_usd=0.055)
    with pytest.raises(OverBudget):
        reproduce(studio, base.images[0].sha256)


# ---- the same door as for any job


def rewrite(studio: Studio, fingerprint: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a recorded job by hand."""
    row = studio.runner.ledger.job(fingerprint)
    assert row is not None
    changed = json.loads(json.dumps(row.job.as_dict()))
    change(changed)
    with writing(studio.registry.engine) as db:
        where = ledger.jobs.c.fingerprint == fingerprint
        db.execute(sa.update(ledger.jobs).where(where).values(request=changed))


def reworded(words: str) -> Callable[[dict[str, Any]], None]:
    """Other words in the recorded graph."""

    def change(job: dict[str, Any]) -> None:
        for node in job["request"].values():
            if node["class_type"] == "CLIPTextEncode":
                node["inputs"]["text"] = words

    return change


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda job: job.update(rating="nsfw"), Refused, "rating nsfw needs"),
        (lambda job: job.update(owner="kofi-mensah"), Refused, "its recorded job is for kofi-mensah"),
        (reworded("a 34-year-old adult woman in a red scarf"), Refused, "not those that were recorded"),
        (lambda job: job["request"].update({"99": "x"}), Refused, "its graph is none of ours"),
    ],
    ids=["rating", "owner", "words", "no graph"],
)
def test_changed_job_is_not_reproduced(
    made: Callable[..., tuple[Studio, ImageSet]],
    change: Callable[[dict[str, Any]], None],
    error: type[Exception],
    said: str,
) -> None:
    """A ledger row proves nothing: what it asks for is asked for by today's rules, and nothing is sent."""
    studio, base = made(steady())
    rewrite(studio, base.images[0].job, change)
    sent = len(studio.runner.backend.sent)  # type: ignore[attr-defined]
    with pytest.raises(error, match=said):
        reproduce(studio, base.images[0].sha256)
    assert len(studio.runner.backend.sent) == sent  # type: ignore[attr-defined]


def test_words_that_are_blocked_today_are_not_drawn_again(
    made: Callable[..., tuple[Studio, ImageSet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The screen learns: a picture of yesterday's words is not made once more, and the block is recorded."""
    studio, base = made(steady())
    monkeypatch.setattr(studio, "denied", DenyList.of(["Plain Studio"]))
    assert "plain studio" in base.images[0].prompt
    with pytest.raises(UnsafeText):
        reproduce(studio, base.images[0].sha256)
    [block] = studio.registry.blocks(since=0)
    assert (block.place, block.character) == (paid.PLACE, WHO)


def test_retired_character_is_not_drawn_again(made: Callable[..., tuple[Studio, ImageSet]]) -> None:
    """Nothing is spent on it, whatever for."""
    studio, base = made(steady())
    studio.registry.retire(WHO)
    with pytest.raises(TooEarly, match="not active"):
        reproduce(studio, base.images[0].sha256)


def test_stranger_s_face_is_not_reproduced(open_studio: Opens, make_character: Makes) -> None:
    """The recorded job's inputs must be the character's own: a ledger row that was changed sends nothing."""
    studio = open_studio(parts=steady(), image_px=IMAGE_PX, sheet_images=7)
    for who in (WHO, "kofi-mensah"):
        make_character(studio, who)
    sheet = judged(studio, make_sheet(studio, to_base(studio, WHO)))
    other = judged(studio, make_base_images(studio, "kofi-mensah")).images[0]
    row = studio.runner.ledger.job(sheet.images[0].job)
    assert row is not None
    changed = row.job.as_dict()
    old = next(file for file in row.job.inputs if file.kind == "images")
    changed = json.loads(
        json.dumps(changed).replace(old.sha256, other.sha256).replace(old.name, named_by_content(other.sha256))
    )
    with writing(studio.registry.engine) as db:
        where = ledger.jobs.c.fingerprint == row.fingerprint
        db.execute(sa.update(ledger.jobs).where(where).values(request=changed))
    with pytest.raises(Refused, match="it was made for kofi-mensah"):
        reproduce(studio, sheet.images[0].sha256)
