"""What goes wrong when other processes look at files: order, hostile files, dead processes, leaks, no scorer at all."""

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

from resources.face_pool import FILES_A_START, FacePool, shared_pool
from resources.face_worker import decode_answer, encode, read_frame, write_frame
from resources.gpu.backends.preview.identity import person
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.identity import DlibScorer, Face, ScorerUnavailable, Seen, see, see_all
from tests.fakes.scripted_backend import picture, png
from tests.fakes.scripted_studio import ScriptedScorer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[FacePool]:
    """Two processes, started; they take a moment to load."""
    made = FacePool(2)
    made.see_all([b"no picture"] * 2 * FILES_A_START)
    assert len(made._started) == 2
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


def test_process_that_is_killed_costs_no_answer(pool: FacePool, portraits: list[bytes]) -> None:
    """Somebody else killed it: the file is looked at by the one that takes its place."""
    [process, *_] = pool._started
    os.kill(process._popen.pid, signal.SIGKILL)
    assert [one.rejected for one in pool.see_all([portraits[0]] * 4)] == [""] * 4
    assert len(pool._started) == 2


WITHOUT_MODELS = """
from resources import face_worker as worker
look = worker.see
worker.see = lambda scorer, data: os._exit(9) if data == b"deadly" else look(scorer, data)
worker.DlibScorer = type("Scorer", (), {"load": lambda self: None})
worker.main()
"""


def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a pool's processes run this."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(ROOT)!r})\n{script}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_processes_are_started_as_they_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for every few files that were ever asked for, never more than there are cores or files at hand."""
    instead(tmp_path, monkeypatch, WITHOUT_MODELS)
    own = FacePool(3)
    grown = []
    for count in (1, FILES_A_START, 2, 2, FILES_A_START):
        own.see_all([b"no picture"] * count)
        grown.append(len(own._started))
    own.close()
    assert grown == [1, 2, 2, 2, 3]


def test_file_that_kills_its_process_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after the second one; the others are looked at, and the pool is as large as before."""
    instead(tmp_path, monkeypatch, WITHOUT_MODELS)
    own = FacePool(2)
    found = own.see_all([b"no picture", b"deadly", *[b"no picture"] * 6])
    assert [one.rejected for one in found] == ["unreadable", "crashed", *["unreadable"] * 6]
    assert len(own._started) == 2
    own.close()


def test_scorer_that_does_not_start_refuses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was found out about any picture; what is installed later works."""
    own = FacePool(2)
    with monkeypatch.context() as broken:
        instead(tmp_path, broken, "sys.exit(3)\n")
        with pytest.raises(ScorerUnavailable, match="ended with 3"):
            own.see_all([b"no picture"] * 8)
        assert own._started == []
    instead(tmp_path, monkeypatch, WITHOUT_MODELS)
    assert [one.rejected for one in own.see_all([b"no picture"])] == ["unreadable"]
    own.close()


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


def test_file_never_meets_dlib_in_this_process(portraits: list[bytes]) -> None:
    """One hostile file would end the run, not only its own score."""
    scorer = DlibScorer()
    assert [len(one.faces) for one in see_all(scorer, portraits[:1])] == [1]
    assert "_detector" not in scorer.__dict__
    assert shared_pool() is shared_pool(), "warm for the next set, whichever scorer asks"


def test_plain_scorer_looks_at_one_file_after_the_other() -> None:
    """`see_all` is no part of the protocol: a scorer with `faces` alone is a scorer."""
    found = see_all(ScriptedScorer(), [picture(32, 32)] * 3)
    assert [len(one.faces) for one in found] == [1] * 3


def test_wire_keeps_every_digit() -> None:
    """A face is the same wherever it was measured."""
    seen = Seen("f" * 64, (Face(91.0, 1 / 3, (0.1, 2**-149), (-4, 0, 86, 90)),), mark="algorithmicMedia")
    assert decode_answer(encode(seen)) == seen


@pytest.mark.parametrize("cut", [0, 2, 4, 6])
def test_wire_ends_in_the_middle_of_a_frame(cut: int) -> None:
    """Half a frame is an end, not a file."""
    whole = io.BytesIO()
    write_frame(whole, b"bytes")
    assert read_frame(io.BytesIO(whole.getvalue()[:cut])) is None
    assert read_frame(io.BytesIO(whole.getvalue())) == b"bytes"
