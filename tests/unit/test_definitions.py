"""What goes wrong with what Dagster shows: two entries that differ, gates without checks, slow steps."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.reconstruct import repository_def_from_target_def
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.utils import get_loadable_targets

from ryla_assets.build import build_defs
from ryla_assets.studio.judge import CLAIMS
from ryla_assets.studio.studio import REQUIRED_CLAIMS

ROOT = Path(__file__).resolve().parents[2]
BLOCKING = ("identity", "provenance", "integrity")
OF_NO_CHARACTER = {
    "workflow_templates__parity",
    "job_ledger__budget",
    "job_ledger__no_unknown_exposure",
    "image_index__standing",
}
Names = dict[str, set[str]]


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """The definitions as `ryla_assets.definitions` gives them."""
    return build_defs()


@pytest.fixture(scope="module")
def checks(defs: dg.Definitions) -> dict[str, dg.AssetCheckSpec]:
    """Every check's specification by name."""
    return {spec.name: spec for check in defs.asset_checks or () for spec in check.check_specs}


def by_workspace() -> Names:
    """What webserver and daemon load through workspace.yaml, by Dagster's own loader (the code server's, 1.13)."""
    [origin] = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    where = origin.loadable_target_origin
    [target] = get_loadable_targets(
        python_file=where.python_file,
        module_name=where.module_name,
        package_name=where.package_name,
        autoload_defs_module_name=where.autoload_defs_module_name,
        working_directory=str(ROOT / where.working_directory),
        attribute=where.attribute,
        resolve_lazy_defs=True,
    )
    found: Any = repository_def_from_target_def(target.target_definition)
    return {
        "assets": {key.to_user_string() for key in found.asset_graph.get_all_asset_keys()},
        "asset_checks": {f"{key.asset_key.to_user_string()}:{key.name}" for key in found.asset_checks_defs_by_key},
        "sensors": {sensor.name for sensor in found.sensor_defs},
        "schedules": {schedule.name for schedule in found.schedule_defs},
    }


def by_dg(tmp_path: Path) -> Names:
    """What `dg` finds through [tool.dg] of pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster_dg_cli.cli", "list", "defs", "--json"],
        cwd=ROOT, env={**os.environ, "HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    return {
        "assets": {asset["asset_key"] for asset in found["assets"]},
        "asset_checks": {check["key"] for check in found["asset_checks"]},
        "sensors": {sensor["name"] for sensor in found["sensors"]},
        "schedules": {schedule["name"] for schedule in found["schedules"]},
    }


def test_both_entries_load_the_same_definitions(tmp_path: Path) -> None:
    """workspace.yaml (daemon, webserver) and [tool.dg] (dg) are two files about one code location."""
    ours = by_workspace()
    assert all(ours.values())
    assert by_dg(tmp_path) == ours


def test_both_entries_name_the_location_alike() -> None:
    """Runs and backfills remember the location's name: two names would be two histories."""
    [entry] = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]


def test_definitions_are_loadable(defs: dg.Definitions) -> None:
    """Every asset finds its resources, every sensor its targets, no key is defined twice."""
    dg.Definitions.validate_loadable(defs)


def test_every_asset_says_whose_and_what_it_is(defs: dg.Definitions) -> None:
    """Group, kinds, owners, code version and a description are what ops filter and read in the UI."""
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        told = {
            "group": node.group_name not in (None, "default"),
            "kinds": bool(node.kinds),
            "owners": bool(node.owners),
            "code_version": bool(node.code_version),
            "description": bool(node.description),
        }
        assert all(told.values()), (key.to_user_string(), told)


def test_character_assets_have_one_partition_key_a_character(defs: dg.Definitions) -> None:
    """A second dimension would cost 25 s of webserver after each new character (docs/adr/0002)."""
    graph = defs.resolve_asset_graph()
    partitions = {key.to_user_string(): graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    assert partitions.pop("model_files") is None
    assert partitions.pop("workflow_templates") is None
    assert partitions.pop("visual_parity") is None
    assert partitions.pop("job_ledger") is None
    assert partitions.pop("image_index") is None
    assert isinstance(partitions.pop("content_batch"), dg.DailyPartitionsDefinition)
    assert all(isinstance(p, dg.DynamicPartitionsDefinition) and p.name == "characters" for p in partitions.values())


def test_check_is_named_after_its_asset_and_claim(checks: dict[str, dg.AssetCheckSpec]) -> None:
    """`<asset>__<claim>`: the batch and the gate rows are found by the same words."""
    named = {name: tuple(name.split("__")) for name in checks}
    assert {name: (checks[name].asset_key.to_user_string(), parts[-1]) for name, parts in named.items()} == named


def test_every_claim_has_its_check(checks: dict[str, dg.AssetCheckSpec]) -> None:
    """A claim that a gate asks for and no check judges would never be accepted; a check without a claim fails."""
    claimed = {f"{asset}__{claim}" for asset, claims in CLAIMS.items() for claim in claims}
    assert set(checks) == claimed | OF_NO_CHARACTER


def test_check_blocks_exactly_if_its_claim_is_required(checks: dict[str, dg.AssetCheckSpec]) -> None:
    """What the gate requires stops the run's downstream too; time and evidence are told, never blocking."""
    required = {f"{asset}__{claim}" for asset, claims in REQUIRED_CLAIMS.items() for claim in claims}
    assert {name for name, spec in checks.items() if spec.blocking} == required


def test_identity_provenance_and_integrity_block(checks: dict[str, dg.AssetCheckSpec]) -> None:
    """These three are never only told, whatever the table of required claims says."""
    told = [name for name, spec in checks.items() if name.endswith(BLOCKING) and not spec.blocking]
    assert told == []
    assert {name.rpartition("__")[2] for name in checks} >= set(BLOCKING)


def test_check_is_partitioned_like_its_asset(defs: dg.Definitions, checks: dict[str, dg.AssetCheckSpec]) -> None:
    """Without a partition the UI shows one evaluation for all characters."""
    graph = defs.resolve_asset_graph()
    assert {n for n, s in checks.items() if s.partitions_def != graph.get(s.asset_key).partitions_def} == set()


def test_steps_run_in_the_run_s_process(defs: dg.Definitions) -> None:
    """A step costs 50 ms in process and 2-3 s in the default executor (docs/adr/0003)."""
    jobs = defs.get_repository_def().get_all_jobs()  # those of sensors and schedules too
    assert {job.executor_def.name for job in jobs} == {"in_process"}
    assert len(jobs) > len(defs.sensors or ())


def test_nothing_spends_by_the_clock_unasked(defs: dg.Definitions) -> None:
    """Schedules are switched on by a person."""
    assert {s.name for s in defs.schedules or () if s.default_status == dg.DefaultScheduleStatus.RUNNING} == set()
