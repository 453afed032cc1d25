"""/control/v2/...: the account's control plane over HTTP; every body is held to the published OpenAPI by a test.

Belongs here: routing, auth, rate-limit headers, problem+json. What lies behind each path is in control_serverless,
control_pods, control_account.
# runpod facts 1, 2.1 [spec]
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from tests.fakes.fake_runpod import control_account, control_pods, control_serverless
from tests.fakes.fake_runpod.faults import Call
from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.problems import Problem
from tests.fakes.fake_runpod.rates import ControlRates
from tests.fakes.fake_runpod.world import World

Route = Callable[[World, Request, list[str]], Reply]
ROUTES: dict[str, Route] = {
    "serverless": control_serverless.answer,
    "pods": control_pods.answer,
    "network-volumes": control_account.volumes,
    "catalog": control_account.catalog,
    "billing": control_account.billing,
}
VERBS = {"GET": "get", "POST": "create", "PATCH": "update", "DELETE": "delete"}


class ControlApi:
    """Answers requests under {control_url}. Called with the clock's lock held."""

    def __init__(self, world: World) -> None:
        self.world, self.rates = world, ControlRates(world)

    @staticmethod
    def call(method: str, path: list[str], body: Any = None) -> Call:
        """The call as rules see it: `pods.create`, `pods.list`, `pods.action`, `serverless.workers`, ..."""
        what = path[0] if path else ""
        if what in ("catalog", "billing"):
            return Call(".".join(path[:2]), body=body)
        verb = path[2] if len(path) > 2 else "list" if method == "GET" and len(path) == 1 else VERBS.get(method, method)
        return Call(f"{what}.{verb}", path[1] if len(path) > 1 else "", body=body)

    def answer(self, request: Request, path: list[str]) -> Reply:
        """One request; `path` begins after /v2."""
        if request.key != self.world.config.api_key:
            return Problem(401, "missing or invalid bearer token").reply()
        headers, refused = self.rates.count()
        try:
            if refused:
                raise Problem(429, "rate limit exceeded")
            if not path or path[0] not in ROUTES:
                raise Problem(404, "resource not found")
            reply = ROUTES[path[0]](self.world, request, path[1:])
        except Problem as problem:
            reply = problem.reply()
        reply.headers |= {**headers, "Date": formatdate(self.world.clock.now(), usegmt=True)}
        return reply
