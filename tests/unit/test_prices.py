"""What goes wrong with prices: a table that is old, damaged or incomplete, and books that would lie low."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from resources.gpu import prices
from resources.gpu.backends.runpod.money import DEAREST_USD_PER_S
from resources.gpu.errors import BackendUnavailable
from resources.gpu.prices import CostSplit, attempt_cost, listed, load, refresh
from resources.runpod_control import ControlClient


def catalogue(*gpus: Any, status: int = 200) -> ControlClient:
    """A control client whose catalogue is this."""

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"gpus": list(gpus)})

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return ControlClient("https://control.test/v2", "k", transport=httpx.MockTransport(answer), sleep=sleep)


def refreshed(path: Path, *gpus: Any, status: int = 200) -> prices.Prices:
    """The table after asking that catalogue."""

    async def run() -> prices.Prices:
        async with catalogue(*gpus, status=status) as control:
            return await refresh(control, path)

    return asyncio.run(run())


def gpu(usd_h: Any, pool: str | None = "ADA_24", name: str = "NVIDIA GeForce RTX 4090") -> dict[str, Any]:
    """A GPU type as the catalogue lists it, in USD per hour."""
    return {"id": name, "pool": pool, "price": {"secure": 0.4, "community": 0.3, "serverless": usd_h}}


# ---- rates


def test_listed_prices_are_the_published_ones() -> None:
    """The examples of the facts: 45 min on A40 $0.92, on L40S $1.43, on H100 $3.13."""
    for pool, usd in (("AMPERE_48", 0.92), ("ADA_48_PRO", 1.43), ("ADA_80_PRO", 3.13)):
        assert listed().rate([pool]).usd_per_s * 45 * 60 == pytest.approx(usd, abs=0.006)
    assert listed().rate([]).usd_per_s == DEAREST_USD_PER_S == 0.0024
    assert listed().date
    assert listed().source


def test_endpoint_with_several_pools_costs_like_the_dearest() -> None:
    """RunPod places the worker on whichever has room."""
    rate = listed().rate(["ADA_24", "ADA_80_PRO", "AMPERE_16"])
    assert (rate.usd_per_s, rate.known) == (0.00116, True)
    assert "ADA_80_PRO" in rate.basis


def test_pool_costs_like_its_dearest_gpu(tmp_path: Path) -> None:
    """A catalogue that prices the GPUs of one pool differently: RunPod takes whichever has room."""
    found = refreshed(
        tmp_path / "prices.json", gpu(1.44, "AMPERE_24", "NVIDIA L4"), gpu(1.8, "AMPERE_24", "NVIDIA RTX A5000")
    )
    assert found.rate(["AMPERE_24"]).usd_per_s == pytest.approx(0.0005)
    assert found.rate(["NVIDIA L4"]).usd_per_s == pytest.approx(0.0004)


def test_known_gpu_of_a_worker_is_priced_itself() -> None:
    """A worker says which GPU it has."""
    assert listed().rate(["NVIDIA L40S"], gpus=2).usd_per_s == pytest.approx(0.00106)


@pytest.mark.parametrize("names", [[], ["ADA_32_PRO"], ["ADA_24", "ADA_32_PRO"]])
def test_unknown_gpu_costs_like_the_dearest_and_says_so(names: list[str]) -> None:
    """A price of zero, or of the other pool, would book less than the bill."""
    rate = listed().rate(names)
    assert rate.usd_per_s == max(listed().pools.values())
    assert not rate.known
    assert all(name in rate.basis for name in names if name == "ADA_32_PRO")


# ---- one attempt


def cost(**changes: Any) -> CostSplit:
    """15 s on a 4090, on a worker that needed 30 s to start, with 5 s of idle timeout: the facts' example."""
    given: dict[str, Any] = {
        "execution_ms": 15_000, "delay_ms": 30_000, "worker_is_new": True, "usd_per_s": 0.00031,
        "idle_timeout_s": 5, "cold_limit_s": 300.0,
    }  # fmt: skip
    return attempt_cost(**(given | changes))


def test_attempt_is_split_in_run_cold_and_idle() -> None:
    """$0.0047 run, $0.0093 cold, $0.0016 idle."""
    split = cost()
    assert (split.run, split.cold, split.idle) == pytest.approx((0.00465, 0.0093, 0.00155))
    assert split.total == pytest.approx(0.0155)


def test_warm_worker_starts_for_nothing() -> None:
    """Its delay was the queue, which is not billed."""
    assert cost(worker_is_new=False).cold == 0.0


def test_long_queue_is_not_booked_as_a_start() -> None:
    """The delay is queue and start together; a start has a limit."""
    assert cost(delay_ms=3_600_000).cold == pytest.approx(300 * 0.00031)


@pytest.mark.parametrize("milliseconds", [1, 999, 1000, 1001, 14_999.5])
def test_books_are_never_below_the_bill(milliseconds: float) -> None:
    """RunPod rounds the worker's whole life up to a second; so is each share."""
    bill = math.ceil((milliseconds + milliseconds) / 1000 + 0.5) * 0.00031
    assert cost(execution_ms=milliseconds, delay_ms=milliseconds, idle_timeout_s=0.5).total >= bill - 1e-12


def test_nothing_is_ever_earned() -> None:
    """A clock that ran backwards at RunPod makes no negative cost."""
    assert cost(execution_ms=-5, delay_ms=-5, idle_timeout_s=0).total == 0.0


# ---- the deployment's own table


def test_catalogue_is_read_per_hour_and_kept_per_second(tmp_path: Path) -> None:
    """1.8 USD an hour is 0.0005 a second; what is not listed keeps its old price and date."""
    path = tmp_path / "new" / "prices.json"
    found = refreshed(path, gpu(1.8), gpu(1.44, name="other 24 GB"), gpu(2.0, pool=None, name="pods only"))
    assert found.gpus["NVIDIA GeForce RTX 4090"].date == found.date > listed().date
    assert found.gpus["NVIDIA A40"].date == listed().date
    assert (found.age_days(), listed().age_days() > 0) == (0, True)
    assert found.rate(["ADA_24"]).usd_per_s == pytest.approx(0.0005)
    assert found.rate(["other 24 GB"]).usd_per_s == pytest.approx(0.0004)
    assert found.rate(["AMPERE_48"]).usd_per_s == 0.00034
    assert not found.rate(["pods only"]).known
    assert load(path) == found
    assert [item.name for item in path.parent.iterdir()] == ["prices.json"]


@pytest.mark.parametrize("usd_h", [None, 0, -1, "free", True, 1e9])
def test_price_that_cannot_be_is_not_taken(tmp_path: Path, usd_h: Any) -> None:
    """A catalogue that says zero would make every budget endless."""
    with pytest.raises(BackendUnavailable, match="no serverless price"):
        refreshed(tmp_path / "prices.json", gpu(usd_h))
    assert not (tmp_path / "prices.json").exists()


def test_catalogue_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    """Yesterday's prices are better than none."""
    path = tmp_path / "prices.json"
    before = refreshed(path, gpu(1.8))
    with pytest.raises(BackendUnavailable):
        refreshed(path, status=500)
    assert load(path) == before


ROW = {"pool": "A", "usd_per_s": 0.001}
WRONG: list[Any] = [
    [], {}, {"date": "soon", "gpus": {"x": ROW}},
    *({"date": "2030-01-01", "gpus": gpus} for gpus in ({}, [1], None, {"x": 0.001})),
    *({"date": "2030-01-01", "gpus": {"x": {**ROW, "usd_per_s": usd}}} for usd in (0, -1, "1", True, None)),
    *({"date": "2030-01-01", "gpus": {"x": {**ROW, **more}}} for more in ({"pool": ""}, {"pool": 7}, {"date": "soon"})),
]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", *map(json.dumps, WRONG)])
def test_damaged_table_is_not_used(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was edited by hand, or cut by a full disk."""
    path = tmp_path / "prices.json"
    path.write_text(text)
    assert load(path) == listed()
    assert str(path) in caplog.text


def test_older_table_of_its_own_loses_against_the_code(tmp_path: Path) -> None:
    """An update brings newer prices than a refresh of two years ago."""
    path = tmp_path / "prices.json"
    body = {"date": "2024-01-01", "gpus": {"NVIDIA GeForce RTX 4090": {"pool": "ADA_24", "usd_per_s": 0.0001}}}
    path.write_text(json.dumps(body))
    assert load(path) == listed()
    path.write_text(json.dumps({**body, "date": "2030-01-01"}))
    assert load(path).rate(["ADA_24"]).usd_per_s == 0.0001
    assert load(tmp_path / "none.json") == listed()
