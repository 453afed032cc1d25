"""Templates keep their history, as packed floats; each judged picture leaves its verdict."""

import struct

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OLD = ("character", "scorer_id", "render_domain", "embedding", "source_sha256", "at")


def upgrade() -> None:

    before = sa.table("templates", *(sa.column(name) for name in _OLD), sa.column("embedding", sa.JSON))
    rows = op.get_bind().execute(sa.select(*(before.c[name] for name in _OLD)).order_by(before.c.at)).mappings().all()
    op.drop_table("templates")
    after = op.create_table(
        "templates",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("scorer_id", sa.String(length=100), nullable=False),
        sa.Column("render_domain", sa.String(length=10), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_templates_character_characters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
        sa.UniqueConstraint("character", "scorer_id", "version", name=op.f("uq_templates_character_scorer_id_version")),
        sa.UniqueConstraint(
            "character", "scorer_id", "source_sha256", name=op.f("uq_templates_character_scorer_id_source_sha256")
        ),
    )
    op.create_index("ix_templates_scorer_domain_id", "templates", ["scorer_id", "render_domain", "id"], unique=False)
    if rows:
        packed = [{**row, "embedding": struct.pack(f"<{len(row['embedding'])}f", *row["embedding"])} for row in rows]
        op.bulk_insert(after, [{**row, "version": 1, "images": []} for row in packed])

    op.create_table(
        "verdicts",
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("scorer_id", sa.String(length=100), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("route", sa.String(length=12), nullable=False),
        sa.Column("render_domain", sa.String(length=10), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("distance", sa.Float(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_verdicts_character_characters")),
        sa.PrimaryKeyConstraint("image_sha256", "scorer_id", "character", name=op.f("pk_verdicts")),
    )
    op.create_index("ix_verdicts_character_route_at", "verdicts", ["character", "route", "at"], unique=False)


def downgrade() -> None:

    op.drop_table("verdicts")
    now = sa.table("templates", *(sa.column(name) for name in (*_OLD, "id")))
    latest = sa.select(sa.func.max(now.c.id)).group_by(now.c.character, now.c.scorer_id)
    query = sa.select(*(now.c[name] for name in _OLD)).where(now.c.id.in_(latest))
    rows = op.get_bind().execute(query).mappings().all()
    op.drop_table("templates")
    before = op.create_table(
        "templates",
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("scorer_id", sa.String(length=100), nullable=False),
        sa.Column("render_domain", sa.String(length=10), nullable=False),
        sa.Column("embedding", sa.JSON(), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_templates_character_characters")),
        sa.PrimaryKeyConstraint("character", "scorer_id", name=op.f("pk_templates")),
    )
    if rows:
        unpacked = [struct.unpack(f"<{len(row['embedding']) // 4}f", bytes(row["embedding"])) for row in rows]
        op.bulk_insert(before, [{**row, "embedding": list(e)} for row, e in zip(rows, unpacked, strict=True)])
