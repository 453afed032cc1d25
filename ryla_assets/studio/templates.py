"""Whether the workflow templates still say what the code builds.

Belongs here: one report for the asset, its check and the metadata. Comparing is `workflows.parity`'s work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.parity import Difference, check_template
from workflows.templates import FOLDER, TEMPLATES, read_template

SHOWN = 10  # differences told in a check's sentence: one edit in ComfyUI rarely makes more


@dataclass(frozen=True)
class TemplateReport:
    """One row a template; `version` changes whenever a file does."""

    rows: list[dict[str, Any]]
    differences: tuple[str, ...]
    version: str

    @property
    def reason(self) -> str:
        """The judgement in one sentence, with the first differences."""
        if not self.differences:
            return f"All {len(self.rows)} templates say what the code builds."
        more = f"; and {len(self.differences) - SHOWN} more" if len(self.differences) > SHOWN else ""
        return "; ".join(self.differences[:SHOWN]) + more


def template_report(folder: Path = FOLDER) -> TemplateReport:
    """Compare every template file with its builder's graph. Raises `WorkflowError` for a file that cannot be read."""
    rows, told, digest = [], [], hashlib.sha256()
    for name in TEMPLATES:
        document = read_template(name, folder)
        differences = check_template(name, folder)
        digest.update((folder / f"{name}.json").read_bytes())
        rows.append({"template": name, "nodes": len(document["nodes"]), "differences": len(differences)})
        told += [_told(name, one) for one in differences]
    return TemplateReport(rows, tuple(told), digest.hexdigest()[:16])


def _told(name: str, one: Difference) -> str:
    return f"{name}: {one}"
