"""How the house is put together: one studio for all entries, one Definitions for Dagster. On one page.

`build_studio` serves the command line, the HTTP app and tests; `build_defs` the code location. Nothing here reads the
environment (settings do) or touches disk or network while definitions load.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ryla_assets.assets.base_images import base_images, character, selected_base_image
from ryla_assets.assets.character_sheet import character_sheet
from ryla_assets.assets.content_batch import content_batch
from ryla_assets.assets.generated_images import generated_images
from ryla_assets.assets.lora import lora_dataset, lora_training, lora_weights
from ryla_assets.assets.model_files import model_files
from ryla_assets.assets.visual_parity import visual_parity
from ryla_assets.assets.workflow_templates import workflow_templates
from ryla_assets.checks import dataset, identity, integrity, lora_file, parity, provenance, timing
from ryla_assets.domain.errors import InputError
from ryla_assets.manifest_io import manifest_io_manager
from ryla_assets.settings import Settings, settings
from ryla_assets.studio.studio import Caller, Studio
from sensors.content import content_wanted__generated_images
from sensors.intake import character_activated__base_images
from sensors.schedules import daily_content
from sensors.selection import base_image_selected__character_sheet
from sensors.training import sheet_accepted__lora_training, training_finished__lora_weights

if TYPE_CHECKING:
    from resources.gpu.backend import Backend

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
]
default_checks = [
    *integrity.checks,
    *provenance.checks,
    *identity.checks,
    *dataset.checks,
    *lora_file.checks,
    *timing.checks,
    *parity.checks,
]
default_sensors = [
    character_activated__base_images,
    base_image_selected__character_sheet,
    sheet_accepted__lora_training,
    training_finished__lora_weights,
    content_wanted__generated_images,
]
default_schedules = [daily_content]


def build_studio(config: Settings | None = None, *, caller: Caller | None = None, **overrides: Any) -> Studio:
    """A studio on these settings; `overrides` replace its parts (store, scorer, backend, runner, registry)."""
    from resources.database import open_engine
    from resources.gpu.ledger import Ledger
    from resources.gpu.runner import Runner
    from resources.identity import DlibScorer
    from resources.storage import open_store
    from ryla_assets.registry.migrate import ready
    from ryla_assets.registry.registry import Registry

    config = config or settings()
    engine = ready(open_engine(config.database))
    store = overrides.get("store") or open_store(config.storage)
    backend = overrides.get("backend") or _backend(config)
    runner = overrides.get("runner") or Runner(Ledger(engine), backend, store, config.daily_budget_usd)
    return Studio(
        settings=config,
        registry=overrides.get("registry") or Registry(engine),
        store=store,
        runner=runner,
        scorer=overrides.get("scorer") or DlibScorer(),
        caller=caller or Caller(),
    )


def _backend(config: Settings) -> "Backend":
    """The backend of these settings. Raises InputError naming COMFYUI_URL if that is missing or wrong."""
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
