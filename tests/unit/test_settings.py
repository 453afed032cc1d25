"""What goes wrong with settings: a typo that is taken for a default, a path that moves with the working directory."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ryla_assets.build import _policy, build_studio
from ryla_assets.domain.errors import InputError
from ryla_assets.settings import Settings, settings


def test_everything_has_a_default() -> None:
    """With no variable set it is the preview backend in .ryla, small money, gates on, nothing but sfw."""
    found = settings()
    assert (found.backend, found.home, found.gates, found.nsfw_allowed) == ("preview", Path(".ryla"), "enforce", False)
    assert found.database.startswith("sqlite:///")
    assert found.daily_budget_usd <= 25


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """RYLA_<NAME> sets the field."""
    monkeypatch.setenv("RYLA_DAILY_BUDGET_USD", "3.5")
    monkeypatch.setenv("RYLA_SHEET_IMAGES", "10")
    found = settings()
    assert (found.home, found.daily_budget_usd, found.sheet_images) == (home, 3.5, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RYLA_BACKEND", "modal"),
        ("RYLA_DAILY_BUDGET_USD", "0"),
        ("RYLA_DAILY_BUDGET_USD", "ten"),
        ("RYLA_IMAGE_PX", "300"),
        ("RYLA_SHEET_IMAGES", "6"),
        ("RYLA_GATES", "off"),
        ("RYLA_NSFW_ALLOWED", "perhaps"),
        ("RYLA_PREVIEW_WORKERS", "-1"),
    ],
)
def test_wrong_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The error names the variable, repeats the value and says where to look."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        settings()
    assert (caught.value.field, caught.value.value) == (name, value)
    assert name in caught.value.way_out
    assert caught.value.exit_code == 2


def test_fixed_error_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value is not cached: the corrected one holds at once."""
    monkeypatch.setenv("RYLA_GATES", "off")
    with pytest.raises(InputError):
        settings()
    monkeypatch.setenv("RYLA_GATES", "record")
    assert settings().gates == "record"


def test_paths_do_not_move_with_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run worker may start elsewhere: what it is told is absolute."""
    monkeypatch.chdir(tmp_path)
    found = Settings(home=Path("here"))
    assert found.database == f"sqlite:///{tmp_path}/here/ryla.db"
    assert found.storage == str(tmp_path / "here" / "store")
    assert found.dagster_home == tmp_path / "here" / "dagster"


def test_own_database_and_store_hold() -> None:
    """What a deployment names is taken as it is."""
    found = Settings(database_url="postgresql+psycopg2://db/ryla", storage_url="file:///srv/ryla")
    assert (found.database, found.storage) == ("postgresql+psycopg2://db/ryla", "file:///srv/ryla")


def test_settings_do_not_change_while_running() -> None:
    """Nobody flips a gate half-way through a run."""
    with pytest.raises(ValidationError):
        settings().gates = "record"  # type: ignore[misc]


def test_loading_touches_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Asking for paths makes none of them."""
    monkeypatch.chdir(tmp_path)
    found = settings()
    assert found.database and found.storage and found.dagster_home  # noqa: PT018  one question about all of them
    assert list(tmp_path.iterdir()) == []


def test_developer_s_environment_does_not_reach_tests() -> None:
    """The fixtures of these tests removed it: what passes here passes elsewhere."""
    assert settings() == Settings.model_construct(**{name: f.default for name, f in Settings.model_fields.items()})


@pytest.mark.parametrize(
    ("worker", "webhook", "tells"),
    [("ryla", "", True), ("worker-comfyui", "https://us.example", True), ("worker-comfyui", "", False)],
)
def test_lost_job_is_waited_for_as_long_as_it_may_show_itself(worker: str, webhook: str, tells: bool) -> None:
    """A cold start of 498 s was measured: what is sent again before then is paid for twice. Where nothing ever tells of
    it, nothing is gained by waiting."""
    policy = _policy(Settings(backend="runpod", runpod_worker=worker, webhook_url=webhook))
    assert (policy.unknown_limit_s("image") > 498 + 60) == tells
    assert (policy.unknown_limit_s("training") > 498 + 45 * 60) == tells
    assert _policy(Settings()).unknown_limit_s("training") == _policy(Settings()).unknown_limit_s("image")


@pytest.mark.parametrize(
    ("image", "worker", "says"),
    [
        ("registry.example/trainer:1", "worker-comfyui", "RUNPOD_WORKER is worker-comfyui"),
        ("registry.example/trainer:1", "ryla", "none that pods reach"),
        ("https://registry.example/trainer", "ryla", "no container image"),
    ],
    ids=["another contract", "store in a folder", "no image"],
)
def test_training_image_that_cannot_train_is_refused(
    monkeypatch: pytest.MonkeyPatch, home: Path, image: str, worker: str, says: str
) -> None:
    """Before anything is sent, with the setting, its value and the way out."""
    home.mkdir()
    monkeypatch.setenv("RYLA_BACKEND", "runpod")
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_SECRET0000000000")
    monkeypatch.setenv("RUNPOD_IMAGE_ENDPOINT_ID", "ep1")
    monkeypatch.setenv("RUNPOD_WORKER", worker)
    monkeypatch.setenv("RUNPOD_TRAINING_POD_IMAGE", image)
    with pytest.raises(InputError, match=says) as caught:
        build_studio(settings())
    assert caught.value.field == "RUNPOD_TRAINING_POD_IMAGE"
    assert image in str(caught.value)
    assert "Set " in caught.value.way_out
