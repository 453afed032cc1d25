"""/_fake/...: the fake's own questions and levers, for tests whose fake is another process.

Belongs here: state, time, faults and cases over HTTP. RunPod has nothing like it; no fault rule touches it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod.faults import Rule
from tests.fakes.fake_runpod.http import Reply, Request

if TYPE_CHECKING:
    from tests.fakes.fake_runpod.fake import FakeRunPod


class Admin:
    """GET state; POST advance, faults, clear, case, mode, kill-worker, lose, cancel."""

    def __init__(self, fake: FakeRunPod) -> None:
        self.fake = fake

    async def answer(self, request: Request, path: list[str]) -> Reply:
        """One question."""
        fake, body = self.fake, request.json() or {}
        what = path[0] if path else ""
        if what == "state":
            return Reply(self.state())
        if what == "advance":
            await asyncio.to_thread(fake.clock.advance, float(body.get("seconds", 0.0)))
        elif what == "faults":
            fake.faults.rules.append(Rule.from_dict(body))
        elif what == "clear":
            fake.faults.clear()
        elif what == "case":
            fake.install(body["case"], body.get("endpoint", ""))
        elif what == "mode":
            fake.set_mode(body["mode"], body.get("endpoint"))
        elif what == "kill-worker":
            fake.kill_worker(body["worker"])
        elif what in ("lose", "cancel"):
            getattr(fake, what)(body["job"])
        else:
            return Reply({"error": f"no such lever: {what}"}, 404)
        return Reply({"now": fake.clock.now()})

    def state(self) -> dict[str, Any]:
        """Everything that invariants need."""
        fake = self.fake
        with fake.clock.lock:
            now = fake.clock.now()
            return {
                "now": now,
                "accepted": [item.as_dict() for item in fake.accepted],
                "statuses": {job.id: "GONE" if job.gone else job.status for job in fake.world.jobs.values()},
                "alive": fake.alive(),
                "executions": [vars(item) for item in fake.executions],
                "bill_usd": fake.bill.total(),
                "bill_by_job": dict(fake.bill.executed),
                "bill_by_owner": {name: fake.bill.total(name) for name in sorted({x.owner for x in fake.bill.leases})},
                "workers": {name: pool.counts() for name, pool in fake.world.pools.items()},
                "faults": [list(strike) for strike in fake.faults.log],
                "rate_limited": fake.app.jobs.rates.refusals,
                "errors": list(fake.clock.errors),
            }
