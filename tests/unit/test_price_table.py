"""What goes wrong with the deployment's price table: nobody reads it, nobody refreshes it, nobody tells its age."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from resources.gpu.backends.runpod.backend import RunPodBackend
from resources.gpu.prices import listed
from ryla_assets.build import build_studio
from ryla_assets.cli import main
from ryla_assets.doctor_runpod import looks
from ryla_assets.settings import Settings, settings
from ryla_assets.studio.ledger_report import report
from ryla_assets.studio.prices import keep_prices_fresh, price_file, price_table, read_prices
from ryla_assets.studio.studio import Studio
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod
from tests.fakes.scripted_backend import ScriptedBackend
from tests.fakes.scripted_studio import scripted_parts

KEY = "rp-fake-key"
OLD = "2026-09-01"  # newer than the table that comes with the code
GPU = "NVIDIA GeForce RTX 4090"


@pytest.fixture(scope="module")
def account() -> Iterator[FakeRunPod]:
    """An account whose catalogue can be read."""
    with FakeRunPod([EndpointConfig(id="ep1")], api_key=KEY) as made:
        yield made


@pytest.fixture
def config(home: Path, account: FakeRunPod) -> Settings:
    """Settings of a deployment there."""
    home.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "home": home,
        "backend": "runpod",
        "runpod_api_key": SecretStr(KEY),
        "runpod_image_endpoint_id": "ep1",
        "runpod_worker": "worker-comfyui",
        "runpod_jobs_url": account.jobs_url,
        "runpod_control_url": account.control_url,
    }
    return Settings(**given)


@pytest.fixture
def studio(open_studio: Callable[..., Studio], config: Settings, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """A studio whose work is that account's."""
    made = open_studio(parts=scripted_parts())
    monkeypatch.setattr(cast(ScriptedBackend, made.runner.backend), "name", "runpod")
    made.settings = config
    return made


def write(config: Settings, *, date: str = OLD, usd_per_s: float = 0.02) -> None:
    """A table of its own, in which one GPU is dear."""
    body = {"source": "the test", "date": date, "gpus": {GPU: {"pool": "ADA_24", "usd_per_s": usd_per_s}}}
    price_file(config).write_text(json.dumps(body))


def today() -> str:
    """As tables are dated."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def ryla(config: Settings, patch: pytest.MonkeyPatch, *words: str) -> Result:
    """Run `ryla jobs prices ...` on those settings."""
    names = ("home", "backend", "runpod_control_url")
    for name in names:
        patch.setenv(name.upper() if name.startswith("runpod") else f"RYLA_{name.upper()}", str(getattr(config, name)))
    patch.setenv("RUNPOD_API_KEY", config.runpod_api_key.get_secret_value())
    settings.cache_clear()
    return CliRunner().invoke(main, ["jobs", "prices", *words])


def test_work_is_priced_by_the_deployment_s_own_table(config: Settings) -> None:
    """Not by the one that comes with the code: what was refreshed is what is reserved and booked."""
    write(config)
    studio = build_studio(config, **{k: v for k, v in scripted_parts().items() if k != "backend"})
    backend = cast(RunPodBackend, studio.runner.backend)
    try:
        assert asyncio.run(backend._terms_of("ep1")).usd_per_s == 0.02
    finally:
        backend.service.close()
        studio.registry.engine.dispose()


def test_catalogue_is_read_and_kept(config: Settings) -> None:
    """Over HTTP; GPUs that it does not list keep their prices."""
    write(config)
    found = read_prices(config)
    assert found == price_table(config)
    assert (found.date, found.source) == (today(), "RunPod's catalogue")
    assert found.gpus[GPU].usd_per_s == pytest.approx(0.00031)
    assert (
        read_prices(config.model_copy(update={"home": config.home / "new"})).gpus["NVIDIA B200"].date == listed().date
    )


def test_ledger_asset_keeps_prices_fresh(studio: Studio, account: FakeRunPod) -> None:
    """A table of another day is read again, one of today is not: the catalogue is asked once a day."""
    write(studio.settings)
    assert report(studio).prices == f"Prices of {today()} (RunPod's catalogue)."
    assert price_table(studio.settings).gpus[GPU].usd_per_s == pytest.approx(0.00031)
    studio.settings = studio.settings.model_copy(update={"runpod_control_url": "http://127.0.0.1:9/v2"})
    assert keep_prices_fresh(studio) == f"Prices of {today()} (RunPod's catalogue)."


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"runpod_control_url": "http://127.0.0.1:9/v2"}, "cannot be reached"),
        ({"runpod_api_key": SecretStr("")}, "RUNPOD_API_KEY"),
        ({"runpod_api_key": SecretStr("wrong")}, "key"),
    ],
)
def test_catalogue_that_cannot_be_read_changes_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], says: str
) -> None:
    """The hourly numbers come all the same; that prices are old, and why, is told."""
    monkeypatch.setattr("resources.runpod.asking.PATIENCE_S", 0.2)
    write(studio.settings)
    before = price_file(studio.settings).read_text()
    studio.settings = studio.settings.model_copy(update=changed)
    told = report(studio).prices
    assert told.startswith(f"Prices of {OLD} (the test). They could not be read again: ")
    assert says in told
    assert price_file(studio.settings).read_text() == before


def test_prices_of_another_backend_are_not_asked_for(open_studio: Callable[..., Studio]) -> None:
    """Preview and ComfyUI know their own."""
    made = open_studio(parts=scripted_parts())
    assert keep_prices_fresh(made) == "The scripted backend has prices of its own."
    assert not price_file(made.settings).exists()


# ---- the command


def test_prices_are_shown(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pool, GPU, a second and an hour, and of which day; in the cheapest pool first."""
    result = ryla(config, monkeypatch, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["date"]) == (0, listed().date)
    row = next(one for one in told["prices"] if one["gpu"] == GPU)
    expected = {"pool": "ADA_24", "gpu": GPU, "usd_per_s": 0.00031, "usd_per_h": 1.116, "date": listed().date}
    assert row == pytest.approx(expected)
    assert told["prices"][0]["pool"] == "AMPERE_16"
    out = ryla(config, monkeypatch).stdout
    assert all(word in out for word in ("ADA_24", "$0.00031", "$1.12", listed().date))


def test_prices_are_refreshed(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stay so."""
    assert json.loads(ryla(config, monkeypatch, "--refresh", "--json").stdout)["date"] == today()
    assert json.loads(ryla(config, monkeypatch, "--json").stdout)["date"] == today()


def test_refresh_without_a_key_names_it(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, the setting, nothing written."""
    without = config.model_copy(update={"runpod_api_key": SecretStr("")})
    result = ryla(without, monkeypatch, "--refresh", "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["field"]) == (2, "RUNPOD_API_KEY")
    assert not price_file(config).exists()


def test_refresh_that_cannot_be_kept_says_where(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that is full or closed."""
    price_file(config).mkdir()
    result = ryla(config, monkeypatch, "--refresh", "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["field"]) == (2, "RYLA_HOME")


# ---- the doctor


@pytest.mark.parametrize(("date", "state"), [(OLD, "note"), ("", "ok")])
def test_doctor_tells_date_and_age(config: Settings, date: str, state: str) -> None:
    """Old prices work, but are known to be old; with the command that reads them again."""
    write(config, date=date or today())
    row = looks(config)["prices"](config)
    assert (row.state, "ryla jobs prices --refresh" in row.cure) == (state, state == "note")
    assert (date or today()) in row.detail
    assert ("days old" in row.detail) is bool(date)
