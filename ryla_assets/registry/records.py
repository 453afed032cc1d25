"""The registry's rows as plain records; importing them costs nothing, so that definitions load without a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
class Event:
    """Something happened that a sensor may answer; `id` grows, so it is a cursor."""

    id: int
    kind: str
    character: str
    attempt: int
    detail: dict[str, Any]
