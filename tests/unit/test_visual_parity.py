"""What goes wrong when two backends are compared: one side's pictures judged twice, domains mixed, money unseen."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image

from resources.gpu.backend import Backend
from resources.gpu.backends.comfyui.backend import ComfyUIBackend
from resources.gpu.errors import InvalidJob, OverBudget
from resources.gpu.tables import jobs
from resources.images import read_mark
from ryla_assets.assets.visual_parity import visual_parity
from ryla_assets.cli_workflows import workflows
from ryla_assets.domain.errors import InputError
from ryla_assets.domain.safety import MINOR_SAFETY_NEGATIVE, screen
from ryla_assets.studio.studio import Studio
from ryla_assets.studio.visual import BASE_MODELS, FIXED_PROMPTS, NEGATIVE, OWNER, backend_named, run_parity
from tests.fakes.fake_comfyui import FakeComfyUI, served
from tests.fakes.scripted_backend import ScriptedBackend, png
from workflows.errors import WorkflowError

SIZE = 256
FLUX = ("flux-dev",)
NAMES = [prompt.name for prompt in FIXED_PROMPTS]


@dataclass
class Server(FakeComfyUI):
    """A server that draws a prompt like any other does, `shift` steps brighter: as if by another model."""

    shift: int = 0

    def _save(self, node: dict[str, Any]) -> list[dict[str, str]]:
        saved = super()._save(node)
        for file in saved:
            drawn = Image.linear_gradient("L").point([min(255, level + self.shift) for level in range(256)])
            self.outputs[file["subfolder"], file["filename"]] = png(drawn.convert("RGB"))
        return saved


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """Two servers that work by themselves."""
    first, second = Server(), Server()
    with served(first), served(second):
        first.auto = second.auto = True
        yield first, second


@pytest.fixture
def by_url(servers: tuple[Server, Server]) -> tuple[Backend, Backend]:
    """Both as backends."""
    return ComfyUIBackend(servers[0].url), ComfyUIBackend(servers[1].url)


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """The verdict of each row."""
    return [row["verdict"] for row in rows]


def cli(*arguments: str) -> tuple[int, Any]:
    """Exit code and JSON of `ryla workflows compare`."""
    result = CliRunner().invoke(workflows, ["compare", *arguments, "--size", str(SIZE), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_fixed_prompts_pass_the_screen_and_cover_the_base_models() -> None:
    """Adults by their words, calm, and at least two pictures for each base model; names and seeds are unique."""
    for prompt in FIXED_PROMPTS:
        screen(prompt.prompt, field=prompt.name)
        assert re.search(r"\b[3-9]\d-year-old adult (wo)?man\b", prompt.prompt)
    assert NEGATIVE.startswith(MINOR_SAFETY_NEGATIVE)
    assert BASE_MODELS == ("flux-dev", "zimage-turbo")
    assert len(set(NAMES)) == len({prompt.seed for prompt in FIXED_PROMPTS}) == len(FIXED_PROMPTS)


def test_both_servers_draw_though_their_profiles_are_one(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """Same model files, same profile: without a mark of the side the second would adopt the first one's pictures."""
    rows = run_parity(studio, *by_url, size=SIZE)
    assert [row["image"] for row in rows] == NAMES
    assert verdicts(rows) == ["equal"] * 4
    assert not any(row["adopted"] for row in rows)
    assert [len(server.posted) for server in servers] == [2, 2]  # one graph a base model


def test_two_servers_that_differ_are_told_apart(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend], tmp_path: Path
) -> None:
    """Different, with numbers and a marked picture of both; nothing is written where nobody asked."""
    servers[1].shift = 40
    rows = run_parity(studio, *by_url, out=tmp_path / "new" / "out", size=SIZE, base_models=FLUX)
    assert verdicts(rows) == ["different"] * 2
    assert 30 < rows[0]["mean_abs"] <= 40
    assert {row["file"] for row in rows} == {str(path) for path in (tmp_path / "new" / "out").iterdir()}
    assert {read_mark(Path(row["file"]).read_bytes()) for row in rows} == {"trainedAlgorithmicMedia"}
    assert "file" not in run_parity(studio, *by_url, size=SIZE, base_models=FLUX)[0]


def test_noise_of_another_gpu_is_close(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """Within the tolerance it is neither equal nor different."""
    servers[1].shift = 2
    assert verdicts(run_parity(studio, *by_url, size=SIZE, base_models=FLUX)) == ["close"] * 2


def test_same_comparison_again_adopts_and_a_new_take_draws(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """What was paid for is taken, and said so; after an upgrade somebody asks for new pictures on purpose."""
    run_parity(studio, *by_url, size=SIZE, base_models=FLUX)
    servers[1].shift = 40
    again = run_parity(studio, *by_url, size=SIZE, base_models=FLUX)
    assert [(row["verdict"], row["adopted"]) for row in again] == [("equal", True)] * 2
    anew = run_parity(studio, *by_url, size=SIZE, base_models=FLUX, take=1)
    assert [(row["verdict"], row["adopted"]) for row in anew] == [("different", False)] * 2


def test_another_server_on_the_same_side_adopts_nothing(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """Swapping the sides draws on both: a result belongs to the server that drew it."""
    run_parity(studio, *by_url, size=SIZE, base_models=FLUX)
    servers[0].shift = 40
    swapped = run_parity(studio, by_url[1], by_url[0], size=SIZE, base_models=FLUX)
    assert verdicts(swapped) == ["different"] * 2
    assert [len(server.posted) for server in servers] == [2, 2]


def test_server_compared_with_itself_draws_twice(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """Its own repeatability is the yardstick for two of them."""
    assert verdicts(run_parity(studio, by_url[0], by_url[0], size=SIZE, base_models=FLUX)) == ["equal"] * 2
    assert len(servers[0].posted) == 2


def test_server_without_the_files_is_refused_in_its_own_words(
    studio: Studio, servers: tuple[Server, Server], by_url: tuple[Backend, Backend]
) -> None:
    """A server that has Flux alone says what it lacks, and can still be compared on Flux."""
    servers[0].lacks = {"z_image_turbo_bf16.safetensors"}
    with pytest.raises(InvalidJob, match="z_image_turbo_bf16"):
        run_parity(studio, *by_url, size=SIZE)
    assert [len(server.posted) for server in servers] == [0, 0]
    assert verdicts(run_parity(studio, *by_url, size=SIZE, base_models=FLUX)) == ["equal"] * 2


def test_preview_is_never_compared_with_a_model(studio: Studio) -> None:
    """Refused before anything is drawn."""
    model = ScriptedBackend()
    with pytest.raises(InputError, match="never compared"):
        run_parity(studio, studio.runner.backend, model, size=SIZE)
    assert model.sent == []


def test_preview_equals_itself(studio: Studio, tmp_path: Path) -> None:
    """Drawn twice, from other prefixes: the prefix changes no pixel. The file says that it is no model's."""
    backend = backend_named(studio, "preview", field="A")
    assert backend is studio.runner.backend
    rows = run_parity(studio, backend, backend, out=tmp_path, size=SIZE, base_models=FLUX)
    assert [(row["verdict"], row["adopted"]) for row in rows] == [("equal", False)] * 2
    assert {read_mark(Path(row["file"]).read_bytes()) for row in rows} == {"algorithmicMedia"}


def test_comparison_is_booked_and_keeps_to_the_budget(open_studio: Callable[..., Studio]) -> None:
    """Both sides are jobs like any other, owned by "parity"; the side that costs too much is never sent."""
    studio, scripted = open_studio(daily_budget_usd=0.055), ScriptedBackend(most_usd=0.05)
    with pytest.raises(OverBudget):
        run_parity(studio, scripted, scripted, size=SIZE, base_models=FLUX)
    assert scripted.sent == ["parity a: flux-dev on scripted memory"]
    assert studio.runner.ledger.committed_usd() == pytest.approx(0.01)
    with studio.registry.engine.connect() as db:
        assert set(db.execute(sa.select(jobs.c.owner)).scalars()) == {OWNER}


@pytest.mark.parametrize("name", ["nonsense", "ftp://host", "http://user:pass@host"])
def test_wrong_server_name_is_told_without_its_password(studio: Studio, name: str) -> None:
    """The option's name, what is allowed, and not the value."""
    with pytest.raises(InputError, match="neither preview nor a server") as told:
        backend_named(studio, name, field="B")
    assert told.value.field == "B"
    assert "pass" not in str(told.value).replace("password", "")


def test_wrong_size_and_base_model_are_told(studio: Studio) -> None:
    """Before anything is drawn, in the words of the builders."""
    backend = studio.runner.backend
    with pytest.raises(WorkflowError, match="multiple of 16"):
        run_parity(studio, backend, backend, size=300)
    with pytest.raises(InputError, match="flux-dev or zimage-turbo"):
        run_parity(studio, backend, backend, size=SIZE, base_models=("sdxl",))


# ---- the command and the asset


def test_command_exits_1_only_if_a_picture_is_different(studio: Studio, servers: tuple[Server, Server]) -> None:
    """Rows as JSON on stdout, alone; close is no failure."""
    assert studio.render_domain == "preview"  # what the settings say does not matter: both sides are named
    urls = [server.url for server in servers]
    servers[1].shift = 2
    code, rows = cli(*urls, "--base-model", "flux-dev")
    assert (code, verdicts(rows)) == (0, ["close"] * 2)
    servers[1].shift = 40
    code, rows = cli(*urls, "--base-model", "flux-dev", "--take", "1")
    assert (code, verdicts(rows)) == (1, ["different"] * 2)


def test_command_refuses_a_preview_beside_a_server(studio: Studio, servers: tuple[Server, Server]) -> None:
    """Exit 2: the question is wrong, not the answer."""
    code, told = cli("preview", servers[0].url)
    assert code == 2
    assert "never compared" in told["error"]["message"]
    assert studio.store.root.exists() is False  # type: ignore[attr-defined]  # nothing was drawn


def test_asset_shows_a_row_a_picture(studio: Studio, servers: tuple[Server, Server]) -> None:
    """The table, who was compared, how many are different, and both pictures of each prompt beside each other."""
    servers[1].shift = 40
    config = {"a": servers[0].url, "b": servers[1].url, "size": SIZE, "base_models": list(FLUX)}
    result = dg.materialize(
        [visual_parity],
        resources={"studio": dg.ResourceDefinition.hardcoded_resource(studio)},
        run_config={"ops": {"visual_parity": {"config": config}}},
    )
    (event,) = result.asset_materializations_for_node("visual_parity")
    table = event.metadata["compared"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(r.data["image"], r.data["verdict"]) for r in table.records] == [(n, "different") for n in NAMES[:2]]
    assert event.metadata["different"].value == 2
    assert event.metadata["side_b"].value == f"comfyui {servers[1].url}"
    assert str(event.metadata["preview"].value).count("![]") == 4


def test_asset_of_equal_pictures_has_a_table_without_psnr(studio: Studio, servers: tuple[Server, Server]) -> None:
    """An infinite number is no number: the cell stays empty."""
    config = {"a": servers[0].url, "b": servers[1].url, "size": SIZE, "base_models": list(FLUX)}
    result = dg.materialize(
        [visual_parity],
        resources={"studio": dg.ResourceDefinition.hardcoded_resource(studio)},
        run_config={"ops": {"visual_parity": {"config": config}}},
    )
    (event,) = result.asset_materializations_for_node("visual_parity")
    table = event.metadata["compared"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["psnr_db"] for record in table.records] == [None, None]
