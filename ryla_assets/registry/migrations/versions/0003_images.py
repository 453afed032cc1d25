"""Which manifests name a picture: found by its bytes or its pixels."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "images",
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("pixels_sha256", sa.String(length=64), nullable=False),
        sa.Column("rejected", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_sha256"], ["manifests.sha256"], name=op.f("fk_images_manifest_sha256_manifests")
        ),
        sa.PrimaryKeyConstraint("manifest_sha256", "sha256", name=op.f("pk_images")),
    )
    op.create_index(op.f("ix_images_sha256"), "images", ["sha256"], unique=False)
    op.create_index(op.f("ix_images_pixels_sha256"), "images", ["pixels_sha256"], unique=False)


def downgrade() -> None:

    op.drop_index(op.f("ix_images_pixels_sha256"), table_name="images")
    op.drop_index(op.f("ix_images_sha256"), table_name="images")
    op.drop_table("images")
