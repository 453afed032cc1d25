"""The two partitions definitions: one key a character, one key a day (docs/adr/0002)."""

import dagster as dg

characters = dg.DynamicPartitionsDefinition(name="characters")
days = dg.DailyPartitionsDefinition(start_date="2026-11-01", end_offset=1)
