"""What goes wrong at the door to paid work: a plan or a recorded job that was changed by hand is sent all the same.

Each change is made to the row of a request whose pictures were drawn, then asked for again: nothing may be sent or
taken.
"""

from __future__ import annotations

import ast
import copy
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from resources import images
from resources.database import writing
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.errors import Refused, RylaError, TooEarly, UnsafeText
from ryla_assets.domain.images import LoraArtifact
from ryla_assets.registry import tables
from ryla_assets.registry.records import Request
from ryla_assets.settings import Settings
from ryla_assets.studio import paid
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.lora import make_dataset, start_training, take_weights
from ryla_assets.studio.plans import PlannedJob
from ryla_assets.studio.sheet import make_sheet
from ryla_assets.studio.studio import Studio
from tests.conftest import MARA as LOOK
from tests.fakes.scripted_backend import ScriptedBackend, picture
from tests.fakes.scripted_studio import IMAGE_PX, decree, judged, scripted_parts, to_base, to_content, to_sheet

ROOT = Path(__file__).resolve().parents[2]
MARA, KOFI = "mara-lind", "kofi-mensah"
UNSAFE = "a 34-year-old adult woman who looks like a teenager"
Opens = Callable[..., Studio]
Makes = Callable[..., Any]
Plan = list[dict[str, Any]]


@dataclass(frozen=True)
class House:
    """A studio, and two requests that were answered once: pictures of Mara by face swap, Kofi's sheet."""

    studio: Studio
    content: Request
    sheet: Request

    def again(self, request: Request) -> None:
        """Materialize it once more."""
        if request is self.content:
            generate(self.studio, request)
        else:
            make_sheet(self.studio, self.studio.accepted("selected_base_image", KOFI))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[House]:
    """Built once: each test changes one row, and puts it back."""
    home = tmp_path_factory.mktemp("paid")
    shutil.copy(migrated_database, home / "ryla.db")
    studio = build_studio(Settings(home=home, image_px=IMAGE_PX, sheet_images=7), **scripted_parts())
    for who in (MARA, KOFI):
        studio.registry.add_character(parse_character({"id": who, "config": LOOK}, source="the test"))
        studio.registry.activate(who)
    to_content(studio, MARA)
    judged(studio, make_sheet(studio, to_base(studio, KOFI)))
    yield House(studio, asked(studio), studio.registry.requests(KOFI, "character_sheet")[-1])
    studio.registry.engine.dispose()


@pytest.fixture
def studio(open_studio: Opens, make_character: Makes) -> Studio:
    """A studio of the test's own, on scripted pictures, with one active character."""
    made = open_studio(parts=scripted_parts(), image_px=IMAGE_PX, sheet_images=7)
    make_character(made, MARA)
    return made


def sent(studio: Studio) -> int:
    """How many jobs reached the backend."""
    backend = studio.runner.backend
    assert isinstance(backend, ScriptedBackend)
    return len(backend.sent)


@contextmanager
def rewritten(studio: Studio, request: Request, change: Callable[[Plan], object]) -> Iterator[None]:
    """A planned request's row, changed by hand; put back in the end."""
    plan = plan_of(studio, request)
    changed = copy.deepcopy(plan)
    change(changed)
    write(studio, request, changed)
    try:
        yield
    finally:
        write(studio, request, plan)


def write(studio: Studio, request: Request, plan: Plan) -> None:
    """Put a plan into a request's row by hand."""
    with writing(studio.registry.engine) as db:
        db.execute(sa.update(tables.requests).where(tables.requests.c.id == request.id).values(plan=plan))


def plan_of(studio: Studio, request: Request) -> Plan:
    """What a request's row holds."""
    found = studio.registry.request(request.id)
    assert found is not None
    assert found.plan
    return found.plan


def nodes(plan: Plan, class_type: str) -> list[dict[str, Any]]:
    """The inputs of every node of a class."""
    graphs = [entry["job"]["request"] for entry in plan]
    return [node["inputs"] for graph in graphs for node in graph.values() if node["class_type"] == class_type]


def asked(studio: Studio, **wanted: Any) -> Request:
    """A content request of Mara's that was answered once, so its plan is written."""
    request = ask(studio, MARA, ContentRequest(**{"count": 1, **wanted}))
    generate(studio, request)
    return request


def outside(studio: Studio, kind: str) -> str:
    """Somebody's picture, put into the store by hand."""
    return studio.store.put(kind, images.mark(images.decode(picture(64, 48)), source="algorithmicMedia", tool="x"))


# ---- a plan that was changed


def relabelled(studio: Studio, plan: Plan) -> None:
    """The face is a file from outside, called a pose."""
    sha256 = outside(studio, "inputs")
    [face] = plan[0]["job"]["inputs"]
    face.update(kind="inputs", sha256=sha256, name=f"{sha256[:32]}.png")
    nodes(plan, "LoadImage")[0]["image"] = face["name"]


def on_the_server(name: str) -> Callable[[Studio, Plan], None]:
    """The graph reads a file that lies on the server already."""

    def change(_: Studio, plan: Plan) -> None:
        nodes(plan, "LoadImage")[0]["image"] = name

    return change


def under_its_name(_: Studio, plan: Plan) -> None:
    """The own face is sent under the name of a file that lies on the server already."""
    plan[0]["job"]["inputs"][0]["name"] = "someone-else.png"
    nodes(plan, "LoadImage")[0]["image"] = "someone-else.png"


def without_inputs(_: Studio, plan: Plan) -> None:
    """Nothing is said to be read."""
    plan[0]["job"]["inputs"] = []


def unknown_kind(_: Studio, plan: Plan) -> None:
    """A file of a kind that no job has."""
    plan[0]["job"]["inputs"][0]["kind"] = "manifests"


def other_node(_: Studio, plan: Plan) -> None:
    """A node that reads what nobody here knows."""
    plan[0]["job"]["request"]["99"] = {"class_type": "LoadImageFromUrl", "inputs": {"url": "http://somewhere/"}}


def other_model(_: Studio, plan: Plan) -> None:
    """Weights of somebody's face as the base model."""
    nodes(plan, "UNETLoader")[0]["unet_name"] = "somebody.safetensors"


def nsfw_model(_: Studio, plan: Plan) -> None:
    """A job that is said to be sfw, on the other weights."""
    nodes(plan, "UNETLoader")[0]["unet_name"] = "flux1-dev-nsfw.safetensors"


def other_words(_: Studio, plan: Plan) -> None:
    """Harmless words that are not those of the record."""
    for text in nodes(plan, "CLIPTextEncode"):
        text["text"] = "a 34-year-old adult woman in a red scarf"


def no_adult(_: Studio, plan: Plan) -> None:
    """Words without an age, in the record too."""
    for text in nodes(plan, "CLIPTextEncode"):
        text["text"] = "a person in a red scarf"
    for record in plan[0]["records"].values():
        record["prompt"] = "a person in a red scarf"


def negative_drawn(_: Studio, plan: Plan) -> None:
    """What no picture may show, led to the sampler as what it shows."""
    sampler = nodes(plan, "KSampler")[0]
    sampler["positive"] = sampler["negative"]


def extra_picture(_: Studio, plan: Plan) -> None:
    """A second picture that nobody asked for."""
    save = dict(nodes(plan, "SaveImage")[0], filename_prefix="extra")
    plan[0]["job"]["request"]["98"] = {"class_type": "SaveImage", "inputs": save}


def no_records(_: Studio, plan: Plan) -> None:
    """Pictures that no record would name."""
    plan[0]["records"] = {}


def no_job(_: Studio, plan: Plan) -> None:
    """Half a row."""
    del plan[0]["job"]["outputs"]


def for_kofi(_: Studio, plan: Plan) -> None:
    """Mara's face on Kofi's bill."""
    plan[0]["job"]["owner"] = KOFI


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        (relabelled, "lineage", "no pose that is drawn here"),
        (on_the_server("someone-else.png"), "lineage", "none of the files that are sent"),
        (on_the_server("someone-else.png [output]"), "lineage", "none of the files that are sent"),
        (under_its_name, "lineage", "not named by its content"),
        (without_inputs, "lineage", "none of the files that are sent"),
        (unknown_kind, "lineage", "no manifests in input"),
        (other_node, "plan", "no workflow of ours has a node of class 'LoadImageFromUrl'"),
        (other_model, "plan", "loads 'somebody.safetensors'"),
        (nsfw_model, "plan", "no workflow of rating sfw"),
        (other_words, "plan", "not those that were recorded"),
        (no_adult, "plan", "do not name an adult of 34"),
        (negative_drawn, "plan", "not those that were recorded"),
        (extra_picture, "plan", "not those that it names"),
        (no_records, "plan", "records are not those of its pictures"),
        (no_job, "plan", "cannot be read"),
        (for_kofi, "plan", "for somebody else"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_changed_plan_sends_nothing(
    house: House, change: Callable[[Studio, Plan], None], field: str, said: str
) -> None:
    """The graph is read as well as the list of its files: by whatever of them a stranger would come, it is refused."""
    before = sent(house.studio)
    changed = rewritten(house.studio, house.content, lambda plan: change(house.studio, plan))
    with changed, pytest.raises(Refused) as caught:
        house.again(house.content)
    assert (caught.value.field, said in caught.value.message) == (field, True), caught.value.message
    assert sent(house.studio) == before


def test_unchanged_plan_is_adopted(house: House) -> None:
    """What was paid for is taken: the door refuses nothing that was planned here."""
    before = sent(house.studio)
    house.again(house.content)
    house.again(house.sheet)
    assert sent(house.studio) == before


def test_blocked_words_in_a_plan_are_recorded(house: House) -> None:
    """Words of which even the record says the same are screened again, by today's rules; the block is in the trail."""

    def change(plan: Plan) -> None:
        for text in nodes(plan, "CLIPTextEncode"):
            text["text"] = UNSAFE
        for record in plan[0]["records"].values():
            record["prompt"] = UNSAFE

    before = sent(house.studio)
    with rewritten(house.studio, house.content, change), pytest.raises(UnsafeText):
        house.again(house.content)
    assert sent(house.studio) == before
    [block] = house.studio.registry.blocks(since=0)
    assert (block.field, block.place, block.character) == ("prompt", paid.PLACE, MARA)


@pytest.mark.parametrize("consents", [(), ("hers",), ("the house's",)], ids=["none", "hers", "the house's"])
def test_rating_in_a_plan_needs_its_consents(
    house: House, monkeypatch: pytest.MonkeyPatch, consents: tuple[str, ...]
) -> None:
    """A row that says nsfw is asked for all three again."""
    studio, who = house.studio, house.studio.registry.character(MARA)
    consenting = replace(who, config=who.config.model_copy(update={"nsfw_enabled": "hers" in consents}))
    monkeypatch.setattr(studio.registry, "character", lambda _: consenting)
    allowed = studio.settings.model_copy(update={"nsfw_allowed": "the house's" in consents})
    monkeypatch.setattr(studio, "settings", allowed)
    before = sent(studio)
    changed = rewritten(studio, house.content, lambda plan: plan[0]["job"].update(rating="nsfw"))
    with changed, pytest.raises(Refused, match="rating nsfw needs") as caught:
        house.again(house.content)
    assert caught.value.field == "rating"
    assert sent(studio) == before


def test_retired_character_has_nothing_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was planned while it was active."""
    who = house.studio.registry.character(MARA)
    monkeypatch.setattr(house.studio.registry, "character", lambda _: replace(who, active=False))
    with pytest.raises(TooEarly, match="not active"):
        paid.run(house.studio, planned(house, house.content))


def planned(house: House, request: Request) -> list[PlannedJob]:
    """The plan of a request, read back."""
    return [PlannedJob.from_dict(entry) for entry in plan_of(house.studio, request)]


# ---- poses, pictures and LoRAs


def replace_pose(plan: Plan, sha256: str) -> None:
    """Another file where the first pose stood, in list and graph."""
    job = next(entry["job"] for entry in plan if any(file["kind"] == "inputs" for file in entry["job"]["inputs"]))
    pose = next(file for file in job["inputs"] if file["kind"] == "inputs")
    for inputs in nodes(plan, "LoadImage"):
        if inputs["image"] == pose["name"]:
            inputs["image"] = f"{sha256[:32]}.png"
    pose.update(sha256=sha256, name=f"{sha256[:32]}.png")


def pose_of(house: House) -> Image.Image:
    """The first pose that was sent."""
    files = [file for entry in plan_of(house.studio, house.sheet) for file in entry["job"]["inputs"]]
    sha256 = next(file["sha256"] for file in files if file["kind"] == "inputs")
    return images.decode(house.studio.store.get("inputs", sha256))


def png(image: Image.Image, **how: Any) -> bytes:
    """A picture as PNG."""
    out = io.BytesIO()
    image.save(out, format="PNG", **how)
    return out.getvalue()


def test_pose_of_another_encoder_is_a_pose(house: House) -> None:
    """A plan outlives an upgrade: the skeleton is known by its pixels."""
    sha256 = house.studio.store.put("inputs", png(pose_of(house), compress_level=0))
    with rewritten(house.studio, house.sheet, lambda plan: replace_pose(plan, sha256)):
        house.again(house.sheet)


@pytest.mark.parametrize("how", ["a stranger", "a stranger's second frame", "another shot's pose", "missing"])
def test_pose_that_is_not_drawn_here_is_refused(house: House, how: str) -> None:
    """A photograph is no skeleton, nor is a skeleton with a photograph behind it."""
    pose = pose_of(house)
    photo = images.decode(picture(*pose.size, seed=7))
    data = png(photo)
    if how == "a stranger's second frame":
        data = png(pose, save_all=True, append_images=[photo])
    elif how == "another shot's pose":
        data = png(pose.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    sha256 = "0" * 64 if how == "missing" else house.studio.store.put("inputs", data)
    before = sent(house.studio)
    changed = rewritten(house.studio, house.sheet, lambda plan: replace_pose(plan, sha256))
    with changed, pytest.raises(Refused) as caught:
        house.again(house.sheet)
    assert caught.value.field == "lineage"
    assert sent(house.studio) == before


def with_weights(studio: Studio) -> LoraArtifact:
    """Mara's LoRA, trained and accepted."""
    sheet = to_sheet(studio, MARA)
    dataset = make_dataset(studio, sheet)
    decree(studio, dataset)  # type: ignore[arg-type]
    ticket = start_training(studio, dataset)
    studio.publish(ticket)
    weights = take_weights(studio, ticket)
    assert weights is not None
    decree(studio, weights)  # type: ignore[arg-type]
    return weights


def test_lora_in_a_plan_is_the_accepted_one_by_its_name(studio: Studio) -> None:
    """As it was planned it runs; under another name, beside another file, or refused by now it does not."""
    weights = with_weights(studio)
    request = asked(studio, method="lora")
    generate(studio, request)

    def named(in_list: str, in_graph: str) -> Callable[[Plan], None]:
        def change(plan: Plan) -> None:
            plan[0]["job"]["inputs"][0]["name"] = in_list
            nodes(plan, "LoraLoaderModelOnly")[0]["lora_name"] = in_graph

        return change

    own, other = weights.file_name, "somebody.safetensors"
    for in_list, in_graph in ((own, other), (other, other), (other, own)):
        with rewritten(studio, request, named(in_list, in_graph)), pytest.raises(Refused) as caught:
            generate(studio, request)
        assert caught.value.field == "lineage"
    generate(studio, request)
    decree(studio, weights, refused="lora_file")  # type: ignore[arg-type]
    with pytest.raises(Refused, match="lora_file: by decree"):
        paid.run(studio, [PlannedJob.from_dict(entry) for entry in plan_of(studio, request)])


@pytest.mark.parametrize("what", ["caption", "trigger", "missing caption"])
def test_changed_training_teaches_nothing(studio: Studio, what: str) -> None:
    """Captions are those of the dataset, and pass the screen: a LoRA learns its words, too."""
    dataset = make_dataset(studio, to_sheet(studio, MARA))
    decree(studio, dataset)  # type: ignore[arg-type]
    start_training(studio, dataset)
    [request] = studio.registry.requests(MARA, "lora_training")

    def change(plan: Plan) -> None:
        asked_for = plan[0]["job"]["request"]
        first = next(iter(asked_for["captions"]))
        if what == "caption":
            asked_for["captions"][first] = "photo of somebody else"
        elif what == "trigger":
            asked_for["trigger"] = "schoolgirl"
        else:
            del asked_for["captions"][first]

    before = sent(studio)
    with rewritten(studio, request, change), pytest.raises(RylaError):
        start_training(studio, dataset)
    assert sent(studio) == before


def test_unowned_work_reads_nobody(house: House) -> None:
    """A comparison of backends draws nobody's character: it has no files, and one rating."""
    with pytest.raises(Refused, match="reads no file"):
        paid.run_unowned(house.studio, planned(house, house.content), backend=house.studio.runner.backend)


# ---- nobody goes around it


def test_nobody_goes_around_the_door() -> None:
    """A stage that talked to the runner itself, or made one, would be asked nothing."""
    around = []
    for folder in ("ryla_assets", "sensors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name == "ryla_assets/studio/paid.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Attribute) and called.attr in ("run", "answers", "submit"):
                    whose = ast.unparse(called.value)
                    around += [f"{name}:{node.lineno}"] if whose.rpartition(".")[2] == "runner" else []
                made = isinstance(called, ast.Name) and called.id == "Runner" and name != "ryla_assets/build.py"
                around += [f"{name}:{node.lineno}"] if made else []
    assert around == []
