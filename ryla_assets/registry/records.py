"""The registry's rows as plain records; importing them costs nothing, so that definitions load without a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ryla_assets.domain.character import WizardConfig


@dataclass(frozen=True)
class Character:
    """One persona as the registry knows it."""

    id: str
    config: WizardConfig
    active: bool
    retired: bool
    auto_select: bool
    lora_status: str
    base_image_id: str | None
    base_image_url: str | None
    created_at: float


@dataclass(frozen=True)
class Selection:
    """A person's (or the policy's) pick of a base image."""

    id: int
    character: str
    take: int
    option: int
    image_sha256: str
    manifest_sha256: str
    who: str
    why: str
    at: float
    review: str | None = None  # what a person reviewed by picking; None: a policy picked, no person looked


@dataclass(frozen=True)
class Request:
    """What was asked for, and the jobs that were planned for it (as dicts), once."""

    id: str
    character: str
    stage: str
    take: int
    body: dict[str, Any]
    plan: list[dict[str, Any]] | None
    state: str
    route: str | None


@dataclass(frozen=True)
class Picture:
    """A picture as one manifest names it; the hashes are of the stored bytes and of the decoded pixels.

    `rejected`: it is kept in quarantine, refused by name or because another take of its shot is better.
    """

    sha256: str
    pixels_sha256: str
    rejected: bool = False


@dataclass(frozen=True)
class Named:
    """A manifest that names a picture."""

    manifest_sha256: str
    asset: str
    character: str
    take: int
    picture: Picture


@dataclass(frozen=True)
class Head:
    """Which manifest of an asset is current, and which is accepted."""

    take: int
    current_sha256: str
    accepted_sha256: str | None
    version: int


@dataclass(frozen=True)
class Gate:
    """One judgement of one claim about one manifest."""

    claim: str
    passed: bool
    reason: str
    numbers: dict[str, Any]
    scorer_id: str


@dataclass(frozen=True)
class Template:
    """A character's mean face as one scorer measured it: from which pictures of which manifest, since when."""

    id: int
    character: str
    version: int
    scorer_id: str
    render_domain: str
    embedding: tuple[float, ...]
    images: tuple[str, ...]  # sha256; empty: made before they were kept
    source_sha256: str
    at: float


@dataclass(frozen=True)
class Verdict:
    """Whether one declared picture shows its character; `distance` None is unmeasured."""

    image_sha256: str
    manifest_sha256: str
    verified: bool
    reason: str
    distance: float | None


@dataclass(frozen=True)
class Event:
    """Something happened that a sensor may answer; `id` grows, so it is a cursor."""

    id: int
    kind: str
    character: str
    attempt: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A text that the safety screen blocked: by hash, never the text."""

    at: float
    field: str
    reason: str
    text_sha256: str
    screen: int
    place: str
    who: str
    character: str | None


StandingState = Literal["refused", "tainted", "not judged"]  # tainted: all holds, but not what it was made from


@dataclass(frozen=True)
class Standing:
    """A current manifest that is not accepted, with its required claims as they were judged: claim -> passed, why."""

    state: StandingState
    asset: str
    character: str
    manifest_sha256: str
    verdicts: dict[str, tuple[bool, str]]


@dataclass(frozen=True)
class StoredPicture:
    """A picture of a current manifest."""

    sha256: str
    pixels_sha256: str
    asset: str
    character: str
