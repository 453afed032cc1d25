"""What a diagnosis rests on, and what a person may do next, stay with the attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("gpu_attempts", sa.Column("evidence", sa.JSON(), nullable=True))
    op.add_column("gpu_attempts", sa.Column("way_out", sa.Text(), nullable=True))


def downgrade() -> None:

    op.drop_column("gpu_attempts", "way_out")
    op.drop_column("gpu_attempts", "evidence")
