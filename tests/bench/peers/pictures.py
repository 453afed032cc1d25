"""What a contestant does with a result: take the picture out of the answer and write it to a file.

For peers only: they check nothing and remember nothing.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"


def save(folder: str, number: int, output: Any) -> None:
    """Write the one picture of a worker-comfyui output. Raises whatever a missing one raises."""
    [picture] = output["images"]
    (Path(folder) / f"{number}.png").write_bytes(base64.b64decode(picture["data"]))


def stored(folder: str | Path) -> int:
    """How many pictures lie there."""
    return sum(1 for path in Path(folder).glob("*.png") if path.read_bytes()[:8] == PNG)
