"""What goes wrong with money that is told: a bill compared too early, a warning too late, a silent unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import dagster as dg
import httpx
import pytest
from pydantic import SecretStr

from resources.gpu.budget import Budgets
from resources.gpu.job import Job, OutputSpec
from resources.gpu.records import Attempt, Intent
from resources.runpod.answers import BillLine
from resources.runpod_control import BILLING_LAG_S, Bill
from ryla_assets.assets.job_ledger import job_ledger
from ryla_assets.assets.results import metadata_of
from ryla_assets.checks.budget import job_ledger__budget
from ryla_assets.checks.exposure import job_ledger__no_unknown_exposure
from ryla_assets.domain.images import ImageSet, Timing, from_json, manifest_sha256, to_json
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.bills import HOUR_S, drift, reconcile, summed
from ryla_assets.studio.blocks import Block
from ryla_assets.studio.ledger_report import budget_report, exposure_report, report
from ryla_assets.studio.rendering import together
from ryla_assets.studio.studio import Studio
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.scripted_backend import ScriptedBackend
from tests.fakes.scripted_studio import scripted_parts

START = 1_799_996_400.0  # a whole hour
LATER = START + HOUR_S + BILLING_LAG_S + HOUR_S
JOBS_URL = "https://jobs.test/v2"
WHO = "mara-lind"


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    """A studio with a dollar a day."""
    return open_studio(parts=scripted_parts(), daily_budget_usd=1.0)


def begun(studio: Studio, name: str, *, most: float = 0.05, endpoint: str = "memory") -> Attempt:
    """An attempt whose process has just committed its intent."""
    ledger, spec = studio.runner.ledger, OutputSpec(name, "image", 64, 64)
    job = Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, (spec,), label=f"{WHO}/{name}/1", owner=WHO)
    row = ledger.open(job, backend=studio.runner.backend.name, profile="p")
    intent = Intent(studio.runner.backend.name, endpoint, "me", 60.0, "run", 0.01, most, 900.0, 1800.0)
    attempt = ledger.begin(row.fingerprint, intent, studio.runner.budgets)
    assert attempt is not None
    return attempt


def cost(studio: Studio, name: str, usd: float, **more: Any) -> Attempt:
    """A settled attempt of that cost."""
    return studio.runner.ledger.move(begun(studio, name, most=usd), "failed", cost_usd=usd, **more)


# ---- booked and billed


def test_doubt_of_the_bill_is_passed_on() -> None:
    """A control API that does not answer: its words stand beside the unreconciled hours."""
    block = Block("ep", START, START + HOUR_S, 1, 0.05, 0.0, None, 0, "the bill says nothing of it")
    found = summed([block], "the bill of ep is unknown (key refused)")
    assert found.usd is None
    assert "1 of 1 stretches of hours are unreconciled. The bill of ep is unknown (key refused)." in found.note


def test_backend_without_a_bill_says_so(studio: Studio) -> None:
    """Preview and ComfyUI: nothing to compare, no drift, no failure."""
    cost(studio, "a", 0.04)
    found = drift(studio)
    assert (found.usd, found.blocks) == (None, [])
    assert "sends no bill" in found.note


def test_reconciling_asks_for_our_endpoints_only(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """RunPod's, of the ledger and of the settings; whole hours, everything settled first."""
    cost(studio, "memory", 0.01)  # the ledger holds work of another backend too
    monkeypatch.setattr(cast(ScriptedBackend, studio.runner.backend), "name", "runpod")
    given = {"runpod_image_endpoint_id": "ep1", "runpod_training_endpoint_id": "ep3"}
    studio.settings = studio.settings.model_copy(update=given)
    asked: list[tuple[Sequence[str], float]] = []

    def bill_of(ids: Sequence[str], since: float, until: float) -> Bill:
        asked.append((ids, since))
        return Bill(())

    attempt = begun(studio, "a", endpoint=f"{JOBS_URL}/ep2")
    studio.runner.ledger.move(attempt, "failed", cost_usd=0.01)
    open_one = begun(studio, "b", endpoint=f"{JOBS_URL}/ep1")
    found = reconcile(studio, bill_of=bill_of)
    assert [ids for ids, _ in asked] == [["ep1", "ep2", "ep3"]]
    assert all(since % HOUR_S == 0 for _, since in asked)
    assert [(one.endpoint, bool(one.unreconciled)) for one in found.drift.blocks] == [("ep1", True), ("ep2", True)]
    assert found.unknown == []
    studio.runner.ledger.move(open_one, "unknown")
    assert [a.id for a in reconcile(studio, bill_of=bill_of).unknown] == [open_one.id]


def test_all_unknown_attempts_are_reconciled(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are: an exposure that is left out is one that nobody looks for."""
    monkeypatch.setattr(studio.runner, "settle_open", list)
    for number in range(60):
        studio.runner.ledger.move(begun(studio, f"{number}", most=0.001), "unknown")
    assert len(reconcile(studio).unknown) == 60
    told = exposure_report(studio)
    assert len(told.rows) == 50
    assert "The 50 dearest of 60 attempts are listed." in told.reason


def test_block_before_the_window_is_compared_as_a_whole(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that began before what was asked for: its bill of before is in it; older blocks are left out."""
    monkeypatch.setattr(cast(ScriptedBackend, studio.runner.backend), "name", "runpod")
    now = [START - 5 * HOUR_S]
    monkeypatch.setattr(studio.runner.ledger, "clock", lambda: now[0])
    for name, begins, ends in (("old", -5.0, -4.9), ("a", -0.5, 0.25)):
        now[0] = START + begins * HOUR_S
        attempt = begun(studio, name, endpoint=f"{JOBS_URL}/ep", most=0.95)
        now[0] = START + ends * HOUR_S
        studio.runner.ledger.move(attempt, "failed", cost_usd=0.95)
        studio.runner.budgets = Budgets(10.0)
    now[0] = LATER
    hours = [(-5, 0.95), (-1, 0.63), (0, 0.32)]
    lines = tuple(BillLine(datetime.fromtimestamp(START + at * HOUR_S, UTC), "ep", usd) for at, usd in hours)
    [block] = drift(studio, since=START, bill_of=lambda *_: Bill(lines)).blocks
    assert (block.start, block.booked_usd, block.missing_usd) == (START - HOUR_S, 0.95, 0.0)
    assert block.billed_usd == pytest.approx(0.95)


# ---- budget and exposure


@pytest.mark.parametrize(
    ("spent", "held", "level"), [(0.0, 0.0, "ok"), (0.7, 0.05, "ok"), (0.75, 0.05, "near"), (0.95, 0.05, "near")]
)
def test_budget_warns_before_it_refuses(studio: Studio, spent: float, held: float, level: str) -> None:
    """From 80 % on, with what open work can cost."""
    if spent:
        cost(studio, "a", spent)
    if held:
        begun(studio, "b", most=held)
    told = budget_report(studio)
    assert told.level == level
    assert told.numbers["budget_share"] == pytest.approx(spent + held)


def test_budget_is_an_error_beyond_it(studio: Studio) -> None:
    """A job may cost more than its estimate, or the budget was lowered: nothing more is sent, and why is told."""
    cost(studio, "a", 0.9)
    lowered = studio.settings.model_copy(update={"daily_budget_usd": 0.5})
    studio.settings = lowered
    assert budget_report(studio).level == "over"
    found = cast(dg.AssetCheckResult, job_ledger__budget(studio=studio))
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "RYLA_DAILY_BUDGET_USD" in (found.description or "")


@pytest.mark.parametrize("whose", ["character", "run"])
@pytest.mark.parametrize(("spent", "level"), [(0.3, "ok"), (0.45, "near"), (0.6, "near")])
def test_character_and_run_that_come_near_their_budget_are_told(
    studio: Studio, whose: str, spent: float, level: str
) -> None:
    """The day has room and stays green without such a budget; with one, whoever is nearest is named in time."""
    cost(studio, "a", spent)
    assert budget_report(studio).level == "ok"
    studio.settings = studio.settings.model_copy(update={f"{whose}_budget_usd": 0.5})
    told = budget_report(studio)
    assert told.level == level
    name = WHO if whose == "character" else "run"
    says = f"{whose.title()} {name} is at ${spent:.4f} of its $0.50: beyond it its work is refused."
    assert (f"{says} RYLA_{whose.upper()}_BUDGET_USD raises it." in told.reason) is (level == "near")
    found = cast(dg.AssetCheckResult, job_ledger__budget(studio=studio))
    assert (found.passed, found.severity) == (level == "ok", dg.AssetCheckSeverity.WARN)


def test_work_of_nobody_is_no_character_of_its_own(studio: Studio) -> None:
    """What has no owner and no run has no budget of theirs, however dear it is."""
    studio.settings = studio.settings.model_copy(update={"character_budget_usd": 0.1, "run_budget_usd": 0.1})
    spec = OutputSpec("x", "image", 64, 64)
    row = studio.runner.ledger.open(Job("image", {}, (spec,), label="x"), backend="memory", profile="p")
    intent = Intent("memory", "memory", "me", 60.0, None, 0.01, 0.5, 900.0, 1800.0)
    assert studio.runner.ledger.begin(row.fingerprint, intent, Budgets(10.0)) is not None
    assert budget_report(studio).level == "ok"
    assert report(studio).characters == report(studio).runs == []


def test_unknown_exposure_is_listed_with_its_most(studio: Studio) -> None:
    """An error while it is open; presumed costs are a warning; the dearest first."""
    assert cast(dg.AssetCheckResult, job_ledger__no_unknown_exposure(studio=studio)).passed
    ledger = studio.runner.ledger
    presumed = ledger.move(begun(studio, "p", most=0.2), "unknown")
    ledger.move(presumed, "lost", cost_usd=0.2, cost_basis="presumed", error="nobody knows")
    warned = cast(dg.AssetCheckResult, job_ledger__no_unknown_exposure(studio=studio))
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    unknown = ledger.move(begun(studio, "u", most=0.3), "unknown")
    told = exposure_report(studio)
    assert [(row["attempt"], row["at_most_usd"]) for row in told.rows] == [(unknown.id, 0.3), (presumed.id, 0.2)]
    failed = cast(dg.AssetCheckResult, job_ledger__no_unknown_exposure(studio=studio))
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "ryla jobs reconcile" in (failed.description or "")


# ---- the asset


def test_asset_tells_the_ledger_in_numbers(studio: Studio) -> None:
    """Plain floats under stable names; and the sum of what is told is the sum of what was booked."""
    cost(studio, "a", 0.04, cold_usd=0.01, idle_usd=0.005)
    begun(studio, "b", most=0.05)
    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [job_ledger, job_ledger__budget, job_ledger__no_unknown_exposure],
            resources={"studio": studio}, instance=instance,
        )  # fmt: skip
    assert result.success
    [event] = result.asset_materializations_for_node("job_ledger")
    shown = {name: value.value for name, value in event.metadata.items()}
    assert (shown["spent_usd"], shown["reserved_usd"], shown["unknown_usd"]) == (0.04, 0.05, 0.0)
    assert (shown["cold_usd"], shown["idle_usd"], shown["wasted"], shown["open"]) == (0.01, 0.005, 1.0, 1)
    for name, whose in (("dearest_characters", WHO), ("dearest_runs", "run")):
        [row] = shown[name].records
        assert list(row.data.values()) == [whose, 2, 0.04, 0.05]
    assert shown["prices"] == "The scripted backend has prices of its own."
    assert not {"per_image_usd", "drift_usd", "bill_explained"} & set(shown)
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
        "job_ledger__budget": True, "job_ledger__no_unknown_exposure": True,
    }  # fmt: skip


def test_report_has_percentiles_once_something_succeeded(studio: Studio, make_character: Callable[..., Any]) -> None:
    """And a price per accepted image."""
    assert "queue_p50_s" not in report(studio).numbers
    make_character(studio, WHO)
    images = make_base_images(studio, WHO)
    told = report(studio).numbers
    assert (told["accepted_images"], told["wasted"]) == (len(images.images), 0.0)
    assert told["per_image_usd"] == pytest.approx(images.timing.cost_usd / len(images.images))
    assert {f"{what}_{rank}_s" for what in ("queue", "cold", "exec", "overhead") for rank in ("p50", "p95")} <= set(
        told
    )


# ---- costs and diagnoses of an asset


def test_cost_is_split_in_metadata(studio: Studio, make_character: Callable[..., Any]) -> None:
    """Run, cold and idle shares add up to the cost."""
    make_character(studio, WHO)
    made = make_base_images(studio, WHO)
    spent = Timing(cost_usd=0.1, cold_usd=0.04, idle_usd=0.01, jobs=1)
    shown = metadata_of(studio, made.model_copy(update={"timing": together(spent, spent)}))
    split = {name: shown[name].value for name in ("cost_usd", "run_usd", "cold_usd", "idle_usd")}
    assert split == pytest.approx({"cost_usd": 0.2, "run_usd": 0.1, "cold_usd": 0.08, "idle_usd": 0.02})
    assert "diagnosis" not in shown


def test_diagnosis_reaches_the_asset(studio: Studio, make_character: Callable[..., Any]) -> None:
    """What held its jobs up is told where ops look."""
    make_character(studio, WHO)
    made = make_base_images(studio, WHO)
    row = studio.runner.ledger.job(made.images[0].job)
    assert row is not None
    with studio.runner.ledger.engine.begin() as db:
        db.exec_driver_sql("UPDATE gpu_attempts SET diagnosis = 'no RTX 4090 was free in EU-RO-1'")
    assert metadata_of(studio, made)["diagnosis"].value == "no RTX 4090 was free in EU-RO-1"


def image_set(**timing: Any) -> ImageSet:
    """A manifest with such a timing."""
    common: dict[str, Any] = {"backend": "preview", "render_domain": "preview", "route": "base", "images": ()}
    return ImageSet(asset="base_images", character=WHO, take=1, request_id="r", timing=Timing(**timing), **common)


def test_old_manifest_keeps_its_name() -> None:
    """Gates and lineage know one of before the shares by the hash of its bytes: writing it again changes none."""
    before = to_json(image_set(exec_s=1.0, cost_usd=0.1, jobs=1))
    assert b"cold_usd" not in before
    assert b"idle_usd" not in before
    assert to_json(from_json(before)) == before


def test_shares_that_are_known_are_kept() -> None:
    """They are part of the manifest's bytes, so of its name."""
    made = image_set(cold_usd=0.01)
    again = from_json(to_json(made))
    assert isinstance(again, ImageSet)
    assert again.timing.cold_usd == 0.01
    assert manifest_sha256(again) == manifest_sha256(made)


def on_account(studio: Studio, account: FakeRunPod, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let the studio's work be that account's, by its clock; returns the headers that open it."""
    patch.setattr(cast(ScriptedBackend, studio.runner.backend), "name", "runpod")
    patch.setattr(studio.runner.ledger, "clock", account.clock.now)
    given = {"runpod_control_url": account.control_url, "runpod_api_key": SecretStr(account.api_key)}
    studio.settings = studio.settings.model_copy(update=given)
    return {"Authorization": f"Bearer {account.api_key}"}


def test_bill_is_read_from_runpod(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, from the control API: the hours that it bills beside what we booked, and their drift."""
    with FakeRunPod([EndpointConfig(id="ep1", cold_s=10.0, exec_s=(2.0, 2.0), idle_s=5.0)]) as account:
        key = on_account(studio, account, monkeypatch)
        attempt = begun(studio, "a", endpoint=f"{JOBS_URL}/ep1")
        httpx.post(f"{account.jobs_url}/ep1/run", json={"input": {}}, headers=key).raise_for_status()
        account.clock.advance(120)
        studio.runner.ledger.move(attempt, "failed", cost_usd=0.01)
        soon = drift(studio)
        account.clock.advance(5 * HOUR_S)
        found = drift(studio)
    assert {block.unreconciled for block in soon.blocks} == {"the bill may still change"}
    assert found.billed_usd == pytest.approx(17 * 0.00031, rel=0.2)
    assert found.usd == pytest.approx(0.01 - (found.billed_usd or 0.0))
    assert (found.explained, found.underbooked) == (1.0, [])


def test_bill_of_pods_is_of_our_pods(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt has a pod of its own: their bills are one place, and other people's pods are none of it."""
    with FakeRunPod() as account:
        key, ledger = on_account(studio, account, monkeypatch), studio.runner.ledger
        body = {"image": "registry.example/trainer:1", "gpu": {"id": "NVIDIA A40"}}
        pods = [httpx.post(f"{account.control_url}/pods", json={**body, "name": name}, headers=key) for name in "ab"]
        ours = ledger.move(begun(studio, "a", endpoint=f"{JOBS_URL}/pod"), "submitted",
                           remote_id=f"pod/{pods[0].json()['id']}/{'0' * 64}")  # fmt: skip
        account.clock.advance(1800)
        for pod in pods:
            httpx.delete(f"{account.control_url}/pods/{pod.json()['id']}", headers=key).raise_for_status()
        ledger.move(ours, "failed", cost_usd=0.25)
        account.clock.advance(5 * HOUR_S)
        found = drift(studio)
    [block] = found.blocks
    assert (block.endpoint, block.attempts) == ("pod", 1)
    assert found.billed_usd == pytest.approx(0.22, abs=0.01), "half an hour of an A40, once"
    assert found.underbooked == []
