"""How far a drawn person strays from the one asked for: the preview's stand-in for imperfect identity methods.

Belongs here: the share `t` of a stranger that each route mixes in. Does not belong here: people and pixels.
The numbers were fitted to dlib distances of rendered pictures (tests/unit/test_preview_routes.py holds them); they
imitate the *shape* of real methods (strong at full weight, scattered at a face swap's weight), and prove nothing else.
"""

from __future__ import annotations

import numpy as np


def reference_drift(seed: int, weight: float, start_at: float, end_at: float) -> float:
    """The stranger's share under PuLID: small at weight 1 from the first step, scattered at 0.8, most at 0.2."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 41])
    covered = float(np.clip(end_at - max(0.0, start_at - 0.1), 0, 1))
    strength = float(np.clip(weight, 0, 1.2)) * covered**0.5
    if strength >= 0.93:
        return float(np.clip(rng.normal(0.08, 0.03), 0.02, 0.16))
    center = float(np.interp(strength, [0.0, 0.2, 0.5, 0.8, 0.93], [1.0, 0.95, 0.75, 0.46, 0.12]))
    spread = float(np.interp(strength, [0.0, 0.2, 0.5, 0.8, 0.93], [0.0, 0.04, 0.12, 0.14, 0.04]))
    return float(np.clip(center + spread * rng.standard_normal(), 0.02, 1))


def lora_drift(seed: int, strength: float, *, triggered: bool) -> float:
    """The stranger's share under a LoRA: at most 0.12 at strength 1, all of it at strength 0."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 43])
    pull = float(np.clip(1 - (1 - min(abs(strength), 2 - min(abs(strength), 2.0))) ** 2, 0, 1))
    if not triggered:
        pull *= 0.35
    return 1 - pull * (1 - 0.12 * float(rng.random()))
