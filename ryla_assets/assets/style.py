"""What all assets share: group, owners, partitions, code versions."""

from typing import Any

from ryla_assets.partitions import characters
from workflows.versions import WORKFLOW_VERSIONS

OWNERS = ["team:content"]


def stage(*, group: str, kinds: set[str], workflow: str = "", **more: Any) -> dict[str, Any]:
    """Keyword arguments of a per-character asset; `workflow` names the graph whose version is the code version."""
    version = WORKFLOW_VERSIONS[workflow] if workflow else "1"
    return {
        "partitions_def": characters,
        "group_name": group,
        "kinds": kinds,
        "owners": OWNERS,
        "code_version": version,
        "io_manager_key": "manifests",
        **more,
    }
