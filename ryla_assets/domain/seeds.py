"""Where every seed comes from.

Belongs here: the one function from (character, stage, shot, take) to a seed. No random numbers, no shared default: the
original product gave one "golden seed" to everybody, so all its characters shared one noise.
"""

import hashlib

MAX_SEED = 2**53 - 1  # the largest integer that ComfyUI's web UI (JavaScript) keeps exact


def seed(character: str, stage: str, shot: str, take: int) -> int:
    """The seed of one take of one shot, in 0..2**53-1.

    The first 53 bits of sha256 over the four parts, each length-prefixed so that ("ab", "c") and ("a", "bc") differ.
    Stable for ever: stored fingerprints depend on it. Raises ValueError on a negative take.
    """
    if take < 0:
        raise ValueError(f"take must be 0 or more, not {take}")
    parts = (character, stage, shot, str(take))
    digest = hashlib.sha256("".join(f"{len(part)}:{part};" for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11
