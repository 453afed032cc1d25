"""Seeds side by side: warm copies of this process, each of which forks its own seeds' processes.

Belongs here: how many, who gets which, and that an interruption leaves no process and no file behind. What a lane does
is handed in. No thread and no lock is involved: whoever forks must have none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.chaos.evidence import Verdict

LANES = 3 * min(4, os.cpu_count() or 1)  # a seed waits for two thirds of its time


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end the command alike: by a KeyboardInterrupt, wherever it was started from."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Lane:
    pid: int
    pipe: Connection


def each(work: Callable[[Any], Any], items: Sequence[Any], count: int) -> Iterator[Any]:
    """What `work` makes of each item, in order; closed early, all lanes tidy up and end."""
    if min(count, len(items)) == 1:
        yield from (_done(work, item) for item in items)
        return
    lanes = [_lane(work) for _ in range(min(count, len(items)))]
    try:
        yield from _in_order(lanes, items)
    finally:
        for lane in lanes:
            lane.pipe.close()
            os.kill(lane.pid, signal.SIGTERM)
        for lane in lanes:
            os.waitpid(lane.pid, 0)


def _in_order(lanes: Sequence[_Lane], items: Sequence[Any]) -> Iterator[Any]:
    waiting, found = deque(enumerate(items)), {}
    for lane in lanes:
        lane.pipe.send(waiting.popleft())
    for number in range(len(items)):
        while number not in found:
            for pipe in wait([lane.pipe for lane in lanes]):
                assert isinstance(pipe, Connection)
                index, made = pipe.recv()  # EOFError: a lane died, which nothing here lets it do
                found[index] = made
                if waiting:
                    pipe.send(waiting.popleft())
        yield found.pop(number)


def _lane(work: Callable[[Any], Any]) -> _Lane:
    """A copy of this process that works on what it is sent until the pipe is closed."""
    here, there = Pipe()
    pid = os.fork()
    if pid == 0:
        here.close()
        _live(work, there)
    there.close()
    return _Lane(pid, here)


def _live(work: Callable[[Any], Any], pipe: Connection) -> None:
    """The child: never returns. Ended by its parent, it leaves as if its work had failed: everything is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    try:
        with contextlib.suppress(EOFError, OSError):
            while True:
                index, item = pipe.recv()
                pipe.send((index, _done(work, item)))
    except BaseException:  # noqa: BLE001  a child must never run on as its parent
        pass
    finally:
        os._exit(0)


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise SystemExit(1)


def _done(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001  a harness that breaks is a finding of this seed, not the end of all
        problem = f"harness: {type(error).__name__}: {error}\n{traceback.format_exc()}"
        return Verdict(item, [problem]) if isinstance(item, int) else (item, None, problem)
