"""Trainings on pods, for the faults of the control plane.

Belongs here: the product's backend with pods, on a clock that passes faster. What pods are, and what becomes of them,
is `resources/gpu/backends/runpod/pods.py`.
"""

from __future__ import annotations

import asyncio
import time

from resources.gpu.backends.runpod.backend import RunPodBackend
from resources.gpu.backends.runpod.ours import OurContract
from resources.gpu.backends.runpod.pod_launch import PodSettings
from resources.gpu.backends.runpod.pods import Pods
from resources.gpu.backends.runpod.with_pods import RunPodWithPods
from resources.gpu.job import Job, OutputSpec
from resources.runpod_control import ControlClient

GPUS = ("NVIDIA A40", "NVIDIA RTX A6000", "NVIDIA L40S")
IMAGE = "registry.example/ryla/trainer:1"
SPEED = 40.0  # a pod's minutes pass so many times faster


def hurried(backend: RunPodBackend, control_url: str, key: str) -> RunPodWithPods:
    """The backend that trains on pods, whose waits pass `SPEED` times faster."""
    assert isinstance(backend, RunPodWithPods)
    assert isinstance(backend.contract, OurContract)
    contract, settings = backend.contract, PodSettings(IMAGE, gpu_types=GPUS)
    control = backend.service.keep("pods", lambda: ControlClient(control_url, key, clock=_clock, sleep=_sleep))
    memory = backend.pods.memory if backend.pods else None
    backend.pods = Pods(control, contract, settings, memory=memory, clock=_clock, sleep=_sleep)
    return backend


def training(seed: int = 1) -> Job:
    """A LoRA that nobody ever trained."""
    request = {"base_model": "flux-dev", "steps": 1200, "rank": 16, "trigger": "mara", "seed": seed}
    return Job("training", request, (OutputSpec("mara", "lora"),), label=f"training {seed}", owner="mara-lind")


def _clock() -> float:
    return time.monotonic() * SPEED


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / SPEED)
