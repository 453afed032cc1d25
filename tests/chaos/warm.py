"""A process with everything imported, compiled and cached, and no thread: what lives are forked from.

Belongs here: one small run of all parts in this very process, with no fault in it. A life then costs a fork and its
own work, not the second that an interpreter and its imports take.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from resources.gpu.backends.runpod.client import _certificates
from resources.gpu.backends.runpod.service import close_all
from resources.gpu.errors import GpuError
from tests.chaos.account import ENDPOINT
from tests.chaos.jobs import jobs_of
from tests.chaos.plan import plan_of
from tests.chaos.servers import Servers
from tests.chaos.worker import Place, runner_of

ENDS_WITHIN_S = 5.0  # a closed event loop lets its helpers go, and waits for none


def warm_up(servers: Servers) -> None:
    """Run both contracts' jobs once against a fake in this process, and end every thread again."""
    import ryla_assets.api.webhooks  # noqa: F401
    from tests.fakes.fake_runpod.config import EndpointConfig, PodSettings
    from tests.fakes.fake_runpod.fake import FakeRunPod

    _certificates()
    plan = replace(plan_of(0), jobs=2, training=True, pods=False, webhook=False, postgres=False)
    with tempfile.TemporaryDirectory(prefix="chaos-warm-") as name:
        folder = Path(name)
        endpoint = EndpointConfig(ENDPOINT, cold_s=0.0, exec_s=(0.01, 0.02))
        pods = PodSettings(provision_s=0.0, start_s=0.0, exec_s=(0.01, 0.02))
        account = FakeRunPod([endpoint], pods=pods, speed=1.0, api_key="warm")
        with servers.database(plan, folder) as engine, account as fake:
            where = {"jobs_url": fake.jobs_url, "control_url": fake.control_url, "graphql_url": fake.graphql_url}
            place = Place(folder, engine, "warm", {**where, "files_url": fake.files_url, "webhook_url": ""})
            ours = runner_of(place, replace(plan, contract="ours"))
            ours.run(jobs_of(plan))
            on_pod = replace(plan, seed=2, contract="ours", jobs=1, pods=True)
            with_pods = runner_of(place, on_pod)
            with_pods.run(jobs_of(on_pod))
            fake.faults.script(error="boom")
            with contextlib.suppress(GpuError):  # an end without a result is to be warm too
                official = runner_of(place, replace(plan, contract="official"))
                official.run(jobs_of(replace(plan, seed=1, training=False)))
            for runner in (ours, with_pods):
                runner.store.close()  # type: ignore[attr-defined]
            close_all()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(ENDS_WITHIN_S)
    assert threading.active_count() == 1, f"threads are left: {threading.enumerate()}"
    assert "dagster" not in sys.modules, "the killed process must be free of Dagster"
    gc.collect()
    gc.freeze()  # a child's collector leaves these pages alone, and they stay shared
