"""What goes wrong when many files are scored at once: order, hostile files, dead processes, leaks."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from resources.face_pool import FEW, FacePool
from resources.face_worker import decode_answer, encode, read_frame, write_frame
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, Face, Seen, see, see_all
from tests.fakes.scripted_backend import picture, png
from tests.fakes.scripted_studio import ScriptedScorer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[FacePool]:
    """Two processes; they take a moment to load."""
    made = FacePool(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def portraits() -> list[bytes]:
    """Two people."""
    return [png(render(person(n, {"age": "34"}), Look(seed=n), 256, 256)) for n in (11, 12)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, *, within_s: float = 10.0) -> bool:
    """Whether it ends in time."""
    until = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_answers_come_in_the_order_of_the_files(pool: FacePool, portraits: list[bytes]) -> None:
    """And are those that this process would have given, digit for digit; what is no picture has its reason."""
    scorer = DlibScorer()
    empty = png(Image.new("RGB", (96, 96), "gray"))
    files = [portraits[0], b"no picture", portraits[1], empty, portraits[1][:400], b"", portraits[0]]
    found = pool.see_all(files)
    assert found == [see(scorer, data) for data in files]
    assert [len(one.faces) for one in found] == [1, 0, 1, 0, 0, 0, 1]
    assert [one.rejected for one in found] == ["", "unreadable", "", "", "unreadable", "unreadable", ""]
    assert found[0] == found[-1]


def test_nothing_starts_for_nothing() -> None:
    """No files, no process."""
    idle = FacePool(2)
    assert idle.see_all([]) == []
    assert idle._started == []


def test_file_that_kills_its_process_is_an_answer(pool: FacePool, portraits: list[bytes]) -> None:
    """The others are scored all the same, and a new process takes its place."""
    [process, *_] = pool._started
    os.kill(process._popen.pid, signal.SIGKILL)
    found = pool.see_all([portraits[0]] * 4)
    assert sorted(one.rejected for one in found) == ["", "", "", "crashed"]
    assert len(pool._started) == 2
    assert [one.rejected for one in pool.see_all([portraits[0]] * 2)] == ["", ""]


@pytest.mark.parametrize("ended", ["closed", "forgotten"])
def test_processes_end_with_their_owner(portraits: list[bytes], ended: str) -> None:
    """Neither `close` nor the collector leaves one behind."""
    own = FacePool(1)
    own.see_all(portraits[:1])
    [pid] = [process._popen.pid for process in own._started]
    assert alive(pid)
    if ended == "closed":
        own.close()
    else:
        del own
        gc.collect()
    assert gone(pid)


def test_processes_end_when_their_owner_is_killed() -> None:
    """SIGKILL leaves no time for tidying: their stdin ends, and so do they."""
    script = (
        "import sys, time\nfrom resources.face_pool import FacePool\n"
        "pool = FacePool(1)\npool.see_all([b'no picture'])\n"
        "print(pool._started[0]._popen.pid, flush=True)\ntime.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        pid = int(owner.stdout.readline())
        assert alive(pid)
        owner.kill()
        owner.wait()
    assert gone(pid)


def test_few_files_start_no_process(portraits: list[bytes]) -> None:
    """A process loads longer than a few files take."""
    scorer = DlibScorer()
    assert len(see_all(scorer, portraits * 2)) == 4 < FEW
    assert "_pool" not in scorer.__dict__


def test_plain_scorer_looks_at_one_file_after_the_other() -> None:
    """`see_all` is no part of the protocol: a scorer with `faces` alone is a scorer."""
    found = see_all(ScriptedScorer(), [picture(32, 32)] * (FEW + 1))
    assert [len(one.faces) for one in found] == [1] * (FEW + 1)


def test_wire_keeps_every_digit() -> None:
    """A face is the same wherever it was measured."""
    seen = Seen("f" * 64, (Face(91.0, 1 / 3, (0.1, 2**-149), (-4, 0, 86, 90)),))
    assert decode_answer(encode(seen)) == seen


@pytest.mark.parametrize("cut", [0, 2, 4, 6])
def test_wire_ends_in_the_middle_of_a_frame(cut: int) -> None:
    """Half a frame is an end, not a file."""
    whole = io.BytesIO()
    write_frame(whole, b"bytes")
    assert read_frame(io.BytesIO(whole.getvalue()[:cut])) is None
    assert read_frame(io.BytesIO(whole.getvalue())) == b"bytes"
