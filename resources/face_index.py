"""The nearest of many faces, exactly: one matrix, one pass over it.

Belongs here: names, embeddings and distances. Where the embeddings are kept, and what near means, others know. 10,000
faces of 128 floats are 5 MB and a millisecond or two, so nothing approximate is worth its errors
(docs/benchmarks.md has the numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FLOAT = "<f4"  # little-endian float32: what dlib computes in
_TIE = 1e-3  # L2; those this near to the best are measured again in float64: float32 is wrong by less

# Multiplications of a product that OpenBLAS does on one thread. Of a larger one it gives each core a part, and waits
# for the slowest: 0.5 ms in all on an idle machine, 12 ms beside other work, which is where we run.
_ONE_THREAD = 250_000


@dataclass(frozen=True)
class Neighbour:
    """Whose face it is, and its L2 distance."""

    name: str
    distance: float


def pack(embedding: Sequence[float]) -> bytes:
    """An embedding as bytes: four a number."""
    import numpy as np

    return np.asarray(embedding, dtype=FLOAT).tobytes()


def unpack(data: bytes) -> list[float]:
    """The embedding that `pack` wrote, rounded to float32."""
    import numpy as np

    return [float(number) for number in np.frombuffer(data, dtype=FLOAT)]


class FaceIndex:
    """One face a name; all embeddings of one length. Not for several threads at once."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._names: list[str] = []
        self._matrix: Any = None  # (capacity, length) float32, grown by doubling
        self._squares: Any = None  # (capacity,) float32: each row's squared length

    def __len__(self) -> int:
        return len(self._names)

    def update(self, faces: Iterable[tuple[str, bytes]]) -> None:
        """Add faces as (name, packed embedding), or replace those of the same name. Raises ValueError on a length."""
        import numpy as np

        latest = dict(faces)
        if not latest:
            return
        if len({len(data) for data in latest.values()}) != 1:
            raise ValueError("embeddings of different lengths are of different scorers")
        new = np.frombuffer(b"".join(latest.values()), dtype=FLOAT).reshape(len(latest), -1)
        if self._matrix is not None and self._matrix.shape[1] != new.shape[1]:
            raise ValueError(f"an embedding of {new.shape[1]} floats among those of {self._matrix.shape[1]}")
        for name in latest:
            if name not in self._row:
                self._row[name] = len(self._names)
                self._names.append(name)
        self._grow(len(self._names), new.shape[1])
        rows = [self._row[name] for name in latest]
        self._matrix[rows] = new
        self._squares[rows] = np.einsum("ij,ij->i", new, new)

    def nearest(self, faces: Sequence[Sequence[float]], *, excluding: str = "") -> Neighbour | None:
        """The name with the smallest mean distance to these faces (of one person), never `excluding`; None if alone."""
        import numpy as np

        count, own = len(self._names), self._row.get(excluding)
        if not faces or count - (own is not None) < 1:
            return None
        asked = np.asarray(faces, dtype=FLOAT)
        if asked.ndim != 2 or asked.shape[1] != self._matrix.shape[1]:
            raise ValueError(f"faces of {asked.shape[1:]} floats do not compare with {self._matrix.shape[1]}")
        rough = self._rough(asked, count)
        if own is not None:
            rough[own] = np.inf
        near = np.flatnonzero(rough <= rough.min() + _TIE)
        apart = self._matrix[near].astype(np.float64)[:, None, :] - np.asarray(faces, dtype=np.float64)[None, :, :]
        exact = np.linalg.norm(apart, axis=2).mean(axis=1)
        best = int(exact.argmin())
        return Neighbour(self._names[int(near[best])], float(exact[best]))

    def _rough(self, asked: Any, count: int) -> Any:
        """The mean distance of each row to the asked faces, in float32."""
        import numpy as np

        found = np.empty(count, FLOAT)
        lengths = np.einsum("ij,ij->i", asked, asked)[:, None]
        step = max(1, _ONE_THREAD // asked.size)
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            squared = lengths + self._squares[rows] - 2.0 * (asked @ self._matrix[rows].T)
            found[rows] = np.sqrt(np.maximum(squared, 0.0)).mean(axis=0)
        return found

    def _grow(self, count: int, length: int) -> None:
        import numpy as np

        capacity = 0 if self._matrix is None else len(self._matrix)
        if count <= capacity:
            return
        matrix, squares = np.zeros((max(count, 2 * capacity), length), FLOAT), np.zeros(max(count, 2 * capacity), FLOAT)
        if capacity:
            matrix[:capacity], squares[:capacity] = self._matrix, self._squares
        self._matrix, self._squares = matrix, squares
