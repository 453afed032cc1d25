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
    "good_images": Key("int", "count", "those of them that nothing refuses: accepted, if the set is"),
    "rejected": Key("int", "count", "quarantine: takes that lost to another, and pictures refused by name; no results"),
    "rerolled": Key("int", "count", "pictures that were drawn because their shot's take before them failed its gates"),
    "rejections": Key("table", "", "one row a picture in quarantine: shot, take, why"),
    "cost_per_accepted_usd": Key(
        "float", "USD", "cost of the set, re-rolls included, per picture that nothing refuses"
    ),
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
    "jobs": Key("int", "count", "jobs of the set, re-rolls included"),
    "exec_s": Key("float", "s", "execution time of all attempts at the jobs, summed"),
    "queue_s": Key("float", "s", "time the jobs waited for a worker, summed"),
    "cold_s": Key("float", "s", "time the jobs waited for workers to start, summed"),
    "overhead_s": Key("float", "s", "our own time around the slowest job: submitting, polling, fetching, storing"),
    "cost_usd": Key("float", "USD", "what all attempts at its jobs cost, failed ones too"),
    "run_usd": Key("float", "USD", "the share of it for executing the jobs"),
    "cold_usd": Key("float", "USD", "the share of it for starting workers"),
    "idle_usd": Key("float", "USD", "the share of it for keeping workers warm afterwards"),
    "diagnosis": Key("text", "", "what held the jobs up, as the platform showed it then"),
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
    "identity_earlier": Key("float", "L2", "mean distance of the character's earlier pictures of the route"),
    "identity_drift": Key("float", "L2", "how far the mean distance moved from theirs; positive: away"),
    "nearest_character": Key("text", "", "the other character whose template is nearest"),
    "nearest_distance": Key("float", "L2", "its distance"),
    "distinct_distance": Key("float", "L2", "two characters nearer than this look alike"),
    "evidence_verified": Key("int", "count", "of the character's and route's last 200 declared pictures: verified"),
    "evidence_requested": Key("int", "count", "how many there were, of refused sets and rejected takes too"),
    "evidence_share": Key("float", "0..1", "verified / requested of them"),
    "evidence_lower_bound": Key("float", "0..1", "one-sided 95 % Wilson lower bound of it: what they prove"),
    "evidence_needed": Key("int", "count", "verified pictures more, in a row, that would prove the gate"),
    "faults": Key("int", "count", "what is wrong with the set"),
    "doubts": Key("int", "count", "what is told and refuses no picture: soft, too dark, like another take"),
    "sharpness_min": Key(
        "float", "variance", "of the Laplacian at 512 px, of the least sharp picture; under 20: blurred"
    ),
    "face_sharpness_min": Key("float", "variance", "the same of the least sharp face, at 128 px"),
    "phash_min_bits": Key(
        "int", "count", "bits of 256 between the set's two most alike pictures; up to 12: the same one"
    ),
    "marked": Key("int", "count", "pictures that carry the AI mark"),
    "signed": Key("int", "count", "pictures that carry content credentials (C2PA), unchanged since they were signed"),
    "tensors": Key("int", "count", "tensors in the LoRA file"),
    "target_s": Key("float", "s", "the plan's time target"),
    "took_s": Key("float", "s", "execution time that is judged"),
    "evidence": Key("bool", "", "false: measured on a preview, no statement about the product"),
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
    "open": Key("int", "count", "attempts that have not ended"),
    "states": Key("table", "", "attempts by state: open ones, and those that ended in 24 hours"),
    "spent_usd": Key("float", "USD", "what attempts that were settled in 24 hours cost"),
    "reserved_usd": Key("float", "USD", "the most that open attempts can cost"),
    "unknown_usd": Key("float", "USD", "the most that attempts of unknown outcome can have cost"),
    "presumed_usd": Key("float", "USD", "booked as the most that it can have cost, since nobody could say"),
    "accepted_images": Key("int", "count", "pictures that were accepted in 24 hours"),
    "per_image_usd": Key("float", "USD", "cost of all image attempts of 24 hours per accepted image"),
    "wasted": Key("float", "0..1", "share of the money of 24 hours that brought no accepted result"),
    "dearest_characters": Key("table", "", "the five characters that 24 hours cost most for, open work included"),
    "dearest_runs": Key(
        "table", "", "the five dearest runs that were active in 24 hours, with all that they ever cost"
    ),
    "drift_usd": Key("float", "USD", "booked less billed, over the hours of 24 that can be compared"),
    "bill_explained": Key("float", "0..1", "share of the bill of those hours that what was booked in them covers"),
    "bill": Key("text", "", "the ledger beside the bill, in a sentence"),
    "prices": Key("text", "", "of which day the prices are that costs are booked by, and why not of today"),
    "queue_p50_s": Key("float", "s", "median wait for a worker, of the accepted results of 24 hours"),
    "queue_p95_s": Key("float", "s", "95th percentile of it"),
    "cold_p50_s": Key("float", "s", "median wait for a worker to start"),
    "cold_p95_s": Key("float", "s", "95th percentile of it"),
    "exec_p50_s": Key("float", "s", "median execution time of a job"),
    "exec_p95_s": Key("float", "s", "95th percentile of it"),
    "overhead_p50_s": Key("float", "s", "median of our own time around a job"),
    "overhead_p95_s": Key("float", "s", "95th percentile of it"),
    "budget_usd": Key("float", "USD", "the daily budget"),
    "budget_share": Key("float", "0..1", "spent and reserved of it; above 1 nothing more is sent"),
    "exposed": Key("table", "", "attempts that may have cost money unseen, with the most that each can have cost"),
    "judged": Key("int", "count", "pictures that the classifier of ratings looked at; 0: not judged"),
    "nsfw_worst": Key("float", "0..1", "the highest score of a picture; 1 is certainly not sfw"),
    "nsfw_limit": Key("float", "0..1", "the score from which a picture is not sfw"),
    "review": Key("text", "", "what a person reviewed by picking the base image, or that no person did"),
    "stored_images": Key("int", "count", "pictures that manifests name, each once"),
    "accepted_images_now": Key("int", "count", "those of them in sets that are accepted now"),
    "rejected_images": Key("int", "count", "those of them that were re-rolled"),
    "by_asset": Key("table", "", "one row an asset: its pictures stored, accepted, rejected"),
    "by_route": Key("table", "", "one row a route: pictures that content requests brought"),
    "standing": Key("table", "", "what is wrong now: level, what, whose, why, the next command"),
    "blocks": Key("table", "", "texts that the safety screen blocked in 24 hours, by reason and door; never a text"),
    "blocked_texts": Key("int", "count", "texts that the safety screen blocked in 24 hours"),
    "unaccepted_sets": Key("int", "count", "current manifests that are refused or not judged"),
    "refused_sets": Key("int", "count", "of those: refused, or made from what is"),
    "failing_told": Key(
        "int", "count", "claims that are told and do not hold of current sets: distinct, evidence, drift"
    ),
    "stale_sheets": Key("int", "count", "sheets of an earlier pick"),
    "sampled": Key("int", "count", "stored pictures that were read and hashed"),
    "broken_images": Key("int", "count", "of the sampled: lost, damaged, changed or unmarked"),
    "unreviewed": Key("int", "count", "characters whose base image a policy picked"),
    "unrated_sets": Key("int", "count", "current sets whose rating no classifier judged"),
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
