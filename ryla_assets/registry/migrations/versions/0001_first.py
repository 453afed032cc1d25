"""The whole schema: characters and their memory, and the ledger of paid work."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "characters",
        sa.Column("id", sa.String(length=39), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("retired", sa.Boolean(), nullable=False),
        sa.Column("auto_select", sa.Boolean(), nullable=False),
        sa.Column("lora_status", sa.String(length=20), nullable=False),
        sa.Column("base_image_id", sa.String(length=64), nullable=True),
        sa.Column("base_image_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "lora_status IN ('pending', 'generating_sheets', 'training', 'ready', 'failed')", name="lora_status_known"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_characters")),
    )
    op.create_table(
        "faces",
        sa.Column("pixels_sha256", sa.String(length=64), nullable=False),
        sa.Column("scorer_id", sa.String(length=100), nullable=False),
        sa.Column("faces", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pixels_sha256", "scorer_id", name=op.f("pk_faces")),
    )
    op.create_table(
        "gpu_jobs",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("backend", sa.String(length=16), nullable=False),
        sa.Column("profile", sa.String(length=200), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("accepted_attempt", sa.String(length=36), nullable=True),
        sa.Column("accepted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_gpu_jobs")),
    )
    op.create_index(op.f("ix_gpu_jobs_owner"), "gpu_jobs", ["owner"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_events_character_characters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_table(
        "gates",
        sa.Column("asset", sa.String(length=40), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("claim", sa.String(length=40), nullable=False),
        sa.Column("scorer_id", sa.String(length=100), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_gates_character_characters")),
        sa.PrimaryKeyConstraint("asset", "character", "manifest_sha256", "claim", "scorer_id", name=op.f("pk_gates")),
    )
    op.create_table(
        "gpu_attempts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("backend", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("open_fingerprint", sa.String(length=64), nullable=True),
        sa.Column("remote_id", sa.String(length=200), nullable=True),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("intended_at", sa.Float(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("queue_limit_s", sa.Float(), nullable=False),
        sa.Column("run_limit_s", sa.Float(), nullable=False),
        sa.Column("reserved_usd", sa.Float(), nullable=False),
        sa.Column("exposure_usd", sa.Float(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("queue_s", sa.Float(), nullable=False),
        sa.Column("cold_s", sa.Float(), nullable=False),
        sa.Column("exec_s", sa.Float(), nullable=False),
        sa.Column("overhead_s", sa.Float(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("diagnosis", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["fingerprint"], ["gpu_jobs.fingerprint"], name=op.f("fk_gpu_attempts_fingerprint_gpu_jobs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_attempts")),
        sa.UniqueConstraint("fingerprint", "number", name=op.f("uq_gpu_attempts_fingerprint_number")),
        sa.UniqueConstraint("open_fingerprint", name=op.f("uq_gpu_attempts_open_fingerprint")),
    )
    op.create_index(op.f("ix_gpu_attempts_settled_at"), "gpu_attempts", ["settled_at"], unique=False)
    op.create_index("ix_gpu_attempts_state", "gpu_attempts", ["state"], unique=False)
    op.create_table(
        "heads",
        sa.Column("asset", sa.String(length=40), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("take", sa.Integer(), nullable=False),
        sa.Column("current_sha256", sa.String(length=64), nullable=False),
        sa.Column("accepted_sha256", sa.String(length=64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_heads_character_characters")),
        sa.PrimaryKeyConstraint("asset", "character", name=op.f("pk_heads")),
    )
    op.create_table(
        "manifests",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=40), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("take", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=120), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_manifests_character_characters")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_manifests")),
    )
    op.create_index("ix_manifests_asset_character", "manifests", ["asset", "character"], unique=False)
    op.create_table(
        "requests",
        sa.Column("id", sa.String(length=120), nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("stage", sa.String(length=40), nullable=False),
        sa.Column("take", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("route", sa.String(length=12), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_requests_character_characters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_character"), "requests", ["character"], unique=False)
    op.create_index("ix_requests_character_stage", "requests", ["character", "stage"], unique=False)
    op.create_table(
        "selections",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("character", sa.String(length=39), nullable=False),
        sa.Column("take", sa.Integer(), nullable=False),
        sa.Column("option", sa.Integer(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["character"], ["characters.id"], name=op.f("fk_selections_character_characters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selections")),
    )
    op.create_index(op.f("ix_selections_character"), "selections", ["character"], unique=False)
    op.create_table(
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
    op.create_table(
        "gpu_events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("attempt_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("from_state", sa.String(length=12), nullable=False),
        sa.Column("to_state", sa.String(length=12), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["gpu_attempts.id"], name=op.f("fk_gpu_events_attempt_id_gpu_attempts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_events")),
    )
    op.create_index(op.f("ix_gpu_events_attempt_id"), "gpu_events", ["attempt_id"], unique=False)


def downgrade() -> None:

    op.drop_index(op.f("ix_gpu_events_attempt_id"), table_name="gpu_events")
    op.drop_table("gpu_events")
    op.drop_table("templates")
    op.drop_index(op.f("ix_selections_character"), table_name="selections")
    op.drop_table("selections")
    op.drop_index("ix_requests_character_stage", table_name="requests")
    op.drop_index(op.f("ix_requests_character"), table_name="requests")
    op.drop_table("requests")
    op.drop_index("ix_manifests_asset_character", table_name="manifests")
    op.drop_table("manifests")
    op.drop_table("heads")
    op.drop_index("ix_gpu_attempts_state", table_name="gpu_attempts")
    op.drop_index(op.f("ix_gpu_attempts_settled_at"), table_name="gpu_attempts")
    op.drop_table("gpu_attempts")
    op.drop_table("gates")
    op.drop_table("events")
    op.drop_index(op.f("ix_gpu_jobs_owner"), table_name="gpu_jobs")
    op.drop_table("gpu_jobs")
    op.drop_table("faces")
    op.drop_table("characters")
