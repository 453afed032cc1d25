"""What an attempt returned and was refused, beside what was accepted: reasons, hashes, where it is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("gpu_attempts", sa.Column("refused", sa.JSON(), nullable=True))


def downgrade() -> None:

    op.drop_column("gpu_attempts", "refused")
