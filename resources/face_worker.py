"""A process that looks at pictures for `resources.face_pool`: files in on stdin, what was seen out on stdout.

Belongs here: the loop, and the wire between the two. Frames are a length of four bytes (big endian) and as many bytes;
an answer is JSON. An empty frame comes first: it is loaded, and what ends it from now on is a file. It ends when stdin
does, so it outlives nobody, however its parent ends.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import IO, Any

from resources.identity import DlibScorer, Face, Seen, see

_LENGTH = struct.Struct(">I")


def write_frame(stream: IO[bytes], data: bytes) -> None:
    """Send one frame."""
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end, also in the middle of a frame."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None


def encode(seen: Seen) -> bytes:
    """An answer's bytes. Floats keep their every digit: a face is the same wherever it was measured."""
    faces: list[dict[str, Any]] = [face.as_dict() for face in seen.faces]
    row = {"pixels": seen.pixels_sha256, "faces": faces, "rejected": seen.rejected, "mark": seen.mark}
    return json.dumps(row).encode()


def decode_answer(data: bytes) -> Seen:
    """Read back what `encode` wrote."""
    row = json.loads(data)
    return Seen(row["pixels"], tuple(Face.from_dict(face) for face in row["faces"]), row["rejected"], row["mark"])


def main() -> None:
    """Load, say so, and answer until stdin ends."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing that prints may break the wire
    scorer = DlibScorer()
    scorer.load()
    write_frame(answers, b"")
    while (data := read_frame(sys.stdin.buffer)) is not None:
        write_frame(answers, encode(see(scorer, data)))


if __name__ == "__main__":
    main()
