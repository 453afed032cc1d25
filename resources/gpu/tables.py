"""The ledger's three tables: jobs, their attempts, and every state that an attempt went through.

Columns and the constraints that the database itself keeps belong here; `resources.gpu.ledger` is who writes them, and
the migrations in `ryla_assets/registry/migrations` make them.

Times are seconds since the epoch (UTC) or durations in seconds; money is USD.
"""

from __future__ import annotations

import sqlalchemy as sa

from resources.database import metadata

jobs = sa.Table(
    "gpu_jobs",
    metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
    sa.Column("backend", sa.String(16), nullable=False),
    sa.Column("profile", sa.String(200), nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("result", sa.JSON),  # the accepted outputs; set once
    sa.Column("accepted_attempt", sa.String(36)),
    sa.Column("accepted_at", sa.Float),
)

attempts = sa.Table(
    "gpu_attempts",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("fingerprint", sa.ForeignKey("gpu_jobs.fingerprint"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("backend", sa.String(16), nullable=False),
    sa.Column("endpoint", sa.String(200), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # Equal to the fingerprint while the attempt is open, else NULL: the unique index is the promise
    # "at most one paid attempt is knowingly open".
    sa.Column("open_fingerprint", sa.String(64), unique=True),
    sa.Column("remote_id", sa.String(200)),
    sa.Column("lease_owner", sa.String(100)),
    sa.Column("lease_token", sa.Integer, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("run_id", sa.String(64), index=True),
    sa.Column("intended_at", sa.Float, nullable=False, index=True),
    sa.Column("submitted_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("settled_at", sa.Float, index=True),
    sa.Column("queue_limit_s", sa.Float, nullable=False),
    sa.Column("run_limit_s", sa.Float, nullable=False),
    sa.Column("reserved_usd", sa.Float, nullable=False),
    sa.Column("exposure_usd", sa.Float, nullable=False),  # the most that this attempt can cost
    sa.Column("cost_usd", sa.Float, nullable=False),
    sa.Column("queue_s", sa.Float, nullable=False),
    sa.Column("cold_s", sa.Float, nullable=False),
    sa.Column("exec_s", sa.Float, nullable=False),
    sa.Column("overhead_s", sa.Float, nullable=False),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("diagnosis", sa.Text),
    sa.Column("evidence", sa.JSON),  # what the diagnosis rests on, its code, and `at`: when it was found
    sa.Column("way_out", sa.Text),  # what a person may do next
    sa.Column("worker", sa.String(64)),  # who worked on it, where the backend says so
    sa.Column("cold_usd", sa.Float, nullable=False, server_default="0"),  # shares of cost_usd
    sa.Column("idle_usd", sa.Float, nullable=False, server_default="0"),
    sa.Column("cost_basis", sa.String(12)),  # of what is settled: reported, presumed (its exposure), reconciled
    sa.Column("webhook_token", sa.String(64)),  # the secret part of the address that may wake it
    sa.Column("claimed_id", sa.String(200)),  # the job id that a webhook named: a hint, verified before it is used
    sa.Column("woken_at", sa.Float),
    sa.Column("refused", sa.JSON),  # the pictures of its answer that were refused, as `accept` recorded them
    sa.UniqueConstraint("fingerprint", "number"),
    sa.Index("ix_gpu_attempts_state", "state"),
)

events = sa.Table(
    "gpu_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("attempt_id", sa.ForeignKey("gpu_attempts.id"), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("from_state", sa.String(12), nullable=False),
    sa.Column("to_state", sa.String(12), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
