"""What goes wrong with money that is told: a bill compared too early, a warning too late, a silent unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import dagster as dg
import httpx
import pytest
from pydantic import SecretStr

from resources.gpu.books import Hour
from resources.gpu.job import Job, OutputSpec
from resources.gpu.ledger import Attempt, Intent
from resources.runpod.answers import BillLine
from resources.runpod_control import BILLING_LAG_S, Bill
from ryla_assets.assets.job_ledger import job_ledger
from ryla_assets.assets.results import metadata_of
from ryla_assets.checks.budget import job_ledger__budget
from ryla_assets.checks.exposure import job_ledger__no_unknown_exposure
from ryla_assets.domain.images import ImageSet, Timing, from_json, manifest_sha256, to_json
from ryla_assets.studio.base import make_base_images
from ryla_assets.studio.bills import HOUR_S, compare, drift, reconcile, summed
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


def bill(*lines: tuple[str, float, float], doubt: str = "") -> Bill:
    """A bill of (endpoint, hour's start, USD)."""
    return Bill(tuple(BillLine(datetime.fromtimestamp(at, UTC), who, usd) for who, at, usd in lines), doubt)


def hour(endpoint: str, start: float, usd: float) -> Hour:
    """What was booked there in that hour."""
    return Hour(f"{JOBS_URL}/{endpoint}", start, 1, usd)


# ---- booked and billed


def test_old_hour_is_compared() -> None:
    """Its drift is booked less billed, in dollars and as a share of the bill."""
    found = summed(compare([hour("ep", START, 0.05)], bill(("ep", START, 0.04)), {}, now=LATER))
    assert (found.booked_usd, found.billed_usd) == (0.05, 0.04)
    assert found.usd == pytest.approx(0.01)
    assert found.share == pytest.approx(0.25)
    assert not found.underbooked
    assert "all that was billed is booked" in found.note


def test_bill_may_be_cut_finer_than_we_asked() -> None:
    """Several records of one hour are one hour."""
    lines = bill(("ep", START, 0.01), ("ep", START + 1800, 0.02))
    [one] = compare([hour("ep", START, 0.05)], lines, {}, now=LATER)
    assert one.billed_usd == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("now", "lines", "busy", "why"),
    [
        (START + HOUR_S + BILLING_LAG_S - 1, [("ep", START, 0.01)], {}, "the bill may still change"),
        (LATER, [], {}, "the bill says nothing of it"),
        (LATER, [("ep", START, 0.01)], {f"{JOBS_URL}/ep": START + 10}, "an open attempt ran in it"),
        (LATER, [("ep", START, 0.01)], {f"{JOBS_URL}/ep": START + HOUR_S}, ""),
        (LATER, [("ep", START, 0.01)], {f"{JOBS_URL}/other": START}, ""),
    ],
    ids=["too early", "empty", "open attempt", "open later", "open elsewhere"],
)
def test_hour_that_cannot_be_compared_is_marked(
    now: float, lines: list[tuple[str, float, float]], busy: dict[str, float], why: str
) -> None:
    """A bill that lags, that says nothing, or that runs ahead of what is booked proves no drift."""
    hours = compare([hour("ep", START, 0.05)], bill(*lines), busy, now=now)
    assert [one.unreconciled for one in hours] == [why]
    assert (summed(hours).usd is None) is bool(why)


def test_billed_without_a_booking_is_drift() -> None:
    """Somebody else used the endpoint, or an attempt was lost: never hidden."""
    found = summed(compare([], bill(("ep", START, 0.5)), {}, now=LATER))
    assert (found.usd, found.underbooked) == (-0.5, True)
    assert "more was billed" in found.note


def test_doubt_of_the_bill_is_passed_on() -> None:
    """A control API that does not answer: its words stand beside the unreconciled hours."""
    found = summed(compare([hour("ep", START, 0.05)], bill(), {}, now=LATER), "ep is unknown (key refused)")
    assert found.usd is None
    assert "1 hours are unreconciled. Ep is unknown (key refused)." in found.note


def test_backend_without_a_bill_says_so(studio: Studio) -> None:
    """Preview and ComfyUI: nothing to compare, no drift, no failure."""
    cost(studio, "a", 0.04)
    found = drift(studio)
    assert (found.usd, found.hours) == (None, [])
    assert "sends no bill" in found.note


def test_reconciling_asks_for_our_endpoints_only(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint ids from the ledger, whole hours, everything settled first."""
    monkeypatch.setattr(cast(ScriptedBackend, studio.runner.backend), "name", "runpod")
    asked: list[tuple[Sequence[str], float]] = []

    def bill_of(ids: Sequence[str], since: float, until: float) -> Bill:
        asked.append((ids, since))
        return bill()

    attempt = begun(studio, "a", endpoint=f"{JOBS_URL}/ep2")
    studio.runner.ledger.move(attempt, "failed", cost_usd=0.01)
    open_one = begun(studio, "b", endpoint=f"{JOBS_URL}/ep1")
    found = reconcile(studio, bill_of=bill_of)
    assert [ids for ids, _ in asked] == [["ep1", "ep2"]]
    assert all(since % HOUR_S == 0 for _, since in asked)
    assert [one.endpoint for one in found.drift.hours] == ["ep2"]
    assert found.unknown == []
    studio.runner.ledger.move(open_one, "unknown")
    assert [a.id for a in reconcile(studio, bill_of=bill_of).unknown] == [open_one.id]


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
    assert "per_image_usd" not in shown
    assert "drift_usd" not in shown
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


def test_bill_is_read_from_runpod(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, from the control API: the hour that it bills beside the hour that we booked, and their drift."""
    with FakeRunPod([EndpointConfig(id="ep1", cold_s=10.0, exec_s=(2.0, 2.0), idle_s=5.0)]) as account:
        key = {"Authorization": f"Bearer {account.api_key}"}
        httpx.post(f"{account.jobs_url}/ep1/run", json={"input": {}}, headers=key).raise_for_status()
        account.clock.advance(120)
        billed = 17 * 0.00031
        monkeypatch.setattr(cast(ScriptedBackend, studio.runner.backend), "name", "runpod")
        given = {"runpod_control_url": account.control_url, "runpod_api_key": SecretStr(account.api_key)}
        studio.settings = studio.settings.model_copy(update=given)
        monkeypatch.setattr(studio.runner.ledger, "clock", account.clock.now)
        attempt = begun(studio, "a", endpoint=f"{JOBS_URL}/ep1")
        studio.runner.ledger.move(attempt, "failed", cost_usd=0.01)
        soon = drift(studio)
        account.clock.advance(4 * HOUR_S)
        found = drift(studio)
    assert {hour.unreconciled for hour in soon.hours} == {"the bill may still change"}
    assert found.billed_usd == pytest.approx(billed, rel=0.2)
    assert found.usd == pytest.approx(0.01 - (found.billed_usd or 0.0))
    assert not found.underbooked
