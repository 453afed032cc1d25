"""What happens by the clock: the daily content batch."""

import dagster as dg

daily_content = dg.ScheduleDefinition(
    name="daily_content",
    target=dg.AssetSelection.assets("content_batch"),
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,  # spends money every day: switched on by a person
)
