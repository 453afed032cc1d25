"""What paid work on far machines adds to an attempt: who worked, cost shares and their basis, the webhook's door."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("gpu_attempts", sa.Column("worker", sa.String(length=64), nullable=True))
    op.add_column("gpu_attempts", sa.Column("cold_usd", sa.Float(), nullable=False, server_default="0"))
    op.add_column("gpu_attempts", sa.Column("idle_usd", sa.Float(), nullable=False, server_default="0"))
    op.add_column("gpu_attempts", sa.Column("cost_basis", sa.String(length=12), nullable=True))
    op.add_column("gpu_attempts", sa.Column("webhook_token", sa.String(length=64), nullable=True))
    op.add_column("gpu_attempts", sa.Column("claimed_id", sa.String(length=200), nullable=True))
    op.add_column("gpu_attempts", sa.Column("woken_at", sa.Float(), nullable=True))
    op.create_index(op.f("ix_gpu_attempts_run_id"), "gpu_attempts", ["run_id"], unique=False)
    op.create_index(op.f("ix_gpu_attempts_intended_at"), "gpu_attempts", ["intended_at"], unique=False)
    op.execute("UPDATE gpu_attempts SET cost_basis = 'reported' WHERE settled_at IS NOT NULL")


def downgrade() -> None:

    op.drop_index(op.f("ix_gpu_attempts_intended_at"), table_name="gpu_attempts")
    op.drop_index(op.f("ix_gpu_attempts_run_id"), table_name="gpu_attempts")
    for name in ("woken_at", "claimed_id", "webhook_token", "cost_basis", "idle_usd", "cold_usd", "worker"):
        op.drop_column("gpu_attempts", name)
