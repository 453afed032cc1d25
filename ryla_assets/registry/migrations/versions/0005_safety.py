"""Blocks of the safety screen by hash, the rating that a classifier gave to pixels, the review that a pick was."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "safety_blocks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=False),
        sa.Column("screen", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=40), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_safety_blocks")),
    )
    op.create_index(op.f("ix_safety_blocks_at"), "safety_blocks", ["at"], unique=False)
    op.create_table(
        "ratings",
        sa.Column("pixels_sha256", sa.String(length=64), nullable=False),
        sa.Column("guard_id", sa.String(length=100), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("pixels_sha256", "guard_id", name=op.f("pk_ratings")),
    )
    op.add_column("selections", sa.Column("review", sa.String(length=40), nullable=True))
    op.execute("UPDATE selections SET review = 'adult appearance' WHERE who NOT LIKE 'policy:%'")


def downgrade() -> None:

    op.drop_column("selections", "review")
    op.drop_table("ratings")
    op.drop_index(op.f("ix_safety_blocks_at"), table_name="safety_blocks")
    op.drop_table("safety_blocks")
