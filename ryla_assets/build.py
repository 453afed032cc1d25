"""How the house is put together: one studio for all entries, one Definitions for Dagster. On one page.

`build_studio` serves the command line, the HTTP app and tests; `build_defs` the code location. Nothing here reads the
environment (settings do) or touches disk or network while definitions load.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from ryla_assets.assets.base_images import base_images, character, selected_base_image
from ryla_assets.assets.character_sheet import character_sheet
from ryla_assets.assets.content_batch import content_batch
from ryla_assets.assets.generated_images import generated_images
from ryla_assets.assets.image_index import image_index
from ryla_assets.assets.job_ledger import job_ledger
from ryla_assets.assets.lora import lora_dataset, lora_training, lora_weights
from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.visual_parity import visual_parity
from ryla_assets.assets.workflow_templates import workflow_templates
from ryla_assets.checks import (
    budget,
    dataset,
    exposure,
    identity,
    integrity,
    likeness,
    lora_file,
    parity,
    provenance,
    quality,
    rating,
    standing,
    timing,
)
from ryla_assets.domain.errors import InputError
from ryla_assets.manifest_io import manifest_io_manager
from ryla_assets.studio.studio import Caller, Studio
from sensors.content import content_wanted__generated_images
from sensors.intake import character_activated__base_images
from sensors.schedules import daily_content, job_ledger_hourly
from sensors.selection import base_image_selected__character_sheet
from sensors.training import sheet_accepted__lora_training, training_finished__lora_weights
from sensors.upkeep import upkeep__jobs

if TYPE_CHECKING:
    from resources.gpu.backend import Backend
    from resources.gpu.policy import Policy
    from resources.storage import Store
    from ryla_assets.settings import Settings

default_assets = [
    model_files,
    workflow_templates,
    visual_parity,
    character,
    base_images,
    selected_base_image,
    character_sheet,
    lora_dataset,
    lora_training,
    lora_weights,
    generated_images,
    content_batch,
    job_ledger,
    image_index,
]
default_checks = [
    *integrity.checks,
    *provenance.checks,
    *quality.checks,
    *identity.checks,
    *likeness.checks,
    *dataset.checks,
    *lora_file.checks,
    *timing.checks,
    *parity.checks,
    *budget.checks,
    *exposure.checks,
    *rating.checks,
    *standing.checks,
]
default_sensors = [
    character_activated__base_images,
    base_image_selected__character_sheet,
    sheet_accepted__lora_training,
    training_finished__lora_weights,
    content_wanted__generated_images,
    upkeep__jobs,
]
default_schedules = [daily_content, job_ledger_hourly]


def build_studio(config: "Settings | None" = None, *, caller: Caller | None = None, **overrides: Any) -> Studio:
    """A studio on these settings; `overrides` replace its parts (store, scorer, backend, runner, registry)."""
    from resources.content_guard import installed_guard
    from resources.database import open_engine
    from resources.gpu.budget import Budgets
    from resources.gpu.ledger import Ledger
    from resources.gpu.runner import Runner
    from resources.identity import DlibScorer
    from resources.storage import S3Access, open_store
    from ryla_assets.registry.migrate import ready
    from ryla_assets.registry.registry import Registry
    from ryla_assets.settings import settings
    from ryla_assets.studio.inspect import signer_of
    from ryla_assets.studio.texts import deny_list

    config = config or settings()
    denied = deny_list(config.denied_names)  # first: on a list that cannot be read nothing starts
    engine = ready(open_engine(config.database))
    store = overrides.get("store") or open_store(config.storage, S3Access(**config.s3))
    backend = overrides.get("backend") or _backend(config, store)
    runner = overrides.get("runner") or Runner(
        Ledger(engine),
        backend,
        store,
        Budgets(config.daily_budget_usd, config.character_budget_usd, config.run_budget_usd),
        policy=_policy(config),
        webhook_url=config.webhook_url if config.backend == "runpod" else "",
        signer=signer_of(config),
    )
    return Studio(
        settings=config,
        registry=overrides.get("registry") or Registry(engine),
        store=store,
        runner=runner,
        scorer=overrides.get("scorer") or DlibScorer(),
        guard=overrides["guard"] if "guard" in overrides else installed_guard(),
        denied=denied,
        caller=caller or Caller(),
    )


def _policy(config: "Settings") -> "Policy":
    """How long the runner waits, and what it does when it is stuck."""
    from resources.gpu.policy import Policy

    if config.backend != "runpod":
        return Policy()
    from resources.gpu.backends.runpod.planning import SHOWS_S, TRAINING_SHOWS_S

    policy = Policy(queue_limit_s=config.runpod_queue_limit_s, when_stuck=config.runpod_when_stuck)
    if config.runpod_worker != "ryla" and not config.webhook_url:
        return policy  # nothing ever tells of a job whose id was lost
    return replace(policy, unknown_wait_s=SHOWS_S, training_unknown_wait_s=TRAINING_SHOWS_S)


def _backend(config: "Settings", store: "Store") -> "Backend":
    """The backend of these settings. Raises InputError naming the setting that is missing or wrong."""
    if config.backend == "runpod":
        return _runpod(config, store)
    if config.backend == "comfyui":
        from resources.gpu.backends.comfyui.backend import ComfyUIBackend

        try:
            return ComfyUIBackend(config.comfyui_url, models_dir=config.comfyui_models_dir)
        except ValueError as error:
            raise InputError(  # without its value, which may hold a password
                f"{error}.",
                field="COMFYUI_URL",
                way_out="Set it to the server's address, such as http://127.0.0.1:8188, or unset RYLA_BACKEND.",
            ) from None
    from resources.gpu.backends.preview.backend import PreviewBackend, default_workers
    from ryla_assets.prompts.lexicon import lexicon

    return PreviewBackend(
        config.home / "preview", lexicon=lexicon(), workers=config.preview_workers or default_workers()
    )


def _runpod(config: "Settings", store: "Store") -> "Backend":
    """RunPod's endpoints. Raises InputError naming the RUNPOD_* setting; no message holds the key."""
    from resources.gpu.backends.runpod.address import checked_id, checked_key, checked_url
    from resources.gpu.backends.runpod.assemble import assembled, signing
    from resources.gpu.backends.runpod.backend import Endpoints
    from resources.gpu.backends.runpod.pod_launch import checked_image
    from ryla_assets.studio.prices import price_table

    key = config.runpod_api_key.get_secret_value()
    purposes = ("image", "nsfw", "training", "fallback")
    ids = {purpose: getattr(config, f"runpod_{purpose}_endpoint_id") for purpose in purposes}
    checks: list[tuple[str, Callable[[str], str], str]] = [
        ("RUNPOD_API_KEY", checked_key, key),
        ("RUNPOD_JOBS_URL", checked_url, config.runpod_jobs_url),
        ("RUNPOD_CONTROL_URL", checked_url, config.runpod_control_url),
        ("RUNPOD_IMAGE_ENDPOINT_ID", checked_id, ids["image"]),
    ]
    checks += [(f"RUNPOD_{purpose.upper()}_ENDPOINT_ID", checked_id, value) for purpose, value in ids.items() if value]
    if image := config.runpod_training_pod_image:
        checks.append(("RUNPOD_TRAINING_POD_IMAGE", checked_image, image))
    for name, check, value in checks:
        try:
            check(value)
        except ValueError as error:
            raise InputError(f"{error}.", field=name, way_out=f"Set {name}; see ryla doctor.") from None
    ours = config.runpod_worker == "ryla"
    far = signing(store) if ours else None
    if image and far is None:
        lacking = "the store is none that pods reach" if ours else f"RUNPOD_WORKER is {config.runpod_worker}"
        raise InputError(
            f"{image!r} cannot train: pods leave LoRAs in our store, by our worker's contract, and {lacking}.",
            field="RUNPOD_TRAINING_POD_IMAGE",
            value=image,
            way_out="Set RYLA_STORAGE_URL=s3://bucket/prefix and RUNPOD_WORKER=ryla, or unset it.",
        )
    if ours and far is None:
        raise InputError(
            "is a place that RunPod's workers cannot reach.",
            field="RYLA_STORAGE_URL",
            way_out="Set it to s3://bucket/prefix, or RUNPOD_WORKER=worker-comfyui, which needs no store.",
        )
    return assembled(
        jobs_url=config.runpod_jobs_url,
        control_url=config.runpod_control_url,
        graphql_url=config.runpod_graphql_url,
        key=key,
        endpoints=Endpoints(**ids),
        store=far,
        engine=config.runpod_engine,
        prices=price_table(config),
        training_image=image,
    )


def studio_of_run(context: dg.InitResourceContext) -> Studio:
    """The `studio` resource: on this process's settings, working for the (root) run."""
    run = context.run
    root = (run.root_run_id or run.run_id) if run else ""
    return build_studio(caller=Caller(run_id=root, tell=context.log.info if context.log else Caller().tell))


def build_defs(*, studio: dg.ResourceDefinition | Studio | None = None) -> dg.Definitions:
    """Everything that Dagster shows; tests hand in a studio of their own."""
    return dg.Definitions(
        assets=default_assets,
        asset_checks=default_checks,
        sensors=default_sensors,
        schedules=default_schedules,
        resources={
            "studio": studio or dg.ResourceDefinition(studio_of_run, description="everything a stage works with"),
            "manifests": dg.IOManagerDefinition(manifest_io_manager, required_resource_keys={"studio"}),
        },
        executor=dg.in_process_executor,
    )
