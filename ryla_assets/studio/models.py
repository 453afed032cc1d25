"""Which model files the backend has, of those that our workflows name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ryla_assets.studio.studio import Studio
from workflows.models import model_files


@dataclass(frozen=True)
class ModelReport:
    """One row a file; `version` changes whenever a file comes, goes or changes."""

    backend: str
    rows: list[dict[str, Any]]
    present: int
    missing: int
    version: str


def model_report(studio: Studio) -> ModelReport:
    """Compare models.yaml with what the backend lists."""
    backend = studio.runner.backend
    on_backend = backend.model_files()
    rows = [
        {
            "folder": file.folder,
            "file": file.file,
            "present": file.file in on_backend.get(file.folder, frozenset()),
            "licence": file.licence,
            "commercial": file.commercial,
            "workflows": ", ".join(file.workflows),
        }
        for file in model_files()
    ]
    present = sum(bool(row["present"]) for row in rows)
    digest = hashlib.sha256(repr([(r["folder"], r["file"], r["present"]) for r in rows]).encode()).hexdigest()[:16]
    return ModelReport(backend.name, rows, present, len(rows) - present, f"{backend.name}-{digest}")
