"""A judgement: what is claimed about a manifest, whether it holds, and the numbers behind it.

Belongs here: the record. How each claim is judged is `judge`'s (bytes, time) and `likeness`'s (faces).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ryla_assets.studio.studio import name_of

NO_SCORER = "bytes"  # the scorer id of claims that need no face scorer


@dataclass(frozen=True)
class Judgement:
    """One claim about one manifest."""

    asset: str
    character: str
    manifest_sha256: str
    claim: str
    passed: bool
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    scorer_id: str = NO_SCORER
    per_image: list[dict[str, Any]] = field(default_factory=list)
    warned: bool = False  # passes the gate, and is shown as a warning all the same: nothing could judge it
    evidence: bool = True  # False: measured on a preview, so no statement about the product


def judgement(manifest: Any, claim: str, passed: bool, reason: str, numbers: dict[str, Any], **more: Any) -> Judgement:
    """A judgement of a claim about this manifest."""
    return Judgement(manifest.asset, manifest.character, name_of(manifest), claim, passed, reason, numbers, **more)
