"""The Dagster instance of a deployment: its dagster.yaml, written where absent, and runs in this process.

Belongs here: what `demo` and `dev` need of Dagster's instance. The settings in the file are explained beside them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from ryla_assets.build import default_assets, default_checks
from ryla_assets.manifest_io import manifest_io_manager
from ryla_assets.partitions import characters
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Caller, Studio

DAGSTER_YAML = """\
# Written by `ryla` because it was absent; edit it freely, it is never overwritten.
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}   # the default of 5 s is most of a small run's latency
concurrency:
  runs: {max_concurrent_runs: 4}          # each run is a process of about 120 MB; 0 pauses all spending
run_monitoring: {enabled: true, poll_interval_seconds: 5, start_timeout_seconds: 120}
sensors: {use_threads: true, num_workers: 4}
schedules: {use_threads: true, num_workers: 1}
retention:
  sensor: {purge_after_days: {skipped: 1, failure: 30, success: 30}}
"""


def prepare_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME with its dagster.yaml and point this process (and its children) at it."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def add_partition(instance: dg.DagsterInstance, character: str) -> None:
    """Make the character a partition key."""
    instance.add_dynamic_partitions(str(characters.name), [character])


def materialize(
    studio: Studio,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    *,
    character: str | None = None,
    config: dict[str, Any] | None = None,
    listen: Callable[[Any], None] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialize assets and run their checks in this process, as a real run of the instance; never raises for it."""

    def of_run(context: dg.InitResourceContext) -> Studio:
        run = context.run
        tell = context.log.info if context.log else Caller().tell
        return replace(studio, caller=Caller(run.run_id if run else "", listen, tell), published={})

    return dg.materialize(
        [*default_assets, *default_checks],
        selection=dg.AssetSelection.assets(*assets),
        partition_key=character,
        instance=instance,
        resources={
            "studio": dg.ResourceDefinition(of_run),
            "manifests": dg.IOManagerDefinition(manifest_io_manager, required_resource_keys={"studio"}),
        },
        run_config={
            "ops": {name: {"config": values} for name, values in (config or {}).items()},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},  # the bars stay; the UI has every event
        },
        raise_on_error=False,
    )


def why(result: dg.ExecuteInProcessResult) -> str:
    """The first failure of a run in one sentence; empty for a success."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return str(data.user_failure_data.description)
            error = data.error
            while error and error.cause:
                error = error.cause
            return str(error.message if error else event.message).strip()
    return "" if result.success else "the run failed"
