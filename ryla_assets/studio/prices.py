"""This deployment's price table: where it lies, how old it is, and how it is kept fresh.

Belongs here: when RunPod's catalogue is asked, and what is said of it. What a table means is `resources.gpu.prices`'.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from resources.gpu.errors import BackendUnavailable
from resources.gpu.prices import Prices, load, refresh
from resources.runpod_control import ControlClient
from ryla_assets.domain.errors import InputError
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Studio


def price_file(settings: Settings) -> Path:
    """Where this deployment keeps what it read; without it the table that comes with the code is used."""
    return settings.home / "prices.json"


def price_table(settings: Settings) -> Prices:
    """The table that costs are reserved and booked by."""
    return load(price_file(settings))


def read_prices(settings: Settings) -> Prices:
    """Read RunPod's catalogue now and keep it.

    Raises InputError without a key, BackendUnavailable where the catalogue cannot be read, OSError where the file
    cannot be written; the table stays as it is.
    """
    key = settings.runpod_api_key.get_secret_value()
    if not key:
        raise InputError(
            "RunPod's catalogue cannot be asked without a key.",
            field="RUNPOD_API_KEY",
            way_out="Export RUNPOD_API_KEY.",
        )

    async def ask() -> Prices:
        async with ControlClient(settings.runpod_control_url, key) as control:
            return await refresh(control, price_file(settings))

    return asyncio.run(ask())


def keep_prices_fresh(studio: Studio) -> str:
    """Read prices again that are not of today, where jobs run on RunPod; returns what is known of them, as a sentence.

    A catalogue that cannot be read changes nothing: the table stays, and why is told.
    """
    if studio.runner.backend.name != "runpod":
        return f"The {studio.runner.backend.name} backend has prices of its own."
    prices, trouble = price_table(studio.settings), ""
    if prices.age_days() != 0:
        try:
            prices = read_prices(studio.settings)
        except (BackendUnavailable, InputError, OSError) as error:
            trouble = f" They could not be read again: {error}"
    return f"Prices of {prices.date} ({prices.source}).{trouble}"
