"""The metadata dictionary: every key that a materialization or check may carry, with type, unit and meaning.

docs/metadata.md is generated from this table (`python -m ryla_assets.metadata > docs/metadata.md`), and `entries`
refuses a key that is not in it: analysts plot these names over years.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import dagster as dg


class Key(NamedTuple):
    """One metadata key: its type as Dagster shows it, its unit, its meaning."""

    type: str
    unit: str
    meaning: str


KEYS: dict[str, Key] = {
    "preview": Key("md", "", "the pictures, as thumbnails that open inline"),
    "gallery": Key("url", "", "all pictures of the character on one page"),
    "character": Key("text", "", "the character's id (the partition key)"),
    "take": Key("int", "", "the n-th try of this stage; a new take is only made on purpose"),
    "images": Key("int", "count", "pictures in the set"),
    "rejected": Key("int", "count", "pictures of earlier takes of a shot that were re-rolled"),
    "manifest_sha256": Key("text", "", "the manifest's name: sha256 of its canonical JSON"),
    "parents": Key("json", "", "the manifests that it was made from"),
    "backend": Key("text", "", "where the jobs ran"),
    "render_domain": Key("text", "", "preview: procedural pictures, not a model's; model: made by a trained model"),
    "route": Key("text", "", "base, sheet, face_swap or lora: what really ran"),
    "route_reason": Key("text", "", "why this route"),
    "request": Key("text", "", "the request that the pictures answer"),
    "workflows": Key("text", "", "workflow names and versions"),
    "base_model": Key("text", "", "flux-dev or zimage-turbo"),
    "trigger": Key("text", "", "the LoRA's trigger token"),
    "lora_sha256": Key("text", "", "the LoRA file's sha256"),
    "rank": Key("int", "", "the LoRA's rank"),
    "steps": Key("int", "count", "training steps"),
    "dataset_hash": Key("text", "", "hash of training pictures and captions"),
    "left_out": Key("json", "", "sheet shots that were not trained on, and why"),
    "left_out_images": Key("int", "count", "sheet shots that were not trained on"),
    "job": Key("text", "", "the job's fingerprint in the ledger"),
    "jobs": Key("int", "count", "jobs that made the results"),
    "exec_s": Key("float", "s", "execution time of the jobs, summed"),
    "queue_s": Key("float", "s", "time the jobs waited for a worker, summed"),
    "cold_s": Key("float", "s", "time the jobs waited for workers to start, summed"),
    "overhead_s": Key("float", "s", "our own time around the slowest job: submitting, polling, fetching, storing"),
    "cost_usd": Key("float", "USD", "what the attempts behind the results cost"),
    "reason": Key("text", "", "the judgement in one sentence"),
    "scorer": Key("text", "", "name, version and weights of the face scorer"),
    "per_image": Key("table", "", "the judgement of each picture"),
    "identity_consistency": Key("float", "0..1", "verified / requested over shots declared scorable before generation"),
    "verified": Key("int", "count", "declared shots that show the character"),
    "requested": Key("int", "count", "declared shots"),
    "identity_mean": Key("float", "L2", "mean distance of the declared shots to the template"),
    "identity_p90": Key("float", "L2", "90th percentile of the distances"),
    "identity_worst": Key("float", "L2", "largest distance"),
    "identity_lower_bound": Key("float", "0..1", "one-sided 95 % Wilson lower bound of the consistency"),
    "identity_margin": Key("float", "L2", "how much nearer the own template is than the nearest other character's"),
    "identity_threshold": Key("float", "L2", "largest distance that counts as the same person"),
    "identity_gate": Key("float", "0..1", "consistency that the route must reach"),
    "faults": Key("int", "count", "what is wrong with the set"),
    "marked": Key("int", "count", "pictures that carry the AI mark"),
    "tensors": Key("int", "count", "tensors in the LoRA file"),
    "target_s": Key("float", "s", "the plan's time target"),
    "took_s": Key("float", "s", "execution time that is judged"),
    "evidence": Key("bool", "", "false: measured on a preview, no statement about the product's time"),
    "characters": Key("int", "count", "characters that a batch served"),
    "refused": Key("int", "count", "characters that a batch did not serve"),
    "results": Key("table", "", "one row a character of the batch"),
    "templates": Key("table", "", "one row a workflow template: its nodes, its differences from the code"),
    "differences": Key("int", "count", "nodes and inputs in which the templates differ from the code"),
    "compared": Key("table", "", "one row a picture drawn on two backends: verdict, mean_abs (0..255), psnr_db (dB)"),
    "different": Key("int", "count", "pictures that two backends drew differently, beyond GPU noise"),
    "side_a": Key("text", "", "the first of two compared backends, and its address"),
    "side_b": Key("text", "", "the second of two compared backends, and its address"),
    "files": Key("table", "", "the model files that workflows name"),
    "present": Key("int", "count", "model files that the backend has"),
    "missing": Key("int", "count", "model files that the backend lacks"),
    "config": Key("json", "", "the wizard's description"),
    "lora_status": Key("text", "", "pending, generating_sheets, training, ready or failed"),
}


def entries(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata for Dagster; None values are left out. Raises KeyError for a key that the dictionary lacks."""
    unknown = set(values) - set(KEYS)
    if unknown:
        raise KeyError(f"metadata keys without an entry in ryla_assets/metadata.py: {sorted(unknown)}")
    return {name: _typed(KEYS[name].type, value) for name, value in values.items() if value is not None}


def table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue | None:
    """Rows of plain values as a table; None for no rows."""
    if not rows:
        return None
    columns = [dg.TableColumn(name, _column_type(rows, name)) for name in rows[0]]
    records = [dg.TableRecord({k: _cell(v) for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def as_markdown() -> str:
    """docs/metadata.md."""
    lines = ["# Metadata keys", "", "Generated from `ryla_assets/metadata.py`; a test holds the two equal.", ""]
    lines += ["| key | type | unit | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {key.type} | {key.unit} | {key.meaning} |" for name, key in KEYS.items()]
    return "\n".join(lines) + "\n"


def _typed(kind: str, value: Any) -> Any:
    if isinstance(value, dg.MetadataValue):
        return value
    makers: dict[str, Any] = {
        "md": dg.MetadataValue.md,
        "url": dg.MetadataValue.url,
        "json": dg.MetadataValue.json,
        "int": lambda v: dg.MetadataValue.int(int(v)),
        "float": lambda v: dg.MetadataValue.float(float(v)),
        "bool": lambda v: dg.MetadataValue.bool(bool(v)),
        "text": lambda v: dg.MetadataValue.text(str(v)),
        "table": lambda v: v,
    }
    return makers[kind](value)


def _column_type(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    if values and all(isinstance(v, bool) for v in values):
        return "bool"
    if values and all(isinstance(v, int) for v in values):
        return "int"
    return "float" if values and all(isinstance(v, int | float) for v in values) else "string"


def _cell(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201
