"""The version of each workflow, which Dagster shows as code_version and a job's fingerprint holds.

Belongs here: names and numbers only. A test pins each version to the structure of its graph: a builder that changes
without a new number fails it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WORKFLOW_VERSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"base-image": "1", "character-sheet": "1", "face-swap": "1", "lora-generation": "1"}
)
