"""A contestant: the runpod SDK's synchronous endpoint, one job at a time in each of `at_once` threads.

RUNPOD_ENDPOINT_BASE_URL is set before: the SDK reads it when it is imported.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.bench.peers.contestant import orders, perform
from tests.bench.peers.load import picture_job
from tests.bench.peers.pictures import save, stored

PATIENCE_S = 3600


def main() -> None:
    """Run `count` jobs."""
    import runpod

    given = orders()
    runpod.api_key = given["api_key"]
    graphs = [picture_job(number, given["px"]).request for number in range(given["count"])]
    mine = threading.local()
    errors: list[str] = []

    def one(number: int) -> None:
        try:
            if not hasattr(mine, "endpoint"):
                mine.endpoint = runpod.Endpoint(given["endpoint"])
            job = mine.endpoint.run({"input": {"workflow": graphs[number]}})
            save(given["folder"], number, job.output(timeout=PATIENCE_S))
        except Exception as error:  # noqa: BLE001  whatever the SDK raises, it is the job's end
            errors.append(repr(error))

    def work() -> None:
        with ThreadPoolExecutor(given["at_once"]) as threads:
            list(threads.map(one, range(given["count"])))

    perform(work, lambda: {"stored": stored(given["folder"]), "errors": errors})


if __name__ == "__main__":
    main()
