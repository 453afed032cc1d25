"""Paid work on RunPod's protocol: overhead, makespan beside its peers, the price of polling, and what faults waste.

One fake RunPod in a process of its own serves everybody, each on an endpoint of its own and with the documented rate
limits; every contestant is a process of its own. The clock is the wall's.

Belongs here: what is measured, on how much, and the rows. Who takes part is in `peers`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.bench.peers import node
from tests.bench.peers.contestant import Contestant
from tests.bench.peers.load import COLD_S, MEAN_S, PX, durations, ideal_s, picture_job
from tests.bench.row import Row, percentile
from tests.fakes.fake_runpod.cases import HTML
from tests.fakes.fake_runpod.process import FakeRunPodProcess
from tests.s3 import serve

SHRUNK = 5.0  # times of the makespan's far side are divided by this; everybody's pauses and quotas stay as they are
WORKERS = 20
AT_ONCE = 40  # jobs that a peer has open: two a worker. All 400, asked about each second, would break the status quota
MOST_WORKERS = 60  # an account gets no more (RunPod docs: worker limits by balance)
FAULTY = 0.10  # of all calls
FAULTY_OURS, FAULTY_COMFY = "faults", "faults-comfy"  # endpoints; the worker that it has
FAULTS: tuple[dict[str, Any], ...] = (
    {"action": "answer", "status": 429, "body": {"error": "rate limit exceeded"}},
    {"action": "answer", "status": 500, "body": {"error": "internal error"}},
    {"action": "drop_request"},
    {"action": "drop_response"},
    {"action": "answer", "status": 502, "body": HTML, "content_type": "text/html"},
    {"action": "truncate", "keep": 30},
)
UNKNOWN_WAIT_S = 30.0  # a deployment waits 120 s for a lost answer's job; jobs are as much shorter here
PATIENCE_S = 400.0
_BAD_ENDS = ("failed", "cancelled", "timed_out", "lost")
CONTESTANTS = ("ours", "sdk-threads", "sdk-asyncio", "bullmq")


@dataclass(frozen=True)
class Sizes:
    """How much is measured; smaller for trying the measurement out."""

    jobs: int = 400
    in_flight: int = 200
    open: int = 2000
    faulty: int = 300
    watched_s: float = 30.0
    settling_s: float = 10.0


FULL = Sizes()


def measure(sizes: Sizes = FULL) -> Iterator[Row]:
    """All rows. Raises RuntimeError if somebody passed a rate limit or the fake itself failed."""
    with tempfile.TemporaryDirectory() as name, FakeRunPodProcess({"endpoints": _endpoints(sizes)}) as fake:
        folder = Path(name)
        yield from makespan(fake, folder, sizes)
        yield from overhead(fake, folder, sizes)
        yield from faults(fake, folder, sizes)
        yield from polling(fake, folder, sizes)
        state = fake.state()
        if state["rate_limited"] or state["errors"]:
            raise RuntimeError(
                f"{state['rate_limited']} calls passed a rate limit; the fake's errors: {state['errors']}"
            )


def _endpoints(sizes: Sizes) -> list[dict[str, Any]]:
    short = durations(sizes.jobs, MEAN_S / SHRUNK)
    race = {"workers_max": WORKERS, "cold_s": COLD_S / SHRUNK, "durations": short}
    return [
        *({"id": name, **race} for name in CONTESTANTS),
        {"id": "overhead", "workers_max": MOST_WORKERS, "cold_s": 5.0, "durations": durations(sizes.in_flight)},
        *(
            {"id": name, "workers_max": WORKERS, "cold_s": 2.0, "durations": durations(sizes.faulty, 2.0)}
            for name in (FAULTY_OURS, FAULTY_COMFY)
        ),
        {"id": "open", "workers_max": MOST_WORKERS, "cold_s": 1.0, "durations": [3600.0]},
    ]


# ---- makespan


def makespan(fake: FakeRunPodProcess, folder: Path, sizes: Sizes) -> Iterator[Row]:
    """All contestants at the same time, each on twenty workers of its own and the same list of durations."""
    ideal = ideal_s(durations(sizes.jobs, MEAN_S / SHRUNK), WORKERS, COLD_S / SHRUNK)
    title = (
        f"makespan of {sizes.jobs} jobs on {WORKERS} workers, RunPod's times (jobs of {MEAN_S:.0f} s log-normal, cold "
        f"starts of {COLD_S:.0f} s) divided by {SHRUNK:g}, polling not: "
    )
    words = {
        "ours": "ours, with ledger, checks and AI mark",
        "sdk-threads": f"runpod SDK, sync endpoint in {AT_ONCE} threads, file written",
        "sdk-asyncio": f"runpod SDK, asyncio client, {AT_ONCE} at once, file written",
        "bullmq": f"BullMQ worker in Node with Redis, {AT_ONCE} at once, polls each 2 s, file written",
    }
    with contextlib.ExitStack() as stack:
        racing: dict[str, Contestant] = {}
        missing: dict[str, str] = {}
        for name in CONTESTANTS:
            try:
                racing[name] = stack.enter_context(_contestant(name, fake, folder / name, sizes.jobs, stack))
            except node.Missing as error:
                missing[name] = str(error)
        for one in racing.values():
            one.ready()
        for one in racing.values():
            one.go()
        found = {name: one.told(PATIENCE_S) for name, one in racing.items()}
    for name in CONTESTANTS:
        if name in missing:
            yield Row(title + words[name], None, f"not measured: {missing[name]}")
        else:
            yield _finish(name, found[name], sizes.jobs, title + words[name], ideal)


def _finish(name: str, told: dict[str, Any], jobs: int, what: str, ideal: float) -> Row:
    """A contestant's row. Ours may not be fast by leaving jobs out: RuntimeError; a peer's says how many it stored."""
    short = "" if told["stored"] == jobs else f" ({told['stored']} stored; {told['errors'][:1]})"
    if short and name == "ours":
        raise RuntimeError(f"{told['stored']} of {jobs} jobs were stored: {told['errors']}")
    return Row(what + short, told["seconds"], "s", ideal, "ideal schedule", 1.05 if name == "ours" else None)


def _contestant(
    name: str, fake: FakeRunPodProcess, folder: Path, count: int, stack: contextlib.ExitStack
) -> Contestant:
    if name == "ours":
        return _ours(fake, folder, name, count)
    orders = {
        "jobs_url": fake.jobs_url,
        "api_key": fake.api_key,
        "endpoint": name,
        "count": count,
        "px": PX,
        "at_once": AT_ONCE,
    }
    if name == "bullmq":
        modules = folder / "modules"
        node.install(modules)
        orders |= {"modules": str(modules), "redis": stack.enter_context(node.redis(modules))}
        orders["graphs"] = [picture_job(number).request for number in range(count)]
        return Contestant(["node", str(Path(node.__file__).with_name("bullmq.cjs"))], orders, folder)
    program = [sys.executable, "-m", f"tests.bench.peers.{name.replace('-', '_')}"]
    return Contestant(program, orders, folder, RUNPOD_ENDPOINT_BASE_URL=fake.jobs_url)


def _ours(fake: FakeRunPodProcess, folder: Path, endpoint: str, count: int, **more: Any) -> Contestant:
    account = {name: getattr(fake, name) for name in ("jobs_url", "control_url", "graphql_url")}
    orders = {
        "account": {**account, "key": fake.api_key},
        "endpoint": endpoint,
        "count": count,
        "px": PX,
        "policy": {},
        "storage": "",
        "s3": {},
        **more,
    }
    return Contestant([sys.executable, "-m", "tests.bench.peers.ours"], orders, folder)


# ---- overhead


def overhead(fake: FakeRunPodProcess, folder: Path, sizes: Sizes) -> Iterator[Row]:
    """From each job's intent in the ledger to its settled result in the store, less RunPod's delay and execution."""
    with _ours(fake, folder / "overhead", "overhead", sizes.in_flight) as ours:
        ours.ready().go()
        told = ours.told(PATIENCE_S)
    spent = [one["overhead_s"] for one in told["attempts"] if one["accepted"]]
    if len(spent) != sizes.in_flight:
        raise RuntimeError(f"{len(spent)} of {sizes.in_flight} jobs were accepted: {told['errors']}")
    what = f"RunPod overhead of a job, submission to stored result less remote time, {sizes.in_flight} in flight"
    for share, limit_s in ((0.50, 0.5), (0.95, 2.0)):
        number = percentile(spent, share)
        yield Row(f"{what} on {MOST_WORKERS} workers, p{100 * share:.0f}", number, "s", limit_s, "limit", 1.0)


# ---- polling


def polling(fake: FakeRunPodProcess, folder: Path, sizes: Sizes) -> Iterator[Row]:
    """One process with many open jobs, most of them waiting: what it costs while nothing ends."""
    what = f"{sizes.open} open RunPod jobs ({MOST_WORKERS} of them running) followed by one process"
    if not Path("/proc/self/stat").exists():
        yield Row(what, None, "not measured: /proc is missing")
        return
    with _ours(fake, folder / "open", "open", sizes.open) as ours:
        ours.ready().go()
        _wait_until_open(fake, sizes.open)
        time.sleep(sizes.settling_s)
        begun, used, most = time.monotonic(), _cpu_s(ours.pid), 0.0
        while time.monotonic() - begun < sizes.watched_s:
            time.sleep(0.5)
            most = max(most, _rss_mb(ours.pid))
        share = 100 * (_cpu_s(ours.pid) - used) / (time.monotonic() - begun)
    yield Row(f"{what}, resident memory", most, "MB", 150.0, "limit", 1.0)
    yield Row(f"{what} for {sizes.watched_s:.0f} s", share, "% of a core", 25.0, "limit", 1.0)


def _wait_until_open(fake: FakeRunPodProcess, count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    with httpx.Client(headers={"Authorization": f"Bearer {fake.api_key}"}, trust_env=False) as http:
        while time.monotonic() < end:
            jobs = http.get(f"{fake.jobs_url}/open/health").raise_for_status().json()["jobs"]
            if jobs["inQueue"] + jobs["inProgress"] >= count:
                return
            time.sleep(0.5)
    raise RuntimeError(f"{count} jobs were not open after {PATIENCE_S:.0f} s")


def _cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    """What a process has in memory, in megabytes (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


# ---- faults


def faults(fake: FakeRunPodProcess, folder: Path, sizes: Sizes) -> Iterator[Row]:
    """One call in ten fails in one of six ways: with our own worker, results through an S3, then with worker-comfyui.

    Wasted are the executed seconds, by RunPod's own record, of all runs beyond the dearest one for each accepted
    result; starts and idle time are not in it. A lost answer wastes a run only where nobody can find what it began: our
    worker's results can be found, worker-comfyui's cannot, so its share shows that the measurement sees waste.
    """
    what = f"{sizes.faulty} RunPod jobs, 10 % of all calls failing (429, 500, HTML 502, lost and cut answers), "
    with contextlib.contextmanager(serve)() as s3:
        place = {"storage": s3.url(), "s3": vars(s3.access)}
        told = _through_faults(fake, folder, FAULTY_OURS, sizes.faulty, **place)
    unexplained = _unexplained(told["attempts"], sizes.faulty)
    yield Row(what + "neither accepted nor explained", unexplained, "jobs", sizes.faulty, "asked for", 0.0)
    yield Row(what + f"not accepted ({told['stored']} were)", sizes.faulty - told["stored"], "jobs")
    wasted = 100 * _wasted(fake.state(), told["attempts"], FAULTY_OURS)
    yield Row(
        what + "executed beyond one run for each accepted result, by RunPod's record", wasted, "%", 2.0, "limit", 1.0
    )
    told = _through_faults(fake, folder, FAULTY_COMFY, sizes.faulty)
    wasted = 100 * _wasted(fake.state(), told["attempts"], FAULTY_COMFY)
    yield Row(what + "the same with worker-comfyui, whose lost answers cannot be found again", wasted, "%")


def _through_faults(fake: FakeRunPodProcess, folder: Path, endpoint: str, count: int, **place: Any) -> dict[str, Any]:
    """Our story of so many jobs on that endpoint while its calls fail."""
    share = FAULTY / len(FAULTS)
    for number, fault in enumerate(FAULTS):  # the first that strikes wins: each strikes what the others left
        fake.tell("faults", operation="*", endpoint=endpoint, probability=share / (1 - number * share), **fault)
    with _ours(fake, folder / endpoint, endpoint, count, policy={"unknown_wait_s": UNKNOWN_WAIT_S}, **place) as ours:
        ours.ready().go()
        told = ours.told(PATIENCE_S)
    fake.tell("clear")
    return told


def _unexplained(attempts: list[dict[str, Any]], count: int) -> int:
    """Jobs without an accepted attempt whose last one is open, or ended without a code and a sentence; or with none."""
    last = {one["fingerprint"]: one for one in sorted(attempts, key=lambda one: one["number"])}
    done = {one["fingerprint"] for one in attempts if one["accepted"]}
    told = {key for key, one in last.items() if one["state"] in _BAD_ENDS and one["error_code"] and _says(one["error"])}
    return count - len(done | told)


def _says(error: str | None) -> bool:
    """True for a sentence, not a mere code."""
    return len((error or "").split()) >= 4


def _wasted(state: dict[str, Any], attempts: list[dict[str, Any]], endpoint: str) -> float:
    """The share of what an endpoint executed that went into no accepted result: all but the dearest run of a job."""
    accepted = {one["fingerprint"] for one in attempts if one["accepted"]}
    job_of = {one["id"].replace("-", "")[:12]: one["fingerprint"] for one in attempts}
    spent: dict[str, list[float]] = {}
    for job in state["accepted"]:
        if job["endpoint"] == endpoint:
            fingerprint = job_of.get(job["attempt"].replace("-", "")[:12], "")
            spent.setdefault(fingerprint, []).append(state["bill_by_job"].get(job["job_id"], 0.0))
    used = sum(max(usd) for fingerprint, usd in spent.items() if fingerprint in accepted)
    total = sum(map(sum, spent.values()))
    return (total - used) / total
