"""What goes wrong with the demo: a promise that it does not keep, JSON nobody can read, a second run that pays again.

It runs twice, as a person would run it: once fresh, once more in the same home. The tests look at what came out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from PIL import Image

from resources import images
from resources.database import open_engine, reading
from resources.gpu import ledger
from resources.gpu.backends.preview.spool import Spool
from resources.storage import open_store
from ryla_assets.metadata import KEYS
from ryla_assets.studio.studio import REQUIRED_CLAIMS

pytestmark = pytest.mark.flow

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["base_images", "selected_base_image", "character_sheet", "lora_dataset", "lora_training", "lora_weights"]
CONTENT = "generated_images"
TOP = {"backend", "render_domain", "home", "contact_sheet", "seconds", "cost_usd", "characters"}
CHARACTER = {"character", "drifting", "refused", "seconds", "stages", "runs", "as_expected", "cost_usd"}
STAGE = {"asset", "take", "manifest_sha256", "accepted", "checks"}
PICTURE = {
    "name", "shot", "sha256", "pixels_sha256", "method", "expects_face", "identity_distance", "verified",
}  # fmt: skip
THRESHOLD = 0.45


@dataclass
class Ran:
    """One run of the demo: what it printed, and what its home holds then."""

    code: int
    report: dict[str, Any]
    stderr: str
    executions: Counter[str]
    attempts: int
    spent_usd: float

    @property
    def good(self) -> dict[str, Any]:
        """The character that passes."""
        return dict(self.report["characters"][0])

    @property
    def refused(self) -> dict[str, Any]:
        """The character whose drift was turned up."""
        return dict(self.report["characters"][-1])


def demo(words: list[str], environment: dict[str, str]) -> Ran:
    """`ryla demo --json` in a process of its own."""
    command = [sys.executable, "-m", "ryla_assets.cli", "demo", "--characters", "1", "--json", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    home = Path(report["home"])
    engine = open_engine(f"sqlite:///{home / 'ryla.db'}")
    with reading(engine) as db:
        row = db.execute(sa.select(sa.func.count(), sa.func.sum(ledger.attempts.c.cost_usd))).one()
    engine.dispose()
    return Ran(done.returncode, report, done.stderr, Spool(home / "preview").executions(), int(row[0]), float(row[1]))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A clean shell whose temporary folder is ours, so that `--fresh` leaves nothing behind."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RYLA_", "DAGSTER_"))}
    return {**clean, "TMPDIR": str(tmp_path_factory.mktemp("demo"))}


@pytest.fixture(scope="module")
def fresh(environment: dict[str, str]) -> Iterator[Ran]:
    """The first run."""
    yield demo(["--fresh"], environment)
    shutil.rmtree(environment["TMPDIR"], ignore_errors=True)


@pytest.fixture(scope="module")
def again(fresh: Ran, environment: dict[str, str]) -> Ran:
    """The second run, in the home that the first one made."""
    return demo([], {**environment, "RYLA_HOME": fresh.report["home"]})


def stage_of(character: dict[str, Any], asset: str, route: str | None = None) -> dict[str, Any]:
    """One stage of a character's story."""
    [found] = [s for s in character["stages"] if s["asset"] == asset and route in (None, s.get("route"))]
    return dict(found)


# ---- the contract


def test_it_ends_as_it_should(fresh: Ran) -> None:
    """Exit 0: one character with LoRA pictures, one refused; and it says that all of it is procedural."""
    assert fresh.code == 0, fresh.stderr
    assert (fresh.report["backend"], fresh.report["render_domain"]) == ("preview", "preview")
    assert [who["as_expected"] for who in fresh.report["characters"]] == [True, True]
    assert [who["drifting"] for who in fresh.report["characters"]] == [False, True]


def test_report_has_its_fields(fresh: Ran) -> None:
    """What programs rely on, at every level."""
    assert set(fresh.report) >= TOP
    for who in fresh.report["characters"]:
        assert set(who) >= CHARACTER
        assert who["seconds"] > 0
        for stage in who["stages"]:
            assert set(stage) >= STAGE, stage["asset"]
            assert len(stage["manifest_sha256"]) == 64
            for check in stage["checks"]:
                assert set(check) >= {"name", "passed", "reason", "numbers"}
                assert check["name"].startswith(f"{stage['asset']}__")
                assert check["reason"]


def test_every_picture_has_both_hashes_and_its_method(fresh: Ran) -> None:
    """The stored bytes and the pixels, as they lie in the store."""
    store = open_store(str(Path(fresh.report["home"]) / "store"))
    seen = 0
    for who in fresh.report["characters"]:
        for picture in [p for stage in who["stages"] for p in stage.get("images", [])]:
            assert set(picture) >= PICTURE
            data = store.get("images", picture["sha256"])
            assert images.pixels_sha256(images.decode(data)) == picture["pixels_sha256"]
            assert images.read_mark(data) == "algorithmicMedia"
            assert picture["method"] in ("text", "pulid", "lora")
            seen += 1
    assert seen >= 3 + 1 + 8 + 9 + 3 + 1 + 8


def test_verified_means_measured_within_the_threshold(fresh: Ran) -> None:
    """A distance for every picture whose face was declared, and the verdict follows from it."""
    for who in fresh.report["characters"]:
        for stage in who["stages"]:
            judged = "identity" in REQUIRED_CLAIMS.get(stage["asset"], ())
            for picture in stage.get("images", []):
                if not judged:
                    assert picture["identity_distance"] is None
                elif picture["verified"]:
                    assert 0 <= picture["identity_distance"] <= THRESHOLD
                elif picture["identity_distance"] is not None and picture["expects_face"]:
                    assert picture["identity_distance"] > THRESHOLD


def test_checks_carry_their_numbers(fresh: Ran) -> None:
    """Under the names of the metadata dictionary; identity with its gate, spread and lower bound."""
    for stage in fresh.good["stages"]:
        for check in stage["checks"]:
            assert set(check["numbers"]) <= set(KEYS), check["name"]
    [identity] = [c for c in stage_of(fresh.good, "character_sheet")["checks"] if c["name"].endswith("__identity")]
    numbers = identity["numbers"]
    assert numbers["identity_consistency"] >= numbers["identity_gate"] == 0.9
    assert numbers["identity_mean"] <= numbers["identity_p90"] <= numbers["identity_worst"] <= THRESHOLD
    assert numbers["identity_lower_bound"] < numbers["identity_consistency"]
    [timing] = [c for c in stage_of(fresh.good, "base_images")["checks"] if c["name"].endswith("__timing")]
    assert "not evidence" in timing["reason"]


def test_good_character_goes_all_the_way(fresh: Ran) -> None:
    """Every stage once, in order; then pictures by the face swap and by the LoRA, each saying what really ran."""
    made = [stage["asset"] for stage in fresh.good["stages"]]
    assert made == [*STAGES, CONTENT, CONTENT]
    assert all(stage["accepted"] for stage in fresh.good["stages"])
    face_swap = stage_of(fresh.good, CONTENT, "face_swap")
    by_lora = stage_of(fresh.good, CONTENT, "lora")
    assert {p["method"] for p in face_swap["images"]} == {"pulid"}
    assert {p["method"] for p in by_lora["images"]} == {"lora"}
    assert by_lora["route_reason"] == "a LoRA is ready"
    assert not fresh.good["refused"]
    assert all(run["success"] for run in fresh.good["runs"])


def test_drifting_character_is_refused_before_its_training(fresh: Ran) -> None:
    """The sheet fails identity, the dataset's run says so, and there is no training, no LoRA, no content."""
    sheet = stage_of(fresh.refused, "character_sheet")
    verdicts = {check["name"].rpartition("__")[2]: check["passed"] for check in sheet["checks"]}
    assert {claim for claim, passed in verdicts.items() if not passed} == {"identity"}
    assert not sheet["accepted"]
    assert [stage["asset"] for stage in fresh.refused["stages"]] == STAGES[:3]
    assert "is not accepted: identity: " in fresh.refused["refused"]
    assert "Make another on purpose" in fresh.refused["refused"]
    engine = open_engine(f"sqlite:///{Path(fresh.report['home']) / 'ryla.db'}")
    with reading(engine) as db:
        mine = sa.select(ledger.jobs.c.kind).where(ledger.jobs.c.owner == fresh.refused["character"])
        assert set(db.execute(mine).scalars()) == {"image"}
    engine.dispose()


def test_cost_is_what_the_ledger_booked(fresh: Ran) -> None:
    """Every attempt once: a stage that reuses a picture does not bill it again."""
    assert fresh.report["cost_usd"] == pytest.approx(fresh.spent_usd, abs=1e-6)
    total = sum(who["cost_usd"] for who in fresh.report["characters"])
    assert total == pytest.approx(fresh.spent_usd, abs=1e-6)


def test_nothing_was_executed_twice(fresh: Ran) -> None:
    """By the preview's own count."""
    assert set(fresh.executions.values()) == {1}
    assert len(fresh.executions) == fresh.attempts


def test_contact_sheet_exists_and_opens(fresh: Ran) -> None:
    """A PNG with a row a stage, marked as what it is."""
    path = Path(fresh.report["contact_sheet"])
    with Image.open(path) as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        assert sheet.width > 1000
        assert sheet.height > 5 * 168
    assert images.read_mark(path.read_bytes()) == "algorithmicMedia"


def test_only_json_is_on_stdout_and_bars_are_on_stderr(fresh: Ran) -> None:
    """A pipe gets a document; a person sees who is worked on."""
    assert fresh.good["character"] in fresh.stderr
    assert "Traceback" not in fresh.stderr


def test_runs_are_in_the_instance_that_dev_shows(fresh: Ran) -> None:
    """Everything it did was a Dagster run of the home's instance, found there by its id."""
    with dg.DagsterInstance.from_config(str(Path(fresh.report["home"]) / "dagster")) as instance:
        for run in (run for who in fresh.report["characters"] for run in who["runs"]):
            found = instance.get_run_by_id(run["run_id"])
            assert found is not None
            assert (found.status == dg.DagsterRunStatus.SUCCESS) is run["success"]
        names = {who["character"] for who in fresh.report["characters"]}
        assert set(instance.get_dynamic_partitions("characters")) == names


# ---- once more in the same home


def test_second_run_ends_as_the_first(fresh: Ran, again: Ran) -> None:
    """Repeatable: the same exit code, the same verdicts, the same pictures."""
    assert again.code == 0, again.stderr
    for first, second in zip(fresh.report["characters"], again.report["characters"], strict=True):
        assert second["as_expected"]
        assert [s["manifest_sha256"] for s in second["stages"]] == [s["manifest_sha256"] for s in first["stages"]]
        assert second["refused"] == first["refused"]


def test_second_run_executes_and_costs_nothing(fresh: Ran, again: Ran) -> None:
    """Every paid picture and the training are adopted."""
    assert again.executions == fresh.executions
    assert (again.attempts, again.spent_usd) == (fresh.attempts, fresh.spent_usd)
    assert again.report["cost_usd"] == fresh.report["cost_usd"]


def test_second_run_draws_the_same_contact_sheet(fresh: Ran, again: Ran) -> None:
    """What was shown yesterday is shown today."""
    assert again.report["contact_sheet"] == fresh.report["contact_sheet"]
    assert Path(again.report["contact_sheet"]).exists()
