"""By the minute: paid work whose run is gone is stopped and settled, so that nothing burns or is booked unseen."""

import time
from collections.abc import Mapping, Sequence

import dagster as dg

from ryla_assets.studio.ledger import sweep
from ryla_assets.studio.studio import Studio

RETRIED_WITHIN_S = 60.0  # a run that is retried at once takes its jobs over within seconds: they are left to it
_ENDED = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "canceled",
}


@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=60)
def upkeep__jobs(context: dg.SensorEvaluationContext, studio: dg.ResourceParam[Studio]) -> dg.SensorResult:
    """Stops remote jobs of runs that ended, failed, were cancelled or deleted; takes what they finished.

    A killed run worker runs no cleanup: without this its job would burn until its own limit, and its result be lost.
    """
    swept = sweep(studio, lambda run_ids: ended_runs(context.instance, run_ids))
    for one in swept:
        context.log.warning("%s (%s): %s, so %s. %s", one.label, one.attempt_id, one.why, one.state, one.trouble)
    return dg.SensorResult(skip_reason=f"{len(swept)} orphans were looked after." if swept else "No orphans.")


def ended_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> Mapping[str, str]:
    """How those runs ended that did; "gone" where Dagster knows of none. Two queries, however many they are.

    The ledger knows a run by its root: while one of its re-executions goes on, or may be about to, it has not ended.
    """
    if not run_ids:
        return {}
    roots = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids)))
    retried = instance.get_run_records(dg.RunsFilter(tags={"dagster/root_run_id": list(run_ids)}))
    ends = dict.fromkeys(run_ids, "gone")
    for record in [*roots, *sorted(retried, key=lambda record: record.create_timestamp)]:
        run = record.dagster_run
        name = run.root_run_id or run.run_id
        fresh = (record.end_time or 0.0) > time.time() - RETRIED_WITHIN_S
        ends[name] = "" if fresh or ends[name] == "" else _ENDED.get(run.status, "")
    return {name: end for name, end in ends.items() if end}
