"""What goes wrong with what Dagster shows of a result: numbers that change type, paths, hidden previews."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ryla_assets.assets.results import PREVIEW_LIMIT, AnyManifest, materialized, metadata_of
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.images import ImageSet, LoraArtifact, LoraDataset, Timing, TrainingTicket
from ryla_assets.metadata import KEYS
from ryla_assets.settings import Settings
from ryla_assets.studio.content import ContentRequest, ask, generate
from ryla_assets.studio.judge import judge_all
from ryla_assets.studio.lora import make_dataset, start_training, take_weights
from ryla_assets.studio.studio import Studio, name_of
from tests.conftest import MARA
from tests.fakes.scripted_studio import IMAGE_PX, judged, scripted_parts, to_sheet

WHO = "mara-lind"
PUBLIC = "https://ryla.example/app"
ASSETS = ("selected_base_image", "character_sheet", "lora_dataset", "lora_training", "lora_weights", "generated_images")


@dataclass
class Chain:
    """One character's way from base image to LoRA pictures, made once for this file."""

    studio: Studio
    made: dict[str, AnyManifest]

    def of(self, asset: str) -> dict[str, Any]:
        """The metadata of one stage, as plain values."""
        shown = metadata_of(self.studio, self.made[asset])
        return {name: value.value for name, value in shown.items()}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Chain]:
    """Every kind of manifest, on scripted pictures."""
    home = tmp_path_factory.mktemp("results")
    shutil.copy(migrated_database, home / "ryla.db")
    studio = build_studio(Settings(home=home, image_px=IMAGE_PX, public_url=PUBLIC), **scripted_parts())
    studio.registry.add_character(parse_character({"id": WHO, "config": MARA}, source="the test"))
    studio.registry.activate(WHO)
    sheet = to_sheet(studio, WHO)
    base = studio.accepted("selected_base_image", WHO)
    assert isinstance(base, ImageSet)
    dataset = make_dataset(studio, sheet)
    studio.publish(dataset)
    judge_all(studio, "lora_dataset", WHO)
    ticket = start_training(studio, dataset)
    studio.publish(ticket)
    weights = take_weights(studio, ticket)
    assert weights is not None
    studio.publish(weights)
    judge_all(studio, "lora_weights", WHO)
    content = judged(studio, generate(studio, ask(studio, WHO, ContentRequest(count=2))))
    yield Chain(studio, dict(zip(ASSETS, (base, sheet, dataset, ticket, weights, content), strict=True)))
    studio.registry.engine.dispose()


@pytest.mark.parametrize("asset", ASSETS)
def test_every_key_is_in_the_dictionary(chain: Chain, asset: str) -> None:
    """Whatever a stage shows has a type, a unit and a meaning that analysts can look up."""
    shown = metadata_of(chain.studio, chain.made[asset])
    assert set(shown) <= set(KEYS)
    assert all(isinstance(value, dg.MetadataValue) for value in shown.values())


@pytest.mark.parametrize("asset", ASSETS)
def test_every_stage_says_whose_it_is_and_what_it_came_from(chain: Chain, asset: str) -> None:
    """Lineage by hash, in the UI too."""
    shown, manifest = chain.of(asset), chain.made[asset]
    assert (shown["character"], shown["take"]) == (WHO, manifest.take)
    assert shown["manifest_sha256"] == name_of(manifest)
    assert shown["parents"] == list(manifest.parents) != []
    assert shown["render_domain"] == "preview", "never passes for a model's output"


@pytest.mark.parametrize("asset", ASSETS)
def test_no_path_and_no_key_is_shown(chain: Chain, asset: str) -> None:
    """Metadata is read by many and kept for years: no folder of this machine, no key of the links."""
    text = repr(chain.of(asset))
    assert str(chain.studio.settings.home) not in text
    assert "/tmp" not in text
    assert (chain.studio.settings.home / "capability.key").read_bytes().hex() not in text


@pytest.mark.parametrize("asset", ["selected_base_image", "character_sheet", "generated_images"])
def test_pictures_open_inline_and_link_to_their_gallery(chain: Chain, asset: str) -> None:
    """Thumbnails of the HTTP app where browsers reach it, short enough to open without a click."""
    shown, manifest = chain.of(asset), chain.made[asset]
    assert isinstance(manifest, ImageSet)
    assert len(shown["preview"]) < PREVIEW_LIMIT
    assert shown["preview"].count(f"![]({PUBLIC}/t/") == len(manifest.images) == shown["images"]
    assert shown["gallery"].startswith(f"{PUBLIC}/g/{WHO}/")


def test_money_and_seconds_are_plain_floats_under_stable_names(chain: Chain) -> None:
    """They plot over time: also where they are zero."""
    free = chain.made["character_sheet"].model_copy(update={"timing": Timing()})
    for manifest in (free, chain.made["character_sheet"], chain.made["lora_weights"]):
        shown = metadata_of(chain.studio, manifest)
        for name in ("cost_usd", "exec_s", "queue_s", "cold_s", "overhead_s"):
            assert isinstance(shown[name], dg.FloatMetadataValue), name


def test_cost_is_what_the_ledger_booked(chain: Chain) -> None:
    """Two graphs of a sheet cost what two attempts cost."""
    assert chain.of("character_sheet")["cost_usd"] == pytest.approx(0.02)
    assert chain.of("character_sheet")["jobs"] == 2


def test_route_and_its_reason_are_told(chain: Chain) -> None:
    """What really ran, and why: the LoRA was ready."""
    shown = chain.of("generated_images")
    assert (shown["route"], shown["route_reason"]) == ("lora", "a LoRA is ready")
    assert shown["workflows"] == "lora-generation@1"
    assert "route_reason" not in chain.of("character_sheet"), "where there is none, none is shown"


def test_rejected_takes_are_counted(chain: Chain) -> None:
    """A re-roll leaves a trace beside the pictures that were kept."""
    sheet = chain.made["character_sheet"]
    assert isinstance(sheet, ImageSet)
    again = sheet.model_copy(update={"rejected": sheet.images[:2]})
    assert metadata_of(chain.studio, again)["rejected"].value == 2


def test_picture_that_is_refused_by_name_is_labelled(chain: Chain) -> None:
    """Its set may be accepted all the same: the preview, the counts and the table say which one is no result."""
    sheet = chain.made["character_sheet"]
    assert isinstance(sheet, ImageSet)
    refused = sheet.images[1].model_copy(update={"refused": "another person: distance 0.90"})
    torn = sheet.images[2].model_copy(update={"refused": "unreadable", "pixels_sha256": ""})
    again = sheet.model_copy(update={"images": (sheet.images[0], refused, torn)})
    metadata = metadata_of(chain.studio, again)
    shown = {name: value.value for name, value in metadata.items()}
    assert shown["preview"].startswith("|front-neutra|REFUSED fron|\n"), "and what is no picture has no thumbnail"
    assert (shown["images"], shown["good_images"], shown["rejected"]) == (3, 1, 2)
    assert [row.data["why"] for row in metadata["rejections"].records] == [
        "another person: distance 0.90",
        "unreadable",
    ]


def test_dataset_says_what_was_left_out(chain: Chain) -> None:
    """And why, shot by shot; the trigger is no name."""
    shown = chain.of("lora_dataset")
    assert set(shown["left_out"]) == {"side-left", "front-dynamic"}
    assert shown["images"] == 7
    assert WHO not in shown["trigger"]


def test_training_and_weights_name_one_job(chain: Chain) -> None:
    """From the file back to the paid training, and to the data that it learned from."""
    ticket, weights = chain.made["lora_training"], chain.made["lora_weights"]
    assert isinstance(ticket, TrainingTicket)
    assert isinstance(weights, LoraArtifact)
    training, file = chain.of("lora_training"), chain.of("lora_weights")
    assert training["job"] == file["job"] == ticket.job
    assert training["dataset_hash"] == file["dataset_hash"]
    assert file["lora_sha256"] == weights.sha256
    dataset = chain.made["lora_dataset"]
    assert isinstance(dataset, LoraDataset)
    assert file["dataset_hash"] == dataset.data_hash
    assert "cost_usd" not in training, "a submission has cost nothing yet; the weights carry the bill"


def test_equal_content_is_an_equal_data_version(chain: Chain) -> None:
    """Materializing again is unchanged in Dagster's eyes; another picture is not."""
    sheet = chain.made["character_sheet"]
    assert isinstance(sheet, ImageSet)
    versions = [materialized(chain.studio, one).data_version for one in (sheet, sheet.model_copy())]
    assert versions[0] == versions[1]
    assert versions[0] is not None
    assert name_of(sheet).startswith(versions[0].value)
    other = sheet.model_copy(update={"images": sheet.images[1:]})
    assert materialized(chain.studio, other).data_version != versions[0]


def test_take_is_a_tag(chain: Chain) -> None:
    """Runs and materializations can be found by it."""
    sheet = chain.made["character_sheet"]
    result = materialized(chain.studio, sheet)
    assert result.tags == {"ryla/take": "1"}
    assert result.value is sheet
