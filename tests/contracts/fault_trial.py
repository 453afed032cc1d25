"""One line a case: what is installed, on what stage, and what must come of it.

Belongs here: cases that consist of "install it, run one job (or a few), look". Those in which more happens are written
out in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resources.gpu import faultpoints
from resources.gpu.errors import Retry
from tests.contracts.fault_scene import Contract, Scene, job

Stage = Callable[..., Scene]


@dataclass(frozen=True)
class Trial:
    """A case and its end. `ends`: how each attempt ended, in order; `reads`: a pattern in what the user reads."""

    case: str
    ends: str
    reads: str = ""
    taken: int = 1  # jobs that RunPod took
    code: str = ""  # of the first attempt that ended badly
    retry: Retry | None = None  # what the error says that another try is worth; None: the run succeeds
    contract: Contract = "ryla"
    variant: str = ""
    tune: dict[str, Any] = field(default_factory=dict)
    stage: dict[str, Any] = field(default_factory=dict)
    images: int = 1
    late: bool = False  # installed when the submission is about to leave: what is asked before it goes well

    def __str__(self) -> str:
        return f"{self.case}{f' ({self.variant})' if self.variant else ''}"


def play(scene: Stage, trial: Trial) -> Scene:
    """Play it, hold it to its end and to the invariant, and write its row."""
    stage = scene(contract=trial.contract, **trial.stage)
    if trial.late:
        stage.at(faultpoints.BEFORE_SUBMIT, lambda: stage.install(trial.case, **trial.tune))
    else:
        stage.install(trial.case, **trial.tune)
    outcome = stage.run(job(images=trial.images))
    story = f"{stage.happened()}\n{outcome.error}\n{[(a.error_code, a.error) for a in stage.attempts()]}"
    assert " ".join(stage.states()) == trial.ends, story
    assert len(stage.fake.accepted) == trial.taken, story
    bad = next((attempt for attempt in stage.attempts() if attempt.error_code), None)
    assert (bad.error_code if bad else "") == trial.code, story
    assert (outcome.error.retry if outcome.error else None) == trial.retry, story
    assert bool(outcome.results) == (trial.retry is None), story
    assert re.search(trial.reads, stage.reads()), stage.reads()
    stage.written(trial.case, trial.variant)
    return stage
