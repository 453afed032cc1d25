"""What happens by the clock: the daily content batch, the ledger's numbers by the hour."""

import dagster as dg

daily_content = dg.ScheduleDefinition(
    name="daily_content",
    target=dg.AssetSelection.assets("content_batch"),
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,  # spends money every day: switched on by a person
)

job_ledger_hourly = dg.ScheduleDefinition(
    name="job_ledger_hourly",
    target=dg.AssetSelection.assets("job_ledger", "image_index"),  # with their checks: what is wrong now
    cron_schedule="5 * * * *",  # the hour that has just ended is in it
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,  # spends nothing; switched on by whoever wants to be told
)
