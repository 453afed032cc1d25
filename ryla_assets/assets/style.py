"""What all per-character assets share: partitions, IO manager, owners, code versions, and clear failures."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.partitions import characters
from workflows.versions import WORKFLOW_VERSIONS

OWNERS = ["team:content"]


def stage(
    *, group: str, kinds: set[str], workflows: Sequence[str] = (), **more: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset of one character's way; `workflows` names the graphs whose versions are its code version."""

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        made: dg.AssetsDefinition = dg.asset(
            partitions_def=characters,
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            code_version="+".join(f"{name}@{WORKFLOW_VERSIONS[name]}" for name in workflows) or "1",
            io_manager_key="manifests",
            **more,
        )(fails_clearly(function))
        return made

    return decorate
