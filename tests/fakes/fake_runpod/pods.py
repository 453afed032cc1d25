"""Pods: created, started, at work on a request of ours, exited, terminated.

Belongs here: the life of a pod and its lease. Its JSON and the API's refusals are in control_pods.
# runpod facts 2.1 [spec], 5 [doc]
"""

from __future__ import annotations

import json
import random
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.fake_runpod import engine
from tests.fakes.fake_runpod.clock import Event
from tests.fakes.fake_runpod.world import Executed, World

LIVE = ("PROVISIONING", "STARTING", "RUNNING")
ACTIONS = {  # status: what may be done  # runpod facts 2.1 [spec]
    "PROVISIONING": ["stop", "terminate"], "STARTING": ["stop", "terminate"],
    "RUNNING": ["stop", "restart", "terminate"], "EXITED": ["start", "terminate"], "ERROR": ["start", "terminate"],
    "TERMINATED": [],
}  # fmt: skip


@dataclass(eq=False)
class Pod:
    """One pod; `spec` is the body that created it."""

    id: str
    spec: dict[str, Any]
    usd_per_hour: float
    created: float
    status: str = "PROVISIONING"
    started: float | None = None
    boots: int = 0
    result: Any = None
    stuck: bool = False  # never gets past PROVISIONING (C6)
    foreign: bool = False  # somebody else's: neither counted as alive nor billed (C9)
    cut: str = ""  # the status that it gets in the middle of its work, if it gets so far
    cut_short: bool = False  # it did
    events: list[Event] = field(default_factory=list)


class Pods:
    """The account's pods. Every method is called with the clock's lock held."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pods: dict[str, Pod] = {}
        self.stick = 0  # so many of the next pods stay PROVISIONING

    def create(self, spec: dict[str, Any], usd_per_hour: float) -> Pod:
        """A new pod; it costs from now on, or once it runs.  # runpod facts 6 [infer: pods_billed_from]"""
        pod = Pod(self.world.token(), spec, usd_per_hour, self.world.clock.now())
        self._draw_fate(pod)
        if self.stick:
            self.stick, pod.stuck = self.stick - 1, True
        self.pods[pod.id] = pod
        self._boot(pod)
        return pod

    def _draw_fate(self, pod: Pod) -> None:
        """What its settings' shares make of it: drawn by the seed, one fate at most."""
        settings, draw = self.world.config.pods, random.Random(f"{self.world.config.seed}/{pod.id}/fate").random()
        pod.stuck = draw < settings.stick
        draw -= settings.stick
        pod.cut = "EXITED" if 0 <= draw < settings.crash else ""
        draw -= settings.crash
        pod.cut = "TERMINATED" if 0 <= draw < settings.vanish else pod.cut

    def act(self, pod: Pod, action: str) -> None:
        """start, stop, restart or terminate, known to be allowed.  # runpod facts 2.1 [spec]"""
        for event in pod.events:
            event.cancelled = True
        pod.events.clear()
        if action == "terminate":
            self._halt(pod, "TERMINATED")
        elif action == "stop":
            self._halt(pod, "EXITED")
        else:
            self.world.bill.close(pod.id)
            self._boot(pod)

    def alive(self) -> list[str]:
        """Pods that still cost.  # runpod facts 2.1 [spec]"""
        return [f"pod/{pod.id} {pod.status}" for pod in self.pods.values() if pod.status in LIVE and not pod.foreign]

    def add_foreign(self, name: str) -> Pod:
        """A pod on the same account that the product must never touch.  # runpod facts 8 C9 [issue]"""
        gpu = {"id": "NVIDIA A40", "count": 1}
        pod = Pod(self.world.token(), {"name": name, "image": "else:1", "gpu": gpu}, 0.44, self.world.clock.now())
        pod.status, pod.started, pod.foreign = "RUNNING", pod.created, True
        self.pods[pod.id] = pod
        return pod

    def _boot(self, pod: Pod) -> None:
        settings = self.world.config.pods
        pod.status, pod.boots = "PROVISIONING", pod.boots + 1
        if self.world.config.switches.pods_billed_from == "creation":
            self._bill(pod)
        if not pod.stuck:
            self._later(pod, settings.provision_s, lambda: setattr(pod, "status", "STARTING"))
            self._later(pod, settings.provision_s + settings.start_s, lambda: self._up(pod))

    def _up(self, pod: Pod) -> None:
        pod.status, pod.started = "RUNNING", self.world.clock.now()
        if self.world.config.switches.pods_billed_from == "running":
            self._bill(pod)
        env = pod.spec.get("env") or {}
        if "RYLA_REQUEST" in env or "RYLA_REQUEST_URL" in env:
            read = self.world.io(self._read, env)
            self._later(pod, 0.0, lambda: self._asked(pod, read), ready=read)

    def _read(self, env: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The request, and the result that lies in the store already."""
        http = self.world.http()
        if "RYLA_REQUEST" in env:
            body = json.loads(env["RYLA_REQUEST"])
        else:
            answer = http.get(env["RYLA_REQUEST_URL"])
            if answer.status_code != 200:
                raise engine.WorkerError("request", f"GET of the request answered {answer.status_code}")
            body = answer.json()
        return body, engine.stored_result(http, body)

    def _asked(self, pod: Pod, read: Future[Any]) -> None:
        if (problem := read.exception()) is not None:
            self._fail(pod, problem)
            return
        body, found = read.result()
        if found is not None:
            self._leave(pod, {**found, "reused": True})
            return
        now, settings = self.world.clock.now(), self.world.config.pods
        told = (str(body["fingerprint"]), str(body["attempt"]))
        self.world.executions.append(Executed(f"pod/{pod.id}", *told, pod.id, now))
        seconds = random.Random(f"{self.world.config.seed}/{pod.id}").uniform(*settings.exec_s)
        if pod.cut:
            self._later(pod, seconds / 2, lambda: self._cut(pod))
            return
        if settings.engine == "preview":
            drawn = self.world.drawing.submit(engine.draw, self.world, body, "wire")
        else:
            drawn = self.world.io(engine.scripted, body, "wire")
        self._later(pod, seconds, lambda: self._deliver(pod, body, drawn, now), ready=drawn)

    def _cut(self, pod: Pod) -> None:
        """Its command crashed, or somebody deleted it."""
        pod.cut_short = True
        self._halt(pod, pod.cut)

    def _deliver(self, pod: Pod, body: dict[str, Any], drawn: Future[Any], begun: float) -> None:
        if (problem := drawn.exception()) is not None:
            told = self.world.io(engine.tell, self.world.http(), body, problem)
            self._later(pod, 0.0, lambda: self._fail(pod, problem), ready=told)
            return
        made = engine.named(self.world.config.pods.engine, body["kind"])
        exec_s = self.world.clock.now() - begun
        put = self.world.io(engine.deliver, self.world.http(), body, drawn.result(), made, 0.0, exec_s)
        self._later(pod, 0.0, lambda: self._leave(pod, put.exception() or put.result()), ready=put)

    def _leave(self, pod: Pod, result: Any) -> None:
        pod.result = result
        if self.world.config.pods.exits_after:
            self._halt(pod, "EXITED")

    def _fail(self, pod: Pod, problem: BaseException) -> None:
        """The command ends with an error, and the container is over."""
        pod.result = problem
        self._halt(pod, "EXITED")

    def _bill(self, pod: Pod) -> None:
        self.world.bill.open("pod", pod.id, pod.id, pod.usd_per_hour / 3600)

    def _halt(self, pod: Pod, status: str) -> None:
        pod.status = status
        self.world.bill.close(pod.id)

    def _later(self, pod: Pod, seconds: float, act: Any, *, ready: Future[Any] | None = None) -> None:
        pod.events.append(self.world.clock.after(seconds, act, ready=ready))
