"""What the doctor looks at where jobs run on RunPod: key, endpoints, balance, the workers' way to our store.

Belongs here: questions to RunPod's control API that cost nothing, and what their answers mean for a deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from resources.gpu.errors import BackendUnavailable
from ryla_assets.doctor_finding import Finding
from ryla_assets.settings import Settings

LOW_BALANCE_USD = 5.0  # a few trainings; at $0 RunPod stops everything
OLD_PRICES_DAYS = 30  # list prices change a few times a year
SETUP = "See docs/runpod-setup.md."
_ENDPOINTS = {
    "RUNPOD_IMAGE_ENDPOINT_ID": "images",
    "RUNPOD_TRAINING_ENDPOINT_ID": "LoRA training",
    "RUNPOD_NSFW_ENDPOINT_ID": "nsfw images",
    "RUNPOD_FALLBACK_ENDPOINT_ID": "a second place for images",
}
_REQUIRED = ("RUNPOD_IMAGE_ENDPOINT_ID",)
_PODS = "RUNPOD_TRAINING_POD_IMAGE"


def looks(settings: Settings) -> dict[str, Callable[[Settings], Finding]]:
    """Row name -> how it is found out."""
    ids = {name: str(getattr(settings, name.lower())) for name in _ENDPOINTS}
    asked = {name: partial(_endpoint, name, ids[name]) for name in _ENDPOINTS if ids[name] or name in _REQUIRED}
    return {
        "RUNPOD_API_KEY": _key,
        **asked,
        **({_PODS: _pods} if settings.runpod_training_pod_image else {}),
        "RunPod balance": _balance,
        "prices": _prices,
        "worker and store": _contract,
        "webhooks": _hooks,
    }


def _key(settings: Settings) -> Finding:
    if not settings.runpod_api_key.get_secret_value():
        return Finding("RUNPOD_API_KEY", "missing", "no key is set", "Export RUNPOD_API_KEY.")
    return Finding("RUNPOD_API_KEY", "ok", "set")


def _endpoint(name: str, endpoint_id: str, settings: Settings) -> Finding:
    """Its settings, and whether anything that is sent there can run."""
    purpose = _ENDPOINTS[name]
    if not endpoint_id:
        return Finding(name, "missing", f"no endpoint for {purpose} is set", SETUP)
    if not settings.runpod_api_key.get_secret_value():
        return Finding(name, "missing", f"{endpoint_id} cannot be asked without a key", "Export RUNPOD_API_KEY.")
    try:
        detail = asyncio.run(_asked(settings, endpoint_id))
    except BackendUnavailable as error:
        sure = error.retry.value in ("fatal", "elsewhere")  # the account's fault, or this endpoint's
        return Finding(name, "missing" if sure else "note", error.message, error.way_out or "Run ryla doctor again.")
    return Finding(name, "ok", f"{purpose}: {detail}")


async def _asked(settings: Settings, endpoint_id: str) -> str:
    from resources.gpu.backends.runpod.diagnosis import Diagnoser
    from resources.runpod_control import ControlClient

    key, graphql = settings.runpod_api_key.get_secret_value(), settings.runpod_graphql_url
    async with ControlClient(settings.runpod_control_url, key, graphql_url=graphql) as control:
        await Diagnoser(control).preflight(endpoint_id)
        found = await control.endpoint(endpoint_id)
    most = "unknown" if found.workers_max is None else found.workers_max
    return f"{endpoint_id}, workers {found.workers_min or 0} to {most}, {', '.join(found.pools) or 'any GPU'}"


def _pods(settings: Settings) -> Finding:
    """Trainings on pods: what they need here, whether we may look at pods, and which GPU types are free now."""
    from resources.gpu.backends.runpod.pod_launch import checked_image

    image = settings.runpod_training_pod_image
    words = f"LoRA training: pods of {image}"
    try:
        checked_image(image)
    except ValueError as error:
        return Finding(_PODS, "missing", str(error), SETUP)
    if settings.runpod_worker != "ryla" or not settings.storage.startswith("s3://"):
        cure = f"Set RUNPOD_WORKER=ryla and RYLA_STORAGE_URL=s3://bucket/prefix, or unset {_PODS}."
        return Finding(_PODS, "missing", f"{words}, which leave LoRAs in a store that they reach: none is set", cure)
    if not settings.runpod_api_key.get_secret_value():
        return Finding(_PODS, "missing", f"{words}, which cannot be asked for without a key", "Export RUNPOD_API_KEY.")
    try:
        free = asyncio.run(_stock(settings))
    except BackendUnavailable as error:
        sure = getattr(error, "status", 0) in (401, 403) or error.retry.value == "fatal"
        return Finding(_PODS, "missing" if sure else "note", error.message, error.way_out or "Run ryla doctor again.")
    if not free:
        return Finding(_PODS, "note", f"{words}; none of the GPU types that are tried is free now", "Try again later.")
    return Finding(_PODS, "ok", f"{words} on {', '.join(free)}; may the key create them? The first training tells")


async def _stock(settings: Settings) -> list[str]:
    """The GPU types of a training that are free now, cheapest hour by list price first, each with its price."""
    from resources.gpu.backends.runpod.pod_launch import TRAINING_GPUS
    from resources.runpod_control import ControlClient

    async with ControlClient(settings.runpod_control_url, settings.runpod_api_key.get_secret_value()) as control:
        await control.pods()  # a key that may not even look at pods cannot train on them
        known = {gpu.id: gpu for gpu in await control.gpus(product="POD")}
    found = [known[name] for name in TRAINING_GPUS if name in known and known[name].availability != "NONE"]
    prices = [f" (${gpu.secure_usd_h:.2f}/h)" if gpu.secure_usd_h is not None else "" for gpu in found]
    return [f"{gpu.name or gpu.id}{price}" for gpu, price in zip(found, prices, strict=True)]


def _balance(settings: Settings) -> Finding:
    """Only GraphQL tells it, which is being retired: unknown is an answer."""
    from resources.runpod_control import ControlClient

    async def ask() -> float | None:
        key = settings.runpod_api_key.get_secret_value()
        async with ControlClient(settings.runpod_control_url, key, graphql_url=settings.runpod_graphql_url) as control:
            found = await control.balance()
        return None if found is None else found.usd

    usd = asyncio.run(ask()) if settings.runpod_api_key.get_secret_value() else None
    if usd is None:
        return Finding("RunPod balance", "note", "unknown", "Look at the console; set RUNPOD_GRAPHQL_URL to be told.")
    low = usd < LOW_BALANCE_USD
    state = "missing" if usd <= 0 else "note" if low else "ok"
    return Finding("RunPod balance", state, f"${usd:.2f}", "Add credit." if low else "")


def _prices(settings: Settings) -> Finding:
    """What jobs are reserved and booked by; `job_ledger` reads it again once a day."""
    from ryla_assets.studio.prices import price_table

    prices = price_table(settings)
    age = prices.age_days()
    old = f"{age} days old" if age > 1 else "fresh"
    detail = f"of {prices.date}, {old}, {len(prices.gpus)} GPU types ({prices.source})"
    if age > OLD_PRICES_DAYS:
        cure = "Run ryla jobs prices --refresh, or switch job_ledger_hourly on, which keeps them fresh."
        return Finding("prices", "note", detail, cure)
    return Finding("prices", "ok", detail)


def _contract(settings: Settings) -> Finding:
    """Our worker puts its results into our store, so the store must be one that a far machine reaches."""
    name, words = "worker and store", f"RUNPOD_WORKER={settings.runpod_worker}, RUNPOD_ENGINE={settings.runpod_engine}"
    if settings.runpod_worker == "ryla" and not settings.storage.startswith("s3://"):
        cure = "Set RYLA_STORAGE_URL=s3://bucket/prefix, or RUNPOD_WORKER=worker-comfyui."
        return Finding(name, "missing", f"{words}: RYLA_STORAGE_URL is no store that workers reach", cure)
    if settings.runpod_engine == "preview":
        return Finding(name, "note", f"{words}: procedural pictures, a trial of the chain", "Unset RUNPOD_ENGINE.")
    return Finding(name, "ok", words)


def _hooks(settings: Settings) -> Finding:
    if not settings.webhook_url:
        return Finding("webhooks", "ok", "none: jobs are polled")
    if not settings.webhook_url.startswith("https://"):
        return Finding("webhooks", "note", "RYLA_WEBHOOK_URL is not https: its tokens can be read on the way", SETUP)
    return Finding("webhooks", "ok", f"{settings.webhook_url} wakes the poller")
