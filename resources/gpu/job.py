"""A job: one request to a GPU backend, and its fingerprint.

A job is plain data: it can be written to a row when a stage is planned and read back by another process, and its
fingerprint is the same there. What a character is, and why the job exists, is not known here (`label` and `owner`
are words for people and budgets).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["image", "training"]


@dataclass(frozen=True)
class InputFile:
    """A stored object that the job reads: seen by the worker as `folder`/`name`."""

    folder: Literal["input", "loras", "dataset"]
    name: str
    kind: str  # the store's kind: images, inputs, loras
    sha256: str


@dataclass(frozen=True)
class OutputSpec:
    """One file that the job must return: `name` is its filename_prefix (images) or its stem (LoRA)."""

    name: str
    media: Literal["image", "lora"]
    width: int = 0  # pixels, images only
    height: int = 0


@dataclass(frozen=True)
class Job:
    """One request: an API-format workflow (`image`) or a training config (`training`)."""

    kind: Kind
    request: dict[str, Any]
    outputs: tuple[OutputSpec, ...]
    inputs: tuple[InputFile, ...] = ()
    label: str = ""
    owner: str = ""
    rating: Literal["sfw", "nsfw"] = "sfw"  # which machines may work on it

    def fingerprint(self, profile: str) -> str:
        """Sha256 of everything that determines the result; `profile` names backend, engine and models.

        `label`, `owner` and `rating` do not change a pixel and are left out; so are titles (`_meta`) of graph nodes.
        """
        request = self.request
        if self.kind == "image":
            request = {node: {k: v for k, v in body.items() if k != "_meta"} for node, body in self.request.items()}
        body = {
            "v": 1,
            "kind": self.kind,
            "profile": profile,
            "request": request,
            "inputs": sorted((i.folder, i.name, i.sha256) for i in self.inputs),
            "outputs": [asdict(o) for o in self.outputs],
        }
        return hashlib.sha256(canonical(body).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as a plan's row holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Job:
        """Read back what `as_dict` wrote."""
        return cls(
            kind=data["kind"],
            request=data["request"],
            outputs=tuple(OutputSpec(**o) for o in data["outputs"]),
            inputs=tuple(InputFile(**i) for i in data["inputs"]),
            label=data["label"],
            owner=data["owner"],
            rating=data.get("rating", "sfw"),
        )


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
