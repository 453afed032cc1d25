"""The domain's tables. What the ledger of paid work keeps is in `resources.gpu.ledger`, on the same MetaData.

Times are seconds since the epoch (UTC).
"""

import sqlalchemy as sa

from resources.database import metadata

LORA_STATUSES = ("pending", "generating_sheets", "training", "ready", "failed")  # the product's words

characters = sa.Table(
    "characters",
    metadata,
    sa.Column("id", sa.String(39), primary_key=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("retired", sa.Boolean, nullable=False),
    sa.Column("auto_select", sa.Boolean, nullable=False),  # let the best-scored base image be picked
    sa.Column("lora_status", sa.String(20), nullable=False),
    sa.Column("base_image_id", sa.String(64)),  # sha256 of the selected option's stored bytes
    sa.Column("base_image_url", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.CheckConstraint(f"lora_status IN {LORA_STATUSES}", name="lora_status_known"),
)

selections = sa.Table(
    "selections",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("character", sa.ForeignKey("characters.id"), nullable=False, index=True),
    sa.Column("take", sa.Integer, nullable=False),  # of the base images picked from
    sa.Column("option", sa.Integer, nullable=False),  # 1-based, as people see it
    sa.Column("image_sha256", sa.String(64), nullable=False),
    sa.Column("manifest_sha256", sa.String(64), nullable=False),
    sa.Column("who", sa.String(100), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("review", sa.String(40)),  # what the person who picked has reviewed; NULL: no person looked
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.String(120), primary_key=True),
    sa.Column("character", sa.ForeignKey("characters.id"), nullable=False, index=True),
    sa.Column("stage", sa.String(40), nullable=False),
    sa.Column("take", sa.Integer, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),  # what was asked for
    sa.Column("plan", sa.JSON),  # the jobs, written once
    sa.Column("state", sa.String(12), nullable=False),  # pending, planned, done, refused
    sa.Column("route", sa.String(12)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("ix_requests_character_stage", "character", "stage"),
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("asset", sa.String(40), nullable=False),
    sa.Column("character", sa.ForeignKey("characters.id"), nullable=False),
    sa.Column("take", sa.Integer, nullable=False),
    sa.Column("request_id", sa.String(120), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ix_manifests_asset_character", "asset", "character"),
)

# Which manifests name a picture: a file from anywhere is looked up here by its bytes, then by its pixels.
images = sa.Table(
    "images",
    metadata,
    sa.Column("manifest_sha256", sa.ForeignKey("manifests.sha256"), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True, index=True),
    sa.Column("pixels_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("rejected", sa.Boolean, nullable=False),  # refused by name, or another take of its shot was kept
)

heads = sa.Table(
    "heads",
    metadata,
    sa.Column("asset", sa.String(40), primary_key=True),
    sa.Column("character", sa.ForeignKey("characters.id"), primary_key=True),
    sa.Column("take", sa.Integer, nullable=False),
    sa.Column("current_sha256", sa.String(64), nullable=False),
    sa.Column("accepted_sha256", sa.String(64)),
    sa.Column("version", sa.Integer, nullable=False),  # compare-and-set
)

gates = sa.Table(
    "gates",
    metadata,
    sa.Column("asset", sa.String(40), primary_key=True),
    sa.Column("character", sa.ForeignKey("characters.id"), primary_key=True),
    sa.Column("manifest_sha256", sa.String(64), primary_key=True),
    sa.Column("claim", sa.String(40), primary_key=True),
    sa.Column("scorer_id", sa.String(100), primary_key=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("numbers", sa.JSON, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("character", sa.ForeignKey("characters.id"), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),  # goes into the run_key: a repeated cause is a new run
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

faces = sa.Table(
    "faces",
    metadata,
    sa.Column("pixels_sha256", sa.String(64), primary_key=True),
    sa.Column("scorer_id", sa.String(100), primary_key=True),
    sa.Column("faces", sa.JSON, nullable=False),  # what the scorer found in exactly these pixels
)

# Only ever added to: the newest row of a character and scorer is its template, the others are its history.
templates = sa.Table(
    "templates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),  # grows, so it is a cursor
    sa.Column("character", sa.ForeignKey("characters.id"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # of the character's template by this scorer, from 1
    sa.Column("scorer_id", sa.String(100), nullable=False),
    sa.Column("render_domain", sa.String(10), nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False),  # float32, little-endian: 10,000 are read in no time
    sa.Column("images", sa.JSON, nullable=False),  # sha256 of each picture whose face is in the mean
    sa.Column("source_sha256", sa.String(64), nullable=False),  # the manifest that it was made from
    sa.Column("at", sa.Float, nullable=False),
    sa.UniqueConstraint("character", "scorer_id", "version"),
    sa.UniqueConstraint("character", "scorer_id", "source_sha256"),
    sa.Index("ix_templates_scorer_domain_id", "scorer_id", "render_domain", "id"),
)

# One row a declared picture that was ever judged, accepted or not: what evidence is counted from.
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("image_sha256", sa.String(64), primary_key=True),
    sa.Column("scorer_id", sa.String(100), primary_key=True),
    sa.Column("character", sa.ForeignKey("characters.id"), primary_key=True),
    sa.Column("route", sa.String(12), nullable=False),
    sa.Column("render_domain", sa.String(10), nullable=False),
    sa.Column("manifest_sha256", sa.String(64), nullable=False),  # the set that it was judged in
    sa.Column("verified", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(20), nullable=False),
    sa.Column("distance", sa.Float),  # L2 to the template; None: unmeasured
    sa.Column("at", sa.Float, nullable=False),  # when it was judged first
    sa.Index("ix_verdicts_character_route_at", "character", "route", "at"),
)

# The audit trail of the screen: never a text, only its hash. No key to characters: one refused at the door has no row.
safety_blocks = sa.Table(
    "safety_blocks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("field", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),  # the screen's code
    sa.Column("text_sha256", sa.String(64), nullable=False),
    sa.Column("screen", sa.Integer, nullable=False),  # version of its rules
    sa.Column("place", sa.String(40), nullable=False),  # at which door
    sa.Column("who", sa.String(100), nullable=False),  # a person, or a Dagster run
    sa.Column("character", sa.String(39)),  # one that exists; NULL: refused when it was to be added
)

ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("pixels_sha256", sa.String(64), primary_key=True),
    sa.Column("guard_id", sa.String(100), primary_key=True),
    sa.Column("score", sa.Float, nullable=False),  # what the classifier gave to exactly these pixels
)
